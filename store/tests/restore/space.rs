//! A full disk.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use consign_store::restore::{Assembly, Target};

use crate::support::{Room, assert_same, noise, put};

/// A file system of its own with little room; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    /// Mounts `bytes` of memory, `None` where this user may not.
    fn mount(at: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(&at).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_before_it_is_full_and_leaves_what_is_staged() {
    let room = Room::new();
    let source = room.path("source");
    for number in 0..10_u64 {
        put(&source, &format!("{number}.bin"), &noise(number, 500_000));
    }
    let (done, manifest) = room.publish(&source);
    let table = room.table(&manifest);
    let Some(small) = Small::mount(room.path("small"), 8 << 20) else {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"not run: this user may not mount a file system\n");
        return;
    };
    let target = Target { dest: small.0.join("dest"), work: room.path("work"), update: false };
    let open = || {
        let assembly = Assembly::open(&target, room.manifest(done.manifest)).unwrap();
        room.add_recipes(&assembly);
        assembly
    };

    fs::write(small.0.join("ballast"), vec![1; 5 << 20]).unwrap();
    let refused = open().take_local(&[]).unwrap_err();
    assert!(refused.is_disk_full() && refused.to_string().contains("make room"), "{refused}");
    fs::remove_file(small.0.join("ballast")).unwrap();

    let mut assembly = open();
    assembly.take_local(&[]).unwrap();
    fs::write(small.0.join("ballast"), vec![1; 5 << 20]).unwrap();
    let mut records = 0;
    let full = consign_store::restore::stream_local(&room.store, &table, assembly.layout(), &assembly.missing(), &mut |record| {
        records += 1;
        assembly.accept(&record).map(|_| ())
    });
    let full = full.unwrap_err();
    assert!(full.is_disk_full() && records > 1, "{full}");
    assert!(!target.dest.exists());
    drop(assembly);

    fs::remove_file(small.0.join("ballast")).unwrap();
    let mut assembly = open();
    assembly.take_local(&[]).unwrap();
    assert!(assembly.tally().resumed_bytes > 1_000_000, "{:?}", assembly.tally());
    room.fill(&assembly, &table, usize::MAX);
    assembly.finish().unwrap();
    assert_same(&source, &target.dest);
}
