//! The zones and records of Route 53 (<https://docs.aws.amazon.com/Route53/latest/APIReference/>).

use aws_sdk_route53::Client;
use aws_sdk_route53::error::{BuildError, SdkError};
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, HostedZoneConfig, ResourceRecord, ResourceRecordSet, RrType,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::access::Aws;
use crate::acm::DnsRecord;
use crate::call::{CallFailure, ServiceError, call_failure};
use crate::credentials::Profile;

/// The service; it has no regions of its own.
pub struct Route53 {
    client: Client,
    region: String,
}

/// A public zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostedZone {
    /// Its id, `Z…`.
    pub id: String,
    /// The domain, without a dot at the end.
    pub name: String,
}

impl HostedZone {
    /// Whether records of this name belong to the zone.
    pub fn holds(&self, name: &str) -> bool {
        let above = name.strip_suffix(self.name.as_str());
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }
}

/// What there is under the name of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordState {
    /// Nothing.
    Missing,
    /// The record.
    Exists,
    /// A record with other values.
    Occupied(Vec<String>),
}

const SERVICE: &str = "Amazon Route 53";

/// Of the records of ACM: how long resolvers keep them, in seconds.
const RECORD_TTL_SECONDS: i64 = 300;

impl Route53 {
    /// The service. `region` is where credentials are asked for, and says the partition.
    pub async fn connect(aws: &Aws, region: &str) -> Result<Self, ServiceError> {
        let config = aws.service_config(&Profile::default(), region).await?;
        Ok(Self {
            client: Client::new(&config),
            region: region.to_owned(),
        })
    }

    /// Every public zone of the account.
    pub async fn zones(&self) -> Result<Vec<HostedZone>, ServiceError> {
        let pages = self.client.list_hosted_zones().into_paginator();
        let zones = pages.items().send().try_collect().await;
        let zones = zones.map_err(|error| self.failed(&error))?;
        let is_public = |zone: &&aws_sdk_route53::types::HostedZone| {
            !zone.config().is_some_and(HostedZoneConfig::private_zone)
        };
        let public = zones.iter().filter(is_public);
        Ok(public
            .map(|zone| HostedZone {
                id: zone.id().trim_start_matches("/hostedzone/").to_owned(),
                name: zone.name().trim_end_matches('.').to_ascii_lowercase(),
            })
            .collect())
    }

    /// The name servers of a zone, to which its parent has to delegate.
    pub async fn name_servers(&self, zone: &HostedZone) -> Result<Vec<String>, ServiceError> {
        let request = self.client.get_hosted_zone().id(&zone.id);
        let answer = request.send().await.map_err(|error| self.failed(&error))?;
        let servers = answer
            .delegation_set()
            .map(|set| set.name_servers().to_vec());
        Ok(servers.unwrap_or_default())
    }

    /// Whether there is a CNAME record of its name.
    pub async fn look_up(
        &self,
        zone: &HostedZone,
        record: &DnsRecord,
    ) -> Result<RecordState, ServiceError> {
        Ok(match self.values(zone, &record.name).await?.as_slice() {
            [] => RecordState::Missing,
            [value] if *value == record.value => RecordState::Exists,
            values => RecordState::Occupied(values.to_vec()),
        })
    }

    /// Creates a CNAME record. It is an error if there is one of its name.
    pub async fn create(&self, zone: &HostedZone, record: &DnsRecord) -> Result<(), ServiceError> {
        let batch = batch(record).map_err(|error| {
            let failure = CallFailure::Unreachable {
                reason: error.to_string(),
            };
            self.with(failure)
        })?;
        let request = self
            .client
            .change_resource_record_sets()
            .hosted_zone_id(&zone.id)
            .change_batch(batch);
        request.send().await.map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// What the CNAME record of this name points to; empty if there is none.
    async fn values(&self, zone: &HostedZone, name: &str) -> Result<Vec<String>, ServiceError> {
        let request = self
            .client
            .list_resource_record_sets()
            .hosted_zone_id(&zone.id)
            .start_record_name(absolute(name))
            .start_record_type(RrType::Cname)
            .max_items(1);
        let answer = request.send().await.map_err(|error| self.failed(&error))?;
        // The first record from there on, which may be another one.
        let found = answer.resource_record_sets().iter().filter(|set| {
            let is_of_name = set.name().trim_end_matches('.').eq_ignore_ascii_case(name);
            is_of_name && *set.r#type() == RrType::Cname
        });
        let values = found.flat_map(ResourceRecordSet::resource_records);
        Ok(values
            .map(|value| DnsRecord::new(name, value.value()).value)
            .collect())
    }

    fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> ServiceError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.with(call_failure(error))
    }

    fn with(&self, failure: CallFailure) -> ServiceError {
        ServiceError::Call {
            service: SERVICE,
            region: self.region.clone(),
            failure,
        }
    }
}

/// A name as zones have it (RFC 1035 §5.1).
fn absolute(name: &str) -> String {
    format!("{name}.")
}

/// `CREATE`, and not `UPSERT`: a record that somebody else made meanwhile is not overwritten.
fn batch(record: &DnsRecord) -> Result<ChangeBatch, BuildError> {
    let value = ResourceRecord::builder()
        .value(absolute(&record.value))
        .build()?;
    let set = ResourceRecordSet::builder()
        .name(absolute(&record.name))
        .r#type(RrType::Cname)
        .ttl(RECORD_TTL_SECONDS)
        .resource_records(value)
        .build()?;
    let change = Change::builder()
        .action(ChangeAction::Create)
        .resource_record_set(set)
        .build()?;
    ChangeBatch::builder()
        .comment("Validation of a certificate by aip-deploy")
        .changes(change)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_holds_its_own_name_and_what_is_below() {
        let zone = HostedZone {
            id: "Z1".to_owned(),
            name: "example.org".to_owned(),
        };
        for name in ["example.org", "_a.example.org", "a.b.example.org"] {
            assert!(zone.holds(name), "{name}");
        }
        for name in ["ample.org", "notexample.org", "org", "example.org.net", ""] {
            assert!(!zone.holds(name), "{name}");
        }
    }
}
