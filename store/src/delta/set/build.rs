//! Building the patches of a set, several at once.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::choose::{self, Choice};
use super::content::Version;
use super::group::{Files, Group, groups};
use super::room::{PATCH_BYTES, ROOM_BYTES, Room};
use super::scope::{Scope, Span, Targets, useless};
use super::{BuiltPatch, large};
use crate::cores;
use crate::delta::apply::Verifier;
use crate::delta::archive::{Streams, encode_joined};
use crate::delta::covers;
use crate::delta::matcher::Matcher;
use crate::delta::view::Views;
use crate::error::{At, Error, Result};
use crate::fsx;
use crate::map::ReadOnlyMap;
use crate::parallel::{self, Take, both};

/// Bytes that a chunk costs in a recipe; what a patch makes needs none.
const RECIPE_LINE_BYTES: u64 = 44;
/// Most groups that are built at once, and patches of one.
const THREADS_MAX: usize = 4;
/// The same for the parts of a file that is read in parts: the contents of each lie in temporary files.
const PARTS_MAX: usize = 2;
/// What looking for the stretches that parts resemble needs.
const SURVEY_BYTES: u64 = 32 << 20;

/// Builds the patches of `choices`.
///
/// # Errors
/// As [`super::build_set`].
pub(super) fn build(mut choices: Vec<Choice>, (base, target): (Version<'_>, Version<'_>), out: &Path) -> Result<Vec<BuiltPatch>> {
    if choices.is_empty() {
        return Ok(Vec::new());
    }
    choose::by_content(&mut choices, base, target)?;
    let groups = groups(choices, base);
    let builder = Builder {
        base,
        target,
        known: base.chunks()?,
        out,
        views: Views::in_folder(out),
        threads: cores().min(THREADS_MAX),
        room: Room::default(),
        set: Mutex::default(),
    };
    parallel::for_each(groups.len(), builder.threads, Take::One, &|number| builder.group(number, &groups[number]))?;
    Ok(builder.set.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect())
}

struct Builder<'a> {
    base: Version<'a>,
    target: Version<'a>,
    /// The chunks of the base.
    known: HashSet<u64>,
    out: &'a Path,
    views: Views,
    /// Groups that are built at once, and patches of one, at most.
    threads: usize,
    room: Room,
    /// By group, and number in it.
    set: Mutex<BTreeMap<(usize, usize), BuiltPatch>>,
}

/// What a patch is built from and to, joined.
type Joined = (ReadOnlyMap, ReadOnlyMap);

