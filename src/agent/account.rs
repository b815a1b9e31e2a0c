//! The account of the install under way: its terms, durable, and what it has cost so far, so that a budget holds over restarts.
//!
//! What has come is written without waiting for the disk: a kill leaves at most some bytes uncounted, a power cut what came since the system
//! wrote last.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use consign_store::error::At as _;
use consign_store::{Error as StoreError, fsx};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::agent::error::Result;
use crate::agent::folder::InstallFolder;
use crate::policy::Terms;

/// Longest account, bytes.
const ACCOUNT_BYTES_MAX: u64 = 64 << 10;
/// Bytes that may have come since the account was last written: what a kill makes uncounted.
const UNWRITTEN_BYTES_MAX: u64 = 64 << 10;
/// Most notes of one install, and characters of one.
const NOTES_MAX: usize = 8;
const NOTE_CHARS_MAX: usize = 500;
/// Most useless patches that are remembered; another one is fetched again.
const USELESS_MAX: usize = 256;

/// What has come, over all attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the unit stands last in each")]
pub(super) struct Spent {
    pub(super) wire_bytes: u64,
    pub(super) socket_bytes: u64,
    /// Of `wire_bytes`: patches, recipes and chunks.
    pub(super) content_bytes: u64,
}

/// What `account.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Agreed {
    /// The version in place when it was agreed: with another one it is void.
    base: Option<u32>,
    terms: Terms,
    /// Why it goes on only with another budget.
    #[serde(default)]
    stopped: Option<String>,
}

/// What `count.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Count {
    /// As in [`Agreed`].
    base: Option<u32>,
    spent: Spent,
    #[serde(default)]
    notes: Vec<String>,
    /// Names of patches that were useless: not fetched again.
    #[serde(default)]
    useless: Vec<String>,
}

#[derive(Debug)]
struct State {
    agreed: Agreed,
    count: Count,
}

/// One package's account.
#[derive(Debug)]
pub(super) struct Account {
    folder: InstallFolder,
    state: Mutex<State>,
    /// Rises with each request that cannot wait.
    hurry: watch::Sender<u64>,
}

impl Account {
    /// Takes up the account in `folder` if it is of an install over the version `base`.
    pub(super) fn open(folder: InstallFolder, base: Option<u32>) -> Self {
        let agreed = read::<Agreed>(&folder.account()).filter(|agreed| agreed.base == base);
        let count = read::<Count>(&folder.count()).filter(|count| count.base == base);
        let agreed = agreed.unwrap_or(Agreed { base, ..Agreed::default() });
        let count = count.unwrap_or(Count { base, ..Count::default() });
        Self { folder, state: Mutex::new(State { agreed, count }), hurry: watch::Sender::new(0) }
    }

    pub(super) fn terms(&self) -> Terms {
        self.state().agreed.terms
    }

    pub(super) fn spent(&self) -> Spent {
        self.state().count.spent
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.state().count.notes.clone()
    }

    /// Why it goes on only with another budget.
    pub(super) fn stopped(&self) -> Option<String> {
        self.state().agreed.stopped.clone()
    }

    /// Sets what the install may cost; durable on return.
    pub(super) fn agree(&self, terms: Terms) -> Result<()> {
        self.change(|agreed| (agreed.terms, agreed.stopped) = (terms, None))?;
        if terms.urgent {
            self.hurry.send_modify(|asked| *asked += 1);
        }
        Ok(())
    }

    /// Learns of requests that cannot wait.
    pub(super) fn hurries(&self) -> watch::Receiver<u64> {
        self.hurry.subscribe()
    }

    /// Notes why an install on `terms` goes on only with another budget, or that it may go on; durable on return. Says whether those are the terms still:
    /// of others nothing is noted.
    pub(super) fn stop(&self, terms: Terms, reason: Option<String>) -> Result<bool> {
        let mut still = false;
        self.change(|agreed| {
            still = agreed.terms == terms;
            if still {
                agreed.stopped = reason;
            }
        })?;
        Ok(still)
    }

    fn change(&self, change: impl FnOnce(&mut Agreed)) -> Result<()> {
        let mut state = self.state();
        let before = state.agreed.clone();
        change(&mut state.agreed);
        if state.agreed == before {
            return Ok(());
        }
        let path = self.folder.account();
        Ok(fsx::write_durable(&path, &to_bytes(&path, &state.agreed)?)?)
    }

    /// Says whether what has come is to be noted: it is much, or `all` of an attempt.
    pub(super) fn is_due(&self, spent: Spent, all: bool) -> bool {
        let more = spent.wire_bytes.saturating_sub(self.spent().wire_bytes);
        more >= UNWRITTEN_BYTES_MAX || (all && more > 0)
    }

