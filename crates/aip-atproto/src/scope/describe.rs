//! Scopes in plain words, for the person who is asked to allow them.

use std::collections::BTreeSet;

use super::account::{AccountAttr, AccountScope, IdentityAttr};
use super::blob::{BlobScope, MimeGlob};
use super::include::IncludeScope;
use super::names;
use super::nsid_set::NsidSet;
use super::repo::{RepoAction, RepoScope};
use super::rpc::{Audience, RpcScope};
use super::{OpenIdScope, Scope, ScopeSet, Transition};
use crate::nsid::Nsid;

/// What three scopes mean: OpenID Connect, transitional and granular.
const READ_EMAIL: (&str, &str) = ("See your e-mail address", "And whether it is confirmed.");

/// One line of a consent page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeLine {
    /// What the app will be able to do, beginning with a verb.
    pub title: String,
    /// What that means, or exactly what it is limited to. One or two sentences.
    pub detail: String,
    /// The scope itself.
    pub raw: String,
}

impl ScopeSet {
    /// Every scope in words, in canonical order. Nothing is left out, not even what this server
    /// does not know: people decide about what they see.
    pub fn describe(&self) -> Vec<ScopeLine> {
        self.iter().map(Scope::describe).collect()
    }
}

impl Scope {
    /// This scope in words.
    pub fn describe(&self) -> ScopeLine {
        let (title, detail) = match self {
            Self::Atproto => (
                "Sign you in".to_owned(),
                "Learn which account you have and where it is hosted.".to_owned(),
            ),
            Self::OpenId(scope) => openid(*scope),
            Self::Transition(scope) => transition(*scope),
            Self::Account(scope) => account(*scope),
            Self::Identity(attr) => identity(*attr),
            Self::Repo(scope) => repo(scope),
            Self::Rpc(scope) => rpc(scope),
            Self::Blob(scope) => blob(scope),
            Self::Include(scope) => include(scope),
            Self::Credentials => (
                "Hold the access token and the private key of your account's session".to_owned(),
                "The app calls your host by itself, where this server neither checks nor sees what it does. What it holds works until it expires, even after you remove the app's access here.".to_owned(),
            ),
            Self::Other(word) => (
                format!("Unknown permission ({word})"),
                "This server does not know it, and it allows nothing here.".to_owned(),
            ),
        };
        ScopeLine {
            title,
            detail,
            raw: self.to_string(),
        }
    }
}

fn owned((title, detail): (&str, &str)) -> (String, String) {
    (title.to_owned(), detail.to_owned())
}

fn openid(scope: OpenIdScope) -> (String, String) {
    owned(match scope {
        OpenIdScope::OpenId => (
            "Know who you are",
            "Receive a signed statement of your account's identifier.",
        ),
        OpenIdScope::Profile => (
            "See your profile",
            "Your handle, your public name, picture and profile page, and where your account is hosted.",
        ),
        OpenIdScope::Email => READ_EMAIL,
        OpenIdScope::OfflineAccess => (
            "Stay signed in",
            "Keep using the other permissions while you are away, until you take them back.",
        ),
    })
}

fn transition(scope: Transition) -> (String, String) {
    owned(match scope {
        Transition::Generic => (
            "Do everything your account can do except chat",
            "Read and write all your records, upload files, and use other services in your name: as much as an app password allows. Direct messages, your e-mail address, password, handle and account settings stay closed.",
        ),
        Transition::ChatBsky => (
            "Read and send direct messages",
            "All your chats on Bluesky. Works only together with access to everything else.",
        ),
        Transition::Email => READ_EMAIL,
    })
}

