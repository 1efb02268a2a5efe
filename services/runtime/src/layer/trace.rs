//! Which trace a call belongs to. Read from the caller: `traceparent` and nothing else.

use std::fmt::Write as _;

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

/// The header of W3C trace context.
const TRACEPARENT: &str = "traceparent";
const SAMPLED: u8 = 0x01;

/// The trace of a call, in the extensions of its request, also when nothing is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTrace {
    /// Never all zeros.
    pub trace_id: [u8; 16],
    /// Our span, the parent of everything the call causes elsewhere. Never all zeros.
    pub span_id: [u8; 8],
    /// Whether the call is recorded.
    pub sampled: bool,
}

impl CallTrace {
    /// A trace that starts here and is not recorded.
    #[must_use]
    pub fn unsampled() -> Self {
        Self {
            trace_id: RandomIdGenerator::default().new_trace_id().to_bytes(),
            span_id: RandomIdGenerator::default().new_span_id().to_bytes(),
            sampled: false,
        }
    }

    /// The header to send along with calls made on behalf of this one.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        push_hex(&mut text, &self.trace_id);
        text.push('-');
        push_hex(&mut text, &self.span_id);
        text.push_str(if self.sampled { "-01" } else { "-00" });
        text
    }

    /// The caller's trace and span, if it sent exactly one valid `traceparent`.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() { None } else { Self::parse(value.as_bytes()) }
    }

    /// `00-<32 hex>-<16 hex>-<2 hex>` in lower case; a version above 00 may have more fields, which we do not read.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(|byte| *byte == b'-');
        let [version] = hex::<1>(fields.next()?)?;
        let trace_id = hex::<16>(fields.next()?)?;
        let span_id = hex::<8>(fields.next()?)?;
        let [flags] = hex::<1>(fields.next()?)?;
        let complete = version != 0 || fields.next().is_none();
        let valid = version != 0xff && trace_id != [0; 16] && span_id != [0; 8];
        (complete && valid).then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }

    /// As a remote parent for OpenTelemetry; its trace state is empty whatever the caller sent.
    pub(super) fn as_remote_parent(&self) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let (trace_id, span_id) = (TraceId::from_bytes(self.trace_id), SpanId::from_bytes(self.span_id));
        SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE)
    }

    pub(super) fn of_span(span: &SpanContext) -> Option<Self> {
        span.is_valid().then(|| Self {
            trace_id: span.trace_id().to_bytes(),
            span_id: span.span_id().to_bytes(),
            sampled: span.is_sampled(),
        })
    }
}

/// Which calls are recorded: the caller's choice if it made one, else a share of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// A trace is recorded when the low 63 bits of its id are below; `None` records nothing at all.
    threshold: Option<u64>,
}

impl Sampling {
    /// Nothing is recorded, not even when callers ask for it.
    #[must_use]
    pub fn off() -> Self {
        Self { threshold: None }
    }

    /// Records this share (0 to 1, clamped) of the calls whose caller did not say.
    #[must_use]
    pub fn ratio(share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=2^63")]
        let threshold = (share.clamp(0.0, 1.0) * 9_223_372_036_854_775_808.0) as u64;
        Self { threshold: Some(threshold) }
    }

    pub(super) fn decides_for(self, parent: Option<&CallTrace>, trace_id: &[u8; 16]) -> bool {
        match (self.threshold, parent) {
            (None, _) => false,
            (Some(_), Some(parent)) => parent.sampled,
            (Some(threshold), None) => low_bits(trace_id) < threshold,
        }
    }
}

fn low_bits(trace_id: &[u8; 16]) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *trace_id;
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_valid_traceparent_round_trips() {
        let trace = CallTrace::from_headers(&headers(&[VALID])).unwrap();
        assert!(trace.sampled);
        assert_eq!(trace.trace_id[..2], [0x4b, 0xf9]);
        assert_eq!(trace.span_id[7], 0xb7);
        assert_eq!(trace.traceparent(), VALID);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_known() {
        let later = VALID.replacen("00-", "cc-", 1) + "-what-the-future-will-be-like";
        assert!(CallTrace::from_headers(&headers(&[&later])).unwrap().sampled);
    }

    #[test]
    fn anything_else_is_no_parent() {
        let invalid = [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ];
        for text in invalid {
            assert_eq!(CallTrace::from_headers(&headers(&[text])), None, "{text}");
        }
        assert_eq!(CallTrace::from_headers(&headers(&[VALID, VALID])), None, "two headers choose nothing");
        assert_eq!(CallTrace::from_headers(&HeaderMap::new()), None);
    }

    #[test]
    fn the_caller_decides_before_the_ratio() {
        let mut parent = CallTrace::from_headers(&headers(&[VALID])).unwrap();
        let id = parent.trace_id;
        assert!(Sampling::ratio(0.0).decides_for(Some(&parent), &id));
        assert!(!Sampling::off().decides_for(Some(&parent), &id));
        parent.sampled = false;
        assert!(!Sampling::ratio(1.0).decides_for(Some(&parent), &id));
        assert!(Sampling::ratio(1.0).decides_for(None, &[0xff; 16]));
        assert!(!Sampling::ratio(0.0).decides_for(None, &[0; 16]));
        let half = Sampling::ratio(0.5);
        assert!(half.decides_for(None, &[0x7f; 16]) && !half.decides_for(None, &[0x80; 16]));
    }

    #[test]
    fn new_traces_have_an_id() {
        let (one, two) = (CallTrace::unsampled(), CallTrace::unsampled());
        assert_ne!(one.trace_id, two.trace_id);
        assert_ne!(one.span_id, [0; 8]);
    }
}
