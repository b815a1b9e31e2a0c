#!/usr/bin/env bash
# The proofs at full count: kills, crashes and faults at random, each from a known seed. Writes the table of docs/soak.md.
# Usage: [COUNT=200] [SEED=1] [PROFILE=release] scripts/soak.sh [NAME...]      NAME: part of a test's name (default: every soak test)
# A soak test has soak_ in its name, reads CONSIGN_SOAK_COUNT and CONSIGN_SOAK_SEED (small counts by default, so that scripts/test.sh runs it
# too) and prints, when all went well, one line: SOAK <what> <count> <seed>.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
export CONSIGN_SOAK_COUNT=${COUNT:-200} CONSIGN_SOAK_SEED=${SEED:-$(date +%s)}
names=("$@"); [[ ${#names[@]} -gt 0 ]] || names=(soak_)
profile=${PROFILE:-release}
log=$(mktemp); trap 'rm -f "$log"' EXIT

commit=$(git rev-parse --short=12 HEAD)
[[ -z $(git status --porcelain) ]] || commit="$commit, changed"
say "soak: count $CONSIGN_SOAK_COUNT, seed $CONSIGN_SOAK_SEED, commit $commit"
from=$SECONDS
cargo test --package consign --test consign --profile "$profile" --locked --no-fail-fast -- --nocapture --test-threads=1 "${names[@]}" 2>&1 | tee "$log"
grep -q '^SOAK ' "$log" || { loud "no soak test reported anything"; exit 1; }
{
  echo "# Soak"
  echo
  echo "Proofs at full count, as \`scripts/soak.sh\` last ran them: each row ended with the right content every time. The same seed does it again."
  echo
  echo "Commit $commit, $(date -u +%Y-%m-%d), $((SECONDS - from)) s, $(nproc) cores, profile $profile."
  echo
  echo "| proof | count | seed |"
  echo "|---|---|---|"
  grep '^SOAK ' "$log" | awk '{printf "| %s | %s | %s |\n", $2, $3, $4}' | sort
} >docs/soak.md
cat docs/soak.md
