//! Stories about DID documents of both dialects, and of hostile ones.

use serde_json::json;

use super::*;

const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
const KEY: &str = "zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N";

fn parse(document: &Value) -> DidDocument {
    DidDocument::parse(document.to_string().as_bytes()).unwrap()
}

#[test]
fn today_s_plc_format_with_absolute_ids_and_multikey_is_read() {
    let document = parse(&json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": DID,
        "alsoKnownAs": ["https://alice.example", "at://Alice.test", "at://second.test"],
        "verificationMethod": [
            {"id": format!("{DID}#other"), "type": "Multikey", "publicKeyMultibase": "zzz"},
            {"id": format!("{DID}#atproto"), "type": "Multikey", "controller": DID, "publicKeyMultibase": KEY},
        ],
        "service": [
            {"id": "#atproto_labeler", "type": "AtprotoLabeler", "serviceEndpoint": "https://labels.example"},
            {"id": format!("{DID}#atproto_pds"), "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.example/"},
        ],
    }));
    assert_eq!(document.id().as_str(), DID);
    assert_eq!(document.handle().unwrap().as_str(), "alice.test");
    assert_eq!(
        document.pds_endpoint().unwrap().as_str(),
        "https://pds.example"
    );
    let key = document.signing_key().unwrap();
    assert_eq!(
        (key.kind, key.multibase.as_str()),
        (SigningKeyKind::Multikey, KEY)
    );
    assert_eq!(key.kind.as_str(), "Multikey");
    let told: Value = serde_json::from_str(document.json().unwrap()).unwrap();
    assert_eq!(told["service"][0]["id"], "#atproto_labeler");
}

#[test]
fn the_text_of_a_document_is_kept_up_to_8_kib_and_its_parts_whatever_its_size() {
    for (bytes, is_kept) in [(100, true), (8192, true), (8193, false), (60_000, false)] {
        let text = |padding: usize| {
            let padding = "x".repeat(padding);
            json!({ "alsoKnownAs": ["at://alice.test"], "id": DID, "x": padding }).to_string()
        };
        let text = text(bytes - text(0).len());
        assert_eq!(text.len(), bytes);
        let document = DidDocument::parse(text.as_bytes()).unwrap();
        assert_eq!(document.json(), is_kept.then_some(text.as_str()), "{bytes}");
        assert_eq!(document.handle().unwrap().as_str(), "alice.test");
    }
}

#[test]
fn the_older_format_with_relative_ids_and_legacy_keys_is_read() {
    for (name, kind) in [
        (
            "EcdsaSecp256k1VerificationKey2019",
            SigningKeyKind::LegacyK256,
        ),
        (
            "EcdsaSecp256r1VerificationKey2019",
            SigningKeyKind::LegacyP256,
        ),
    ] {
        let document = parse(&json!({
            "id": DID,
            "verificationMethod": [{"id": "#atproto", "type": name, "publicKeyMultibase": KEY}],
            "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "http://localhost:2583"}],
        }));
        assert_eq!(document.signing_key().unwrap().kind, kind);
        assert_eq!(
            document.pds_endpoint().unwrap().as_str(),
            "http://localhost:2583"
        );
        assert_eq!(document.handle(), None);
    }
}

#[test]
fn of_two_pds_services_the_first_counts() {
    let service = |endpoint: &str, kind: &str| json!({"id": "#atproto_pds", "type": kind, "serviceEndpoint": endpoint});
    let good = service("https://second.example", "AtprotoPersonalDataServer");

    let first = service("https://first.example", "AtprotoPersonalDataServer");
    let document = parse(&json!({"id": DID, "service": [first, good]}));
    assert_eq!(
        document.pds_endpoint().unwrap().as_str(),
        "https://first.example"
    );

    for unusable in [
        service("https://first.example", "SomethingElse"),
        service("https://first.example/path", "AtprotoPersonalDataServer"),
        json!({"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": ["https://first.example"]}),
    ] {
        let document = parse(&json!({"id": DID, "service": [unusable, good]}));
        assert_eq!(document.pds_endpoint(), None, "{unusable}");
    }
}

#[test]
fn another_did_s_service_and_key_do_not_count() {
    let document = parse(&json!({
        "id": DID,
        "verificationMethod": [{"id": "did:web:evil.example#atproto", "type": "Multikey", "publicKeyMultibase": KEY}],
        "service": [{"id": "did:web:evil.example#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://evil.example"}],
    }));
    assert_eq!(
        (document.pds_endpoint(), document.signing_key()),
        (None, None)
    );
}

#[test]
fn a_document_about_another_did_is_refused() {
    let asked = Did::parse("did:web:example.com").unwrap();
    let json = json!({ "id": DID }).to_string();
    let error = DidDocument::parse_for(&asked, json.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the document of did:web:example.com says that it is the document of {DID}")
    );
    let own = Did::parse(DID).unwrap();
    assert_eq!(
        DidDocument::parse_for(&own, json.as_bytes()).unwrap().id(),
        &own
    );
}

#[test]
fn repeated_keys_are_refused_wherever_they_matter() {
    let service = r##"{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://a.example","serviceEndpoint":"https://b.example"}"##;
    for text in [
        format!(r#"{{"id":"{DID}","id":"did:web:evil.example"}}"#),
        format!(r#"{{"id":"{DID}","service":[],"service":[]}}"#),
        format!(r#"{{"id":"{DID}","service":[{service}]}}"#),
    ] {
        let error = DidDocument::parse(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("duplicate field"), "{error}");
    }
}

#[test]
fn huge_deep_and_odd_documents_are_refused_or_ignored_but_never_fatal() {
    let huge = vec![b' '; MAX_BYTES + 1];
    assert!(matches!(
        DidDocument::parse(&huge),
        Err(DidDocumentError::TooLarge)
    ));
    let deep = format!(r#"{{"id":"{DID}","@context":{}"#, "[".repeat(60_000));
    assert!(matches!(
        DidDocument::parse(deep.as_bytes()),
        Err(DidDocumentError::Json(_))
    ));
    let no_did = DidDocument::parse(br#"{"id":"did:key:z6Mk"}"#);
    assert!(matches!(
        no_did,
        Err(DidDocumentError::Id(DidError::Method))
    ));

    let odd = parse(&json!({
        "id": DID,
        "alsoKnownAs": [7, null, "at://", "at://not a handle", "at://did:web:example.com", "at://ok.test"],
        "verificationMethod": [{"id": "#atproto", "type": "Multikey", "publicKeyMultibase": "z0OIl"}],
        "service": null,
    }));
    assert_eq!(odd.handle().unwrap().as_str(), "ok.test");
    assert_eq!((odd.pds_endpoint(), odd.signing_key()), (None, None));
}
