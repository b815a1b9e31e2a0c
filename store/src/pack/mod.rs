//! Packs: files of records.
