//! The examples printed in the RFCs and in the interoperability tests of the AT Protocol.

use std::time::Duration;

use aip_base::Timestamp;
use aip_jose::{Alg, PublicJwk, SigningKey, UnverifiedJws, dpop};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::ExposeSecret as _;

#[derive(serde::Deserialize)]
struct Joe {
    iss: String,
    exp: i64,
}

/// RFC 7515, appendix A.3.
const ES256_KEY: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
const ES256_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

#[test]
fn rfc7515_a3_es256() {
    let key = SigningKey::from_jwk_json(ES256_KEY).unwrap();
    let jws = UnverifiedJws::parse(ES256_TOKEN).unwrap();
    let joe: Joe = jws
        .verify(key.public(), Alg::Es256)
        .unwrap()
        .claims()
        .unwrap();
    assert_eq!((joe.iss.as_str(), joe.exp), ("joe", 1_300_819_380));
}

/// RFC 7515, appendix A.2.
#[test]
fn rfc7515_a2_rs256() {
    let key = PublicJwk::from_json(
        r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#,
    )
    .unwrap();
    let token = "eyJhbGciOiJSUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let jws = UnverifiedJws::parse(token).unwrap();
    assert!(jws.verify(&key, Alg::Rs256).is_ok());
}

/// RFC 8037, appendix A.1 to A.5.
#[test]
fn rfc8037_ed25519() {
    let key = SigningKey::from_jwk_json(
        r#"{"kty":"OKP","crv":"Ed25519",
            "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    )
    .unwrap();
    assert_eq!(key.alg(), Alg::EdDsa);
    assert_eq!(
        key.public().thumbprint().as_str(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    let (input, signature) = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    let signed = key.sign(input.as_bytes()).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(signed), signature);
    let jws = UnverifiedJws::parse(&format!("{input}.{signature}")).unwrap();
    assert!(jws.verify(key.public(), Alg::EdDsa).is_ok());
}

/// RFC 7638 §3.1.
#[test]
fn rfc7638_thumbprint() {
    let key = PublicJwk::from_json(
        r#"{"kty":"RSA","alg":"RS256","kid":"2011-04-29","e":"AQAB","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}"#,
    )
    .unwrap();
    assert_eq!(
        key.thumbprint().as_str(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
    assert_eq!(key.kid(), Some("2011-04-29"));
}

/// RFC 9449 §4.1 and §6.1.
#[test]
fn rfc9449_proof_and_thumbprint() {
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
    let expected = dpop::Expected {
        htm: "POST",
        htu: "https://server.example.com/token",
        now: Timestamp::from_secs(1_562_262_616),
        max_age: Duration::from_mins(1),
        max_skew: Duration::from_secs(10),
        access_token: None,
    };
    let verified = dpop::verify(proof, &expected).unwrap();
    assert_eq!(
        verified.jkt.as_str(),
        "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    );
    assert_eq!(verified.jti, "-BwC3ESc6acc2lTc");
    assert_eq!(verified.nonce, None);
}

/// AT Protocol interoperability tests, `crypto/w3c_didkey_K256.json`.
#[test]
fn atproto_did_keys_of_known_private_keys() {
    let vectors = [
        (
            "9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c",
            "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        ),
        (
            "175a232d440be1e0788f25488a73d9416c04b6f924bea6354bf05dd2f1a75133",
            "did:key:zQ3shptjE6JwdkeKN4fcpnYQY3m9Cet3NiHdAfpvSUZBFoKBj",
        ),
    ];
    for (private, did_key) in vectors {
        let public = PublicJwk::from_did_key(did_key).unwrap();
        let mut jwk = serde_json::to_value(&public).unwrap();
        let scalar: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&private[at..at + 2], 16).unwrap())
            .collect();
        jwk["d"] = URL_SAFE_NO_PAD.encode(scalar).into();
        let key = SigningKey::from_jwk_json(&jwk.to_string()).expect("the scalar fits the point");
        assert_eq!(
            format!("did:key:{}", key.public().to_multikey().unwrap()),
            did_key
        );
        assert!(
            key.to_private_did_key()
                .unwrap()
                .expose_secret()
                .starts_with("did:key:z")
        );
    }
}

/// AT Protocol interoperability tests, `crypto/signature-fixtures.json`. Its high-S signatures
/// are invalid in repositories, but JWS knows no such rule: they verify here.
#[test]
fn atproto_signatures() {
    let message = STANDARD_NO_PAD.decode("oWVoZWxsb2V3b3JsZA").unwrap();
    let p256 = "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo";
    let k256 = "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";
    let signatures = [
        (
            p256,
            "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoJWExHptCfduPleDbG3rko3YZnn9Lw0IjpixVmexJDegg",
        ),
        (
            k256,
            "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdUn/FEznOndsz/qgiYb89zwxYCbB71f7yQK5Lr7NasfoA",
        ),
        (
            p256,
            "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoKp7O4VS9giSAah8k5IUbXIW00SuOrjfEqQ9HEkN9JGzw",
        ),
        (
            k256,
            "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdXYA67MYxYiTMAVfdnkDCMN9S5B3vHosRe07aORmoshoQ",
        ),
    ];
    for (did_key, signature) in signatures {
        let key = PublicJwk::from_did_key(did_key).unwrap();
        assert_eq!(format!("did:key:{}", key.to_multikey().unwrap()), did_key);
        let signature = STANDARD_NO_PAD.decode(signature).unwrap();
        assert!(
            key.verifying_key().verify(&message, &signature).is_ok(),
            "{did_key}"
        );
        assert!(
            key.verifying_key()
                .verify(b"another message", &signature)
                .is_err(),
            "{did_key}"
        );
    }
}
