//! A blocking HTTP client that does as little as it can: its work is the same against every server, and it shares the processors with them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use consign::trust::authority::HUB_SERVER_NAME;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Result;

/// Bytes read at once, from the socket and of an answer.
const BUFFER_BYTES: usize = 256 << 10;
/// Longest silence of a server.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A keep-alive connection.
pub struct Connection(BufReader<Transport>);

/// What carries it.
enum Transport {
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
    Plain(Socket),
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.read(buffer),
            Self::Plain(socket) => socket.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.write(bytes),
            Self::Plain(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            Self::Plain(socket) => socket.flush(),
        }
    }
}

/// A socket read through a buffer: the TLS library asks for a few KiB at a time.
struct Socket {
    read: BufReader<TcpStream>,
    write: TcpStream,
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.read.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.write.flush()
    }
}

/// Makes settings that trust the authority (PEM) and offer one cipher, so that every server uses the same.
pub fn settings(authority: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

impl Connection {
    /// Connects, over TLS where there are settings for it; the handshake happens with the first request.
    pub fn open(server: &str, tls: Option<Arc<ClientConfig>>) -> Result<Self> {
        let write = TcpStream::connect(server)?;
        write.set_nodelay(true)?;
        write.set_read_timeout(Some(SILENCE_MAX))?;
        let read = BufReader::with_capacity(BUFFER_BYTES, write.try_clone()?);
        let socket = Socket { read, write };
        let transport = match tls {
            Some(tls) => {
                let name = ServerName::try_from(HUB_SERVER_NAME)?;
                Transport::Tls(Box::new(StreamOwned::new(ClientConnection::new(tls, name)?, socket)))
            }
            None => Transport::Plain(socket),
        };
        Ok(Self(BufReader::with_capacity(BUFFER_BYTES, transport)))
    }

    /// Names the cipher in use.
    pub fn cipher(&self) -> String {
        let suite = match self.0.get_ref() {
            Transport::Tls(stream) => stream.conn.negotiated_cipher_suite(),
            Transport::Plain(_) => None,
        };
        suite.map_or_else(|| "no TLS".to_owned(), |suite| format!("{:?}", suite.suite()))
    }

    /// Sends a request and gives the whole body of its answer to `take`; returns the body's length.
    pub fn ask(&mut self, request: &[u8], take: &mut impl FnMut(&[u8])) -> Result<u64> {
        self.0.get_mut().write_all(request)?;
        let status = self.line()?;
        if !status.starts_with("HTTP/1.1 200") {
            return Err(format!("the server answered {status:?}").into());
        }
        let (mut len, mut chunked) = (None, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            chunked |= line.starts_with("transfer-encoding:") && line.ends_with("chunked");
            if let Some(text) = line.strip_prefix("content-length:") {
                len = Some(text.trim().parse()?);
            }
        }
        match len {
            Some(len) => self.body(len, take),
            None if chunked => self.chunks(take),
            None => Err("the answer has no length".into()),
        }
    }

    fn chunks(&mut self, take: &mut impl FnMut(&[u8])) -> Result<u64> {
        let mut total = 0;
        loop {
            let len = u64::from_str_radix(&self.line()?, 16)?;
            total += self.body(len, take)?;
            self.line()?;
            if len == 0 {
                return Ok(total);
            }
        }
    }

    fn body(&mut self, len: u64, take: &mut impl FnMut(&[u8])) -> Result<u64> {
        let mut left = len;
        while left > 0 {
            let bytes = self.0.fill_buf()?;
            let now = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if now == 0 {
                return Err(format!("the answer ends {left} bytes early").into());
            }
            take(&bytes[..now]);
            self.0.consume(now);
            left -= now as u64;
        }
        Ok(len)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        if !line.ends_with("\r\n") {
            return Err("the connection ended within an answer".into());
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }
}
