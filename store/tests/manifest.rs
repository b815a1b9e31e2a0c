//! Manifests and recipes: golden bytes, round trips, and bytes that are wrong.

use bytes::Bytes;
use consign_store::chunk::record::ChunkLine;
use consign_store::chunk::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use consign_store::manifest::codec::{ManifestReader, ManifestWriter, Totals};
use consign_store::manifest::recipe::{self, PAGE_LINES_MAX, RecipeBuilder};
use consign_store::manifest::{Attributes, Entry, EntryKind, LinkTarget, ManifestFile, SafePath};
use consign_store::{ChunkId, Error, FileDigest, ManifestId, Result};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

fn path(text: &str) -> SafePath {
    SafePath::parse(text.as_bytes()).expect(text)
}

fn file(at: &str, content: &[u8], mode: u16) -> Entry {
    let built = recipe::of_bytes(content);
    let kind = EntryKind::File { size: built.size, digest: built.digest, chunks: built.chunks };
    Entry { path: path(at), kind, attributes: Attributes { mode } }
}

fn folder(at: &str) -> Entry {
    Entry { path: path(at), kind: EntryKind::Folder, attributes: Attributes { mode: 0o755 } }
}

fn link(at: &str, target: &str) -> Entry {
    let target = LinkTarget::parse(&path(at), target.as_bytes()).expect(target);
    Entry { path: path(at), kind: EntryKind::Symlink { target }, attributes: Attributes { mode: 0o777 } }
}

fn write(entries: &[Entry]) -> Result<(Vec<u8>, Totals)> {
    let mut writer = ManifestWriter::new(Vec::new())?;
    for entry in entries {
        writer.push(entry)?;
    }
    writer.finish()
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>> {
    ManifestReader::new(bytes)?.collect()
}

fn sample() -> Vec<Entry> {
    vec![
        folder("bin"),
        file("bin/tool", b"#!/bin/sh\necho hello\n", 0o755),
        link("bin/tool-latest", "tool"),
        file("bin-notes.txt", b"", 0o644),
        folder("lib"),
        folder("lib/ä"),
        file("lib/ä/big", &vec![7; 3 * CHUNK_BYTES_MAX], 0o644),
    ]
}

/// Compares with the fixture `name`; a changed format must change its version.
fn golden(name: &str, bytes: &[u8]) {
    let at = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(&at, bytes).expect("written");
    }
    assert!(std::fs::read(&at).expect("fixture") == bytes, "{name} has changed");
}

#[test]
fn manifest_bytes_are_pinned() {
    let (bytes, totals) = write(&sample()).expect("written");
    assert_eq!(totals, Totals { entries: 7, files: 3, bytes: 21 + 3 * CHUNK_BYTES_MAX as u64, chunks: 4 });
    golden("manifest-v1.bin", &bytes);
    assert_eq!(read(&bytes).expect("read"), sample());
}

#[test]
fn recipe_pages_are_pinned() {
    let built = recipe::of_bytes(&vec![7; 3 * CHUNK_BYTES_MAX]);
    assert_eq!(built.pages.len(), 1);
    golden("recipe-page-v1.bin", built.pages[0].bytes());
}

#[test]
fn empty_manifest_round_trips() {
    let (bytes, _) = write(&[]).expect("written");
    assert_eq!(read(&bytes).expect("read"), []);
}

#[test]
fn entries_out_of_place_are_not_written() {
    let bad: [&[Entry]; 6] = [
        &[file("b", b"", 0o644), file("a", b"", 0o644)],
        &[file("a", b"", 0o644), file("a", b"", 0o644)],
        &[file("a/b", b"", 0o644)],
        &[file("a", b"", 0o644), file("a/b", b"", 0o644)],
        &[link("a", "."), file("a/b", b"", 0o644)],
        &[file("a", b"", 0o1755)],
    ];
    for entries in bad {
        assert!(matches!(write(entries), Err(Error::Refused { .. })), "{entries:?}");
    }
}

