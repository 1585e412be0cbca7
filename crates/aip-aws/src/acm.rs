//! Certificates of AWS Certificate Manager (<https://docs.aws.amazon.com/acm/latest/APIReference/>),
//! validated by DNS.

use aip_base::Timestamp;
use aws_sdk_acm::Client;
use aws_sdk_acm::error::SdkError;
use aws_sdk_acm::types::{
    CertificateDetail, CertificateStatus as SdkStatus, CertificateType, DomainStatus, Filters,
    KeyAlgorithm, RenewalEligibility, ValidationMethod,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::access::Aws;
use crate::call::{CallFailure, ServiceError, call_failure};
use crate::credentials::Profile;

/// The service in one region.
pub struct Acm {
    client: Client,
    region: String,
}

/// A certificate, issued or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its ARN.
    pub arn: String,
    /// The host names it is for, in alphabetical order.
    pub names: Vec<String>,
    /// Where it is in its life.
    pub status: CertificateStatus,
    /// The service's word for why the request failed, such as `CAA_ERROR`.
    pub failure: Option<String>,
    /// How each name is validated; empty shortly after the request.
    pub validations: Vec<Validation>,
    /// When it was requested or imported.
    pub created: Option<Timestamp>,
    /// When it expires, if it was issued.
    pub not_after: Option<Timestamp>,
    /// Whether the service issued it, and not somebody who imported it.
    pub is_amazon_issued: bool,
    /// Whether the service will renew it: only if it is in use.
    pub will_be_renewed: bool,
    /// How its renewal goes, if one is under way: status and reason.
    pub renewal: Option<(String, Option<String>)>,
}

/// Where a certificate is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateStatus {
    /// The records of the domain are awaited.
    PendingValidation,
    /// It can be used.
    Issued,
    /// The request was refused.
    Failed,
    /// The records did not appear within 72 hours.
    ValidationTimedOut,
    /// Its time has passed.
    Expired,
    /// It was revoked.
    Revoked,
    /// Something that is not known here.
    Other(String),
}

/// How one name is validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// The host name.
    pub name: String,
    /// Whether the record was found.
    pub is_done: bool,
    /// The record that proves it; none yet shortly after the request.
    pub record: Option<DnsRecord>,
}

/// A CNAME record. Neither name nor value ends in a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsRecord {
    /// The host name that is validated.
    pub name: String,
    /// What it points to.
    pub value: String,
}

impl DnsRecord {
    /// A record; the dots at the ends are left out.
    pub fn new(name: &str, value: &str) -> Self {
        let plain = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
        Self {
            name: plain(name),
            value: plain(value),
        }
    }
}

const SERVICE: &str = "AWS Certificate Manager";

impl Acm {
    /// The service in `region`, or where environment and profile say.
    pub async fn connect(aws: &Aws, region: Option<&str>) -> Result<Self, ServiceError> {
        let profile = Profile::default();
        let region = match region {
            Some(region) => region.to_owned(),
            None => aws.region(&profile).await.ok_or(ServiceError::NoRegion)?,
        };
        let config = aws.service_config(&profile, &region).await?;
        Ok(Self {
            client: Client::new(&config),
            region,
        })
    }

    /// Where the service is asked.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Requests a certificate for the host names, the first of which is its subject. The same token
    /// within an hour gives the same certificate. Returns the ARN.
    pub async fn request(&self, names: &[String], token: &str) -> Result<String, ServiceError> {
        let mut request = self
            .client
            .request_certificate()
            .validation_method(ValidationMethod::Dns)
            .idempotency_token(token);
        if let Some((subject, more)) = names.split_first() {
            request = request.domain_name(subject);
            if !more.is_empty() {
                request = request.set_subject_alternative_names(Some(more.to_vec()));
            }
        }
        let answer = request
            .send()
            .await
            .map_err(|error| self.call_error(&error))?;
        answer
            .certificate_arn
            .ok_or_else(|| self.invalid_response())
    }

