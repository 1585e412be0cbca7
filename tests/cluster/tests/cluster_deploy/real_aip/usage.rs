//! An app that is used all the time, while something happens to the Pods.

use std::time::Duration;

use cluster::Load;

use super::person::SignedIn;

const PAUSE: Duration = Duration::from_millis(50);
/// Between refreshes, which follow one another.
const REFRESH: Duration = Duration::from_secs(1);
const TEXT: &str = "hello";

/// Constant use: who is signed in, whose session it is at the PDS, a record, and fresh tokens.
pub(crate) struct Usage([Load; 3]);

impl Usage {
    pub(crate) async fn start(app: &SignedIn) -> Self {
        let post = app.write(TEXT).await.unwrap();
        let asking = Load::start(2, PAUSE, {
            let app = app.clone();
            move || {
                let app = app.clone();
                async move { app.userinfo().await }
            }
        });
        let reading = Load::start(2, PAUSE, {
            let app = app.clone();
            move || {
                let (app, post) = (app.clone(), post.clone());
                async move {
                    app.session().await?;
                    match app.read(&post).await?.as_str() {
                        TEXT => Ok(()),
                        other => Err(format!("another record: {other}")),
                    }
                }
            }
        });
        let refreshing = Load::start(1, REFRESH, {
            let app = app.clone();
            move || {
                let app = app.clone();
                async move { app.refresh().await }
            }
        });
        Self([asking, reading, refreshing])
    }

    /// Ends it: every request was answered as it should.
    pub(crate) async fn stop_without_a_loss(self) {
        for load in self.0 {
            load.stop().await.assert_nothing_lost();
        }
    }
}
