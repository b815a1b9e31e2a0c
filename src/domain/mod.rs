//! What the words mean: plain types, no I/O, no clock.

pub mod codebase;
pub mod id;
pub mod name;
mod size;
pub mod time;

pub use codebase::CodebaseState;
pub use id::{CollectionId, MachineId, PackageId, PolicyId, SiteId};
pub use name::Name;
pub use size::size;
pub use time::Millis;