#[test]
fn each_cut_and_each_changed_byte_is_refused_or_harmless() {
    let (bytes, _) = write(&sample()).expect("written");
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "cut to {len}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(read(&longer).is_err());
    let id = recipe::of_bytes(&bytes).digest;
    let dir = tempfile::tempdir().expect("folder");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        // The reader may take other content; it is the id that refuses it, always.
        let _ = read(&changed);
        let to = dir.path().join("manifest");
        std::fs::write(&to, &changed).expect("written");
        assert!(matches!(ManifestFile::open(&to, ManifestId::from(id)), Err(Error::Damaged { .. })), "byte {at}");
    }
}

#[test]
fn header_fields_of_the_future_are_named() {
    let (bytes, _) = write(&sample()).expect("written");
    for (at, word) in [(4, "version 2"), (6, "hash algorithm"), (8, "required features"), (9, "required features")] {
        let mut newer = bytes.clone();
        newer[at] = 2;
        let error = read(&newer).expect_err("too new");
        assert!(matches!(error, Error::TooNew { .. }) && error.to_string().contains(word), "{error}");
    }
    let mut optional = bytes;
    optional[10] = 2;
    assert_eq!(read(&optional).expect("an optional feature is ignored"), sample());
}

/// One block with one folder entry that has the given attributes.
fn with_attributes(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let (bytes, totals) = write(&[folder("f")]).expect("written");
    let mut entry = vec![2, u8::try_from(attributes.len()).expect("few"), 1, 0, b'f'];
    for (kind, value) in attributes {
        entry.extend(kind.to_le_bytes());
        entry.extend(u16::try_from(value.len()).expect("short").to_le_bytes());
        entry.extend(*value);
    }
    let mut out = bytes[..16].to_vec();
    out.extend(u32::try_from(entry.len()).expect("short").to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend(&entry);
    out.extend([0; 8]);
    for total in [totals.entries, totals.files, totals.bytes, totals.chunks] {
        out.extend(total.to_le_bytes());
    }
    out
}

#[test]
fn unknown_attributes_are_skipped_unless_critical() {
    let mode: (u16, &[u8]) = (0x8001, &[0xed, 1]);
    let folder = [folder("f")];
    assert_eq!(read(&with_attributes(&[mode])).expect("plain"), folder);
    assert_eq!(read(&with_attributes(&[mode, (7, b"hint")])).expect("not critical"), folder);
    assert!(matches!(read(&with_attributes(&[mode, (0x8007, b"rule")])), Err(Error::TooNew { .. })));
    let bad: [&[(u16, &[u8])]; 5] = [&[], &[(7, b"hint"), mode], &[mode, mode], &[(0x8001, &[1])], &[(0x8001, &[0, 4])]];
    for bad in bad {
        assert!(matches!(read(&with_attributes(bad)), Err(Error::Damaged { .. })), "{bad:?}");
    }
}

fn many(count: u32) -> Vec<Entry> {
    (0..count).map(|n| file(&format!("file-{n:07}"), &n.to_le_bytes(), 0o644)).collect()
}

/// Byte ranges of the blocks, headers included.
fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    let mut rest = &bytes[16..];
    loop {
        let len = u32::from_le_bytes(rest[..4].try_into().expect("four")) as usize;
        if len == 0 {
            return out;
        }
        let (block, tail) = rest.split_at(len + 8);
        out.push(block);
        rest = tail;
    }
}

#[test]
fn an_inserted_entry_moves_no_later_boundary() {
    let mut entries = many(5000);
    let (old, _) = write(&entries).expect("written");
    entries.insert(1000, file("file-0000999a", b"new", 0o644));
    let (new, _) = write(&entries).expect("written");
    let (old, new) = (blocks(&old), blocks(&new));
    assert!(old.len() > 8, "{} blocks", old.len());
    let changed = new.iter().filter(|block| !old.contains(block)).count();
    assert!(changed <= 2, "{changed} of {} blocks changed", new.len());
}

