//! What the sandbox costs: storing and reading chunks by way of the local plugin, against native code that takes the
//! same steps (temporary file, write, hard link, unlink; read, and compare the SHA-256), neither waiting for the disk.
//!
//! `cargo bench --bench plugin`. The goal is a ratio of at most 1.1. Where the temporary directory is on a disk, its
//! noise is larger than the difference; `TMPDIR=/dev/shm` shows the overhead alone. Run it without `RUST_BACKTRACE`: with
//! it, wasmtime takes a backtrace for each "no such file" that a plugin is told, which costs more than a small chunk.

#![allow(missing_docs, clippy::unwrap_used)]

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use obnam::chunk::{ChunkId, Label};
use obnam::plugin::{PluginStore, StoreSpec, open_store};
use obnam::store::ChunkStore;

const SIZES: [(&str, usize); 3] = [("64 KiB", 64 << 10), ("1 MiB", 1 << 20), ("16 MiB", 16 << 20)];

/// A different chunk for each number.
fn chunk(number: u64, size: usize) -> (ChunkId, Bytes) {
    let mut bytes = vec![0x5a; size];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    (ChunkId::of(&bytes), bytes.into())
}

fn label() -> Label {
    "data".parse().unwrap()
}

fn plugin(directory: &Path, cache: &Path) -> PluginStore {
    let store = open_store(&fast(directory, cache)).unwrap();
    store.init().unwrap();
    store
}

/// One worker, without waiting for the disk.
fn fast(directory: &Path, cache: &Path) -> StoreSpec {
    StoreSpec {
        options: vec![("fsync".into(), "no".into())],
        cache_dir: Some(cache.to_owned()),
        workers: 1,
        ..StoreSpec::for_location(directory.to_str().unwrap()).unwrap()
    }
}

/// The steps of the plugin, natively.
struct Native(PathBuf);

impl Native {
    fn file(&self, id: &ChunkId) -> PathBuf {
        let id = id.to_string();
        self.0.join("data").join(&id[..2]).join(&id)
    }

    fn put(&self, id: &ChunkId, bytes: &Bytes) {
        let file = self.file(id);
        let shard = file.parent().unwrap();
        if !shard.exists() {
            fs::create_dir_all(shard).unwrap();
        }
        assert!(!file.exists());
        let temporary = self.0.join("data").join(format!(".tmp-{id}"));
        OpenOptions::new().write(true).create_new(true).open(&temporary).unwrap().write_all(bytes).unwrap();
        fs::hard_link(&temporary, &file).unwrap();
        fs::remove_file(&temporary).unwrap();
    }

    fn get(&self, id: &ChunkId) -> Bytes {
        let bytes = Bytes::from(fs::read(self.file(id)).unwrap());
        assert_eq!(ChunkId::of(&bytes), *id);
        bytes
    }
}

/// Removes all chunks, so that a long benchmark does not fill the disk.
fn empty(directory: &Path) {
    let _ = fs::remove_dir_all(directory.join("data"));
}

fn benchmarks(criterion: &mut Criterion) {
    let top = tempfile::tempdir().unwrap();
    let cache = top.path().join("cache");
    let (sandboxed, native) = (top.path().join("plugin"), top.path().join("native"));
    for (name, size) in SIZES {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(size as u64)).sample_size(20).measurement_time(Duration::from_secs(4));
        let store = plugin(&sandboxed, &cache);
        let plain = Native(native.clone());
        // Every chunk goes away before the next one comes, so that all of them get the same memory, or blocks.
        let number = Cell::new(0);
        let next = |directory: &Path| {
            let _ = fs::remove_file(Native(directory.to_owned()).file(&chunk(number.get(), size).0));
            number.set(number.get() + 1);
            chunk(number.get(), size)
        };
        group.bench_function("put, plugin", |b| {
            let put = |(id, bytes)| store.put(&label(), &id, bytes).unwrap();
            b.iter_batched(|| next(&sandboxed), put, BatchSize::PerIteration);
        });
        group.bench_function("put, native", |b| {
            b.iter_batched(|| next(&native), |(id, bytes)| plain.put(&id, &bytes), BatchSize::PerIteration);
        });
        empty(&sandboxed);
        empty(&native);
        let (id, bytes) = chunk(0, size);
        plugin(&sandboxed, &cache).put(&label(), &id, bytes.clone()).unwrap();
        plain.put(&id, &bytes);
        group.bench_function("get, plugin", |b| b.iter(|| black_box(store.get(&label(), &id, None).unwrap())));
        group.bench_function("get, native", |b| b.iter(|| black_box(plain.get(&id))));
        group.finish();
        empty(&sandboxed);
        empty(&native);
    }
    opening(criterion, &top.path().join("opened"), &cache);
    ratios(&top.path().join("ratios"), &cache);
}

