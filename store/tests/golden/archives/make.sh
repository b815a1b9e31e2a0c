#!/usr/bin/env bash
# Makes the pairs of archives here again: NAME.old and NAME.new, each by its tool. Needs python3, zip, jar, node, dpkg-deb, gzip, 7za, gcab,
# wixl, xz.
# Other versions of the tools may write other bytes; the tests hold for these.
set -euo pipefail
out=$(cd "$(dirname "$0")" && pwd)
cd "$(mktemp -d)"
export TZ=UTC SOURCE_DATE_EPOCH=1767323046
python3 - <<'P'
import os
state = 7
def below(bound):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % bound
words = [bytes(97 + below(26) for _ in range(2 + below(8))) for _ in range(300)]
def text(seed, length, every):
    global state
    state, out, count = seed, b'', 0
    while len(out) < length:
        word = words[min(below(300), below(300))]
        count += 1
        if every and count % every == 0:
            word = b'CHANGED%d' % count
        out += word + (b' ' if count % 9 else b'\n')
    return out
for version, every in (('old', 0), ('new', 350)):
    os.makedirs(version + '/lib')
    open(version + '/lib/one.txt', 'wb').write(text(1, 9000, every))
    open(version + '/lib/same.txt', 'wb').write(text(2, 5000, 0))
    open(version + '/two.txt', 'wb').write(text(3, 6000, every))
P
files=(lib/one.txt lib/same.txt two.txt)
for version in old new; do
  mkdir -p "deb-$version/DEBIAN"
  cp -r "$version"/. "deb-$version/"
  printf 'Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n' > "deb-$version/DEBIAN/control"
  find "$version" "deb-$version" -exec touch -d '2026-01-02 03:04:06 UTC' {} +
  cd "$version"
  python3 - "${files[@]}" <<'P'
import sys, zipfile
class Pipe:
    "A file without positions: zipfile writes data descriptors then."
    def __init__(self, path): self.file = open(path, 'wb')
    def write(self, data): return self.file.write(data)
    def flush(self): self.file.flush()
for target in ('../python.zip', Pipe('../streamed.zip')):
    with zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in sys.argv[1:]:
            archive.write(file)
with zipfile.ZipFile('../nested.zip', 'w', zipfile.ZIP_STORED) as archive:
    archive.writestr(zipfile.ZipInfo('inner.zip'), open('../python.zip', 'rb').read())
P
  python3 - "${files[@]}" <<'P'
import struct, sys, zlib
lines = [open(file, 'rb').read() for file in sys.argv[1:]]
def chunk(kind, body): return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
rows = b''.join(lines)
rows = rows[:len(rows) // 100 * 100]
pixels = b''.join(b'\0' + rows[at:at + 100] for at in range(0, len(rows), 100))
with open('../picture.png', 'wb') as out:
    out.write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 100, len(rows) // 100, 8, 0, 0, 0, 0)))
    out.write(chunk(b'IDAT', zlib.compress(pixels, 9)) + chunk(b'IEND', b''))
with open('../document.pdf', 'wb') as out:
    out.write(b'%PDF-1.4\n')
    for number, line in enumerate(lines):
        packed = zlib.compress(line)
        out.write(b'%d 0 obj\n<</Length %d/Filter/FlateDecode>>\nstream\n' % (number + 1, len(packed)) + packed + b'\nendstream\nendobj\n')
P
  for level in 6 9; do zip -qX$level "../info-$level.zip" "${files[@]}"; done
  zip -qX -fz ../zip64.zip "${files[@]}"
  zip -qX -P secret ../encrypted.zip "${files[@]}"
  7za a -tzip -bd -mtc=off ../seven.zip "${files[@]}" > /dev/null
  jar --create --no-manifest --date=2026-01-02T03:04:06Z --file ../java.jar "${files[@]}"
  tar --owner=0 --group=0 --sort=name -cf ../tar .
  for level in 1 6 9; do gzip -n -$level -c ../tar > "../gzip-$level.tar.gz"; done
  xz -c -6 -T2 --block-size=12KiB ../tar > ../blocks.tar.xz
  xz -c -9e --check=sha256 ../tar > ../xz-9e.tar.xz
  xz -c --x86 --lzma2=preset=6 ../tar > ../filtered.tar.xz
  xz -c --lzma2=preset=1,lc=1,lp=2,pb=0 --check=none ../tar > ../xz-1.tar.xz
  node -e 'const z = require("zlib"), f = require("fs"); f.writeFileSync("../node.tgz", z.gzipSync(f.readFileSync("../tar"), {level: 9}))'
  gcab -c -z ../gcab.cab "${files[@]}"
  cat > ../wixl.wxs <<'X'
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
  <Product Id="7A1B1F7E-1B1A-4B0A-9E0A-000000000001" Name="x" Manufacturer="x" Version="1.0" Language="1033" UpgradeCode="7A1B1F7E-1B1A-4B0A-9E0A-000000000002">
    <Package Id="7A1B1F7E-1B1A-4B0A-9E0A-000000000003" InstallerVersion="200" Compressed="yes"/>
    <Media Id="1" Cabinet="x.cab" EmbedCab="yes"/>
    <Directory Id="TARGETDIR" Name="SourceDir"><Directory Id="F" Name="x">
      <Component Id="C" Guid="7A1B1F7E-1B1A-4B0A-9E0A-000000000004">
        <File Id="a" Source="lib/one.txt"/><File Id="b" Source="lib/same.txt"/><File Id="c" Source="two.txt"/>
      </Component>
    </Directory></Directory>
    <Feature Id="A" Level="1"><ComponentRef Id="C"/></Feature>
  </Product>
</Wix>
X
  wixl -o ../wixl.msi ../wixl.wxs
  cd ..
  dpkg-deb --root-owner-group -Zgzip -b "deb-$version" debian.deb > /dev/null
  dpkg-deb --root-owner-group -Zxz -b "deb-$version" debian-xz.deb > /dev/null
  for archive in *.zip *.png *.pdf *.jar *.tgz *.tar.gz *.tar.xz *.deb *.cab *.msi; do mv "$archive" "$out/$archive.$version"; done
done
