//! Names that people give: of packages, sites, machines, collections, policies.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name, bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// A text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be a name: use 1 to 128 letters, digits, spaces or . _ - + @ ( ), starting with a letter or digit")]
pub struct NameError(pub String);

/// A name of letters, digits, spaces and `. _ - + @ ( )`, 1 to [`NAME_BYTES_MAX`] bytes, starting with a letter or digit, not ending in a space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

impl Name {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && text.starts_with(char::is_alphanumeric)
            && !text.ends_with(' ')
            && text.chars().all(|c| c.is_alphanumeric() || " ._-+@()".contains(c));
        if good { Ok(Self(text.into())) } else { Err(NameError(text.chars().take(NAME_BYTES_MAX).collect())) }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
