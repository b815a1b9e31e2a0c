//! Applying a patch as it arrives.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::base::{Joined, ReadAt};
use super::coder::Decoder;
use super::format::{BaseRef, FRAME_BYTES, Frame, Header, Limits, WINDOW_BYTES, damaged};
use super::literals::Unpacker;
use super::window::{Literals, Model};
use crate::chunk::record::ChunkLine;
use crate::chunk::{CHUNK_BYTES_MAX, cut};
use crate::cores;
use crate::error::{At as _, Error, Result};
use crate::id::ChunkId;
use crate::manifest::recipe::{BuiltRecipe, RecipeBuilder};

/// Bytes read at once by [`apply`].
const READ_BYTES: usize = 64 << 10;
/// Most patches that are applied at once: each needs memory of its own.
const AT_ONCE_MAX: usize = 2;

/// How many patches are applied at once on this machine, at most.
#[must_use]
pub fn apply_threads() -> usize {
    cores().min(AT_ONCE_MAX)
}

/// Takes the windows of a patch as they arrive and gives the target's bytes in order.
///
/// Nothing is believed: every length, count and position is checked before it is used, and no output is longer than the header
/// announced. What comes out is right only if its digest is the one expected: see [`Verifier`]. Holds at most 48 MiB.
#[derive(Debug)]
pub struct Applier<B> {
    bases: Bases<B>,
    model: Model,
    /// From the first window on whose literals lie apart.
    unpacker: Option<Unpacker>,
    target_len: u64,
    done: u64,
    arrived: Vec<u8>,
    frame: Option<Frame>,
    window: Vec<u8>,
}

struct Bases<B>(Joined<B>);

impl<B> std::fmt::Debug for Bases<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bases")
    }
}

impl<B: ReadAt> Applier<B> {
    /// Begins a patch with the header `header`, whose bases are `bases`, in its order.
    ///
    /// # Errors
    /// A length over `limits`, or another count of bases.
    pub fn new(header: &Header, bases: Vec<B>, limits: &Limits) -> Result<Self> {
        limits.check(header)?;
        if bases.len() != header.bases.len() {
            return Err(damaged("it draws from another count of bases"));
        }
        let bases = bases.into_iter().zip(header.bases.iter().map(|base| base.len));
        Ok(Self {
            bases: Bases(Joined::new(bases)),
            model: Model::new(header.target_len),
            unpacker: None,
            target_len: header.target_len,
            done: 0,
            arrived: Vec::new(),
            frame: None,
            window: Vec::new(),
        })
    }

    /// Takes the next bytes of the patch, from behind its header on, and gives `sink` each window that became complete.
    ///
    /// # Errors
    /// Damage, limits, what a base or `sink` returns; the applier is then of no more use.
    pub fn push(&mut self, mut patch: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while !patch.is_empty() {
            if self.done == self.target_len {
                return Err(damaged("it goes on behind its end"));
            }
            let wanted = self.frame.map_or(FRAME_BYTES, Frame::len);
            let now = (wanted - self.arrived.len()).min(patch.len());
            self.arrived.extend_from_slice(&patch[..now]);
            patch = &patch[now..];
            if self.arrived.len() < wanted {
                return Ok(());
            }
            match self.frame.take() {
                None => {
                    let frame = Frame::decode(&self.arrived)?;
                    self.arrived.clear();
                    self.frame = Some(frame);
                    // A window that is as it was may have no bytes at all.
                    if frame.len() == 0 {
                        self.frame = None;
                        self.window(frame, sink)?;
                    }
                }
                Some(frame) => {
                    self.window(frame, sink)?;
                    self.arrived.clear();
                }
            }
        }
        Ok(())
    }

    /// Ends the patch.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the target is not complete.
    pub fn finish(self) -> Result<()> {
        if self.done == self.target_len && self.arrived.is_empty() { Ok(()) } else { Err(damaged("it ends early")) }
    }

    fn window(&mut self, frame: Frame, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let len = (self.target_len - self.done).min(WINDOW_BYTES as u64) as usize;
        let (decisions, packed) = self.arrived.split_at(frame.decisions);
        let bare =
            if packed.is_empty() { Vec::new() } else { self.unpacker.get_or_insert_with(Unpacker::new).unpack(packed, len)? };
        let mut literals = if packed.is_empty() { Literals::Modelled } else { Literals::Apart(&bare) };
        self.window.clear();
        self.window.resize(len, 0);
        let mut decoder = Decoder::new(decisions);
        self.model.window(&mut decoder, &mut self.bases.0, self.done, &mut self.window, &[], &mut literals)?;
        if !decoder.at_end() {
            return Err(damaged("a window does not end where its bytes end"));
        }
        if matches!(literals, Literals::Apart(left) if !left.is_empty()) {
            return Err(damaged("it has too many literal bytes"));
        }
        self.done += len as u64;
        sink(&self.window)
    }
}

