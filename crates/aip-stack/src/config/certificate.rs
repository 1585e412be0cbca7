//! A certificate that the stack file has as text (PEM, RFC 7468; X.509, RFC 5280): whether it is valid now,
//! for the public host name, and belongs to the key beside it. Who signed it is not checked: a private
//! authority is as good as a public one to those who trust it.

use aip_base::Timestamp;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use super::checks::truncate_value;

/// What a private key has that a passphrase protects: in PKCS #8 (RFC 7468 §11), and as OpenSSL did before.
const PROTECTED: [&str; 2] = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];

/// From this time before its end, a certificate is mentioned.
const NOTICE_SECONDS: i64 = 14 * 86_400;

/// What is wrong with a chain, completing "FIELD …"; or a sentence of the same form for the operator, if
/// the certificate ends soon.
pub(super) fn check_chain(
    chain: &str,
    host: &str,
    now: Timestamp,
) -> Result<Option<String>, String> {
    let blocks = certificates(chain);
    let (first, authorities) = blocks
        .split_first()
        .ok_or("has no PEM block `CERTIFICATE`")?;
    let certificate = parse(first)?;
    let names = names(&certificate);
    let validity = certificate.validity();
    let (begin, end) = (validity.not_before, validity.not_after);
    let which = format!(
        "the certificate for {} is valid from {begin} to {end}",
        if names.is_empty() {
            "no host name".to_owned()
        } else {
            names.join(", ")
        }
    );
    if end.timestamp() < now.as_secs() {
        return Err(format!("has expired: {which}"));
    }
    if begin.timestamp() > now.as_secs() {
        return Err(format!("is not valid yet: {which}"));
    }
    if !names.iter().any(|name| covers(name, host)) {
        return Err(format!("is for another host than {host}: {which}"));
    }
    if !is_for_servers(&certificate) {
        return Err(format!(
            "is not for servers, by its extended key usage: {which}"
        ));
    }
    for authority in authorities {
        check_authority(&parse(authority)?, now)?;
    }
    let ends_soon = end.timestamp() - now.as_secs() < NOTICE_SECONDS;
    Ok(ends_soon.then(|| format!("ends soon: {which}")))
}

/// By when the first certificate of a chain (PEM) ends; none if it cannot be read.
pub fn end_of(chain: &str) -> Option<Timestamp> {
    let blocks = certificates(chain);
    let certificate = parse(blocks.first()?).ok()?;
    Some(Timestamp::from_secs(
        certificate.validity().not_after.timestamp(),
    ))
}

/// One that may sign anything is one for servers, too (RFC 5280 §4.2.1.12).
fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.extended_key_usage().ok().flatten();
    usage.is_none_or(|usage| usage.value.server_auth || usage.value.any)
}

/// Nobody trusts a certificate by an authority that has ended. A root that signed itself is not looked at: who
/// trusts it has it.
fn check_authority(authority: &X509Certificate<'_>, now: Timestamp) -> Result<(), String> {
    let validity = authority.validity();
    let (begin, end) = (validity.not_before, validity.not_after);
    let lasts = (begin.timestamp()..=end.timestamp()).contains(&now.as_secs());
    if lasts || authority.subject() == authority.issuer() {
        return Ok(());
    }
    Err(format!(
        "holds an authority that is not valid now: that of `{}` is valid from {begin} to {end}",
        truncate_value(&authority.subject().to_string())
    ))
}

/// Whether a private key is the one of the chain's first certificate. A chain that cannot be read is
/// [`check_chain`]'s business.
pub(super) fn check_key(key: &str, chain: &str) -> Result<(), String> {
    let public = public_key(key)?;
    let blocks = certificates(chain);
    let Some(Ok(certificate)) = blocks.first().map(parse) else {
        return Ok(());
    };
    if *certificate.public_key().subject_public_key.data == *public {
        Ok(())
    } else {
        Err("is not the key of the certificate in aip_config.certificate.chain".to_owned())
    }
}

/// The certificates of a chain, that of the host first.
fn certificates(chain: &str) -> Vec<Pem> {
    let blocks = Pem::iter_from_buffer(chain.as_bytes());
    let blocks = blocks.filter_map(|block| block.ok().filter(|block| block.label == "CERTIFICATE"));
    blocks.collect()
}

fn parse(pem: &Pem) -> Result<X509Certificate<'_>, String> {
    pem.parse_x509()
        .map_err(|_| "holds no X.509 certificate".to_owned())
}

/// The host names of the certificate (RFC 5280 §4.2.1.6); its subject does not count (RFC 9525 §2).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| &extension.value.general_names);
    names
        .into_iter()
        .flatten()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// Whether a name of a certificate means the host; a wildcard stands for one label (RFC 9525 §6.3).
fn covers(name: &str, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    }
}

/// The public half of a private key, as a certificate has it.
fn public_key(key: &str) -> Result<Vec<u8>, String> {
    const REFUSED: &str = "has no PEM block with a private RSA, P-256 or P-384 key";
    if PROTECTED.iter().any(|it| key.contains(it)) {
        return Err(
            "is protected by a passphrase of its own: `openssl pkey -in tls.key -out plain.key` takes it off, and the \
             stack file encrypts the key"
                .to_owned(),
        );
    }
    let blocks = Pem::iter_from_buffer(key.as_bytes());
    let mut keys = blocks.filter_map(Result::ok);
    let der = keys.find(|block| block.label.ends_with("PRIVATE KEY"));
    let der = der.ok_or_else(|| REFUSED.to_owned())?.contents;
    let ec = [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
    ]
    .into_iter()
    .find_map(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, &der).ok());
    if let Some(pair) = ec {
        return Ok(pair.public_key().as_ref().to_vec());
    }
    let pair = rsa::KeyPair::from_pkcs8(&der).or_else(|_| rsa::KeyPair::from_der(&der));
    let pair = pair.map_err(|_| REFUSED.to_owned())?;
    Ok(pair.public_key().as_ref().to_vec())
}
