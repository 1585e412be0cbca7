//! What every answer carries, and which methods are taken.

use std::sync::atomic::Ordering;

use aip_http::{Cors, Endpoint, Verb};
use axum::body::Body;
use http::{Method, Request};
use strum::IntoEnumIterator as _;

use crate::support::{ALICE_HANDLE, Answer, World, form_request};

/// A path of the endpoint that can be asked for.
fn path(endpoint: Endpoint) -> String {
    endpoint
        .spec()
        .path
        .replace("{nsid}", "com.atproto.repo.getRecord")
        .replace("{file}", "nothing.css")
        .replace("{id}", "nobody")
}

async fn send(world: &World, method: &Method, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    world.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn other_methods_get_405_with_the_right_ones() {
    let world = World::new().await;
    for endpoint in Endpoint::iter() {
        let verbs = endpoint.spec().verbs;
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW",
        ] {
            let taken = match method {
                "GET" | "HEAD" => verbs.contains(&Verb::Get),
                "POST" => verbs.contains(&Verb::Post),
                "PUT" => verbs.contains(&Verb::Put),
                "DELETE" => verbs.contains(&Verb::Delete),
                _ => false,
            };
            let method: Method = method.parse().unwrap();
            let answer = send(&world, &method, &path(endpoint)).await;
            assert_eq!(answer.status != 405, taken, "{endpoint:?} {method}");
            if !taken {
                let allow = answer.header("allow");
                assert!(allow.ends_with("OPTIONS"), "{endpoint:?}: {allow}");
                assert!(!allow.contains(method.as_str()), "{endpoint:?}: {allow}");
            }
        }
    }
}

