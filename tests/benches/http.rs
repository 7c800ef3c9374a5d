//! What the sandbox costs a plugin that speaks HTTP: storing and reading chunks by way of `s3-direct`, against native code
//! that sends the same signed requests over kept connections and, like obnam, compares the SHA-256 of what it reads. One
//! store is a server in this process that keeps objects in memory and checks nothing, so that all of the difference shows;
//! the other one is Garage, which does what stores have to do: it checks signatures and checksums, and writes to a disk.
//!
//! `cargo bench -p obnam-tests --bench http`. The goal is a ratio of at most 1.1 from 1 MiB up, and of at most 2 at 64 KiB.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use obnam::chunk::{ChunkId, Label};
use obnam::plugin::{PluginStore, StoreSpec, open_store};
use obnam::store::ChunkStore;
use obnam_tests::s3::Access;
use obnam_tests::s3::client::{Ask, Blocking};
use obnam_tests::s3::garage::Garage;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const SIZES: [(&str, usize); 3] = [("64 KiB", 64 << 10), ("1 MiB", 1 << 20), ("16 MiB", 16 << 20)];

/// How many calls are in flight when ratios are taken: as many as there are processors here and on small servers, since with
/// more of them everything waits for the processors.
const IN_FLIGHT: usize = 2;

type Objects = Arc<Mutex<HashMap<String, Bytes>>>;

/// The store: what is put is there, and a listing is empty.
struct Server {
    access: Access,
    objects: Objects,
    _runtime: Runtime,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let access = Access {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            region: "us-east-1".into(),
            bucket: "bucket".into(),
            access_key: "key".into(),
            secret_key: "secret".into(),
            session_token: None,
        };
        let objects = Objects::default();
        let served = Arc::clone(&objects);
        runtime.spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                connection.set_nodelay(true).unwrap();
                let objects = Arc::clone(&served);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, &objects));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(connection), service)
                        .await;
                });
            }
        });
        Server { access, objects, _runtime: runtime }
    }

    /// Forgets all chunks, so that memory stays bounded.
    fn empty(&self) {
        self.objects.lock().unwrap().retain(|path, _| !path.contains("/data/"));
    }
}

async fn answer(request: Request<Incoming>, objects: &Objects) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let reply = |status: u16, body: Bytes| Ok(Response::builder().status(status).body(Full::new(body)).unwrap());
    if *request.method() == Method::PUT {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        objects.lock().unwrap().insert(path, body);
        return reply(200, Bytes::new());
    }
    if request.uri().query().is_some_and(|query| query.contains("list-type=2")) {
        return reply(200, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".into());
    }
    let found = objects.lock().unwrap().get(&path).cloned();
    match found {
        Some(bytes) => reply(200, bytes),
        None => reply(404, "<Error><Code>NoSuchKey</Code></Error>".into()),
    }
}

/// A different chunk for each number.
fn chunk(number: u64, size: usize) -> (ChunkId, Bytes) {
    let mut bytes = vec![0x5a; size];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    (ChunkId::of(&bytes), bytes.into())
}

fn label() -> Label {
    "data".parse().unwrap()
}

fn plugin(access: &Access, cache: &Path) -> PluginStore {
    let keys =
        [("access-key-id", &access.access_key), ("secret-access-key", &access.secret_key), ("region", &access.region)];
    let spec = StoreSpec {
        options: keys.map(|(name, value)| (name.to_owned(), value.clone())).into(),
        cache_dir: Some(cache.to_owned()),
        workers: IN_FLIGHT,
        ..StoreSpec::for_location(&access.location()).unwrap()
    };
    let store = open_store(&spec).unwrap();
    store.init().unwrap();
    store
}

/// The requests of the plugin, natively.
struct Native(Blocking);

impl Native {
    fn put(&self, id: &ChunkId, bytes: &Bytes) {
        let id = id.to_string();
        let checksum = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, hex::decode(&id).unwrap());
        let headers = vec![("x-amz-checksum-sha256", checksum), ("if-none-match", "*".to_owned())];
        let key = format!("data/{id}");
        let ask = Ask { method: "PUT", key: &key, headers, body: bytes.clone(), payload: Some(&id), ..Ask::default() };
        assert_eq!(self.0.send(&ask).status, 200);
    }

    fn get(&self, id: &ChunkId) -> Bytes {
        let ask = Ask { method: "GET", key: &format!("data/{id}"), ..Ask::default() };
        let answer = self.0.send(&ask);
        assert_eq!(ChunkId::of(&answer.body), *id);
        answer.body
    }
}

