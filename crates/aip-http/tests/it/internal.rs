//! The internal listener.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aip_http::internal_router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::support::stand_ins::Healthy;

#[tokio::test]
async fn probes_and_metrics_are_on_the_internal_listener() {
    let health = Arc::new(Healthy::default());
    let router = internal_router(Arc::clone(&health) as _, || "a_metric 1\n".to_owned());
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(get("/internal/alive").await.0, 200);
    assert_eq!(get("/internal/started").await.0, 200);
    assert_eq!(get("/internal/ready").await.0, 200);
    assert_eq!(get("/metrics").await, (200, "a_metric 1\n".to_owned()));
    health.drains.store(true, Ordering::SeqCst);
    assert_eq!(get("/internal/ready").await.0, 503);
    assert_eq!(get("/oauth/token").await.0, 404);
}
