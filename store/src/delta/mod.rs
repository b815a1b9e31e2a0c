//! Patches: what turns content the receiver has into content it lacks.
//!
//! [`encode()`] finds covers (stretches of the target that resemble stretches of the bases) and codes their differences and what lies between
//! them by models that learn while they code; [`apply()`] and [`Applier`] do the same backwards, window by window, in at most 64 MiB.
//! A patch is untrusted: it is judged by the digest of what it makes. [`similar`] finds a base for a file without a namesake.
//! The layout is in `docs/formats.md`.
//!
//! ```
//! use consign_store::delta::{self, Limits};
//!
//! let (old, new) = (b"the bytes it has, and the bytes it keeps", b"the bytes it has, and the bytes it lacks");
//! let limits = Limits { target_bytes_max: new.len() as u64, ..Limits::default() };
//! let patch = delta::encode(&[old], new, &limits)?;
//! let mut made = Vec::new();
//! delta::apply(&mut &patch[..], &limits, &mut |_| Ok(&old[..]), &mut |bytes| {
//!     made.extend_from_slice(bytes);
//!     Ok(())
//! })?;
//! assert_eq!(made, new);
//! # Ok::<(), consign_store::Error>(())
//! ```

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
mod echo;
mod encode;
mod fields;
mod format;
mod literals;
mod matcher;
mod model;
mod set;
pub mod similar;
mod view;
mod window;

pub use apply::{Applier, Verifier, apply, apply_threads};
pub use archive::{ApplyCost, apply_joined, fold_threads};
pub use base::{FileBase, ReadAt};
pub use encode::{encode, encode_known};
pub use format::{BASES_MAX, BaseRef, Header, Limits, PATCH_VERSION, SECTION_BYTES_MAX, WINDOW_BYTES};
pub use set::{
    BuiltPatch, Front, Part, PlanPart, Scope, Share, Span, Targets, UpdatePlan, build_set, build_small_set, changed_bytes,
    fronts_of, hand_over, join_parts, lacks_any, plan, take_front_into_store, take_into_store, work_bytes,
};
pub(crate) use set::{FrontSplit, Split, Take, TakeFront, Watched, join_recipes, lines, useless};
