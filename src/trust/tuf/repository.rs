//! The hub's side: from one signed state to the next, without I/O; the caller stores the files in its own transaction.

use std::collections::BTreeMap;

use consign_store::id::ManifestId;

use crate::domain::{Millis, PackageId};
use crate::trust::error::{Error, Result};
use crate::trust::keys::PrivateKey;
use crate::trust::tuf::TIMESTAMP_FILE;
use crate::trust::tuf::document::Document;
use crate::trust::tuf::model::{Body, Key, MetaFile, Role, RoleKeys, Root, Snapshot, TargetFile, Targets, Timestamp};
use crate::trust::tuf::target::{Custom, TrustedTargets, target_path};

const DAY_SECS: i64 = 86_400;
const ROOT_VALID_SECS: i64 = 365 * DAY_SECS;
const CONTENT_VALID_SECS: i64 = 90 * DAY_SECS;
const TIMESTAMP_VALID_SECS: i64 = DAY_SECS;
/// Targets and snapshot are signed anew when less than this is left.
const CONTENT_RENEWAL_SECS: i64 = 30 * DAY_SECS;
/// The timestamp is due when less than this is left.
const TIMESTAMP_RENEWAL_SECS: i64 = DAY_SECS / 2;

/// The keys that the hub signs releases with; the root key is not among them and can live offline.
#[derive(Debug)]
pub struct OnlineKeys {
    /// Signs what is released.
    pub targets: PrivateKey,
    /// Signs which targets metadata is current.
    pub snapshot: PrivateKey,
    /// Signs which snapshot is current, daily.
    pub timestamp: PrivateKey,
}

/// A version to be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The package.
    pub package: PackageId,
    /// The version's number.
    pub version: u32,
    /// Its manifest.
    pub manifest: ManifestId,
    /// Length of the manifest, bytes.
    pub length: u64,
    /// SHA-256 of the manifest.
    pub sha256: [u8; 32],
    /// The publisher's label.
    pub label: Option<String>,
    /// When it is released.
    pub released: Millis,
}

/// The current metadata of a fleet; every change makes a new one.
#[derive(Debug, Clone)]
pub struct Repository {
    root: Document<Root>,
    targets: Document<Targets>,
    snapshot: Document<Snapshot>,
    timestamp: Document<Timestamp>,
}

impl Repository {
    /// Makes the first metadata of a fleet: root, targets without targets, snapshot and timestamp, each of version 1.
    ///
    /// # Errors
    /// [`Error::Malformed`] if `now` is no time that metadata can carry.
    pub fn create(root_key: &PrivateKey, keys: &OnlineKeys, now: Millis) -> Result<Self> {
        let mut root = Root { consistent_snapshot: true, keys: BTreeMap::new(), roles: BTreeMap::new() };
        let of_roles = [
            (Role::Root, root_key),
            (Role::Targets, &keys.targets),
            (Role::Snapshot, &keys.snapshot),
            (Role::Timestamp, &keys.timestamp),
        ];
        for (role, key) in of_roles {
            let key = Key::of(key.public());
            let id = key.id()?;
            root.roles.insert(role.word().to_owned(), RoleKeys { keyids: vec![id.clone()], threshold: 1 });
            root.keys.insert(id, key);
        }
        let root = Document::sign(1, now.plus_secs(ROOT_VALID_SECS), &root, &[root_key])?;
        let empty = Targets { targets: BTreeMap::new() };
        let targets = Document::sign(1, now.plus_secs(CONTENT_VALID_SECS), &empty, &[&keys.targets])?;
        let snapshot = sign_snapshot(1, &targets, keys, now)?;
        let timestamp = sign_timestamp(1, &snapshot, keys, now)?;
        Ok(Self { root, targets, snapshot, timestamp })
    }

