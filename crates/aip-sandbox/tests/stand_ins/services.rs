//! What is not OAuth: the directory, handles, records, files, other services.

use aip_atproto::DidDocument;
use aip_base::DnsTxt as _;
use aip_jose::UnverifiedJws;
use aip_sandbox::{Mint, Sandbox};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::client::{Body, Client, new_key, sandbox};

async fn get(sandbox: &Sandbox, url: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    use aip_base::{Http as _, Limits};
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Bytes::new()).unwrap();
    let fetched = sandbox.http.fetch(request, Limits::DOCUMENT).await.unwrap();
    (
        fetched.status,
        String::from_utf8(fetched.body.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn the_directory_serves_the_documents_of_its_accounts() {
    let (sandbox, _) = sandbox().await;
    let alice = &sandbox.accounts.alice;
    let url = format!("{}/{}", sandbox.plc.origin(), alice.did);
    let (status, body) = get(&sandbox, &url, &[]).await;
    assert_eq!(status, StatusCode::OK);
    let document = DidDocument::parse(body.as_bytes()).unwrap();
    assert_eq!(document.handle().unwrap().as_str(), "alice.test");
    assert_eq!(
        document.pds_endpoint().unwrap().as_str(),
        sandbox.pds.origin()
    );
    assert!(document.signing_key().is_some());
    assert!(body.contains("Multikey"));
    let stranger = format!("{}/did:plc:nobody", sandbox.plc.origin());
    assert_eq!(get(&sandbox, &stranger, &[]).await.0, StatusCode::NOT_FOUND);
    sandbox.plc.next().is_unavailable();
    assert_eq!(
        get(&sandbox, &url, &[]).await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(sandbox.plc.requests().len(), 3);
    sandbox.finish().unwrap();
}

#[tokio::test]
async fn accounts_opened_at_once_are_accounts_like_others() {
    let (sandbox, clock) = sandbox().await;
    let handles = ["one.test", "two.test"].map(|handle| handle.parse().unwrap());
    let people = sandbox.pds.add_accounts(&handles, "same-pass").unwrap();
    let client = Client::loopback(&sandbox.pds, &clock, "atproto");
    for (person, handle) in people.iter().zip(&handles) {
        let (_, tokens) = client.sign_in(person).await;
        assert_eq!(tokens.text("sub"), person.did.as_str());
        assert_eq!(person.handle, *handle);
        assert!(sandbox.plc.document(&person.did).is_some());
    }
    assert_ne!(people[0].did, people[1].did);
}

#[tokio::test]
async fn handles_resolve_by_host_by_xrpc_and_by_dns() {
    let (sandbox, _) = sandbox().await;
    let did = sandbox.accounts.alice.did.as_str();
    let url = format!("{}/.well-known/atproto-did", sandbox.pds.origin());
    for host in ["alice.test", "ALICE.test:2583"] {
        assert_eq!(
            get(&sandbox, &url, &[("host", host)]).await,
            (StatusCode::OK, did.to_owned())
        );
    }
    assert_eq!(
        get(&sandbox, &url, &[("host", "nobody.test")]).await.0,
        StatusCode::NOT_FOUND
    );

    let url = format!(
        "{}/xrpc/com.atproto.identity.resolveHandle",
        sandbox.pds.origin()
    );
    let (_, body) = get(&sandbox, &format!("{url}?handle=alice.test"), &[]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({ "did": did })
    );
    let (status, body) = get(&sandbox, &format!("{url}?handle=nobody.test"), &[]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("InvalidRequest"));

    assert_eq!(
        sandbox.dns.txt("_atproto.alice.test").await.unwrap(),
        [format!("did={did}")]
    );
}

#[tokio::test]
async fn records_and_files_can_be_written_read_and_removed() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, "atproto transition:generic");
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let token = Some(tokens.text("access_token"));
    let mut uris = Vec::new();
    for text in ["one", "two", "three"] {
        let made = client.post_text(&session.key, &tokens, text).await;
        uris.push(made.text("uri").to_owned());
    }
    let origin = sandbox.pds.origin();
    let repo = "repo=alice.test&collection=app.bsky.feed.post";
    let url = format!("{origin}/xrpc/com.atproto.repo.listRecords?{repo}&limit=2");
    let (_, page) = get(&sandbox, &url, &[]).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["records"][0]["uri"], uris[2].as_str());
    assert_eq!(page["records"].as_array().unwrap().len(), 2);
    let next = format!("{url}&cursor={}", page["cursor"].as_str().unwrap());
    let (_, page) = get(&sandbox, &next, &[]).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["records"][0]["uri"], uris[0].as_str());

    let rkey = uris[0].rsplit('/').next().unwrap();
    let delete = json!({
        "repo": tokens.text("sub"), "collection": "app.bsky.feed.post", "rkey": rkey,
    });
    let delete_url = format!("{origin}/xrpc/com.atproto.repo.deleteRecord");
    client
        .dpop(
            &session.key,
            Method::POST,
            &delete_url,
            token,
            &Body::Json(&delete),
        )
        .await
        .unwrap();
    let record = format!("{origin}/xrpc/com.atproto.repo.getRecord?{repo}&rkey={rkey}");
    let (status, body) = get(&sandbox, &record, &[]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("RecordNotFound"));

    let upload = format!("{origin}/xrpc/com.atproto.repo.uploadBlob");
    let picture = Body::Bytes("image/png", b"not really a picture");
    let made = client
        .dpop(&session.key, Method::POST, &upload, token, &picture)
        .await
        .unwrap();
    assert_eq!(made.body["blob"]["size"], 20);
    let cid = made.body["blob"]["ref"]["$link"].as_str().unwrap();
    let blob = format!(
        "{origin}/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}",
        tokens.text("sub")
    );
    assert_eq!(get(&sandbox, &blob, &[]).await.1, "not really a picture");
}

