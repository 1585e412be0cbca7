//! Limits of the API server that a plan can check by itself: without its namespace no object can be
//! sent as a dry run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// `MaxSecretSize` of the core API: all values of a Secret together, in bytes.
const MAX_SECRET_BYTES: usize = 1024 * 1024;

/// `TotalAnnotationSizeLimitB`: all annotations of an object together, names included, in bytes.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

/// Why the API server will refuse the object, if its size is the reason.
pub fn too_large(object: &Value) -> Option<String> {
    let values = object["data"].as_object().into_iter().flatten();
    let bytes: usize = values
        .filter_map(|(_, value)| value.as_str())
        .map(|value| {
            STANDARD
                .decode(value)
                .map_or(value.len(), |bytes| bytes.len())
        })
        .sum();
    if object["kind"] == "Secret" && bytes > MAX_SECRET_BYTES {
        return Some(format!(
            "its values total {bytes} bytes; a Secret holds {MAX_SECRET_BYTES} at most"
        ));
    }
    let annotations = object["metadata"]["annotations"].as_object();
    let bytes: usize = annotations
        .into_iter()
        .flatten()
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    (bytes > MAX_ANNOTATION_BYTES).then(|| {
        format!(
            "its annotations total {bytes} bytes; an object holds {MAX_ANNOTATION_BYTES} at most"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_larger_than_the_api_servers_limit_is_refused_by_its_decoded_size() {
        let secret = |bytes: usize| json!({"kind": "Secret", "data": {"A": STANDARD.encode(vec![0; bytes - 1]), "B": "eA=="}});
        assert_eq!(too_large(&secret(MAX_SECRET_BYTES)), None);
        let refused = too_large(&secret(MAX_SECRET_BYTES + 1)).unwrap();
        assert!(refused.contains("1048577 bytes"), "{refused}");
        let annotated = |bytes: usize| json!({"kind": "Service", "metadata": {"annotations": {"a": "x".repeat(bytes - 1)}}});
        assert_eq!(too_large(&annotated(MAX_ANNOTATION_BYTES)), None);
        assert!(too_large(&annotated(MAX_ANNOTATION_BYTES + 1)).is_some());
        assert_eq!(too_large(&json!({"kind": "Secret"})), None);
    }
}
