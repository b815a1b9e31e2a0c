//! The record format: golden bytes, every kind of damage, limits, splitting.

use bytes::Bytes;
use consign_store::Error;
use consign_store::chunk::record::{
    RECORD_CHUNKS_MAX, RECORD_RAW_BYTES_MAX, RecordHeader, RecordSplitter, VerifiedRecord, encode,
};
use consign_store::chunk::{CHUNK_BYTES_MAX, ChunkKind, VerifiedChunk};
use proptest::prelude::*;

use crate::support::{assert_golden, chunk, golden, noise, record};

fn text_chunk(seed: u8, len: usize) -> VerifiedChunk {
    VerifiedChunk::hash(ChunkKind::Content, vec![seed; len].into())
}

#[test]
fn raw_record_is_golden() {
    assert_golden("record-raw-v1.bin", &record(1, 2));
}

#[test]
fn page_record_is_golden() {
    let page = VerifiedChunk::hash(ChunkKind::RecipePage, noise(7, 72));
    assert_golden("record-page-v1.bin", &encode(ChunkKind::RecipePage, &[page], 3).unwrap());
}

/// The bytes of a zstd frame may change with the library, reading an old one may not.
#[test]
fn golden_zstd_record_stays_readable() {
    let chunks = [text_chunk(b'a', 5000), text_chunk(b'b', 70_000)];
    let path = golden("record-zstd-v1.bin");
    if std::env::var_os("CONSIGN_BLESS").is_some() {
        std::fs::write(&path, encode(ChunkKind::Content, &chunks, 3).unwrap()).unwrap();
    }
    let decoded = VerifiedRecord::decode(std::fs::read(&path).unwrap().into()).unwrap();
    assert!(decoded.encoded().len() < 500);
    assert!(decoded.chunks().zip(&chunks).all(|(got, want)| got.id() == want.id() && got.bytes() == want.bytes()));
    assert_eq!(decoded.chunks().count(), 2);
}

#[test]
fn every_flipped_bit_is_refused() {
    for encoded in [record(1, 3), encode(ChunkKind::Content, &[text_chunk(b'x', 9000)], 3).unwrap()] {
        for at in 0..encoded.len() {
            let mut damaged = encoded.to_vec();
            damaged[at] ^= 1 << (at % 8);
            let error = VerifiedRecord::decode(damaged.into()).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. } | Error::TooNew { .. }), "byte {at}: {error}");
        }
    }
}

#[test]
fn every_truncation_and_a_longer_record_are_refused() {
    let encoded = record(1, 3);
    for len in 0..encoded.len() {
        assert!(VerifiedRecord::decode(encoded.slice(..len)).is_err(), "{len} bytes");
    }
    let longer = [&encoded[..], b"x"].concat();
    assert!(VerifiedRecord::decode(longer.into()).is_err());
}

/// Rewrites fields of the fixed part and makes the checksum right again, as a hostile sender would.
pub fn forged(encoded: &[u8], at: usize, field: &[u8]) -> Bytes {
    let mut forged = encoded.to_vec();
    forged[at..at + field.len()].copy_from_slice(field);
    let lines = 64 + 36 * u32::from_le_bytes(forged[16..20].try_into().unwrap()) as usize;
    let mut hasher = blake3::Hasher::new_derive_key("consign 2026-11 v1 record header");
    hasher.update(&forged[..48]);
    hasher.update(forged.get(64..lines).unwrap_or(&[]));
    let sum = hasher.finalize();
    forged[48..64].copy_from_slice(&sum.as_bytes()[..16]);
    forged.into()
}

#[test]
fn lengths_over_their_limit_are_refused_before_they_are_used() {
    let encoded = record(1, 1);
    let cases: [(usize, u32); 6] = [(16, 0), (16, u32::MAX), (20, 0), (20, u32::MAX), (24, u32::MAX), (20, 999)];
    for (at, value) in cases {
        let forged = forged(&encoded, at, &value.to_le_bytes());
        assert!(matches!(VerifiedRecord::decode(forged), Err(Error::Damaged { .. })), "{value} at {at}");
    }
    for (at, value) in [(4, 2_u16), (8, 1)] {
        assert!(matches!(RecordHeader::parse(&forged(&encoded, at, &value.to_le_bytes())), Err(Error::TooNew { .. })));
    }
    assert!(RecordHeader::parse(&forged(&encoded, 10, &[0xff, 0xff])).is_ok(), "unknown optional features are no obstacle");
    for line_len in [0, u32::try_from(CHUNK_BYTES_MAX).unwrap() + 1] {
        assert!(matches!(RecordHeader::parse(&forged(&encoded, 96, &line_len.to_le_bytes())), Err(Error::Damaged { .. })));
    }
}