#[test]
fn blocks_that_end_elsewhere_are_refused() {
    let (bytes, _) = write(&many(2000)).expect("written");
    let found = blocks(&bytes);
    assert!(found.len() >= 2, "{} blocks", found.len());
    let trailer = &bytes[16 + found.iter().map(|block| block.len()).sum::<usize>()..];
    let entries = |block: &[u8]| u32::from_le_bytes(block[4..8].try_into().expect("four"));
    let build = |parts: &[(u32, &[u8])]| {
        let mut out = bytes[..16].to_vec();
        for (count, part) in parts {
            out.extend(u32::try_from(part.len()).expect("short").to_le_bytes());
            out.extend(count.to_le_bytes());
            out.extend(*part);
        }
        out.extend(trailer);
        out
    };
    let plain: Vec<_> = found.iter().map(|block| (entries(block), &block[8..])).collect();
    assert!(read(&build(&plain)).is_ok());
    // The first two joined.
    let joined = [plain[0].1, plain[1].1].concat();
    let mut parts = vec![(plain[0].0 + plain[1].0, &joined[..])];
    parts.extend(&plain[2..]);
    assert!(matches!(read(&build(&parts)), Err(Error::Damaged { .. })));
    // The first one split behind its first entry.
    let one = 4 + "file-0000000".len() + 44 + 6;
    let mut parts = vec![(1, &plain[0].1[..one]), (plain[0].0 - 1, &plain[0].1[one..])];
    parts.extend(&plain[1..]);
    assert!(matches!(read(&build(&parts)), Err(Error::Damaged { .. })));
}

#[test]
fn mapped_manifest_gives_entries_by_number_and_path() {
    let mut entries = sample();
    entries.extend(many(3000).into_iter().map(|mut entry| {
        entry.path = path(&format!("z{}", entry.path.as_str()));
        entry
    }));
    let (bytes, totals) = write(&entries).expect("written");
    let dir = tempfile::tempdir().expect("folder");
    let at = dir.path().join("manifest");
    std::fs::write(&at, &bytes).expect("written");
    let manifest = ManifestFile::open(&at, recipe::of_bytes(&bytes).digest.into()).expect("opened");
    assert_eq!(manifest.totals(), totals);
    assert_eq!(manifest.bytes(), bytes);
    assert!(manifest.entries().eq(entries.iter().cloned()));
    for (number, entry) in (0..).zip(&entries) {
        assert_eq!(manifest.entry(number), *entry);
        assert_eq!(manifest.path_of(number), entry.path.as_str());
        assert_eq!(manifest.find(entry.path.as_str()), Some(number));
        assert_eq!(manifest.file_of(number).is_some(), matches!(entry.kind, EntryKind::File { .. }));
    }
    for absent in ["", "a", "bin/", "bin/tool-", "zz"] {
        assert_eq!(manifest.find(absent), None);
    }
}

#[test]
fn a_file_of_one_chunk_is_named_by_it() {
    let built = recipe::of_bytes(b"hello");
    assert_eq!(built.digest, FileDigest::from(ChunkId::of_content(b"hello")));
    assert!(built.pages.is_empty());
    assert_eq!(recipe::of_bytes(b"").digest, FileDigest::empty());
}

fn chunk(number: u32) -> ChunkLine {
    ChunkLine { id: ChunkId::of_content(&number.to_le_bytes()), len: (16 << 10) + number % 1000 }
}

fn collect(digest: FileDigest, size: u64, chunks: u32, pages: &HashMap<ChunkId, Bytes>) -> Result<Vec<ChunkLine>> {
    let mut lines = Vec::new();
    let mut page = |id: ChunkId| pages.get(&id).cloned().ok_or(Error::NoChunk(id));
    recipe::walk(digest, size, chunks, &mut page, &mut |line| {
        lines.push(line);
        Ok(())
    })?;
    Ok(lines)
}

