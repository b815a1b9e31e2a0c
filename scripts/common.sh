# shellcheck shell=bash
# What the scripts share; sourced, not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
export CONSIGN_CORPUS=${CONSIGN_CORPUS:-$(realpath -m "$target")/corpus}

say() { printf '\n== %s\n' "$*"; }
loud() { printf '\n************************************************************************\n** %s\n************************************************************************\n' "$*" >&2; }

# need COMMAND PACKAGE...: installs packages by name where the command is missing and this is root; says so where it cannot.
need() {
  local command=$1; shift
  command -v "$command" >/dev/null && return 0
  if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    [[ -n ${apt_updated:-} ]] || { apt-get update -qq || true; apt_updated=1; }
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || true
  fi
  command -v "$command" >/dev/null || { loud "$command is missing and could not be installed; install: $*"; return 1; }
}

# phase NAME COMMAND...: runs it and remembers how long it took.
phases=()
phase() {
  local name=$1 from=$SECONDS; shift
  say "$name"
  "$@"
  phases+=("$(printf '%-28s %5d s' "$name" $((SECONDS - from)))")
}
