#!/usr/bin/env bash
# Figures against peers, side by side in one run: medians of RUNS (default 5), ratios first. Prints a Markdown table.
# Usage: [RUNS=5] [TMPDIR=/dev/shm] scripts/bench.sh [put|update|install|small...]       (default: all)
# put: storing a folder, against restic and tar|zstd.  update: bytes of an update, against casync.  install: a full install through the site
# server over TLS, every byte verified, against curl from nginx (plain HTTP, nothing verified) | zstd -d | tar x.
# small: a package of one 1 KiB file from released to ready at the site, and from there to installed, against the limits set for it.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
runs=${RUNS:-5}
parts=("$@"); [[ ${#parts[@]} -gt 0 ]] || parts=(put update install small)
if [[ -z ${TMPDIR:-} && -w /dev/shm ]]; then export TMPDIR=/dev/shm; fi
for tool in restic casync zstd rsync curl; do need "$tool" "$tool"; done
PATH=$PATH:/usr/sbin need nginx nginx-light
scripts/corpus.sh >/dev/null
cargo build --release --locked
consign=$(realpath "$target/release/consign")
work=$(mktemp -d); nginx_pid=$work/nginx.pid
trap '[[ -f $nginx_pid ]] && kill "$(cat "$nginx_pid")"; rm -rf "$work"' EXIT
export RESTIC_PASSWORD=x

field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
median() { sort -n | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }
# seconds COMMAND: wall time.
seconds() { local from; from=$(date +%s%N); bash -c "$1" >/dev/null 2>"$work/err" || { cat "$work/err" >&2; return 1; }; echo $(($(date +%s%N) - from)) | awk '{printf "%.4f\n", $1/1e9}'; }
# row WHAT OURS PEER THEIRS UNIT GOAL
row() { awk -v w="$1" -v o="$2" -v p="$3" -v t="$4" -v u="$5" -v g="$6" 'BEGIN {printf "| %s | %s %s | %s %s %s | %.2f | %s |\n", w, o, u, p, t, u, o/t, g}' >>"$work/rows"; }
pairs() { # prints OLD NEW for each pair here
  local old new
  for old in "$CONSIGN_CORPUS"/{typescript-5.6.2,next-14.2.14,cmake-3.30.1,generated-4.2.0}; do
    new=$(find "$CONSIGN_CORPUS" -mindepth 1 -maxdepth 1 -name "$(basename "$old" | sed 's/-.*//')-*" | sort | tail -1)
    if [[ -d $old && -d $new ]]; then echo "$old $new"; fi
  done
}
package() { pairs | sed -n "$([[ -d $CONSIGN_CORPUS/next-14.2.14 ]] && echo '/next-/p' || echo '$p')" | cut -d' ' -f1; }

put() {
  local dir; dir=$(package)
  local ours=() restic=() tar=()
  for _ in $(seq "$runs"); do
    rm -rf "$work/s" "$work/r" "$work/t"
    ours+=("$(seconds "$consign store put $work/s $dir --json")")
    restic init -q -r "$work/r" >/dev/null
    restic+=("$(seconds "restic backup -q --no-cache -r $work/r $dir")")
    tar+=("$(seconds "tar cf - -C $dir . | zstd -q -3 -T2 -o $work/t")")
  done
  local name o; name=$(basename "$dir"); o=$(printf '%s\n' "${ours[@]}" | median)
  row "put $name" "$o" "restic backup" "$(printf '%s\n' "${restic[@]}" | median)" s "≤ 0.60"
  row "put $name" "$o" "tar, zstd -3 -T2" "$(printf '%s\n' "${tar[@]}" | median)" s ""
}

casync_bytes() { # OLD NEW: new chunks and the index
  local with=(--without=all --with=permissions --with=symlinks --compression=zstd --store="$work/c/s.castr")
  rm -rf "$work/c"; mkdir "$work/c"
  casync make "${with[@]}" "$work/c/old.caidx" "$1" >/dev/null; find "$work/c/s.castr" -type f | sort >"$work/c/before"
  casync make "${with[@]}" "$work/c/new.caidx" "$2" >/dev/null; find "$work/c/s.castr" -type f | sort >"$work/c/after"
  { comm -13 "$work/c/before" "$work/c/after"; echo "$work/c/new.caidx"; } | xargs stat -c %s | awk '{s+=$1} END {print s}'
}
update() {
  local old new bytes
  while read -r old new; do
    bytes=$("$consign" demo "$old" "$new" --json | tail -1 | field update_wire_bytes)
    row "update $(basename "$old") → $(basename "$new")" "$bytes" casync "$(casync_bytes "$old" "$new")" B "≤ 1.00"
  done < <(pairs)
}

serve() { # starts nginx on a free port of loopback; prints the port
  local port; port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
  chmod 755 "$work"
  cat >"$work/nginx.conf" <<N
pid $nginx_pid; error_log $work/nginx.err; events {}
http { sendfile on; access_log off; client_body_temp_path $work/1; proxy_temp_path $work/2; fastcgi_temp_path $work/3;
  uwsgi_temp_path $work/4; scgi_temp_path $work/5; server { listen 127.0.0.1:$port; root $work; } }
N
  PATH=$PATH:/usr/sbin nginx -c "$work/nginx.conf"
  curl -sf --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null "http://127.0.0.1:$port/full.tar.zst" -r 0-0
  echo "$port"
}
install() {
  local dir ours=() peer=() port; dir=$(package)
  tar --sort=name -cf - -C "$dir" . | zstd -q -3 -o "$work/full.tar.zst"
  port=$(serve)
  for _ in $(seq "$runs"); do
    ours+=("$("$consign" demo "$dir" "$dir" --json | tail -1 | field install_seconds)")
    rm -rf "$work/out"; mkdir "$work/out"
    peer+=("$(seconds "curl -sf http://127.0.0.1:$port/full.tar.zst | zstd -dc | tar xf - -C $work/out")")
  done
  row "full install $(basename "$dir")" "$(printf '%s\n' "${ours[@]}" | median)" "curl nginx, zstd -d, tar x" "$(printf '%s\n' "${peer[@]}" | median)" s "≤ 1.30"
}

small() {
  local answer ready=() installed=()
  mkdir "$work/small" "$work/small.new"
  head -c 1024 /dev/urandom >"$work/small/file"; head -c 1024 /dev/urandom >"$work/small.new/file"
  for _ in $(seq "$runs"); do
    answer=$("$consign" demo "$work/small" "$work/small.new" --json | tail -1)
    ready+=("$(field update_site_ready_seconds <<<"$answer")")
    installed+=("$(field update_install_seconds <<<"$answer")")
  done
  row "1 KiB package, released → ready" "$(printf '%s\n' "${ready[@]}" | median)" limit 0.25 s "≤ 1.00"
  row "1 KiB package, ready → installed" "$(printf '%s\n' "${installed[@]}" | median)" limit 0.25 s "≤ 1.00"
}

for part in "${parts[@]}"; do "$part" >&2; done
echo
echo "Medians of $runs, $(nproc) cores, on $(stat -f -c %T "$work"), commit $(git rev-parse --short=12 HEAD), $(date -u +%Y-%m-%d)."
echo
echo "| what | Consign | peer | ratio | goal |"
echo "|---|---|---|---|---|"
cat "$work/rows"