#[test]
fn recipes_of_each_height_walk_back_to_their_chunks() {
    let max = u32::try_from(PAGE_LINES_MAX).expect("small");
    for (count, pages_wanted) in [(0, 0), (1, 0), (2, 1), (max, 1), (max + 1, 3), (3 * max, 4), (3 * max + 5, 5)] {
        let mut builder = RecipeBuilder::default();
        let mut pages = HashMap::new();
        let lines: Vec<_> = (0..count).map(chunk).collect();
        for &line in &lines {
            builder.push(line);
            pages.extend(builder.take_pages().into_iter().map(|page| (page.id(), page.bytes().clone())));
        }
        let built = builder.finish();
        assert_eq!(built.pages.last().map(|page| FileDigest::from(page.id())), (count > 1).then_some(built.digest));
        pages.extend(built.pages.iter().map(|page| (page.id(), page.bytes().clone())));
        assert_eq!((built.chunks, pages.len()), (count, pages_wanted));
        assert_eq!(built.size, lines.iter().map(|line| u64::from(line.len)).sum::<u64>());
        assert_eq!(collect(built.digest, built.size, count, &pages).expect("walked"), lines);
        for range in [0..1, 1..2, 0..built.size, built.size / 3..built.size / 2, (16 << 10)..(80 << 20), built.size..u64::MAX] {
            let mut found = Vec::new();
            let mut page = |id: ChunkId| pages.get(&id).cloned().ok_or(Error::NoChunk(id));
            recipe::walk_in(built.digest, built.size, count, range.clone(), &mut page, &mut |at, line| {
                found.push((at, line));
                Ok(())
            })
            .expect("walked");
            let placed = lines.iter().scan(0, |end, line| {
                let at = *end;
                *end += u64::from(line.len);
                Some((at, *line))
            });
            assert_eq!(found, placed.filter(|(at, _)| range.contains(at)).collect::<Vec<_>>(), "{count} {range:?}");
        }
        // Wrong size or count from the manifest.
        if count > 2 {
            assert!(collect(built.digest, built.size + 1, count, &pages).is_err());
            assert!(collect(built.digest, built.size, count + 1, &pages).is_err());
            assert!(collect(built.digest, built.size, count - 1, &pages).is_err());
        }
    }
}

#[test]
fn wrong_recipe_pages_are_refused() {
    let mut builder = RecipeBuilder::default();
    (0..5000).map(chunk).for_each(|line| builder.push(line));
    let built = builder.finish();
    let pages: HashMap<_, _> = built.pages.iter().map(|page| (page.id(), page.bytes().clone())).collect();
    for page in &built.pages {
        for at in [0, 4, 6, 7, 8, 12, 16, 48, 56, page.bytes().len() - 1] {
            let mut changed = page.bytes().to_vec();
            changed[at] ^= 1;
            let mut pages = pages.clone();
            pages.insert(page.id(), changed.into());
            assert!(matches!(collect(built.digest, built.size, built.chunks, &pages), Err(Error::Damaged { .. })));
        }
        let mut pages = pages.clone();
        pages.remove(&page.id());
        assert!(matches!(collect(built.digest, built.size, built.chunks, &pages), Err(Error::NoChunk(_))));
    }
}