/// How long it takes to open a store whose plugin was compiled before.
fn opening(criterion: &mut Criterion, directory: &Path, cache: &Path) {
    plugin(directory, cache);
    criterion.bench_function("open, warm", |b| {
        b.iter(|| {
            open_store(&fast(directory, cache)).unwrap().open().unwrap();
        });
    });
}

/// How many calls are in flight when ratios are taken, as in a backup.
const IN_FLIGHT: u64 = 4;

/// Prints the ratios with several calls in flight: the median of rounds, in each of which both do the same in turn.
fn ratios(directory: &Path, cache: &Path) {
    fs::create_dir_all(directory).unwrap();
    let (sandboxed, plain) = (directory.join("plugin"), directory.join("native"));
    let workers = usize::try_from(IN_FLIGHT).unwrap();
    plugin(&sandboxed, cache);
    let store = open_store(&StoreSpec { workers, ..fast(&sandboxed, cache) }).unwrap();
    let native = Native(plain.clone());
    for (name, size) in SIZES {
        let each = ((64 << 20) / size as u64 / IN_FLIGHT).clamp(1, 100);
        let (mut puts, mut gets) = (Vec::new(), Vec::new());
        for round in 0..20 {
            let chunks: Vec<_> = (0..IN_FLIGHT * each).map(|n| chunk(round * IN_FLIGHT * each + n, size)).collect();
            let put_plugin =
                || in_flight(&chunks, |(id, bytes)| assert!(store.put(&label(), id, bytes.clone()).is_ok()));
            let put_native = || in_flight(&chunks, |(id, bytes)| native.put(id, bytes));
            let get_plugin = || in_flight(&chunks, |(id, _)| assert!(store.get(&label(), id, None).is_ok()));
            let get_native = || in_flight(&chunks, |(id, _)| drop(native.get(id)));
            if round % 2 == 0 {
                puts.push(put_plugin() / put_native());
                gets.push(get_plugin() / get_native());
            } else {
                puts.push(1.0 / (put_native() / put_plugin()));
                gets.push(1.0 / (get_native() / get_plugin()));
            }
            for (id, _) in &chunks {
                fs::remove_file(native.file(id)).unwrap();
                store.remove(&label(), id).unwrap();
            }
        }
        let median = |mut ratios: Vec<f64>| {
            ratios.sort_by(f64::total_cmp);
            ratios[ratios.len() / 2]
        };
        println!("{name}, {IN_FLIGHT} in flight: plugin / native: put {:.2}, get {:.2}", median(puts), median(gets));
    }
}

/// The seconds that it takes to work on all chunks.
fn in_flight(chunks: &[(ChunkId, Bytes)], work: impl Fn(&(ChunkId, Bytes)) + Sync) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for part in chunks.chunks(chunks.len().div_ceil(usize::try_from(IN_FLIGHT).unwrap())) {
            let work = &work;
            scope.spawn(move || part.iter().for_each(work));
        }
    });
    start.elapsed().as_secs_f64()
}

criterion_group!(all, benchmarks);
criterion_main!(all);
