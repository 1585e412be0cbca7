//! What accounts show of themselves, as claims.

use aip_oauth::claims::{Profiles, PublicProfile};
use aip_sessions::AccountProfiles;
use aip_storage::account::Account;
use async_trait::async_trait;
use url::Url;

/// Where everybody sees an account with a profile of `app.bsky`; the DID of it follows.
const PROFILE_PAGES: &str = "https://bsky.app/profile/";

/// Asks the PDS of an account.
pub(super) struct PdsProfiles(pub(super) AccountProfiles);

#[async_trait]
impl Profiles for PdsProfiles {
    async fn profile(&self, account: &Account) -> Option<PublicProfile> {
        let Account { did, pds, .. } = account;
        let record = self.0.profile(did, pds).await?;
        let picture = record.avatar_cid.and_then(|cid| {
            let blob = pds.join("/xrpc/com.atproto.sync.getBlob");
            let parameters = [("did", did.as_str()), ("cid", &cid)];
            Url::parse_with_params(&blob, parameters).ok()
        });
        Some(PublicProfile {
            display_name: record.display_name,
            page: format!("{PROFILE_PAGES}{did}"),
            picture: picture.map(String::from),
        })
    }
}
