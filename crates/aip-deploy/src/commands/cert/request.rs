//! `cert request`: takes up a certificate that is there, or requests one, and sees to its DNS records.

use std::collections::BTreeSet;
use std::time::Duration;

use aip_aws::{Certificate, CertificateStatus, DnsRecord};
use clap::Args;
use tokio::time::{Instant, sleep};

use super::find::Lookup;
use super::{CertError, Selection, dns, save, wait};
use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = examples![
    "cert request",
    "cert request --wait",
    "cert request --no-dns --san www.example.org",
])]
pub(super) struct RequestArgs {
    #[command(flatten)]
    selection: Selection,
    /// Only print the DNS records, to be created by hand
    #[arg(long, conflicts_with = "zone")]
    no_dns: bool,
    /// Id of the Route 53 zone; if not given, the zone whose name is the longest that fits
    #[arg(long, value_name = "ID")]
    zone: Option<String>,
    /// Go on as `cert wait` does
    #[arg(long)]
    wait: bool,
    /// Time limit of --wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = wait::DEFAULT_TIMEOUT_SECONDS, value_parser = wait::timeout_seconds(), requires = "wait")]
    timeout: u64,
}

/// The service makes up the records within seconds of the request.
const RECORDS_TIMEOUT: Duration = Duration::from_mins(1);
const RECORDS_POLL_INTERVAL: Duration = Duration::from_secs(2);

impl RequestArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), CertError> {
        let lookup = Lookup::new(ctx, &self.selection).await?;
        let certificate = match lookup.usable() {
            Some(found) => {
                ctx.screen.status("a certificate for these names is there");
                found.clone()
            }
            None => request(&lookup).await?,
        };
        ctx.screen.line(&certificate.arn);
        if certificate.status == CertificateStatus::Issued {
            return save(ctx, lookup.stack, &certificate);
        }
        let certificate = with_records(&lookup, certificate).await?;
        let records = dns::missing(&certificate);
        let by_hand = if self.no_dns {
            records
        } else {
            dns::create(&lookup, records.clone(), self.zone.as_deref())
                .await
                .inspect_err(|_| print_records(ctx, &records))?
        };
        print_records(ctx, &by_hand);
        if self.wait {
            wait::wait(&lookup, &certificate.arn, self.timeout).await
        } else {
            let after = if by_hand.is_empty() {
                ""
            } else {
                ", when these records are in place"
            };
            ctx.screen
                .status(format!("next: `aip-deploy cert wait`{after}"));
            Ok(())
        }
    }
}

async fn request(lookup: &Lookup<'_>) -> Result<Certificate, CertError> {
    let arn = lookup.acm.request(&lookup.hosts, &lookup.token()).await?;
    lookup.ctx.screen.status(format!(
        "requested a certificate for {} in {}",
        lookup.hosts.join(", "),
        lookup.acm.region()
    ));
    describe(lookup, &arn).await
}

/// The certificate as it is now.
pub(super) async fn describe(lookup: &Lookup<'_>, arn: &str) -> Result<Certificate, CertError> {
    let found = lookup.acm.describe(arn).await?;
    found.ok_or_else(|| CertError::NotFound {
        host: lookup.hosts.join(", "),
        region: lookup.acm.region().to_owned(),
    })
}

/// The certificate as soon as every name has its record.
async fn with_records(
    lookup: &Lookup<'_>,
    mut certificate: Certificate,
) -> Result<Certificate, CertError> {
    let since = Instant::now();
    loop {
        let pending = certificate.status == CertificateStatus::PendingValidation;
        let has = |name: &String| {
            let mut validations = certificate.validations.iter();
            validations.any(|one| one.name == *name && (one.is_done || one.record.is_some()))
        };
        if !pending || certificate.names.iter().all(has) {
            return Ok(certificate);
        }
        if since.elapsed() >= RECORDS_TIMEOUT {
            return Err(CertError::NoRecords {
                arn: certificate.arn,
                seconds: RECORDS_TIMEOUT.as_secs(),
            });
        }
        sleep(RECORDS_POLL_INTERVAL).await;
        certificate = describe(lookup, &certificate.arn).await?;
    }
}

/// In the form of a zone file (RFC 1035 §5.1), so that they can be pasted.
fn print_records(ctx: &Context, records: &BTreeSet<DnsRecord>) {
    if records.is_empty() {
        return;
    }
    ctx.screen
        .status("these records have to be created where the DNS of the domain is:");
    let line = |record: &DnsRecord| format!("{}. 300 IN CNAME {}.", record.name, record.value);
    ctx.screen.lines(records.iter().map(line));
}
