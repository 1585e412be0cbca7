//! The certificate of the load balancer, or the one of the stack file, for `doctor`.

use std::time::Duration;

use aip_apply::time::rfc3339;
use aip_aws::{Acm, Certificate, CertificateStatus, ServiceError};
use aip_base::Timestamp;
use aip_stack::Target;
use aip_stack::config::certificate_end;
use aip_stack::config::fields::{CERTIFICATE_CHAIN, CERTIFICATE_KEY};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::find::{arn_in_file, covers_all, host, region_of};
use super::wait::failure_text;
use crate::context::OpenStack;

/// ACM begins to renew 60 days before the end
/// (<https://docs.aws.amazon.com/acm/latest/userguide/managed-renewal.html>); half of them are left.
const EXPIRES_SOON: Duration = Duration::from_hours(30 * 24);

/// One of the stack file is replaced by hand, so its end is told earlier than `config check` mentions it.
const FILE_EXPIRES_SOON: Duration = Duration::from_hours(21 * 24);

/// What is to be said of the certificate of the load balancer, or of the one of the stack file; none if the stack has
/// neither. `Err` is what has to be mended. Whoever may not ask AWS is informed, and fails nothing.
pub(crate) async fn check(
    stack: &OpenStack<'_>,
    target: &Target,
) -> Option<Result<String, String>> {
    let has = |test: &dyn Fn(&Value) -> bool| {
        let mut desired = target.desired.iter();
        desired.any(|one| test(one.manifest()))
    };
    let (ctx, stack) = (stack.ctx, stack.stack);
    if has(&|object| object["kind"] == "Secret" && object["type"] == "kubernetes.io/tls") {
        let file = stack.load().ok()?;
        let chain = ctx.text(stack, &file, CERTIFICATE_CHAIN.path()).await;
        let end = certificate_end(chain.ok()??.expose_secret())?;
        return Some(verdict_of_file(end, ctx.clock.now()));
    }
    if !has(&|object| object["spec"]["type"] == "LoadBalancer") {
        return None;
    }
    let arn = arn_in_file(ctx, stack).await.ok()??;
    let unchecked = |error: ServiceError| format!("{arn} was not checked: {error}");
    let acm = match Acm::connect(&ctx.aws, region_of(&arn)).await {
        Ok(acm) => acm,
        Err(error) => return Some(Ok(unchecked(error))),
    };
    let certificate = match acm.describe(&arn).await {
        Err(error) => return Some(Ok(unchecked(error))),
        Ok(None) => {
            return Some(Err(format!(
                "{arn} does not exist: `aip-deploy cert request` requests one"
            )));
        }
        Ok(Some(certificate)) => certificate,
    };
    let host = host(ctx, stack).await.ok();
    let now = ctx.clock.now();
    let found = verdict(&certificate, host.clone(), now);
    let (Err(why), Some(host)) = (&found, host) else {
        return Some(found);
    };
    Some(match successor(&acm, &host, &arn, now).await {
        Some(other) => Err(format!(
            "{why}; {} is issued for {host}, too: `aip-deploy cert wait` writes it into the stack file, and `aip-deploy up` \
             gives it to the load balancer",
            other.arn
        )),
        None => found,
    })
}

/// Another certificate for the host that lasts.
async fn successor(acm: &Acm, host: &str, arn: &str, now: Timestamp) -> Option<Certificate> {
    // What is only a hint may fail.
    for other in acm.find_by_subject(host).await.ok()? {
        if other == arn {
            continue;
        }
        let found = acm.describe(&other).await.ok().flatten();
        let hosts = [host.to_owned()];
        let fits = |it: &Certificate| covers_all(&it.names, &hosts) && lasts(it, now);
        if let Some(found) = found.filter(fits) {
            return Some(found);
        }
    }
    None
}

/// Whether it is issued, and does not end soon without being renewed.
pub(super) fn lasts(certificate: &Certificate, now: Timestamp) -> bool {
    verdict(certificate, None, now).is_ok()
}

/// One that is not valid at all is refused with the configuration.
fn verdict_of_file(end: Timestamp, now: Timestamp) -> Result<String, String> {
    let ends = format!("{} ends at {}", CERTIFICATE_CHAIN.path(), rfc3339(end));
    if end > now + FILE_EXPIRES_SOON {
        return Ok(ends);
    }
    Err(format!(
        "{ends}: `aip-deploy config set --path --secret {} < tls.crt` takes its successor, `aip-deploy config set \
         --path --secret {} < tls.key` the key, and `aip-deploy up` deploys them; no Pod restarts",
        CERTIFICATE_CHAIN.path(),
        CERTIFICATE_KEY.path()
    ))
}

