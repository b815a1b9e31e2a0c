//! The reader's side: the client workflow of the TUF specification (§5) as a state machine without I/O.
//!
//! An update asks for one file at a time and is told the answer:
//! ```text
//! let mut update = client.update(now);
//! while let Some(request) = update.next_request() {
//!     update.accept(fetch(&request.file, request.bytes_max).await?)?;
//! }
//! store(client.state());   // also after an error: what was verified until then holds
//! ```
//! The order is root, timestamp, snapshot, targets; a file that is here already and still named by the one before is not fetched.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::Millis;
use crate::trust::error::{Error, Result};
use crate::trust::tuf::document::Document;
use crate::trust::tuf::model::{Body, MetaFile, Role, Root, Snapshot, Targets, Timestamp};
use crate::trust::tuf::target::TrustedTargets;
use crate::trust::tuf::{
    ROOT_BYTES_MAX, ROOT_ROTATIONS_MAX, SNAPSHOT_BYTES_MAX, TARGETS_BYTES_MAX, TIMESTAMP_BYTES_MAX, TIMESTAMP_FILE,
};

/// What a reader must keep durably between updates, so that it cannot be led back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedState {
    root: String,
    timestamp: Option<String>,
    snapshot: Option<String>,
    targets: Option<String>,
    /// The latest verified signing time: no clock is believed that says less.
    floor: Millis,
}

/// A reader of release metadata with what it trusts.
#[derive(Debug)]
pub struct Client {
    root: Document<Root>,
    timestamp: Option<Document<Timestamp>>,
    snapshot: Option<Document<Snapshot>>,
    targets: Option<Document<Targets>>,
    trusted: Option<TrustedTargets>,
    floor: Millis,
}

impl Client {
    /// Begins to trust: `root` must be the text whose SHA-256 came with the join string.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if it is another text, other metadata errors if it is no sound root.
    pub fn new(root: &str, sha256: &[u8; 32]) -> Result<Self> {
        if Sha256::digest(root).as_slice() != sha256 {
            return Err(Error::Mismatch { file: Role::Root.file().to_owned(), namer: "the join string", what: "SHA-256" });
        }
        let root = Document::verify_first_root(Role::Root.file(), root.as_bytes())?;
        Ok(Self { root, timestamp: None, snapshot: None, targets: None, trusted: None, floor: Millis::default() })
    }

    /// Takes up a stored state; what the stored root does not vouch for is forgotten and fetched again.
    ///
    /// # Errors
    /// A metadata error if the stored root is damaged; then the machine must join again.
    pub fn load(state: &TrustedState) -> Result<Self> {
        let root = Document::verify_first_root(Role::Root.file(), state.root.as_bytes())?;
        let mut client = Self { root, timestamp: None, snapshot: None, targets: None, trusted: None, floor: state.floor };
        client.adopt(state);
        Ok(client)
    }

    /// What to store.
    #[must_use]
    pub fn state(&self) -> TrustedState {
        TrustedState {
            root: self.root.text.clone(),
            timestamp: self.timestamp.as_ref().map(|d| d.text.clone()),
            snapshot: self.snapshot.as_ref().map(|d| d.text.clone()),
            targets: self.targets.as_ref().map(|d| d.text.clone()),
            floor: self.floor,
        }
    }

