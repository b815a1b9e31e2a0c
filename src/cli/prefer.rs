//! `--prefer`: what a machine spares where it can choose.

use crate::policy::Prefer;

/// What to spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PreferWord {
    /// Wait for patches only if that ends sooner
    Time,
    /// Wait for patches, as bytes on the wire are dear
    Bytes,
}

impl From<PreferWord> for Prefer {
    fn from(word: PreferWord) -> Self {
        match word {
            PreferWord::Time => Self::Time,
            PreferWord::Bytes => Self::Bytes,
        }
    }
}
