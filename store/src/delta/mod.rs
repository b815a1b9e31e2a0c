//! Patches: what turns content the receiver has into content it lacks.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the coder works on the low bytes of wider numbers, and its logits stay within 13 bits; lengths are checked first"
)]

mod apply;
mod archive;
mod base;
mod coder;
mod covers;
mod encode;
mod fields;
mod format;
mod matcher;
mod model;
mod set;
mod window;

pub use apply::{Applier, Verifier, apply};
pub use archive::apply_joined;
pub use base::{FileBase, ReadAt};
pub use encode::{encode, encode_known};
pub use format::{BASES_MAX, BaseRef, Header, Limits, SECTION_BYTES_MAX, WINDOW_BYTES};
pub use set::{BuiltPatch, Part, UpdatePlan, build_set, changed_bytes, plan, take_into_store};