#[test]
fn a_frame_that_grows_or_shrinks_is_refused() {
    let small = encode(ChunkKind::Content, &[text_chunk(b'x', 9000)], 3).unwrap();
    let header = RecordHeader::parse(&small).unwrap();
    for claimed in [8999_u32, 9001, 200_000] {
        let claim = forged(&forged(&small, 96, &claimed.to_le_bytes()), 20, &claimed.to_le_bytes());
        let error = VerifiedRecord::decode(claim).unwrap_err();
        assert!(matches!(&error, Error::Damaged { .. }), "{error}");
    }
    assert_eq!(header.raw_len, 9000);
}

#[test]
fn a_chunk_with_another_digest_is_named() {
    let encoded = record(1, 2);
    let other = chunk(99, 1000).id();
    let error = VerifiedRecord::decode(forged(&encoded, 100, other.as_bytes())).unwrap_err();
    assert!(error.to_string().contains(&other.to_string()), "{error}");
    let as_page = VerifiedRecord::decode(forged(&encoded, 12, &[1])).unwrap_err();
    assert!(matches!(as_page, Error::Damaged { .. }));
}

#[test]
fn encode_refuses_what_decode_would() {
    let limit = |chunks: &[VerifiedChunk]| matches!(encode(ChunkKind::Content, chunks, 3), Err(Error::Limit { .. }));
    let refused = |kind, chunks: &[VerifiedChunk]| matches!(encode(kind, chunks, 3), Err(Error::Refused { .. }));
    assert!(limit(&[text_chunk(0, CHUNK_BYTES_MAX + 1)]));
    assert!(limit(&vec![text_chunk(0, CHUNK_BYTES_MAX); RECORD_RAW_BYTES_MAX / CHUNK_BYTES_MAX + 1]));
    assert!(limit(&vec![text_chunk(0, 1); RECORD_CHUNKS_MAX + 1]));
    assert!(refused(ChunkKind::Content, &[]));
    assert!(refused(ChunkKind::Content, &[text_chunk(0, 0)]));
    assert!(refused(ChunkKind::RecipePage, &[text_chunk(0, 1)]));
}

#[test]
fn largest_records_round_trip() {
    let full = vec![text_chunk(1, CHUNK_BYTES_MAX); RECORD_RAW_BYTES_MAX / CHUNK_BYTES_MAX];
    let many = vec![text_chunk(2, 128); RECORD_CHUNKS_MAX];
    for chunks in [full, many] {
        let decoded = VerifiedRecord::decode(encode(ChunkKind::Content, &chunks, 3).unwrap()).unwrap();
        assert_eq!(decoded.header().raw_len, RECORD_RAW_BYTES_MAX);
        assert_eq!(decoded.chunks().count(), chunks.len());
    }
}

#[test]
fn splitter_gives_the_same_records_for_any_pieces() {
    let records = [record(1, 1), record(2, 40), record(50, 2)];
    let stream = records.concat();
    for piece in [1, 63, 64, 65, 1000, stream.len()] {
        let mut splitter = RecordSplitter::default();
        let mut got = Vec::new();
        for bytes in stream.chunks(piece) {
            splitter.push(bytes);
            while let Some(record) = splitter.next_record().unwrap() {
                got.push(record);
            }
        }
        assert_eq!(got, records, "pieces of {piece}");
        assert_eq!(splitter.pending(), 0);
    }
}

#[test]
fn splitter_refuses_a_bad_header_before_its_payload() {
    let mut bad = record(1, 1).to_vec();
    bad[70] ^= 1;
    let mut splitter = RecordSplitter::default();
    splitter.push(&bad[..99]);
    assert!(splitter.next_record().unwrap().is_none());
    splitter.push(&bad[99..100]);
    assert!(matches!(splitter.next_record(), Err(Error::Damaged { .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), start in 0usize..64) {
        let mut with_start = record(1, 1)[..start].to_vec();
        with_start.extend_from_slice(&bytes);
        prop_assert!(VerifiedRecord::decode(with_start.clone().into()).is_err());
        let mut splitter = RecordSplitter::default();
        splitter.push(&with_start);
        let _ = splitter.next_record();
    }
}
