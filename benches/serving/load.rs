//! Load: connections that ask one after the other, for as long as they are told or for each thing once.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use consign::protocol::fleet::RANGES_TYPE;
use consign::protocol::ranges::encode;
use consign::trust::authority::HUB_SERVER_NAME;
use rustls::ClientConfig;

use crate::Result;
use crate::http::{Connection, settings};

/// A server and what it is asked.
pub struct Target {
    server: String,
    requests: Vec<Vec<u8>>,
    tls: Option<Arc<ClientConfig>>,
}

/// What was measured.
pub struct Done {
    pub requests: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub cipher: String,
}

/// What was measured while one connection read each of many answers once, and others asked all the time.
pub struct Mixed {
    pub cold_bytes: u64,
    pub cold_seconds: f64,
    /// How long the others' requests took, ascending.
    pub waits: Vec<Duration>,
}

impl Target {
    /// Prepares requests of the size `size` to `server`: `consign`, which `dir` announces, or the `host:port` of a server of the same answers
    /// as files; without TLS if `,plain` follows.
    pub fn new(dir: &Path, server: &str, size: &str) -> Result<Self> {
        let (server, is_plain) = server.strip_suffix(",plain").map_or((server, false), |server| (server, true));
        let tls = if is_plain { None } else { Some(settings(&fs::read(dir.join("authority.pem"))?)?) };
        let (is_consign, path) = (server == "consign", fs::read_to_string(dir.join("path"))?);
        let announced = if is_plain { "plain-address" } else { "address" };
        let address = if is_consign { fs::read_to_string(dir.join(announced))? } else { server.to_owned() };
        let mut requests = Vec::new();
        for line in fs::read_to_string(dir.join("requests"))?.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [kind, start, end] = words[..] else { return Err(format!("not a request: {line:?}").into()) };
            if kind == size {
                let number = requests.len();
                let [start, end] = [start.parse()?, end.parse()?];
                requests.push(if is_consign { chunks(&path, start, end) } else { file(size, number) });
            }
        }
        if requests.is_empty() {
            Err(format!("nothing of the size {size}").into())
        } else {
            Ok(Self { server: address, requests, tls })
        }
    }

    fn connect(&self) -> Result<Connection> {
        Connection::open(&self.server, self.tls.clone())
    }

    /// Writes each answer into a file of `dir`, named by its number. Answers that are not about `bytes` long are not what is to be measured.
    pub fn save(&self, dir: &Path, bytes: usize) -> Result<()> {
        let mut connection = self.connect()?;
        for (number, request) in self.requests.iter().enumerate() {
            let mut answer = Vec::new();
            connection.ask(request, &mut |part| answer.extend_from_slice(part))?;
            if !(bytes..bytes + bytes / 64).contains(&answer.len()) {
                return Err(format!("an answer of {} bytes where {bytes} and a header were expected", answer.len()).into());
            }
            fs::write(dir.join(number.to_string()), answer)?;
        }
        Ok(())
    }

    /// Asks over `connections` connections, for `time` after all have been answered once.
    pub fn run(&self, connections: usize, time: Duration) -> Result<Done> {
        let barrier = Barrier::new(connections + 1);
        std::thread::scope(|scope| {
            let client = |number: usize| {
                let first = self.requests.len() * number / connections;
                let barrier = &barrier;
                scope.spawn(move || self.client(first, time, barrier))
            };
            let clients: Vec<_> = (0..connections).map(client).collect();
            barrier.wait();
            let begun = Instant::now();
            let mut done = Done { requests: 0, bytes: 0, seconds: 0.0, cipher: String::new() };
            for client in clients {
                let (requests, bytes, cipher) = client.join().map_err(|_| "a client panicked")??;
                done.requests += requests;
                done.bytes += bytes;
                done.cipher = cipher;
            }
            done.seconds = begun.elapsed().as_secs_f64();
            Ok(done)
        })
    }

    /// Asks once for everything that `cold` has, over one connection, after all of this has been asked for once; `connections` others ask for this
    /// meanwhile.
    pub fn run_beside(&self, cold: &Self, connections: usize) -> Result<Mixed> {
        let mut first = self.connect()?;
        self.requests.iter().try_for_each(|request| first.ask(request, &mut |_| ()).map(drop))?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let client = |number: usize| {
                let over = &over;
                scope.spawn(move || self.waits(self.requests.len() * number / connections, over))
            };
            let clients: Vec<_> = (0..connections).map(client).collect();
            let begun = Instant::now();
            let read = cold.connect().and_then(|mut connection| {
                cold.requests.iter().map(|request| connection.ask(request, &mut |_| ())).sum::<Result<u64>>()
            });
            let cold_seconds = begun.elapsed().as_secs_f64();
            over.store(true, Ordering::Relaxed);
            let mut waits = Vec::new();
            for client in clients {
                waits.extend(client.join().map_err(|_| "a client panicked")??);
            }
            waits.sort_unstable();
            Ok(Mixed { cold_bytes: read?, cold_seconds, waits })
        })
    }

    /// Asks until it is `over`; returns how long each answer took.
    fn waits(&self, first: usize, over: &AtomicBool) -> Result<Vec<Duration>> {
        let mut connection = self.connect()?;
        let mut waits = Vec::new();
        for request in self.requests.iter().cycle().skip(first) {
            let begun = Instant::now();
            connection.ask(request, &mut |_| ())?;
            waits.push(begun.elapsed());
            if over.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(waits)
    }

    fn client(&self, first: usize, time: Duration, barrier: &Barrier) -> Result<(u64, u64, String)> {
        let mut next = self.requests.iter().cycle().skip(first);
        let mut ask = |connection: &mut Connection| match next.next() {
            Some(request) => connection.ask(request, &mut |_| ()),
            None => Err("there is nothing to ask".into()),
        };
        // Whoever fails must not keep the others waiting.
        let ready = self.connect().and_then(|mut connection| ask(&mut connection).map(|_| connection));
        barrier.wait();
        let mut connection = ready?;
        let begun = Instant::now();
        let (mut requests, mut bytes) = (0, 0);
        while begun.elapsed() < time {
            bytes += ask(&mut connection)?;
            requests += 1;
        }
        Ok((requests, bytes, connection.cipher()))
    }
}

fn chunks(path: &str, start: u32, end: u32) -> Vec<u8> {
    let ranges = encode(std::slice::from_ref(&(start..end)));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {HUB_SERVER_NAME}\r\nContent-Type: {RANGES_TYPE}\r\nContent-Length: {}\r\n\r\n",
        ranges.len()
    );
    [head.into_bytes(), ranges].concat()
}

fn file(size: &str, number: usize) -> Vec<u8> {
    format!("GET /{size}/{number} HTTP/1.1\r\nHost: {HUB_SERVER_NAME}\r\n\r\n").into_bytes()
}
