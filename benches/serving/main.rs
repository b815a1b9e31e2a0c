//! What the data plane serves a second: the real listener, TLS and data plane over loopback, with keep-alive clients.
//!
//! `cargo bench --bench serving` measures in one process. `scripts/bench.sh serve` runs the server and the load as processes of their own
//! (`serve DIR`, `load DIR SERVER SIZE CONNECTIONS SECONDS`), so that nginx can take the server's place: same bytes, same certificate, same
//! cipher, same client.

mod http;
mod load;
mod world;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use world::{SIZES, World};

/// What stops a measurement; only ever shown.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Connections at once in the figures.
const CONNECTIONS: [usize; 2] = [1, 32];
/// How long each figure is measured without arguments.
const MEASURE: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => everything(),
        ["serve", dir, how] => {
            let world = World::start(Path::new(dir), how == "sealed")?;
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
        _ => Err("use: serving [serve DIR open|sealed | load DIR consign|HOST:PORT 64k|1m CONNECTIONS SECONDS]".into()),
    }
}

/// Measures all sizes and counts of connections in this process.
fn everything() -> Result<()> {
    for how in ["open", "sealed"] {
        let dir = tempfile::tempdir()?;
        let world = World::start(dir.path(), how == "sealed")?;
        world.announce()?;
        for size in &SIZES {
            for connections in CONNECTIONS {
                let done = load::Target::new(dir.path(), "consign", size.name)?.run(connections, MEASURE)?;
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