#[tokio::test]
async fn a_batch_takes_effect_as_a_whole_or_not_at_all() {
    const RKEY: &str = "3jzfcijpj2z2a";
    let (sandbox, clock) = sandbox().await;
    let scope = "atproto repo:app.bsky.feed.post?action=create";
    let client = Client::loopback(&sandbox.pds, &clock, scope);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let write = |action: &str| {
        json!({
            "$type": format!("com.atproto.repo.applyWrites#{action}"),
            "collection": "app.bsky.feed.post", "rkey": RKEY,
            "value": { "text": action, "createdAt": "2026-01-01T00:00:00Z" },
        })
    };
    let apply = async |writes: Vec<Value>| {
        let url = format!("{}/xrpc/com.atproto.repo.applyWrites", client.resource);
        let token = Some(tokens.text("access_token"));
        let input = json!({ "repo": tokens.text("sub"), "writes": writes });
        client
            .dpop(&session.key, Method::POST, &url, token, &Body::Json(&input))
            .await
            .unwrap()
    };
    let record = format!(
        "{}/xrpc/com.atproto.repo.getRecord?repo=alice.test&collection=app.bsky.feed.post&rkey={RKEY}",
        client.resource
    );
    let refused = apply(vec![write("create"), write("delete")]).await;
    assert_eq!(
        (refused.status.as_u16(), refused.error().1),
        (403, "ScopeMissingError")
    );
    assert_eq!(get(&sandbox, &record, &[]).await.0, StatusCode::BAD_REQUEST);
    let done = apply(vec![write("create")]).await;
    let created = "com.atproto.repo.applyWrites#createResult";
    assert_eq!(done.body["results"][0]["$type"], created);
    assert_eq!(done.body["results"].as_array().unwrap().len(), 1);
    assert_eq!(get(&sandbox, &record, &[]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn nobody_writes_into_the_repository_of_somebody_else() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, "atproto transition:generic");
    let (session, mut tokens) = client.sign_in(&sandbox.accounts.alice).await;
    tokens.body["sub"] = json!(sandbox.accounts.bob.did.as_str());
    let answer = client.post_text(&session.key, &tokens, "not mine").await;
    assert_eq!(
        (answer.status.as_u16(), answer.error().1),
        (401, "AuthenticationRequired")
    );
}

#[tokio::test]
async fn service_tokens_are_signed_by_the_account_and_bound_to_granted_methods() {
    let (sandbox, clock) = sandbox().await;
    let audience = "did:web:api.bsky.app%23bsky_appview";
    let scope = format!("atproto rpc:app.bsky.feed.getTimeline?aud={audience}");
    let client = Client::loopback(&sandbox.pds, &clock, &scope);
    let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
    let ask = async |query: &str| {
        let url = format!(
            "{}/xrpc/com.atproto.server.getServiceAuth?{query}",
            client.resource
        );
        let token = Some(tokens.text("access_token"));
        client
            .dpop(&session.key, Method::GET, &url, token, &Body::None)
            .await
            .unwrap()
    };
    let answer = ask(&format!("aud={audience}&lxm=app.bsky.feed.getTimeline")).await;
    let jws = UnverifiedJws::parse(answer.text("token")).unwrap();
    let claims: Value = jws.unverified_claims().unwrap();
    assert_eq!(claims["iss"], tokens.text("sub"));
    assert_eq!(claims["aud"], "did:web:api.bsky.app#bsky_appview");
    assert_eq!(claims["lxm"], "app.bsky.feed.getTimeline");
    let document = sandbox.plc.document(&sandbox.accounts.alice.did).unwrap();
    let key = document["verificationMethod"][0]["publicKeyMultibase"]
        .as_str()
        .unwrap();
    let key = aip_jose::PublicJwk::from_multikey(key).unwrap();
    jws.verify(&key, key.alg()).unwrap();

    let table = [
        ("lxm=app.bsky.feed.getAuthorFeed", "ScopeMissingError"),
        ("lxm=com.atproto.server.getSession", "InvalidRequest"),
        ("lxm=app.bsky.feed.getTimeline&exp=1", "BadExpiration"),
    ];
    for (query, error) in table {
        let answer = ask(&format!("aud={audience}&{query}")).await;
        assert_eq!(answer.error().1, error, "{query}");
    }
}

#[tokio::test]
async fn proxied_calls_need_the_scope_of_the_method() {
    let (sandbox, clock) = sandbox().await;
    let service = "did:web:api.bsky.app#bsky_appview";
    for (scope, status) in [
        ("atproto", 403),
        ("atproto rpc:app.bsky.feed.getTimeline?aud=*", 200),
    ] {
        let client = Client::loopback(&sandbox.pds, &clock, scope);
        let (session, tokens) = client.sign_in(&sandbox.accounts.alice).await;
        let token = tokens.text("access_token");
        let url = format!("{}/xrpc/app.bsky.feed.getTimeline", client.resource);
        // The first call only fetches a nonce.
        let view = client.get_session(&session.key, token).await;
        let nonce = view.headers["dpop-nonce"].to_str().unwrap();
        let proof = aip_jose::dpop::Proof {
            htm: "GET",
            htu: &url,
            nonce: Some(nonce),
            access_token: Some(token),
        };
        let now = aip_base::Clock::now(&*clock);
        let proof = proof.make(&session.key, &aip_base::SystemRng, now).unwrap();
        let headers = [
            ("authorization", format!("DPoP {token}")),
            ("dpop", proof),
            ("atproto-proxy", service.to_owned()),
        ];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let (actual, body) = get(&sandbox, &url, &headers).await;
        assert_eq!(actual.as_u16(), status, "{body}");
    }
}

#[tokio::test]
async fn minted_sessions_are_as_good_as_signed_in_ones() {
    let (sandbox, clock) = sandbox().await;
    let client = Client::loopback(&sandbox.pds, &clock, "atproto");
    let key = new_key();
    let jkt = key.public().thumbprint();
    let mint = Mint {
        did: &sandbox.accounts.alice.did,
        client_id: &client.id,
        client_key: None,
        scope: "atproto",
        dpop_key: &jkt,
    };
    let minted = sandbox.pds.mint_session(&mint);
    let view = client.get_session(&key, &minted.access_token).await;
    assert_eq!(view.text("handle"), "alice.test");
    let answer = client.refresh(&key, &minted.refresh_token).await;
    assert_eq!(answer.text("sub"), sandbox.accounts.alice.did.as_str());
    for _ in 0..1_000 {
        sandbox.pds.mint_session(&mint);
    }
    assert_eq!(
        sandbox.pds.live_sessions(&sandbox.accounts.alice.did),
        1_001
    );
}
