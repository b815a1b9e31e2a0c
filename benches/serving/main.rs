//! What the data plane serves a second: the real listener, TLS and data plane over loopback, with keep-alive clients.
//!
//! `cargo bench --bench serving` measures in one process. `scripts/bench.sh serve` runs the server and the load as processes of their own
//! (`serve DIR MODE`, `load DIR SERVER SIZE CONNECTIONS SECONDS`), so that nginx can take the server's place: same bytes, same certificate, same
//! cipher, same client. `cold DIR SERVER CONNECTIONS` reads what is not in memory while others ask for what is; `evict FOLDER` makes files so.

mod crowd;
mod http;
mod load;
mod world;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use world::{Mode, SIZES, World, evict};

/// What stops a measurement; only ever shown.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Connections at once in the figures.
const CONNECTIONS: [usize; 2] = [1, 32];
/// How long each figure is measured without arguments.
const MEASURE: Duration = Duration::from_secs(3);

const USE: &str = "use: serving [serve DIR open|sealed|cold | load DIR SERVER 64k|1m CONNECTIONS SECONDS | cold DIR SERVER CONNECTIONS \
                   | evict FOLDER | crowd DIR PACKAGE COUNT PID]; a SERVER is `consign` or HOST:PORT, with `,plain` behind it where it speaks no TLS";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => everything(),
        ["serve", dir, how] => {
            let mode = match how {
                "open" => Mode::Open,
                "sealed" => Mode::Sealed,
                "cold" => Mode::Cold,
                _ => return Err(USE.into()),
            };
            let world = World::start(Path::new(dir), mode)?;
            world.announce()?;
            world.wait()
        }
        ["load", dir, server, size, connections, seconds] => {
            let to = load::Target::new(Path::new(dir), server, size)?;
            let done = to.run(connections.parse()?, Duration::from_secs_f64(seconds.parse()?))?;
            let line = serde_json::json!({
                "requests": done.requests, "bytes": done.bytes, "seconds": done.seconds, "cipher": done.cipher,
            });
            Ok(writeln!(std::io::stdout(), "{line}")?)
        }
        ["crowd", dir, package, count, server] => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let join = std::env::var("CONSIGN_JOIN").map_err(|_| "CONSIGN_JOIN holds no join string")?;
            let crowd = runtime.block_on(crowd::Crowd::gather(Path::new(dir), &join, package, count.parse()?))?;
            let done = runtime.block_on(crowd.download(server.parse()?))?;
            let seconds = |end: Option<&Duration>| end.map(Duration::as_secs_f64);
            let line = serde_json::json!({
                "failed": done.failed.len(), "why": done.failed.first(), "retries": done.retries, "bytes_each": done.bytes_each,
                "first_seconds": seconds(done.ends.first()), "last_seconds": seconds(done.ends.last()), "fairness": done.fairness(),
                "half_min": done.at_half.iter().min(), "half_max": done.at_half.iter().max(),
                "server_rss_anon_bytes": done.server_bytes_max,
            });
            Ok(writeln!(std::io::stdout(), "{line}")?)
        }
        ["evict", folder] => evict(Path::new(folder)),
        ["cold", dir, server, connections] => {
            let warm = load::Target::new(Path::new(dir), server, "64k")?;
            let done = warm.run_beside(&load::Target::new(Path::new(dir), server, "cold")?, connections.parse()?)?;
            let wait = |part: usize| done.waits.get((done.waits.len() * part / 100).min(done.waits.len().saturating_sub(1)));
            let line = serde_json::json!({
                "bytes": done.cold_bytes, "seconds": done.cold_seconds, "requests_beside": done.waits.len(),
                "wait_median": wait(50).map(Duration::as_secs_f64), "wait_p99": wait(99).map(Duration::as_secs_f64),
                "wait_max": wait(100).map(Duration::as_secs_f64),
            });
            Ok(writeln!(std::io::stdout(), "{line}")?)
        }
        _ => Err(USE.into()),
    }
}

/// Measures all sizes and counts of connections in this process.
fn everything() -> Result<()> {
    for (how, mode) in [("open", Mode::Open), ("sealed", Mode::Sealed)] {
        let dir = tempfile::tempdir()?;
        let world = World::start(dir.path(), mode)?;
        world.announce()?;
        for (size, server) in SIZES.iter().flat_map(|size| ["consign", "consign,plain"].map(|server| (size, server))) {
            for connections in CONNECTIONS {
                let done = load::Target::new(dir.path(), server, size.name)?.run(connections, MEASURE)?;
                #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
                let (rate, megabytes) = (done.requests as f64 / done.seconds, done.bytes as f64 / done.seconds / 1e6);
                let (size, cipher) = (size.name, done.cipher);
                writeln!(
                    std::io::stdout(),
                    "{how:>6} pack, {size:>3}, {connections:>2} connections: {rate:>9.0}/s {megabytes:>7.0} MB/s  {cipher}"
                )?;
            }
        }
    }
    Ok(())
}
