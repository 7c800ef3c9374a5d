//! The parts of a backup, one core each: cutting, naming, sealing, packing, opening; beside them what the same bytes
//! cost in the bare algorithm, so that a ratio can be read off one run.
//!
//! `cargo bench --bench format`.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use obnam::chunk::{ChunkId, Label};
use obnam::chunker::{Chunker, KeyedGear};
use obnam::crypto::Key;
use obnam::crypto::aead::{PieceCipher, Purpose};
use obnam::crypto::public::HpkePrivate;
use obnam::format::blob::{BlobHasher, BlobKind};
use obnam::format::header::{OpenWith, SealFor, SealedHeader, create};
use obnam::format::pack::{BlobOpener, Compressor, PackBuilder, read_directory};
use obnam::format::roster::Parameters;

const SIZE: usize = 16 << 20;

/// Bytes that do not repeat and do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Words, as in source code: compresses to about a third.
fn text(length: usize) -> Vec<u8> {
    let words = ["fn ", "let ", "self", ".", "(", ")", "chunk", "index", " = ", ";\n    ", "repository", "return "];
    let picks = noise(length);
    picks.iter().flat_map(|pick| words[usize::from(*pick) % words.len()].bytes()).take(length).collect()
}

fn label() -> Label {
    "data".parse().unwrap()
}

fn header(private: &HpkePrivate) -> SealedHeader {
    create(&ChunkId::from_bytes([1; 32]), &label(), 1, &[0; 16], &SealFor::Data(&private.public())).unwrap()
}

fn chunker(c: &mut Criterion) {
    let mut group = c.benchmark_group("cut 16 MiB");
    group.throughput(Throughput::Bytes(SIZE as u64));
    let data = noise(SIZE);
    let chunker = KeyedGear::new(&Key::from_bytes([7; 32]), &Parameters::default()).unwrap();
    group.bench_function("keyed gear", |b| {
        b.iter(|| {
            let (mut rest, mut pieces) = (data.as_slice(), 0);
            while !rest.is_empty() {
                rest = &rest[chunker.cut(rest)..];
                pieces += 1;
            }
            pieces
        });
    });
    group.finish();
}

fn naming(c: &mut Criterion) {
    let mut group = c.benchmark_group("name 16 MiB in blobs of 1 MiB");
    group.throughput(Throughput::Bytes(SIZE as u64));
    let data = noise(SIZE);
    let hasher = BlobHasher::new(&Key::from_bytes([7; 32]));
    group.bench_function("blob ids", |b| {
        b.iter(|| {
            for blob in data.chunks(1 << 20) {
                black_box(hasher.id(BlobKind::Data, blob));
            }
        });
    });
    group.bench_function("chunk id (SHA-256)", |b| b.iter(|| ChunkId::of(black_box(&data))));
    group.finish();
}

fn sealing(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal");
    let cipher = PieceCipher::new(&Key::from_bytes([7; 32]), [0; 32]);
    for (name, size) in [("4 KiB", 4 << 10), ("1 MiB", 1 << 20)] {
        let data = noise(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("piece of {name}"), |b| {
            let mut buffer = Vec::with_capacity(size + 16);
            b.iter(|| {
                buffer.clear();
                buffer.extend_from_slice(&data);
                cipher.seal_tail(Purpose::Blob, 0, &mut buffer, 0);
                buffer.len()
            });
        });
    }
    let private = HpkePrivate::random();
    group.throughput(Throughput::Elements(1));
    group.bench_function("header of a pack (HPKE)", |b| b.iter(|| header(&private).bytes.len()));
    group.finish();
}

fn packing(c: &mut Criterion) {
    let mut group = c.benchmark_group("pack 16 MiB");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(SIZE as u64));
    let private = HpkePrivate::random();
    let hasher = BlobHasher::new(&Key::from_bytes([7; 32]));
    let parameters = Parameters::default();
    for (kind, data) in [("text", text(SIZE)), ("noise", noise(SIZE))] {
        for (name, size) in [("4 KiB", 4 << 10), ("1 MiB", 1 << 20)] {
            let mut compressor = Compressor::new(parameters.compression_level);
            group.bench_function(format!("{kind} in blobs of {name}"), |b| {
                b.iter(|| {
                    let mut pack = PackBuilder::new(label(), header(&private), SIZE + (1 << 20));
                    for blob in data.chunks(size) {
                        pack.add(BlobKind::Data, hasher.id(BlobKind::Data, blob), blob, &mut compressor);
                    }
                    pack.finish().bytes.len()
                });
            });
            let mut zstd = zstd::bulk::Compressor::new(parameters.compression_level).unwrap();
            let mut buffer = vec![0; zstd::zstd_safe::compress_bound(size)];
            group.bench_function(format!("{kind} in blobs of {name}, zstd alone"), |b| {
                b.iter(|| {
                    data.chunks(size).map(|blob| zstd.compress_to_buffer(blob, &mut buffer[..]).unwrap()).sum::<usize>()
                });
            });
        }
    }
    group.finish();
}

fn opening(c: &mut Criterion) {
    let mut group = c.benchmark_group("open a pack of 16 MiB");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(SIZE as u64));
    let private = HpkePrivate::random();
    let hasher = BlobHasher::new(&Key::from_bytes([7; 32]));
    let mut compressor = Compressor::new(3);
    let mut pack = PackBuilder::new(label(), header(&private), SIZE);
    for blob in text(SIZE).chunks(1 << 20) {
        pack.add(BlobKind::Data, hasher.id(BlobKind::Data, blob), blob, &mut compressor);
    }
    let pack = pack.finish();
    group.bench_function("directory and all blobs", |b| {
        let mut opener = BlobOpener::default();
        b.iter(|| {
            let header = obnam::format::header::Header::parse(&pack.bytes).unwrap();
            let sealed = header.open(&OpenWith::Data(&private)).unwrap();
            for place in read_directory(&pack.bytes, &header, &sealed.cipher).unwrap() {
                let piece = &pack.bytes[place.offset as usize..(place.offset + place.stored) as usize];
                black_box(opener.open(&sealed.cipher, &hasher, &place, piece).unwrap());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, chunker, naming, sealing, packing, opening);
criterion_main!(benches);
