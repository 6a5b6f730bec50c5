//! What is kept of a request to send it a second time, for when the connection that it met was just closing.
//!
//! Text in one piece instead of a second request: it is kept with nearly every request and needed once in thousands, and a copy of a
//! header map takes an allocation for each value. What is made of it is the request that was signed, header by header.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::flow::{Budget, Paced};
use crate::sign::OutboundBody;

/// A request that may be sent again.
pub(super) struct Repeat {
    method: Method,
    /// The target in the first line, then a line `name:value` for each header. None of them can hold a line feed, nor a name a colon.
    head: Vec<u8>,
    pieces: Option<VecDeque<Bytes>>,
}

impl Repeat {
    /// What is kept of a request, if repeating it does no harm; see [`does_no_harm_twice`].
    pub(super) fn of(request: &Request<Paced<OutboundBody>>) -> Option<Self> {
        if !does_no_harm_twice(request) {
            return None;
        }
        let pieces = match request.body().inner() {
            OutboundBody::Empty => None,
            OutboundBody::Buffered(pieces) => Some(pieces.clone()),
            OutboundBody::Upload(_) => return None,
        };
        let head = head_of(request.uri(), request.headers());
        Some(Self { method: request.method().clone(), head, pieces })
    }

    /// The request once more.
    pub(super) fn into_request(self, budget: &Arc<Budget>) -> Request<Paced<OutboundBody>> {
        let body = self.pieces.map_or(OutboundBody::Empty, OutboundBody::Buffered);
        let mut request = Request::new(Paced::new(body, Arc::clone(budget)));
        *request.method_mut() = self.method;
        (*request.uri_mut(), *request.headers_mut()) = read_head(&self.head);
        request
    }
}

/// Whether a store that gets a request twice is left with what one leaves, and says so.
///
/// That is what reads, and a DELETE of an object: nothing is left, or under versions a second marker on top of the first. (Of a bucket the
/// second one says that there is none; it cannot be told apart here.) So is a part, and a document about a bucket or an object; they have a
/// query, and replace themselves. An object is not: under versions there would be two. Nor is a write under a condition, which no longer
/// holds when the first one has met it: the answer would be a failure that was none (H17).
fn does_no_harm_twice(request: &Request<Paced<OutboundBody>>) -> bool {
    // S3 has `x-amz-if-match-…` beside the two of HTTP.
    let is_condition = |name: &str| name.contains("if-match") || name.contains("if-none-match");
    let is_conditional = || request.headers().keys().any(|name| is_condition(name.as_str()));
    match *request.method() {
        Method::GET | Method::HEAD => true,
        // The second AbortMultipartUpload would be told that there is no such upload.
        Method::DELETE => !is_conditional() && !request.uri().query().is_some_and(|query| query.contains("uploadId=")),
        Method::PUT => {
            let has_body = matches!(request.body().inner(), OutboundBody::Buffered(_));
            has_body && request.uri().query().is_some() && !is_conditional()
        }
        _ => false,
    }
}

fn head_of(target: &Uri, headers: &HeaderMap) -> Vec<u8> {
    let target = target.path_and_query().map_or("/", |target| target.as_str());
    let mut head = Vec::with_capacity(1024);
    head.extend_from_slice(target.as_bytes());
    for (name, value) in headers {
        head.push(b'\n');
        head.extend_from_slice(name.as_str().as_bytes());
        head.push(b':');
        head.extend_from_slice(value.as_bytes());
    }
    head
}

fn read_head(head: &[u8]) -> (Uri, HeaderMap) {
    let mut lines = head.split(|byte| *byte == b'\n');
    let target = Uri::try_from(lines.next().unwrap_or_default()).expect("the target of a request");
    let mut headers = HeaderMap::with_capacity(16);
    for line in lines {
        let colon = memchr::memchr(b':', line).expect("a colon behind each name");
        let name = HeaderName::from_bytes(&line[..colon]).expect("the name of a header");
        let mut value = HeaderValue::from_bytes(&line[colon + 1..]).expect("the value of a header");
        value.set_sensitive(name == AUTHORIZATION);
        headers.append(name, value);
    }
    (target, headers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OBJECT: &str = "/bucket/a%20key";
    const PART: &str = "/bucket/a%20key?partNumber=1&uploadId=%3A";

    fn request(method: Method, target: &str, body: OutboundBody) -> Request<Paced<OutboundBody>> {
        let mut request = Request::new(Paced::new(body, Budget::new(0)));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().unwrap();
        let mut credential = HeaderValue::from_static("AWS4-HMAC-SHA256 Credential=a:b");
        credential.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, credential);
        request
    }

    fn buffered() -> OutboundBody {
        OutboundBody::Buffered(VecDeque::from([Bytes::from_static(b"one"), Bytes::from_static(b"two")]))
    }

    #[test]
    fn what_does_no_harm_twice_is_sent_again_as_it_was() {
        for (method, target, body) in [
            (Method::GET, OBJECT, (|| OutboundBody::Empty) as fn() -> _),
            (Method::HEAD, OBJECT, || OutboundBody::Empty),
            (Method::DELETE, OBJECT, || OutboundBody::Empty),
            (Method::PUT, PART, buffered),
            (Method::PUT, "/bucket/a%20key?tagging", buffered),
        ] {
            let first = request(method.clone(), target, body());
            let again = Repeat::of(&first).unwrap().into_request(&Budget::new(0));
            assert_eq!((again.method(), again.uri(), again.headers()), (&method, first.uri(), first.headers()));
            assert!(again.headers()[AUTHORIZATION].is_sensitive());
            assert_eq!(format!("{:?}", again.body().inner()), format!("{:?}", body()));
        }
    }

    #[test]
    fn h17_what_may_do_harm_twice_is_not_sent_again() {
        for (method, target, body) in [
            (Method::PUT, PART, OutboundBody::Empty),
            (Method::PUT, OBJECT, OutboundBody::Empty),
            (Method::PUT, OBJECT, buffered()),
            (Method::POST, OBJECT, OutboundBody::Empty),
            (Method::POST, PART, buffered()),
            (Method::DELETE, PART, OutboundBody::Empty),
        ] {
            assert!(Repeat::of(&request(method.clone(), target, body)).is_none(), "{method} {target}");
        }
    }

    #[test]
    fn h17_a_write_under_a_condition_is_not_sent_again_and_a_read_is() {
        for name in ["if-match", "if-none-match", "x-amz-if-match-size"] {
            let is_repeated = |method: Method, target, body| {
                let mut request = request(method, target, body);
                request.headers_mut().insert(name, HeaderValue::from_static("*"));
                Repeat::of(&request).is_some()
            };
            assert!(!is_repeated(Method::PUT, PART, buffered()), "{name}");
            assert!(!is_repeated(Method::DELETE, OBJECT, OutboundBody::Empty), "{name}");
            assert!(is_repeated(Method::GET, OBJECT, OutboundBody::Empty), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_head_comes_back_as_it_was(
            target in "/[!$-;=@-Z_a-z~]{0,20}(\\?[!$-;=@-Z_a-z~]{0,20})?",
            fields in proptest::collection::vec(("[a-c]{1,2}|[!#$%&'*+.^_`|~0-9a-z-]{1,12}", proptest::collection::vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..12)), 0..12),
        ) {
            let target: Uri = target.parse().unwrap();
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(&value).unwrap());
            }
            prop_assert_eq!(read_head(&head_of(&target, &headers)), (target, headers));
        }
    }
}
