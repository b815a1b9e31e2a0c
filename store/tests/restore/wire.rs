//! What a server sends for a request.

use std::collections::HashSet;
use std::sync::Arc;

use consign_store::chunk::record::VerifiedRecord;
use consign_store::restore::{WireStream, full_wire_bytes};

use crate::support::{Room, noise, put, sample};

fn whole(start: u32, end: u32) -> Vec<std::ops::Range<u32>> {
    std::iter::once(start..end).collect()
}

fn all(mut stream: WireStream) -> Vec<VerifiedRecord> {
    let mut out = Vec::new();
    while let Some(record) = stream.next_record().unwrap() {
        out.push(VerifiedRecord::decode(record.bytes).unwrap());
    }
    assert!(stream.next_record().unwrap().is_none());
    out
}

#[test]
fn a_full_download_is_the_records_of_the_pack() {
    let room = Room::new();
    for number in 0..60_u64 {
        put(&room.path("source"), &format!("{number}.bin"), &noise(number, 150_000));
    }
    let (done, manifest) = room.publish(&room.path("source"));
    let table = Arc::new(room.table(&manifest));
    let len = table.len();
    let records = all(WireStream::chunks(room.store.clone(), Arc::clone(&table), whole(0, len)));
    let mut sent = 0;
    for record in &records {
        let first = record.chunks().next().unwrap().id();
        let at = room.store.locate(&first).unwrap().unwrap();
        assert_eq!(&room.store.read_record(at.record).unwrap(), record.encoded());
        sent += record.header().chunks.len();
    }
    assert_eq!(sent, len as usize);
    assert_eq!(done.chunks, u64::from(len));
}

#[test]
fn what_is_in_memory_is_had_at_once_and_is_the_same() {
    let room = Room::new();
    for number in 0..60_u64 {
        put(&room.path("source"), &format!("{number}.bin"), &noise(number, 150_000));
    }
    let (_, manifest) = room.publish(&room.path("source"));
    let table = Arc::new(room.table(&manifest));
    let half = table.len() / 2;
    for sealed in [false, true] {
        if sealed {
            room.store.seal().unwrap();
        }
        // All; and a part whose last record holds more than is wanted.
        for (ranges, whole_only) in [(whole(0, table.len()), true), (whole(0, half), false)] {
            let stream = || WireStream::chunks(room.store.clone(), Arc::clone(&table), ranges.clone());
            let patient: Vec<_> = all(stream()).into_iter().map(|record| record.encoded().clone()).collect();
            let mut hasty = stream();
            let mut now = Vec::new();
            while let Some(record) = hasty.next_now() {
                now.push(record);
            }
            let late = all_bytes(&mut hasty);
            // Elsewhere nothing is known to be in memory, and all of it is had the patient way.
            if cfg!(target_os = "linux") {
                assert_eq!(now.len(), patient.len() - usize::from(!whole_only), "sealed: {sealed}");
            }
            now.extend(late);
            assert_eq!(now, patient);
            assert!(hasty.is_over());
        }
    }
}

fn all_bytes(stream: &mut WireStream) -> Vec<bytes::Bytes> {
    std::iter::from_fn(|| stream.next_record().unwrap().map(|record| record.bytes)).collect()
}

#[test]
fn no_answer_carries_other_chunks() {
    let room = Room::new();
    sample(&room.path("source"));
    let (_, manifest) = room.publish(&room.path("source"));
    let table = Arc::new(room.table(&manifest));
    for step in [2_u32, 3, 7] {
        let ranges: Vec<_> = (0..table.len() / step).map(|n| n * step..n * step + 1).collect();
        let wanted: HashSet<_> = ranges.iter().map(|range| table.line(range.start).unwrap().id).collect();
        let records = all(WireStream::chunks(room.store.clone(), Arc::clone(&table), ranges));
        let sent: HashSet<_> = records.iter().flat_map(|record| record.header().chunks.iter().map(|line| line.id)).collect();
        assert_eq!(sent, wanted);
    }
}

#[test]
fn recipes_are_the_pages_of_the_asked_entries() {
    let room = Room::new();
    sample(&room.path("source"));
    let (_, manifest) = room.publish(&room.path("source"));
    let manifest = Arc::new(manifest);
    let entries = u32::try_from(manifest.totals().entries).unwrap();
    let big = manifest.find("lib/big.dat").unwrap();
    let one = all(WireStream::recipes(room.store.clone(), Arc::clone(&manifest), whole(big, big + 1)));
    let ids: Vec<_> = one.iter().flat_map(|record| record.header().chunks.iter().map(|line| line.id)).collect();
    assert_eq!(ids, vec![manifest.file_of(big).unwrap().1.into()]);
    let every = all(WireStream::recipes(room.store.clone(), manifest, whole(0, entries + 5)));
    assert!(every.iter().map(|record| record.header().chunks.len()).sum::<usize>() >= 3);
}

#[test]
fn what_an_answer_costs_is_counted_to_the_byte() {
    let room = Room::new();
    sample(&room.path("source"));
    // Repeated content, and a second version whose records hold chunks of both.
    put(&room.path("source"), "twice.bin", &noise(1, 300_000));
    put(&room.path("source"), "again.bin", &noise(1, 300_000));
    let (_, manifest) = room.publish(&room.path("source"));
    let table = Arc::new(room.table(&manifest));
    for step in [1_u32, 2, 5] {
        let ranges: Vec<_> = (0..table.len() / step).map(|n| n * step..n * step + 1).collect();
        let stream = || WireStream::chunks(room.store.clone(), Arc::clone(&table), ranges.clone());
        let sent: usize = all(stream()).iter().map(|record| record.encoded().len()).sum();
        assert_eq!(stream().count().unwrap(), sent as u64, "every {step}th chunk");
    }
    let manifest = Arc::new(manifest);
    let entries = u32::try_from(manifest.totals().entries).unwrap();
    let recipes = all(WireStream::recipes(room.store.clone(), Arc::clone(&manifest), whole(0, entries)));
    let mut seen = HashSet::new();
    let distinct = (0..table.len()).filter(|ordinal| seen.insert(table.line(*ordinal).unwrap().id));
    let ranges = distinct.map(|ordinal| ordinal..ordinal + 1).collect();
    let chunks = all(WireStream::chunks(room.store.clone(), Arc::clone(&table), ranges));
    let sent: usize = recipes.iter().chain(&chunks).map(|record| record.encoded().len()).sum();
    assert_eq!(full_wire_bytes(&room.store, &manifest, &table).unwrap(), sent as u64, "repeated content is counted once");
}
