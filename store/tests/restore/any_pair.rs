//! Any version after any other: an update ends where a fresh install does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use consign_store::restore::{Target, installed};
use proptest::prelude::*;

use crate::support::{Room, assert_same, mode, noise, put};

/// Files that no change touches, so that manifests have several blocks.
const REST: u32 = 400;

#[derive(Debug, Clone)]
enum What {
    Nothing,
    Folder(u32),
    File(u8, u32),
    Empty,
    /// With a recipe.
    Large(u8),
    Link(u8),
}

/// What stands at the top, in folders, and in folders in those.
type Tree = Vec<(What, Vec<(What, Vec<What>)>)>;

fn what() -> impl Strategy<Value = What> {
    let folder = prop::sample::select(vec![0o755, 0o555, 0o700]).prop_map(What::Folder);
    let file = (0_u8..4, prop::sample::select(vec![0o644, 0o755, 0o400])).prop_map(|(content, mode)| What::File(content, mode));
    prop_oneof![
        2 => Just(What::Nothing),
        5 => folder,
        4 => file,
        1 => Just(What::Empty),
        1 => (0_u8..3).prop_map(What::Large),
        1 => (0_u8..2).prop_map(What::Link),
    ]
}

fn any_tree() -> impl Strategy<Value = Tree> {
    prop::collection::vec((what(), prop::collection::vec((what(), prop::collection::vec(what(), 2)), 3)), 4)
}

fn make(root: &Path, name: &str, what: &What) {
    let path = root.join(name);
    match what {
        What::Nothing => {}
        What::Folder(_) => fs::create_dir_all(&path).unwrap(),
        What::File(content, bits) => {
            put(root, name, &noise(u64::from(*content), 700 + usize::from(*content)));
            mode(root, name, *bits);
        }
        What::Empty => put(root, name, b""),
        What::Large(content) => {
            let mut bytes = noise(9, 400_000);
            bytes[200_000] = *content;
            put(root, name, &bytes);
        }
        What::Link(target) => symlink(format!("t{target}"), &path).unwrap(),
    }
}

/// Writes a tree; folders are closed when all in them is written.
fn write(root: &Path, tree: &Tree) {
    for number in 0..REST {
        put(root, &format!("rest/{}/{number}", number % 7), number.to_string().as_bytes());
    }
    let mut close = Vec::new();
    let mut folder = |name: &str, what: &What| {
        make(root, name, what);
        if let What::Folder(bits) = what {
            close.push((name.to_owned(), *bits));
        }
        matches!(what, What::Folder(_))
    };
    for (top, (what, inner)) in tree.iter().enumerate() {
        let top = format!("t{top}");
        if !folder(&top, what) {
            continue;
        }
        for (middle, (what, inmost)) in inner.iter().enumerate() {
            let middle = format!("{top}/m{middle}");
            if folder(&middle, what) {
                for (number, what) in inmost.iter().enumerate() {
                    folder(&format!("{middle}/i{number}"), what);
                }
            }
        }
    }
    for (name, bits) in close.iter().rev() {
        mode(root, name, *bits);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn an_update_ends_where_a_fresh_install_does(old in any_tree(), new in any_tree(), hurt in prop::option::of(0..REST)) {
        let room = Room::new();
        write(&room.path("old"), &old);
        write(&room.path("new"), &new);
        let (old, new) = (room.publish(&room.path("old")).0.manifest, room.publish(&room.path("new")).0.manifest);
        room.install(old, false, &[]).unwrap();
        // What somebody changed in place without changing its length is put right on the way.
        if let Some(number) = hurt {
            let path = room.path("dest").join(format!("rest/{}/{number}", number % 7));
            fs::write(&path, "x".repeat(number.to_string().len())).unwrap();
        }
        let seed = room.seed(&room.path("dest"), old);
        room.install(new, true, &[seed]).unwrap();
        assert_same(&room.path("new"), &room.path("dest"));
        prop_assert_eq!(installed(&room.path("work")), Some(new));
        drop(room.table(&room.manifest(new)));
        let tables = [Target::table_path(&room.path("work"), new), room.path(&format!("table-of-{}", new.to_hex()))];
        let [made, fresh] = tables.map(|path| fs::read(path).unwrap());
        prop_assert!(made == fresh, "the chunk tables differ");
        // The record vouches for what is there: nothing changes any more, and nothing lacks.
        let seed = room.seed(&room.path("dest"), new);
        let again = room.install(new, true, &[seed]).unwrap();
        prop_assert_eq!(again.kept_bytes, again.bytes);
        assert_same(&room.path("new"), &room.path("dest"));
    }
}
