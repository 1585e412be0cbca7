//! Whether all keys are there: those that sign, those that open the database, and those that
//! sessions are bound to.

use aip_jose::Alg;

use super::finding::Finding;
use super::installation::{Installation, Part};
use crate::app::pinned_keys;
use crate::rekeying::try_keys;

const RESTORE_ADVICE: &str =
    "put the old key back into the key set (AIP_JSON_WEB_KEYS, or keys.json in the data folder)";

pub(super) fn signing(installation: &Installation) -> Finding {
    let set = match &installation.signing_keys {
        Part::Present(set) => set,
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

pub(super) async fn master(installation: &Installation) -> Finding {
    let keys = match &installation.master_keys {
        Part::Present(keys) => keys,
        Part::NotYet => return Finding::warn("there are none yet", "`aip serve` makes them"),
        Part::Broken(why) => return Finding::fail(why, "correct the master keys that are named"),
    };
    let storage = match installation.storage.needed("database") {
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

pub(super) async fn pinned(installation: &Installation) -> Finding {
    let (storage, set) = match (
        installation.storage.needed("database"),
        installation.signing_keys.needed("key set"),
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
            Err(error) => Finding::fail(error.to_string(), RESTORE_ADVICE),
        },
        Err(error) => Finding::fail(error.to_string(), "see the check of the database"),
    }
}