    /// Takes stored metadata up again, checking that it is signed and belongs together; expiry is not checked, so that a hub which was
    /// off for long can renew.
    ///
    /// # Errors
    /// Any metadata error, if the texts were damaged or mixed.
    pub fn open(root: &str, targets: &str, snapshot: &str, timestamp: &str) -> Result<Self> {
        let root = Document::verify_first_root(Role::Root.file(), root.as_bytes())?;
        let targets: Document<Targets> = Document::verify(Role::Targets.file(), targets.as_bytes(), &root.body)?;
        let snapshot: Document<Snapshot> = Document::verify(Role::Snapshot.file(), snapshot.as_bytes(), &root.body)?;
        let timestamp: Document<Timestamp> = Document::verify(Role::Timestamp.file(), timestamp.as_bytes(), &root.body)?;
        if *snapshot.body.targets()? != MetaFile::of(targets.version, targets.text.as_bytes()) {
            return Err(Error::Mismatch {
                file: Role::Targets.file().to_owned(),
                namer: Role::Snapshot.file(),
                what: "version or SHA-256",
            });
        }
        if *timestamp.body.snapshot()? != MetaFile::of(snapshot.version, snapshot.text.as_bytes()) {
            return Err(Error::Mismatch {
                file: Role::Snapshot.file().to_owned(),
                namer: Role::Timestamp.file(),
                what: "version or SHA-256",
            });
        }
        Ok(Self { root, targets, snapshot, timestamp })
    }

    /// Adds versions. A version that is there already with the same content is left as it is, so a repeated release does no harm.
    ///
    /// # Errors
    /// [`Error::Immutable`] if a path is there with other content, [`Error::Signatures`] if the keys are not the ones that the root
    /// names.
    pub fn release(&self, keys: &OnlineKeys, releases: &[Release], now: Millis) -> Result<Self> {
        let mut targets = self.targets.body.clone();
        let known = self.trusted_targets();
        for release in releases {
            let path = target_path(release.package, release.version, &release.manifest);
            if let Some(there) = known.version(release.package, release.version) {
                let same = (there.manifest, there.length, there.sha256) == (release.manifest, release.length, release.sha256);
                if same {
                    continue;
                }
                return Err(Error::Immutable { path });
            }
            targets.targets.insert(path, target_file(release)?);
        }
        self.with_targets(&targets, keys, now)
    }

    /// Takes a version away: it is not offered or installed any more.
    ///
    /// # Errors
    /// [`Error::NoTarget`] if there is no such target, [`Error::Signatures`] if the keys are not the ones that the root names.
    pub fn retire(&self, keys: &OnlineKeys, path: &str, now: Millis) -> Result<Self> {
        let mut targets = self.targets.body.clone();
        targets.targets.remove(path).ok_or_else(|| Error::NoTarget { path: path.to_owned() })?;
        self.with_targets(&targets, keys, now)
    }

    /// Signs the timestamp anew, and targets and snapshot too when less than 30 days of theirs are left.
    ///
    /// # Errors
    /// [`Error::Signatures`] if the keys are not the ones that the root names.
    pub fn renew(&self, keys: &OnlineKeys, now: Millis) -> Result<Self> {
        let near = now.plus_secs(CONTENT_RENEWAL_SECS);
        if self.targets.expires <= near || self.snapshot.expires <= near {
            return self.with_targets(&self.targets.body, keys, now);
        }
        self.check_keys(keys)?;
        let timestamp = sign_timestamp(next(&self.timestamp)?, &self.snapshot, keys, now)?;
        Ok(Self { timestamp, ..self.clone() })
    }

    /// When [`Repository::renew`] should be called next.
    #[must_use]
    pub fn renewal_due(&self) -> Millis {
        let content = self.targets.expires.min(self.snapshot.expires).plus_secs(-CONTENT_RENEWAL_SECS);
        content.min(self.timestamp.expires.plus_secs(-TIMESTAMP_RENEWAL_SECS))
    }

    /// When the root expires; a person must sign a new one before.
    #[must_use]
    pub const fn root_expires(&self) -> Millis {
        self.root.expires
    }

