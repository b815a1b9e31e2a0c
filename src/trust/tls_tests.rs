//! Handshakes over real sockets, good and hostile.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::SystemTime;

use rustls::{ClientConnection, ServerConnection, Stream};
use uuid::Uuid;

use super::*;
use crate::domain::{MachineId, Millis};
use crate::protocol::hello::Role;
use crate::trust::authority::{Authority, HUB_SERVER_NAME, server_name};

struct Fleet {
    authority: Authority,
    hub: Identity,
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Millis(i64::try_from(since.as_millis()).unwrap())
}

fn fleet() -> Fleet {
    let authority = Authority::create(PrivateKey::generate(), now()).unwrap();
    let key = PrivateKey::generate();
    let pem = authority.issue_hub(key.public(), now()).unwrap();
    let hub = Identity::new(&pem, authority.certificate(), &key).unwrap();
    Fleet { authority, hub }
}

impl Fleet {
    fn member(&self, role: Role, at: Millis) -> (MachineId, PrivateKey, Identity) {
        let (id, key) = (MachineId(Uuid::now_v7()), PrivateKey::generate());
        let pem = self.authority.issue_member(id, role, &key.public().to_spki(), at).unwrap();
        let identity = Identity::new(&pem, self.authority.certificate(), &key).unwrap();
        (id, key, identity)
    }

    fn trust(&self) -> &AuthorityCertificate {
        self.authority.certificate()
    }
}

/// Connects and exchanges a byte; returns the client's error, or the fingerprint of the certificate that the server saw.
fn meet(server: Arc<ServerConfig>, client: Arc<ClientConfig>, name: &str) -> Result<Option<[u8; 32]>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(server).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        let mut byte = [0];
        stream.read_exact(&mut byte).and_then(|()| stream.write_all(&byte)).map_err(|e| e.to_string())?;
        assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        Ok(connection.peer_certificates().map(|chain| key_fingerprint(&chain[0]).unwrap()))
    });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(client, name).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut byte = [0];
    let exchanged = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut byte)).map_err(|e| e.to_string());
    drop(socket);
    let seen: Result<Option<[u8; 32]>, String> = serving.join().unwrap();
    exchanged.and(seen)
}

#[test]
fn members_and_hub_meet_and_the_hub_sees_the_members_key() {
    let fleet = fleet();
    let server = server_config(&fleet.hub, fleet.trust()).unwrap();
    for role in [Role::Agent, Role::SiteServer] {
        let (_, key, identity) = fleet.member(role, now());
        let client = member_client_config(&identity, fleet.trust()).unwrap();
        assert_eq!(meet(Arc::clone(&server), client, HUB_SERVER_NAME), Ok(Some(key.public().fingerprint())));
    }
}

#[test]
fn a_resumed_session_still_carries_the_members_key() {
    let fleet = fleet();
    let server = server_config(&fleet.hub, fleet.trust()).unwrap();
    let (_, key, identity) = fleet.member(Role::Agent, now());
    let client = member_client_config(&identity, fleet.trust()).unwrap();
    for _ in 0..3 {
        let seen = meet(Arc::clone(&server), Arc::clone(&client), HUB_SERVER_NAME);
        assert_eq!(seen, Ok(Some(key.public().fingerprint())));
    }
}

#[test]
fn a_site_server_serves_under_its_own_name_only() {
    let fleet = fleet();
    let (id, _, identity) = fleet.member(Role::SiteServer, now());
    let (_, _, agent) = fleet.member(Role::Agent, now());
    let server = server_config(&identity, fleet.trust()).unwrap();
    let client = member_client_config(&agent, fleet.trust()).unwrap();
    assert!(meet(Arc::clone(&server), Arc::clone(&client), &server_name(id)).is_ok());
    let as_hub = meet(server, client, HUB_SERVER_NAME).unwrap_err();
    assert!(as_hub.contains("not valid for name"), "{as_hub}");
}

#[test]
fn an_agent_cannot_act_as_a_server() {
    let fleet = fleet();
    let (id, _, identity) = fleet.member(Role::Agent, now());
    let server = server_config(&identity, fleet.trust()).unwrap();
    let error = meet(server, admin_client_config(fleet.trust()).unwrap(), &server_name(id)).unwrap_err();
    assert!(error.contains("purpose") || error.contains("EKU") || error.contains("usage"), "{error}");
}