#[tokio::test]
async fn a_header_or_parameter_does_not_change_the_method() {
    let world = World::new().await;
    let request =
        Request::get("/oauth/token?_method=POST").header("x-http-method-override", "POST");
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn a_form_larger_than_64_kib_is_413_and_another_type_is_400() {
    let world = World::new().await;
    let large = "x".repeat(64 * 1024);
    for path in [
        "/oauth/token",
        "/oauth/authorize",
        "/login",
        "/oauth/userinfo",
    ] {
        let answer = world.post(path, &[("a", &large)]).await;
        assert_eq!(answer.status, 413, "{path}");
        let mut request = form_request(path, &[("a", "b")], &[]);
        let json = "application/json".parse().unwrap();
        request.headers_mut().insert("content-type", json);
        assert_eq!(world.send(request).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn preflights_are_answered_where_scripts_may_come() {
    let world = World::new().await;
    for endpoint in Endpoint::iter() {
        let request = Request::options(path(endpoint))
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST");
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 204, "{endpoint:?}");
        let origin = answer.header("access-control-allow-origin");
        let open = endpoint.spec().cors == Cors::AnyOrigin;
        assert_eq!(origin == "*", open, "{endpoint:?}: {origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
        let allowed = answer.header("access-control-allow-headers");
        assert_eq!(allowed.contains("DPoP"), open, "{endpoint:?}: {allowed}");
        assert_eq!(allowed.contains("Authorization"), open, "{endpoint:?}");
    }
}

#[tokio::test]
async fn scripts_may_read_what_dpop_needs_even_from_errors() {
    let world = World::new().await;
    let answer = world.post("/oauth/token", &[]).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let exposed = answer.header("access-control-expose-headers");
    assert!(exposed.contains("DPoP-Nonce") && exposed.contains("WWW-Authenticate"));
    for page in ["/oauth/authorize", "/login", "/consent", "/account"] {
        let answer = world.get(page).await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{page}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let world = World::new().await;
    let paths = Endpoint::iter().map(path).collect::<Vec<_>>();
    for path in paths.iter().map(String::as_str).chain(["/nowhere"]) {
        let answer = world.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("x-request-id").len(), 12, "{path}");
        assert!(
            answer
                .header("strict-transport-security")
                .contains("max-age"),
            "{path}"
        );
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
}

#[tokio::test]
async fn pages_and_errors_are_kept_by_nobody() {
    let world = World::new().await;
    for path in [
        "/",
        "/login",
        "/account",
        "/oauth/authorize",
        "/oauth/userinfo",
        "/nowhere",
        "/static/nothing.css",
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}

#[tokio::test]
async fn the_cookie_is_host_only_over_tls_and_plain_on_loopback() {
    let world = World::new().await;
    let answer = world.get("/login").await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-aip-flow-"), "{cookie}");
    assert!(cookie.contains("=aip_bs_"), "{cookie}");
    for attribute in ["; Path=/;", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");

    let loopback = World::at("http://127.0.0.1:8080").await;
    let answer = loopback.get("/login").await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("aip-flow-"), "{cookie}");
    assert!(!cookie.contains("Secure"), "{cookie}");
    assert_eq!(answer.header("strict-transport-security"), "");
}

#[tokio::test]
async fn a_browser_is_left_with_a_few_cookies_of_sign_ins_however_many_it_sends() {
    let world = World::new().await;
    let cookies: Vec<_> = (0..40)
        .map(|n| format!("__Host-aip-flow-{n}=aip_bs_{n}"))
        .collect();
    let request = Request::get("/login").header("cookie", cookies.join("; "));
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    let removed = answer.joined("set-cookie").matches("Max-Age=0").count();
    assert_eq!(removed, 35);
    assert!(
        !answer.joined("set-cookie").contains("-flow-39="),
        "the latest stay"
    );
}

#[tokio::test]
async fn a_head_has_no_effect_and_is_answered_like_a_get_where_that_has_none() {
    let world = World::new().await;
    let app = world.app().await;
    // Nobody's PDS is asked: there is no network here.
    let authorize = app.authorize_url(&[("login_hint", ALICE_HANDLE)]);
    for path in [authorize.as_str(), "/login", "/account", "/oauth/logout"] {
        let answer = send(&world, &Method::HEAD, path).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, ""), "{path}");
        assert_eq!(answer.header("set-cookie"), "", "{path}");
    }
    for path in ["/", "/.well-known/jwks.json", "/internal/alive"] {
        let answer = send(&world, &Method::HEAD, path).await;
        let get = world.get(path).await;
        assert_eq!(answer.status, get.status, "{path}");
        assert_eq!(answer.header("content-type"), get.header("content-type"));
    }
}

#[tokio::test]
async fn a_page_under_another_loopback_name_leads_to_the_base_and_nowhere_else() {
    let world = World::at("http://127.0.0.1:8080").await;
    let get = async |host: &str, path: &str| {
        let request = Request::get(path).header("host", host);
        world.send(request.body(Body::empty()).unwrap()).await
    };
    for host in [
        "localhost:8080",
        "[::1]:8080",
        "aip.localhost:8080",
        "127.0.0.2:8080",
    ] {
        let answer = get(host, "/login?x=1").await;
        assert_eq!(
            answer.location(),
            "http://127.0.0.1:8080/login?x=1",
            "{host}"
        );
        assert_eq!(
            get(host, "/.well-known/jwks.json").await.status,
            200,
            "{host}"
        );
    }
    let answer = get("localhost:8080", "//evil.example/").await;
    assert_eq!(answer.status, 404);
    for host in [
        "127.0.0.1:8080",
        "evil.example:8080",
        "localhost:9090",
        "evil@x",
    ] {
        assert_eq!(get(host, "/login").await.status, 200, "{host}");
    }
    let mut form = form_request("/login", &[("subject", "x")], &[]);
    form.headers_mut()
        .insert("host", "localhost:8080".parse().unwrap());
    assert_eq!(world.send(form).await.status, 403, "a form is not repeated");

    let public = World::new().await;
    let request = Request::get("/login").header("host", "localhost");
    let answer = public.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn style_sheet_and_icon_are_named_by_their_content_and_kept_for_ever() {
    let world = World::new().await;
    let home = world.get("/").await;
    for (start, media_type) in [
        ("href=\"/static/aip.", "text/css; charset=utf-8"),
        ("href=\"/static/icon.", "image/svg+xml"),
    ] {
        let rest = home.body.split_once(start).unwrap().1;
        let name = rest.split('"').next().unwrap();
        let file = world.get(&format!("{}{name}", &start[6..])).await;
        assert_eq!(file.status, 200);
        assert_eq!(file.header("content-type"), media_type);
        assert!(file.header("cache-control").contains("immutable"));
    }
}

#[tokio::test]
async fn readiness_follows_the_process() {
    let world = World::new().await;
    assert_eq!(world.get("/internal/ready").await.status, 200);
    world.health.drains.store(true, Ordering::SeqCst);
    assert_eq!(world.get("/internal/ready").await.status, 503);
    assert_eq!(world.get("/internal/alive").await.status, 200);
    assert_eq!(
        world.get("/metrics").await.status,
        404,
        "not on the public listener"
    );
}

#[tokio::test]
async fn what_is_not_there_is_404_in_the_format_that_was_asked_for() {
    let world = World::new().await;
    world.get("/nowhere").await.expect_error(404, "not_found");
    let request = Request::get("/nowhere").header("accept", "text/html,*/*;q=0.8");
    let page = world.send(request.body(Body::empty()).unwrap()).await;
    page.expect_page(404, "nothing at this address");
}

#[tokio::test]
async fn the_device_pages_of_version_2_lead_to_ours() {
    let world = World::new().await;
    for (path, location) in [
        ("/device/authorize", "/device"),
        (
            "/device/authorize?user_code=bcdf-ghjk&user_id=x",
            "/device?user_code=bcdf-ghjk",
        ),
        (
            "/device/authorize?user_code=%3Cb%3E+%26x%3Dy",
            "/device?user_code=%3Cb%3E+%26x%3Dy",
        ),
        ("/device/callback?code=x&state=y&iss=z", "/device"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.location(), location, "{path}");
    }
    let form = [("user_code", "BCDF GHJK"), ("user_id", "did:web:a.example")];
    let answer = world.post("/device/authorize", &form).await;
    assert_eq!(answer.location(), "/device?user_code=BCDF+GHJK");
    let long = [("user_code", &*"x".repeat(5000))];
    let answer = world.post("/device/authorize", &long).await;
    assert!(answer.location().len() < 100, "{}", answer.location());
    let twice = world.get("/device/authorize?user_code=a&user_code=b").await;
    assert_eq!(twice.status, 400);
}
