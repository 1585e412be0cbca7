//! What follows a sign-out at a browser: the apps that were signed in to there are notified, from server to
//! server and by the browser, and then the browser goes on.

use std::time::Duration;

use aip_storage::logout::{LogoutDelivery, SignedOut};
use axum::response::Response;
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};

use crate::pages::{SignedOutPage, html_with_policy, signed_out_policy};
use crate::respond::see_other;
use crate::state::AppState;

/// The query of the page that follows a sign-out.
pub(crate) const SIGNED_OUT: &str = "signed-out";

/// How long the browser waits for apps to be notified, so that most know before the person comes back to
/// them (OpenID Connect Back-Channel Logout §2.5). The others are notified while the browser goes on.
const WAIT_FOR_APPS: Duration = Duration::from_secs(2);

/// How long the browser shows the page on which it tells apps. Without a script it cannot know when it
/// has.
const FRAMES_SECONDS: u8 = 3;

/// Tells apps what a sign-out ended, and sends the browser to the address that the app registered, or
/// to our own page.
pub(crate) async fn after_sign_out(
    app: &AppState,
    ended: SignedOut,
    location: Option<SecretString>,
) -> Response {
    deliver(app, ended.deliveries).await;
    let frames = app.server().logout_frames(&ended.front_channel);
    let home = || format!("/?{SIGNED_OUT}").into();
    let location = location.unwrap_or_else(home);
    if frames.is_empty() {
        return see_other(location.expose_secret());
    }
    let page = SignedOutPage {
        brand: app.brand(),
        frames: &frames,
        location: location.expose_secret(),
        seconds: FRAMES_SECONDS,
    };
    html_with_policy(StatusCode::OK, &page, signed_out_policy(&frames))
}

/// Makes deliveries in a task that a shutdown waits for, and waits a moment for it.
async fn deliver(app: &AppState, deliveries: Vec<LogoutDelivery>) {
    if deliveries.is_empty() {
        return;
    }
    let server = app.server().clone();
    let task = async move { server.deliver_logouts(&deliveries).await };
    let task = app.parts().handlers.spawn(task);
    // What is not delivered in time, or at all, is tried again.
    let _ = tokio::time::timeout(WAIT_FOR_APPS, task).await;
}

/// Has the apps told whose access the person took back, while the browser goes on.
pub(crate) fn deliver_in_background(app: &AppState) {
    let server = app.server().clone();
    app.parts().handlers.spawn(async move {
        if let Err(error) = server.deliver_due_logouts().await {
            tracing::error!(%error, "logout delivery failed, retrying");
        }
    });
}
