//! `cert`: the certificate of the load balancer, from AWS Certificate Manager. It is requested, its
//! domain is proven by DNS records, and its ARN comes into the stack file. Each command begins with what
//! is there, so a command that was killed is run again.

mod dns;
mod find;
mod health;
mod request;
mod status;
mod wait;

use aip_aws::{Certificate, DnsRecord, HostedZone, ServiceError};
use aip_stack::config::fields::{EXTRA_ENV, SSL_CERT_ARN};
use clap::{Args, Subcommand};
use pulumi_files::StackFileError;
use yaml_lossless::Tree;

use crate::context::{Context, ContextError, Stack, from_context_errors};
use crate::exit::Exit;

pub(crate) use health::check;

/// Request the load balancer's certificate from AWS Certificate Manager
#[derive(Debug, Args)]
#[command(after_help = examples!["cert request", "cert status", "cert wait"])]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Debug, Subcommand)]
enum CertCommand {
    /// Request a certificate and create the DNS records that validate it
    Request(request::RequestArgs),
    /// Show the certificate and its DNS records
    Status(status::StatusArgs),
    /// Wait until the certificate is issued, then write its ARN into the stack file
    Wait(wait::WaitArgs),
}

/// Which certificate, and where.
#[derive(Debug, Args)]
struct Selection {
    /// Another host name of the certificate, besides the stack's; can be repeated
    #[arg(long = "san", value_name = "HOST")]
    more_hosts: Vec<String>,
    /// Region of the load balancer; if not given, that of `ssl_cert_arn`, of `AWS_REGION` or of the profile
    #[arg(long)]
    region: Option<String>,
}

/// A failed `cert` command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertError {
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    File(#[from] StackFileError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(
        "the stack has no host name: `aip-deploy config set --path {}.EXTERNAL_HOSTNAME auth.example.org`",
        EXTRA_ENV.path()
    )]
    NoHost,
    #[error("{place} {reason}")]
    Host { place: String, reason: String },
    #[error(
        "no certificate for {host} in {region}: `aip-deploy cert request` requests one (--region, if it is in \
         another region)"
    )]
    NotFound { host: String, region: String },
    #[error(
        "no zone `{id}` for {name}; the public zones of the account that hold it: {}",
        zones(known)
    )]
    NoZone {
        id: String,
        name: String,
        known: Vec<HostedZone>,
    },
    #[error("several zones hold {name}: choose one by --zone: {}", zones(known))]
    Zones {
        name: String,
        known: Vec<HostedZone>,
    },
    #[error(
        "the zone {} ({}) has {} CNAME {} already, and the certificate needs {}: delete that record, or leave \
         the zone alone with --no-dns", zone.name, zone.id, record.name, values.join(", "), record.value
    )]
    Occupied {
        zone: HostedZone,
        record: DnsRecord,
        values: Vec<String>,
    },
    #[error("{arn} has no DNS records yet after {seconds} s: run `aip-deploy cert request` again")]
    NoRecords { arn: String, seconds: u64 },
    /// It will never be issued.
    #[error("{arn} {reason}")]
    Ended { arn: String, reason: String },
    #[error("not issued after {seconds} s: {waiting_for}")]
    TimedOut { seconds: u64, waiting_for: String },
}

from_context_errors!(CertError: pulumi_files::KeyError);

fn zones(known: &[HostedZone]) -> String {
    if known.is_empty() {
        return "none".to_owned();
    }
    let known = known
        .iter()
        .map(|zone| format!("{} ({})", zone.id, zone.name));
    known.collect::<Vec<_>>().join(", ")
}

impl CertError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Context(error) => error.exit(),
            Self::Service(error) if error.is_denied() => Exit::Authentication,
            Self::Service(ServiceError::NoRegion)
            | Self::NoHost
            | Self::Host { .. }
            | Self::NoZone { .. }
            | Self::Zones { .. } => Exit::Usage,
            Self::File(StackFileError::Io { .. } | StackFileError::ChangedMeanwhile { .. })
            | Self::Service(_)
            | Self::NotFound { .. }
            | Self::Occupied { .. }
            | Self::NoRecords { .. }
            | Self::Ended { .. } => Exit::Failed,
            Self::File(_) => Exit::Usage,
            Self::TimedOut { .. } => Exit::TimedOut,
        }
    }
}

impl CertArgs {
    pub(crate) async fn run(self, ctx: &Context) -> Result<(), CertError> {
        match self.command {
            CertCommand::Request(args) => args.run(ctx).await,
            CertCommand::Status(args) => args.run(ctx).await,
            CertCommand::Wait(args) => args.run(ctx).await,
        }
    }
}

/// Writes the ARN into the stack file, unless it is there.
fn save(ctx: &Context, stack: &Stack, certificate: &Certificate) -> Result<(), CertError> {
    // Read again: waiting takes long.
    let mut file = stack.load()?;
    let at = stack.config_path(SSL_CERT_ARN.path(), true)?;
    let known = file.at(&at).and_then(|node| node.scalar());
    if known.is_some_and(|scalar| scalar.text == certificate.arn) {
        ctx.screen
            .status(format!("{} is the one of the stack file", certificate.arn));
    } else {
        file.set(&at, Tree::String(certificate.arn.clone()))?;
        file.save()?;
        ctx.screen.status(format!(
            "{} is now {}\nnext: `aip-deploy up` gives it to the load balancer",
            SSL_CERT_ARN.path(),
            certificate.arn
        ));
    }
    Ok(())
}
