//! JSON bodies as the reference PDS reads them: the `json` parser of Express, which follows the
//! charset of `Content-Type` as long as its name begins with `utf-`, takes an empty body for `{}`,
//! and the last of several members of one name.
//!
//! Content codings are refused, which the reference would undo.

use http::StatusCode;
use serde_json::{Value, json};

use super::super::error::XrpcError;
use crate::stage::request::Received;

/// The body of a procedure whose input is JSON.
pub(super) fn json(request: &Received) -> Result<Value, XrpcError> {
    let header = request.header("content-type").unwrap_or_default();
    let media_type = header.split(';').next().unwrap_or_default().trim();
    if media_type.is_empty() {
        let message = "Request encoding (Content-Type) required but not provided";
        return Err(XrpcError::invalid_request(message));
    }
    if !media_type.eq_ignore_ascii_case("application/json") {
        let message = format!("Wrong request encoding (Content-Type): {media_type}");
        return Err(XrpcError::invalid_request(message));
    }
    if request.header("content-encoding").is_some() {
        return Err(unsupported("unsupported content encoding"));
    }
    let text = decode(&charset(header), &request.body)?;
    if text.is_empty() {
        return Ok(json!({}));
    }
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| XrpcError::invalid_request(error.to_string()))?;
    if value.is_object() || value.is_array() {
        return Ok(value);
    }
    Err(XrpcError::invalid_request("Unexpected token"))
}

fn charset(header: &str) -> String {
    let parameters = header.split(';').skip(1);
    let charset = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let value = charset.map_or("utf-8", |(_, value)| value.trim().trim_matches('"'));
    value.to_ascii_lowercase()
}

fn decode(charset: &str, bytes: &[u8]) -> Result<String, XrpcError> {
    let text = match charset {
        "utf-8" => String::from_utf8_lossy(bytes).into_owned(),
        "utf-16" | "utf-16le" => utf16(bytes, u16::from_le_bytes),
        "utf-16be" => utf16(bytes, u16::from_be_bytes),
        "utf-7" => utf7(bytes),
        _ => return Err(unsupported("unsupported charset")),
    };
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| unit([pair[0], pair[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}

/// RFC 2152: `+`, then UTF-16 in base64 up to the first other character; `+-` is a plus.
fn utf7(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut units: Vec<u16> = Vec::new();
    let mut rest = bytes;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'+' {
            units.push(first.into());
            continue;
        }
        let (mut bits, mut held) = (0_u32, 0_u32);
        let mut empty = true;
        while let Some((next, behind)) = rest.split_first()
            && let Some(value) = ALPHABET.iter().position(|it| it == next)
        {
            rest = behind;
            empty = false;
            bits = (bits << 6) | u32::try_from(value).unwrap_or_default();
            held += 6;
            if held >= 16 {
                held -= 16;
                units.push(u16::try_from((bits >> held) & 0xffff).unwrap_or_default());
                bits &= (1 << held) - 1;
            }
        }
        if let Some((b'-', behind)) = rest.split_first() {
            rest = behind;
            if empty {
                units.push(b'+'.into());
            }
        }
    }
    String::from_utf16_lossy(&units)
}

fn unsupported(message: &str) -> XrpcError {
    XrpcError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UnsupportedMediaType",
        message,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_that_express_knows_are_decoded() {
        let said = "{\"a\":\"ü+\"}";
        let utf16: Vec<u8> = said.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (charset, bytes) in [
            ("utf-8", said.as_bytes()),
            ("utf-16le", utf16.as_slice()),
            ("utf-7", b"+AHs-\"a\":\"+APw-+-\"}"),
        ] {
            assert_eq!(decode(charset, bytes).unwrap(), said, "{charset}");
        }
        assert!(decode("latin1", b"{}").is_err());
        assert!(decode("utf-9", b"{}").is_err());
    }
}
