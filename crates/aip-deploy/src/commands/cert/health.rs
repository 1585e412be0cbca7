//! The certificate of the load balancer, for `doctor`.

use std::time::Duration;

use aip_apply::time::rfc3339;
use aip_aws::{Acm, Certificate, CertificateStatus, ServiceError};
use aip_base::Timestamp;
use aip_stack::Target;

use super::find::{arn_in_file, covers_all, host, region_of};
use super::wait::failure_text;
use crate::context::OpenStack;

/// ACM begins to renew 60 days before the end
/// (<https://docs.aws.amazon.com/acm/latest/userguide/managed-renewal.html>); half of them are left.
const EXPIRES_SOON: Duration = Duration::from_hours(30 * 24);

/// What is to be said of the certificate of the load balancer; none if the stack has no load balancer.
/// `Err` is what has to be mended. Whoever may not ask AWS is informed, and fails nothing.
pub(crate) async fn check(
    stack: &OpenStack<'_>,
    target: &Target,
) -> Option<Result<String, String>> {
    let mut desired = target.desired.iter();
    desired.find(|one| one.manifest()["spec"]["type"] == "LoadBalancer")?;
    let (ctx, stack) = (stack.ctx, stack.stack);
    let arn = arn_in_file(ctx, stack).await.ok()??;
    let unchecked = |error: ServiceError| format!("{arn} was not checked: {error}");
    let found = match Acm::connect(&ctx.aws, region_of(&arn)).await {
        Ok(acm) => acm.describe(&arn).await,
        Err(error) => Err(error),
    };
    let certificate = match found {
        Err(error) => return Some(Ok(unchecked(error))),
        Ok(None) => {
            return Some(Err(format!(
                "{arn} does not exist: `aip-deploy cert request` requests one"
            )));
        }
        Ok(Some(certificate)) => certificate,
    };
    let host = host(ctx, stack).await.ok();
    Some(verdict(&certificate, host, ctx.clock.now()))
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
