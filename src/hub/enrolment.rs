//! Enrolment: a machine shows a token and a key and becomes a member; and the join strings that carry tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::Hub;
use super::error::Result;
use crate::catalog::{AdminWrite, Enrol};
use crate::domain::SiteId;
use crate::net::clock;
use crate::protocol::admin::{Invite, Invited};
use crate::protocol::enrol::{EnrolRequest, EnrolResponse};
use crate::protocol::fleet::Endpoint;
use crate::protocol::hello::ProtocolRange;
use crate::protocol::problem::Problem;
use crate::protocol::signed::Signed;
use crate::trust::{JoinString, PublicKey, Token};

/// The first root metadata: what a join string's digest names.
pub(super) const FIRST_ROOT_FILE: &str = "1.root.json";

impl Hub {
    /// Makes a member of the fleet; a repeated request with the same id and key gets the same answer.
    pub(super) async fn enrol(&self, request: EnrolRequest, address: std::net::IpAddr) -> Result<EnrolResponse, Problem> {
        if ProtocolRange::OURS.common(request.protocol).is_none() {
            let detail = format!("the hub speaks protocols {:?} and the machine {:?}", ProtocolRange::OURS, request.protocol);
            return Err(Problem::new(426, "protocol", detail).hint("upgrade the older of the two"));
        }
        let token = Token::from_text(&request.token).map_err(super::Error::from)?;
        let spki =
            STANDARD.decode(&request.public_key).map_err(|_| Problem::new(422, "wrong_key", "the public key is not base64"))?;
        let key = PublicKey::from_spki(&spki).map_err(super::Error::from)?;
        let now = clock::now();
        let certificate = self.signing.issue(request.id, request.role, &spki, now)?;
        let enrol = Enrol {
            token_sha256: token.digest(),
            id: request.id,
            role: request.role,
            name: request.name,
            key: key.fingerprint(),
            certificate,
            capabilities: request.capabilities,
            address: request.address,
            addresses: vec![address],
            now,
        };
        let machine = self.catalog.enrol(enrol).await?.machine;
        Ok(EnrolResponse {
            id: machine.id,
            site: machine.site,
            certificate: machine.certificate,
            authority: self.signing.authority().certificate_pem().to_owned(),
            trust_root: self.first_root().await?,
            fleet_key: self.signing.fleet_key(),
            site_map: self.signed_site_map(machine.site).await?,
        })
    }

    /// Makes a join string.
    pub(super) async fn invite(&self, write: AdminWrite, invite: Invite) -> Result<Invited> {
        let token = Token::generate();
        let uses = invite.uses;
        let digest = token.digest();
        let root: [u8; 32] = Sha256::digest(self.first_root().await?).into();
        let authority = *self.signing.authority().certificate().digest();
        let join = JoinString::new(vec![self.addresses.fleet.clone()], token, authority, root)?;
        let expires = self.catalog.add_invite(write, invite, digest).await?;
        Ok(Invited { join: join.to_text().to_string(), expires, uses })
    }

    async fn first_root(&self) -> Result<String> {
        let bytes = self.catalog.tuf_file(FIRST_ROOT_FILE).await?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Which servers serve a site now, signed.
    pub(super) async fn signed_site_map(&self, site: SiteId) -> Result<Signed> {
        let (revision, map) = self.catalog.site_map(site, self.endpoint()).await?;
        self.signing.site_map(site, &map, revision, clock::now())
    }

    /// The hub as machines reach it.
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint { id: None, address: self.addresses.fleet.clone() }
    }
}
