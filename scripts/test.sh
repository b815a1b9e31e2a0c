#!/usr/bin/env bash
# Everything that must hold: tools, real packages, checks, tests. This is what continuous integration runs. Usage: scripts/test.sh
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

tools() {
  need cargo cargo || return 1
  need cc build-essential || return 1
  # Only the corpus and the comparisons with peers need these; without them the generated pair is used and the comparison is left out, loudly.
  need npm npm || true
  need pip python3-pip || true
  need unzip unzip || true
  need casync casync || true
  need zstd zstd || true
  # Without it no power cut and no failing operation is tried, and that is said.
  need strace strace || true
}
# An independent TUF client, which our release metadata is held against; without it that comparison is left out, loudly.
tuf_client() {
  local venv; venv=$(realpath -m "$target")/tuf-client
  if [[ ! -x $venv/bin/python ]] || ! "$venv/bin/python" -c 'import tuf' 2>/dev/null; then
    python3 -m venv "$venv" >/dev/null 2>&1 && "$venv/bin/pip" install -q tuf >/dev/null 2>&1 || true
  fi
  if "$venv/bin/python" -c 'import tuf' 2>/dev/null; then
    export CONSIGN_TUF_PYTHON=$venv/bin/python
  else
    loud "no independent TUF client could be installed: our release metadata is NOT held against one (pip install tuf)"
  fi
}
results=$(mktemp)
# Also after a failure: what ran, how long, and what the test runner said.
finish() {
  local code=$?
  say "times"; printf '%s\n' "${phases[@]}"
  say "results"; grep -E '^(test .* FAILED|test result:.*)$' "$results" || echo "no test ran"
  rm -f "$results"
  [[ $code == 0 ]] || loud "FAILED"
  exit "$code"
}
trap finish EXIT
tests() { cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$results"; }

phase "tools" tools
phase "an independent TUF client" tuf_client
phase "real packages" scripts/corpus.sh
phase "checks" scripts/check.sh
phase "tests" tests
