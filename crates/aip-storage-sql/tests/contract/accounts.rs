//! The contract of what is shown of accounts.

use aip_storage::account::Account;

use crate::world::{NOW, SECOND, World, alice, bob, origin};

super::on_both_engines!(an_account_is_what_was_proved_last);

async fn an_account_is_what_was_proved_last(world: World) {
    let first = new_account();
    let moved = Account {
        handle: None,
        pds: origin("https://other.example"),
        proven_at: NOW + SECOND,
        ..first.clone()
    };
    assert_eq!(world.storage.account(&first.did).await.unwrap(), None);

    for account in [first, moved] {
        world.storage.put_account(&account).await.unwrap();
        assert_eq!(
            world.storage.account(&account.did).await.unwrap(),
            Some(account)
        );
    }
    assert_eq!(world.storage.account(&bob()).await.unwrap(), None);
}

fn new_account() -> Account {
    Account {
        did: alice(),
        handle: Some("alice.example.com".parse().unwrap()),
        pds: origin("https://pds.example"),
        proven_at: NOW,
    }
}