    /// Begins an update at `now`, or at the time floor if the clock is behind it.
    #[must_use]
    pub fn update(&mut self, now: Millis) -> Update<'_> {
        Update { client: self, clock: now, step: Step::Root { rotations: 0 } }
    }

    /// What the last update found released; `None` before the first, and while a newer state is known but not complete.
    #[must_use]
    pub const fn targets(&self) -> Option<&TrustedTargets> {
        self.trusted.as_ref()
    }

    /// The latest verified signing time: what a clock that says less must be corrected to in expiry checks.
    #[must_use]
    pub const fn floor(&self) -> Millis {
        self.floor
    }

    /// Until when [`Client::targets`] may be relied on without an update; `None` when there are none.
    #[must_use]
    pub fn fresh_until(&self) -> Option<Millis> {
        let times = [self.timestamp.as_ref()?.expires, self.snapshot.as_ref()?.expires, self.targets.as_ref()?.expires];
        times.into_iter().min().filter(|_| self.trusted.is_some())
    }

    /// Returns what is trusted now as files under the names a source gives them, so that it can be passed on as it came.
    #[must_use]
    pub fn files(&self) -> Vec<(String, &str)> {
        let consistent = self.root.body.consistent_snapshot;
        let name = |role: Role, version| if consistent { role.file_of(version) } else { role.file().to_owned() };
        let mut files = vec![(Role::Root.file_of(self.root.version), self.root.text.as_str())];
        files.extend(self.timestamp.iter().map(|d| (TIMESTAMP_FILE.to_owned(), d.text.as_str())));
        files.extend(self.snapshot.iter().map(|d| (name(Role::Snapshot, d.version), d.text.as_str())));
        files.extend(self.targets.iter().map(|d| (name(Role::Targets, d.version), d.text.as_str())));
        files
    }

    /// Takes over what the current root vouches for.
    fn adopt(&mut self, state: &TrustedState) {
        let root = &self.root.body;
        self.timestamp = state.timestamp.as_ref().and_then(|t| Document::verify(TIMESTAMP_FILE, t.as_bytes(), root).ok());
        self.snapshot = state.snapshot.as_ref().and_then(|t| Document::verify(Role::Snapshot.file(), t.as_bytes(), root).ok());
        self.targets = state.targets.as_ref().and_then(|t| Document::verify(Role::Targets.file(), t.as_bytes(), root).ok());
        self.trusted = self.complete().then(|| self.targets.as_ref().map(|d| TrustedTargets::of(&d.body))).flatten();
    }

    /// Says whether the snapshot is the one that the timestamp names.
    fn has_snapshot(&self) -> bool {
        let named = self.timestamp.as_ref().and_then(|t| t.body.snapshot().ok());
        let here = self.snapshot.as_ref();
        named.zip(here).is_some_and(|(meta, here)| is_named(meta, here))
    }

    /// Says whether the targets are the ones that the snapshot names.
    fn has_targets(&self) -> bool {
        let named = self.snapshot.as_ref().and_then(|s| s.body.targets().ok());
        let here = self.targets.as_ref();
        named.zip(here).is_some_and(|(meta, here)| is_named(meta, here))
    }

    fn complete(&self) -> bool {
        self.has_snapshot() && self.has_targets()
    }
}

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name under the metadata path.
    pub file: String,
    /// Stop reading and give up beyond this many bytes.
    pub bytes_max: u64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Root {
        rotations: u32,
    },
    Timestamp,
    Snapshot,
    Targets,
    /// Complete, or refused.
    Over,
}

/// An update under way.
#[derive(Debug)]
pub struct Update<'a> {
    client: &'a mut Client,
    clock: Millis,
    step: Step,
}

