#!/usr/bin/env bash
# The proofs at full count: kills, crashes and faults at random, each from a known seed. Writes the table of docs/soak.md.
# Usage: [COUNT=110] [IMAGES=100000] [SEED=1] [PROFILE=release] scripts/soak.sh [NAME...]
# NAME: part of a test's name (default: every soak test). COUNT: kills of a put, a collection, a get and a replicating site server each, a third of it of
# any role while versions travel, twice: 514 as a rule; above 14 also every single fault. IMAGES: disks after power cuts of a hub, packs and catalog
# together, and a quarter as many of each of the three others.
# A soak test has soak_ in its name, reads CONSIGN_SOAK_COUNT or CONSIGN_SOAK_IMAGES and CONSIGN_SOAK_SEED (small counts by default, so that
# scripts/test.sh runs it too) and prints, when all went well, one line: SOAK <what> <count> <seed>. Rows of tests that were not run stay.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
export CONSIGN_SOAK_COUNT=${COUNT:-110} CONSIGN_SOAK_IMAGES=${IMAGES:-100000} CONSIGN_SOAK_SEED=${SEED:-$(date +%s)}
names=("$@"); [[ ${#names[@]} -gt 0 ]] || names=(soak_)
profile=${PROFILE:-release}
log=$(mktemp) rows=$(mktemp); trap 'rm -f "$log" "$rows"' EXIT
need strace strace || true

failed=0
commit=$(git rev-parse --short=12 HEAD)
# Its own results do not make it another commit.
[[ -z $(git status --porcelain -- . ':!docs/soak.md') ]] || commit="$commit, changed"
say "soak: count $CONSIGN_SOAK_COUNT, images $CONSIGN_SOAK_IMAGES, seed $CONSIGN_SOAK_SEED, commit $commit"
cargo test --workspace --test consign --test fuzz --profile "$profile" --locked --no-fail-fast -- --nocapture --test-threads=1 "${names[@]}" 2>&1 | tee "$log" || failed=1
grep -q '^SOAK ' "$log" || { loud "no soak test reported anything"; exit 1; }
about="$commit | $(date -u +%Y-%m-%d) | $profile"
grep '^SOAK ' "$log" | awk -v about="$about" '{printf "| %s | %s | %s | %s |\n", $2, $3, $4, about}' >"$rows"
# What was not run this time stays as it was.
grep '^| [a-z].*-' docs/soak.md | while IFS= read -r row; do
  grep -qF "| $(awk '{print $2}' <<<"$row") |" "$rows" || echo "$row"
done >"$log" || true
{
  echo "# Soak"
  echo
  echo "Proofs at full count, as \`scripts/soak.sh\` last ran them: each row ended with the right content every time. The same seed does it again."
  echo
  echo "| proof | count | seed | commit | date | profile |"
  echo "|---|---|---|---|---|---|"
  sort "$rows" "$log"
} >docs/soak.md
cat docs/soak.md
[[ $failed == 0 ]] || { loud "FAILED: what is not in the table of this commit did not go well"; exit 1; }