    /// A certificate; none if there is none of this ARN.
    pub async fn describe(&self, arn: &str) -> Result<Option<Certificate>, ServiceError> {
        let request = self.client.describe_certificate().certificate_arn(arn);
        let answer = match request
            .send()
            .await
            .map_err(|error| self.call_error(&error))
        {
            Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(None),
            answer => answer?,
        };
        let detail = answer.certificate.ok_or_else(|| self.invalid_response())?;
        Ok(Some(certificate(arn, &detail)))
    }

    /// The ARNs of all certificates whose subject is `name`, whatever became of them.
    pub async fn find_by_subject(&self, name: &str) -> Result<Vec<String>, ServiceError> {
        // Without this the service leaves out what is not RSA of 1024 or 2048 bits.
        let every_type = KeyAlgorithm::values().iter().copied();
        let every_type = every_type.map(KeyAlgorithm::from).collect();
        let filters = Filters::builder().set_key_types(Some(every_type)).build();
        let pages = self
            .client
            .list_certificates()
            .includes(filters)
            .into_paginator();
        let found = pages.items().send().try_collect().await;
        let found = found.map_err(|error| self.call_error(&error))?;
        let of_name = found.into_iter().filter(|summary| {
            let subject = summary.domain_name.as_deref();
            subject.is_some_and(|subject| subject.eq_ignore_ascii_case(name))
        });
        Ok(of_name
            .filter_map(|summary| summary.certificate_arn)
            .collect())
    }

    fn call_error<E>(&self, error: &SdkError<E, HttpResponse>) -> ServiceError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        ServiceError::Call {
            service: SERVICE,
            region: self.region.clone(),
            failure: call_failure(error),
        }
    }

    fn invalid_response(&self) -> ServiceError {
        ServiceError::Call {
            service: SERVICE,
            region: self.region.clone(),
            failure: CallFailure::InvalidResponse,
        }
    }
}

fn certificate(arn: &str, detail: &CertificateDetail) -> Certificate {
    let names = detail.subject_alternative_names().iter();
    let names = names.map(String::as_str).chain(detail.domain_name());
    let mut names: Vec<String> = names.map(str::to_ascii_lowercase).collect();
    names.sort();
    names.dedup();
    let validations = detail.domain_validation_options().iter();
    let validations = validations.map(|option| Validation {
        name: option.domain_name().to_ascii_lowercase(),
        is_done: option.validation_status() == Some(&DomainStatus::Success),
        record: option
            .resource_record()
            .map(|record| DnsRecord::new(record.name(), record.value())),
    });
    let renewal = detail.renewal_summary().map(|summary| {
        let reason = summary.renewal_status_reason();
        (
            summary.renewal_status().as_str().to_owned(),
            reason.map(|reason| reason.as_str().to_owned()),
        )
    });
    Certificate {
        arn: arn.to_owned(),
        names,
        status: status(detail.status()),
        failure: detail.failure_reason().map(|why| why.as_str().to_owned()),
        validations: validations.collect(),
        created: detail
            .created_at()
            .or(detail.imported_at())
            .map(|at| Timestamp::from_secs(at.secs())),
        not_after: detail.not_after().map(|at| Timestamp::from_secs(at.secs())),
        is_amazon_issued: detail.r#type() == Some(&CertificateType::AmazonIssued),
        will_be_renewed: detail.renewal_eligibility() == Some(&RenewalEligibility::Eligible),
        renewal,
    }
}

fn status(status: Option<&SdkStatus>) -> CertificateStatus {
    match status {
        Some(SdkStatus::PendingValidation) => CertificateStatus::PendingValidation,
        Some(SdkStatus::Issued) => CertificateStatus::Issued,
        Some(SdkStatus::Failed) => CertificateStatus::Failed,
        Some(SdkStatus::ValidationTimedOut) => CertificateStatus::ValidationTimedOut,
        Some(SdkStatus::Expired) => CertificateStatus::Expired,
        Some(SdkStatus::Revoked) => CertificateStatus::Revoked,
        Some(other) => CertificateStatus::Other(other.as_str().to_owned()),
        None => CertificateStatus::Other("unknown".to_owned()),
    }
}
