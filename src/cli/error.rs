//! Why a command failed, what to do next, and with which code the process ends.

use std::process::ExitCode;

use serde::Serialize;

/// The exit codes of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// The command failed.
    Failed,
    /// The command line was wrong.
    Usage,
    /// `--wait` ended before everything was ready.
    NotReady,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotReady => 3,
        })
    }
}

/// A command failed: one sentence that names the thing, and where there is one, the next step.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    exit: Exit,
    code: String,
    message: String,
    hint: Option<String>,
}

/// The shape of an error with `--json`.
#[derive(Debug, Serialize)]
pub struct ErrorJson<'a> {
    error: ErrorFields<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorFields<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl CliError {
    /// A command that could not do its work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, code: "failed".to_owned(), message: message.into(), hint: None }
    }

    /// A command line that cannot be meant.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, code: "usage".to_owned(), message: message.into(), hint: None }
    }

    /// A wait that ended first.
    pub fn not_ready(message: impl Into<String>) -> Self {
        Self { exit: Exit::NotReady, code: "not_ready".to_owned(), message: message.into(), hint: None }
    }

    /// An operation on a file or folder that the system refused.
    #[must_use]
    pub fn io(operation: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        Self::failed(format!("cannot {operation} {}: {source}", path.display())).code("io")
    }

    /// Sets the stable code for programs.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns what to do next.
    #[must_use]
    pub fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Returns the shape for programs.
    #[must_use]
    pub fn as_json(&self) -> ErrorJson<'_> {
        ErrorJson { error: ErrorFields { code: &self.code, message: &self.message, hint: self.hint.as_deref() } }
    }
}

impl From<consign_store::Error> for CliError {
    fn from(error: consign_store::Error) -> Self {
        use consign_store::Error as E;
        let full = error.is_disk_full();
        let (code, hint) = match &error {
            E::Io { .. } if full => {
                ("disk_full", Some("free some space and run the same command again; what is stored stays valid"))
            }
            E::Io { .. } => ("io", None),
            E::Damaged { .. } => ("damaged", Some("fetch or publish the content again; the damaged copy is not used")),
            E::NoChunk(_) => ("no_chunk", Some("publish the folder again, or use the store that holds this version")),
            E::Limit { .. } => ("limit", None),
            E::TooNew { .. } => ("too_new", None),
            E::Refused { .. } => ("refused", None),
            E::Unstable { .. } => ("unstable", None),
            E::Locked(_) => ("locked", None),
            E::Cancelled => ("cancelled", None),
            E::Id(_) => ("id", None),
            _ => ("failed", None),
        };
        Self { hint: hint.map(str::to_owned), ..Self::failed(error.to_string()).code(code) }
    }
}

impl From<crate::protocol::problem::Problem> for CliError {
    fn from(problem: crate::protocol::problem::Problem) -> Self {
        Self { hint: problem.hint, ..Self::failed(problem.detail).code(problem.code) }
    }
}

impl From<crate::net::Error> for CliError {
    fn from(error: crate::net::Error) -> Self {
        use crate::net::Error as E;
        let code = match &error {
            E::Problem { problem, .. } => return (**problem).clone().into(),
            E::Connect { .. } | E::Late { .. } => "unreachable",
            E::Tls { .. } => "tls",
            _ => "network",
        };
        Self::failed(error.to_string()).code(code)
    }
}

impl From<crate::trust::Error> for CliError {
    fn from(error: crate::trust::Error) -> Self {
        Self::failed(error.to_string()).code("trust")
    }
}

impl From<crate::net::member::Error> for CliError {
    fn from(error: crate::net::member::Error) -> Self {
        use crate::net::member::Error as E;
        let code = match error {
            E::Net(error) => return error.into(),
            E::Store(error) => return error.into(),
            E::Trust(error) => return error.into(),
            E::NotJoined { .. } => "not_joined",
            E::Other { .. } => "taken",
            E::Refused(_) => "refused",
            E::Damaged { .. } => "damaged",
        };
        Self::failed(error.to_string()).code(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_carries_code_message_and_hint() {
        let error = CliError::failed("no such package: x").code("not_found").hint("list them with `consign package list`");
        let text = serde_json::to_string(&error.as_json()).unwrap();
        assert_eq!(
            text,
            r#"{"error":{"code":"not_found","message":"no such package: x","hint":"list them with `consign package list`"}}"#
        );
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = CliError::from(consign_store::Error::Io { operation: "write", path: "/x".into(), source });
        assert!(error.next_step().is_some_and(|hint| hint.contains("free some space")));
        assert_eq!(error.exit(), Exit::Failed);
    }
}
