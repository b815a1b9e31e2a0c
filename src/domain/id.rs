//! Ids of things that people name and rename: UUIDv7, made by the creator.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

id_type! {
    /// Names a package for good, whatever it is called.
    PackageId
}
id_type! {
    /// Names a machine: an agent or a site server.
    MachineId
}
id_type! {
    /// Names a site.
    SiteId
}
id_type! {
    /// Names a collection.
    CollectionId
}
id_type! {
    /// Names a policy.
    PolicyId
}

impl SiteId {
    /// The built-in site `default`: machines that no subnet claims belong to it.
    pub const DEFAULT: Self = Self(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));
}

impl CollectionId {
    /// The built-in collection `all machines`: every agent.
    pub const ALL_MACHINES: Self = Self(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0002));
}
