//! The order of a manifest's paths, checked as they come.

use std::cmp::Ordering;

use crate::manifest::path::compare_paths;

/// Checks that paths ascend strictly and that each lies in a folder that came before it; remembers one path.
#[derive(Debug, Default)]
pub(super) struct PathOrder {
    last: String,
    /// Lengths of those beginnings of `last` that are folders.
    open: Vec<usize>,
}

impl PathOrder {
    /// Takes the next path, or says why it cannot come here.
    pub fn accept(&mut self, path: &str, folder: bool) -> Result<(), &'static str> {
        if !self.last.is_empty() && compare_paths(&self.last, path) != Ordering::Less {
            return Err("it is not in ascending path order");
        }
        let (bytes, last) = (path.as_bytes(), self.last.as_bytes());
        while self.open.pop_if(|&mut len| bytes.get(len) != Some(&b'/') || bytes[..len] != last[..len]).is_some() {}
        if path.rfind('/').unwrap_or(0) != self.open.last().copied().unwrap_or(0) {
            return Err("what it lies in is not a folder of the manifest");
        }
        if folder {
            self.open.push(path.len());
        }
        self.last.clear();
        self.last.push_str(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_their_content() {
        let mut order = PathOrder::default();
        for (path, folder) in
            [("a", true), ("a/b", true), ("a/b/c", false), ("a/d", false), ("a-b", true), ("a-b/c", false), ("b", false)]
        {
            assert_eq!(order.accept(path, folder), Ok(()), "{path}");
        }
        for path in ["b/c", "c/d", "a", "b"] {
            assert!(order.accept(path, false).is_err(), "{path}");
        }
    }
}
