//! The join string: all a machine needs for a first contact that is already authenticated.
//!
//! ```text
//! "consign1:" base64url( count u8 | count × (length u8, "host:port") | token 32 | authority 32 | trust root 32 | check 4 )
//! ```
//! `check` is the start of BLAKE3 over what precedes it: it tells a typing error apart from a wrong token.

use std::fmt;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::trust::error::{Error, Result};

/// The environment variable that may hold a join string.
pub const JOIN_VARIABLE: &str = "CONSIGN_JOIN";
/// Most addresses in a join string.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address, bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Longest join string, bytes.
pub const JOIN_BYTES_MAX: u64 = 4096;

const PREFIX: &str = "consign1:";
const CHECK_BYTES: usize = 4;

/// The secret that allows joining; the hub stores only its [`Token::digest`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// Makes a new token from the system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`Error::Join`] if it is no token.
    pub fn from_text(text: &str) -> Result<Self> {
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).unwrap_or_default());
        bytes.as_slice().try_into().map(Self).map_err(|_| Error::Join("holds no token"))
    }

    /// Writes the text form: base64url without padding, 43 characters.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0))
    }

    /// SHA-256 of the 32 bytes: what the hub stores and looks up.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// Where to join, with what secret, and whom to trust there.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinString {
    addresses: Vec<String>,
    token: Token,
    authority: [u8; 32],
    trust_root: [u8; 32],
}

impl JoinString {
    /// Builds a join string: the hub's `host:port` addresses in order of preference, the token, SHA-256 of the authority's
    /// `SubjectPublicKeyInfo`, and SHA-256 of the TUF root metadata of version 1.
    ///
    /// # Errors
    /// [`Error::Join`] if there is no address, more than [`ADDRESSES_MAX`], or one that is not `host:port`.
    pub fn new(addresses: Vec<String>, token: Token, authority: [u8; 32], trust_root: [u8; 32]) -> Result<Self> {
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(Error::Join("must name 1 to 8 addresses of the hub"));
        }
        if !addresses.iter().all(|address| is_address(address)) {
            return Err(Error::Join("names an address that is not host:port"));
        }
        Ok(Self { addresses, token, authority, trust_root })
    }

    /// Reads the text form; white space around it is ignored.
    ///
    /// # Errors
    /// [`Error::Join`] naming what is wrong; the text itself never appears in it.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.len() as u64 > JOIN_BYTES_MAX {
            return Err(Error::Join("is too long"));
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(Error::Join("does not start with consign1:, so it is no join string"))?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Error::Join("is damaged (not base64url)"))?;
        let bytes = Zeroizing::new(bytes);
        let (content, check) =
            bytes.len().checked_sub(CHECK_BYTES).map(|at| bytes.split_at(at)).ok_or(Error::Join("is cut short"))?;
        if check != checksum(content) {
            return Err(Error::Join("is damaged (a character was changed or lost on the way)"));
        }
        let mut rest = content;
        let [count] = take(&mut rest)?;
        let mut addresses = Vec::with_capacity(ADDRESSES_MAX);
        for _ in 0..usize::from(count).min(ADDRESSES_MAX + 1) {
            let [length] = take(&mut rest)?;
            let (address, after) = rest.split_at_checked(length.into()).ok_or(Error::Join("is cut short"))?;
            addresses.push(String::from_utf8(address.to_vec()).map_err(|_| Error::Join("names an address that is no text"))?);
            rest = after;
        }
        let join = Self::new(addresses, Token(take(&mut rest)?), take(&mut rest)?, take(&mut rest)?)?;
        if rest.is_empty() { Ok(join) } else { Err(Error::Join("is followed by something else")) }
    }

    /// Writes the text form; it is a secret.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the lengths were checked when it was built")]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![u8::try_from(self.addresses.len()).expect("at most ADDRESSES_MAX addresses")]);
        for address in &self.addresses {
            bytes.push(u8::try_from(address.len()).expect("at most ADDRESS_BYTES_MAX bytes"));
            bytes.extend_from_slice(address.as_bytes());
        }
        for part in [&self.token.0, &self.authority, &self.trust_root] {
            bytes.extend_from_slice(part);
        }
        let check = checksum(&bytes);
        bytes.extend_from_slice(&check);
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*bytes)))
    }

    /// Reads a join string from a file, from standard input (`-`), or without a path from the environment variable
    /// [`JOIN_VARIABLE`]: a secret has no place among arguments, where every process can see it.
    ///
    /// # Errors
    /// [`Error::Io`] if the source cannot be read, [`Error::Join`] if there is none or it is not usable.
    pub fn read(path: Option<&Path>) -> Result<Self> {
        let mut text = Zeroizing::new(String::new());
        let mut fill = |source: &mut dyn Read, name: &Path| {
            source
                .take(JOIN_BYTES_MAX + 1)
                .read_to_string(&mut text)
                .map(drop)
                .map_err(Error::io("read the join string from", name))
        };
        match path {
            Some(path) if path == Path::new("-") => fill(&mut std::io::stdin().lock(), Path::new("standard input"))?,
            Some(path) => fill(&mut std::fs::File::open(path).map_err(Error::io("open", path))?, path)?,
            None => {
                let value = std::env::var(JOIN_VARIABLE);
                text = Zeroizing::new(value.map_err(|_| {
                    Error::Join("was not given: name a file that holds it, - for standard input, or set CONSIGN_JOIN")
                })?);
            }
        }
        Self::parse(&text)
    }

    /// The hub's addresses, best first.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The secret to show.
    #[must_use]
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// SHA-256 of the authority's `SubjectPublicKeyInfo`.
    #[must_use]
    pub const fn authority(&self) -> &[u8; 32] {
        &self.authority
    }

    /// SHA-256 of the first TUF root metadata.
    #[must_use]
    pub const fn trust_root(&self) -> &[u8; 32] {
        &self.trust_root
    }
}

