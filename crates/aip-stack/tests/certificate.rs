//! Where the certificate of the edge comes from, what is refused, and the objects that follow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use aip_stack::desired::{Desired, NameKey, Phase, objects};
use common::{config, stack};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use serde_json::{Value, json};

const GATEWAY: &str = "edge: {kind: gateway, gateway: {name: public, namespace: infra, section: https}}\n\
                       trusted_proxies: [10.0.0.0/8]";
const INGRESS: &str =
    "edge: {kind: ingress, ingress: {class: traefik}}\ntrusted_proxies: [10.0.0.0/8]";
const ISSUER: &str = "certificate: {kind: cert_manager, issuer: {name: letsencrypt}}";

/// A certificate for these names that is valid in these years, and its key.
fn issued(names: &[&str], from: i32, to: i32) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.not_before = date_time_ymd(from, 1, 1);
    parameters.not_after = date_time_ymd(to, 10, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Lines of a stack with these files behind an ingress.
fn files(chain: &str, key: &str) -> String {
    let block = |name: &str, text: &str| {
        let lines: Vec<String> = text.lines().map(|line| format!("    {line}\n")).collect();
        format!("  {name}: |\n{}", lines.concat())
    };
    format!(
        "{INGRESS}\ncertificate:\n  kind: files\n{}{}",
        block("chain", chain),
        block("key", key)
    )
}

fn problems(more: &str) -> String {
    match config(&stack("restricted", more)) {
        Ok(_) => panic!("accepted:\n{more}"),
        Err(problems) => problems.to_string(),
    }
}

fn build(more: &str) -> Vec<Desired> {
    let config = config(&stack("restricted", more)).unwrap_or_else(|e| panic!("{e}"));
    objects(&config, &NameKey::public())
}

fn find<'o>(objects: &'o [Desired], kind: &str, name: &str) -> Option<&'o Desired> {
    let mut all = objects.iter();
    all.find(|object| object.object().kind == kind && object.object().name == name)
}

#[test]
fn cert_manager_is_asked_for_the_public_host_before_anything_changes() {
    for (more, issuer) in [
        (ISSUER.to_owned(), "ClusterIssuer letsencrypt"),
        (
            ISSUER.replace("{name:", "{kind: issuer, name:"),
            "Issuer aip-main/letsencrypt",
        ),
    ] {
        let objects = build(&format!("{INGRESS}\n{more}"));
        let request = find(&objects, "Certificate", "aip").unwrap();
        assert_eq!(request.phase(), Phase::Foundation);
        assert_eq!(request.requires()[0].object.to_string(), issuer);
        let spec = &request.manifest()["spec"];
        assert_eq!(spec["dnsNames"], json!(["auth.example.com"]));
        let (kind, _) = issuer.split_once(' ').unwrap();
        assert_eq!(
            spec["issuerRef"],
            json!({"group": "cert-manager.io", "kind": kind, "name": "letsencrypt"})
        );
        let ingress = find(&objects, "Ingress", "aip").unwrap().manifest();
        assert_eq!(ingress["spec"]["tls"][0]["secretName"], spec["secretName"]);
        assert!(objects.iter().map(Desired::phase).is_sorted());
    }
}

#[test]
fn a_gateway_of_another_namespace_may_read_the_secret_and_nothing_else() {
    let objects = build(&format!("{GATEWAY}\n{ISSUER}"));
    let grant = find(&objects, "ReferenceGrant", "aip-tls")
        .unwrap()
        .manifest();
    assert_eq!(
        grant["spec"],
        json!({
            "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra"}],
            "to": [{"group": "", "kind": "Secret", "name": "aip-tls"}],
        })
    );
    let own = GATEWAY.replace("namespace: infra, ", "");
    let objects = build(&format!("{own}\n{ISSUER}"));
    assert!(find(&objects, "ReferenceGrant", "aip-tls").is_none());
    let objects = build(&format!("{INGRESS}\n{ISSUER}"));
    assert!(find(&objects, "ReferenceGrant", "aip-tls").is_none());
}

