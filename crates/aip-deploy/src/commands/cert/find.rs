//! Which certificate is meant: the one of the stack file, else the best one for the stack's host.

use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use aip_aws::{Acm, Certificate, CertificateStatus};
use aip_base::Timestamp;
use aip_stack::config::fields::{ENV_CONFIG, EXTRA_ENV, REQUIRED_ENV, SSL_CERT_ARN};
use aip_stack::config::{EXTERNAL_BASE, public_host};
use secrecy::ExposeSecret as _;

use super::health::lasts;
use super::{CertError, Selection};
use crate::context::{Context, Stack};

/// Host names, region and certificates of a stack.
pub(super) struct Lookup<'c> {
    pub(super) ctx: &'c Context,
    pub(super) stack: &'c Stack,
    pub(super) acm: Acm,
    /// The stack's host first.
    pub(super) hosts: Vec<String>,
    /// The certificates for all of the hosts, the best one first.
    pub(super) certificates: Vec<Certificate>,
}

impl<'c> Lookup<'c> {
    pub(super) async fn new(ctx: &'c Context, selection: &Selection) -> Result<Self, CertError> {
        let stack = ctx.stack().await?;
        let hosts = hosts(ctx, stack, &selection.more_hosts).await?;
        let in_file = arn_in_file(ctx, stack).await?;
        let region = selection.region.as_deref();
        let region = region.or(in_file.as_deref().and_then(region_of));
        let acm = Acm::connect(&ctx.aws, region).await?;
        let mut arns = acm.find_by_subject(&hosts[0]).await?;
        // It may be for a wildcard, or be requested by another program.
        let here = in_file.filter(|arn| region_of(arn) == Some(acm.region()));
        arns.extend(here.clone().filter(|arn| !arns.contains(arn)));
        let mut certificates = Vec::new();
        for arn in arns {
            let found = acm.describe(&arn).await?;
            certificates.extend(found.filter(|one| covers_all(&one.names, &hosts)));
        }
        let now = ctx.clock.now();
        certificates.sort_by_key(|one| order(one, here.as_deref(), now));
        Ok(Self {
            ctx,
            stack,
            acm,
            hosts,
            certificates,
        })
    }

    /// The best certificate, issued or not.
    pub(super) fn best(&self) -> Result<&Certificate, CertError> {
        self.certificates
            .first()
            .ok_or_else(|| CertError::NotFound {
                host: self.hosts.join(", "),
                region: self.acm.region().to_owned(),
            })
    }

    /// The best certificate, if it is issued or may be.
    pub(super) fn usable(&self) -> Option<&Certificate> {
        self.certificates.first().filter(|one| rank(one) > 0)
    }

    /// The token of a request: the same one for the same request, and another one when what it led to
    /// has failed.
    pub(super) fn token(&self) -> String {
        let mut hash = DefaultHasher::new();
        self.stack.project.name.hash(&mut hash);
        self.stack.name.as_str().hash(&mut hash);
        self.hosts.hash(&mut hash);
        for failed in &self.certificates {
            failed.arn.hash(&mut hash);
        }
        format!("aip{:016x}", hash.finish())
    }
}

/// The order of preference: issued, not about to end, issued by Amazon; of equals, that of the stack file.
fn order(
    one: &Certificate,
    of_file: Option<&str>,
    now: Timestamp,
) -> (
    Reverse<u8>,
    bool,
    Reverse<u8>,
    bool,
    Reverse<Option<Timestamp>>,
) {
    let ends = rank(one) > 1 && !lasts(one, now);
    let other = of_file != Some(one.arn.as_str());
    let rank = rank(one);
    (
        Reverse(rank.min(2)),
        ends,
        Reverse(rank),
        other,
        Reverse(one.created),
    )
}

/// How good a certificate is; 0 is one that will never do.
fn rank(certificate: &Certificate) -> u8 {
    match (&certificate.status, certificate.is_amazon_issued) {
        (CertificateStatus::Issued, true) => 3,
        (CertificateStatus::Issued, false) => 2,
        (CertificateStatus::PendingValidation, _) => 1,
        _ => 0,
    }
}

/// The host of the stack and further ones, without repetition.
async fn hosts(ctx: &Context, stack: &Stack, more: &[String]) -> Result<Vec<String>, CertError> {
    let (place, text) = external_base(ctx, stack).await?.ok_or(CertError::NoHost)?;
    let refused = |place: String| move |reason| CertError::Host { place, reason };
    let mut hosts = vec![public_host(&text).map_err(refused(place))?];
    for name in more {
        // A wildcard is a name for one label (RFC 6125 §6.4.3).
        let (star, rest) = match name.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", name.as_str()),
        };
        let host = public_host(rest).map_err(refused(format!("--san {name}")))?;
        let host = format!("{star}{host}");
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(hosts)
}

