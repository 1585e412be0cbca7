//! Whom to trust: the system's root certificates and the operator's bundles.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

use crate::OutboundConfigError;

/// The TLS settings of every connection, with `bundles` trusted besides the system's roots.
pub(crate) fn client_config(bundles: &[Vec<u8>]) -> Result<ClientConfig, OutboundConfigError> {
    let mut roots = RootCertStore::empty();
    let native = system_roots();
    for error in &native.errors {
        tracing::warn!(%error, "skipping unreadable system root certificate");
    }
    roots.add_parsable_certificates(native.certs);
    for (index, bundle) in bundles.iter().enumerate() {
        let refused = |reason: String| OutboundConfigError::CaBundle {
            number: index + 1,
            reason,
        };
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            let certificate = certificate.map_err(|error| refused(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| refused(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(refused("it contains no PEM certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(OutboundConfigError::NoRoots);
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Ok(ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// What the system trusts. Linux distributions keep the same certificates as one file and as a folder
/// of some hundred: where the file is there, it is enough, and a start is 8 ms shorter.
fn system_roots() -> CertificateResult {
    if cfg!(target_os = "linux")
        && !openssl_probe::has_ssl_cert_env_vars()
        && let Some(file) = openssl_probe::probe().cert_file
    {
        let found = load_certs_from_paths(Some(&file), None);
        if !found.certs.is_empty() {
            return found;
        }
    }
    load_native_certs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_named_by_its_number() {
        let error = client_config(&[b"not a certificate".to_vec()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CA bundle number 1 is not usable: it contains no PEM certificate"
        );
    }
}