impl fmt::Debug for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinString({}, redacted)", self.addresses.join(", "))
    }
}

impl fmt::Display for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "join string for {} (secret not shown)", self.addresses.join(", "))
    }
}

fn checksum(content: &[u8]) -> [u8; CHECK_BYTES] {
    let [a, b, c, d, ..] = *blake3::hash(content).as_bytes();
    [a, b, c, d]
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (head, after) = rest.split_first_chunk().ok_or(Error::Join("is cut short"))?;
    *rest = after;
    Ok(*head)
}

/// Says whether `text` is `host:port`: a name, an IPv4 address or an IPv6 address in brackets, and a port from 1.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_good = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    let port_good = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    text.len() <= ADDRESS_BYTES_MAX && host_good && port_good
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> JoinString {
        let addresses = vec!["hub.example.com:8470".to_owned(), "[2001:db8::1]:8470".to_owned(), "10.0.0.1:8470".to_owned()];
        JoinString::new(addresses, Token([7; 32]), [8; 32], [9; 32]).unwrap()
    }

    fn why(text: &str) -> String {
        JoinString::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_text_form_is_fixed() {
        let join = JoinString::new(vec!["h:1".to_owned()], Token([1; 32]), [2; 32], [3; 32]).unwrap();
        let golden = "consign1:AQNoOjEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAwMDAwMD\
                      AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMgIG6B";
        assert_eq!(*join.to_text(), golden);
        assert_eq!(JoinString::parse(&join.to_text()).unwrap(), join);
    }

    #[test]
    fn it_round_trips_with_white_space_around_it() {
        let text = format!("  {}\r\n", *sample().to_text());
        assert_eq!(JoinString::parse(&text).unwrap(), sample());
    }

    #[test]
    fn every_changed_character_is_told_apart_from_a_wrong_token() {
        let text = sample().to_text();
        for at in PREFIX.len()..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let message = why(std::str::from_utf8(&bytes).unwrap());
            assert!(message.contains("damaged") && message.contains("consign machine invite"), "{at}: {message}");
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let text = sample().to_text();
        for end in 0..text.len() {
            assert!(JoinString::parse(&text[..end]).is_err(), "cut at {end} accepted");
        }
    }

    #[test]
    fn garbage_is_refused_with_a_reason() {
        assert!(why("hello").contains("does not start with consign1:"));
        assert!(why("consign1:!!").contains("damaged"));
        assert!(why("consign1:").contains("cut short"));
        assert!(why(&format!("consign1:{}", "A".repeat(5000))).contains("too long"));
    }

    #[test]
    fn too_many_addresses_and_trailing_bytes_are_refused_even_with_a_right_checksum() {
        let encode = |mut content: Vec<u8>| {
            let check = checksum(&content);
            content.extend_from_slice(&check);
            format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(content))
        };
        let mut many = vec![200];
        (0..200).for_each(|_| many.extend_from_slice(b"\x03h:1"));
        many.extend_from_slice(&[0; 96]);
        assert!(why(&encode(many)).contains("1 to 8 addresses"));
        let mut long = b"\x01\x03h:1".to_vec();
        long.extend_from_slice(&[0; 97]);
        assert!(why(&encode(long)).contains("followed by"));
        assert!(why(&encode(b"\x01\xffh:1".to_vec())).contains("cut short"));
    }

    #[test]
    fn addresses_are_host_and_port() {
        for good in ["h:1", "hub.example.com:8470", "10.1.2.3:65535", "[::1]:80"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "h", "h:", ":1", "h:0", "h:65536", "h:+1", "::1:80", "[::1:80", "[x]:80", "h/x:80", "u@h:80", "h h:80"] {
            assert!(!is_address(bad), "{bad}");
        }
        assert!(JoinString::new(vec![], Token([0; 32]), [0; 32], [0; 32]).is_err());
    }

    #[test]
    fn the_secret_is_in_neither_debug_nor_display_output() {
        let token = sample().token().to_text();
        for shown in [format!("{:?}", sample()), sample().to_string(), format!("{:?}", sample().token())] {
            assert!(!shown.contains(&token[..8]) && !shown.contains("consign1:"), "{shown}");
        }
    }

    #[test]
    fn it_is_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("join");
        std::fs::write(&path, format!("{}\n", *sample().to_text())).unwrap();
        assert_eq!(JoinString::read(Some(&path)).unwrap(), sample());
        let absent = JoinString::read(Some(&folder.path().join("absent"))).unwrap_err();
        assert!(absent.to_string().contains("absent"), "{absent}");
    }

    #[test]
    fn a_token_round_trips_and_its_digest_is_of_its_bytes() {
        let token = Token::generate();
        assert_eq!(Token::from_text(&token.to_text()).unwrap(), token);
        assert_eq!(token.digest().as_slice(), Sha256::digest(token.0).as_slice());
        assert!(Token::from_text("short").is_err());
    }
}
