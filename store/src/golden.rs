//! Golden files of the formats that only this crate's inside can make from fixed values; tests only.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the path of the golden file `name`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares the file `made` with the golden file `name`; with `CONSIGN_BLESS` set it writes the golden file instead.
pub(crate) fn assert_same(name: &str, made: &Path) {
    let bytes = fs::read(made).unwrap();
    if std::env::var_os("CONSIGN_BLESS").is_some() {
        fs::write(path(name), &bytes).unwrap();
    }
    let kept = fs::read(path(name)).unwrap();
    assert!(bytes == kept, "{name} changed: a format is fixed by its version; add a version instead");
}
