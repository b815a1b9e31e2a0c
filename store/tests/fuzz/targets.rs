//! What is fuzzed: each target takes any bytes, never panics, stays within its limits, and holds a property of what it takes for right.
//!
//! Shared by the test beside it, which runs each briefly, and by `store/fuzz`, which searches with libFuzzer.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use consign_store::chunk::record::{RecordHeader, RecordSplitter, VerifiedRecord, encode};

use consign_store::chunk::{ChunkKind, VerifiedChunk};
use consign_store::delta::{self, Limits};
use consign_store::id::FileDigest;
use consign_store::manifest::codec::{ManifestReader, ManifestWriter};
use consign_store::manifest::path::SafePath;
use consign_store::manifest::recipe;
use consign_store::upkeep::scrub;
use consign_store::{ChunkId, Store};

/// A target: its name, the golden files that it starts from, and what is done with the bytes.
pub struct Target {
    /// Names the folder of its corpus.
    pub name: &'static str,
    /// Names of golden files.
    pub golden: &'static [&'static str],
    /// How many inputs are tried in the time of one that touches files.
    pub per_input: u32,
    /// Does it.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "record",
        golden: &["record-zstd-v1.bin", "record-raw-v1.bin", "record-page-v1.bin"],
        per_input: 20,
        run: record,
    },
    Target { name: "forged-record", golden: &["record-zstd-v1.bin", "record-page-v1.bin"], per_input: 20, run: forged_record },
    Target { name: "manifest", golden: &["manifest-v1.bin"], per_input: 20, run: manifest },
    Target { name: "recipe", golden: &["recipe-page-v1.bin"], per_input: 20, run: recipe_page },
    Target { name: "path", golden: &[], per_input: 20, run: path },
    Target { name: "patch", golden: &["patch-v3.bin", "patch-literals-v3.bin"], per_input: 5, run: patch },
    Target {
        name: "archive-patch",
        golden: &["patch-unfolded-v1.bin", "patch-replayed-v1.bin", "patch-lzma2-v1.bin"],
        per_input: 5,
        run: archive_patch,
    },
    Target { name: "pack", golden: &["pack-open-v1.bin", "pack-sealed-v1.bin"], per_input: 1, run: pack },
    Target { name: "index", golden: &["index-v1.run"], per_input: 1, run: index },
];

/// The path of the golden file `name`, for the test as for the search, whose package lies in the store's.
pub fn golden(name: &str) -> PathBuf {
    let mut packages = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let golden = packages.find_map(|package| Some(package.join("tests/golden")).filter(|dir| dir.is_dir()));
    golden.expect("golden files").join(name)
}

/// Records as they come over a wire: whatever the pieces, the same records or the same refusal; what is decoded is encoded the same again.
fn record(bytes: &[u8]) {
    let split = |piece: usize| {
        let (mut splitter, mut records) = (RecordSplitter::default(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            splitter.push(piece);
            loop {
                match splitter.next_record() {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => break,
                    Err(_) => return (records, true),
                }
            }
        }
        (records, false)
    };
    let (records, refused) = split(bytes.len());
    assert!((records.clone(), refused) == split(7), "the pieces make a difference");
    for record in records {
        decode(record);
    }
}

/// A record whose header has been changed by somebody who can compute checksums.
fn forged_record(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let Ok(header_len) = RecordHeader::header_len(&bytes) else { return };
    if bytes.len() < header_len {
        return;
    }
    let sum = |context: &str, parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    };
    let payload = sum("consign 2026-11 v1 record payload", &[&bytes[header_len..]]);
    bytes[32..48].copy_from_slice(&payload.as_bytes()[..16]);
    let header = sum("consign 2026-11 v1 record header", &[&bytes[..48], &bytes[64..header_len]]);
    bytes[48..64].copy_from_slice(&header.as_bytes()[..16]);
    decode(bytes.into());
}

fn decode(record: Bytes) {
    let Ok(decoded) = VerifiedRecord::decode(record) else { return };
    let chunks: Vec<_> = decoded.chunks().collect();
    assert_eq!(chunks.len(), decoded.header().chunks.len());
    let kind = decoded.header().kind;
    let again = VerifiedRecord::decode(encode(kind, &chunks, 1).expect("chunks of a record make a record")).expect("right");
    assert!(again.chunks().zip(&chunks).all(|(a, b)| a.id() == b.id() && a.bytes() == b.bytes()));
}

/// A manifest that is taken is canonical: written again, it has the same bytes, but for what a reader is to ignore.
fn manifest(bytes: &[u8]) {
    let Some(again) = rewritten(bytes) else { return };
    assert!(rewritten(&again).as_ref() == Some(&again), "what was written is not read the same");
    let ignores = bytes[10..12] != [0; 2] || again.len() < bytes.len();
    assert!(ignores || again == bytes, "two encodings of one manifest");
}

fn rewritten(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = ManifestReader::new(bytes).ok()?;
    let mut writer = ManifestWriter::new(Vec::new()).expect("in memory");
    for entry in reader.by_ref() {
        writer.push(&entry.ok()?).expect("what is read can be written");
    }
    let (again, totals) = writer.finish().expect("in memory");
    assert_eq!(totals, reader.totals());
    Some(again)
}

