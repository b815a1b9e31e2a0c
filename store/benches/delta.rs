//! What a core does with patches: build, apply, sketch; per byte of the target.

#![expect(clippy::cast_possible_truncation, reason = "offsets of 32 bits, and the low bytes of noise")]

use std::hint::black_box;

use consign_store::delta::similar::Sketch;
use consign_store::delta::{self, Limits};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const TARGET_BYTES: usize = 8 << 20;
/// Bytes of a piece of generated code before its call.
const BODY_BYTES: usize = 27;

/// Bytes like machine code: after each `BODY_BYTES` the call of another place, as an offset; `grown` bytes are inserted after a third, so
/// calls across that place differ with it.
fn program(grown: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let seam = TARGET_BYTES / 3;
    let mut bytes = Vec::with_capacity(TARGET_BYTES + grown + BODY_BYTES);
    let mut is_whole = false;
    while bytes.len() < TARGET_BYTES {
        if !is_whole && bytes.len() >= seam {
            bytes.resize(bytes.len() + grown, 0x90);
            is_whole = true;
        }
        for _ in 0..BODY_BYTES {
            bytes.push((next() >> 32 & next() >> 20) as u8);
        }
        let callee = (next() % 4096) as usize * (TARGET_BYTES / 4096);
        let callee = if callee < seam { callee } else { callee + grown };
        bytes.push(0xe8);
        bytes.extend((callee as u32).wrapping_sub(bytes.len() as u32).to_le_bytes());
    }
    bytes
}

fn apply(patch: &[u8], base: &[u8]) -> u64 {
    let mut made = 0;
    delta::apply(&mut &patch[..], &Limits::default(), &mut |_| Ok(base), &mut |bytes| {
        made += bytes.len() as u64;
        Ok(())
    })
    .expect("the patch was made for this base");
    made
}

fn patches(c: &mut Criterion) {
    let base = program(0);
    let relinked = program(12_345);
    let mut copied = base.clone();
    copied[TARGET_BYTES / 2] ^= 1;
    let mut group = c.benchmark_group("patch");
    group.sample_size(10);
    for (name, target) in [("relinked", &relinked), ("copied", &copied)] {
        let patch = delta::encode(&[&base], target, &Limits::default()).expect("the contents are within the limits");
        group.throughput(Throughput::Bytes(target.len() as u64));
        group.bench_function(format!("build, {name}"), |b| {
            b.iter(|| delta::encode(&[black_box(&base[..])], target, &Limits::default()));
        });
        group.bench_function(format!("apply, {name}"), |b| b.iter(|| apply(black_box(&patch), &base)));
    }
    group.bench_function("sketch", |b| b.iter(|| Sketch::of_bytes(black_box(&base))));
    group.finish();
}

criterion_group!(benches, patches);
criterion_main!(benches);
