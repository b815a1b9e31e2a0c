//! The index: chunk id → pack, record, place.
