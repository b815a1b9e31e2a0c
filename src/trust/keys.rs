//! Ed25519 keys and the files they live in.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::trust::error::{Error, Result};

/// Longest key file, bytes.
const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;
/// What stands before the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A secret Ed25519 key; wiped from memory when dropped, never printed.
pub struct PrivateKey {
    key: SigningKey,
    public: PublicKey,
}

impl PrivateKey {
    /// Makes a new key from the system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self::of(SigningKey::generate(&mut rand::rng()))
    }

    /// Makes the key of a fixed seed, for golden files.
    #[cfg(test)]
    pub(crate) fn of_seed(seed: u8) -> Self {
        Self::of(SigningKey::from_bytes(&[seed; 32]))
    }

    /// Reads a PKCS#8 PEM text.
    ///
    /// # Errors
    /// [`Error::Key`] if it is no Ed25519 key.
    pub fn from_pem(pem: &str) -> Result<Self> {
        SigningKey::from_pkcs8_pem(pem).map(Self::of).map_err(|e| Error::Key {
            what: "the private key".to_owned(),
            why: format!("it is no Ed25519 key in PKCS#8 PEM ({e}); restore it from a backup"),
        })
    }

    /// Writes PKCS#8 PEM.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a key of fixed length always has an encoding")]
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.key.to_pkcs8_pem(LineEnding::LF).expect("a key of fixed length always has an encoding")
    }

    /// Writes PKCS#8 DER, for TLS.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a key of fixed length always has an encoding")]
    pub fn to_pkcs8(&self) -> PrivatePkcs8KeyDer<'static> {
        let der = self.key.to_pkcs8_der().expect("a key of fixed length always has an encoding");
        PrivatePkcs8KeyDer::from(der.as_bytes().to_vec())
    }

    /// Stores the key in a new file that only its owner can read; durable on return, an existing file is never replaced.
    ///
    /// # Errors
    /// [`Error::Io`] if the file exists or cannot be written; then nothing is left behind.
    pub fn create_file(&self, path: &Path) -> Result<()> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A named temporary file is created exclusively and, on Unix, with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io("create a file in", folder))?;
        file.write_all(self.to_pem().as_bytes()).map_err(Error::io("write", path))?;
        file.as_file().sync_all().map_err(Error::io("sync", path))?;
        file.persist_noclobber(path).map_err(|e| Error::io("create", path)(e.error))?;
        #[cfg(unix)]
        File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io("sync", folder))?;
        Ok(())
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Key`] if others may read it or it holds no Ed25519 key.
    pub fn read_file(path: &Path) -> Result<Self> {
        let refuse = |why: &str| Error::Key { what: format!("key file {}", path.display()), why: why.to_owned() };
        let file = File::open(path).map_err(Error::io("open", path))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = file.metadata().map_err(Error::io("read", path))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(refuse("others than its owner can read or write it; make it private with chmod 600"));
            }
        }
        let mut pem = Zeroizing::new(String::new());
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut pem).map_err(Error::io("read", path))?;
        Self::from_pem(&pem).map_err(|_| refuse("it is no Ed25519 key in PKCS#8 PEM; restore it from a backup"))
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// The key that others check with.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    fn of(key: SigningKey) -> Self {
        let public = PublicKey(key.verifying_key());
        Self { key, public }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {:?})", self.public)
    }
}

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads 32 bytes; `None` if they are no usable point.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak()).map(Self)
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Key`] if they are no public key.
    pub fn from_hex(text: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok().and_then(|()| Self::from_bytes(&bytes)).ok_or_else(|| Error::Key {
            what: "the public key".to_owned(),
            why: "it is not 64 hexadecimal digits of an Ed25519 key".to_owned(),
        })
    }

    /// Reads a `SubjectPublicKeyInfo` in DER.
    ///
    /// # Errors
    /// [`Error::Key`] if it is no Ed25519 key.
    pub fn from_spki(der: &[u8]) -> Result<Self> {
        let key = VerifyingKey::from_public_key_der(der).ok().filter(|key| !key.is_weak());
        key.map(Self).ok_or_else(|| Error::Key {
            what: "the public key".to_owned(),
            why: "it is no Ed25519 key as SubjectPublicKeyInfo".to_owned(),
        })
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The 64 hexadecimal digits of the key.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// The key as `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], self.as_bytes()].concat()
    }

    /// SHA-256 of [`PublicKey::to_spki`]: the same as [`super::key_fingerprint`] of a certificate of this key.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.to_spki()).into()
    }

    /// Says whether `signature` is this key's over `message`; strict, so that no second signature of the same bytes is valid.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}…)", hex::encode(&self.as_bytes()[..6]))
    }
}

impl rcgen::PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(Self::sign(self, message).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_private_durable_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let key = PrivateKey::generate();
        key.create_file(&path).unwrap();
        assert_eq!(PrivateKey::read_file(&path).unwrap().public(), key.public());
        assert!(matches!(PrivateKey::generate().create_file(&path), Err(Error::Io { .. })));
        assert_eq!(PrivateKey::read_file(&path).unwrap().public(), key.public());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a refused key left a file behind");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        PrivateKey::generate().create_file(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = PrivateKey::read_file(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains("root.key"), "{error}");
    }

    #[test]
    fn a_damaged_key_file_is_refused_without_its_content_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let key = PrivateKey::generate();
        key.create_file(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("PRIVATE", "PRIVATF")).unwrap();
        let error = format!("{:?}", PrivateKey::read_file(&path).unwrap_err());
        let secret = text.lines().nth(1).unwrap();
        assert!(!error.contains(secret), "{error}");
    }

    #[test]
    fn a_secret_is_not_in_debug_output() {
        let key = PrivateKey::generate();
        let shown = format!("{key:?}");
        assert!(!shown.contains(&hex::encode(key.key.to_bytes())[..12]), "{shown}");
    }

    #[test]
    fn a_signature_binds_key_and_message() {
        let key = PrivateKey::generate();
        let signature = key.sign(b"message");
        assert!(key.public().verify(b"message", &signature));
        assert!(!key.public().verify(b"messagE", &signature));
        assert!(!PrivateKey::generate().public().verify(b"message", &signature));
    }

    #[test]
    fn public_keys_round_trip_and_weak_ones_are_refused() {
        let key = *PrivateKey::generate().public();
        assert_eq!(PublicKey::from_hex(&key.to_hex()).unwrap(), key);
        assert_eq!(PublicKey::from_spki(&key.to_spki()).unwrap(), key);
        assert!(PublicKey::from_spki(&key.to_spki()[1..]).is_err());
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(PublicKey::from_bytes(&identity).is_none());
    }
}
