//! `cert wait`: until the certificate is issued; then its ARN comes into the stack file.

use std::time::Duration;

use aip_aws::{Certificate, CertificateStatus};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use tokio::time::{Instant, sleep};

use super::find::Lookup;
use super::request::describe;
use super::{CertError, Selection, dns, save};
use crate::context::Context;

/// A record is found within minutes of its creation; resolvers may remember for half an hour that
/// there was none.
pub(super) const DEFAULT_TIMEOUT_SECONDS: u64 = 1800;

/// ACM gives up after 72 hours.
pub(super) fn timeout_seconds() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::new().range(0..=72 * 3600)
}

#[derive(Debug, Args)]
#[command(after_help = examples!["cert wait", "cert wait --timeout 300"])]
pub(super) struct WaitArgs {
    #[command(flatten)]
    selection: Selection,
    /// Time limit in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT_SECONDS, value_parser = timeout_seconds())]
    timeout: u64,
}

const POLL_INTERVAL: Duration = Duration::from_secs(5);

impl WaitArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), CertError> {
        let lookup = Lookup::new(ctx, &self.selection).await?;
        let arn = lookup.best()?.arn.clone();
        wait(&lookup, &arn, self.timeout).await
    }
}

/// Waits for a certificate and writes its ARN into the stack file.
pub(super) async fn wait(
    lookup: &Lookup<'_>,
    arn: &str,
    timeout_seconds: u64,
) -> Result<(), CertError> {
    let screen = &lookup.ctx.screen;
    let deadline = Instant::now() + Duration::from_secs(timeout_seconds);
    let mut last_printed = Vec::new();
    loop {
        let certificate = describe(lookup, arn).await?;
        match certificate.status {
            CertificateStatus::Issued => return save(lookup.ctx, lookup.stack, &certificate),
            CertificateStatus::PendingValidation => {}
            _ => {
                return Err(CertError::Ended {
                    arn: arn.to_owned(),
                    reason: failure_text(&certificate),
                });
            }
        }
        let waiting = waiting_for(&certificate);
        if waiting != last_printed {
            screen.status(format!("waiting for {}", waiting.join(", ")));
            last_printed = waiting;
        }
        if Instant::now() >= deadline {
            let mut waiting_for = last_printed.join(", ");
            if let Some(record) = dns::missing(&certificate).first()
                && let Some(hint) = dns::delegation_hint(lookup, record).await
            {
                waiting_for = format!("{waiting_for}; {hint}");
            }
            return Err(CertError::TimedOut {
                seconds: timeout_seconds,
                waiting_for,
            });
        }
        sleep(POLL_INTERVAL.min(deadline - Instant::now())).await;
    }
}

/// Each name that is not validated, with its record.
fn waiting_for(certificate: &Certificate) -> Vec<String> {
    let unvalidated = certificate.validations.iter().filter(|one| !one.is_done);
    let unvalidated: Vec<String> = unvalidated
        .map(|one| match &one.record {
            Some(record) => format!("{} CNAME {}", record.name, record.value),
            None => format!("the record of {}", one.name),
        })
        .collect();
    if unvalidated.is_empty() {
        return vec!["the certificate, whose names are validated".to_owned()];
    }
    unvalidated
}

/// Why a certificate will not be issued, and what to do.
/// (<https://docs.aws.amazon.com/acm/latest/userguide/troubleshooting-failed.html>)
pub(super) fn failure_text(certificate: &Certificate) -> String {
    const REQUEST_AGAIN_ADVICE: &str = "`aip-deploy cert request` requests another one";
    let host = certificate.names.first().map_or("HOST", String::as_str);
    match &certificate.status {
        CertificateStatus::Failed => match certificate.failure.as_deref() {
            Some("CAA_ERROR") => format!(
                "was refused: a CAA record of the domain does not allow Amazon to issue (CAA_ERROR). See `dig CAA \
                 {host}` and the domains above it, add `0 issue \"amazon.com\"`; then {REQUEST_AGAIN_ADVICE}"
            ),
            Some("DOMAIN_NOT_ALLOWED" | "INVALID_PUBLIC_DOMAIN") => format!(
                "was refused: Amazon issues none for {host}, which is no name of the public DNS or is blocked; \
                 ask AWS Support"
            ),
            why => format!(
                "was refused ({}); {REQUEST_AGAIN_ADVICE}",
                why.unwrap_or("no reason given")
            ),
        },
        CertificateStatus::ValidationTimedOut => {
            format!(
                "was given up: its DNS records were not found within 72 hours; {REQUEST_AGAIN_ADVICE}"
            )
        }
        CertificateStatus::Expired => format!("has expired; {REQUEST_AGAIN_ADVICE}"),
        CertificateStatus::Revoked => format!("was revoked; {REQUEST_AGAIN_ADVICE}"),
        CertificateStatus::Other(word) => format!("is {word}; {REQUEST_AGAIN_ADVICE}"),
        CertificateStatus::Issued => "is issued".to_owned(),
        CertificateStatus::PendingValidation => {
            "is not validated yet: run `aip-deploy cert wait`".to_owned()
        }
    }
}
