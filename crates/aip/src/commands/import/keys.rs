//! v2's private keys: where they come from, and that AIP publishes them under the same ids.

use std::path::Path;

use aip_config::LoadedConfig;
use aip_jose::{SigningKey, Thumbprint};
use aip_keys::{KeySet, Purpose};
use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use crate::environment::variable;
use crate::key_files::change_key_set;
use crate::output;
use crate::runtime::Runtime;

const UPSTREAM: &str = "ATPROTO_OAUTH_SIGNING_KEYS";
const OIDC: &str = "OAUTH_SIGNING_KEYS";

/// v2's keys, with what each is for.
pub(super) struct V2Keys(Vec<(SigningKey, Purpose)>);

impl V2Keys {
    /// Reads the keys of the files, or of v2's variables.
    ///
    /// A key of AIP has one purpose. One that v2 has for both is taken for its sessions.
    pub(super) fn read(upstream: Option<&Path>, oidc: Option<&Path>) -> anyhow::Result<Self> {
        let mut keys: Vec<(SigningKey, Purpose)> = Vec::new();
        for (name, file, purpose) in [
            (UPSTREAM, upstream, Purpose::Upstream),
            (OIDC, oidc, Purpose::Oidc),
        ] {
            for key in read(name, file)? {
                if keys.iter().all(|(it, _)| it.kid() != key.kid()) {
                    keys.push((key, purpose));
                }
            }
        }
        if !keys
            .iter()
            .any(|(_, purpose)| *purpose == Purpose::Upstream)
        {
            bail!(
                "v2's client keys are needed, for its sessions are bound to them: set {UPSTREAM} as v2 \
                 has it, or name a file with --atproto-keys"
            );
        }
        Ok(Self(keys))
    }

    /// The thumbprint and the id of each key for `purpose`.
    pub(super) fn kids(&self, purpose: Purpose) -> Vec<(Thumbprint, String)> {
        let keys = self.0.iter().filter(|(_, it)| *it == purpose);
        keys.filter_map(|(key, _)| Some((key.public().thumbprint(), key.kid()?.to_owned())))
            .collect()
    }

    /// The id of each key.
    pub(super) fn all_kids(&self) -> Vec<String> {
        let kids = self.0.iter().filter_map(|(key, _)| key.kid());
        kids.map(str::to_owned).collect()
    }

    /// Has AIP publish them, those towards PDSs for the sessions that are bound to them. The key set is
    /// written only if it lacks one.
    pub(super) async fn publish(
        self,
        runtime: &Runtime,
        loaded: &LoadedConfig,
    ) -> anyhow::Result<()> {
        let there = runtime.signing_keys(loaded).await?;
        let lacks = |set: &KeySet, kid: Option<&str>| {
            kid.is_some_and(|kid| {
                set.upstream_by_kid(kid).is_none() && set.oidc_by_kid(kid).is_none()
            })
        };
        if !self.0.iter().any(|(key, _)| lacks(&there, key.kid())) {
            return Ok(());
        }
        let keys = self.0;
        let ((), place) = change_key_set(runtime, loaded, |set, now| {
            for (key, purpose) in keys {
                set.import(key, purpose, now)?;
            }
            Ok(())
        })
        .await?;
        output::print_status(&format!(
            "v2's keys are in the key set, as {place} has it. {}.",
            place.publication_notice()
        ));
        Ok(())
    }
}

/// Separated by `;`, as v2 has them, or by lines.
fn read(name: &str, file: Option<&Path>) -> anyhow::Result<Vec<SigningKey>> {
    let (text, from) = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            (Zeroizing::new(text), path.display().to_string())
        }
        None => (
            Zeroizing::new(variable(name).unwrap_or_default()),
            name.to_owned(),
        ),
    };
    let keys = text.split([';', '\n']).map(str::trim);
    let keys = keys.filter(|key| !key.is_empty()).zip(1..);
    keys.map(|(key, number)| {
        // The key itself is not repeated.
        SigningKey::from_private_did_key(key, None)
            .with_context(|| format!("key number {number} of {from}"))
    })
    .collect()
}