impl Update<'_> {
    /// The next file to fetch; `None` when the update is over.
    #[must_use]
    pub fn next_request(&self) -> Option<Request> {
        let request = |file, bytes_max| Some(Request { file, bytes_max });
        match self.step {
            Step::Root { .. } => request(Role::Root.file_of(self.client.root.version.saturating_add(1)), ROOT_BYTES_MAX),
            Step::Timestamp => request(TIMESTAMP_FILE.to_owned(), TIMESTAMP_BYTES_MAX),
            Step::Snapshot => {
                let meta = self.client.timestamp.as_ref()?.body.snapshot().ok()?;
                request(self.file_of(Role::Snapshot, meta), bytes_max(meta, SNAPSHOT_BYTES_MAX))
            }
            Step::Targets => {
                let meta = self.client.snapshot.as_ref()?.body.targets().ok()?;
                request(self.file_of(Role::Targets, meta), bytes_max(meta, TARGETS_BYTES_MAX))
            }
            Step::Over => None,
        }
    }

    /// Takes the answer to [`Update::next_request`]: the file's bytes, or `None` if the source says that it has no such file.
    ///
    /// # Errors
    /// The first check that failed; the update is over, what was trusted before it stays, and what was verified until then too.
    pub fn accept(&mut self, answer: Option<&[u8]>) -> Result<()> {
        let Some(Request { file, bytes_max }) = self.next_request() else { return Ok(()) };
        let step = std::mem::replace(&mut self.step, Step::Over);
        if answer.is_some_and(|bytes| bytes.len() as u64 > bytes_max) {
            return Err(Error::TooLong { what: file, bytes_max });
        }
        self.step = match (step, answer) {
            (Step::Root { rotations }, Some(bytes)) => self.accept_root(&file, bytes, rotations)?,
            (Step::Root { .. }, None) => {
                self.client.root.fresh(self.now())?;
                Step::Timestamp
            }
            (_, None) => return Err(Error::Missing { file }),
            (Step::Timestamp, Some(bytes)) => {
                self.accept_timestamp(bytes)?;
                self.after_timestamp()?
            }
            (Step::Snapshot, Some(bytes)) => {
                self.accept_snapshot(&file, bytes)?;
                self.after_snapshot()?
            }
            (Step::Targets, Some(bytes)) => self.accept_targets(&file, bytes)?,
            (Step::Over, Some(_)) => Step::Over,
        };
        Ok(())
    }

    /// The new root is adopted even when it has expired: only the last of the chain must be fresh.
    fn accept_root(&mut self, file: &str, bytes: &[u8], rotations: u32) -> Result<Step> {
        if rotations >= ROOT_ROTATIONS_MAX {
            return Err(Error::malformed(file, format!("more than {ROOT_ROTATIONS_MAX} new roots at once; update again")));
        }
        let next = self.client.root.verify_next_root(file, bytes)?;
        let mut state = self.client.state();
        let kept = |role| self.client.root.body.same_keys(&next.body, role);
        if !(kept(Role::Timestamp) && kept(Role::Snapshot)) {
            // Recovery after stolen keys: versions and times that a thief ran far ahead must not bind the rightful owner.
            state.timestamp = None;
            state.snapshot = None;
            self.client.floor = Millis::default();
        }
        self.client.root = next;
        self.client.adopt(&state);
        Ok(Step::Root { rotations: rotations + 1 })
    }

    fn accept_timestamp(&mut self, bytes: &[u8]) -> Result<()> {
        let now = self.now();
        let client = &mut *self.client;
        let new: Document<Timestamp> = Document::verify(TIMESTAMP_FILE, bytes, &client.root.body)?;
        let named = new.body.snapshot()?.version;
        if let Some(old) = &client.timestamp {
            check_not_back(TIMESTAMP_FILE, TIMESTAMP_FILE, new.version, old.version)?;
            check_not_back(TIMESTAMP_FILE, Role::Snapshot.file(), named, old.body.snapshot()?.version)?;
            if new.version == old.version {
                // The trusted one stays: a second text of the same version is not looked at.
                return old.fresh(now);
            }
        }
        new.fresh(now)?;
        let signed = new.body.signed.as_deref().and_then(Millis::from_rfc3339).unwrap_or_default();
        client.floor = client.floor.max(signed);
        client.timestamp = Some(new);
        Ok(())
    }

    fn after_timestamp(&mut self) -> Result<Step> {
        match &self.client.snapshot {
            Some(snapshot) if self.client.has_snapshot() => {
                snapshot.fresh(self.now())?;
                self.after_snapshot()
            }
            _ => Ok(self.incomplete(Step::Snapshot)),
        }
    }

    fn accept_snapshot(&mut self, file: &str, bytes: &[u8]) -> Result<()> {
        let now = self.now();
        let client = &mut *self.client;
        let Some(timestamp) = &client.timestamp else { return Err(Error::Missing { file: TIMESTAMP_FILE.to_owned() }) };
        let named = timestamp.body.snapshot()?;
        check_bytes(Role::Snapshot, named, bytes)?;
        let new: Document<Snapshot> = Document::verify(file, bytes, &client.root.body)?;
        check_version(Role::Snapshot, named, new.version)?;
        for (name, old) in client.snapshot.iter().flat_map(|old| &old.body.meta) {
            let found = new.body.meta.get(name).map_or(0, |meta| meta.version);
            check_not_back(file, name, found, old.version)?;
        }
        new.body.targets()?;
        new.fresh(now)?;
        client.snapshot = Some(new);
        Ok(())
    }

    fn after_snapshot(&mut self) -> Result<Step> {
        match &self.client.targets {
            Some(targets) if self.client.has_targets() => {
                targets.fresh(self.now())?;
                if self.client.trusted.is_none() {
                    self.client.trusted = Some(TrustedTargets::of(&targets.body));
                }
                Ok(Step::Over)
            }
            _ => Ok(self.incomplete(Step::Targets)),
        }
    }

    fn accept_targets(&mut self, file: &str, bytes: &[u8]) -> Result<Step> {
        let now = self.now();
        let client = &mut *self.client;
        let Some(snapshot) = &client.snapshot else { return Err(Error::Missing { file: Role::Snapshot.file().to_owned() }) };
        let named = snapshot.body.targets()?;
        check_bytes(Role::Targets, named, bytes)?;
        let new: Document<Targets> = Document::verify(file, bytes, &client.root.body)?;
        check_version(Role::Targets, named, new.version)?;
        new.fresh(now)?;
        client.trusted = Some(TrustedTargets::of(&new.body));
        client.targets = Some(new);
        Ok(Step::Over)
    }

    /// The clock, or the floor if the clock is behind it; the floor can change in mid-update.
    fn now(&self) -> Millis {
        self.clock.max(self.client.floor)
    }

    /// Goes on to `step`. The old targets are known to be outdated now: whoever holds the new ones back must not keep them in use.
    fn incomplete(&mut self, step: Step) -> Step {
        self.client.trusted = None;
        step
    }

    fn file_of(&self, role: Role, meta: &MetaFile) -> String {
        if self.client.root.body.consistent_snapshot { role.file_of(meta.version) } else { role.file().to_owned() }
    }
}

