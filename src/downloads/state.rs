//! Which state of an object an answer is about, and how much of it is in the answer.

use std::ops::Range;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED};
use http::response::Parts;
use http::{HeaderName, HeaderValue, StatusCode};

const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
/// How long after a change a time of modification stands for one state only: it counts seconds, and servers of one store differ a little.
const SETTLING: Duration = Duration::from_secs(2);

/// What tells one state of an object from another.
///
/// Not the ETag alone ([`KnownBy`](crate::inspect::KnownBy)): the time of modification belongs to it, once it is old enough that a later
/// change has another one (RFC 9110 §8.8.2.2), or a version that never changes. An object that was put together of parts has the time at
/// which its upload began (Amazon S3), so two of them can have the same, and be completed one long after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// As the store wrote it.
    pub etag: HeaderValue,
    /// The version, if the bucket keeps versions.
    pub version_id: Option<String>,
    /// When it was last changed, as the store wrote it.
    pub last_modified: Option<String>,
    /// Bytes of the whole object, if the answer tells.
    pub length: Option<u64>,
    /// How long until the time of modification stands for this state only; `None` if that cannot be told, or never comes.
    pub settles_in: Option<Duration>,
}

/// How much of an object is in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// A part, perhaps.
    Part,
    /// Nothing that could be understood.
    Unclear,
}

impl State {
    /// What an answer of success says; `None` without an ETag.
    pub fn of(head: &Parts) -> Option<Self> {
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let etag = head.headers.get(ETAG)?.clone();
        // A version of this name is replaced while versions are suspended.
        let version_id = text(VERSION_ID).filter(|version| !version.is_empty() && version != "null");
        let last_modified = text(LAST_MODIFIED);
        let length = match head.status {
            StatusCode::PARTIAL_CONTENT => text(CONTENT_RANGE).and_then(|range| content_range(&range)?.2),
            _ => text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        };
        let settles_in = match (&version_id, &last_modified, text(DATE)) {
            (Some(_), ..) => Some(Duration::ZERO),
            (None, Some(changed), Some(now)) if !is_of_parts(&etag) => settles_in(changed, &now),
            _ => None,
        };
        Some(Self { etag, version_id, last_modified, length, settles_in })
    }

    /// Whether nothing else than this state is known by what is known of it.
    pub fn is_settled(&self) -> bool {
        self.settles_in == Some(Duration::ZERO)
    }

    /// Whether both are the same state, as far as both tell.
    pub fn is(&self, other: &Self) -> bool {
        let same_length = self.length.is_none() || other.length.is_none() || self.length == other.length;
        same_length
            && (&self.etag, &self.version_id, &self.last_modified)
                == (&other.etag, &other.version_id, &other.last_modified)
    }
}

/// How much is in an answer of success; `of_part` says that a part was asked for by its number, which some stores overlook.
pub fn extent(head: &Parts, of_part: bool) -> Extent {
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    match head.status {
        StatusCode::OK if of_part => Extent::Part,
        StatusCode::OK => Extent::Whole,
        StatusCode::PARTIAL_CONTENT => match text(CONTENT_RANGE).and_then(content_range) {
            Some((0, last, Some(length))) if last + 1 == length => match text(CONTENT_LENGTH) {
                Some(declared) if declared.parse() == Ok(length) => Extent::Whole,
                _ => Extent::Part,
            },
            Some(_) => Extent::Part,
            None => Extent::Unclear,
        },
        _ => Extent::Unclear,
    }
}

/// Which bytes of an object of this length are in an answer of success; `None` if they are not in the object.
pub fn window(head: &Parts, length: u64) -> Option<Range<u64>> {
    if head.status != StatusCode::PARTIAL_CONTENT {
        return Some(0..length);
    }
    let (first, last, _) = content_range(head.headers.get(CONTENT_RANGE)?.to_str().ok()?)?;
    (last < length).then_some(first..last + 1)
}

/// Whether an ETag is one of an object that was put together of parts: `"…-N"`.
fn is_of_parts(etag: &HeaderValue) -> bool {
    etag.as_bytes().contains(&b'-')
}

/// First byte, last byte and length of `bytes 0-9/10`; the length may be `*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let number = |text: &str| {
        let plain = (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| plain)
    };
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let length = if length == "*" { None } else { Some(number(length)?) };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && length.is_none_or(|length| last < length)).then_some((first, last, length))
}

