//! The digest of the image: what the registry has for its tag, else what was deployed for it last.

use aip_apply::registry::{Lookup, lookup};
use aip_apply::store::last_good;
use aip_stack::ResolvedImage;
use aip_stack::config::fields::{IMAGE_DIGEST, IMAGE_SLUG, IMAGE_TAG};
use aip_stack::config::{ImageDigest, StackConfig};

use super::{ContextError, OpenStack};

impl OpenStack<'_> {
    /// Pins the image of the configuration to its digest, if the stack file wants it and does not name one.
    /// A registry that does not say it is a notice; one without the image is an error.
    pub(super) async fn resolve_image(
        &self,
        config: &mut StackConfig,
    ) -> Result<Option<ResolvedImage>, ContextError> {
        let aip = &config.aip;
        if aip.get(&IMAGE_DIGEST) == ImageDigest::Off || aip.image.contains('@') {
            return Ok(None);
        }
        let image = aip.image.clone();
        let answer = lookup(&image, &self.ctx.environment).await;
        let last = last_good(self.store.as_ref()).await?;
        let last = last.and_then(|(_, record)| record.image);
        let last = recorded_digest(&image, last.as_deref()).map(str::to_owned);
        match (answer, last) {
            (Lookup::Digest(digest), last) => {
                let resolved = ResolvedImage {
                    image: format!("{image}@{digest}"),
                    moved_from: last.filter(|last| *last != digest),
                };
                config.aip.image.clone_from(&resolved.image);
                Ok(Some(resolved))
            }
            (Lookup::Missing(answer), _) => Err(ContextError::NoSuchImage {
                field: if aip.get(&IMAGE_SLUG).is_some() {
                    IMAGE_SLUG.path()
                } else {
                    IMAGE_TAG.path()
                },
                image,
                answer,
            }),
            // Another reference would roll the Pods although nothing is known to have changed.
            (Lookup::Unknown(reason), Some(digest)) => {
                config.notices.push(format!(
                    "the digest of {image} is not known ({reason}); it stays {digest}, as it was deployed last"
                ));
                config.aip.image = format!("{image}@{digest}");
                Ok(None)
            }
            (Lookup::Unknown(reason), None) => {
                config.notices.push(format!(
                    "the digest of {image} is not known ({reason}); Pods have the tag as it is"
                ));
                Ok(None)
            }
        }
    }
}

/// The digest under which a revision deployed `image`, `repository:tag`.
pub(super) fn recorded_digest<'r>(image: &str, recorded: Option<&'r str>) -> Option<&'r str> {
    recorded?.strip_prefix(image)?.strip_prefix('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_counts_for_its_own_tag_alone() {
        let recorded = Some("registry.example/aip:v1@sha256:0a");
        assert_eq!(
            recorded_digest("registry.example/aip:v1", recorded),
            Some("sha256:0a")
        );
        for other in [
            "registry.example/aip:v",
            "registry.example/aip:v2",
            "registry.example/aip",
            "registry.example/aip:v1@sha256:0a",
        ] {
            assert_eq!(recorded_digest(other, recorded), None, "{other}");
        }
        assert_eq!(recorded_digest("aip:v1", Some("aip:v1")), None);
        assert_eq!(recorded_digest("aip:v1", None), None);
    }
}
