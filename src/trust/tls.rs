//! TLS settings of every role: TLS 1.3 only, one crypto provider, HTTP/1.1, the fleet's own authority.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};

use crate::trust::authority::{AuthorityCertificate, key_fingerprint};
use crate::trust::error::{Error, Result};
use crate::trust::keys::PrivateKey;

/// Most certificates in a chain that is looked at.
const CHAIN_MAX: usize = 4;
const PROTOCOL: &[u8] = b"http/1.1";

/// A member's certificate with its chain up to the authority, and its key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// Puts a certificate (PEM), the authority that issued it and the key together. The authority is part of the chain because a
    /// machine that joins knows only the authority's digest.
    ///
    /// # Errors
    /// [`Error::Certificate`] if the text is no certificate or it is another key's.
    pub fn new(certificate_pem: &str, authority: &AuthorityCertificate, key: &PrivateKey) -> Result<Self> {
        let refuse = |why: String| Error::Certificate { operation: "use this machine's certificate", why };
        let leaf = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|e| refuse(e.to_string()))?;
        if key_fingerprint(&leaf)? != key.public().fingerprint() {
            return Err(refuse("it is another key's; join again".to_owned()));
        }
        Ok(Self { chain: vec![leaf, authority.der().clone()], key: key.to_pkcs8() })
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), PrivateKeyDer::Pkcs8(self.key.clone_key()))
    }
}

/// Settings of the fleet's listener at hub and site servers: client certificates are asked for, and checked against the authority when
/// shown; who shows none may greet and enrol.
///
/// # Errors
/// [`Error::Tls`] or [`Error::Certificate`] if identity or authority cannot be used.
pub fn server_config(identity: &Identity, authority: &AuthorityCertificate) -> Result<Arc<ServerConfig>> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| Error::Certificate { operation: "check client certificates", why: e.to_string() })?;
    listener(identity, verifier, "server")
}

/// Settings of the admins' listener: no client certificates, admins show tokens.
///
/// # Errors
/// [`Error::Tls`] if the identity cannot be used.
pub fn admin_server_config(identity: &Identity) -> Result<Arc<ServerConfig>> {
    listener(identity, WebPkiClientVerifier::no_client_auth(), "admin server")
}

/// Settings of a member that connects to hub or site server and shows its certificate.
///
/// # Errors
/// [`Error::Tls`] or [`Error::Certificate`] if identity or authority cannot be used.
pub fn member_client_config(identity: &Identity, authority: &AuthorityCertificate) -> Result<Arc<ClientConfig>> {
    let role = "member";
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(cannot(role))?
        .with_root_certificates(authority.roots()?);
    let (chain, key) = identity.parts();
    Ok(client(builder.with_client_auth_cert(chain, key).map_err(cannot(role))?))
}

/// Settings of an admin's command line, which knows the authority and shows a token instead of a certificate.
///
/// # Errors
/// [`Error::Tls`] or [`Error::Certificate`] if the authority cannot be used.
pub fn admin_client_config(authority: &AuthorityCertificate) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(cannot("admin"))?
        .with_root_certificates(authority.roots()?);
    Ok(client(builder.with_no_client_auth()))
}

/// Settings of a machine that joins: it trusts the authority whose key has the digest of the join string, and nobody else.
///
/// # Errors
/// [`Error::Tls`] if the provider cannot do TLS 1.3.
pub fn first_contact_config(authority_digest: [u8; 32]) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(cannot("joining machine"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(FirstContact { authority_digest, provider: provider() }));
    Ok(client(builder.with_no_client_auth()))
}

fn listener(identity: &Identity, verifier: Arc<dyn ClientCertVerifier>, role: &'static str) -> Result<Arc<ServerConfig>> {
    let (chain, key) = identity.parts();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(cannot(role))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(cannot(role))?;
    // Tickets let a machine that comes back skip the signatures; rights are looked up by key at each request all the same.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(cannot(role))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

fn client(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Arc::new(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn cannot(role: &'static str) -> impl FnOnce(rustls::Error) -> Error {
    move |source| Error::Tls { role, source }
}

/// Accepts only a server whose chain holds the authority with the known digest, and then only as that authority's rules allow.
#[derive(Debug)]
struct FirstContact {
    authority_digest: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for FirstContact {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let authority = intermediates
            .iter()
            .take(CHAIN_MAX)
            .find(|candidate| key_fingerprint(candidate).is_ok_and(|digest| digest == self.authority_digest))
            .ok_or_else(unknown)?;
        let authority = AuthorityCertificate::from_der(authority.clone().into_owned()).map_err(|_| unknown())?;
        let roots = authority.roots().map_err(|_| unknown())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|_| unknown())?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
