//! The fleet's certificate authority and the certificates of its members.
//!
//! A certificate says who a machine is and whether it may act as a server; what it may do is looked up by its key.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyUsagePurpose,
    NameConstraints, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};

use crate::domain::{MachineId, Millis};
use crate::protocol::hello::Role;
use crate::trust::error::{Error, Result};
use crate::trust::keys::{PrivateKey, PublicKey};

/// The name in the hub's certificate.
pub const HUB_SERVER_NAME: &str = "hub.consign";

/// All names that the authority may certify end in this.
const NAME_SUFFIX: &str = "consign";
const AUTHORITY_VALID_SECS: i64 = 20 * 365 * 86_400;
const MEMBER_VALID_SECS: i64 = 2 * 365 * 86_400;
/// Certificates begin this much earlier, for machines whose clock is behind.
const CLOCK_BEHIND_SECS: i64 = 3600;

/// The name in the certificate of a site server or an agent, to be asked for when connecting to it.
#[must_use]
pub fn server_name(id: MachineId) -> String {
    format!("{id}.{NAME_SUFFIX}")
}

/// SHA-256 of the certificate's `SubjectPublicKeyInfo`: what rights are looked up by.
///
/// # Errors
/// [`Error::Certificate`] if it is no X.509 certificate.
pub fn key_fingerprint(certificate: &CertificateDer<'_>) -> Result<[u8; 32]> {
    let parsed = ParsedCertificate::try_from(certificate).map_err(cannot("read a certificate"))?;
    Ok(Sha256::digest(parsed.subject_public_key_info().as_ref()).into())
}

/// The certificate of a fleet's authority: what every member trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    der: CertificateDer<'static>,
    digest: [u8; 32],
}

impl AuthorityCertificate {
    /// Reads a PEM text.
    ///
    /// # Errors
    /// [`Error::Certificate`] if it holds no certificate.
    pub fn from_pem(pem: &str) -> Result<Self> {
        Self::from_der(CertificateDer::from_pem_slice(pem.as_bytes()).map_err(cannot("read the authority's certificate"))?)
    }

    /// Takes DER.
    ///
    /// # Errors
    /// [`Error::Certificate`] if it is no certificate.
    pub fn from_der(der: CertificateDer<'static>) -> Result<Self> {
        let digest = key_fingerprint(&der)?;
        Ok(Self { der, digest })
    }

    /// The certificate's DER.
    #[must_use]
    pub const fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of its `SubjectPublicKeyInfo`: what a join string carries.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// A store of trusted authorities with this one in it.
    pub(crate) fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(cannot("trust the authority's certificate"))?;
        Ok(roots)
    }
}

/// The fleet's certificate authority: its key and certificate.
#[derive(Debug)]
pub struct Authority {
    key: PrivateKey,
    pem: String,
    certificate: AuthorityCertificate,
}

impl Authority {
    /// Makes the certificate of a new authority, valid for 20 years from `now`.
    ///
    /// # Errors
    /// [`Error::Certificate`] if it cannot be made.
    pub fn create(key: PrivateKey, now: Millis) -> Result<Self> {
        let mut params = authority_params(&key);
        set_validity(&mut params, now, AUTHORITY_VALID_SECS);
        let made = params.self_signed(&key).map_err(cannot("make the authority's certificate"))?;
        Self::open(key, &made.pem())
    }

