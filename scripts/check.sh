#!/usr/bin/env bash
# Format, lints, docs, dependencies, layering. Usage: scripts/check.sh
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

phase "format" cargo fmt --all --check
phase "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
docs() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked --quiet; }
phase "docs" docs
scripts_are_sound() {
  local script
  for script in scripts/*.sh .ci/run; do bash -n "$script"; done
  if command -v shellcheck >/dev/null; then shellcheck -x -S warning scripts/*.sh .ci/run; fi
}
phase "scripts" scripts_are_sound
dependencies() {
  if ! command -v cargo-deny >/dev/null; then
    loud "cargo-deny is not installed: licences, duplicates and advisories are NOT checked (cargo install cargo-deny --locked)"
    return 0
  fi
  cargo deny --all-features check bans licenses sources
  # The advisory database needs the network; where it cannot be reached that is said, a found advisory still fails.
  if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny --all-features check --disable-fetch advisories
  else
    loud "the advisory database cannot be reached: advisories are NOT checked"
  fi
}
phase "dependencies" dependencies
phase "layering" cargo test --test consign --locked --quiet -- layering