/// A page whose name is right for its bytes but whose lines lie.
#[test]
fn lying_recipe_pages_are_refused() {
    let page = |level: u8, lines: &[(ChunkId, u64, u32)]| {
        let mut out = b"CNRP\x01\0\x01".to_vec();
        out.extend([level, 0, 0, 0, 0]);
        out.extend(u32::try_from(lines.len()).expect("few").to_le_bytes());
        for (id, len, chunks) in lines {
            out.extend(id.as_bytes());
            out.extend(len.to_le_bytes());
            out.extend(chunks.to_le_bytes());
        }
        (ChunkId::of_page(&out), Bytes::from(out))
    };
    let mut newer = page(0, &[(chunk(1).id, 1 << 15, 1), (chunk(2).id, 5, 1)]).1.to_vec();
    newer[8] = 1;
    let id = ChunkId::of_page(&newer);
    assert!(matches!(collect(id.into(), (1 << 15) + 5, 2, &HashMap::from([(id, newer.into())])), Err(Error::TooNew { .. })));
    let (a, b) = (chunk(1).id, chunk(2).id);
    let min = CHUNK_BYTES_MIN as u64;
    let honest = page(0, &[(a, min, 1), (b, 5, 1)]);
    assert!(collect(honest.0.into(), min + 5, 2, &HashMap::from([honest.clone()])).is_ok());
    let liars = [
        page(1, &[(a, min, 1), (b, 5, 1)]),
        page(0, &[(a, min, 1), (b, 5, 1), (b, 0, 0)]),
        page(0, &[(a, min, 2), (b, 5, 0)]),
        page(0, &[(a, min + 5, 2)]),
        page(0, &[(a, 5, 1), (b, min, 1)]),
        page(0, &[(a, min + 5, 1), (b, 0, 1)]),
        page(0, &[(a, u64::MAX, 1), (b, min + 6, 1)]),
        page(0, &[]),
    ];
    for liar in liars {
        assert!(collect(liar.0.into(), min + 5, 2, &HashMap::from([liar])).is_err());
    }
    let own = page(0, &[(a, min, 1), (b, 5, 1)]);
    let endless = page(1, &[(own.0, min + 5, 2)]);
    assert!(collect(endless.0.into(), min + 5, 2, &HashMap::from([own, endless.clone()])).is_err());
}

fn arbitrary_entries() -> impl Strategy<Value = Vec<Entry>> {
    let leaf = (0u8..3, proptest::collection::vec(any::<u8>(), 0..40), 0u16..=0o777);
    let part = "[a-c.é-]{1,3}".prop_filter("dots", |part| part != "." && part != "..");
    let at = proptest::collection::vec(part, 1..4);
    proptest::collection::vec((at, leaf), 0..60).prop_map(|drawn| {
        let mut tree: BTreeMap<SafePath, Entry> = BTreeMap::new();
        for (parts, (kind, content, mode)) in drawn {
            let above: Vec<_> = (1..parts.len()).map(|n| parts[..n].join("/")).collect();
            let is_folder = |at: &String| tree.get(&path(at)).is_none_or(|entry| entry.kind == EntryKind::Folder);
            let whole = parts.join("/");
            if !above.iter().all(is_folder) || tree.contains_key(&path(&whole)) {
                continue;
            }
            for at in above {
                tree.entry(path(&at)).or_insert_with(|| folder(&at));
            }
            let entry = match kind {
                0 => folder(&whole),
                1 => link(&whole, "some where"),
                _ => file(&whole, &content, mode),
            };
            tree.insert(path(&whole), entry);
        }
        tree.into_values().collect()
    })
}

proptest! {
    #[test]
    fn any_tree_round_trips(entries in arbitrary_entries()) {
        let (bytes, totals) = write(&entries).expect("written");
        prop_assert_eq!(totals.entries, entries.len() as u64);
        prop_assert_eq!(&read(&bytes).expect("read"), &entries);
        prop_assert_eq!(write(&read(&bytes).expect("read")).expect("again").0, bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..300), plain in any::<bool>()) {
        let (mut bytes, _) = write(&sample()).expect("written");
        if plain {
            bytes.truncate(16);
            bytes.extend(tail);
        } else {
            bytes = tail;
        }
        let _ = read(&bytes);
        let _ = recipe::sums_of_root(ChunkId::of_page(&bytes), &bytes);
        let _ = SafePath::parse(&bytes);
    }

    #[test]
    fn changed_manifests_never_panic_and_stay_canonical(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let (mut bytes, _) = write(&many(300)).expect("written");
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(entries) = read(&bytes) && bytes[10..12] == [0; 2] {
            prop_assert_eq!(write(&entries).expect("written").0, bytes);
        }
    }
}
