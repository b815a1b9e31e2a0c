//! The signer and the verifier against each other, and against every attack that the specification names.

mod attacks;
mod peer;
mod repository;
mod roots;
mod update;

use std::collections::BTreeMap;

use consign_store::id::ManifestId;
use uuid::Uuid;

use super::document::Document;
use super::model::{Body, Role};
use super::*;
use crate::domain::{Millis, PackageId};
use crate::trust::error::{Error, Result};
use crate::trust::keys::PrivateKey;

const NOW: Millis = Millis(1_795_000_000_000);
const DAY_SECS: i64 = 86_400;

/// A fleet's signer and a source that serves what it signed, or what a test puts there instead.
struct World {
    root_key: PrivateKey,
    keys: OnlineKeys,
    repository: Repository,
    source: BTreeMap<String, Vec<u8>>,
}

fn world() -> World {
    let root_key = PrivateKey::of_seed(1);
    let keys =
        OnlineKeys { targets: PrivateKey::of_seed(2), snapshot: PrivateKey::of_seed(3), timestamp: PrivateKey::of_seed(4) };
    let repository = Repository::create(&root_key, &keys, NOW).unwrap();
    let mut world = World { root_key, keys, repository, source: BTreeMap::new() };
    world.publish();
    world
}

fn package(n: u8) -> PackageId {
    PackageId(Uuid::from_bytes([n; 16]))
}

fn release(of: u8, version: u32) -> Release {
    let seed = of.wrapping_mul(31).wrapping_add(u8::try_from(version).unwrap());
    Release {
        package: package(of),
        version,
        manifest: ManifestId([seed; 32]),
        length: 1000 + u64::from(version),
        sha256: [seed ^ 0xff; 32],
        label: Some(format!("{version}.0")),
        released: NOW,
    }
}

impl World {
    fn publish(&mut self) {
        self.source.extend(self.repository.files());
    }

    fn release(&mut self, of: u8, version: u32, now: Millis) {
        self.repository = self.repository.release(&self.keys, &[release(of, version)], now).unwrap();
        self.publish();
    }

    fn client(&self) -> Client {
        let root = String::from_utf8(self.source["1.root.json"].clone()).unwrap();
        Client::new(&root, &sha256(root.as_bytes())).unwrap()
    }

    /// A client that has everything of now.
    fn current_client(&self, now: Millis) -> Client {
        let mut client = self.client();
        self.update(&mut client, now).unwrap();
        client
    }

    /// Updates and returns the names of the files that were asked for.
    fn update(&self, client: &mut Client, now: Millis) -> Result<Vec<String>> {
        let mut asked = Vec::new();
        let mut update = client.update(now);
        while let Some(request) = update.next_request() {
            let answer = self.source.get(&request.file);
            asked.push(request.file);
            update.accept(answer.map(Vec::as_slice))?;
        }
        Ok(asked)
    }

    fn put<T>(&mut self, file: &str, document: &Document<T>) {
        self.source.insert(file.to_owned(), document.text.clone().into_bytes());
    }

    /// Replaces text in a served file without signing it again.
    fn tamper(&mut self, file: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.source[file].clone()).unwrap();
        assert!(text.contains(from), "{file} has no {from}: {text}");
        self.source.insert(file.to_owned(), text.replace(from, to).into_bytes());
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

/// Signs a snapshot or timestamp that names `file` in whatever state a test wants.
fn naming(file: Role, version: u64, bytes: &[u8]) -> BTreeMap<String, super::model::MetaFile> {
    BTreeMap::from([(file.file().to_owned(), super::model::MetaFile::of(version, bytes))])
}

fn signed<T: Body>(version: u64, expires: Millis, body: &T, key: &PrivateKey) -> Document<T> {
    Document::sign(version, expires, body, &[key]).unwrap()
}
