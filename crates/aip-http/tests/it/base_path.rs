//! AIP below a path of a host that it shares with others, behind a proxy that takes the path away and
//! behind one that does not.

use axum::body::Body;
use http::Request;

use crate::support::{World, param};

const BASE: &str = "https://aip.example/sign-in";
const PATH: &str = "/sign-in";

#[tokio::test]
async fn the_metadata_is_where_each_specification_has_it_and_names_the_path() {
    let world = World::at(BASE).await;
    let expected = world.get("/.well-known/openid-configuration").await.json();
    assert_eq!(expected["issuer"], BASE);
    assert_eq!(expected["token_endpoint"], format!("{BASE}/oauth/token"));
    let mut count = 0;
    for (name, value) in expected.as_object().unwrap() {
        if !name.ends_with("_endpoint") && !name.ends_with("_uri") {
            continue;
        }
        let path = value.as_str().unwrap().strip_prefix(BASE).unwrap();
        for path in [path.to_owned(), format!("{PATH}{path}")] {
            assert_ne!(world.get(&path).await.status, 404, "{path}");
        }
        count += 1;
    }
    assert_eq!(count, 9);
    for path in [
        // OpenID Connect Discovery 1.0 §4.
        "/sign-in/.well-known/openid-configuration",
        // RFC 8414 §3.1, and as clients know it from OpenID (§5).
        "/.well-known/oauth-authorization-server/sign-in",
        "/sign-in/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration/sign-in",
    ] {
        assert_eq!(world.get(path).await.json(), expected, "{path}");
    }
    // RFC 9728 §3.1, and where §5.1 sends whoever was refused.
    let inserted = "/.well-known/oauth-protected-resource/sign-in";
    for path in [inserted, "/sign-in/.well-known/oauth-protected-resource"] {
        let document = world.get(path).await.json();
        assert_eq!(document["resource"], BASE, "{path}");
        assert_eq!(document["authorization_servers"][0], BASE, "{path}");
    }
    let refused = world.get("/sign-in/oauth/userinfo").await;
    assert_eq!(refused.status, 401);
    let challenge = refused.joined("www-authenticate");
    let named = format!("resource_metadata=\"https://aip.example{inserted}\"");
    assert!(challenge.contains(&named), "{challenge}");
}

#[tokio::test]
async fn pages_lead_to_pages_below_the_path() {
    let world = World::at(BASE).await;
    for asked in [
        "/sign-in",
        "/sign-in/",
        "/",
        "/sign-in/login",
        "/login",
        "/sign-in/device",
    ] {
        let mut browser = world.browser();
        let page = browser.get(asked).await;
        let page = if page.status.is_redirection() {
            let location = page.location();
            assert!(location.starts_with("/sign-in/"), "{asked}: {location}");
            browser.get(&location).await
        } else {
            page
        };
        assert_eq!(page.status, 200, "{asked}: {}", page.body);
        let links: Vec<_> = ["href=\"", "action=\"", "src=\""]
            .iter()
            .flat_map(|it| page.body.split(it).skip(1))
            .map(|rest| rest.split('"').next().unwrap())
            .filter(|it| it.starts_with('/'))
            .collect();
        assert!(!links.is_empty(), "{asked}");
        for link in links {
            assert!(link.starts_with("/sign-in/"), "{asked}: {link}");
            assert_ne!(world.get(link).await.status, 404, "{asked}: {link}");
        }
        if let Some(length) = page.headers.get("content-length") {
            assert_eq!(length.to_str().unwrap(), page.body.len().to_string());
        }
    }
}

#[tokio::test]
async fn a_form_arrives_with_the_path_and_without_it() {
    let world = World::at(BASE).await;
    let app = world.app().await;
    for before in ["", PATH] {
        let mut browser = world.browser();
        let sent = browser
            .get(&format!("{before}{}", app.authorize_url(&[])))
            .await;
        let page = if sent.status.is_redirection() {
            browser.get(&sent.location()).await
        } else {
            sent
        };
        // What somebody wrote is shown as it was.
        let words = "<a href=\"/oauth/token\"> action=\"/x\"";
        let answer = browser.submit_login(&page, words).await;
        let form = "<form id=\"login\" method=\"post\" action=\"/sign-in/login\">";
        assert!(answer.body.contains(form), "{}", answer.body);
        let shown = "href=&#34;/oauth/token&#34;&#62; action=&#34;/x&#34;";
        assert!(answer.body.contains(shown), "{}", answer.body);
    }
    // An answer to the app is sent to the app.
    let refused = world
        .get(&format!(
            "{PATH}{}",
            app.authorize_url(&[("scope", "no-such")])
        ))
        .await;
    let location = refused.location();
    assert!(
        location.starts_with("https://app.example/callback?"),
        "{location}"
    );
    assert_eq!(param(&location, "iss").as_deref(), Some(BASE));
}

#[tokio::test]
async fn a_page_under_another_loopback_name_leads_to_the_one_below_the_path() {
    let base = "http://127.0.0.1:8080/aip";
    let world = World::at(base).await;
    for host in ["localhost:8080", "[::1]:8080"] {
        for (asked, expected) in [
            ("/login?x=1", "/login?x=1"),
            ("/aip/login?x=1", "/login?x=1"),
            ("/aip/device", "/device"),
            ("/aip", "/"),
        ] {
            let request = Request::get(asked).header("host", host);
            let answer = world.send(request.body(Body::empty()).unwrap()).await;
            let expected = format!("{base}{expected}");
            assert_eq!(answer.location(), expected, "{host} {asked}");
        }
    }
}

#[tokio::test]
async fn nothing_else_is_there() {
    let world = World::at(BASE).await;
    for path in [
        "/sign-inlogin",
        "/sign-in/sign-in/login",
        "/Sign-In/login",
        "/other/login",
        "/login/sign-in",
        "/sign-in//login",
        "/.well-known/oauth-authorization-server/other",
        "/.well-known/jwks.json/sign-in",
    ] {
        assert_eq!(world.get(path).await.status, 404, "{path}");
    }
    // Below `/xrpc` it is said in the words of XRPC.
    for path in ["/xrpc/a/b", "/sign-in/xrpc/a/b"] {
        let missing = world.get(path).await;
        assert_eq!(
            (missing.status.as_u16(), &missing.json()["error"]),
            (404, &"XRPCNotSupported".into()),
            "{path}"
        );
    }
    // A host of one's own has no such second address.
    let world = World::new().await;
    for path in [
        "/sign-in/login",
        "/.well-known/oauth-authorization-server/sign-in",
    ] {
        assert_eq!(world.get(path).await.status, 404, "{path}");
    }
    let page = world.get("/login").await;
    assert!(page.body.contains("action=\"/login\""), "{}", page.body);
}
