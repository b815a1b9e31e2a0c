//! Names that some operating system cannot hold, refused when a package is for that system.

use std::path::Path;

use unicode_normalization::UnicodeNormalization;

use crate::error::Result;
use crate::manifest::path::{Platform, Platforms, refused};
use crate::spill::Keyed;

/// Checks a tree's names folder by folder against the systems a package is for.
///
/// Two paths that fold to the same one differ first in two siblings, so a folder at a time is enough.
#[derive(Debug)]
pub struct PlatformCheck {
    platforms: Platforms,
}

impl PlatformCheck {
    /// Starts a check for `platforms`.
    #[must_use]
    pub fn new(platforms: Platforms) -> Self {
        Self { platforms }
    }

    /// Checks all names of the folder at path `folder` (empty: the root), folders among them included; puts down what is much in `spill`.
    ///
    /// # Errors
    /// Refused: a name that one of the systems cannot hold, or two names that one of them takes for the same; I/O on `spill`.
    pub fn folder<'a>(&self, folder: &str, count: u32, name: &dyn Fn(u32) -> &'a str, spill: &Path) -> Result<()> {
        let windows = self.platforms.has(Platform::Windows);
        if windows {
            for at in 0..count {
                if let Some(why) = windows_cannot_hold(name(at)) {
                    return Err(refused(joined(folder, name(at)).as_bytes(), why));
                }
            }
        }
        if windows || self.platforms.has(Platform::Macos) { twins(folder, count, name, spill) } else { Ok(()) }
    }

    /// Checks the target of a link at `link`.
    ///
    /// # Errors
    /// Refused: the target has a part that one of the systems cannot hold.
    pub fn link(&self, link: &str, target: &str) -> Result<()> {
        if !self.platforms.has(Platform::Windows) {
            return Ok(());
        }
        let bad = target.split('/').filter(|part| !part.is_empty() && !part.starts_with('.')).find_map(windows_cannot_hold);
        bad.or_else(|| target.contains('\\').then(|| "a backslash".into()))
            .map_or(Ok(()), |why| Err(refused(link.as_bytes(), format!("its target: {why}"))))
    }
}

/// Refuses names that fold to the same.
fn twins<'a>(folder: &str, count: u32, name: &dyn Fn(u32) -> &'a str, spill: &Path) -> Result<()> {
    let hashes = Keyed::of((0..count).map(|at| (short_hash(&fold(name(at))), at)), spill)?;
    let (mut same, mut last) = (Vec::new(), None);
    // Equal short hashes lie together; the names themselves decide.
    for (hash, b) in hashes.pairs() {
        if last.replace(hash) != Some(hash) {
            same.clear();
        }
        if let Some(&a) = same.iter().find(|a| fold(name(**a)) == fold(name(b))) {
            let why = format!(
                "its name and {:?} beside it are the same on Windows or macOS; rename one, or leave these systems out of the \
                 package's platforms",
                name(b)
            );
            return Err(refused(joined(folder, name(a)).as_bytes(), why));
        }
        same.push(b);
    }
    Ok(())
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Folds a name so that names which a case-insensitive, normalizing file system takes for the same become equal.
fn fold(name: &str) -> String {
    if name.is_ascii() { name.to_ascii_lowercase() } else { name.nfc().flat_map(char::to_lowercase).nfc().collect() }
}

fn short_hash(text: &str) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Says why Windows cannot hold `name`.
fn windows_cannot_hold(name: &str) -> Option<String> {
    if let Some(bad) = name.chars().find(|c| matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\')) {
        return Some(format!("Windows names cannot hold `{bad}`; rename it, or leave Windows out of the package's platforms"));
    }
    if name.ends_with(['.', ' ']) {
        return Some(
            "Windows names cannot end in a dot or a space; rename it, or leave Windows out of the package's platforms".into(),
        );
    }
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ').to_ascii_uppercase();
    let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT")).is_some_and(|rest| {
        let mut rest = rest.chars();
        matches!((rest.next(), rest.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    });
    (numbered || matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"))
        .then(|| format!("`{stem}` is a device on Windows; rename it, or leave Windows out of the package's platforms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(platforms: Platforms, names: &[&str]) -> Result<()> {
        let count = u32::try_from(names.len()).expect("few");
        PlatformCheck::new(platforms).folder("dir", count, &|at| names[at as usize], Path::new("."))
    }

    #[test]
    fn device_names_and_bad_endings_are_refused_for_windows_only() {
        let windows = Platforms::default().with(Platform::Windows);
        let linux = Platforms::default().with(Platform::Linux);
        for bad in ["con", "NUL.txt", "Com1", "lpt¹.x", "aux .c", "a.", "a ", "a:b", "a\\b", "what?", "CONIN$"] {
            assert!(check(windows, &[bad]).is_err(), "{bad}");
            assert!(check(linux, &[bad]).is_ok(), "{bad}");
        }
        for good in ["console", "com", "com10", "lpt", ".a", "a b", "nul-1"] {
            assert!(check(windows, &[good]).is_ok(), "{good}");
        }
    }

    #[test]
    fn case_twins_are_refused_where_case_is_ignored() {
        let macos = Platforms::default().with(Platform::Macos);
        for pair in [["README", "readme"], ["Straße", "STRASSE"].map(|_| "ÄÖ"), ["é", "e\u{301}"], ["ÉTÉ", "e\u{301}te\u{301}"]]
        {
            assert!(check(macos, &pair).is_err(), "{pair:?}");
        }
        assert!(check(macos, &["a", "b", "ab", "A.b"]).is_ok());
        assert!(check(Platforms::default().with(Platform::Linux), &["README", "readme"]).is_ok());
        let text = check(Platforms::ALL, &["x", "Lib", "lib"]).expect_err("twins").to_string();
        assert!(text.contains("dir/") && text.contains("Lib") && text.contains("lib"), "{text}");
    }

    #[test]
    fn link_targets_are_checked_for_windows() {
        assert!(PlatformCheck::new(Platforms::ALL).link("l", "../a/b").is_ok());
        assert!(PlatformCheck::new(Platforms::ALL).link("l", "..\\..\\b").is_err());
        assert!(PlatformCheck::new(Platforms::ALL).link("l", "a/nul").is_err());
        assert!(PlatformCheck::new(Platforms::default()).link("l", "a\\nul").is_ok());
    }
}
