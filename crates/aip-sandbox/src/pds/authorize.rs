//! The authorization endpoint: who is in front of the browser, and what do they allow?
//!
//! Two plain forms. A confidential client that asks again for what was granted to it before gets
//! its code without any page, as at the reference PDS: this is what a broker in front of many
//! apps has to guard against.

use aip_base::{lock, random_token};
use http::StatusCode;
use serde_json::json;
use url::Url;

use super::accounts::{Account, AccountState};
use super::grants::CodeGrant;
use super::inner::{Inner, Site};
use super::pages;
use super::par::{Parameters, Pending, Prompt};
use super::sessions::{Id, TokenName};
use super::settings::Document;
use crate::stage::reply::Reply;
use crate::stage::request::{Form, Received};

const DEVICE_COOKIE: &str = "dev-id";

/// A request at the pages that is refused with a page: there is nobody to redirect to.
struct Refused(&'static str);

impl Site {
    pub(crate) fn authorize(&self, request: &Received) -> Reply {
        let inner = &self.inner;
        let query = request.query_form();
        let device = request.cookie(DEVICE_COOKIE).map_or_else(
            || format!("dev-{}", random_token::<16>(&*inner.rng)),
            str::to_owned,
        );
        let request_uri = query.get("request_uri").unwrap_or_default();
        match inner.open_request(request_uri, query.get("client_id"), &device) {
            Ok(pending) => inner
                .first_page(request_uri, &pending, &device)
                .with_cookie(DEVICE_COOKIE, &device),
            Err(refused) => refused.reply(),
        }
    }

    pub(crate) fn sign_in(&self, request: &Received) -> Reply {
        self.inner
            .on_form(request, |inner, form, request_uri, pending, device| {
                let username = form.get("username").unwrap_or_default();
                let password = form.get("password").unwrap_or_default();
                let account = lock(&inner.accounts).by_identifier(username).cloned();
                let Some(account) = account
                    .filter(|account| account.password == password)
                    .filter(|account| account.state.keeps_sessions())
                else {
                    let page = inner.sign_in_page(
                        request_uri,
                        pending,
                        Some("Wrong identifier or password"),
                    );
                    return Reply {
                        status: StatusCode::UNAUTHORIZED,
                        ..page
                    };
                };
                if !hint_matches(&pending.parameters, &account) {
                    let page = inner.sign_in_page(
                        request_uri,
                        pending,
                        Some("Sign in with the account asked for"),
                    );
                    return Reply {
                        status: StatusCode::UNAUTHORIZED,
                        ..page
                    };
                }
                if form.get("remember").is_some() {
                    let now = inner.clock.now();
                    let did = account.did.as_str().to_owned();
                    lock(&inner.grants)
                        .devices
                        .entry(device.to_owned())
                        .or_default()
                        .insert(did, now);
                }
                inner.after_sign_in(request_uri, pending, &account)
            })
    }

    pub(crate) fn consent(&self, request: &Received) -> Reply {
        self.inner
            .on_form(request, |inner, form, request_uri, pending, _| {
                let Some(did) = pending.signed_in.clone() else {
                    return Refused("Nobody signed in").reply();
                };
                if form.get("decision") != Some("authorize") {
                    let error = ("access_denied", "The user rejected the request");
                    return inner.refuse(request_uri, &pending.parameters, error);
                }
                let kept: Vec<&str> = form.all("scope").collect();
                let granted = pending.parameters.scope.iter();
                let granted: Vec<String> = granted
                    .filter(|word| *word == "atproto" || kept.contains(&word.as_str()))
                    .cloned()
                    .collect();
                let client_id = &pending.parameters.client.id;
                lock(&inner.grants).add_consent(client_id, &did, &granted);
                inner.grant(request_uri, &pending.parameters, &did, &granted)
            })
    }
}

impl Inner {
    /// Finds a pending request and binds it to the first browser that opens it.
    fn open_request(
        &self,
        request_uri: &str,
        client_id: Option<&str>,
        device: &str,
    ) -> Result<Pending, Refused> {
        let now = self.clock.now();
        let lifetime = lock(&self.settings).lifetimes.request;
        let mut grants = lock(&self.grants);
        let pending = grants
            .requests
            .get_mut(request_uri)
            .ok_or(Refused("Unknown request_uri"))?;
        let refusal = if pending.expires <= now {
            Some("This request has expired")
        } else if client_id.is_some_and(|id| *id != *pending.parameters.client.id) {
            Some("The request belongs to another client")
        } else if pending
            .device
            .as_deref()
            .is_some_and(|bound| bound != device)
        {
            Some("The request was opened in another browser")
        } else {
            None
        };
        if let Some(why) = refusal {
            grants.requests.remove(request_uri);
            return Err(Refused(why));
        }
        pending.device = Some(device.to_owned());
        pending.expires = now + lifetime;
        Ok(pending.clone())
    }

    fn first_page(&self, request_uri: &str, pending: &Pending, device: &str) -> Reply {
        let parameters = &pending.parameters;
        let remembered = self.remembered(parameters, device);
        match (parameters.prompt, remembered.as_slice()) {
            (Some(Prompt::None), []) => self.refuse(
                request_uri,
                parameters,
                ("login_required", "User authentication required"),
            ),
            (Some(Prompt::None), [account]) if self.needs_consent(parameters, account) => self
                .refuse(
                    request_uri,
                    parameters,
                    ("consent_required", "User consent required"),
                ),
            (Some(Prompt::None), [account]) => self.grant_all(request_uri, parameters, account),
            (Some(Prompt::None), _) => self.refuse(
                request_uri,
                parameters,
                ("account_selection_required", "Account selection required"),
            ),
            (None | Some(Prompt::Consent), [account]) if parameters.login_hint.is_some() => {
                self.after_sign_in(request_uri, pending, account)
            }
            _ => self.sign_in_page(request_uri, pending, None),
        }
    }

    /// The accounts that may be used in this browser without a password.
    fn remembered(&self, parameters: &Parameters, device: &str) -> Vec<Account> {
        let now = self.clock.now();
        let lifetime = lock(&self.settings).lifetimes.device;
        let dids: Vec<String> = {
            let grants = lock(&self.grants);
            let accounts = grants.devices.get(device).into_iter().flatten();
            accounts
                .filter(|(_, since)| now.since(**since) < lifetime)
                .map(|(did, _)| did.clone())
                .collect()
        };
        let accounts = lock(&self.accounts);
        dids.iter()
            .filter_map(|did| accounts.get(did))
            .filter(|account| account.state.keeps_sessions() && hint_matches(parameters, account))
            .cloned()
            .collect()
    }

    fn needs_consent(&self, parameters: &Parameters, account: &Account) -> bool {
        parameters.client.is_public()
            || parameters.prompt == Some(Prompt::Consent)
            || !lock(&self.grants).has_consent(
                &parameters.client.id,
                account.did.as_str(),
                &parameters.scope,
            )
    }

    fn after_sign_in(&self, request_uri: &str, pending: &Pending, account: &Account) -> Reply {
        let parameters = &pending.parameters;
        if account.state == AccountState::Deactivated {
            let error = ("access_denied", "This account has been deactivated");
            return self.refuse(request_uri, parameters, error);
        }
        if !self.needs_consent(parameters, account) {
            return self.grant_all(request_uri, parameters, account);
        }
        let did = account.did.as_str().to_owned();
        if let Some(pending) = lock(&self.grants).requests.get_mut(request_uri) {
            pending.signed_in = Some(did);
        }
        pages::consent(request_uri, pending, account)
    }

    fn sign_in_page(&self, request_uri: &str, pending: &Pending, problem: Option<&str>) -> Reply {
        pages::sign_in(&self.issuer, request_uri, pending, problem)
    }

    fn grant_all(&self, request_uri: &str, parameters: &Parameters, account: &Account) -> Reply {
        self.grant(
            request_uri,
            parameters,
            account.did.as_str(),
            &parameters.scope,
        )
    }

    fn grant(&self, uri: &str, parameters: &Parameters, did: &str, scope: &[String]) -> Reply {
        let name = TokenName {
            session: Id::random(&*self.rng),
            generation: Id::random(&*self.rng),
        };
        let code = name.write("cod");
        let expires = self.clock.now() + lock(&self.settings).lifetimes.request;
        let grant = CodeGrant {
            parameters: parameters.clone(),
            did: did.to_owned(),
            scope: scope.join(" "),
            expires,
        };
        {
            let mut grants = lock(&self.grants);
            grants.requests.remove(uri);
            grants.codes.insert(code.clone(), grant);
        }
        self.call_back(parameters, &[("code", &code)])
    }

    fn refuse(&self, uri: &str, parameters: &Parameters, error: (&str, &str)) -> Reply {
        lock(&self.grants).requests.remove(uri);
        self.call_back(
            parameters,
            &[("error", error.0), ("error_description", error.1)],
        )
    }

    /// Sends the browser back to the client (RFC 6749 §4.1.2, RFC 9207 §2).
    fn call_back(&self, parameters: &Parameters, outcome: &[(&str, &str)]) -> Reply {
        let mut content = json!({ "iss": self.issuer, "state": parameters.state });
        for (name, value) in outcome {
            content[*name] = json!(value);
        }
        let content = self.falsified(Document::Callback, content);
        let pairs = content
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?)));
        let query = serde_urlencoded::to_string(pairs.collect::<Vec<_>>()).unwrap_or_default();
        let Ok(mut url) = Url::parse(&parameters.redirect_uri) else {
            return Refused("The redirect URI is no URL").reply();
        };
        if parameters.in_fragment {
            url.set_fragment(Some(&query));
        } else {
            let before = url
                .query()
                .map(|before| format!("{before}&"))
                .unwrap_or_default();
            url.set_query(Some(&format!("{before}{query}")));
        }
        Reply::redirect(StatusCode::SEE_OTHER, url.as_str())
    }

    /// Checks what every form must bring along, and hands the rest to `act`.
    fn on_form(
        &self,
        request: &Received,
        act: impl FnOnce(&Self, &Form, &str, &Pending, &str) -> Reply,
    ) -> Reply {
        let form = request.form();
        let request_uri = form.get("request_uri").unwrap_or_default();
        let device = request.cookie(DEVICE_COOKIE).unwrap_or_default();
        match self.open_request(request_uri, None, device) {
            Ok(pending) if form.get("csrf") == Some(pending.csrf.as_str()) => {
                act(self, &form, request_uri, &pending, device)
            }
            Ok(_) => Refused("The form is not from this server").reply(),
            Err(refused) => refused.reply(),
        }
    }
}

impl Refused {
    fn reply(&self) -> Reply {
        pages::refusal(self.0)
    }
}

fn hint_matches(parameters: &Parameters, account: &Account) -> bool {
    parameters
        .login_hint
        .as_deref()
        .is_none_or(|hint| hint == account.did.as_str() || hint == account.handle.as_str())
}