    /// Notes what has come.
    pub(super) fn count(&self, spent: Spent) -> Result<()> {
        let mut state = self.state();
        state.count.spent = spent;
        let path = self.folder.count();
        let temp = fsx::temp_beside(&path);
        fs::write(&temp, to_bytes(&path, &state.count)?).at("write", &temp)?;
        Ok(fs::rename(&temp, &path).at("rename to", &path)?)
    }

    /// Adds a note, unless it was made before or there are too many; kept with the next count.
    pub(super) fn note(&self, text: &str) {
        let mut state = self.state();
        let text: String = text.chars().take(NOTE_CHARS_MAX).collect();
        let notes = &mut state.count.notes;
        if notes.len() < NOTES_MAX && !notes.contains(&text) {
            notes.push(text);
        }
    }

    /// Remembers that a patch was useless; kept with the next count.
    pub(super) fn blame(&self, patch: &str) {
        let mut state = self.state();
        if state.count.useless.len() < USELESS_MAX {
            state.count.useless.push(patch.to_owned());
        }
    }

    /// Says whether a patch was useless before.
    pub(super) fn is_useless(&self, patch: &str) -> bool {
        self.state().count.useless.iter().any(|known| known == patch)
    }

    /// Closes the account: `base` is in place.
    pub(super) fn close(&self, base: Option<u32>) {
        let mut state = self.state();
        *state = State { agreed: Agreed { base, ..Agreed::default() }, count: Count { base, ..Count::default() } };
        // What stays is of another base.
        let _ = fs::remove_file(self.folder.account());
        let _ = fs::remove_file(self.folder.count());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is ever half changed under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a file of an account; none if there is none, or it cannot be read.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let short = fs::metadata(path).is_ok_and(|file| file.len() <= ACCOUNT_BYTES_MAX);
    let bytes = short.then(|| fs::read(path).ok()).flatten()?;
    let parsed = serde_json::from_slice(&bytes);
    parsed.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "an account is left out")).ok()
}

fn to_bytes(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let refused = |e: serde_json::Error| StoreError::Refused { path: path.display().to_string(), why: e.to_string() };
    Ok(serde_json::to_vec(value).map_err(refused)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::folder::Folder;
    use crate::domain::PackageId;

    fn spent(wire_bytes: u64) -> Spent {
        Spent { wire_bytes, socket_bytes: wire_bytes, content_bytes: 0 }
    }

    #[test]
    fn terms_and_cost_are_taken_up_again_until_another_version_is_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path()).install(PackageId(uuid::Uuid::nil()));
        fs::create_dir_all(folder.path()).unwrap();
        let open = |base| Account::open(folder.clone(), base);
        let terms = Terms { urgent: true, max_bytes: Some(9), ..Terms::default() };
        let account = open(Some(1));
        account.agree(terms).unwrap();
        let dear = |account: &Account, terms| account.stop(terms, Some("too dear".to_owned())).unwrap();
        assert!(!dear(&account, Terms::default()) && account.stopped().is_none(), "a refusal on terms that are no more");
        assert!(dear(&account, terms));
        account.note("one");
        account.note("one");
        account.blame("b3:bad");
        let little = spent(UNWRITTEN_BYTES_MAX - 1);
        assert!(
            !account.is_due(little, false) && account.is_due(little, true) && account.is_due(spent(UNWRITTEN_BYTES_MAX), false)
        );
        account.count(spent(UNWRITTEN_BYTES_MAX)).unwrap();
        assert!(!account.is_due(spent(UNWRITTEN_BYTES_MAX), true), "it is noted already");
        let again = open(Some(1));
        assert_eq!(
            (again.terms(), again.spent(), again.stopped()),
            (terms, spent(UNWRITTEN_BYTES_MAX), Some("too dear".to_owned()))
        );
        assert_eq!(again.notes(), ["one"]);
        assert!(again.is_useless("b3:bad") && !again.is_useless("b3:good"));
        let next = open(Some(2));
        assert_eq!((next.terms(), next.spent(), next.stopped()), (Terms::default(), Spent::default(), None));
        again.agree(Terms { max_bytes: Some(99), ..terms }).unwrap();
        assert_eq!(open(Some(1)).stopped(), None, "told a larger budget it may go on");
        again.close(Some(2));
        assert_eq!((open(Some(1)).terms(), open(Some(1)).spent()), (Terms::default(), Spent::default()));
    }
}
