//! A span as OTLP writes it in JSON, and the W3C trace context.

use serde_json::{Value, json};

/// What kind of work a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpanKind {
    /// Inside the process.
    Internal = 1,
    /// A request that came in.
    Server = 2,
}

/// Which trace a span belongs to, and who caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceContext {
    pub(super) trace_id: [u8; 16],
    /// The span that caused it.
    pub(super) parent: Option<[u8; 8]>,
    /// Whether anybody wants it.
    pub(super) is_sampled: bool,
}

/// A piece of work with a beginning and an end.
#[derive(Debug, Clone)]
pub(super) struct TraceSpan {
    pub(super) context: TraceContext,
    pub(super) span_id: [u8; 8],
    pub(super) name: String,
    pub(super) kind: SpanKind,
    pub(super) start_nanos: u64,
    pub(super) end_nanos: u64,
    pub(super) attributes: Vec<(String, Attribute)>,
    pub(super) is_error: bool,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attribute {
    Text(String),
    Whole(i64),
    Number(f64),
    Truth(bool),
    Texts(Vec<String>),
}

impl TraceContext {
    /// Returns the beginning of a trace; nothing without a source of random bytes.
    pub(super) fn new_trace() -> Option<TraceContext> {
        Some(TraceContext { trace_id: random()?, parent: None, is_sampled: true })
    }

    /// Reads the header `traceparent` (W3C Trace Context, level 1, section 3.2): version, trace id, parent id and flags in lower-case
    /// hexadecimal. Nothing when it breaks a rule, which the specification says shall begin a new trace.
    pub(super) fn from_header(text: &str) -> Option<TraceContext> {
        let mut parts = text.trim().split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // A later version may add parts; this one may not.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let [_version] = bytes::<1>(version)?;
        let (trace_id, parent, [flags]) = (bytes::<16>(trace)?, bytes::<8>(parent)?, bytes::<1>(flags)?);
        let is_valid = trace_id != [0; 16] && parent != [0; 8];
        is_valid.then_some(TraceContext { trace_id, parent: Some(parent), is_sampled: flags & 1 == 1 })
    }
}

/// Returns random bytes, not all of them zero, which would be no identifier; without a source of them there are no traces, and
/// requests go on.
pub(super) fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::warn!(%error, "no random bytes for a trace");
        return None;
    }
    (bytes != [0; N]).then_some(bytes)
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 2 * N || !is_lower {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl TraceSpan {
    /// Returns the span as OTLP's JSON has it: identifiers in hexadecimal, 64-bit numbers as text.
    pub(super) fn to_json(&self) -> Value {
        let attributes: Vec<Value> = self.attributes.iter().map(|(key, value)| pair(key, value)).collect();
        let mut span = json!({
            "traceId": hex(&self.context.trace_id),
            "spanId": hex(&self.span_id),
            "name": self.name,
            "kind": self.kind as u8,
            "startTimeUnixNano": self.start_nanos.to_string(),
            "endTimeUnixNano": self.end_nanos.to_string(),
            "attributes": attributes,
            "status": if self.is_error { json!({ "code": 2 }) } else { json!({}) },
        });
        if let Some(parent) = &self.context.parent {
            span["parentSpanId"] = hex(parent).into();
        }
        span
    }
}

/// Returns an attribute as OTLP's JSON has it.
pub(super) fn pair(key: &str, value: &Attribute) -> Value {
    let text = |text: &String| json!({ "stringValue": text });
    let value = match value {
        Attribute::Text(value) => text(value),
        Attribute::Whole(value) => json!({ "intValue": value.to_string() }),
        Attribute::Number(value) => json!({ "doubleValue": value }),
        Attribute::Truth(value) => json!({ "boolValue": value }),
        Attribute::Texts(values) => json!({ "arrayValue": { "values": values.iter().map(text).collect::<Vec<_>>() } }),
    };
    json!({ "key": key, "value": value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn example_of_the_specification_is_read() {
        let context = TraceContext::from_header(EXAMPLE).unwrap();
        assert_eq!(hex(&context.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(hex(&context.parent.unwrap()), "00f067aa0ba902b7");
        assert!(context.is_sampled);
        assert!(!TraceContext::from_header(&EXAMPLE.replace("-01", "-00")).unwrap().is_sampled);
        assert!(TraceContext::from_header(&format!("01{}-later", &EXAMPLE[2..])).is_some());
    }

    #[test]
    fn identifier_of_zeros_is_never_given_out() {
        assert_eq!(random::<0>(), None, "no byte that is not zero");
        assert_ne!(random::<16>(), random::<16>());
        assert!(TraceContext::new_trace().is_some_and(|context| context.trace_id != [0; 16]));
    }

    #[test]
    fn header_that_breaks_a_rule_is_none() {
        let broken = [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47麦-00f067aa0ba902b7-01",
        ];
        for text in broken {
            assert_eq!(TraceContext::from_header(text), None, "{text}");
        }
    }
}
