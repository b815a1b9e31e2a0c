//! Runs the target that `CONSIGN_FUZZ_TARGET` names under libFuzzer.

#![no_main]

#[path = "../../tests/fuzz/targets.rs"]
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("CONSIGN_FUZZ_TARGET").unwrap_or_default();
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| panic!("CONSIGN_FUZZ_TARGET names no target: {name:?}")).run
});

fuzz_target!(|bytes: &[u8]| RUN(bytes));
