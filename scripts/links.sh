#!/usr/bin/env bash
# Times an update over a link of a given rate: hub and site server in one network of their own, agents in another, a virtual cable between
# them with the kernel's token bucket at both ends. Prints one JSON object: seconds of `agent install`, whole process, and bytes on the wire.
# Usage: [RUNS=3] scripts/links.sh CONSIGN OLD NEW RATE       RATE: 100mbit, or open (what the cable carries: above 10 Gbit/s)
#   full     NEW on a machine that has nothing        records  the update where there are no patches
#   first    --prefer time, nobody asked before        time, bytes  --prefer time or bytes, the patches are built
# Needs root (or user namespaces) and iproute2. Works in TMPDIR: RUNS × 5 copies of the package.
set -euo pipefail
if [[ -z ${CONSIGN_LINK:-} ]]; then
  if [[ $(id -u) == 0 ]]; then apart=(unshare -n); else apart=(unshare -rn); fi
  CONSIGN_LINK=1 exec "${apart[@]}" "$0" "$@"
fi
consign=$(realpath "$1") old=$2 new=$3 rate=$4 runs=${RUNS:-3}
work=$(mktemp -d); export CONSIGN_HUB=$work/hub
unshare -n sleep infinity & far=$!
there() { nsenter --net="/proc/$far/ns/net" "$@"; }
until [[ $(readlink "/proc/$far/ns/net") != $(readlink /proc/self/ns/net) ]]; do sleep 0.01; done
ip link add name here0 type veth peer name there0
ip link set there0 netns "$far"; ip addr add 10.9.0.1/24 dev here0; there ip addr add 10.9.0.2/24 dev there0
ip link set lo up; ip link set here0 up; there ip link set there0 up
if [[ $rate != open ]]; then
  tc qdisc add dev here0 root tbf rate "$rate" burst 128k limit 600k; there tc qdisc add dev there0 root tbf rate "$rate" burst 128k limit 600k
fi
stop() { local pid; for pid in "$@"; do [[ ! -s $work/$pid.pid ]] || { kill "$(cat "$work/$pid.pid")" && wait "$(cat "$work/$pid.pid")"; rm -f "$work/$pid.pid"; }; done 2>/dev/null || true; }
trap 'stop site hub; kill $far; rm -rf "$work"' EXIT
run() { # NAME READY COMMAND...: starts a role and waits until READY exists
  local name=$1 ready=$2; shift 2
  rm -f "$ready"; "$@" >"$work/$name.log" 2>&1 & echo $! >"$work/$name.pid"
  until [[ -e $ready ]]; do kill -0 "$(cat "$work/$name.pid")" 2>/dev/null || { cat "$work/$name.log" >&2; exit 1; }; sleep 0.02; done
}
site() { run site "$work/site/run.json" "$consign" site-server run "$work/site"; }
quietly() { "$@" >/dev/null 2>"$work/err" || { cat "$work/err" >&2; exit 1; }; }
join() { "$consign" machine invite --role "$1" --site here --uses "$2" --out "$work/$1.join"; }

quietly "$consign" hub init --address 10.9.0.1:4700 --listen 0.0.0.0:4700
run hub "$work/hub/run.json" "$consign" hub run
quietly "$consign" site add here; quietly "$consign" subnet add 10.9.0.0/24 --site here
quietly join site-server 1; quietly join agent $((runs * 5 + 2))
quietly "$consign" site-server join "$work/site" --name site --listen 10.9.0.1:4702 --address 10.9.0.1:4702 --join-file "$work/site-server.join"
site
cp -a "$old" "$work/source"
quietly "$consign" package add p --source "$work/source" --open --platform linux --wait
install() { # AGENT OPTION...: prints seconds and bytes on the wire
  local agent=$1 from; shift; from=$(date +%s%N)
  there "$consign" agent install p --agent-dir "$work/$agent" --dest "$work/$agent.dest" --json "$@" >"$work/answer" 2>"$work/err" || { cat "$work/err" >&2; exit 1; }
  python3 -c 'import json,sys; print((int(sys.argv[2])-int(sys.argv[1]))/1e9, json.load(open(sys.argv[3]))["cost"]["wire_bytes"])' "$from" "$(date +%s%N)" "$work/answer"
}
for agent in warm again; do
  quietly there "$consign" agent join "$work/$agent" --name "$agent" --join-file "$work/agent.join"; install "$agent" >/dev/null
done
for ((i = 0; i < runs; i++)); do
  for kind in full records first time bytes; do
    quietly there "$consign" agent join "$work/$kind$i" --name "$kind$i" --join-file "$work/agent.join"
    [[ $kind == full ]] || install "$kind$i" >/dev/null
  done
done
rm -rf "$work/source"; cp -a "$new" "$work/source"
# A file where the folder of patches should be: none can be built.
stop site; rm -rf "$work/site/tables/patches"; touch "$work/site/tables/patches"; site
quietly "$consign" package refresh p --verify --wait
built() { until compgen -G "$work/site/tables/patches/*/set.json" >/dev/null; do sleep 0.1; done; }
measured() { # KIND OPTION...: one run after the other
  local kind=$1; shift
  for ((i = 0; i < runs; i++)); do
    if [[ $kind == first ]]; then rm -rf "$work/site/tables/patches/"*; fi
    install "$kind$i" "$@" >>"$work/$kind.times"
    [[ $kind != first ]] || built
    diff -rq "$new" "$work/$kind$i.dest" >&2
    rm -rf "$work/$kind$i.dest"
  done
}
# A server opens versions when it is first asked for them.
install warm --urgent >/dev/null
measured full; measured records
stop site; rm -f "$work/site/tables/patches"; site
install again --urgent >/dev/null
# What that asked for shall not be under way when the first asks.
built
measured first --prefer time; measured time --prefer time; measured bytes --prefer bytes
python3 - "$work" <<'P'
import json, statistics, sys
answer = {}
for kind in ("full", "records", "first", "time", "bytes"):
    lines = [line.split() for line in open(f"{sys.argv[1]}/{kind}.times")]
    answer[kind + "_seconds"] = round(statistics.median(float(line[0]) for line in lines), 4)
    answer[kind + "_bytes"] = int(statistics.median_low(int(line[1]) for line in lines))
print(json.dumps(answer))
P