fn verdict(
    certificate: &Certificate,
    host: Option<String>,
    now: Timestamp,
) -> Result<String, String> {
    let Certificate { arn, names, .. } = certificate;
    if certificate.status != CertificateStatus::Issued {
        return Err(format!("{arn} {}", failure_text(certificate)));
    }
    if let Some(host) = host
        && !covers_all(names, std::slice::from_ref(&host))
    {
        return Err(format!(
            "{arn} is for {}, and not for {host}: `aip-deploy cert request` requests one",
            names.join(", ")
        ));
    }
    let Some(until) = certificate.not_after else {
        return Ok(format!("{arn} is issued"));
    };
    let ends = rfc3339(until);
    let soon = until < now + EXPIRES_SOON;
    match &certificate.renewal {
        _ if until <= now => Err(format!(
            "{arn} expired at {ends}: {}",
            renewal_advice(certificate)
        )),
        Some((status, reason)) if status != "SUCCESS" && soon => Err(format!(
            "{arn} ends at {ends}, and its renewal is {status}{}: `aip-deploy cert status` shows the DNS records \
             that have to stay in place",
            reason
                .as_ref()
                .map_or(String::new(), |reason| format!(" ({reason})"))
        )),
        _ if soon && !certificate.will_be_renewed => Err(format!(
            "{arn} ends at {ends}, and AWS does not renew it: {}",
            renewal_advice(certificate)
        )),
        _ => Ok(format!(
            "{arn} is issued for {} until {ends}",
            names.join(", ")
        )),
    }
}

/// What gives the load balancer a certificate that lasts. `cert request` takes up one that is issued, however
/// soon it ends.
fn renewal_advice(certificate: &Certificate) -> String {
    let arn = &certificate.arn;
    if certificate.is_amazon_issued {
        return "AWS renews one that a load balancer uses: run `aip-deploy up`, and look again tomorrow"
            .to_owned();
    }
    format!(
        "it was imported; import its successor under the same ARN: `aws acm import-certificate --certificate-arn \
         {arn} --certificate fileb://certificate.pem --private-key fileb://key.pem --certificate-chain \
         fileb://chain.pem`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn certificate(days: u64) -> Certificate {
        Certificate {
            arn: "arn:1".to_owned(),
            names: vec!["auth.example.org".to_owned()],
            status: CertificateStatus::Issued,
            failure: None,
            validations: Vec::new(),
            created: None,
            not_after: Some(NOW + Duration::from_hours(24 * days)),
            is_amazon_issued: true,
            will_be_renewed: true,
            renewal: None,
        }
    }

    fn verdict_of(certificate: &Certificate) -> Result<String, String> {
        verdict(certificate, Some("auth.example.org".to_owned()), NOW)
    }

    #[test]
    fn an_issued_certificate_passes_until_its_renewal_fails() {
        let text = verdict_of(&certificate(200)).unwrap();
        assert!(
            text.contains("issued for auth.example.org until 2027"),
            "{text}"
        );
        assert!(verdict_of(&certificate(10)).is_ok(), "it is being renewed");
        let mut renewing = certificate(10);
        renewing.renewal = Some((
            "PENDING_VALIDATION".to_owned(),
            Some("CAA_ERROR".to_owned()),
        ));
        assert!(verdict_of(&renewing).unwrap_err().contains("(CAA_ERROR)"));
        renewing.renewal = Some(("SUCCESS".to_owned(), None));
        assert!(verdict_of(&renewing).is_ok());
        let mut unused = certificate(10);
        unused.will_be_renewed = false;
        let text = verdict_of(&unused).unwrap_err();
        assert!(
            text.contains("does not renew it: AWS renews one that"),
            "{text}"
        );
        let mut imported = unused;
        imported.is_amazon_issued = false;
        let text = verdict_of(&imported).unwrap_err();
        // `cert request` would take up the same one.
        assert!(!text.contains("cert request"), "{text}");
        assert!(
            text.contains("import-certificate --certificate-arn arn:1 "),
            "{text}"
        );
        imported.not_after = Some(NOW + EXPIRES_SOON);
        assert!(verdict_of(&imported).is_ok());
    }

    #[test]
    fn one_of_the_stack_file_fails_three_weeks_before_its_end() {
        for (days, is_fine) in [(200, true), (22, true), (21, false), (3, false), (0, false)] {
            let said = verdict_of_file(NOW + Duration::from_hours(24 * days), NOW);
            assert_eq!(said.is_ok(), is_fine, "{days}: {said:?}");
            let said = said.unwrap_or_else(|failed| {
                assert!(failed.contains("certificate.key < tls.key"), "{failed}");
                failed
            });
            assert!(
                said.contains("aip_config.certificate.chain ends at 2027-"),
                "{said}"
            );
        }
    }

    #[test]
    fn what_no_load_balancer_can_use_fails() {
        assert!(
            verdict_of(&certificate(0))
                .unwrap_err()
                .contains("expired at")
        );
        let ended = [
            (CertificateStatus::PendingValidation, "cert wait"),
            (CertificateStatus::Failed, "was refused"),
            (CertificateStatus::ValidationTimedOut, "72 hours"),
            (CertificateStatus::Expired, "has expired"),
            (CertificateStatus::Revoked, "was revoked"),
            (
                CertificateStatus::Other("INACTIVE".to_owned()),
                "is INACTIVE",
            ),
        ];
        for (status, words) in ended {
            let mut one = certificate(200);
            one.status = status;
            let text = verdict_of(&one).unwrap_err();
            assert!(text.contains(words), "{text}");
        }
        let other = verdict(&certificate(200), Some("www.example.org".to_owned()), NOW);
        assert!(other.unwrap_err().contains("not for www.example.org"));
        assert!(verdict(&certificate(200), None, NOW).is_ok());
    }
}
