//! The `traceparent` header (W3C Trace Context §3.2): which trace a request belongs to.
//!
//! Only the ids are taken over. Whether a trace is recorded is this server's own decision, since
//! anybody can send the flag.

use aip_base::Rng;
use http::HeaderMap;

const TRACEPARENT: &str = "traceparent";

/// Where a request stands in its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceContext {
    /// The id of the trace: the caller's, or a new one. 32 digits of lower-case hex.
    pub(crate) trace_id: String,
    /// The caller's span. 16 digits of lower-case hex.
    pub(crate) parent: Option<String>,
}

impl TraceContext {
    /// That of a request with these headers.
    pub(crate) fn of(headers: &HeaderMap, rng: &dyn Rng) -> Self {
        sent(headers).unwrap_or_else(|| {
            let mut id = [0; 16];
            rng.fill(&mut id);
            Self {
                trace_id: format!("{:032x}", u128::from_be_bytes(id)),
                parent: None,
            }
        })
    }
}

/// What the caller sent, if it sent it once and well-formed.
fn sent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let mut parts = value.split('-');
    let (version, trace_id) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    let well_formed = is_hex(version, 2)
        && version != "ff"
        && is_hex(flags, 2)
        && is_id(trace_id, 32)
        && is_id(parent, 16)
        // Later versions may have more parts.
        && (version != "00" || parts.next().is_none());
    well_formed.then(|| TraceContext {
        trace_id: trace_id.to_owned(),
        parent: Some(parent.to_owned()),
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// An id of zeros stands for none.
fn is_id(text: &str, digits: usize) -> bool {
    is_hex(text, digits) && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use aip_base::SystemRng;
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(values: &[&str]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        TraceContext::of(&headers, &SystemRng)
    }

    #[test]
    fn the_trace_of_the_caller_goes_on() {
        for value in [
            format!("00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-00"),
            format!("01-{TRACE}-{SPAN}-01-what-a-later-version-adds"),
        ] {
            let context = of(&[&value]);
            assert_eq!(context.trace_id, TRACE, "{value}");
            assert_eq!(context.parent.as_deref(), Some(SPAN), "{value}");
        }
    }

    #[test]
    fn what_is_no_trace_context_begins_a_new_trace() {
        let zero = "0".repeat(32);
        let upper = TRACE.to_uppercase();
        let bad = [
            String::new(),
            "x".repeat(4000),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{zero}-{SPAN}-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-1"),
        ];
        for value in &bad {
            let context = of(&[value]);
            assert!(is_id(&context.trace_id, 32), "{context:?}");
            assert_ne!(context.trace_id, TRACE, "{value}");
            assert_eq!(context.parent, None, "{value}");
        }
        let good = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(of(&[&good, &good]).parent, None, "sent twice");
        assert_ne!(of(&[]).trace_id, of(&[]).trace_id);
    }
}