/// Cuts and hashes what comes out of a patch.
#[derive(Debug, Default)]
pub struct Verifier {
    held: Vec<u8>,
    recipe: RecipeBuilder,
}

impl Verifier {
    /// Takes the next bytes of the target.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.cut(false);
    }

    /// Takes all bytes of a file.
    ///
    /// # Errors
    /// I/O.
    pub fn push_file(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path).at("open", path)?;
        let mut part = vec![0; READ_BYTES];
        loop {
            match file.read(&mut part).at("read", path)? {
                0 => return Ok(()),
                len => self.push(&part[..len]),
            }
        }
    }

    /// Ends the target and compares it with what `header` announced.
    ///
    /// Complete recipe pages are in the result.
    ///
    /// # Errors
    /// [`Error::Damaged`]: the patch is wrong, or a base is not what the patch was made from.
    pub fn finish(self, header: &Header) -> Result<BuiltRecipe> {
        let built = self.built();
        if built.digest != header.target || built.size != header.target_len {
            let why = "what it makes has another digest; a base differs from what it was made of, or its builder erred: use the records";
            return Err(Error::damaged(format!("the patch to {}", header.target), why));
        }
        Ok(built)
    }

    /// Ends the target and returns what it is.
    #[must_use]
    pub fn built(mut self) -> BuiltRecipe {
        self.cut(true);
        self.recipe.finish()
    }

    fn cut(&mut self, last: bool) {
        let mut at = 0;
        while at < self.held.len() && (last || self.held.len() - at >= CHUNK_BYTES_MAX) {
            let len = cut::first_cut(&self.held[at..], last);
            let bytes = &self.held[at..at + len];
            self.recipe.push(ChunkLine {
                id: ChunkId::of_content(bytes),
                len: u32::try_from(len).expect("a chunk has at most CHUNK_BYTES_MAX bytes"),
            });
            at += len;
        }
        self.held.drain(..at);
    }
}

/// Applies a whole patch: reads it from `patch`, opens its bases by `open`, writes to `sink`, and compares the result with the header.
///
/// `sink` gets unverified bytes in order; they count only once this returns well. The caller compares the header's target with what
/// it wants.
///
/// # Errors
/// Damage, limits, I/O, what `open` and `sink` return; a result of another digest.
pub fn apply<B: ReadAt>(
    patch: &mut dyn Read,
    limits: &Limits,
    open: &mut dyn FnMut(&BaseRef) -> Result<B>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<(Header, BuiltRecipe)> {
    let mut verifier = Verifier::default();
    let header = apply_unverified(patch, limits, open, &mut |bytes| {
        verifier.push(bytes);
        sink(bytes)
    })?;
    let built = verifier.finish(&header)?;
    Ok((header, built))
}

/// Applies a patch as [`apply`], and leaves it to the caller to judge what comes out.
pub(super) fn apply_unverified<B: ReadAt>(
    patch: &mut dyn Read,
    limits: &Limits,
    open: &mut dyn FnMut(&BaseRef) -> Result<B>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Header> {
    let mut buffer = vec![0; READ_BYTES];
    let mut front = Vec::new();
    let (header, used) = loop {
        let read = read(patch, &mut buffer)?;
        front.extend_from_slice(&buffer[..read]);
        match Header::decode(&front)? {
            Some(found) => break found,
            None if read == 0 => return Err(damaged("it ends early")),
            None => {}
        }
    };
    limits.check(&header)?;
    let bases = header.bases.iter().map(open).collect::<Result<Vec<B>>>()?;
    let mut applier = Applier::new(&header, bases, limits)?;
    applier.push(&front[used..], sink)?;
    loop {
        match read(patch, &mut buffer)? {
            0 => break,
            len => applier.push(&buffer[..len], sink)?,
        }
    }
    applier.finish()?;
    Ok(header)
}

fn read(patch: &mut dyn Read, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match patch.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other.map_err(|source| Error::Io { operation: "read the", path: "patch".into(), source }),
        }
    }
}
