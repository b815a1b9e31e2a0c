#!/usr/bin/env bash
# Fetches real package pairs, an older and a newer version each, of two packages one more version before them, unpacked as DIR/NAME-VERSION,
# and as downloaded, one archive in DIR/NAME-KIND-VERSION.
# What is there is left alone.
# Usage: scripts/corpus.sh [DIR [PAIR...]]     PAIR: typescript next swc cmake (default: all; about 500 MB unpacked)
# Without a network the demo's generated pair takes their place, as DIR/generated-4.2.0 and DIR/generated-4.2.1, with a loud notice.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
dir=$(realpath -m "${1:-$CONSIGN_CORPUS}"); shift || true
pairs=("$@"); [[ ${#pairs[@]} -gt 0 ]] || pairs=(typescript next swc cmake)
mkdir -p "$dir"
# Two runs at once would fill the same unfinished folder.
exec 9>"$dir/.lock"; flock 9

# unpacked FOLDER COMMAND...: the command fills a folder that appears under its name only when it is complete.
unpacked() {
  local folder=$1; shift
  [[ -d $dir/$folder ]] && return 0
  rm -rf "$dir/.part"; mkdir "$dir/.part"
  "$@" "$dir/.part" || { rm -rf "$dir/.part"; return 1; }
  mv "$dir/.part" "$dir/$folder"
}
from_npm() { # NAME VERSION INTO
  local archive; archive=$(cd "$3" && npm pack --silent "$1@$2") || return 1
  tar xzf "$3/$archive" -C "$3" && rm "$3/$archive"
}
from_pip_packed() { # NAME VERSION INTO
  local part=(--no-deps --only-binary=:all: --python-version 3.11 --implementation cp
    --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform any)
  pip download -q "${part[@]}" -d "$3" "$1==$2"
}
from_pip() { from_pip_packed "$@" && (cd "$3" && unzip -q ./*.whl && rm ./*.whl); }
# As downloaded: the archive alone.
as_npm() { (cd "$3" && npm pack --silent "$1@$2" >/dev/null && mv ./*.tgz package.tgz); }
as_pip() { from_pip_packed "$@" && (cd "$3" && mv ./*.whl package.whl); }
fetch() {
  case $1 in
    typescript) unpacked typescript-5.5.4 from_npm typescript 5.5.4 && unpacked typescript-5.6.2 from_npm typescript 5.6.2 && unpacked typescript-5.6.3 from_npm typescript 5.6.3 &&
      unpacked typescript-tgz-5.6.2 as_npm typescript 5.6.2 && unpacked typescript-tgz-5.6.3 as_npm typescript 5.6.3 ;;
    next) unpacked next-14.2.13 from_npm next 14.2.13 && unpacked next-14.2.14 from_npm next 14.2.14 && unpacked next-14.2.15 from_npm next 14.2.15 &&
      unpacked next-tgz-14.2.14 as_npm next 14.2.14 && unpacked next-tgz-14.2.15 as_npm next 14.2.15 ;;
    swc) unpacked swc-1.7.35 from_npm @swc/core-linux-x64-gnu 1.7.35 && unpacked swc-1.7.36 from_npm @swc/core-linux-x64-gnu 1.7.36 &&
      unpacked swc-tgz-1.7.35 as_npm @swc/core-linux-x64-gnu 1.7.35 && unpacked swc-tgz-1.7.36 as_npm @swc/core-linux-x64-gnu 1.7.36 ;;
    cmake) unpacked cmake-3.30.1 from_pip cmake 3.30.1 && unpacked cmake-3.30.2 from_pip cmake 3.30.2 &&
      unpacked cmake-whl-3.30.1 as_pip cmake 3.30.1 && unpacked cmake-whl-3.30.2 as_pip cmake 3.30.2 ;;
    *) echo "unknown pair: $1" >&2; exit 2 ;;
  esac
}
generated() {
  [[ -d $dir/generated-4.2.1 ]] && return 0
  rm -rf "$dir/.pair" "$dir"/generated-4.2.*
  cargo run --quiet --locked -- demo --make-pair "$dir/.pair" >/dev/null
  mv "$dir/.pair/old" "$dir/generated-4.2.0"; mv "$dir/.pair/new" "$dir/generated-4.2.1"; rmdir "$dir/.pair"
}

missing=()
for pair in "${pairs[@]}"; do fetch "$pair" || missing+=("$pair"); done
if [[ ${#missing[@]} -gt 0 ]]; then
  loud "could not fetch: ${missing[*]}. The generated pair stands in; figures on real packages are NOT shown."
  generated
fi
for folder in "$dir"/*/; do
  printf '%-20s %6d files %10d bytes\n' "$(basename "$folder")" "$(find "$folder" -type f | wc -l)" "$(du -sb "$folder" | cut -f1)"
done
