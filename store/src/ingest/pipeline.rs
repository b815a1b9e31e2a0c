//! The pipeline: workers read and encode, the caller's thread takes everything back in order and appends.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use super::Progress;
use super::contents::{Content, ContentsWriter};
use super::fill::{Filler, Sink};
use super::items::Items;
use super::pool::Pool;
use super::read::{Batch, Piece, Source, segments_of};
use super::schedule::{Encoded, Event, Schedule, Task};
use super::segment::{CHUNK_HELD_BYTES, Claims, FoundChunk, Has, Segment};
use super::source::Root;
use super::tree::{Change, Tree};
use crate::chunk::encoder::Encoder;
use crate::error::{Error, Result};
use crate::manifest::layout::sorted_by_likeness;
use crate::manifest::recipe::RecipeBuilder;
use crate::spill::Words;

/// What a run of the pipeline counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Files read.
    pub files_read: u64,
    /// Content chunks that the store did not have.
    pub new_chunks: u64,
    /// Bytes of the records appended.
    pub stored_bytes: u64,
}

/// Reads every file of `tree` that has not been read, in layout order, into `sink`; gives the first change that was noticed, and leaves
/// files that changed unread.
pub(super) fn run(
    root: &Root,
    tree: &mut Tree,
    sink: &mut Sink<'_>,
    workers: usize,
    progress: &Progress,
    counts: &mut Counts,
) -> Result<Option<Change>> {
    let (items, folder) = (&tree.items, &tree.folder);
    let order = sorted_by_likeness(tree.unread(), |number| items.path(number), folder)?;
    let mut contents = ContentsWriter::in_folder(folder);
    let has = sink.has();
    let (claimed, lines) = (&tree.claims, sink.lines());
    let claims = |item: u32, range| {
        let claimed = claimed.get(item).zip(items.stat(item));
        claimed.map_or_else(Claims::default, |(content, stat)| lines(stat.size, content, range))
    };
    let source = Source { root, items, pool: Pool::default(), has: &has, claims: &claims };
    let schedule = Schedule::new(&source, &order);
    let workers = workers.min(schedule.tasks_min());
    let change = thread::scope(|scope| {
        for number in 0..workers {
            let builder = thread::Builder::new().name(format!("ingest-{number}"));
            let worker = || work(&source, &order, &schedule, progress);
            if let Err(error) = builder.spawn_scoped(scope, worker) {
                schedule.stop(Some(Error::Io { operation: "start a worker for", path: root.full(""), source: error }));
            }
        }
        let mut appender = Appender {
            schedule: &schedule,
            contents: &mut contents,
            items,
            sink,
            progress,
            counts,
            filler: Filler::new(),
            has: &has,
            file: RecipeBuilder::default(),
            next_at: 0,
            file_change: None,
            change: None,
        };
        let done = appender.run();
        let change = appender.change;
        schedule.stop(None);
        done.map(|()| change)
    })?;
    tree.read = contents.finish(&tree.folder)?;
    Ok(change)
}

/// Stops everything when a worker ends in a panic, so that nobody waits for it for ever.
struct StopOnPanic<'a>(&'a Schedule<'a>);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop(Some(Error::Cancelled));
        }
    }
}

fn work(source: &Source<'_>, order: &Words<1>, schedule: &Schedule<'_>, progress: &Progress) {
    let _guard = StopOnPanic(schedule);
    let mut encoder = match Encoder::new() {
        Ok(encoder) => encoder,
        Err(error) => return schedule.stop(Some(error)),
    };
    while let Some(task) = schedule.task() {
        if let Err(error) = progress.check().and_then(|()| perform(task, source, order, schedule, &mut encoder)) {
            schedule.stop(Some(error));
        }
    }
}

fn perform(task: Task, source: &Source<'_>, order: &Words<1>, schedule: &Schedule<'_>, encoder: &mut Encoder) -> Result<()> {
    match task {
        Task::Encode(number, run) => {
            let record = encoder.encode(run.kind, &run.chunks)?;
            let ids = run.chunks.iter().map(crate::chunk::VerifiedChunk::id).collect();
            schedule.encoded(number, Encoded { record, ids, held_bytes: run.held_bytes() });
        }
        Task::Small(number, ref range) => schedule.read(&task, number, source.read_small(&numbers(order, range))?),
        Task::Segment(number, item, segment) => schedule.read(&task, number, source.read_segment(item, segment)?),
    }
    Ok(())
}

/// The item numbers at the places `range`.
fn numbers(order: &Words<1>, range: &Range<usize>) -> Vec<u32> {
    order.from(range.start).take(range.len()).map(|[number]| number).collect()
}

