//! A man in the middle: passes TCP connections on, and cuts, damages or holds them as it is told.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What happens to a connection. Bytes are counted from its start, in the direction from the server to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is closed after so many bytes.
    Cut(u64),
    /// The byte at this place has a bit flipped.
    Flip(u64),
    /// After so many bytes nothing more comes, and it stays open.
    Stall(u64),
}

impl Fault {
    const fn place(self) -> u64 {
        match self {
            Self::Cut(at) | Self::Flip(at) | Self::Stall(at) => at,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    server: String,
    /// Faults to come: the first connection that reaches the place of the first one meets it.
    armed: Mutex<VecDeque<Fault>>,
    open: Mutex<Vec<TcpStream>>,
    down: AtomicBool,
    met: AtomicU64,
    down_bytes: AtomicU64,
    /// Bytes a second at which a connection passes them down; 0 is as fast as it goes.
    pace: AtomicU64,
}

/// A wire between clients and one server.
#[derive(Debug, Clone)]
pub struct Wire {
    address: String,
    shared: Arc<Shared>,
}

impl Wire {
    /// Starts passing connections on to `server`; it lives as long as the test process.
    pub fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let shared = Arc::new(Shared { server: server.to_owned(), ..Shared::default() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || shared.pass(&client));
            }
        });
        Self { address, shared }
    }

    /// Where clients connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Adds a fault that one connection will meet: the first to reach its place.
    pub fn arm(&self, fault: Fault) {
        lock(&self.shared.armed).push_back(fault);
    }

    /// Closes every connection, and each new one at once.
    pub fn fail(&self) {
        self.shared.down.store(true, Ordering::SeqCst);
        self.sever();
    }

    /// Closes every connection; new ones are passed on.
    pub fn sever(&self) {
        for stream in lock(&self.shared.open).drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Passes at most so many bytes a second down each connection from now on.
    pub fn pace(&self, bytes_per_second: u64) {
        self.shared.pace.store(bytes_per_second, Ordering::SeqCst);
    }

    /// How many faults were met so far.
    pub fn met(&self) -> u64 {
        self.shared.met.load(Ordering::SeqCst)
    }

    /// How many bytes went from the server to clients so far.
    pub fn down_bytes(&self) -> u64 {
        self.shared.down_bytes.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn pass(&self, client: &TcpStream) {
        if self.down.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        let clones = [client.try_clone(), client.try_clone(), server.try_clone(), server.try_clone()];
        let [Ok(up_from), Ok(known_client), Ok(up_to), Ok(known_server)] = clones else { return };
        lock(&self.open).extend([known_client, known_server]);
        let up = std::thread::spawn(move || {
            let (mut from, mut to) = (&up_from, &up_to);
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
        self.pass_down(&server, client);
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
        let _ = up.join();
    }

    /// Takes the fault whose turn it is if its place is one of these bytes.
    fn met_within(&self, bytes: Range<u64>) -> Option<Fault> {
        let mut armed = lock(&self.armed);
        let fault = armed.front().copied().filter(|fault| bytes.contains(&fault.place()))?;
        armed.pop_front();
        self.met.fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }

    /// Passes bytes from the server to the client until one of them ends or a fault ends it.
    fn pass_down(&self, mut server: &TcpStream, mut client: &TcpStream) {
        let mut passed = 0_u64;
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            let end = passed + count as u64;
            let fault = self.met_within(passed..end);
            let place = fault.map(|fault| usize::try_from(fault.place() - passed).expect("in the buffer"));
            if let (Some(Fault::Flip(_)), Some(at)) = (fault, place) {
                buffer[at] ^= 0x10;
            }
            let ends = matches!(fault, Some(Fault::Cut(_) | Fault::Stall(_)));
            let part = &buffer[..place.filter(|_| ends).unwrap_or(count)];
            if client.write_all(part).is_err() {
                return;
            }
            self.down_bytes.fetch_add(part.len() as u64, Ordering::SeqCst);
            if let Some(Fault::Stall(_)) = fault {
                stall(client);
            }
            if ends {
                return;
            }
            passed = end;
            if let Some(micros) = (count as u64 * 1_000_000).checked_div(self.pace.load(Ordering::SeqCst)) {
                std::thread::sleep(Duration::from_micros(micros));
            }
        }
    }
}

/// Holds a connection until the client leaves.
fn stall(client: &TcpStream) {
    let mut byte = [0];
    // The other thread takes what the client sends; here only its leaving is looked for.
    while client.peek(&mut byte).is_ok_and(|count| count > 0) {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("no panic holds it")
}
