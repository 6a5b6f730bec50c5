//! The headers of W3C Trace Context, level 1 (a recommendation) and the version rules for what comes after it.
//!
//! A header that breaks a rule counts as absent: the request begins a new trace, and nobody is told of an error.

use std::fmt;

use http::{HeaderMap, HeaderValue};

use super::{TRACEPARENT, TRACESTATE};

/// Longest `tracestate` that is passed on; the recommendation asks for at least this.
const MAX_STATE_BYTES: usize = 512;
/// Most entries in it.
const MAX_STATE_MEMBERS: usize = 32;

/// Names a trace. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// Names a span within its trace. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span of who asks.
    pub span: SpanId,
    /// Whether who began the trace records it.
    pub sampled: bool,
}

impl TraceId {
    /// A new one.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// Whether it is among a part of all traces; the same for everybody who asks with the same part.
    pub(super) fn is_within(self, part: f64) -> bool {
        let [.., a, b, c, d, e, f, g] = self.0;
        let random = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        // 56 random bits, as level 2 of the recommendation and OpenTelemetry's ratio samplers have it.
        (random as f64) < part * (1_u64 << 56) as f64
    }
}

impl SpanId {
    /// A new one.
    pub fn random() -> Self {
        let [a, b, c, d, e, f, _, g, ..] = uuid::Uuid::new_v4().into_bytes();
        // Not zero, whatever the others are.
        Self([a, b, c, d, e, f, g, a | 1])
    }
}

impl TraceParent {
    /// Reads the header; `None` if it is not there once and right.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let text = values.next()?.as_bytes();
        if values.next().is_some() {
            return None;
        }
        Self::parse(text)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(55)?;
        let [version, trace, span, flags] =
            <[&[u8]; 4]>::try_from(known.split(|byte| *byte == b'-').collect::<Vec<_>>()).ok()?;
        let [version] = digits(version)?;
        let [flags] = digits(flags)?;
        // What a later version adds stands behind another dash; 255 is forbidden.
        let is_whole = if version == 0 { more.is_empty() } else { more.is_empty() || more[0] == b'-' };
        let (trace, span) = (digits::<16>(trace)?, digits::<8>(span)?);
        let good = is_whole && version != 0xff && trace != [0; 16] && span != [0; 8];
        good.then_some(Self { trace: TraceId(trace), span: SpanId(span), sampled: flags & 1 == 1 })
    }

    /// The header, in the version of the recommendation.
    pub fn header(&self) -> HeaderValue {
        let text = format!("00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled));
        HeaderValue::try_from(text).expect("hexadecimal digits and dashes")
    }
}

/// The `tracestate`, joined to one value; `None` if there is none, or one that nobody could read.
pub(super) fn state_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let values: Vec<_> = headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes).collect();
    let joined = values.join(&b","[..]);
    let members = joined.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty());
    let members: Vec<_> = members.collect();
    let good =
        !members.is_empty() && members.len() <= MAX_STATE_MEMBERS && members.iter().all(|member| is_member(member));
    let text = members.join(&b","[..]);
    if !good || text.len() > MAX_STATE_BYTES {
        return None;
    }
    HeaderValue::from_bytes(&text).ok()
}

/// `key=value`; the key of lower-case letters, digits and `_-*/@`, the value of printable ASCII without `,` and `=`.
fn is_member(member: &[u8]) -> bool {
    let Some(at) = member.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = (&member[..at], &member[at + 1..]);
    let in_key = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
    let in_value = |byte: &u8| (0x20..=0x7e).contains(byte) && *byte != b'=';
    (1..=256).contains(&key.len())
        && key.iter().all(in_key)
        && (1..=256).contains(&value.len())
        && value.iter().all(in_value)
}

/// Lower-case hexadecimal digits, which is all that the recommendation allows.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_read_and_written_as_the_recommendation_says() {
        let parse = |text: &str| TraceParent::parse(text.as_bytes());
        let parent = parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!(
            (parent.trace.to_string().as_str(), parent.span.to_string().as_str(), parent.sampled),
            (TRACE, SPAN, true)
        );
        assert_eq!(parent.header(), format!("00-{TRACE}-{SPAN}-01"));
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            assert_eq!(parse(&format!("00-{TRACE}-{SPAN}-{flags}")).unwrap().sampled, sampled, "{flags}");
        }
        for later in [format!("01-{TRACE}-{SPAN}-01"), format!("cc-{TRACE}-{SPAN}-01-what-the-future-says")] {
            assert_eq!(parse(&later), Some(parent), "{later}");
        }
    }

    #[test]
    fn a_broken_traceparent_counts_as_absent() {
        let zero = "0".repeat(32);
        for text in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-001"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zero}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zero[..16]),
            format!("00-{TRACE}-{SPAN}-0x"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}{SPAN}--01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
        ] {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text}");
        }
        let value = HeaderValue::try_from(format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let mut headers: HeaderMap = [(TRACEPARENT, value.clone())].into_iter().collect();
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, value);
        assert!(TraceParent::of(&headers).is_none(), "two of them");
    }

    #[test]
    fn a_tracestate_is_joined_and_a_broken_one_is_left_out() {
        let state = |values: &[&str]| {
            let values = values.iter().map(|value| (TRACESTATE, HeaderValue::from_str(value).unwrap()));
            let mut headers = HeaderMap::new();
            values.for_each(|(name, value)| assert!(headers.append(name, value) || headers.len() == 1));
            state_of(&headers).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(
            state(&["rojo=00f067aa0ba902b7, congo=t61 x", "a@b=1,"]).as_deref(),
            Some("rojo=00f067aa0ba902b7,congo=t61 x,a@b=1")
        );
        let many = vec!["a=1"; 33].join(",");
        let long = format!("a={},b={}", "x".repeat(256), "y".repeat(256));
        for broken in [&[][..], &[""], &["a"], &["=1"], &["A=1"], &["a="], &["a=b=c"], &[&many], &[&long]] {
            assert_eq!(state(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn a_part_of_the_traces_is_sampled() {
        let sampled = |part| (0..2000).filter(|_| TraceId::random().is_within(part)).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 2000));
        assert!((600..1400).contains(&sampled(0.5)));
    }

    proptest! {
        #[test]
        fn l07_no_header_of_a_client_panics(text in proptest::collection::vec(any::<u8>(), 0..80), state in proptest::collection::vec(any::<u8>(), 0..600)) {
            let parsed = TraceParent::parse(&text);
            prop_assert!(parsed.is_none() || text.len() >= 55);
            if let Ok(value) = HeaderValue::from_bytes(&state) {
                let headers: HeaderMap = [(TRACESTATE, value)].into_iter().collect();
                prop_assert!(state_of(&headers).is_none_or(|state| state.len() <= MAX_STATE_BYTES));
            }
        }
    }
}