/// Where the stack file has the address under which people reach AIP, and the address.
async fn external_base(
    ctx: &Context,
    stack: &Stack,
) -> Result<Option<(String, String)>, CertError> {
    let file = stack.load()?;
    for map in [REQUIRED_ENV.path(), ENV_CONFIG.path(), EXTRA_ENV.path()] {
        for variable in EXTERNAL_BASE {
            let place = format!("{map}.{variable}");
            if let Some(text) = ctx.text(stack, &file, &place).await? {
                return Ok(Some((place, text.expose_secret().to_owned())));
            }
        }
    }
    Ok(None)
}

/// `aip_config.ssl_cert_arn`.
pub(super) async fn arn_in_file(ctx: &Context, stack: &Stack) -> Result<Option<String>, CertError> {
    let text = ctx.text(stack, &stack.load()?, SSL_CERT_ARN.path()).await?;
    Ok(text.map(|text| text.expose_secret().to_owned()))
}

/// The first host of the stack, if the file has one.
pub(super) async fn host(ctx: &Context, stack: &Stack) -> Result<String, CertError> {
    Ok(hosts(ctx, stack, &[]).await?.remove(0))
}

/// `arn:aws:acm:REGION:…`
pub(super) fn region_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(3).filter(|region| !region.is_empty())
}

/// Whether a certificate for these names is one for all of the hosts.
pub(super) fn covers_all(names: &[String], hosts: &[String]) -> bool {
    hosts.iter().all(|host| {
        let wildcard = host.split_once('.').map(|(_, above)| format!("*.{above}"));
        names.contains(host) || wildcard.is_some_and(|wildcard| names.contains(&wildcard))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let owned = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let covers = |names: &[&str], hosts: &[&str]| covers_all(&owned(names), &owned(hosts));
        assert!(covers(&["auth.example.org"], &["auth.example.org"]));
        assert!(covers(&["*.example.org"], &["auth.example.org"]));
        assert!(covers(&["*.example.org"], &["*.example.org"]));
        assert!(!covers(&["*.example.org"], &["example.org"]));
        assert!(!covers(&["*.example.org"], &["a.auth.example.org"]));
        assert!(!covers(
            &["auth.example.org"],
            &["auth.example.org", "www.example.org"]
        ));
        assert!(!covers(&[], &["auth.example.org"]));
    }

    #[test]
    fn the_one_of_the_stack_file_is_kept_until_it_ends_and_another_lasts() {
        let now = Timestamp::from_secs(1_800_000_000);
        let day = std::time::Duration::from_hours(24);
        let one = |arn: &str, days: u32, status, will_be_renewed| Certificate {
            arn: arn.to_owned(),
            names: Vec::new(),
            status,
            failure: None,
            validations: Vec::new(),
            created: Some(now),
            not_after: Some(now + day * days),
            is_amazon_issued: true,
            will_be_renewed,
            renewal: None,
        };
        let first = |mut all: Vec<Certificate>| {
            all.sort_by_key(|one| order(one, Some("file"), now));
            all.remove(0).arn
        };
        let issued = |arn: &str, days| one(arn, days, CertificateStatus::Issued, false);
        let renewed = |arn: &str, days| one(arn, days, CertificateStatus::Issued, true);
        let pending = |arn: &str| one(arn, 0, CertificateStatus::PendingValidation, false);
        assert_eq!(first(vec![issued("new", 300), issued("file", 200)]), "file");
        assert_eq!(first(vec![issued("new", 300), renewed("file", 10)]), "file");
        assert_eq!(first(vec![issued("file", 10), issued("new", 300)]), "new");
        assert_eq!(first(vec![issued("new", 5), issued("file", 10)]), "file");
        assert_eq!(first(vec![pending("new"), issued("file", 10)]), "file");
        // One that was imported is as good as one of Amazon's that ends.
        let imported = |arn: &str, days| Certificate {
            is_amazon_issued: false,
            ..issued(arn, days)
        };
        assert_eq!(first(vec![issued("file", 10), imported("new", 300)]), "new");
        assert_eq!(first(vec![imported("file", 10), issued("new", 300)]), "new");
        assert_eq!(
            first(vec![imported("file", 300), issued("new", 300)]),
            "new"
        );
        assert_eq!(first(vec![imported("new", 10), issued("file", 10)]), "file");
    }

    #[test]
    fn the_region_is_part_of_an_arn() {
        let arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1";
        assert_eq!(region_of(arn), Some("eu-central-1"));
        assert_eq!(region_of("arn:aws:acm::123456789012:certificate/1"), None);
        assert_eq!(region_of("x"), None);
    }
}
