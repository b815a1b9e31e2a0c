//! The chunks of an LZMA2 stream: each says how long it is, and what is forgotten before it.

use super::model::{Model, Props, Symbol};
use super::range::Reader;
use super::window::Window;

/// The longest chunk with its header, bytes: what a reader must have before it.
pub(in super::super) const CHUNK_BYTES_MAX: usize = HEADER_BYTES_MAX + PACKED_BYTES_MAX;
const HEADER_BYTES_MAX: usize = 6;
pub(super) const PACKED_BYTES_MAX: usize = 1 << 16;
/// Most plain bytes of a chunk.
pub(super) const PLAIN_BYTES_MAX: usize = 2 << 20;
/// Ends a stream.
pub(super) const END: u8 = 0;
/// Control bytes of a chunk that is stored: the dictionary is forgotten before, or it is not.
const STORED_ANEW: u8 = 1;
const STORED: u8 = 2;
const PACKED: u8 = 0x80;

/// What is forgotten before a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reset {
    Nothing,
    State,
    /// And the properties are new.
    Props,
    /// And the dictionary is.
    All,
}

impl Reset {
    pub(super) const ALL: [Self; 4] = [Self::Nothing, Self::State, Self::Props, Self::All];
}

/// The front of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Stored {
        anew: bool,
        plain: usize,
    },
    /// `props` if they are new.
    Packed {
        reset: Reset,
        props: u8,
        plain: usize,
    },
}

impl Head {
    pub(super) fn plain(self) -> usize {
        match self {
            Self::Stored { plain, .. } | Self::Packed { plain, .. } => plain,
        }
    }

    /// Whether the last distances are forgotten before it.
    pub(super) fn forgets(self) -> bool {
        matches!(self, Self::Packed { reset, .. } if reset > Reset::Nothing)
    }

    /// Reads it; with it come its own length and that of what is behind it.
    fn read(bytes: &[u8]) -> Option<(Self, usize, usize)> {
        let control = *bytes.first()?;
        let number = |at: usize| Some(usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?)));
        match control {
            STORED_ANEW | STORED => {
                let plain = number(1)? + 1;
                Some((Self::Stored { anew: control == STORED_ANEW, plain }, 3, plain))
            }
            PACKED.. => {
                let plain = (usize::from(control & 0x1f) << 16) + number(1)? + 1;
                let reset = Reset::ALL[usize::from(control >> 5 & 3)];
                let (props, len) = if reset >= Reset::Props { (*bytes.get(5)?, 6) } else { (0, 5) };
                Some((Self::Packed { reset, props, plain }, len, number(3)? + 1))
            }
            _ => None,
        }
    }

    /// Appends it as it stands before `packed` bytes, 64 KiB at most.
    pub(super) fn write(self, packed: usize, out: &mut Vec<u8>) {
        let number = |out: &mut Vec<u8>, number: usize| out.extend(((number - 1) as u16).to_be_bytes());
        match self {
            Self::Stored { anew, plain } => {
                out.push(if anew { STORED_ANEW } else { STORED });
                number(out, plain);
            }
            Self::Packed { reset, props, plain } => {
                out.push(PACKED | (reset as u8) << 5 | ((plain - 1) >> 16) as u8);
                out.extend(((plain - 1) as u16).to_be_bytes());
                number(out, packed);
                if reset >= Reset::Props {
                    out.push(props);
                }
            }
        }
    }
}

/// What a chunk begins with: the model of those before, changed as its head says; `None` if there is none yet.
pub(super) fn begin(head: Head, at: usize, window: &mut Window, model: &mut Option<Model>) -> Option<()> {
    if matches!(head, Head::Stored { anew: true, .. } | Head::Packed { reset: Reset::All, .. }) {
        window.floor = at;
    } else if at == 0 {
        return None;
    }
    if let Head::Packed { reset, props, .. } = head {
        match reset {
            Reset::Nothing if model.is_none() => return None,
            Reset::Nothing => {}
            Reset::State => model.as_mut()?.reset(),
            Reset::Props | Reset::All => *model = Some(Model::new(Props::of_byte(props)?)),
        }
    }
    Some(())
}

/// What a compressor made of a piece of content.
#[derive(Debug)]
pub(in super::super) struct Chunk {
    pub(super) head: Head,
    /// None of a stored chunk.
    pub(super) symbols: Vec<Symbol>,
}

impl Chunk {
    /// How many of its symbols are literals, and how many are matches.
    pub(in super::super) fn counts(&self) -> (u64, u64) {
        let literals = self.symbols.iter().filter(|symbol| **symbol == Symbol::Literal).count();
        (literals as u64, (self.symbols.len() - literals) as u64)
    }
}

/// What a step took: bytes of the input, and the chunk with its content; none where the stream has ended.
pub(in super::super) struct Step<'a> {
    pub(in super::super) taken: usize,
    pub(in super::super) chunk: Option<(Chunk, &'a [u8])>,
}

/// Reads a stream chunk by chunk.
#[derive(Debug)]
pub(in super::super) struct Chunks {
    window: Window,
    model: Option<Model>,
}

impl Chunks {
    /// Begins a stream.
    pub(in super::super) fn new() -> Self {
        Self { window: Window::new(), model: None }
    }

    /// Reads the next chunk from the front of `input`, which has [`CHUNK_BYTES_MAX`] bytes or all that there are; `None` if that is none.
    pub(in super::super) fn step(&mut self, input: &[u8]) -> Option<Step<'_>> {
        let from = self.window.end();
        if *input.first()? == END {
            return Some(Step { taken: 1, chunk: None });
        }
        let (head, len, packed) = Head::read(input)?;
        let content = input.get(len..len + packed)?;
        begin(head, from, &mut self.window, &mut self.model)?;
        self.window.extend(&[], from);
        let mut symbols = Vec::new();
        match (head, &mut self.model) {
            (Head::Stored { .. }, _) => self.window.extend(content, from),
            (Head::Packed { plain, .. }, Some(model)) => {
                let mut range = Reader::new(content)?;
                let mut at = from;
                while at < from + plain {
                    let (symbol, byte) = model.code(&mut range, (&self.window, at), (Symbol::Literal, 0))?;
                    match symbol {
                        Symbol::Literal => self.window.push(byte),
                        _ => self.window.repeat(model.backs[0], symbol.len()),
                    }
                    at += symbol.len();
                    symbols.push(symbol);
                }
                if at != from + plain || !range.is_whole() {
                    return None;
                }
            }
            (Head::Packed { .. }, None) => return None,
        }
        let plain = self.window.bytes(from, self.window.end());
        Some(Step { taken: len + packed, chunk: Some((Chunk { head, symbols }, plain)) })
    }

    /// Reads the stream at the front of `input`, gives its chunks and their content to `sink`, and returns how many bytes it has, packed and plain.
    ///
    /// # Errors
    /// How many bytes were gone through, packed and plain together, if there is no whole stream or `sink` has had enough (says `false`).
    pub(in super::super) fn whole(input: &[u8], sink: &mut dyn FnMut(Chunk, &[u8]) -> bool) -> Result<(usize, usize), usize> {
        let (mut chunks, mut packed) = (Self::new(), 0);
        while let Some(step) = chunks.step(&input[packed..]) {
            packed += step.taken;
            let Some((chunk, plain)) = step.chunk else { return Ok((packed, chunks.window.end())) };
            if !sink(chunk, plain) {
                break;
            }
        }
        Err(packed + chunks.window.end())
    }
}
