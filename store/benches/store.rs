//! What a core does: cut and hash, encode, decode, look up.

use std::hint::black_box;

use bytes::Bytes;
use consign_store::ChunkId;
use consign_store::chunk::record::{RECORD_RAW_BYTES_MAX, VerifiedRecord, encode};
use consign_store::chunk::{ChunkKind, VerifiedChunk, cut};
use consign_store::store::Store;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Bytes that compress like text: words of a small vocabulary in generated order.
fn content(len: usize) -> Bytes {
    let words: Vec<String> =
        (0..4096_u32).map(|word| format!("{:x} ", word.wrapping_mul(2_654_435_761) >> (word % 20))).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(words[(state % 4096) as usize].as_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

fn chunks(bytes: &Bytes) -> Vec<VerifiedChunk> {
    cut::cut(bytes).map(|range| VerifiedChunk::hash(ChunkKind::Content, bytes.slice(range))).collect()
}

fn bytes(c: &mut Criterion) {
    let raw = content(RECORD_RAW_BYTES_MAX);
    let chunks = chunks(&raw);
    let record = encode(ChunkKind::Content, &chunks, 3).expect("the chunks fit one record");
    let mut group = c.benchmark_group("bytes");
    group.throughput(Throughput::Bytes(raw.len() as u64));
    group.bench_function("cut and hash", |b| b.iter(|| self::chunks(black_box(&raw))));
    group.bench_function("encode", |b| b.iter(|| encode(ChunkKind::Content, black_box(&chunks), 3)));
    group.bench_function("decode and verify", |b| b.iter(|| VerifiedRecord::decode(black_box(&record).clone())));
    group.finish();
}

/// Records of 1,024 chunks of 8 bytes: many index entries in little time.
fn filled(store: &Store, records: u64) -> Vec<ChunkId> {
    let mut ids = Vec::new();
    for record in 0..records {
        let chunks: Vec<_> = (0..1024_u64)
            .map(|chunk| VerifiedChunk::hash(ChunkKind::Content, Bytes::copy_from_slice(&(record * 1024 + chunk).to_le_bytes())))
            .collect();
        ids.extend(chunks.iter().map(VerifiedChunk::id));
        store
            .append_encoded(encode(ChunkKind::Content, &chunks, 3).expect("the chunks fit one record"))
            .expect("the folder takes it");
    }
    ids
}

fn look_ups(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let store = Store::open(dir.path()).expect("an empty folder becomes a store");
    let ids = filled(&store, 1000);
    let mut at = 0;
    let mut next = || {
        at = (at + 7919) % ids.len();
        ids[at]
    };
    let mut group = c.benchmark_group("one million chunks");
    group.throughput(Throughput::Elements(1));
    group.bench_function("look up one that is there", |b| b.iter(|| store.locate(&next())));
    group.bench_function("look up one that is not", |b| {
        b.iter(|| {
            let mut id = next();
            id.0[31] ^= 1;
            store.locate(&id)
        });
    });
    drop(store);
    group.bench_function("open", |b| b.iter(|| Store::open(dir.path())));
    group.finish();
}

criterion_group!(benches, bytes, look_ups);
criterion_main!(benches);