/// The limit for a file: what its namer says, but never more than `most`.
fn bytes_max(meta: &MetaFile, most: u64) -> u64 {
    meta.length.unwrap_or(most).min(most)
}

fn check_not_back(file: &str, what: &str, found: u64, trusted: u64) -> Result<()> {
    if found >= trusted {
        return Ok(());
    }
    Err(Error::Rollback { file: file.to_owned(), what: what.to_owned(), found, trusted })
}

/// Compares a file's bytes with what its namer says, before anything of it is parsed.
fn check_bytes(role: Role, meta: &MetaFile, bytes: &[u8]) -> Result<()> {
    if meta.length.is_some_and(|length| length != bytes.len() as u64) {
        return Err(mismatch(role, "length"));
    }
    // Hashes of other kinds than SHA-256 are not checked; one that names none of ours is bound by its version and signature alone.
    let named = meta.hashes.as_ref().and_then(|hashes| hashes.get("sha256"));
    if named.is_some_and(|named| *named != hex::encode(Sha256::digest(bytes))) {
        return Err(mismatch(role, "SHA-256"));
    }
    Ok(())
}

fn check_version(role: Role, meta: &MetaFile, version: u64) -> Result<()> {
    if meta.version == version { Ok(()) } else { Err(mismatch(role, "version")) }
}

/// Says whether `here` is the very file that its namer means.
fn is_named<T: Body>(meta: &MetaFile, here: &Document<T>) -> bool {
    check_version(T::ROLE, meta, here.version).and_then(|()| check_bytes(T::ROLE, meta, here.text.as_bytes())).is_ok()
}

fn mismatch(role: Role, what: &'static str) -> Error {
    let namer = if role == Role::Snapshot { TIMESTAMP_FILE } else { Role::Snapshot.file() };
    Error::Mismatch { file: role.file().to_owned(), namer, what }
}
