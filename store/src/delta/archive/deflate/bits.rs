//! Bits into bytes, lowest first.

/// Collects bits.
#[derive(Debug, Default)]
pub(super) struct Bits {
    held: u64,
    count: u32,
    pub(super) bytes: Vec<u8>,
}

impl Bits {
    /// Appends the lowest `count` bits of `value`, at most 32.
    pub(super) fn put(&mut self, value: u32, count: u32) {
        self.held |= u64::from(value) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend_from_slice(&(self.held as u32).to_le_bytes());
            self.held >>= 32;
            self.count -= 32;
        }
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self) {
        let whole = self.count.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.held.to_le_bytes()[..whole]);
        self.held = 0;
        self.count = 0;
    }
}
