//! Making a stream from its plain content and what its compressor made of that, or telling what one made.

use super::choices::Choices;
use super::chunks::{Chunk, END, Head, PACKED_BYTES_MAX, begin};
use super::model::{LEN_MAX, Model, Symbol};
use super::range::Writer;
use super::trail::{ANCHOR_BYTES, Trail};
use super::window::Window;
use crate::delta::coder::Coder;
use crate::delta::format::damaged;
use crate::error::{Error, Result};

/// Plain bytes behind a place that are known before what was made of it is told, but at the end.
const AHEAD_BYTES: usize = LEN_MAX + ANCHOR_BYTES;
/// Plain bytes that are taken at once.
const STEP_BYTES: usize = 64 << 10;

/// Makes a stream, or tells the choices of one.
#[derive(Debug)]
pub(in super::super) struct Replay {
    window: Window,
    model: Option<Model>,
    /// The next place.
    at: usize,
    present: Option<Present>,
    ended: bool,
    out: Vec<u8>,
}

/// A chunk that is being made.
#[derive(Debug)]
struct Present {
    head: Head,
    from: usize,
    range: Writer,
    /// What was made of it, in order; on the side that reads there is none.
    told: std::vec::IntoIter<Symbol>,
}

impl Present {
    fn end(&self) -> usize {
        self.from + self.head.plain()
    }
}

impl Replay {
    /// Begins a stream, of which `choices` tell.
    pub(in super::super) fn new(choices: &mut Choices) -> Self {
        choices.restart();
        Self { window: Window::new(), model: None, at: 0, present: None, ended: false, out: Vec::new() }
    }

    /// Takes plain bytes and gives `sink` the stream; `next` is asked for the chunks that are to be told, `None` at the end.
    ///
    /// # Errors
    /// Choices that cannot be, I/O on `trail`, what `sink` returns; the replay is then of no more use.
    pub(in super::super) fn push<C: Coder>(
        &mut self,
        plain: &[u8],
        (choices, coder, trail): (&mut Choices, &mut C, Option<&Trail>),
        next: &mut dyn FnMut() -> Option<Chunk>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        for step in plain.chunks(STEP_BYTES) {
            self.window.extend(step, self.at);
            self.run((choices, coder, trail), false, next)?;
            self.give(sink)?;
        }
        Ok(())
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// As [`Replay::push`]; a stream that ends elsewhere.
    pub(in super::super) fn finish<C: Coder>(
        mut self,
        (choices, coder, trail): (&mut Choices, &mut C, Option<&Trail>),
        next: &mut dyn FnMut() -> Option<Chunk>,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.run((choices, coder, trail), true, next)?;
        if self.at != self.window.end() {
            return Err(damaged("a stream ends before its content"));
        }
        self.give(sink)
    }

    fn give(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let given = sink(&self.out);
        self.out.clear();
        given
    }

    fn run<C: Coder>(
        &mut self,
        (choices, coder, trail): (&mut Choices, &mut C, Option<&Trail>),
        to_end: bool,
        next: &mut dyn FnMut() -> Option<Chunk>,
    ) -> Result<()> {
        while !self.ended {
            let mut present = match self.present.take() {
                Some(present) => present,
                // A chunk begins once something of it is known, so that its beginning is not asked for too early.
                None if self.window.end() - self.at < AHEAD_BYTES && !to_end => return Ok(()),
                None => {
                    let chunk = if C::WRITES { next() } else { None };
                    let Some(head) = choices.head(coder, chunk.as_ref().map(|chunk| chunk.head)) else {
                        self.out.push(END);
                        self.ended = true;
                        return Ok(());
                    };
                    begin(head, self.at, &mut self.window, &mut self.model)
                        .ok_or_else(|| damaged("a stream goes on with what it has not begun"))?;
                    let told = chunk.map(|chunk| chunk.symbols).unwrap_or_default().into_iter();
                    Present { head, from: self.at, range: Writer::new(), told }
                }
            };
            while self.at < present.end() {
                let ahead = self.window.end() - self.at;
                if ahead == 0 && to_end {
                    return Err(damaged("a stream goes on behind its content"));
                }
                if ahead < AHEAD_BYTES && !to_end {
                    self.present = Some(present);
                    return Ok(());
                }
                let most = ahead.min(present.end() - self.at);
                match (&present.head, &mut self.model) {
                    (Head::Packed { .. }, Some(model)) => {
                        let told = present.told.next().unwrap_or(Symbol::Literal);
                        let place = (&self.window, self.at);
                        let symbol = choices.symbol(coder, trail, (place.0, place.1, most), &model.backs, told)?;
                        // What repeats, repeats what is there.
                        model.code(&mut present.range, place, (symbol, self.window.byte(self.at)));
                        self.at += symbol.len();
                    }
                    _ => self.at += most,
                }
            }
            self.end(present)?;
        }
        Ok(())
    }

    fn end(&mut self, present: Present) -> Result<()> {
        let Present { head, from, range, .. } = present;
        let made;
        let content = match head {
            Head::Stored { .. } => self.window.bytes(from, self.at),
            Head::Packed { .. } => {
                made = range.finish();
                &made
            }
        };
        if content.len() > PACKED_BYTES_MAX {
            let limit = format!("{PACKED_BYTES_MAX} bytes");
            return Err(Error::Limit { what: "a stream's chunk".into(), limit });
        }
        head.write(content.len(), &mut self.out);
        self.out.extend_from_slice(content);
        Ok(())
    }
}
