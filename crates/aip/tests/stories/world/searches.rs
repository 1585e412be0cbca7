//! The searches at the end of every story: for each secret that it saw, in all that the database
//! holds and in the log.

use std::sync::Arc;

use aip_keys::{Aad, Sealer};
use aip_storage::upstream::Credential;
use secrecy::ExposeSecret as _;

use super::World;

impl World {
    /// Opens and seals what this AIP keeps.
    pub(crate) fn sealer(&self) -> Sealer {
        self.master_keys.sealer()
    }

    /// Learns the secrets that only AIP and the PDS saw: what went over the wire between them,
    /// and what the database holds sealed.
    pub(crate) async fn learn_hidden_secrets(&self) {
        for request in self.pds().requests() {
            if let Some((_, token)) = request
                .header("authorization")
                .and_then(|it| it.split_once(' '))
            {
                self.secrets.learn("an upstream access token", token);
            }
            for name in ["dpop", "cookie"] {
                if let Some(value) = request.header(name) {
                    self.secrets.learn("a header that a PDS got", value);
                }
            }
            let form = request.form();
            for name in [
                "client_assertion",
                "code",
                "code_verifier",
                "refresh_token",
                "state",
                "token",
            ] {
                if let Some(value) = form.get(name) {
                    self.secrets.learn("a parameter that a PDS got", value);
                }
            }
        }
        let storage = Arc::clone(&self.aip().app.server.storage);
        let sealer = self.sealer();
        for id in self.texts("SELECT id FROM upstream_sessions").await {
            let session = storage.upstream_session(id.parse().unwrap()).await.unwrap();
            let session = session.unwrap();
            let place = |column| Aad {
                table: "upstream_sessions",
                column,
                row: &id,
            };
            // Revoked sessions have forgotten their tokens.
            if let Ok(token) = sealer.open_text(&session.tokens.access, place("access_token")) {
                self.secrets
                    .learn("an upstream access token", token.expose_secret());
            }
            if let Some(refresh) = &session.tokens.refresh
                && let Ok(token) = sealer.open_text(refresh, place("refresh_token"))
            {
                self.secrets
                    .learn("an upstream refresh token", token.expose_secret());
            }
            match &session.credential {
                Credential::OAuth(oauth) => {
                    if let Ok(key) = sealer.open_text(&oauth.dpop_key, place("dpop_key")) {
                        self.secrets.learn_keys("a DPoP key", key.expose_secret());
                    }
                }
                Credential::AppPassword(kept) => {
                    if let Ok(password) = sealer.open_text(kept, place("password")) {
                        self.secrets
                            .learn("an app password", password.expose_secret());
                    }
                }
            }
        }
    }

    /// The secrets that can be read in what the database holds.
    pub(crate) async fn secrets_in_database(&self) -> Vec<&'static str> {
        let mut found = self.secrets.found_in(self.dump().await.text().as_bytes());
        found.extend(self.secrets.found_in(&self.database.files()));
        found
    }

    /// The secrets that can be read in the log since the story began.
    pub(crate) fn secrets_in_log(&self) -> Vec<&'static str> {
        self.secrets.found_in(self.log().as_bytes())
    }

    /// The end of every story: each ordered fault has happened, and no secret of it can be read.
    pub(crate) async fn end(&self) {
        self.sandbox.finish().unwrap();
        self.learn_hidden_secrets().await;
        let stored = self.secrets_in_database().await;
        assert!(stored.is_empty(), "the database holds: {stored:?}");
        let logged = self.secrets_in_log();
        assert!(logged.is_empty(), "the log holds: {logged:?}");
    }
}