impl Builder<'_> {
    fn group(&self, number: usize, group: &Group) -> Result<()> {
        match group {
            Group::Files(files) => self.files(number, files),
            Group::Large { target, base } => {
                let surveying = self.room.hold(SURVEY_BYTES);
                let scopes = large::scopes((self.base, *base), (self.target, *target), &self.views)?;
                drop(surveying);
                parallel::for_each(scopes.len(), self.threads.min(PARTS_MAX), Take::One, &|part| {
                    let joined = self.joined(&scopes[part])?;
                    let found = Streams::of(&joined.0, &joined.1);
                    self.patches((number, part), &joined, found, &scopes[part..=part])
                })
            }
        }
    }

    fn files(&self, number: usize, files: &Files) -> Result<()> {
        let bases: Vec<_> = files.bases.iter().copied().map(Span::File).collect();
        let whole = Scope { targets: Targets::Files(files.targets.clone()), bases };
        let joined = self.joined(&whole)?;
        let (old, new) = &joined;
        let found = Streams::of(old, new);
        let scopes = match whole.entries() {
            // Of an archive a part would be of no use: what it holds lies across the cuts.
            [entry] if new.len() as u64 > large::PART_BYTES && !old.is_empty() && !found.make_up(new.len()) => {
                let parts = large::even_parts(self.target, *entry)?.into_iter();
                parts.map(|part| Scope { targets: Targets::Part(part), bases: whole.bases.clone() }).collect()
            }
            _ => vec![whole],
        };
        self.patches((number, 0), &joined, found, &scopes)
    }

    /// Reads what a patch is built from and to.
    fn joined(&self, scope: &Scope) -> Result<Joined> {
        let (old, new) = (scope.base_pieces(self.base.manifest)?, scope.pieces(self.target.manifest)?);
        let bytes = scope.raw_bytes(self.target.manifest);
        let (old, new) = both(
            usize::try_from(bytes).unwrap_or(usize::MAX),
            || self.base.joined(&old, &self.views),
            || self.target.joined(&new, &self.views),
        );
        Ok((old?, new?))
    }

    /// Builds the patches of `scopes`, whose targets lie one after the other in what is joined, and which share its base; the streams of all are
    /// `found`, and the first has the number `first`.
    fn patches(&self, (group, first): (usize, usize), (old, new): &Joined, found: Streams, scopes: &[Scope]) -> Result<()> {
        // How much is unfolded is not known before, and all of it is indexed anew.
        let (threads, needs) = if found.is_empty() {
            let threads = scopes.len().min(self.threads);
            (threads, Matcher::bytes(old.len()) + threads as u64 * PATCH_BYTES)
        } else {
            (1, ROOM_BYTES)
        };
        let _held = self.room.hold(needs);
        let old = covers::Base::of(old, scopes.first().and_then(|scope| scope.base_digest(self.base.manifest)));
        if let [scope] = scopes {
            return self.patch((group, first), scope, &old, new, found);
        }
        let mut end = 0;
        let each = scopes.iter().map(|scope| {
            let start = end;
            end += scope.raw_bytes(self.target.manifest) as usize;
            new.get(start..end).ok_or_else(|| useless("its file is shorter than its recipe says"))
        });
        let each = each.collect::<Result<Vec<_>>>()?;
        parallel::for_each(scopes.len(), threads, Take::One, &|part| {
            let found = if found.is_empty() { Streams::default() } else { Streams::of(old.bytes, each[part]) };
            self.patch((group, first + part), &scopes[part], &old, each[part], found)
        })
    }

    /// Builds one patch and writes it, unless its records are cheaper.
    fn patch(&self, number: (usize, usize), scope: &Scope, old: &covers::Base<'_>, new: &[u8], found: Streams) -> Result<()> {
        let chunks_of = |entry: &u32| self.target.manifest.file_of(*entry).map_or(0, |(_, _, chunks)| u64::from(chunks));
        let chunks: u64 = match &scope.targets {
            Targets::Files(files) => files.iter().map(chunks_of).filter(|chunks| *chunks > 1).sum(),
            Targets::Part(part) => part.chunks.into(),
        };
        let records_len =
            self.target.records_len(&scope.pieces(self.target.manifest)?, &self.known)? + chunks * RECIPE_LINE_BYTES;
        let written = fsx::temp_beside(&self.out.join("patch"));
        let mut file = BufWriter::new(File::create_new(&written).at("create", &written)?);
        let (mut len, mut digest) = (0, Verifier::default());
        let encoded = encode_joined(old, (new, scope.digest(self.target.manifest)), found, &self.views, &mut |bytes| {
            len += bytes.len() as u64;
            if len >= records_len {
                return Err(Error::Cancelled);
            }
            digest.push(bytes);
            file.write_all(bytes).at("write", &written)
        });
        let cost = match encoded {
            Ok(cost) => cost,
            // Records are cheaper: whatever the rest costs.
            Err(Error::Cancelled) => return std::fs::remove_file(&written).at("remove", &written),
            Err(error) => return Err(error),
        };
        file.flush().at("write", &written)?;
        let digest = digest.built().digest;
        std::fs::rename(&written, self.out.join(digest.to_hex())).at("rename", &written)?;
        let built = BuiltPatch { digest, len, records_len, cost, scope: scope.clone() };
        self.set.lock().unwrap_or_else(PoisonError::into_inner).insert(number, built);
        Ok(())
    }
}
