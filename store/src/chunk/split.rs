//! Cutting a byte stream into whole records.

use bytes::{Bytes, BytesMut};

use super::record::{RECORD_FIXED_BYTES, RecordHeader};
use crate::error::Result;

/// Splits a byte stream into whole records without decoding them: push what arrives, take what is complete.
///
/// Holds at most one record and what was pushed behind it, if records are taken after each push.
#[derive(Debug, Default)]
pub struct RecordSplitter {
    held: BytesMut,
    /// Length of the record that `held` starts with, known once its header is whole and checked.
    record_len: Option<usize>,
}

impl RecordSplitter {
    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Takes the next whole record, or `None` until more has arrived.
    ///
    /// # Errors
    /// The header is damaged, too new, or over a limit.
    pub fn next_record(&mut self) -> Result<Option<Bytes>> {
        let record_len = match self.record_len {
            Some(known) => known,
            None => match self.parse_len()? {
                Some(parsed) => *self.record_len.insert(parsed),
                None => return Ok(None),
            },
        };
        if self.held.len() < record_len {
            return Ok(None);
        }
        self.record_len = None;
        Ok(Some(self.held.split_to(record_len).freeze()))
    }

    /// Bytes held that belong to no whole record yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.held.len()
    }

    fn parse_len(&self) -> Result<Option<usize>> {
        if self.held.len() < RECORD_FIXED_BYTES || self.held.len() < RecordHeader::header_len(&self.held)? {
            return Ok(None);
        }
        Ok(Some(RecordHeader::parse(&self.held)?.record_len()))
    }
}
