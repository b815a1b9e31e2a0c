#!/usr/bin/env bash
# Searches with libFuzzer for inputs that break a fuzz target, and keeps some of what covered new code in store/tests/fuzz/corpus.
# Usage: [SECONDS_EACH=60] scripts/fuzz.sh [TARGET...]      (default: every target of store/tests/fuzz/targets.rs)
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
need g++ g++
targets=("$@"); [[ ${#targets[@]} -gt 0 ]] || mapfile -t targets < <(sed -n 's/.*Target { *name: "\([a-z-]*\)".*/\1/p' store/tests/fuzz/targets.rs)
# The compiler's own coverage instrumentation: what cargo-fuzz asks for, without a sanitizer, which a stable compiler does not have.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --manifest-path store/fuzz/Cargo.toml --target-dir "$target/fuzz" --target "$host"
for name in "${targets[@]}"; do
  say "$name"
  kept=store/tests/fuzz/corpus/$name found=$target/fuzz/corpus/$name merged=$target/fuzz/merged/$name
  rm -rf "$merged"; mkdir -p "$kept" "$found" "$merged"
  mapfile -t golden < <(sed -n "/name: \"$name\"/,/run:/s/.*golden: &\[\([^]]*\)\].*/\1/p" store/tests/fuzz/targets.rs | grep -o '[a-z0-9.-]*\.\(bin\|run\)')
  for file in "${golden[@]}"; do cp "store/tests/golden/$file" "$found/"; done
  export CONSIGN_FUZZ_TARGET=$name
  "$target/fuzz/$host/release/consign-fuzz" -max_total_time="${SECONDS_EACH:-60}" -max_len=8192 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$target/fuzz/$name-" "$found" "$kept"
  "$target/fuzz/$host/release/consign-fuzz" -set_cover_merge=1 -max_len=2048 "$merged" "$kept" "$found" 2>/dev/null
  # A few short ones, for the test run; the rest stays in the target folder, for the next search.
  rm -rf "$kept"; mkdir "$kept"
  find "$merged" -type f -printf '%s %p\n' | sort -n | head -64 | cut -d' ' -f2 | xargs -r cp -t "$kept"
done
du -sh store/tests/fuzz/corpus
