//! Many agents of a site that download the same version at the same moment: real identities, each over a connection of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use consign::domain::Millis;
use consign::net::Client;
use consign::net::enrol::{self, JoinRequest};
use consign::net::fetch::{Sink, fetch_chunks, fetch_manifest};
use consign::net::member::Member;
use consign::net::retry::with_back_off;
use consign::protocol::fleet::{PACKAGES_PATH, RANGES_TYPE, Resolution, VERSIONS_PATH, VersionInfo};
use consign::protocol::hello::Role;
use consign::protocol::ranges::encode;
use consign::trust::JoinString;
use consign_store::ManifestId;
use consign_store::chunk::record::VerifiedRecord;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

/// What stops a measurement; only ever shown.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Joins at once.
const JOINS: usize = 16;
/// Longest wait until the site server knows everybody and is ready.
const READY_MAX: Duration = Duration::from_mins(2);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// How often an agent tries, as often as an install does before it waits longer.
const ATTEMPTS_MAX: u32 = 5;

/// Agents that have joined and are known.
pub struct Crowd {
    clients: Vec<Client>,
    /// What each of them asks for.
    asked: Arc<Asked>,
}

struct Asked {
    version: String,
    ranges: Vec<u8>,
    bytes: u64,
    digest: blake3::Hash,
}

/// What came of it.
pub struct Done {
    /// Why downloads failed for good.
    pub failed: Vec<String>,
    /// Tries after which an agent waited and came again.
    pub retries: u64,
    /// Bytes of each answer.
    pub bytes_each: u64,
    /// When each download that succeeded was complete, ascending.
    pub ends: Vec<Duration>,
    /// Bytes that each agent had when all together had half.
    pub at_half: Vec<u64>,
    /// Largest anonymous resident memory of the site server, bytes.
    pub server_bytes_max: u64,
}

impl Done {
    /// Jain's index of what the agents had at half time: 1 when all had the same, 1/n when one had all.
    #[expect(clippy::cast_precision_loss, reason = "bytes of one download")]
    pub fn fairness(&self) -> f64 {
        let sum: f64 = self.at_half.iter().map(|&bytes| bytes as f64).sum();
        let squares: f64 = self.at_half.iter().map(|&bytes| (bytes as f64).powi(2)).sum();
        sum * sum / (squares * self.at_half.len() as f64)
    }
}

impl Crowd {
    /// Lets `count` agents join with the join string `join` in folders of `dir`, and waits until the site server offers each the package.
    pub async fn gather(dir: &Path, join: &str, package: &str, count: usize) -> Result<Self> {
        let (join, turns) = (Arc::new(JoinString::parse(join)?), Arc::new(Semaphore::new(JOINS)));
        let mut joining = JoinSet::new();
        for number in 0..count {
            let (dir, join, turns) = (dir.join(format!("agent-{number}")), Arc::clone(&join), Arc::clone(&turns));
            let path = format!("{PACKAGES_PATH}/{package}");
            joining.spawn(async move {
                let _turn = turns.acquire().await?;
                let name = format!("agent-{number}").parse().map_err(|_| "no name")?;
                let request = JoinRequest { role: Role::Agent, name, capabilities: Vec::new(), listen: None, address: None };
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
                enrol::join(&dir, &join, &request, Millis(i64::try_from(now.as_millis())?)).await?;
                let member = Member::open(&dir, Role::Agent)?;
                let map = member.site_map()?.body;
                let server = map.servers.first().ok_or("the site has no server")?;
                let client = member.client(server, Arc::default())?;
                let version = offered(&client, &path).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>((client, version))
            });
        }
        let (mut clients, mut version) = (Vec::new(), None);
        while let Some(joined) = joining.join_next().await {
            let (client, offered) = joined??;
            clients.push(client);
            version = Some(offered);
        }
        let (first, version) = clients.first().zip(version).ok_or("nobody is in this crowd")?;
        let asked = Arc::new(Asked::of(first, &version, dir).await?);
        Ok(Self { clients, asked })
    }

