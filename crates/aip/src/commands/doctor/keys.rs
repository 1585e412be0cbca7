//! Whether all keys are there: those that sign, those that open the database, and those that
//! sessions are bound to.

use aip_jose::Alg;

use super::finding::Finding;
use super::site::{Part, Site};
use crate::at_rest::try_keys;
use crate::opened::pinned_keys;

const PUT_BACK: &str =
    "put the old key back into the key set (AIP_JSON_WEB_KEYS, or keys.json in the data folder)";

pub(super) fn signing(site: &Site) -> Finding {
    let set = match &site.signing_keys {
        Part::There(set) => set,
        Part::NotYet => return Finding::warn("there are none yet", "`aip serve` makes them"),
        Part::Broken(why) => return Finding::fail(why, "correct the key set that is named"),
    };
    for alg in [Alg::Es256, Alg::Rs256] {
        if set.oidc(alg).is_none() {
            return Finding::fail(
                format!("no key signs towards apps with {alg}"),
                format!("`aip keys generate --purpose oidc --alg {alg}`, then `aip keys activate`"),
            );
        }
    }
    let upstream = set.upstream_active().kid().unwrap_or_default();
    Finding::ok(format!(
        "{} keys; {upstream} signs towards PDSs",
        set.list().count()
    ))
}

pub(super) async fn master(site: &Site) -> Finding {
    let keys = match &site.master_keys {
        Part::There(keys) => keys,
        Part::NotYet => return Finding::warn("there are none yet", "`aip serve` makes them"),
        Part::Broken(why) => return Finding::fail(why, "correct the master keys that are named"),
    };
    let storage = match site.storage.needed("database") {
        Ok(storage) => storage,
        Err(finding) => return finding,
    };
    match try_keys(&**storage, keys).await {
        Ok(()) => Finding::ok(format!("{} opens and seals the database", keys.primary())),
        Err(error) => Finding::fail(
            error.to_string(),
            "put back the master keys that this database was made with",
        ),
    }
}

pub(super) async fn pinned(site: &Site) -> Finding {
    let (storage, set) = match (
        site.storage.needed("database"),
        site.signing_keys.needed("key set"),
    ) {
        (Ok(storage), Ok(set)) => (storage, set),
        (Err(finding), _) | (_, Err(finding)) => return finding,
    };
    match pinned_keys(&**storage).await {
        Ok(pinned) => match set.covers(&pinned) {
            Ok(()) => {
                let sessions: u64 = pinned.iter().map(|(_, sessions)| sessions).sum();
                Finding::ok(format!(
                    "{} key(s) of {sessions} session(s), all there",
                    pinned.len()
                ))
            }
            Err(error) => Finding::fail(error.to_string(), PUT_BACK),
        },
        Err(error) => Finding::fail(error.to_string(), "see the check of the database"),
    }
}
