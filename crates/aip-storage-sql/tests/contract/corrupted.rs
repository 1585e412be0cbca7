//! A row that no version of this program writes: it alone is out of use, and everybody else goes
//! on.

use aip_storage::StorageError;
use aip_storage::grant::RevokeReason;
use aip_storage::upstream::EndReason;

use crate::world::{DAY, HOUR, NOW, World, alice, bob};

super::on_both_engines!(
    a_client_that_cannot_be_read_takes_no_other_with_it,
    a_grant_that_cannot_be_read_hides_no_other_and_still_ends,
    a_grant_that_does_not_say_its_session_does_not_stop_the_clean_up,
    a_session_that_cannot_be_read_does_not_keep_others_from_being_revoked,
);

async fn a_client_that_cannot_be_read_takes_no_other_with_it(world: World) {
    let (good, bad) = (world.client("good").await, world.client("bad").await);
    world
        .raw("UPDATE clients SET redirect_uris = 'nonsense' WHERE id = 'bad'")
        .await;

    let listed = world.storage.list_clients().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, good);
    let refused = world.storage.client(&bad).await;
    assert!(
        matches!(&refused, Err(StorageError::Inconsistent { table: "clients", row, .. }) if row == "bad"),
        "{refused:?}"
    );
}

async fn a_grant_that_cannot_be_read_hides_no_other_and_still_ends(world: World) {
    let client = world.client("app").await;
    let (bad, tokens) = world.redeemed(&client, &alice()).await;
    let (good, _) = world.redeemed(&client, &alice()).await;
    world
        .raw(format!(
            "UPDATE grants SET scope = '\"', upstream_session = 'none' WHERE id = '{}'",
            bad.id
        ))
        .await;

    let listed = world.storage.grants_of(&alice()).await.unwrap();
    assert_eq!(listed.iter().map(|it| it.id).collect::<Vec<_>>(), [good.id]);
    let revoke = world
        .storage
        .revoke_grant(bad.id, RevokeReason::ByPerson, NOW);
    revoke.await.unwrap();
    let token = world.storage.access_token(&tokens.access, NOW).await;
    assert!(token.unwrap().is_none());
}

async fn a_grant_that_does_not_say_its_session_does_not_stop_the_clean_up(world: World) {
    let client = world.client("app").await;
    let (bad, _) = world.redeemed(&client, &alice()).await;
    world.redeemed(&client, &bob()).await;
    world
        .raw(format!(
            "UPDATE grants SET upstream_session = 'none' WHERE id = '{}'",
            bad.id
        ))
        .await;
    let later = NOW + 40 * DAY;

    let ended = world.storage.end_expired_grants(later - HOUR, later, 10);
    assert_eq!(ended.await.unwrap(), 2);
}

async fn a_session_that_cannot_be_read_does_not_keep_others_from_being_revoked(world: World) {
    let client = world.client("app").await;
    let bad = world.session(&client, &alice()).await.id;
    let good = world.session(&client, &bob()).await.id;
    for id in [bad, good] {
        let end = world
            .storage
            .end_unused_session(id, EndReason::Abandoned, NOW);
        assert!(end.await.unwrap());
    }
    world
        .raw(format!(
            "UPDATE upstream_sessions SET pds = 'nowhere' WHERE id = '{bad}'"
        ))
        .await;

    let due = world.storage.claim_revocations(NOW, NOW + HOUR, 10).await;
    let due: Vec<_> = due.unwrap().iter().map(|it| it.session.id).collect();
    assert_eq!(due, [good]);
}
