#!/usr/bin/env bash
# Figures against peers and limits, side by side in one run: medians of RUNS (default 5), ratios Consign / peer. Prints a Markdown table.
# Usage: [RUNS=5] [TMPDIR=/dev/shm] scripts/bench.sh [PART...]       (default: all parts; docs/performance.md tells what each measures)
#   put      a folder into a new store: restic, tar | zstd; stored bytes     again    the same again: rsync -an; FastCDC and BLAKE3
#   get      a folder out of a store: zstd -d | tar x                        large    one large file: the slowest stage's limit
#   install  through a site server: curl nginx | zstd -d | tar x             small    a package of 1 KiB: limits
#   deltas   bytes, building and applying of updates: pairwise diffs         serve    the data plane, over TLS and without: nginx
#   back     bytes of updates from two versions back: the best pairwise diff      packed   bytes of updates of packages that are one archive
#   apart    bytes of an update to something that has nothing in common           links    updates over 100 Mbit/s and over open loopback
#   cold     the data plane while a pack is not in memory, on a disk: nginx  crowd    1,000 agents at once: memory, failures, shares
#   memory   peak RssAnon of each role on a large package and on one of many files: limits
#   growth   cost by chunks (10^4 to GROWTH_CHUNKS, default 10^7) and files (10^2 to GROWTH_FILES, default 10^5); draws docs/growth.svg
# PAIRS="OLD:NEW ..." adds pairs of folders to deltas and links.
# get, install and cold also or only work in BENCH_DISK (default: the target folder), which should lie on a disk.
# LARGE_BYTES (1 GiB), CROWD_AGENTS (1000), CROWD_BYTES (8 MiB), MEMORY_BYTES (10^9), MEMORY_FILES (10^6) and SERVE_SECONDS (2, a figure) can be set
# smaller for a trial; the table names them.
# Peers' versions are whatever the system has. What is timed and writes content ends with `sync -f`, on both sides.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
shopt -s inherit_errexit
runs=${RUNS:-5}; large_bytes=${LARGE_BYTES:-1073741824}; memory_bytes=${MEMORY_BYTES:-1000000000}; memory_files=${MEMORY_FILES:-1000000}; serve_seconds=${SERVE_SECONDS:-2}
all=(put again get large install small deltas back packed apart links serve cold crowd memory growth)
parts=("$@"); [[ ${#parts[@]} -gt 0 ]] || parts=("${all[@]}")
for part in "${parts[@]}"; do
  [[ " ${all[*]} " == *" $part "* ]] || { echo "unknown part: $part (there are: ${all[*]})" >&2; exit 2; }
done
if [[ -z ${TMPDIR:-} && -w /dev/shm ]]; then export TMPDIR=/dev/shm; fi
for tool in restic casync zstd rsync curl xdelta3 bsdiff python3; do need "$tool" "$tool"; done
export PATH=$PATH:/usr/sbin; need nginx nginx-light
scripts/corpus.sh >/dev/null
cargo build --release --locked
programs=$(cargo build --release --locked --workspace --bench serving --bench limits --bench patches --bench growth --message-format=json-render-diagnostics | python3 -c '
import json, sys
for message in map(json.loads, sys.stdin):
    if message.get("executable") and "bench" in message["target"]["kind"]: print(message["target"]["name"], message["executable"])')
consign=$(realpath "$target/release/consign")
work=$(mktemp -d); chmod 755 "$work"; touch "$work/rows"
mkdir -p "${BENCH_DISK:=$target}"; disk=$(mktemp -d -p "$(realpath "$BENCH_DISK")" bench.XXXXXX); chmod 755 "$disk"
finish() { local pid; for pid in "$work"/*.pid; do [[ ! -s $pid ]] || kill "$(cat "$pid")" 2>/dev/null || true; done; rm -rf "$work" "$disk"; }
trap finish EXIT
export RESTIC_PASSWORD=x

program() { awk -v name="$1" '$1 == name {print $2}' <<<"$programs"; }
field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
middle() { printf '%s\n' "$@" | sort -g | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }
calc() { awk "BEGIN {printf \"%.6g\n\", $1}"; }
# seconds COMMAND: wall time.
seconds() {
  local from; from=$(date +%s%N)
  bash -o pipefail -c "$1" >/dev/null 2>"$work/err" || { cat "$work/err" >&2; return 1; }
  calc "($(date +%s%N) - $from) / 1e9"
}
# row WHAT OURS PEER THEIRS UNIT GOAL
row() {
  awk -v w="$1" -v o="$2" -v p="$3" -v t="$4" -v u="$5" -v g="$6" 'function n(v) { return v ~ /\./ ? sprintf((v < 10 ? "%.3f" : "%.0f"), v) : v }
    BEGIN {printf "| %s | %s %s | %s: %s %s | %s | %s |\n", w, n(o), u, p, n(t), u, (t > 0 ? sprintf("%.2f", o / t) : "-"), g}' | tee -a "$work/rows"
}
# places: where to work, one a line: the temporary folder, and a disk if that is another file system. on PLACE: its kind.
places() { echo "$work"; [[ $(stat -f -c %T "$disk") == "$(stat -f -c %T "$work")" ]] || echo "$disk"; }
on() { stat -f -c %T "$1"; }
pairs() { # prints OLD NEW for each pair here
  local old new
  for old in "$CONSIGN_CORPUS"/{typescript-5.6.2,next-14.2.14,cmake-3.30.1,swc-1.7.35,generated-4.2.0}; do
    new=$(find "$CONSIGN_CORPUS" -mindepth 1 -maxdepth 1 -name "$(basename "$old" | sed 's/-.*//')-[0-9]*" | sort | tail -1)
    if [[ -d $old && -d $new ]]; then echo "$old $new"; fi
  done
  for old in ${PAIRS:-}; do echo "$(realpath "${old%%:*}") $(realpath "${old#*:}")"; done
}
packages() { pairs | cut -d' ' -f1 | { grep -E '/(next|cmake|generated)-' || true; }; }
# one_core COMMAND...: on one of the cores that it may use, where it works in one thread.
one_core() { taskset -c "$(awk '/^Cpus_allowed_list/ {print $2}' /proc/self/status | grep -oE '[0-9]+$')" "$@"; }
bytes_of() { find "$1" -type f -printf '%s\n' | awk '{s+=$1} END {print s+0}'; }

put() {
  local dir name
  while read -r dir; do
    local ours=() restic=() tar=() full stored; name=$(basename "$dir")
    for _ in $(seq "$runs"); do
      rm -rf "$work/s" "$work/r" "$work/t"
      ours+=("$(seconds "$consign store put $work/s $dir --json; sync -f $work/s")")
      restic init -q -r "$work/r" >/dev/null
      restic+=("$(seconds "restic backup -q --no-cache -r $work/r $dir; sync -f $work/r")")
      tar+=("$(seconds "tar cf - -C $dir . | zstd -q -3 -T2 -o $work/t; sync -f $work/t")")
    done
    row "put $name" "$(middle "${ours[@]}")" "restic backup" "$(middle "${restic[@]}")" s "≤ 0.60 (2), ≤ 0.35 (3)"
    row "put $name" "$(middle "${ours[@]}")" "tar, zstd -3 -T2" "$(middle "${tar[@]}")" s "≤ 1.20 (3)"
    stored=$(bytes_of "$work/s/packs"); full=$(tar --sort=name -cf - -C "$dir" . | zstd -q -3 | wc -c)
    row "stored bytes of $name" "$stored" "tar, zstd -3" "$full" B "$([[ $name == next-* ]] && echo '≤ 0.97 (3)' || echo '≤ 1.00 (3)')"
  done < <(packages)
  rm -rf "$work/s" "$work/r" "$work/t"
}

again() {
  local dir; dir=$(packages | head -1)
  local name ours=() verify=() rsync=() hash=() bare=() limit bytes; name=$(basename "$dir"); bytes=$(bytes_of "$dir")
  "$consign" store put "$work/s" "$dir" --json >/dev/null; cp -a "$dir" "$work/copy"
  for _ in $(seq "$runs"); do
    ours+=("$(seconds "$consign store put $work/s $dir --json; sync -f $work/s")")
    rsync+=("$(seconds "rsync -an $dir/ $work/copy/")")
    verify+=("$(seconds "$consign store put $work/s $dir --verify --json; sync -f $work/s")")
    limit=$("$(program limits)" measure "$dir" "$work")
    hash+=("$(field "cut and hash" <<<"$limit")"); bare+=("$(seconds "$(program limits) bare $dir")")
  done
  row "put $name again, unchanged" "$(middle "${ours[@]}")" "rsync -an" "$(middle "${rsync[@]}")" s "≤ 1.50 (3)"
  local rate; rate=$(calc "$bytes / $(middle "${verify[@]}") / 1e6")
  row "put $name again, --verify" "$rate" "FastCDC, BLAKE3 from memory, all cores" "$(calc "$bytes / $(middle "${hash[@]}") / 1e6")" MB/s "≥ 0.80 (3)"
  row "put $name again, --verify" "$rate" "listing, reading, FastCDC, BLAKE3, all cores" "$(calc "$bytes / $(middle "${bare[@]}") / 1e6")" MB/s ""
  rm -rf "$work/s" "$work/copy"
}

get() {
  local dir name manifest place
  while read -r place dir; do
    local ours=() peer=(); name=$(basename "$dir")
    manifest=$("$consign" store put "$place/s" "$dir" --json | field manifest)
    tar --sort=name -cf - -C "$dir" . | zstd -q -3 -f -o "$place/t"
    for _ in $(seq "$runs"); do
      rm -rf "$place/out"
      ours+=("$(seconds "$consign store get $place/s $manifest $place/out --json; sync -f $place/out")")
      rm -rf "$place/out"; mkdir "$place/out"
      peer+=("$(seconds "zstd -dc $place/t | tar xf - -C $place/out; sync -f $place/out")")
    done
    row "get $name, on $(on "$place")" "$(middle "${ours[@]}")" "zstd -d, tar x" "$(middle "${peer[@]}")" s "≤ 0.90 (3)"
    rm -rf "$place/s" "$place/t" "$place/out"
  done < <(for place in $(places); do packages | sed "s|^|$place |"; done)
}

large() {
  local kind place limit stage
  while read -r kind place; do
    local ours=() slowest=() verify=() hash=() bare=() what
    mkdir -p "$place/large"; "$(program limits)" "$kind" "$place/large/file" "$large_bytes"; sync -f "$place"
    # Not trusted in the stat cache before.
    sleep 2.1
    for _ in $(seq "$runs"); do
      rm -rf "$place/s"; ours+=("$(seconds "$consign store put $place/s $place/large --json; sync -f $place/s")")
      verify+=("$(seconds "$consign store put $place/s $place/large --verify --json; sync -f $place/s")"); rm -rf "$place/s"
      limit=$("$(program limits)" measure "$place/large" "$place")
      stage=$(python3 -c 'import json,sys; d=json.load(sys.stdin); print(max(["read","cut and hash","compress","write"], key=d.get))' <<<"$limit")
      slowest+=("$(field "$stage" <<<"$limit")"); hash+=("$(field "cut and hash" <<<"$limit")")
      bare+=("$(seconds "$(program limits) bare $place/large $place/bare")"); rm "$place/bare"
    done
    rm -rf "$place/large"; what="put one file of $large_bytes bytes, $kind, on $(on "$place")"
    row "$what" "$(calc "$large_bytes / $(middle "${ours[@]}") / 1e6")" "slowest stage, $stage" \
      "$(calc "$large_bytes / $(middle "${slowest[@]}") / 1e6")" MB/s "≥ 0.80 (3)"
    [[ $kind == text ]] || row "$what" "$(calc "$large_bytes / $(middle "${ours[@]}") / 1e6")" "reading, FastCDC, BLAKE3, writing, all cores" \
      "$(calc "$large_bytes / $(middle "${bare[@]}") / 1e6")" MB/s ""
    row "put it again, --verify ($kind, on $(on "$place"))" "$(calc "$large_bytes / $(middle "${verify[@]}") / 1e6")" "FastCDC, BLAKE3 from memory, all cores" \
      "$(calc "$large_bytes / $(middle "${hash[@]}") / 1e6")" MB/s "≥ 0.80 (3)"
  done < <(for place in $(places); do echo "noise $place"; echo "text $place"; done)
}

free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
nginx_start() { # DIRECTIVES: serves a folder as they say, on a free port of loopback; prints the port
  local port; port=$(free_port)
  cat >"$work/nginx.conf" <<N
user $(id -un); pid $work/nginx.pid; error_log $work/nginx.err; worker_processes auto; events {}
http { sendfile on; access_log off; keepalive_requests 1000000000; open_file_cache max=4096; client_body_temp_path $work/1; proxy_temp_path $work/2;
  fastcgi_temp_path $work/3; uwsgi_temp_path $work/4; scgi_temp_path $work/5; server { listen 127.0.0.1:$port $1 } }
N
  nginx -c "$work/nginx.conf"
  for _ in $(seq 100); do (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
  echo "$port"
}
stop() { # NAME: ends what NAME.pid names
  local pid; pid=$(cat "$work/$1.pid"); kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  rm -f "$work/$1.pid"
}

install() {
  local dir place port; dir=$(packages | head -1)
  tar --sort=name -cf - -C "$dir" . | zstd -q -3 -o "$work/full.tar.zst"
  port=$(nginx_start "; root $work;")
  for place in $(places); do
    local ours=() peer=()
    for _ in $(seq "$runs"); do
      ours+=("$(TMPDIR=$place "$consign" demo "$dir" "$dir" --json | tail -1 | field install_seconds)")
      rm -rf "$place/out"; mkdir "$place/out"
      peer+=("$(seconds "curl -sf http://127.0.0.1:$port/full.tar.zst | zstd -dc | tar xf - -C $place/out; sync -f $place/out")")
    done
    rm -rf "$place/out"
    row "full install $(basename "$dir"), on $(on "$place")" "$(middle "${ours[@]}")" "curl nginx, zstd -d, tar x" "$(middle "${peer[@]}")" s "≤ 1.30 (2), ≤ 1.00 (3)"
  done
  stop nginx; rm -f "$work/full.tar.zst"
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
  row "1 KiB package, released → ready" "$(middle "${ready[@]}")" limit 0.250 s "≤ 1.00 (2)"
  row "1 KiB package, ready → installed" "$(middle "${installed[@]}")" limit 0.250 s "≤ 1.00 (2)"
}

casync_bytes() { # OLD NEW: new chunks and the index
  local with=(--without=all --with=permissions --with=symlinks --compression=zstd --store="$work/c/s.castr")
  rm -rf "$work/c"; mkdir "$work/c"
  casync make "${with[@]}" "$work/c/old.caidx" "$1" >/dev/null; find "$work/c/s.castr" -type f | sort >"$work/c/before"
  casync make "${with[@]}" "$work/c/new.caidx" "$2" >/dev/null; find "$work/c/s.castr" -type f | sort >"$work/c/after"
  { comm -13 "$work/c/before" "$work/c/after"; echo "$work/c/new.caidx"; } | xargs stat -c %s | awk '{s+=$1} END {print s}'
}
# per_file bsdiff|hdiffpatch OLD NEW: bytes and seconds of a diff for each file that changed; a file without a namesake counts as zstd -19.
per_file() {
  PYTHONPATH=$work/py python3 - "$@" "$work/per-file" <<'P'
import os, subprocess, sys, time
tool, old, new, out = sys.argv[1:]
if tool == "hdiffpatch": import hdiffpatch
def files(root): return {os.path.relpath(p, root): p for at, _, names in os.walk(root) for n in names for p in [os.path.join(at, n)] if not os.path.islink(p)}
olds, total, began = files(old), 0, time.monotonic()
for name, path in files(new).items():
    data = open(path, "rb").read()
    base = open(olds[name], "rb").read() if name in olds else b""
    if data == base: continue
    if not base: total += len(subprocess.run(["zstd", "-19", "-cq", path], capture_output=True, check=True).stdout)
    elif tool == "hdiffpatch": total += len(hdiffpatch.diff(base, data, compression="zstd"))
    else: subprocess.run(["bsdiff", olds[name], path, out], check=True); total += os.path.getsize(out)
print(total, round(time.monotonic() - began, 3))
P
}
goal_bytes() { # PAIR'S NAME: what issue 4 allows on the wire
  case $1 in typescript) echo 8192 ;; next) echo 135887 ;; cmake) echo 417346 ;; swc) echo 2863342 ;; esac
}
deltas() {
  local old new name answer wire goal from to cost size took
  python3 -c 'import hdiffpatch' 2>/dev/null || python3 -m pip install -q --target "$work/py" hdiffpatch >&2 || loud "hdiffpatch cannot be installed: left out"
  while read -r old new; do
    name="$(basename "$old") → $(basename "$new")"
    answer=$("$consign" demo "$old" "$new" --json | tail -1); wire=$(field update_wire_bytes <<<"$answer")
    goal=$(goal_bytes "$(basename "$old" | sed 's/-.*//')")
    [[ -z $goal ]] || row "update $name" "$wire" limit "$goal" B "≤ 1.00 (4)"
    row "update $name, at the sockets" "$(field update_socket_bytes <<<"$answer")" "wire bytes + 32 KiB" $((wire + 32768)) B "≤ 1.00 (4)"
    row "update $name" "$wire" casync "$(casync_bytes "$old" "$new")" B "≤ 1.00 (2)"
    for from in old new; do tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/$from.tar" -C "${!from}" .; done
    zstd -q -f -3 --long=31 --patch-from="$work/old.tar" "$work/new.tar" -o "$work/p"; row "update $name" "$wire" "zstd -3 --patch-from" "$(stat -c %s "$work/p")" B ""
    xdelta3 -f -e -9 -B 536870912 -s "$work/old.tar" "$work/new.tar" "$work/p"; row "update $name" "$wire" "xdelta3 -9" "$(stat -c %s "$work/p")" B ""
    rm -f "$work"/{old,new}.tar "$work/p"
    from=$("$consign" store put "$work/s" "$old" --json | field manifest); to=$("$consign" store put "$work/s" "$new" --json | field manifest)
    local whole=() encode=() apply=()
    for _ in $(seq "$runs"); do
      mkdir "$work/set"; whole+=("$(seconds "$consign store patch $work/s --base $from --target $to --out $work/set --json")"); rm -rf "$work/set"
      cost=$(one_core "$(program patches)" "$work/s" "$from" "$to" "$old")
      encode+=("$(field encode_seconds <<<"$cost")"); apply+=("$(field apply_seconds <<<"$cost")")
    done
    read -r size took < <(per_file bsdiff "$old" "$new")
    row "update $name" "$wire" "bsdiff per file" "$size" B ""; row "building the patches of $name" "$(middle "${whole[@]}")" "bsdiff per file" "$took" s ""
    if read -r size took < <(per_file hdiffpatch "$old" "$new" 2>/dev/null); then
      row "update $name" "$wire" "HDiffPatch per file" "$size" B ""; row "building the patches of $name" "$(middle "${whole[@]}")" "HDiffPatch per file" "$took" s ""
    fi
    row "building, a core, $name" "$(calc "$(field made_bytes <<<"$cost") / $(middle "${encode[@]}") / 1e6")" limit 20 MB/s "≥ 1.00 (4)"
    row "applying, a core, $name" "$(calc "$(field made_bytes <<<"$cost") / $(middle "${apply[@]}") / 1e6")" limit 200 MB/s "≥ 1.00 (4)"
    rm -rf "$work/s"
  done < <(pairs)
}

back() {
  local old new name wire best from
  python3 -c 'import hdiffpatch' 2>/dev/null || python3 -m pip install -q --target "$work/py" hdiffpatch >&2 || loud "hdiffpatch cannot be installed: left out"
  for name in next-14.2.13:next-14.2.15 typescript-5.5.4:typescript-5.6.3; do
    old=$CONSIGN_CORPUS/${name%:*}; new=$CONSIGN_CORPUS/${name#*:}; name="${name%:*} → ${name#*:}"
    [[ -d $old && -d $new ]] || { loud "not here: $name"; continue; }
    wire=$("$consign" demo "$old" "$new" --json | tail -1 | field update_wire_bytes)
    for from in old new; do tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$work/$from.tar" -C "${!from}" .; done
    xdelta3 -f -e -9 -B 536870912 -s "$work/old.tar" "$work/new.tar" "$work/p"; best="$(stat -c %s "$work/p") xdelta3 -9"
    bsdiff "$work/old.tar" "$work/new.tar" "$work/p"; best+=$'\n'"$(stat -c %s "$work/p") bsdiff of tars"
    best+=$'\n'"$(per_file bsdiff "$old" "$new" | cut -d' ' -f1) bsdiff per file"
    best+=$'\n'"$(per_file hdiffpatch "$old" "$new" 2>/dev/null | cut -d' ' -f1) HDiffPatch per file"
    best=$(grep -E '^[0-9]' <<<"$best" | sort -n | head -1)
    row "update $name" "$wire" "the best, ${best#* }" "${best%% *}" B "≤ 1.10 (4)"
    rm -f "$work"/{old,new}.tar "$work/p"
  done
}

wire_of() { "$consign" demo "$1" "$2" --json | tail -1 | field "$3"; }
packed() { # one archive as it is downloaded: a wheel, npm's .tgz
  local old new name full
  for name in cmake-whl-3.30.1:cmake-whl-3.30.2 next-tgz-14.2.14:next-tgz-14.2.15 swc-tgz-1.7.35:swc-tgz-1.7.36 typescript-tgz-5.6.2:typescript-tgz-5.6.3; do
    old=$CONSIGN_CORPUS/${name%:*}; new=$CONSIGN_CORPUS/${name#*:}
    [[ -d $old && -d $new ]] || { loud "not here: $name"; continue; }
    if [[ $name == cmake-* ]]; then
      row "update ${name%:*} → ${name#*:}" "$(wire_of "$old" "$new" update_wire_bytes)" "twice what is allowed unpacked" 834692 B "≤ 1.00 (4)"
    else
      full=$(wire_of "$new" "$new" full_wire_bytes)
      row "update ${name%:*} → ${name#*:}" "$(wire_of "$old" "$new" update_wire_bytes)" "full download + 16 KiB" $((full + 16384)) B "≤ 1.00 (4)"
    fi
  done
}

apart() { # each package becomes the next one
  local old new last="" full
  while read -r old new; do
    if [[ -n $last ]]; then
      full=$(wire_of "$new" "$new" full_wire_bytes)
      row "update $(basename "$last") → $(basename "$new")" "$(wire_of "$last" "$new" update_wire_bytes)" "full download + 16 KiB" $((full + 16384)) B "≤ 1.00 (4)"
    fi
    last=$new
  done < <(pairs)
}

links() {
  local old new name rate answer kind
  need tc iproute2
  while read -r old new; do
    name="$(basename "$old") → $(basename "$new")"
    for rate in 100mbit open; do
      answer=$(RUNS=$runs scripts/links.sh "$consign" "$old" "$new" "$rate"); echo "$name, $rate: $answer" >&2
      seconds_of() { field "$1_seconds" <<<"$answer"; }
      if [[ $rate == open ]]; then
        row "update $name, open link, --prefer time" "$(seconds_of time)" "records alone" "$(seconds_of records)" s "≤ 1.00 (4)"
      else
        for kind in first time bytes; do
          row "update $name, $rate, $(case $kind in first) echo "nobody asked before" ;; *) echo "--prefer $kind" ;; esac)" "$(seconds_of "$kind")" \
            "full download" "$(seconds_of full)" s "≤ 1.00 (4)"
        done
      fi
    done
  done < <(pairs; packed_pair)
}
packed_pair() { local old=$CONSIGN_CORPUS/cmake-whl-3.30.1; [[ ! -d $old ]] || echo "$old ${old%1}2"; }

cpu_seconds() { printf '/proc/%s/stat\n' "$@" | xargs cat | awk -v hz="$(getconf CLK_TCK)" '{s += $14 + $15} END {print s / hz}'; }
# load SERVER SIZE CONNECTIONS PID...: MB/s and processor seconds of the server's processes a GB.
load() {
  local server=$1 size=$2 connections=$3 before answer; shift 3
  before=$(cpu_seconds "$@")
  answer=$("$(program serving)" load "$work/serving" "$server" "$size" "$connections" "$serve_seconds")
  field cipher <<<"$answer" >"$work/cipher.$server"
  calc "$(field bytes <<<"$answer") / $(field seconds <<<"$answer") / 1e6"
  calc "($(cpu_seconds "$@") - $before) / $(field bytes <<<"$answer") * 1e9"
}
# serving_start DIR MODE: the server of benches/serving in DIR.
serving_start() {
  rm -f "$1/ready"; mkdir -p "$1"
  "$(program serving)" serve "$1" "$2" 2>"$work/serving.log" & echo $! >"$work/serving.pid"
  until [[ -f $1/ready ]]; do kill -0 "$(cat "$work/serving.pid")" || { cat "$work/serving.log" >&2; return 1; }; sleep 0.1; done
}
# both_ways DIR PORT: what nginx needs to serve DIR over TLS, and without it on PORT.
both_ways() {
  echo "ssl; root $1; ssl_certificate $1/chain.pem; ssl_certificate_key $1/key.pem; ssl_protocols TLSv1.3; } server { listen 127.0.0.1:$2; root $1;"
}
serve() {
  local how size connections port plain workers way what
  for how in open sealed; do
    serving_start "$work/serving" "$how"
    plain=$(free_port); port=$(nginx_start "$(both_ways "$work/serving" "$plain")")
    mapfile -t workers < <(pgrep -P "$(cat "$work/nginx.pid")")
    for way in "" ",plain"; do for size in 64k 1m; do for connections in 1 32; do
      local ours=() theirs=() our_cpu=() their_cpu=() got theirs_at=127.0.0.1:$port goal="≥ 1.00 (3)" peer
      [[ -z $way ]] || { theirs_at=127.0.0.1:$plain,plain; goal=""; [[ "$size $connections" != "1m 32" ]] || goal="≥ 1.20 (3)"; }
      for _ in $(seq "$runs"); do
        mapfile -t got < <(load "consign$way" "$size" "$connections" "$(cat "$work/serving.pid")"); [[ ${#got[@]} == 2 ]]; ours+=("${got[0]}"); our_cpu+=("${got[1]}")
        mapfile -t got < <(load "$theirs_at" "$size" "$connections" "${workers[@]}"); [[ ${#got[@]} == 2 ]]; theirs+=("${got[0]}"); their_cpu+=("${got[1]}")
      done
      cmp "$work/cipher.consign$way" "$work/cipher.$theirs_at"
      peer="nginx, $(cat "$work/cipher.consign$way")"; what="serve $size, $how pack, connections: $connections${way:+, without TLS}"
      row "$what" "$(middle "${ours[@]}")" "$peer" "$(middle "${theirs[@]}")" MB/s "$goal"
      row "$what: server's processor time" "$(middle "${our_cpu[@]}")" nginx "$(middle "${their_cpu[@]}")" s/GB ""
    done; done; done
    stop nginx; stop serving; rm -rf "$work/serving"
  done
}

cold() {
  local dir=$disk/serving server rate p99 answer port plain
  declare -A rates waits
  serving_start "$dir" cold; stop serving; sync -f "$dir"
  for _ in $(seq "$runs"); do
    for server in consign nginx; do
      "$(program serving)" evict "$dir/cold"
      # New processes: what one has mapped cannot be evicted, and each start has a certificate of its own.
      serving_start "$dir" cold
      plain=$(free_port); port=$(nginx_start "$(both_ways "$dir" "$plain")")
      answer=$("$(program serving)" cold "$dir" "${server/nginx/127.0.0.1:$port}" 4)
      stop nginx; stop serving
      rate=$(calc "$(field bytes <<<"$answer") / $(field seconds <<<"$answer") / 1e6"); p99=$(calc "$(field wait_p99 <<<"$answer") * 1e3")
      rates[$server]+=" $rate"; waits[$server]+=" $p99"
    done
  done
  rm -rf "$dir"
  # shellcheck disable=SC2086 # lists of numbers
  row "cold pack on $(on "$disk"), 1 MiB a request, one connection beside 4 that ask for 64 KiB in memory" "$(middle ${rates[consign]})" "nginx over TLS" "$(middle ${rates[nginx]})" MB/s ""
  # shellcheck disable=SC2086
  row "99 of 100 of those 64 KiB meanwhile" "$(middle ${waits[consign]})" "nginx over TLS" "$(middle ${waits[nginx]})" ms ""
}

crowd() {
  local dir=$work/crowd agents=${CROWD_AGENTS:-1000} answer server
  mkdir -p "$dir/source"; head -c "${CROWD_BYTES:-8388608}" /dev/urandom >"$dir/source/large.bin"
  at_hub() { "$consign" "$@" --hub "$dir/hub" --json; }
  at_hub hub init --listen "127.0.0.1:$(free_port)" --admin-listen "127.0.0.1:$(free_port)" >/dev/null
  "$consign" hub run --hub "$dir/hub" 2>"$work/hub.log" & echo $! >"$work/hub.pid"
  until at_hub site add here >/dev/null 2>&1; do kill -0 "$(cat "$work/hub.pid")" || { cat "$work/hub.log" >&2; return 1; }; sleep 0.1; done
  at_hub subnet add 127.0.0.0/8 --site here >/dev/null
  CONSIGN_JOIN=$(at_hub machine invite --role site-server --site here | field join) \
    "$consign" site-server join "$dir/server" --name server --listen "127.0.0.1:$(free_port)" --json >/dev/null
  "$consign" site-server run "$dir/server" 2>"$work/server.log" & server=$!; echo "$server" >"$work/server.pid"
  at_hub package add crowd --source "$dir/source" --open --platform linux --wait >/dev/null
  answer=$(CONSIGN_JOIN=$(at_hub machine invite --role agent --site here --uses "$agents" | field join) "$(program serving)" crowd "$dir" crowd "$agents" "$server")
  echo "$answer" >&2
  local what="$agents agents, each $(field bytes_each <<<"$answer") B at once"
  row "$what: site server" "$(calc "$(field server_rss_anon_bytes <<<"$answer") / 1e6")" limit 128 MB "≤ 1.00 (3)"
  row "$what: failed downloads" "$(field failed <<<"$answer")" limit 0 "" "0 (3)"
  row "$what: Jain's index of the bytes each has when all have half" "$(field fairness <<<"$answer")" "all the same" 1.0 "" "fair (3)"
  row "$what: complete, the last" "$(field last_seconds <<<"$answer")" "the first" "$(field first_seconds <<<"$answer")" s ""
  stop server; stop hub; rm -rf "$dir"
}

# some_files FOLDER COUNT: files of 1 to 8 KiB of words, a hundred to a folder.
some_files() {
  python3 - "$@" <<'P'
import os, random, sys
root, count = sys.argv[1], int(sys.argv[2])
dice = random.Random(7)
words = ["%x" % dice.getrandbits(dice.randint(4, 24)) for _ in range(4096)]
for number in range(count):
    folder = os.path.join(root, "d%04d" % (number // 100))
    if number % 100 == 0: os.makedirs(folder)
    text = " ".join(dice.choices(words, k=dice.randint(150, 1200)))
    with open(os.path.join(folder, "f%02d.txt" % (number % 100)), "w") as out: out.write(text)
P
}
growth() {
  local count chunks=${GROWTH_CHUNKS:-10000000} files=${GROWTH_FILES:-100000} line manifest demo
  for ((count = 10000; count <= chunks; count *= 10)); do
    line=$("$(program growth)" "$work/g" "$count"); echo "$line" >>"$work/growth"; rm -rf "$work/g"
  done
  row "open a store of $chunks chunks" "$(field open_seconds <<<"$line")" limit 0.100 s "≤ 1.00 (3)"
  row "RssAnon a chunk, opened" "$(field rss_anon_bytes_a_chunk <<<"$line")" limit 16 B "≤ 1.00 (3)"
  row "look-ups a second, a core" "$(field lookups_a_second <<<"$line")" limit 500000 "" "≥ 1.00 (3)"
  row "index of $chunks chunks built again" "$(field rebuild_seconds <<<"$line")" limit 60 s "≤ 1.00 (3)"
  row "30 % of $chunks chunks collected" "$(field gc_seconds <<<"$line")" limit 300 s "≤ 1.00 (3)"
  row "the same, peak RssAnon" "$(field gc_peak_rss_anon_bytes <<<"$line")" limit 536870912 B "≤ 1.00 (3)"
  row "publish of 100 chunks while it runs" "$(field publish_during_gc_millis <<<"$line")" "alone" "$(field publish_alone_millis <<<"$line")" ms "≤ 1.20 (3)"
  row "the same, when it is not told of the publish" "$(field publish_unawares_during_gc_millis <<<"$line")" "alone" "$(field publish_alone_millis <<<"$line")" ms ""
  for ((count = 100; count <= files; count *= 10)); do
    rm -rf "$work/old" "$work/new" "$work/s" "$work/out"; some_files "$work/old" "$count"
    cp -a "$work/old" "$work/new"; echo changed >>"$work/new/d0000/f07.txt"
    local put again get
    put=$(seconds "$consign store put $work/s $work/old --json >$work/answer; sync -f $work/s"); manifest=$(field manifest <"$work/answer")
    again=$(seconds "$consign store put $work/s $work/old --json; sync -f $work/s")
    get=$(seconds "$consign store get $work/s $manifest $work/out --json; sync -f $work/out")
    demo=$("$consign" demo "$work/old" "$work/new" --json | tail -1)
    echo "{\"files\": $count, \"put_seconds\": $put, \"again_seconds\": $again, \"get_seconds\": $get, \"install_seconds\":" \
      "$(field install_seconds <<<"$demo"), \"update_seconds\": $(field update_install_seconds <<<"$demo")}" >>"$work/growth"
    if [[ $count == 10000 ]]; then
      row "update of one file in $count, on the agent" "$(field update_install_seconds <<<"$demo")" "full install" "$(field install_seconds <<<"$demo")" s "≤ 0.05 (3)"
    fi
  done
  rm -rf "$work/old" "$work/new" "$work/s" "$work/out"
  cat "$work/growth" >&2; scripts/plot.py "$work/growth" docs/growth.svg
}

# peaks COMMAND...: runs it and prints each role below it, or it, with its largest RssAnon, bytes, sampled every 10 ms.
peaks() {
  python3 - "$@" <<'P'
import glob, os, subprocess, sys, time
command, peak = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL), {}
def read(path):
    try: return open(path, "rb").read().decode(errors="replace")
    except OSError: return ""
while command.poll() is None:
    parent = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        stat = read(path)
        if stat: parent[int(path.split("/")[2])] = int(stat.rsplit(")", 1)[1].split()[1])
    for pid in parent:
        above = pid
        while above not in (0, command.pid): above = parent.get(above, 0)
        words = read(f"/proc/{pid}/cmdline").split("\0")
        if above == 0 or len(words) < 3: continue
        role = " ".join(words[1:3]) if words[1] in ("store", "agent", "site-server", "hub") else words[1]
        anon = [int(line.split()[1]) * 1024 for line in read(f"/proc/{pid}/status").splitlines() if line.startswith("RssAnon")]
        peak[role] = max([peak.get(role, 0)] + anon)
    time.sleep(0.01)
for role, size in sorted(peak.items()): print(size, role)
sys.exit(command.returncode)
P
}
# peaks_of WHAT: rows of an update from work/old to work/new, and of putting and getting the old; removes both.
peaks_of() {
  local size role limit manifest build
  build=$(calc "2^29 / 1e6")
  peaks "$consign" demo "$work/old" "$work/new" --json >"$work/peaks"
  rm -rf "$work/new"
  peaks "$consign" store put "$work/s" "$work/old" --json >>"$work/peaks"
  manifest=$("$consign" store put "$work/s" "$work/old" --json | field manifest); rm -rf "$work/old"
  peaks "$consign" store get "$work/s" "$manifest" "$work/out" --json >>"$work/peaks"
  while read -r size role; do
    case $role in
      "hub run" | "site-server run" | "agent run") limit="128 ≤ 1.00 (2)" ;;
      "store put") limit="256 ≤ 1.00 (3)" ;; "store get") limit="64 ≤ 1.00 (3)" ;; "store patch") limit="$build ≤ 1.00 (4)" ;;
      *) continue ;;
    esac
    row "memory of $role, $1" "$(calc "$size / 1e6")" limit "${limit%% *}" MB "${limit#* }"
  done <"$work/peaks"
  rm -rf "$work/s" "$work/out"
}
# tiny_files FOLDER COUNT: files of 100 bytes, a thousand to a folder.
tiny_files() {
  python3 - "$@" <<'P'
import os, random, sys
root, count, dice = sys.argv[1], int(sys.argv[2]), random.Random(7)
for number in range(count):
    folder = os.path.join(root, "folder-%04d" % (number // 1000))
    if number % 1000 == 0: os.makedirs(folder)
    with open(os.path.join(folder, "file-%04d.txt" % (number % 1000)), "w") as out: out.write(dice.randbytes(50).hex())
P
}
memory() {
  local path
  "$(program limits)" package "$work/old" "$memory_bytes"; cp -r "$work/old" "$work/new"
  # A page of new text within the large text, and a few small files, differ.
  python3 - "$work/new" <<'P'
import sys, pathlib
root = pathlib.Path(sys.argv[1]); large = root / "large.txt"; text = large.read_bytes(); middle = len(text) // 2
large.write_bytes(text[:middle] + b"what is new in this version\n" * 40 + text[middle:])
for path in sorted(root.glob("part-*/*"))[::50]: path.write_bytes(path.read_bytes() + b"changed")
P
  peaks_of "$memory_bytes bytes"
  # Linked, to save room; the few files that differ are files of their own.
  tiny_files "$work/old" "$memory_files"; cp -al "$work/old" "$work/new"
  for path in "$work"/new/folder-*7/file-0001.txt "$work"/new/folder-0000/file-000[0-9].txt; do
    [[ -f $path ]] || continue
    { cat "$path"; echo changed; } >"$work/changed"; mv "$work/changed" "$path"
  done
  peaks_of "$memory_files files of 100 bytes"
}

failed=(); load_before=$(cut -d' ' -f1 /proc/loadavg)
for part in "${parts[@]}"; do
  # A subshell of its own, so that a part that fails ends at once and the others still run.
  say "$part" >&2
  ("$part") >&2 & wait $! || failed+=("$part")
done
echo
echo "Medians of $runs (bytes, memory, the pairwise diffs' times: one run), $(nproc) cores, load before $load_before, on $(stat -f -c %T "$work"), commit $(git rev-parse --short=12 HEAD), $(date -u +%Y-%m-%d)."
echo
echo "| what | Consign | beside | ratio | goal (issue) |"
echo "|---|---|---|---|---|"
cat "$work/rows"
[[ ${#failed[@]} -eq 0 ]] || { loud "FAILED, rows are missing: ${failed[*]}"; exit 1; }