    /// Takes an existing authority's key and certificate.
    ///
    /// # Errors
    /// [`Error::Certificate`] if the text is no certificate or of another key.
    pub fn open(key: PrivateKey, pem: &str) -> Result<Self> {
        let certificate = AuthorityCertificate::from_pem(pem)?;
        if *certificate.digest() != key.public().fingerprint() {
            let why = "its key is another one; restore key and certificate from the same backup".to_owned();
            return Err(Error::Certificate { operation: "use the authority's certificate", why });
        }
        Ok(Self { key, pem: pem.to_owned(), certificate })
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// Certifies the hub's key for [`HUB_SERVER_NAME`]; returns PEM.
    ///
    /// # Errors
    /// [`Error::Certificate`] if it cannot be made.
    pub fn issue_hub(&self, key: &PublicKey, now: Millis) -> Result<String> {
        self.issue(HUB_SERVER_NAME, Role::Hub, key, now)
    }

    /// Certifies a machine's key (`SubjectPublicKeyInfo` DER) for [`server_name`] of its id; returns PEM. Only a site server's
    /// certificate is good for serving.
    ///
    /// # Errors
    /// [`Error::Key`] if the key is no Ed25519 key, [`Error::Certificate`] if the certificate cannot be made or the role is the hub's.
    pub fn issue_member(&self, id: MachineId, role: Role, spki: &[u8], now: Millis) -> Result<String> {
        if role == Role::Hub {
            let why = "a machine cannot be the hub".to_owned();
            return Err(Error::Certificate { operation: "make a machine's certificate", why });
        }
        self.issue(&server_name(id), role, &PublicKey::from_spki(spki)?, now)
    }

    /// Certifies any name, as a thief of the key could.
    #[cfg(test)]
    pub(crate) fn issue_for_tests(&self, name: &str, key: &PublicKey) -> String {
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        self.issue(name, Role::SiteServer, key, Millis(now)).unwrap()
    }

    fn issue(&self, name: &str, role: Role, key: &PublicKey, now: Millis) -> Result<String> {
        let mut params = CertificateParams::default();
        set_validity(&mut params, now, MEMBER_VALID_SECS);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(random_serial());
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(cannot("make a machine's certificate"))?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match role {
            Role::Hub | Role::SiteServer => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Role::Agent => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let issuer_params = authority_params(&self.key);
        let issuer = Issuer::from_params(&issuer_params, &self.key);
        params.signed_by(key, &issuer).map(|made| made.pem()).map_err(cannot("make a machine's certificate"))
    }
}

/// What the authority's certificate says apart from its validity; follows from the key alone, so that the issuer of later certificates
/// is the subject of the stored one.
fn authority_params(key: &PrivateKey) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Consign authority {}", hex::encode(&key.public().fingerprint()[..8])));
    params.serial_number = Some(random_serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(NAME_SUFFIX.to_owned())],
        excluded_subtrees: Vec::new(),
    });
    params
}

fn set_validity(params: &mut CertificateParams, now: Millis, secs: i64) {
    let at = |time: Millis| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(u64::try_from(time.0).unwrap_or_default());
    params.not_before = at(now.plus_secs(-CLOCK_BEHIND_SECS));
    params.not_after = at(now.plus_secs(secs));
}

fn random_serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    // Positive and of full length, as X.509 wants it.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn cannot<E: ToString>(operation: &'static str) -> impl FnOnce(E) -> Error {
    move |e| Error::Certificate { operation, why: e.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_795_000_000_000);

    #[test]
    fn the_fingerprint_of_a_certificate_is_the_fingerprint_of_its_key() {
        let authority = Authority::create(PrivateKey::generate(), NOW).unwrap();
        assert_eq!(*authority.certificate().digest(), authority.key.public().fingerprint());
        let key = PrivateKey::generate();
        let id = MachineId(uuid::Uuid::now_v7());
        let pem = authority.issue_member(id, Role::Agent, &key.public().to_spki(), NOW).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(key_fingerprint(&der).unwrap(), key.public().fingerprint());
    }

    #[test]
    fn an_authority_is_opened_with_its_own_key_only() {
        let authority = Authority::create(PrivateKey::generate(), NOW).unwrap();
        let same = PrivateKey::from_pem(&authority.key.to_pem()).unwrap();
        assert!(Authority::open(same, authority.certificate_pem()).is_ok());
        let error = Authority::open(PrivateKey::generate(), authority.certificate_pem()).unwrap_err();
        assert!(error.to_string().contains("same backup"), "{error}");
    }

    #[test]
    fn no_machine_is_certified_as_the_hub_and_no_odd_key_at_all() {
        let authority = Authority::create(PrivateKey::generate(), NOW).unwrap();
        let id = MachineId(uuid::Uuid::now_v7());
        let spki = PrivateKey::generate().public().to_spki();
        assert!(matches!(authority.issue_member(id, Role::Hub, &spki, NOW), Err(Error::Certificate { .. })));
        assert!(matches!(authority.issue_member(id, Role::Agent, &spki[..40], NOW), Err(Error::Key { .. })));
    }

    #[test]
    fn two_certificates_of_one_key_have_two_serial_numbers() {
        let authority = Authority::create(PrivateKey::generate(), NOW).unwrap();
        let key = PrivateKey::generate();
        assert_ne!(authority.issue_hub(key.public(), NOW).unwrap(), authority.issue_hub(key.public(), NOW).unwrap());
    }

    #[test]
    fn garbage_is_no_certificate() {
        assert!(AuthorityCertificate::from_pem("hello").is_err());
        assert!(key_fingerprint(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])).is_err());
    }
}
