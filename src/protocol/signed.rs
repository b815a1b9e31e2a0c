//! The envelope of everything that is relayed: what the hub tells an agent through a site server, and what an agent reports.

use serde::{Deserialize, Serialize};

use crate::domain::Millis;

/// What is signed, as the exact text that was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// JSON of a [`Statement`]; verified as these very bytes, parsed only afterwards.
    pub payload: String,
    /// Ed25519 signature over the context string and the payload, hexadecimal.
    pub signature: String,
}

/// The inside of a [`Signed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement<T> {
    /// What kind of body this is: `site-map`, `site-state`, `report`.
    pub kind: String,
    /// For whom: `site:<id>`, `machine:<id>`, `hub`.
    pub audience: String,
    /// Rises with each statement of the same kind and audience; an older one is refused.
    pub sequence: u64,
    /// Not believed after this.
    pub expires: Millis,
    /// The message.
    pub body: T,
}