#[test]
fn who_shows_no_certificate_is_let_in_unnamed_and_admins_never_show_one() {
    let fleet = fleet();
    let client = admin_client_config(fleet.trust()).unwrap();
    assert_eq!(meet(server_config(&fleet.hub, fleet.trust()).unwrap(), Arc::clone(&client), HUB_SERVER_NAME), Ok(None));
    assert_eq!(meet(admin_server_config(&fleet.hub).unwrap(), client, HUB_SERVER_NAME), Ok(None));
    let (_, _, identity) = fleet.member(Role::Agent, now());
    let member = member_client_config(&identity, fleet.trust()).unwrap();
    assert_eq!(meet(admin_server_config(&fleet.hub).unwrap(), member, HUB_SERVER_NAME), Ok(None));
}

#[test]
fn a_certificate_of_another_authority_is_refused_on_both_sides() {
    let (ours, theirs) = (fleet(), fleet());
    let (_, _, stranger) = theirs.member(Role::Agent, now());
    // The stranger trusts our hub, but our hub does not know the stranger.
    let client = member_client_config(&stranger, ours.trust()).unwrap();
    assert!(meet(server_config(&ours.hub, ours.trust()).unwrap(), client, HUB_SERVER_NAME).is_err());
    let client = admin_client_config(ours.trust()).unwrap();
    assert!(meet(admin_server_config(&theirs.hub).unwrap(), client, HUB_SERVER_NAME).is_err());
}

#[test]
fn an_expired_certificate_is_refused() {
    let fleet = fleet();
    let (_, _, identity) = fleet.member(Role::Agent, now().plus_secs(-3 * 365 * 86_400));
    let client = member_client_config(&identity, fleet.trust()).unwrap();
    let error = meet(server_config(&fleet.hub, fleet.trust()).unwrap(), client, HUB_SERVER_NAME).unwrap_err();
    assert!(error.to_lowercase().contains("expired"), "{error}");
}

#[test]
fn the_first_contact_trusts_the_digest_and_nobody_else() {
    let (ours, theirs) = (fleet(), fleet());
    let client = first_contact_config(*ours.trust().digest()).unwrap();
    let good = server_config(&ours.hub, ours.trust()).unwrap();
    assert_eq!(meet(good, Arc::clone(&client), HUB_SERVER_NAME), Ok(None));
    let other = server_config(&theirs.hub, theirs.trust()).unwrap();
    assert!(meet(other, client, HUB_SERVER_NAME).unwrap_err().contains("UnknownIssuer"));
}

#[test]
fn the_first_contact_checks_the_name_too() {
    let fleet = fleet();
    let (id, _, identity) = fleet.member(Role::SiteServer, now());
    let client = first_contact_config(*fleet.trust().digest()).unwrap();
    let server = server_config(&identity, fleet.trust()).unwrap();
    assert!(meet(Arc::clone(&server), Arc::clone(&client), HUB_SERVER_NAME).is_err());
    assert_eq!(meet(server, client, &server_name(id)), Ok(None));
}

#[test]
fn a_leaf_of_another_authority_beside_the_right_authority_is_refused() {
    let (ours, theirs) = (fleet(), fleet());
    // Anyone can send our authority's certificate along; it must also have signed the leaf.
    let mixed =
        Identity { chain: vec![theirs.hub.chain[0].clone(), ours.trust().der().clone()], key: theirs.hub.key.clone_key() };
    let client = first_contact_config(*ours.trust().digest()).unwrap();
    assert!(meet(admin_server_config(&mixed).unwrap(), client, HUB_SERVER_NAME).is_err());
}

#[test]
fn a_server_without_the_authority_in_its_chain_is_refused_at_first_contact() {
    let fleet = fleet();
    let short = Identity { chain: vec![fleet.hub.chain[0].clone()], key: fleet.hub.key.clone_key() };
    let client = first_contact_config(*fleet.trust().digest()).unwrap();
    assert!(meet(admin_server_config(&short).unwrap(), client, HUB_SERVER_NAME).is_err());
}

#[test]
fn the_authority_can_certify_no_name_outside_the_fleet() {
    let key = PrivateKey::generate();
    let authority = Authority::create(PrivateKey::from_pem(&key.to_pem()).unwrap(), now()).unwrap();
    // What a thief of the authority's key would try: a name of the public network.
    let pem = authority.issue_for_tests("www.example.com", key.public());
    let identity = Identity::new(&pem, authority.certificate(), &key).unwrap();
    let client = admin_client_config(authority.certificate()).unwrap();
    let error = meet(admin_server_config(&identity).unwrap(), client, "www.example.com").unwrap_err();
    assert!(error.contains("NameConstraint"), "{error}");
}

#[test]
fn an_identity_is_a_certificate_and_its_own_key() {
    let fleet = fleet();
    let pem = fleet.authority.issue_hub(PrivateKey::generate().public(), now()).unwrap();
    let error = Identity::new(&pem, fleet.trust(), &PrivateKey::generate()).unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
}