#[test]
fn a_certificate_of_the_stack_file_is_a_secret_whose_name_stays() {
    let (chain, key) = issued(&["auth.example.com"], 2026, 2027);
    let objects = build(&files(&chain, &key));
    let secret = find(&objects, "Secret", "aip-tls").unwrap().manifest();
    assert_eq!(secret["type"], "kubernetes.io/tls");
    assert_eq!(secret["immutable"], Value::Null, "it is renewed in place");
    let names: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["tls.crt", "tls.key"]);
    // A wildcard covers one label; the certificate comes first, what signed it after.
    let (wildcard, key) = issued(&["*.example.com"], 2026, 2027);
    build(&files(&format!("{wildcard}{chain}"), &key));
}

#[test]
fn a_certificate_that_will_not_do_is_refused_with_its_dates_and_names() {
    let (good, key) = issued(&["auth.example.com"], 2026, 2027);
    let (_, other_key) = issued(&["auth.example.com"], 2026, 2027);
    for (names, from, to, words) in [
        (
            &["auth.example.com"][..],
            2024,
            2025,
            "chain: has expired: the certificate for auth.example.com is valid from Jan  1 00:00:00 2024 +00:00 to \
             Oct  1 00:00:00 2025 +00:00",
        ),
        (
            &["auth.example.com"],
            2027,
            2028,
            "chain: is not valid yet: the certificate for auth.example.com is valid from Jan  1 00:00:00 2027",
        ),
        (
            &["www.example.com", "example.com"],
            2026,
            2027,
            "chain: is for another host than auth.example.com: the certificate for www.example.com, example.com",
        ),
        (
            &["*.auth.example.com", "*.com"],
            2026,
            2027,
            "chain: is for another host than auth.example.com",
        ),
    ] {
        let (chain, key) = issued(names, from, to);
        let said = problems(&files(&chain, &key));
        assert!(said.contains(words), "{said}");
        assert!(
            said.contains("config set --path --secret aip_config.certificate.chain < tls.crt"),
            "{said}"
        );
    }
    for (chain, key, words) in [
        (
            good.as_str(),
            other_key.as_str(),
            "key: is not the key of the certificate in aip_config.certificate.chain",
        ),
        (
            &good,
            "hunter2",
            "key: has no PEM block with a private RSA, P-256 or P-384 key",
        ),
        (
            &good,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\naHVudGVyMg==\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "key: is protected by a passphrase of its own",
        ),
        (
            &good,
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\naHVudGVyMg==\n\
             -----END RSA PRIVATE KEY-----\n",
            "key: is protected by a passphrase of its own",
        ),
        (&key, &key, "chain: has no PEM block `CERTIFICATE`"),
        (
            "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n",
            &key,
            "chain: holds no X.509 certificate",
        ),
    ] {
        let said = problems(&files(chain, key));
        assert!(said.contains(words), "{said}");
        assert!(
            !said.contains("hunter2") && !said.contains("BEGIN"),
            "{said}"
        );
    }
    let said = problems(&format!("{INGRESS}\ncertificate: {{kind: files}}"));
    for words in [
        "certificate.chain: is missing\n    fix: aip-deploy config set --path --secret \
         aip_config.certificate.chain < tls.crt",
        "certificate.key: is missing\n    fix: aip-deploy config set --path --secret aip_config.certificate.key < \
         tls.key",
    ] {
        assert!(said.contains(words), "{said}");
    }
}

