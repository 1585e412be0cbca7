//! Undoing content codings (RFC 9110 §8.4). AIP asks for `identity`; a server that compresses all
//! the same has sent, after a single-use token was spent, the only copy of the next one.

use std::io::{self, Read};

use aip_base::Fetched;
use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};

/// The most bytes of an unpacked body.
const MAX_BYTES: u64 = 1024 * 1024;
/// The most codings on top of one another.
const MAX_CODINGS: usize = 3;

/// The body of an answer without its content codings, at most 1 MiB of it. What can be unpacked of
/// a body that breaks off is unpacked. `None` when a coding is unknown.
pub fn decoded(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let names = value.to_str().ok()?.split(',').map(str::trim);
        codings.extend(names.filter(|name| !name.is_empty()));
    }
    if codings.len() > MAX_CODINGS {
        return None;
    }
    let mut body = body.clone();
    for coding in codings.into_iter().rev() {
        body = match coding.to_ascii_lowercase().as_str() {
            "identity" => body,
            "gzip" | "x-gzip" => collect(MultiGzDecoder::new(&*body)).into(),
            "deflate" => inflate(&body).into(),
            "br" => collect(brotli_decompressor::Decompressor::new(&*body, 4096)).into(),
            _ => return None,
        };
    }
    Some(body)
}

/// The answer with its body decoded. One whose coding is unknown stays as it is.
pub(crate) fn decode(mut answer: Fetched) -> Fetched {
    if answer.content_coding().is_some()
        && let Some(body) = decoded(&answer.headers, &answer.body)
    {
        answer.body = body;
        answer.headers.remove(CONTENT_ENCODING);
        answer.headers.remove(CONTENT_LENGTH);
    }
    answer
}

/// `deflate` is the zlib format (RFC 9110 §8.4.1.2); some servers send it without the wrapper.
fn inflate(body: &[u8]) -> Vec<u8> {
    let unpacked = collect(ZlibDecoder::new(body));
    if unpacked.is_empty() {
        collect(DeflateDecoder::new(body))
    } else {
        unpacked
    }
}

/// What can be read, up to the limit: an error keeps what came before it.
fn collect(from: impl Read) -> Vec<u8> {
    let mut unpacked = Vec::new();
    let outcome: io::Result<usize> = from.take(MAX_BYTES).read_to_end(&mut unpacked);
    if let Err(error) = outcome {
        tracing::debug!(%error, bytes = unpacked.len(), "compressed response is truncated");
    }
    unpacked
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    const TEXT: &[u8] = br#"{"access_token":"at","refresh_token":"rt"}"#;
    /// `TEXT` as `br`: one uncompressed meta-block and the last, empty one (RFC 7932 §9.2).
    fn brotli() -> Vec<u8> {
        // WBITS 16 (one bit 0), ISLAST 0, MNIBBLES 4 (00), MLEN-1 in 16 bits, ISUNCOMPRESSED 1.
        let header = ((u32::try_from(TEXT.len()).unwrap() - 1) << 4) | (1 << 20);
        let mut packed = header.to_le_bytes()[..3].to_vec();
        packed.extend_from_slice(TEXT);
        packed.push(0b11);
        packed
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(coding: &'static str, body: Vec<u8>) -> Option<Bytes> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        decoded(&headers, &body.into())
    }

    #[test]
    fn every_coding_of_the_registry_that_servers_use_is_undone() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(TEXT).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(TEXT).unwrap();
        for (coding, body) in [
            ("gzip", gzip(TEXT)),
            ("X-GZip", gzip(TEXT)),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", raw.finish().unwrap()),
            ("br", brotli()),
            ("identity", TEXT.to_vec()),
            ("gzip, identity, gzip", gzip(&gzip(TEXT))),
        ] {
            assert_eq!(unpacked(coding, body).as_deref(), Some(TEXT), "{coding}");
        }
        assert_eq!(unpacked("zstd", TEXT.to_vec()), None);
        assert_eq!(unpacked("gzip, gzip, gzip, gzip", Vec::new()), None);
    }

    #[test]
    fn what_is_unpacked_is_bounded_and_a_cut_body_gives_what_it_has() {
        let bomb = gzip(&vec![b' '; 8 * 1024 * 1024]);
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(unpacked("gzip", bomb).unwrap().len(), 1024 * 1024);
        let mut cut = gzip(TEXT);
        cut.truncate(cut.len() - 8);
        assert_eq!(unpacked("gzip", cut).as_deref(), Some(TEXT));
        assert_eq!(
            unpacked("gzip", b"<html>".to_vec()).as_deref(),
            Some(&b""[..])
        );
    }
}
