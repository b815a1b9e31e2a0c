//! The command line against an admin listener: real sockets, real TLS.

use std::net::SocketAddr;
use std::path::Path;

use axum::Json;
use axum::http::HeaderMap;
use axum::routing::get;

use super::*;
use crate::cli::Exit;
use crate::cli::human::now;
use crate::net::listener::{Limits, Listener};
use crate::protocol::problem::Problem;
use crate::trust::authority::Authority;
use crate::trust::keys::PrivateKey;
use crate::trust::tls::Identity;

#[test]
fn names_are_escaped_in_paths() {
    assert_eq!(path("/v1/admin/packages", &["a b/é", "refresh"]), "/v1/admin/packages/a%20b%2F%C3%A9/refresh");
}

#[test]
fn a_running_hub_says_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let missing = credentials(folder.path()).unwrap_err();
    assert!(missing.to_string().contains("no hub"), "{missing}");
    std::fs::write(folder.path().join(ADMIN_FILE), r#"{"address":"h:1","authority":"","token":"t"}"#).unwrap();
    let stopped = credentials(folder.path()).unwrap_err();
    assert!(stopped.to_string().contains("is not running"), "{stopped}");
    std::fs::write(folder.path().join(RUN_FILE), r#"{"address":"h:2","admin_address":"h:3","pid":1}"#).unwrap();
    assert_eq!(credentials(folder.path()).unwrap().address, "h:3");
    assert_eq!(credentials(&folder.path().join(ADMIN_FILE)).unwrap().address, "h:1");
    std::fs::write(folder.path().join(ADMIN_FILE), "{").unwrap();
    assert!(credentials(folder.path()).is_err());
}

fn authority() -> Authority {
    Authority::create(PrivateKey::generate(), now()).unwrap()
}

/// Serves `router` as the admin listener of a hub of `authority` until the process ends.
fn serve(authority: &Authority, router: axum::Router) -> SocketAddr {
    let key = PrivateKey::generate();
    let certificate = authority.issue_hub(key.public(), now()).unwrap();
    let identity = Identity::new(&certificate, authority.certificate(), &key).unwrap();
    let tls = crate::trust::tls::admin_server_config(&identity).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls, Limits::default()).await.unwrap();
            tell.send(listener.local_addr()).unwrap();
            listener.serve(router, std::future::pending()).await;
        });
    });
    told.recv().unwrap()
}

/// Echoes the token's header at `/ok`, counts one up in a POST to it, and refuses at `/no`.
fn hub(authority: &Authority) -> SocketAddr {
    let token = async |headers: HeaderMap| Json(headers["authorization"].to_str().unwrap().to_owned());
    let refuse = async || Problem::absent("no package \"x\"").hint("list them with `consign package list`");
    let count = async |Json(body): Json<u64>| Json(body + 1);
    serve(authority, axum::Router::new().route("/ok", get(token).post(count)).route("/no", get(refuse)))
}

/// A client of an admin listener that serves `router`.
pub fn client_of(router: axum::Router) -> AdminClient {
    let authority = authority();
    client(tempfile::tempdir().unwrap().path(), serve(&authority, router), &authority)
}

fn client(folder: &Path, address: SocketAddr, authority: &Authority) -> AdminClient {
    let written = AdminCredentials {
        address: address.to_string(),
        authority: authority.certificate_pem().to_owned(),
        token: "secret".to_owned(),
    };
    let file = folder.join("credentials.json");
    std::fs::write(&file, serde_json::to_string(&written).unwrap()).unwrap();
    AdminClient::open(&file).unwrap()
}

#[test]
fn the_token_is_shown_and_a_refusal_keeps_its_hint() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority();
    let client = client(folder.path(), hub(&authority), &authority);
    assert_eq!(client.get::<String>("/ok").unwrap(), "Bearer secret");
    assert_eq!(client.post::<u64, u64>("/ok", &41).unwrap(), 42);
    let refused = client.get::<u64>("/no").unwrap_err();
    assert_eq!(refused.to_string(), "no package \"x\"");
    assert_eq!(refused.next_step(), Some("list them with `consign package list`"));
    assert_eq!(refused.exit(), Exit::Failed);
    assert!(serde_json::to_string(&refused.as_json()).unwrap().contains(r#""code":"not_found""#));
}

#[test]
fn a_hub_of_another_authority_and_an_absent_one_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = client(folder.path(), hub(&authority()), &authority());
    let refused = foreign.get::<u64>("/ok").unwrap_err();
    assert!(refused.next_step().is_some_and(|hint| hint.contains("admin.json")), "{refused}");
    // A port that was bound and is free again: nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let absent = client(folder.path(), closed, &authority()).get::<u64>("/ok").unwrap_err();
    assert!(absent.next_step().is_some_and(|hint| hint.contains("consign hub run")), "{absent}");
}