    /// The current files by the names under which they are served, in the order in which they must become visible where that is not one
    /// transaction.
    #[must_use]
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        vec![
            (Role::Root.file_of(self.root.version), self.root.text.clone().into_bytes()),
            (Role::Targets.file_of(self.targets.version), self.targets.text.clone().into_bytes()),
            (Role::Snapshot.file_of(self.snapshot.version), self.snapshot.text.clone().into_bytes()),
            (TIMESTAMP_FILE.to_owned(), self.timestamp.text.clone().into_bytes()),
        ]
    }

    /// The root metadata's text.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root.text
    }

    /// The targets metadata's text.
    #[must_use]
    pub fn targets(&self) -> &str {
        &self.targets.text
    }

    /// The snapshot metadata's text.
    #[must_use]
    pub fn snapshot(&self) -> &str {
        &self.snapshot.text
    }

    /// The timestamp metadata's text.
    #[must_use]
    pub fn timestamp(&self) -> &str {
        &self.timestamp.text
    }

    /// What is released.
    #[must_use]
    pub fn trusted_targets(&self) -> TrustedTargets {
        TrustedTargets::of(&self.targets.body)
    }

    fn with_targets(&self, targets: &Targets, keys: &OnlineKeys, now: Millis) -> Result<Self> {
        self.check_keys(keys)?;
        let expires = now.plus_secs(CONTENT_VALID_SECS);
        let targets = Document::sign(next(&self.targets)?, expires, targets, &[&keys.targets])?;
        let snapshot = sign_snapshot(next(&self.snapshot)?, &targets, keys, now)?;
        let timestamp = sign_timestamp(next(&self.timestamp)?, &snapshot, keys, now)?;
        Ok(Self { root: self.root.clone(), targets, snapshot, timestamp })
    }

    /// Nothing leaves this module that a client would refuse because a key file was swapped.
    fn check_keys(&self, keys: &OnlineKeys) -> Result<()> {
        let of_roles = [(Role::Targets, &keys.targets), (Role::Snapshot, &keys.snapshot), (Role::Timestamp, &keys.timestamp)];
        for (role, key) in of_roles {
            let named = self.root.body.role(role)?;
            if named.threshold != 1 || !named.keyids.contains(&Key::of(key.public()).id()?) {
                let (file, role, threshold) = (role.file().to_owned(), role.word(), named.threshold);
                return Err(Error::Signatures { file, role, valid: 0, threshold });
            }
        }
        Ok(())
    }
}

fn target_file(release: &Release) -> Result<TargetFile> {
    let custom = Custom {
        package: release.package,
        version: release.version,
        manifest: release.manifest.to_string(),
        label: release.label.clone(),
        released: release.released,
    };
    let custom = serde_json::to_value(custom).map_err(|e| Error::malformed(Role::Targets.file(), e))?;
    let hashes = BTreeMap::from([("sha256".to_owned(), hex::encode(release.sha256))]);
    Ok(TargetFile { length: release.length, hashes, custom: Some(custom) })
}

fn sign_snapshot(version: u64, targets: &Document<Targets>, keys: &OnlineKeys, now: Millis) -> Result<Document<Snapshot>> {
    let meta = MetaFile::of(targets.version, targets.text.as_bytes());
    let body = Snapshot { meta: BTreeMap::from([(Role::Targets.file().to_owned(), meta)]) };
    Document::sign(version, now.plus_secs(CONTENT_VALID_SECS), &body, &[&keys.snapshot])
}

fn sign_timestamp(version: u64, snapshot: &Document<Snapshot>, keys: &OnlineKeys, now: Millis) -> Result<Document<Timestamp>> {
    let meta = MetaFile::of(snapshot.version, snapshot.text.as_bytes());
    let meta = BTreeMap::from([(Role::Snapshot.file().to_owned(), meta)]);
    let body = Timestamp { meta, signed: Some(now.to_rfc3339()) };
    Document::sign(version, now.plus_secs(TIMESTAMP_VALID_SECS), &body, &[&keys.timestamp])
}

fn next<T: Body>(current: &Document<T>) -> Result<u64> {
    current.version.checked_add(1).ok_or_else(|| Error::malformed(T::ROLE.file(), "its version cannot rise any more"))
}