fn settles_in(changed: &str, now: &str) -> Option<Duration> {
    let seconds = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp().as_second());
    let age = seconds(now)?.checked_sub(seconds(changed)?)?;
    let settling = i64::try_from(SETTLING.as_secs()).ok()?;
    // A time in the future is not waited for longer than one of now.
    Some(Duration::from_secs(settling.saturating_sub(age).clamp(0, settling).unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn head(status: u16, headers: &[(&str, &str)]) -> Parts {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        answer.body(()).unwrap().into_parts().0
    }

    const NOON: &str = "Sun, 22 Nov 2026 12:00:00 GMT";

    fn changed(last_modified: &str, more: &[(&str, &str)]) -> State {
        let mut headers = vec![("etag", "\"e\""), ("date", NOON), ("content-length", "10")];
        if !last_modified.is_empty() {
            headers.push(("last-modified", last_modified));
        }
        headers.extend(more);
        State::of(&head(200, &headers)).unwrap()
    }

    #[test]
    fn only_a_whole_object_is_taken_for_one() {
        let part = |range: &str, length: &str| {
            extent(&head(206, &[("content-range", range), ("content-length", length)]), false)
        };
        assert_eq!(extent(&head(200, &[]), false), Extent::Whole);
        assert_eq!(extent(&head(200, &[]), true), Extent::Part, "the store may have overlooked the number, or not");
        assert_eq!(part("bytes 0-9/10", "10"), Extent::Whole);
        for range in ["bytes 0-8/10", "bytes 1-9/10", "bytes 0-9/*", "bytes 3-3/10"] {
            assert_eq!(part(range, "9"), Extent::Part, "{range}");
        }
        assert_eq!(part("bytes 0-9/10", "9"), Extent::Part);
        for range in ["bytes 0-10/10", "bytes 5-2/10", "bytes 0-9", "items 0-9/10", "bytes -9/10", "bytes 0-+9/10", ""]
        {
            assert_eq!(part(range, "10"), Extent::Unclear, "{range}");
        }
        assert_eq!(extent(&head(206, &[]), false), Extent::Unclear);
        assert_eq!(extent(&head(203, &[]), false), Extent::Unclear);
    }

    #[test]
    fn a_state_is_settled_when_a_later_one_cannot_look_the_same() {
        for (last_modified, settles_in) in [
            ("Sun, 22 Nov 2026 11:59:58 GMT", Some(0)),
            ("Sun, 22 Nov 2020 12:00:00 GMT", Some(0)),
            ("Sun, 22 Nov 2026 11:59:59 GMT", Some(1)),
            (NOON, Some(2)),
            ("Sun, 22 Nov 2026 12:00:05 GMT", Some(2)),
            ("yesterday", None),
            ("", None),
        ] {
            let state = changed(last_modified, &[]);
            assert_eq!(state.settles_in, settles_in.map(Duration::from_secs), "{last_modified}");
            assert_eq!(state.is_settled(), settles_in == Some(0), "{last_modified}");
        }
        assert!(changed(NOON, &[("x-amz-version-id", "v1")]).is_settled(), "a version does not change");
        assert!(!changed(NOON, &[("x-amz-version-id", "null")]).is_settled(), "but this one does");
        assert!(State::of(&head(200, &[("last-modified", NOON)])).is_none());
    }

    #[test]
    fn an_object_of_parts_is_never_settled_but_as_a_version() {
        let of_parts = |more: &[(&str, &str)]| {
            let mut headers =
                vec![("etag", "\"e-2\""), ("date", NOON), ("last-modified", "Sun, 22 Nov 2020 12:00:00 GMT")];
            headers.extend(more);
            State::of(&head(200, &headers)).unwrap().settles_in
        };
        assert_eq!(of_parts(&[]), None, "the time is that of its beginning, not of its end");
        assert_eq!(of_parts(&[("x-amz-version-id", "null")]), None);
        assert_eq!(of_parts(&[("x-amz-version-id", "v1")]), Some(Duration::ZERO));
    }

    #[test]
    fn the_bytes_of_a_part_lie_in_the_object() {
        let part = |range: &str| window(&head(206, &[("content-range", range)]), 10);
        assert_eq!((part("bytes 2-4/10"), part("bytes 0-9/*")), (Some(2..5), Some(0..10)));
        assert_eq!((part("bytes 2-10/11"), part("bytes 4-2/10")), (None, None));
        assert_eq!((window(&head(200, &[]), 10), window(&head(206, &[]), 10)), (Some(0..10), None));
    }

    #[test]
    fn states_are_the_same_if_nothing_tells_them_apart() {
        let state = changed(NOON, &[]);
        let other = |edit: fn(&mut State)| {
            let mut other = state.clone();
            edit(&mut other);
            other
        };
        assert!(state.is(&other(|state| state.length = None)) && state.is(&other(|state| state.settles_in = None)));
        assert!(!state.is(&other(|state| state.length = Some(11))));
        assert!(!state.is(&other(|state| state.last_modified = None)));
        assert!(!state.is(&other(|state| state.version_id = Some("v".into()))));
        assert!(!state.is(&other(|state| state.etag = HeaderValue::from_static("\"f\""))));
    }

    #[test]
    fn the_length_is_that_of_the_whole_object() {
        let of = |status, headers: &[(&str, &str)]| State::of(&head(status, headers)).unwrap().length;
        assert_eq!(of(200, &[("etag", "e"), ("content-length", "10")]), Some(10));
        let part = [("etag", "e"), ("content-length", "2"), ("content-range", "bytes 0-1/10")];
        assert_eq!(of(206, &part), Some(10));
        assert_eq!(of(206, &[("etag", "e"), ("content-length", "2"), ("content-range", "bytes 0-1/*")]), None);
        assert_eq!(of(200, &[("etag", "e")]), None);
    }
}
