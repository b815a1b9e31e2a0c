//! The pipeline: workers read and encode, the caller's thread takes everything back in order and appends.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use super::Progress;
use super::fill::{Filler, Sink};
use super::read::{Piece, SEGMENT_BYTES, Source};
use super::schedule::{Encoded, Event, Schedule, Task};
use super::source::Root;
use super::tree::{Change, Content, Tree};
use crate::chunk::record::{self, ChunkLine};
use crate::error::{Error, Result};
use crate::manifest::layout::compare_likeness;
use crate::manifest::recipe::RecipeBuilder;

/// Compression of ingested content: zstd's default, the best bytes for the time.
const ZSTD_LEVEL: i32 = 3;

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
    let mut order = tree.unread();
    let items = &tree.items;
    order.sort_unstable_by(|&a, &b| compare_likeness(items.path(a), items.path(b)));
    let source = Source { root, items };
    let schedule = Schedule::new(&source, &order);
    let workers = if workers == 0 { thread::available_parallelism().map_or(1, usize::from) } else { workers };
    let workers = workers.min(schedule.tasks_min());
    thread::scope(|scope| {
        for number in 0..workers {
            let builder = thread::Builder::new().name(format!("ingest-{number}"));
            let worker = || work(&source, &order, &schedule, progress);
            if let Err(error) = builder.spawn_scoped(scope, worker) {
                schedule.stop(Some(Error::Io { operation: "start a worker for", path: root.full(""), source: error }));
            }
        }
        let mut appender = Appender {
            schedule: &schedule,
            contents: &mut tree.contents,
            items,
            sink,
            progress,
            counts,
            filler: Filler::new(),
            file: RecipeBuilder::default(),
            change: None,
        };
        let done = appender.run();
        let change = appender.change;
        schedule.stop(None);
        done.map(|()| change)
    })
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

fn work(source: &Source<'_>, order: &[u32], schedule: &Schedule<'_>, progress: &Progress) {
    let _guard = StopOnPanic(schedule);
    while let Some(task) = schedule.task() {
        if let Err(error) = progress.check().and_then(|()| perform(task, source, order, schedule)) {
            schedule.stop(Some(error));
        }
    }
}

fn perform(task: Task, source: &Source<'_>, order: &[u32], schedule: &Schedule<'_>) -> Result<()> {
    match task {
        Task::Encode(number, run) => {
            let bytes = record::encode(run.kind, &run.chunks, ZSTD_LEVEL)?;
            let ids = run.chunks.iter().map(crate::chunk::VerifiedChunk::id).collect();
            schedule.encoded(number, Encoded { bytes, ids, raw_bytes: run.raw_bytes });
        }
        Task::Small(number, range) => {
            let piece = source.read_small(&order[range.clone()])?;
            schedule.read(number, schedule.reserved(&range), piece, None);
        }
        Task::Large(number, large) => {
            let (piece, large) = source.step(large)?;
            schedule.read(number, SEGMENT_BYTES, piece, large);
        }
    }
    Ok(())
}

/// Takes pieces and records back in order.
struct Appender<'a, 's, 'k> {
    schedule: &'a Schedule<'a>,
    items: &'a super::tree::Items,
    contents: &'a mut Vec<Option<Content>>,
    sink: &'a mut Sink<'k>,
    progress: &'a Progress,
    counts: &'s mut Counts,
    filler: Filler,
    /// The file whose chunks come now.
    file: RecipeBuilder,
    change: Option<Change>,
}

impl Appender<'_, '_, '_> {
    fn run(&mut self) -> Result<()> {
        let mut all_read = false;
        loop {
            match self.schedule.event(all_read)? {
                Event::Piece(piece) => self.take(piece)?,
                Event::Append(encoded) => self.append(encoded)?,
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

    fn append(&mut self, encoded: Encoded) -> Result<()> {
        if let Sink::Store(store) = self.sink {
            self.counts.stored_bytes += encoded.bytes.len() as u64;
            store.append_encoded(encoded.bytes)?;
        }
        self.filler.appended(&encoded.ids);
        self.schedule.release(encoded.raw_bytes);
        Ok(())
    }

    fn take(&mut self, piece: Piece) -> Result<()> {
        let mut ends = piece.ends.into_iter().peekable();
        let mut released = 0;
        for (at, chunk) in piece.chunks.into_iter().enumerate() {
            while let Some(end) = ends.next_if(|end| end.chunks_before == at) {
                self.end_file(end.item, end.change)?;
            }
            let len = chunk.bytes().len();
            self.file.push(ChunkLine { id: chunk.id(), len: u32::try_from(len).unwrap_or(u32::MAX) });
            let (taken, full) = self.filler.offer(self.sink, chunk)?;
            if !taken {
                released += len;
            }
            if let Some(run) = full {
                self.schedule.encode(run);
            }
            self.offer_pages_of_file()?;
        }
        for end in ends {
            self.end_file(end.item, end.change)?;
        }
        self.schedule.release(released);
        Ok(())
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
        self.contents[item as usize] = Some(Content { digest: built.digest, chunks: built.chunks });
        Ok(())
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
                self.schedule.hold(len);
            }
            if let Some(run) = full {
                self.schedule.encode(run);
            }
        }
        Ok(())
    }
}
