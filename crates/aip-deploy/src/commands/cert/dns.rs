//! The records that validate a certificate: created in Route 53 where the account has the zone, and
//! told to the operator where it has not.

use std::collections::BTreeSet;

use aip_aws::{Certificate, DnsRecord, HostedZone, RecordState, Route53};

use super::CertError;
use super::find::Lookup;

/// The records that are not found yet. Two names may share one.
pub(super) fn missing(certificate: &Certificate) -> BTreeSet<DnsRecord> {
    let open = certificate.validations.iter().filter(|one| !one.is_done);
    open.filter_map(|one| one.record.clone()).collect()
}

/// Creates the records whose zone the account has. Returns the others.
pub(super) async fn create(
    lookup: &Lookup<'_>,
    records: BTreeSet<DnsRecord>,
    zone_id: Option<&str>,
) -> Result<BTreeSet<DnsRecord>, CertError> {
    let route53 = Route53::connect(&lookup.ctx.aws, lookup.acm.region()).await?;
    let zones = route53.zones().await?;
    let mut elsewhere = BTreeSet::new();
    let mut found = Vec::new();
    // All of them are looked at before the first one is created.
    for record in records {
        let Some(zone) = zone_of(&zones, &record.name, zone_id)? else {
            elsewhere.insert(record);
            continue;
        };
        match route53.look_up(zone, &record).await? {
            RecordState::Occupied(values) => {
                let zone = zone.clone();
                return Err(CertError::Occupied {
                    zone,
                    record,
                    values,
                });
            }
            state => found.push((zone, record, state)),
        }
    }
    for (zone, record, state) in found {
        let is_missing = state == RecordState::Missing;
        if is_missing {
            route53.create(zone, &record).await?;
        }
        lookup.ctx.screen.status(format!(
            "{} CNAME {} in the zone {} ({}): {}",
            record.name,
            record.value,
            zone.name,
            zone.id,
            if is_missing {
                "created"
            } else {
                "there already"
            }
        ));
    }
    Ok(elsewhere)
}

/// The zone with the longest name that holds a record; none if the account has none.
fn zone_of<'z>(
    zones: &'z [HostedZone],
    name: &str,
    id: Option<&str>,
) -> Result<Option<&'z HostedZone>, CertError> {
    let holding = || zones.iter().filter(|zone| zone.holds(name));
    let known = |found: &mut dyn Iterator<Item = &HostedZone>| found.cloned().collect();
    if let Some(id) = id {
        let chosen = holding().find(|zone| zone.id == id);
        return chosen.map(Some).ok_or_else(|| CertError::NoZone {
            id: id.to_owned(),
            name: name.to_owned(),
            known: known(&mut holding()),
        });
    }
    let longest = holding().map(|zone| zone.name.len()).max();
    let mut nearest = holding().filter(|zone| Some(zone.name.len()) == longest);
    match (nearest.next(), nearest.next()) {
        (Some(_), Some(_)) => Err(CertError::Zones {
            name: name.to_owned(),
            known: known(&mut holding().filter(|zone| Some(zone.name.len()) == longest)),
        }),
        (nearest, _) => Ok(nearest),
    }
}

/// Why a record that is in place may not be found: the domain is delegated to other name servers than
/// those of the zone. None if that cannot be said.
pub(super) async fn delegation_hint(lookup: &Lookup<'_>, record: &DnsRecord) -> Option<String> {
    let route53 = Route53::connect(&lookup.ctx.aws, lookup.acm.region()).await;
    // What is only a hint may fail.
    let route53 = route53.ok()?;
    let zones = route53.zones().await.ok()?;
    let zone = zone_of(&zones, &record.name, None).ok()??;
    let servers = route53.name_servers(zone).await.ok()?;
    Some(format!(
        "the zone {} is served by {}: if `dig +short NS {}` names others, the DNS of the domain is elsewhere, \
         and the record belongs there",
        zone.name,
        servers.join(", "),
        zone.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(id: &str, name: &str) -> HostedZone {
        HostedZone {
            id: id.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn the_nearest_zone_is_taken_unless_two_are_equally_near_or_one_is_named() {
        let zones = [
            zone("Z1", "example.org"),
            zone("Z2", "auth.example.org"),
            zone("Z3", "other.org"),
            zone("Z4", "other.org"),
        ];
        let of = |name, id| zone_of(&zones, name, id).map(|zone| zone.map(|zone| zone.id.as_str()));
        assert_eq!(of("_x.auth.example.org", None).unwrap(), Some("Z2"));
        assert_eq!(of("_x.www.example.org", None).unwrap(), Some("Z1"));
        assert_eq!(of("_x.auth.example.org", Some("Z1")).unwrap(), Some("Z1"));
        assert_eq!(of("_x.example.net", None).unwrap(), None);
        assert_eq!(of("_x.notexample.org", None).unwrap(), None);
        let error = of("_x.other.org", None).unwrap_err().to_string();
        assert!(error.contains("Z3 (other.org), Z4 (other.org)"), "{error}");
        for id in ["Z3", "Z9"] {
            let error = of("_x.example.org", Some(id)).unwrap_err().to_string();
            assert!(error.contains("Z1 (example.org)"), "{error}");
        }
    }
}