fn account(AccountScope { attr, manage }: AccountScope) -> (String, String) {
    owned(match (attr, manage) {
        (AccountAttr::Email, false) => READ_EMAIL,
        (AccountAttr::Email, true) => (
            "Change your e-mail address",
            "Whoever controls it can reset your password.",
        ),
        (AccountAttr::Repo, false) => (
            "Read your repository",
            "All your public records as one archive.",
        ),
        (AccountAttr::Repo, true) => (
            "Replace your whole repository",
            "Import an archive of records over what you have, as when moving hosts.",
        ),
        (AccountAttr::Status, false) => (
            "See your account's status",
            "Whether it is active or deactivated.",
        ),
        (AccountAttr::Status, true) => (
            "Activate and deactivate your account",
            "A deactivated account is hidden from everybody.",
        ),
    })
}

fn identity(attr: IdentityAttr) -> (String, String) {
    owned(match attr {
        IdentityAttr::Handle => ("Change your handle", "The name that others know you by."),
        IdentityAttr::Any => (
            "Control your identity",
            "Change your handle, your keys and your host. Who can do this can take over your account.",
        ),
    })
}

fn repo(scope: &RepoScope) -> (String, String) {
    let verbs = actions(&scope.actions);
    match scope.collections() {
        NsidSet::Any => (
            format!("{verbs} records of every kind"),
            "Everything that you have in your repository, in all apps.".to_owned(),
        ),
        NsidSet::Listed(collections) => {
            let list = list(collections.iter().map(Nsid::as_str));
            let known: BTreeSet<_> = collections.iter().filter_map(names::record).collect();
            // A few known names make a title; more of them, or unknown ones, are counted.
            let title = match collections.len() {
                1 => match known.first() {
                    Some(name) => format!("{verbs} {name} ({list})"),
                    None => format!("{verbs} records of one kind ({list})"),
                },
                2 | 3 if known.len() == collections.len() => {
                    format!("{verbs} {}", sentence(known))
                }
                n => format!("{verbs} records of {n} kinds"),
            };
            (title, format!("Only in your collections {list}."))
        }
    }
}

fn actions(actions: &BTreeSet<RepoAction>) -> String {
    let verbs = sentence(actions.iter().map(|action| action.as_str()));
    let mut letters = verbs.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn rpc(scope: &RpcScope) -> (String, String) {
    let at = match scope.audience() {
        Audience::Any => "any service".to_owned(),
        Audience::Service(service) => names::service(service.as_str()).to_owned(),
    };
    match scope.methods() {
        NsidSet::Any => (
            format!("Use everything at {at} in your name"),
            format!("All methods of {}.", scope.audience().as_str()),
        ),
        NsidSet::Listed(methods) => {
            let about: BTreeSet<_> = methods.iter().filter_map(names::method).collect();
            let about = if about.is_empty() {
                String::new()
            } else {
                format!(" for {}", sentence(about))
            };
            let list = list(methods.iter().map(Nsid::as_str));
            (
                format!("Use {at} in your name{about}"),
                format!("Only the methods {list}."),
            )
        }
    }
}

fn blob(scope: &BlobScope) -> (String, String) {
    let noun = |glob: &MimeGlob| match glob.as_str() {
        "*/*" => "files of every kind".to_owned(),
        "image/*" => "images".to_owned(),
        "video/*" => "videos".to_owned(),
        "audio/*" => "sound files".to_owned(),
        "text/*" => "text files".to_owned(),
        other => format!("{other} files"),
    };
    let nouns: Vec<String> = scope.accept().map(noun).collect();
    let title = format!("Upload {}", sentence(nouns.iter().map(String::as_str)));
    (
        title,
        "To your own host, to be used in your records.".to_owned(),
    )
}

fn include(scope: &IncludeScope) -> (String, String) {
    let at = scope.audience().map_or_else(String::new, |service| {
        format!(" at {}", names::service(service.as_str()))
    });
    (
        format!("Use the permissions published as {}{at}", scope.set()),
        format!(
            "A list of records and methods within {} that its publisher maintains.",
            scope.set().authority()
        ),
    )
}

/// `a, b and c`.
fn sentence<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `a, b, c`.
fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