/// A recipe that is taken has the chunks and bytes that its root says.
fn recipe_page(bytes: &[u8]) {
    let root = ChunkId::of_page(bytes);
    let Ok((size, chunks)) = recipe::sums_of_root(root, bytes) else { return };
    let page = Bytes::copy_from_slice(bytes);
    let mut found = (0_u64, 0_u32);
    let walked = recipe::walk(
        FileDigest::from(root),
        size,
        chunks,
        // Every page is this one: a recipe that goes round in circles ends too.
        &mut |_| Ok(page.clone()),
        &mut |line| {
            found = (found.0 + u64::from(line.len), found.1 + 1);
            Ok(())
        },
    );
    assert!(walked.is_err() || found == (size, chunks), "{found:?} of {size} bytes in {chunks} chunks");
}

/// A path that is taken stays below its root, and is written as it was read.
fn path(bytes: &[u8]) {
    let Ok(path) = SafePath::parse(bytes) else { return };
    assert_eq!(path.as_str().as_bytes(), bytes);
    assert!(path.as_str().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
    assert!(Path::new(path.as_str()).is_relative() && !path.as_str().contains('\0'));
}

/// A patch makes no more than it announces.
fn patch(bytes: &[u8]) {
    let base: Vec<u8> = (0..20_000_u32).flat_map(|number| (number * number).to_le_bytes()).collect();
    let limits = Limits { target_bytes_max: 6 << 20, ..Limits::default() };
    let mut made = 0;
    let _ = delta::apply(&mut &bytes[..], &limits, &mut |_| Ok(&base[..]), &mut |bytes| {
        made += bytes.len() as u64;
        Ok(())
    });
    assert!(made <= limits.target_bytes_max, "{made} bytes");
}

/// The same of one that sees through archives.
fn archive_patch(bytes: &[u8]) {
    for base in ["archives/nested.zip.old", "archives/seven.zip.old", "archives/blocks.tar.xz.old"] {
        let base = fs::read(golden(base)).expect("a golden file");
        let limits = Limits { target_bytes_max: 1 << 20, ..Limits::default() };
        let mut made = 0;
        let mut sink = |bytes: &[u8]| {
            made += bytes.len() as u64;
            Ok(())
        };
        let mut scratch = || Ok(tempfile::tempfile_in(room()).expect("a file"));
        let _ = delta::apply_joined(&mut &bytes[..], &limits, (&&base[..], base.len() as u64), &mut scratch, &mut sink);
        assert!(made <= limits.target_bytes_max, "{made} bytes");
    }
}

/// Memory, where there is a file system in it.
fn room() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

/// A store of the golden pack, sealed or open, and the golden index, of which one file is replaced.
fn store(replace: &str, bytes: &[u8]) -> Option<(tempfile::TempDir, Store)> {
    let dir = tempfile::tempdir_in(room()).expect("a folder");
    for folder in ["packs", "index"] {
        fs::create_dir(dir.path().join(folder)).expect("a folder");
    }
    fs::copy(golden("marker-v1.bin"), dir.path().join("consign-store")).expect("copied");
    fs::copy(golden("index-v1.run"), dir.path().join("index/0.run")).expect("copied");
    fs::copy(golden("pack-sealed-v1.bin"), dir.path().join("packs").join(SEALED)).expect("copied");
    let path = dir.path().join(replace);
    if replace.ends_with("open-0.pack") {
        fs::remove_file(dir.path().join("packs").join(SEALED)).expect("removed");
    }
    fs::write(&path, bytes).expect("written");
    Store::open(dir.path()).ok().map(|store| (dir, store))
}

const SEALED: &str = "8717a0f89b01b643b36e0fc74c0caa784e1a63f5ea66e88f11619933cc5dedf8.pack";

/// The chunks of the golden pack that the store has are right, it takes another, and a scrub mends what keeps it from that.
fn holds(store: &Store) {
    let sealed = fs::read(golden("pack-sealed-v1.bin")).expect("a golden file");
    let mut splitter = RecordSplitter::default();
    splitter.push(&sealed[32..]);
    while let Ok(Some(record)) = splitter.next_record() {
        for line in &RecordHeader::parse(&record).expect("golden").chunks {
            if let Ok(chunk) = store.read_chunk(&line.id, ChunkKind::Content) {
                assert_eq!(ChunkKind::Content.id_of(chunk.bytes()), line.id);
            }
        }
    }
    let one = VerifiedChunk::hash(ChunkKind::Content, Bytes::from_static(b"one more"));
    let record = encode(ChunkKind::Content, std::slice::from_ref(&one), 3).expect("encoded");
    let takes = || store.append_encoded(record.clone()).map(|_| store.read_chunk(&one.id(), ChunkKind::Content).is_ok());
    // An entry that names a chunk which is not there is found out at the latest by a scrub.
    let first = takes();
    if scrub(store, &mut |_| Ok(())).is_ok() && first.is_ok_and(|found| !found) {
        assert!(matches!(takes(), Ok(true)), "what was appended is not found");
    }
}

/// A pack on a disk that lies, open and sealed.
fn pack(bytes: &[u8]) {
    for name in ["packs/open-0.pack".to_owned(), format!("packs/{SEALED}")] {
        if let Some((_dir, store)) = store(&name, bytes) {
            holds(&store);
        }
    }
}

/// An index run on a disk that lies: it never hides what a good pack has.
fn index(bytes: &[u8]) {
    if let Some((_dir, store)) = store("index/0.run", bytes) {
        holds(&store);
    }
}