/// A certificate for the host by an authority, and the authority's own by another one, valid in these years.
fn chain_of(authority_from: i32, authority_to: i32, signs_itself: bool) -> (String, String) {
    let authority_of = |name: &str, from, to| {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.not_before = date_time_ymd(from, 1, 1);
        parameters.not_after = date_time_ymd(to, 10, 1);
        parameters
    };
    let authority_key = KeyPair::generate().unwrap();
    let middle = authority_of("middle", authority_from, authority_to);
    let authority = if signs_itself {
        middle.self_signed(&authority_key).unwrap()
    } else {
        let root_key = KeyPair::generate().unwrap();
        let root = Issuer::new(authority_of("root", 2020, 2040), root_key);
        middle.signed_by(&authority_key, &root).unwrap()
    };
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(vec!["auth.example.com".to_owned()]).unwrap();
    own.not_before = date_time_ymd(2026, 1, 1);
    own.not_after = date_time_ymd(2027, 10, 1);
    let own = own
        .signed_by(&key, &Issuer::new(middle, authority_key))
        .unwrap();
    (
        format!("{}{}", own.pem(), authority.pem()),
        key.serialize_pem(),
    )
}

#[test]
fn an_authority_in_the_chain_has_to_be_valid_too() {
    let (chain, key) = chain_of(2024, 2030, false);
    build(&files(&chain, &key));
    for (from, to) in [(2023, 2025), (2027, 2030)] {
        let (chain, key) = chain_of(from, to, false);
        let said = problems(&files(&chain, &key));
        let words = format!(
            "chain: holds an authority that is not valid now: that of `CN=middle` is valid from Jan  1 00:00:00 {from}"
        );
        assert!(said.contains(&words), "{said}");
        // Whoever trusts a root has it.
        let (chain, key) = chain_of(from, to, true);
        build(&files(&chain, &key));
    }
}

#[test]
fn a_certificate_is_one_for_servers() {
    for (usages, is_fine) in [
        (vec![ExtendedKeyUsagePurpose::ServerAuth], true),
        (
            vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ],
            true,
        ),
        (vec![ExtendedKeyUsagePurpose::Any], true),
        (vec![ExtendedKeyUsagePurpose::ClientAuth], false),
        (vec![ExtendedKeyUsagePurpose::CodeSigning], false),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["auth.example.com".to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(2026, 1, 1);
        parameters.not_after = date_time_ymd(2027, 10, 1);
        parameters.extended_key_usages = usages;
        let chain = parameters.self_signed(&key).unwrap().pem();
        let text = files(&chain, &key.serialize_pem());
        if is_fine {
            build(&text);
        } else {
            let said = problems(&text);
            assert!(
                said.contains("chain: is not for servers, by its extended key usage"),
                "{said}"
            );
        }
    }
}

#[test]
fn a_certificate_that_ends_soon_is_mentioned() {
    // The time of these tests is ten days before.
    let (chain, key) = issued(&["auth.example.com"], 2025, 2026);
    let config = config(&stack("restricted", &files(&chain, &key)));
    let notices = config.unwrap_or_else(|e| panic!("{e}")).notices;
    let soon = "aip_config.certificate.chain ends soon: the certificate for auth.example.com";
    assert!(
        notices.iter().any(|notice| notice.starts_with(soon)),
        "{notices:?}"
    );
}

#[test]
fn a_kind_that_its_edge_cannot_use_is_refused_with_the_reason() {
    for (more, words) in [
        (
            format!("{GATEWAY}\ncertificate: {{kind: acm}}"),
            "certificate.kind: is acm: certificates of ACM are for load balancers, and aip_config.edge.kind is \
             gateway\n    fix: aip-deploy config rm --path aip_config.certificate.kind",
        ),
        (
            ISSUER.to_owned(),
            "certificate.kind: is cert_manager: the load balancer takes certificates of ACM alone\n    fix: \
             aip-deploy config set --path aip_config.certificate.kind acm",
        ),
        (
            format!("{ISSUER}\nservice: {{type: cluster_ip}}\ntrusted_proxies: []"),
            "certificate.kind: is cert_manager: nothing of the stack ends TLS",
        ),
        (
            format!("{INGRESS}\ncertificate: {{kind: cert_manager}}"),
            "aip_config.certificate.issuer.name: is missing: the name of the issuer",
        ),
    ] {
        let said = problems(&more);
        assert!(said.contains(words), "{said}");
    }
    assert!(config(&stack("restricted", "certificate: {kind: acm}")).is_ok());
}
