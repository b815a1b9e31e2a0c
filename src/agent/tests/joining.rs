//! Joining: once, again, refused, and with a hub that is not the one of the join string.

use super::world::World;
use crate::net::member::{Error, Member, read_config};
use crate::protocol::hello::Role;
use crate::trust::JoinString;

#[tokio::test]
async fn a_refused_join_leaves_no_member_and_the_next_try_is_the_same_machine() {
    let world = World::unjoined().await;
    *world.hub_refuses.lock().unwrap() = true;
    let error = world.join().await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    assert!(matches!(Member::open(&world.agent_dir(), Role::Agent), Err(Error::NotJoined { .. })));
    let key = std::fs::read(world.agent_dir().join("key.pem")).unwrap();
    let joining = std::fs::read_to_string(world.agent_dir().join("joining.json")).unwrap();

    *world.hub_refuses.lock().unwrap() = false;
    let joined = world.join().await.unwrap();
    assert!(!joined.already);
    assert!(joining.contains(&joined.config.id.to_string()));
    assert_eq!(std::fs::read(world.agent_dir().join("key.pem")).unwrap(), key);
    assert!(!world.agent_dir().join("joining.json").exists());
}

#[tokio::test]
async fn joining_again_changes_nothing_and_another_role_is_refused() {
    let world = World::new().await;
    let first = read_config(&world.agent_dir()).unwrap().unwrap();
    let again = world.join().await.unwrap();
    assert!(again.already);
    assert_eq!(again.config, first);
    assert!(matches!(Member::open(&world.agent_dir(), Role::SiteServer), Err(Error::Other { .. })));
}

#[tokio::test]
async fn the_join_string_decides_whom_to_trust() {
    let mut world = World::unjoined().await;
    let join =
        |authority, root| JoinString::new(world.join.addresses().to_vec(), world.join.token().clone(), authority, root).unwrap();
    let other_root = join(*world.join.authority(), [7; 32]);
    let other_authority = join([7; 32], *world.join.trust_root());
    world.join = other_root;
    assert!(matches!(world.join().await, Err(Error::Refused(why)) if why.contains("trust root")));
    world.join = other_authority;
    assert!(matches!(world.join().await, Err(Error::Net(crate::net::Error::Tls { .. }))));
    assert_eq!(read_config(&world.agent_dir()).unwrap(), None);
}
