//! What the sandbox costs: storing and reading chunks by way of the local plugin, against native code that takes the
//! same steps (temporary file, write, hard link, unlink; read, and compare the SHA-256), neither waiting for the disk.
//!
//! `cargo bench --bench plugin`. The goal is a ratio of at most 1.1. Where the temporary directory is on a disk, its
//! noise is larger than the difference; `TMPDIR=/dev/shm` shows the overhead alone.

#![allow(missing_docs, clippy::unwrap_used)]

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
    let spec = StoreSpec {
        options: vec![("fsync".into(), "no".into())],
        cache_dir: Some(cache.to_owned()),
        workers: 1,
        ..StoreSpec::for_location(directory.to_str().unwrap()).unwrap()
    };
    let store = open_store(&spec).unwrap();
    store.init().unwrap();
    store
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
        let mut number = 0;
        let mut next = || {
            number += 1;
            chunk(number, size)
        };
        let store = plugin(&sandboxed, &cache);
        group.bench_function("put, plugin", |b| {
            b.iter_batched(&mut next, |(id, bytes)| store.put(&label(), &id, bytes).unwrap(), BatchSize::PerIteration);
        });
        empty(&sandboxed);
        let plain = Native(native.clone());
        group.bench_function("put, native", |b| {
            b.iter_batched(&mut next, |(id, bytes)| plain.put(&id, &bytes), BatchSize::PerIteration);
        });
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
            let spec = StoreSpec { cache_dir: Some(cache.to_owned()), ..spec(directory) };
            open_store(&spec).unwrap().open().unwrap();
        });
    });
}

fn spec(directory: &Path) -> StoreSpec {
    StoreSpec::for_location(directory.to_str().unwrap()).unwrap()
}

/// Prints the ratios, from pairs of calls made in turn, so that both see the same machine; the median of them.
fn ratios(directory: &Path, cache: &Path) {
    fs::create_dir_all(directory).unwrap();
    let store = plugin(&directory.join("plugin"), cache);
    let native = Native(directory.join("native"));
    for (name, size) in SIZES {
        let rounds = (256 << 20 >> 10).min((512 << 20) / size).clamp(20, 2000);
        let (mut puts, mut gets) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let (id, bytes) = chunk(round as u64, size);
            let time = |work: &mut dyn FnMut()| {
                let start = Instant::now();
                work();
                start.elapsed().as_secs_f64()
            };
            let (label, copy) = (label(), bytes.clone());
            let mut by_plugin = || drop(store.put(&label, &id, copy.clone()).unwrap());
            let put = if round % 2 == 0 {
                let plugin = time(&mut by_plugin);
                plugin / time(&mut || native.put(&id, &bytes))
            } else {
                let plain = time(&mut || native.put(&id, &bytes));
                time(&mut by_plugin) / plain
            };
            puts.push(put);
            gets.push(time(&mut || drop(store.get(&label, &id, None).unwrap())) / time(&mut || drop(native.get(&id))));
            fs::remove_file(native.file(&id)).unwrap();
            store.remove(&label, &id).unwrap();
        }
        let median = |mut ratios: Vec<f64>| {
            ratios.sort_by(f64::total_cmp);
            ratios[ratios.len() / 2]
        };
        println!("{name}: plugin / native: put {:.2}, get {:.2}", median(puts), median(gets));
    }
}

criterion_group!(all, benchmarks);
criterion_main!(all);