fn benchmarks(criterion: &mut Criterion) {
    let top = tempfile::tempdir().unwrap();
    let server = Server::start();
    let store = plugin(&server.access, top.path());
    let native = Native(Blocking::new(&server.access));
    for (name, size) in SIZES {
        let mut group = criterion.benchmark_group(format!("HTTP, {name}"));
        group.throughput(Throughput::Bytes(size as u64)).sample_size(20).measurement_time(Duration::from_secs(4));
        let next = || {
            server.empty();
            chunk(1, size)
        };
        group.bench_function("put, plugin", |b| {
            let put = |(id, bytes)| store.put(&label(), &id, bytes).unwrap();
            b.iter_batched(next, put, BatchSize::PerIteration);
        });
        group.bench_function("put, native", |b| {
            b.iter_batched(next, |(id, bytes)| native.put(&id, &bytes), BatchSize::PerIteration);
        });
        let (id, bytes) = chunk(0, size);
        native.put(&id, &bytes);
        group.bench_function("get, plugin", |b| b.iter(|| black_box(store.get(&label(), &id, None).unwrap())));
        group.bench_function("get, native", |b| b.iter(|| black_box(native.get(&id))));
        group.finish();
    }
    for in_flight in [1, IN_FLIGHT] {
        let empty = || server.empty();
        ratios(&Subject { store: "memory", plugin: &store, native: &native, empty: &empty, rounds: 21 }, in_flight);
    }
    let garage = Garage::start();
    let store = plugin(&garage, top.path());
    let native = Native(Blocking::new(&garage));
    for in_flight in [1, IN_FLIGHT] {
        ratios(&Subject { store: "Garage", plugin: &store, native: &native, empty: &|| (), rounds: 7 }, in_flight);
    }
}

/// What is compared, and where.
struct Subject<'a> {
    store: &'static str,
    plugin: &'a PluginStore,
    native: &'a Native,
    /// Makes room before each round.
    empty: &'a dyn Fn(),
    rounds: u64,
}

/// Prints the ratios: the median of rounds, in each of which both do the same in turn. Nothing is stored twice.
fn ratios(subject: &Subject, in_flight: usize) {
    let Subject { store, plugin, native, empty, rounds } = *subject;
    for (name, size) in SIZES {
        let count = ((64 << 20) / size).clamp(4, 400) as u64;
        let chunks = |first: u64| (first..first + count).map(|number| chunk(number, size)).collect::<Vec<_>>();
        let put_plugin = |(id, bytes): &(ChunkId, Bytes)| {
            plugin.put(&label(), id, bytes.clone()).unwrap();
        };
        let put_native = |(id, bytes): &(ChunkId, Bytes)| native.put(id, bytes);
        let get_plugin = |(id, _): &(ChunkId, Bytes)| {
            black_box(plugin.get(&label(), id, None).unwrap());
        };
        let get_native = |(id, _): &(ChunkId, Bytes)| {
            black_box(native.get(id));
        };
        let (mut puts, mut gets) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            empty();
            let first = (in_flight as u64 * rounds + round) * 2 * count;
            let (one, other) = (chunks(first), chunks(first + count));
            puts.push(ratio(round, || all(&one, in_flight, put_plugin), || all(&other, in_flight, put_native)));
            gets.push(ratio(round, || all(&one, in_flight, get_plugin), || all(&other, in_flight, get_native)));
        }
        println!(
            "{store}, {name}, {in_flight} in flight: plugin / native: put {:.2}, get {:.2}",
            median(puts),
            median(gets)
        );
    }
}

/// The time of one by that of the other, each of them the first one in every other round.
fn ratio(round: u64, plugin: impl Fn() -> f64, native: impl Fn() -> f64) -> f64 {
    if round.is_multiple_of(2) {
        plugin() / native()
    } else {
        let native = native();
        plugin() / native
    }
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// The seconds that it takes to work on all chunks.
fn all(chunks: &[(ChunkId, Bytes)], in_flight: usize, work: impl Fn(&(ChunkId, Bytes)) + Sync) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for part in chunks.chunks(chunks.len().div_ceil(in_flight)) {
            let work = &work;
            scope.spawn(move || part.iter().for_each(work));
        }
    });
    start.elapsed().as_secs_f64()
}

criterion_group!(all_benchmarks, benchmarks);
criterion_main!(all_benchmarks);
