//! Where the certificate of the edge comes from, and whether it will do.

use crate::config::Certificate;
use crate::config::certificate::{check_chain, check_key};
use crate::config::choices::{CertificateKind, EdgeKind, ServiceType};
use crate::config::field::Field;
use crate::config::fields::{
    CERTIFICATE_CHAIN, CERTIFICATE_KEY, CERTIFICATE_KIND, EDGE_KIND, ISSUER_NAME, SERVICE_TYPE,
};
use crate::config::fix::{Edit, Fix, Remedy};
use crate::config::value::ConfigString;
use crate::config::values::Values;

use super::Resolver;
use super::edge::is_proxy;

impl Resolver<'_> {
    /// The certificate that the stack gives to its edge; none if the edge has its own, or something is
    /// wrong. `host` is the public host name.
    pub(super) fn certificate(
        &mut self,
        values: &Values,
        host: Option<&str>,
    ) -> Option<Certificate> {
        let kind = values.get(&CERTIFICATE_KIND)?;
        if !self.certificate_fits_edge(values, kind) {
            return None;
        }
        match kind {
            CertificateKind::Acm => None,
            CertificateKind::CertManager => {
                let why = "is missing: the name of the issuer";
                let issuer = self.edge_name(values, &ISSUER_NAME, why)?;
                Some(Certificate::CertManager {
                    host: host?.to_owned(),
                    issuer,
                })
            }
            CertificateKind::Files => self.certificate_files(values, host?),
        }
    }

    fn certificate_fits_edge(&mut self, values: &Values, kind: CertificateKind) -> bool {
        let balanced = !is_proxy(values) && values.get(&SERVICE_TYPE) == ServiceType::LoadBalancer;
        let (message, edit) = match kind {
            CertificateKind::Acm if balanced => return true,
            CertificateKind::CertManager | CertificateKind::Files if is_proxy(values) => {
                return true;
            }
            CertificateKind::CertManager | CertificateKind::Files if balanced => (
                "the load balancer takes certificates of ACM alone".to_owned(),
                Edit::Set(<&str>::from(CertificateKind::Acm).to_owned()),
            ),
            CertificateKind::Acm if values.get(&EDGE_KIND) != EdgeKind::LoadBalancer => (
                format!(
                    "certificates of ACM are for load balancers, and aip_config.edge.kind is {}",
                    <&str>::from(values.get(&EDGE_KIND))
                ),
                Edit::Remove,
            ),
            _ => (
                "nothing of the stack ends TLS: aip_config.service.type is cluster_ip".to_owned(),
                Edit::Remove,
            ),
        };
        let path = CERTIFICATE_KIND.path();
        let message = format!("is {}: {message}", <&str>::from(kind));
        let fix = Fix::new(Remedy::CertificateKind, path, edit);
        let line = values.line_of(&CERTIFICATE_KIND);
        self.parser.problem(line, path, message, Some(fix));
        false
    }

    fn certificate_files(&mut self, values: &Values, host: &str) -> Option<Certificate> {
        let chain = self.certificate_file(values, &CERTIFICATE_CHAIN, "tls.crt");
        let key = self.certificate_file(values, &CERTIFICATE_KEY, "tls.key");
        let (chain, key) = (chain?, key?);
        self.note_plain(&key, CERTIFICATE_KEY.path());
        if let Some(text) = chain.plaintext() {
            match check_chain(text, host, self.input.now) {
                Ok(None) => {}
                Ok(Some(notice)) => {
                    let path = CERTIFICATE_CHAIN.path();
                    self.notices.push(format!("{path} {notice}"));
                }
                Err(message) => self.bad_file(&chain, &CERTIFICATE_CHAIN, "tls.crt", message),
            }
            if let Some(Err(message)) = key.plaintext().map(|key| check_key(key, text)) {
                self.bad_file(&key, &CERTIFICATE_KEY, "tls.key", message);
            }
        }
        Some(Certificate::Files {
            chain: chain.to_secret(),
            key: key.to_secret(),
        })
    }

    fn certificate_file(
        &mut self,
        values: &Values,
        field: &Field<Option<ConfigString>>,
        file: &'static str,
    ) -> Option<ConfigString> {
        let text = values
            .get(field)
            .filter(|text| text.plaintext() != Some(""));
        if text.is_none() {
            let fix = Fix::new(
                Remedy::CertificateFiles,
                field.path(),
                Edit::SecretFrom(file),
            );
            let line = values.line_of(&CERTIFICATE_KIND);
            self.parser.missing(line, field.path(), "is missing", fix);
        }
        text
    }

    fn bad_file(
        &mut self,
        text: &ConfigString,
        field: &Field<Option<ConfigString>>,
        file: &'static str,
        message: String,
    ) {
        let fix = Fix::new(
            Remedy::CertificateFiles,
            field.path(),
            Edit::SecretFrom(file),
        );
        self.parser
            .problem(Some(text.line), field.path(), message, Some(fix));
    }
}