    /// Lets all of them download at once; looks at the memory of process `server` meanwhile.
    pub async fn download(self, server: u32) -> Result<Done> {
        let progress: Arc<Vec<AtomicU64>> = Arc::new(self.clients.iter().map(|_| AtomicU64::new(0)).collect());
        let (retries, start) = (Arc::new(AtomicU64::new(0)), Arc::new(Barrier::new(self.clients.len() + 1)));
        let over = Arc::new(AtomicBool::new(false));
        let watch = {
            let (progress, over, half) =
                (Arc::clone(&progress), Arc::clone(&over), self.asked.bytes * self.clients.len() as u64 / 2);
            std::thread::spawn(move || watch(server, &progress, half, &over))
        };
        let mut downloads = JoinSet::new();
        for (number, client) in self.clients.into_iter().enumerate() {
            let (asked, progress, start) = (Arc::clone(&self.asked), Arc::clone(&progress), Arc::clone(&start));
            let retries = Arc::clone(&retries);
            downloads.spawn(async move {
                start.wait().await;
                let begun = Instant::now();
                let back_off = |attempt: u32| Duration::from_secs(1 << attempt.min(4));
                let count = |_: &consign::net::retry::Wait<'_>| {
                    retries.fetch_add(1, Ordering::Relaxed);
                };
                let download = |_| asked.download(&client, &progress[number]);
                with_back_off(ATTEMPTS_MAX, back_off, count, download).await.map(|()| begun.elapsed())
            });
        }
        start.wait().await;
        let (mut failed, mut ends) = (Vec::new(), Vec::new());
        while let Some(ended) = downloads.join_next().await {
            match ended? {
                Ok(took) => ends.push(took),
                Err(error) => failed.push(error.to_string()),
            }
        }
        over.store(true, Ordering::Relaxed);
        ends.sort_unstable();
        let (at_half, server_bytes_max) = watch.join().map_err(|_| "the watch panicked")?;
        let retries = retries.load(Ordering::Relaxed);
        Ok(Done { failed, retries, bytes_each: self.asked.bytes, ends, at_half, server_bytes_max })
    }
}

/// Waits until the package is offered.
async fn offered(client: &Client, path: &str) -> Result<VersionInfo> {
    let begun = Instant::now();
    loop {
        let answer = client.get_json::<Resolution>(path).await;
        match answer {
            Ok(Resolution { version: Some(version), codebases, .. }) if !codebases.is_empty() => return Ok(version),
            Err(error) if begun.elapsed() > READY_MAX => return Err(error.into()),
            _ if begun.elapsed() > READY_MAX => return Err("the site server is not ready".into()),
            _ => tokio::time::sleep(LOOK * 20).await,
        }
    }
}

/// Watches memory and progress until it is `over`.
fn watch(server: u32, progress: &[AtomicU64], half: u64, over: &AtomicBool) -> (Vec<u64>, u64) {
    let (mut at_half, mut bytes_max) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let so_far: Vec<u64> = progress.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect();
        if at_half.is_empty() && so_far.iter().sum::<u64>() >= half {
            at_half = so_far;
        }
        bytes_max = bytes_max.max(anonymous_bytes(server));
        std::thread::sleep(LOOK);
    }
    (at_half, bytes_max)
}

fn anonymous_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() << 10
}

impl Asked {
    /// Fetches the version once, verified, to know what each answer must be.
    async fn of(client: &Client, version: &VersionInfo, dir: &Path) -> Result<Self> {
        let id: ManifestId = version.manifest.parse().map_err(|_| "not a manifest's id")?;
        let (manifest, _) = fetch_manifest(client, id, version.manifest_len, None, &dir.join("manifest")).await?;
        let range = 0..u32::try_from(manifest.totals().chunks)?;
        let chunks = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&chunks);
        let sink: Sink = Arc::new(move |record: VerifiedRecord| {
            seen.fetch_add(record.header().chunks.len() as u64, Ordering::Relaxed);
            Ok(())
        });
        fetch_chunks(client, id, std::slice::from_ref(&range), sink, &AtomicU64::new(0)).await.end?;
        if chunks.load(Ordering::Relaxed) != u64::from(range.end) {
            return Err("an answer without all chunks".into());
        }
        let mut asked =
            Self { version: format!("{VERSIONS_PATH}/{id}"), ranges: encode(&[range]), bytes: 0, digest: blake3::hash(&[]) };
        (asked.bytes, asked.digest) = asked.answer(client, &AtomicU64::new(0)).await?;
        Ok(asked)
    }

    /// Downloads it as an agent does: the manifest, then the chunks.
    async fn download(&self, client: &Client, progress: &AtomicU64) -> consign::net::Result<()> {
        let mut manifest = client.get_stream(&format!("{}/manifest", self.version)).await?;
        while manifest.chunk().await?.is_some() {}
        progress.store(0, Ordering::Relaxed);
        let (bytes, digest) = self.answer(client, progress).await?;
        if (bytes, digest) == (self.bytes, self.digest) {
            return Ok(());
        }
        Err(consign::net::Error::Invalid { what: "an answer".to_owned(), why: format!("{bytes} bytes, and not the same ones") })
    }

    async fn answer(&self, client: &Client, progress: &AtomicU64) -> consign::net::Result<(u64, blake3::Hash)> {
        let mut body = client.post_stream(&format!("{}/chunks", self.version), RANGES_TYPE, self.ranges.clone().into()).await?;
        let mut hasher = blake3::Hasher::new();
        while let Some(data) = body.chunk().await? {
            hasher.update(&data);
            progress.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        Ok((body.received_bytes(), hasher.finalize()))
    }
}
