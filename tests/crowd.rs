//! Many agents download the same version at once.

#[path = "../benches/serving/crowd.rs"]
mod together;

use together::Crowd;

use crate::common::content::noise;
use crate::common::fleet::{Fleet, Options, SITE};

const AGENTS: usize = 40;
/// What a site server may hold for so few, on top of what it holds when it is idle.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// None fails, all get the same bytes, and the site server holds no content for any of them.
#[test]
fn nobody_fails_and_the_server_stays_small() {
    let mut fleet = Fleet::hub_only(&Options::default());
    fleet.add_server("attic", None);
    let source = fleet.path("source");
    std::fs::create_dir(&source).expect("folder");
    std::fs::write(source.join("large.bin"), noise(6 << 20, 1)).expect("written");
    fleet.publish("tools", &source);
    fleet.ready("tools", "attic", 1);
    let join = fleet.invite("agent", &["--site", SITE, "--uses", &AGENTS.to_string()]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a reactor");
    let crowd = runtime.block_on(Crowd::gather(&fleet.path("crowd"), &join, "tools", AGENTS)).expect("a crowd");
    let before = fleet.servers[0].memory_bytes();
    let done = runtime.block_on(crowd.download(fleet.servers[0].pid())).expect("downloads");
    assert!(done.failed.is_empty(), "{:?}", done.failed);
    assert_eq!(done.ends.len(), AGENTS, "after {} retries, fairness {}", done.retries, done.fairness());
    assert!(done.bytes_each > 6 << 20, "{}", done.bytes_each);
    let grown = done.server_bytes_max.saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes for {AGENTS} agents, of {}", done.server_bytes_max);
}