/// Takes pieces and records back in order.
struct Appender<'a, 's, 'k> {
    schedule: &'a Schedule<'a>,
    items: &'a Items,
    contents: &'a mut ContentsWriter,
    sink: &'a mut Sink<'k>,
    progress: &'a Progress,
    counts: &'s mut Counts,
    filler: Filler,
    has: &'a Has<'a>,
    /// The file whose chunks come now.
    file: RecipeBuilder,
    /// Where its next chunk begins in the next segment, and what has changed, if it is a large one.
    next_at: usize,
    file_change: Option<&'static str>,
    change: Option<Change>,
}

impl Appender<'_, '_, '_> {
    fn run(&mut self) -> Result<()> {
        let mut all_read = false;
        loop {
            match self.schedule.event(all_read)? {
                Event::Piece(piece) => self.take(piece)?,
                Event::Append(encoded) => self.append(&encoded)?,
                Event::AllRead => {
                    all_read = true;
                    for run in self.filler.rest() {
                        self.schedule.encode(run);
                    }
                }
                Event::AllAppended => {
                    self.counts.new_chunks += self.filler.new_chunks;
                    return self.progress.check();
                }
            }
        }
    }

    fn append(&mut self, encoded: &Encoded) -> Result<()> {
        if let Sink::Store(store) = self.sink {
            self.counts.stored_bytes += encoded.record.iter().map(|part| part.len() as u64).sum::<u64>();
            store.append_parts(&encoded.record)?;
        }
        self.filler.appended(&encoded.ids);
        self.schedule.release(encoded.held_bytes);
        Ok(())
    }

    fn take(&mut self, piece: Piece) -> Result<()> {
        let held = piece.held_bytes();
        let taken = match piece {
            Piece::Batch(batch) => self.take_batch(batch)?,
            Piece::Segment { item, number, segment } => self.take_segment(item, number, segment)?,
        };
        self.schedule.release(held - taken);
        Ok(())
    }

    /// Takes whole files; returns the bytes that stay held, for the chunks that were new.
    fn take_batch(&mut self, batch: Batch) -> Result<usize> {
        let mut ends = batch.ends.into_iter().peekable();
        let mut taken = 0;
        for (at, chunk) in batch.chunks.into_iter().enumerate() {
            while let Some(end) = ends.next_if(|end| end.chunks_before == at) {
                self.end_file(end.item, end.change)?;
            }
            taken += self.take_chunk(chunk)?;
        }
        for end in ends {
            self.end_file(end.item, end.change)?;
        }
        Ok(taken)
    }

    /// Takes a segment of a large file as [`Appender::take_batch`] does.
    fn take_segment(&mut self, item: u32, number: u64, segment: Result<Segment, &'static str>) -> Result<usize> {
        let mut taken = 0;
        match segment {
            Ok(segment) if self.file_change.is_none() => {
                let (chunks, next_at) = segment.join(self.next_at, self.has)?;
                self.next_at = next_at;
                for chunk in chunks {
                    taken += self.take_chunk(chunk)?;
                }
            }
            Ok(_) => {}
            Err(change) => self.file_change = self.file_change.or(Some(change)),
        }
        let size = self.items.stat(item).map_or(0, |stat| stat.size);
        if number + 1 == segments_of(size) {
            self.next_at = 0;
            let change = self.file_change.take();
            self.end_file(item, change)?;
        }
        Ok(taken)
    }

    /// Takes the next chunk; returns the bytes that stay held for it if it was new.
    fn take_chunk(&mut self, chunk: FoundChunk) -> Result<usize> {
        self.file.push(chunk.line);
        let mut held = 0;
        if let Some(lacking) = chunk.lacking {
            let len = lacking.bytes().len();
            let (taken, full) = self.filler.offer(self.sink, lacking)?;
            if taken {
                held = len + CHUNK_HELD_BYTES;
            }
            if let Some(run) = full {
                self.schedule.encode(run);
            }
        }
        self.offer_pages_of_file()?;
        Ok(held)
    }

    fn end_file(&mut self, item: u32, change: Option<&'static str>) -> Result<()> {
        let built = std::mem::take(&mut self.file).finish();
        self.counts.files_read += 1;
        self.progress.files_done.fetch_add(1, Relaxed);
        if let Some(why) = change {
            let path = || self.items.path(item).into();
            self.change.get_or_insert_with(|| Change { path: path(), why });
            return Ok(());
        }
        self.progress.bytes_done.fetch_add(built.size, Relaxed);
        self.offer_pages(built.pages)?;
        self.contents.push(item, Content { digest: built.digest, chunks: built.chunks })
    }

    fn offer_pages_of_file(&mut self) -> Result<()> {
        let pages = self.file.take_pages();
        self.offer_pages(pages)
    }

    fn offer_pages(&mut self, pages: Vec<crate::chunk::VerifiedChunk>) -> Result<()> {
        for page in pages {
            let len = page.bytes().len();
            let (taken, full) = self.filler.offer(self.sink, page)?;
            if taken {
                self.schedule.hold(len + CHUNK_HELD_BYTES);
            }
            if let Some(run) = full {
                self.schedule.encode(run);
            }
        }
        Ok(())
    }
}
