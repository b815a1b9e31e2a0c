//! How much work folding may be: content can be crafted so that each of its bytes is looked for in thousands of places.

/// Places looked at for matches for each plain byte, on average over all streams so far, that folding may cost; four real packages needed
/// at most 16.
pub(super) const LOOKS_PER_BYTE_MAX: u64 = 128;
/// The same for what is built: half, because threads that share a stream look at some places twice.
pub(super) const BUILT_LOOKS_PER_BYTE_MAX: u64 = LOOKS_PER_BYTE_MAX / 2;
/// Bytes that are compared for the work of one look.
pub(super) const LOOK_BYTES: usize = 32;
/// Plain bytes more for which work is allowed.
const PLAIN_SPARE_BYTES: u64 = 64 << 10;

/// The work of the streams that have been folded.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Work {
    plain: u64,
    looks: u64,
}

impl Work {
    /// Says whether a stream of `plain` bytes may have cost `looks` so far, at `looks_max` a byte.
    pub(super) fn allows(self, plain: u64, looks: u64, looks_max: u64) -> bool {
        let allowed = (self.plain.saturating_add(plain).saturating_add(PLAIN_SPARE_BYTES)).saturating_mul(looks_max);
        self.looks.saturating_add(looks) <= allowed
    }

    /// Adds a stream, with its looks before its end.
    pub(super) fn add(&mut self, plain: u64, looks: u64) {
        self.plain += plain;
        self.looks += looks;
    }
}
