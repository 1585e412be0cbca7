//! The methods of `com.atproto`, and what each needs.
//!
//! A PDS serves most of them itself and from the account's own session, whatever the
//! `atproto-proxy` header says. So each is listed with its HTTP method and the scope that it needs;
//! what is not listed is refused, because nothing is known of what a PDS would do. Servers route
//! without regard to case (Express does by default), so the names are compared that way, and only
//! the spelling of the lexicon passes.

use aip_atproto::{AccountAttr, IdentityAttr, Nsid};
use http::Method;

/// Everything below it is in [`METHODS`] or refused.
const COM_ATPROTO: &str = "com.atproto";

/// What a method needs besides `atproto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// It reads what is public, or what is the account's own by `atproto` alone.
    Nothing,
    /// `repo:` for each record that its body names.
    Records,
    /// `blob:` for the media type of its body.
    Blob,
    /// `rpc:` for the method and audience that its query names.
    ServiceToken,
    /// `account:` with `action=manage`.
    Account(AccountAttr),
    /// `identity:`.
    Identity(IdentityAttr),
    /// `rpc:` for the method itself: the reference PDS does not serve it and passes it on.
    Service,
}

/// A method of `com.atproto`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KnownMethod {
    /// Its name, as the lexicon spells it.
    pub(crate) name: &'static str,
    /// `GET` for a query, `POST` for a procedure.
    pub(crate) verb: Method,
    pub(crate) needs: Needs,
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// A method of the table.
    KnownMethod(&'static KnownMethod),
    /// The name of a method of the table, with other letter case.
    Misspelt(&'static KnownMethod),
    /// In `com.atproto`, but not in the table.
    Unknown,
    /// A method of some other service.
    OtherService,
}

const fn query(name: &'static str, needs: Needs) -> KnownMethod {
    KnownMethod {
        name,
        verb: Method::GET,
        needs,
    }
}

const fn procedure(name: &'static str, needs: Needs) -> KnownMethod {
    KnownMethod {
        name,
        verb: Method::POST,
        needs,
    }
}

/// The lexicons of `com.atproto`, without those that no token of an app opens: administration,
/// invitations, passwords, other sessions, and the making and deleting of accounts.
static METHODS: [KnownMethod; 47] = {
    use AccountAttr::{Email, Repo, Status};
    use Needs::{Account, Blob, Identity, Nothing, Records, Service, ServiceToken};
    [
        query("com.atproto.identity.getRecommendedDidCredentials", Nothing),
        procedure("com.atproto.identity.refreshIdentity", Service),
        procedure(
            "com.atproto.identity.requestPlcOperationSignature",
            Identity(IdentityAttr::Any),
        ),
        query("com.atproto.identity.resolveDid", Service),
        query("com.atproto.identity.resolveHandle", Nothing),
        query("com.atproto.identity.resolveIdentity", Service),
        procedure(
            "com.atproto.identity.signPlcOperation",
            Identity(IdentityAttr::Any),
        ),
        procedure(
            "com.atproto.identity.submitPlcOperation",
            Identity(IdentityAttr::Any),
        ),
        procedure(
            "com.atproto.identity.updateHandle",
            Identity(IdentityAttr::Handle),
        ),
        query("com.atproto.label.queryLabels", Service),
        query("com.atproto.lexicon.resolveLexicon", Service),
        procedure("com.atproto.moderation.createReport", Service),
        procedure("com.atproto.repo.applyWrites", Records),
        procedure("com.atproto.repo.createRecord", Records),
        procedure("com.atproto.repo.deleteRecord", Records),
        query("com.atproto.repo.describeRepo", Nothing),
        query("com.atproto.repo.getRecord", Nothing),
        procedure("com.atproto.repo.importRepo", Account(Repo)),
        query("com.atproto.repo.listMissingBlobs", Nothing),
        query("com.atproto.repo.listRecords", Nothing),
        procedure("com.atproto.repo.putRecord", Records),
        procedure("com.atproto.repo.uploadBlob", Blob),
        procedure("com.atproto.server.activateAccount", Account(Status)),
        query("com.atproto.server.checkAccountStatus", Nothing),
        procedure("com.atproto.server.confirmEmail", Account(Email)),
        procedure("com.atproto.server.deactivateAccount", Account(Status)),
        query("com.atproto.server.describeServer", Nothing),
        query("com.atproto.server.getServiceAuth", ServiceToken),
        query("com.atproto.server.getSession", Nothing),
        procedure(
            "com.atproto.server.requestEmailConfirmation",
            Account(Email),
        ),
        procedure("com.atproto.server.requestEmailUpdate", Account(Email)),
        procedure("com.atproto.server.updateEmail", Account(Email)),
        query("com.atproto.sync.getBlob", Nothing),
        query("com.atproto.sync.getBlocks", Nothing),
        query("com.atproto.sync.getCheckout", Nothing),
        query("com.atproto.sync.getHead", Nothing),
        query("com.atproto.sync.getHostStatus", Service),
        query("com.atproto.sync.getLatestCommit", Nothing),
        query("com.atproto.sync.getRecord", Nothing),
        query("com.atproto.sync.getRepo", Nothing),
        query("com.atproto.sync.getRepoStatus", Nothing),
        query("com.atproto.sync.listBlobs", Nothing),
        query("com.atproto.sync.listHosts", Service),
        query("com.atproto.sync.listRepos", Nothing),
        query("com.atproto.sync.listReposByCollection", Service),
        procedure("com.atproto.sync.notifyOfUpdate", Service),
        procedure("com.atproto.sync.requestCrawl", Service),
    ]
};

/// Whether a PDS serves the method by passing it on to another service. What it serves itself it serves
/// with the `atproto-proxy` header or without.
pub(crate) fn is_proxied_by_pds(nsid: &Nsid) -> bool {
    match look_up(nsid) {
        Lookup::OtherService => true,
        Lookup::KnownMethod(known) => known.needs == Needs::Service,
        Lookup::Misspelt(_) | Lookup::Unknown => false,
    }
}

/// Looks a method up.
pub(crate) fn look_up(nsid: &Nsid) -> Lookup {
    let name = nsid.as_str();
    if !nsid.is_within(COM_ATPROTO) {
        return Lookup::OtherService;
    }
    let found = METHODS
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(name));
    match found {
        Some(known) if known.name == name => Lookup::KnownMethod(known),
        Some(known) => Lookup::Misspelt(known),
        None => Lookup::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_up(name: &str) -> Lookup {
        look_up(&Nsid::parse(name).unwrap())
    }

    #[test]
    fn every_method_is_listed_once_and_found() {
        for known in &METHODS {
            assert_eq!(looked_up(known.name), Lookup::KnownMethod(known));
        }
    }

    #[test]
    fn what_a_pds_serves_itself_is_not_passed_on() {
        for (name, passed_on) in [
            ("app.bsky.feed.getTimeline", true),
            ("chat.bsky.convo.listConvos", true),
            ("com.atproto.moderation.createReport", true),
            ("com.atproto.identity.resolveDid", true),
            ("com.atproto.repo.createRecord", false),
            ("com.atproto.server.getSession", false),
            ("com.atproto.server.getServiceAuth", false),
            ("com.atproto.repo.createrecord", false),
            ("com.atproto.future.method", false),
        ] {
            assert_eq!(
                is_proxied_by_pds(&Nsid::parse(name).unwrap()),
                passed_on,
                "{name}"
            );
        }
    }

    #[test]
    fn names_are_compared_without_case() {
        for name in [
            "com.atproto.repo.createrecord",
            "COM.ATPROTO.REPO.CREATERECORD",
            "com.ATproto.repo.createRecord",
        ] {
            let found = looked_up(name);
            assert!(
                matches!(found, Lookup::Misspelt(it) if it.name == "com.atproto.repo.createRecord"),
                "{name}: {found:?}"
            );
        }
        assert_eq!(looked_up("Com.AtProto.admin.sendEmail"), Lookup::Unknown);
        assert_eq!(looked_up("com.atproto.createRecord"), Lookup::Unknown);
        assert_eq!(
            looked_up("com.atprotox.repo.createRecord"),
            Lookup::OtherService
        );
        assert_eq!(looked_up("app.bsky.feed.getTimeline"), Lookup::OtherService);
    }
}
