//! One metadata file: its bytes, its signatures, and what it says once they are verified.
//!
//! Signatures cover the canonical form of the signed part, unknown fields included; what it means is read from the same parsed value that this
//! form was written from.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::Millis;
use crate::trust::error::{Error, Result};
use crate::trust::keys::PrivateKey;
use crate::trust::tuf::SIGNATURES_MAX;
use crate::trust::tuf::canonical::canonical;
use crate::trust::tuf::model::{Body, Key, Role, Root, SPEC_VERSION};

/// Verified metadata of one kind with the exact bytes it came in.
#[derive(Debug, Clone)]
pub(super) struct Document<T> {
    pub(super) version: u64,
    pub(super) expires: Millis,
    pub(super) body: T,
    pub(super) text: String,
}

impl<T: Body> Document<T> {
    /// Signs new metadata with each of `keys`.
    pub(super) fn sign(version: u64, expires: Millis, body: &T, keys: &[&PrivateKey]) -> Result<Self> {
        let file = T::ROLE.file();
        let head = Head {
            kind: T::ROLE.word().to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version,
            expires: expires.to_rfc3339(),
        };
        let signed = serde_json::to_value(ToSign { head, body }).map_err(|e| Error::malformed(file, e))?;
        let message = canonical(file, &signed)?;
        let signatures = keys
            .iter()
            .map(|key| Ok(Signature { keyid: Key::of(key.public()).id()?, sig: hex::encode(key.sign(&message)) }))
            .collect::<Result<Vec<_>>>()?;
        let signatures = serde_json::to_string(&signatures).map_err(|e| Error::malformed(file, e))?;
        let text = format!("{{\"signatures\":{signatures},\"signed\":{signed}}}");
        Self::read(file, text, &signed)
    }

    /// Verifies received metadata against the keys of its role in `root`.
    pub(super) fn verify(file: &str, bytes: &[u8], root: &Root) -> Result<Self> {
        let received = Received::parse(file, bytes)?;
        received.verify(T::ROLE, root)?;
        received.content()
    }

    /// Reads the signed part of `text`.
    fn read(file: &str, text: String, signed: &Value) -> Result<Self> {
        let malformed = |e: serde_json::Error| Error::malformed(file, e);
        let head = Head::deserialize(signed).map_err(malformed)?;
        if head.kind != T::ROLE.word() {
            return Err(Error::malformed(file, format!("it is {:?} metadata, not {}", head.kind, T::ROLE.word())));
        }
        if head.spec_version.split('.').next() != Some("1") {
            let why = format!("it follows TUF specification {:?}, this program knows 1; upgrade this program", head.spec_version);
            return Err(Error::malformed(file, why));
        }
        let expires = Millis::from_rfc3339(&head.expires)
            .ok_or_else(|| Error::malformed(file, format!("its expiry {:?} is no time", head.expires)))?;
        if head.version == 0 {
            return Err(Error::malformed(file, "versions begin at 1"));
        }
        let body = Deserialize::deserialize(signed).map_err(malformed)?;
        Ok(Self { version: head.version, expires, body, text })
    }

    /// Refuses metadata that is not valid any more at `now`.
    pub(super) fn fresh(&self, now: Millis) -> Result<()> {
        if self.expires > now {
            return Ok(());
        }
        Err(Error::Expired { file: T::ROLE.file().to_owned(), expired: self.expires.to_rfc3339() })
    }
}

impl Document<Root> {
    /// Verifies a root by its own keys alone: for a text that is trusted already, by its digest or because it was stored.
    pub(super) fn verify_first_root(file: &str, bytes: &[u8]) -> Result<Self> {
        let received = Received::parse(file, bytes)?;
        let root: Self = received.content()?;
        root.body.check(file)?;
        received.verify(Role::Root, &root.body)?;
        Ok(root)
    }

    /// Verifies a root as the successor of this one: signed by the keys of both, and exactly one version on.
    pub(super) fn verify_next_root(&self, file: &str, bytes: &[u8]) -> Result<Self> {
        Received::parse(file, bytes)?.verify(Role::Root, &self.body)?;
        let next = Self::verify_first_root(file, bytes)?;
        if next.version == self.version.saturating_add(1) {
            return Ok(next);
        }
        if next.version <= self.version {
            return Err(Error::Rollback {
                file: file.to_owned(),
                what: "root".to_owned(),
                found: next.version,
                trusted: self.version,
            });
        }
        Err(Error::malformed(file, format!("it says version {} where {} must follow", next.version, self.version)))
    }
}

/// Metadata as received: only its form is known to be right.
struct Received<'a> {
    file: &'a str,
    text: &'a str,
    signatures: Vec<Signature>,
    signed: Value,
}

#[derive(Deserialize)]
struct Envelope {
    signatures: Vec<Signature>,
    signed: Value,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    keyid: String,
    sig: String,
}

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "_type")]
    kind: String,
    spec_version: String,
    version: u64,
    expires: String,
}

#[derive(Serialize)]
struct ToSign<'a, T> {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    body: &'a T,
}

impl<'a> Received<'a> {
    fn parse(file: &'a str, bytes: &'a [u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|e| Error::malformed(file, e))?;
        let Envelope { signatures, signed } = serde_json::from_str(text).map_err(|e| Error::malformed(file, e))?;
        let distinct: BTreeSet<&str> = signatures.iter().map(|s| s.keyid.as_str()).collect();
        if signatures.len() > SIGNATURES_MAX || distinct.len() != signatures.len() {
            return Err(Error::malformed(file, format!("it must bear at most {SIGNATURES_MAX} signatures, one a key")));
        }
        Ok(Self { file, text, signatures, signed })
    }

    /// Counts distinct keys, not key ids: one key under two ids signs once.
    fn verify(&self, role: Role, root: &Root) -> Result<()> {
        let keys = root.role(role)?;
        let message = canonical(self.file, &self.signed)?;
        let good: BTreeSet<[u8; 32]> = self
            .signatures
            .iter()
            .filter(|signature| keys.keyids.contains(&signature.keyid))
            .filter_map(|signature| {
                let key = root.keys.get(&signature.keyid)?.public()?;
                let mut bytes = [0; 64];
                hex::decode_to_slice(&signature.sig, &mut bytes).ok()?;
                key.verify(&message, &bytes).then_some(*key.as_bytes())
            })
            .collect();
        let valid = u32::try_from(good.len()).unwrap_or(u32::MAX);
        if valid >= keys.threshold.max(1) {
            return Ok(());
        }
        Err(Error::Signatures { file: self.file.to_owned(), role: role.word(), valid, threshold: keys.threshold })
    }

    fn content<T: Body>(&self) -> Result<Document<T>> {
        Document::read(self.file, self.text.to_owned(), &self.signed)
    }
}
