//! `cert status`: the certificate and its records.

use aip_apply::time::rfc3339;
use aip_aws::{Certificate, CertificateStatus};
use clap::Args;
use serde_json::{Value, json};

use super::find::Lookup;
use super::{CertError, Selection};
use crate::context::Context;

#[derive(Debug, Args)]
#[command(after_help = examples!["cert status", "cert status --region eu-central-1 --json"])]
pub(super) struct StatusArgs {
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

impl StatusArgs {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), CertError> {
        let lookup = Lookup::new(ctx, &self.selection).await?;
        let certificate = lookup.best()?;
        if self.json {
            ctx.screen.json(&to_json(certificate));
            return Ok(());
        }
        let until = certificate.not_after.map(rfc3339);
        ctx.screen.lines([
            format!("arn:     {}", certificate.arn),
            format!("names:   {}", certificate.names.join(", ")),
            format!("status:  {}", status_text(certificate)),
            format!("expires: {}", until.as_deref().unwrap_or("-")),
        ]);
        let rows = certificate.validations.iter().map(|validation| {
            let state = if validation.is_done {
                "found"
            } else {
                "missing"
            };
            let record = validation.record.as_ref();
            let record = record.map(|record| (record.name.clone(), record.value.clone()));
            let (name, value) = record.unwrap_or_default();
            [validation.name.clone(), state.to_owned(), name, value]
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            ctx.screen.line("");
            ctx.screen.table(["HOST", "RECORD", "CNAME", "VALUE"], rows);
        }
        Ok(())
    }
}

/// The status, with the reason of a failure.
pub(super) fn status_text(certificate: &Certificate) -> String {
    let word = match &certificate.status {
        CertificateStatus::PendingValidation => "pending validation",
        CertificateStatus::Issued => "issued",
        CertificateStatus::Failed => "failed",
        CertificateStatus::ValidationTimedOut => "validation timed out",
        CertificateStatus::Expired => "expired",
        CertificateStatus::Revoked => "revoked",
        CertificateStatus::Other(word) => word,
    };
    match &certificate.failure {
        Some(why) => format!("{word} ({why})"),
        None => word.to_owned(),
    }
}

fn to_json(certificate: &Certificate) -> Value {
    let records = certificate.validations.iter().map(|validation| {
        let record = validation.record.as_ref();
        json!({
            "host": validation.name,
            "found": validation.is_done,
            "name": record.map(|record| &record.name),
            "value": record.map(|record| &record.value),
        })
    });
    json!({
        "arn": certificate.arn,
        "names": certificate.names,
        "status": status_text(certificate),
        "expires": certificate.not_after.map(rfc3339),
        "records": records.collect::<Vec<_>>(),
    })
}
