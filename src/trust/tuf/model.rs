//! The four kinds of metadata, as TUF names their fields; unknown fields are ignored, but always covered by the signatures.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::trust::error::{Error, Result};
use crate::trust::keys::PublicKey;
use crate::trust::tuf::canonical::canonical;

/// The specification that our metadata follows.
pub(super) const SPEC_VERSION: &str = "1.0.33";

/// A role: the kind of metadata that a set of keys may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

impl Role {
    pub(super) const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    /// The name by which other metadata refers to this role's file.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Root => "root.json",
            Self::Targets => "targets.json",
            Self::Snapshot => "snapshot.json",
            Self::Timestamp => "timestamp.json",
        }
    }

    /// The name of a version of this role's file where snapshots are consistent.
    pub(super) fn file_of(self, version: u64) -> String {
        format!("{version}.{}", self.file())
    }
}

/// What one kind of metadata says besides version and expiry.
pub(super) trait Body: Serialize + DeserializeOwned {
    const ROLE: Role;
}

/// Whose keys may sign what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Root {
    #[serde(default)]
    pub(super) consistent_snapshot: bool,
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) roles: BTreeMap<String, RoleKeys>,
}

impl Body for Root {
    const ROLE: Role = Role::Root;
}

impl Root {
    /// The keys of a role.
    pub(super) fn role(&self, role: Role) -> Result<&RoleKeys> {
        self.roles.get(role.word()).ok_or_else(|| Error::malformed(Role::Root.file(), format!("it has no {} role", role.word())))
    }

    /// Refuses a root that names no keys for a role, or a threshold that nobody or no set of its keys can reach.
    pub(super) fn check(&self, file: &str) -> Result<()> {
        for role in Role::ALL {
            let keys = self.role(role)?;
            let distinct: BTreeSet<&String> = keys.keyids.iter().collect();
            if keys.threshold == 0 || distinct.len() != keys.keyids.len() || distinct.len() < keys.threshold as usize {
                return Err(Error::malformed(file, format!("its {} role has no sound threshold of distinct keys", role.word())));
            }
        }
        Ok(())
    }

    /// Says whether a role has the same keys and threshold in `other`.
    pub(super) fn same_keys(&self, other: &Self, role: Role) -> bool {
        let known = |root: &Self| {
            root.roles.get(role.word()).map(|r| {
                let keys: BTreeSet<_> =
                    r.keyids.iter().map(|id| root.keys.get(id).and_then(Key::public).map(|k| *k.as_bytes())).collect();
                (r.threshold, keys)
            })
        };
        known(self) == known(other)
    }
}

/// A public key as TUF writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Key {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeyValue {
    public: String,
}

impl Key {
    pub(super) fn of(key: &PublicKey) -> Self {
        Self { keytype: "ed25519".to_owned(), scheme: "ed25519".to_owned(), keyval: KeyValue { public: key.to_hex() } }
    }

    /// The key, if it is of a type that this program knows.
    pub(super) fn public(&self) -> Option<PublicKey> {
        let known = self.keytype == "ed25519" && self.scheme == "ed25519";
        known.then(|| PublicKey::from_hex(&self.keyval.public).ok()).flatten()
    }

    /// SHA-256 of the key's canonical form, hexadecimal.
    pub(super) fn id(&self) -> Result<String> {
        let file = Role::Root.file();
        let value = serde_json::to_value(self).map_err(|e| Error::malformed(file, e))?;
        Ok(hex::encode(Sha256::digest(canonical(file, &value)?)))
    }
}

/// Which keys sign for a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RoleKeys {
    pub(super) keyids: Vec<String>,
    pub(super) threshold: u32,
}

/// What one metadata file says about another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetaFile {
    pub(super) version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) length: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hashes: Option<BTreeMap<String, String>>,
}

impl MetaFile {
    pub(super) fn of(version: u64, bytes: &[u8]) -> Self {
        let hashes = BTreeMap::from([("sha256".to_owned(), hex::encode(Sha256::digest(bytes)))]);
        Self { version, length: Some(bytes.len() as u64), hashes: Some(hashes) }
    }
}

/// Which snapshot is current.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Timestamp {
    pub(super) meta: BTreeMap<String, MetaFile>,
    /// When it was signed, RFC 3339: feeds the reader's time floor. Ours, TUF has no such field.
    #[serde(rename = "x-consign-signed", default, skip_serializing_if = "Option::is_none")]
    pub(super) signed: Option<String>,
}

impl Body for Timestamp {
    const ROLE: Role = Role::Timestamp;
}

impl Timestamp {
    pub(super) fn snapshot(&self) -> Result<&MetaFile> {
        let file = Role::Snapshot.file();
        self.meta.get(file).ok_or_else(|| Error::malformed(Role::Timestamp.file(), format!("it does not name {file}")))
    }
}

/// Which targets metadata belong together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) meta: BTreeMap<String, MetaFile>,
}

impl Body for Snapshot {
    const ROLE: Role = Role::Snapshot;
}

impl Snapshot {
    pub(super) fn targets(&self) -> Result<&MetaFile> {
        let file = Role::Targets.file();
        self.meta.get(file).ok_or_else(|| Error::malformed(Role::Snapshot.file(), format!("it does not name {file}")))
    }
}

/// What is released.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Targets {
    pub(super) targets: BTreeMap<String, TargetFile>,
}

impl Body for Targets {
    const ROLE: Role = Role::Targets;
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TargetFile {
    pub(super) length: u64,
    pub(super) hashes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<serde_json::Value>,
}
