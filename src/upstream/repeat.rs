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
    /// What is kept of a request, if repeating it does no harm: GET, HEAD and DELETE find what the first one left, and a part that is in
    /// memory replaces itself. A POST is never repeated, nor a body that streams.
    pub(super) fn of(request: &Request<Paced<OutboundBody>>) -> Option<Self> {
        let pieces = match request.body().inner() {
            OutboundBody::Empty => None,
            OutboundBody::Buffered(pieces) => Some(pieces.clone()),
            OutboundBody::Upload(_) => return None,
        };
        let empty_put = request.method() == Method::PUT && pieces.is_none();
        if request.method() == Method::POST || empty_put {
            return None;
        }
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

    fn request(method: Method, body: OutboundBody) -> Request<Paced<OutboundBody>> {
        let mut request = Request::new(Paced::new(body, Budget::new(0)));
        *request.method_mut() = method;
        *request.uri_mut() = "/bucket/a%20key?versionId=%3A".parse().unwrap();
        let mut credential = HeaderValue::from_static("AWS4-HMAC-SHA256 Credential=a:b");
        credential.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, credential);
        request
    }

    #[test]
    fn what_does_no_harm_twice_is_sent_again_as_it_was() {
        let pieces = VecDeque::from([Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
        for (method, pieces) in
            [(Method::GET, None), (Method::HEAD, None), (Method::DELETE, None), (Method::PUT, Some(pieces))]
        {
            let body = || pieces.clone().map_or(OutboundBody::Empty, OutboundBody::Buffered);
            let first = request(method.clone(), body());
            let again = Repeat::of(&first).unwrap().into_request(&Budget::new(0));
            assert_eq!((again.method(), again.uri(), again.headers()), (&method, first.uri(), first.headers()));
            assert!(again.headers()[AUTHORIZATION].is_sensitive());
            assert_eq!(format!("{:?}", again.body().inner()), format!("{:?}", body()));
        }
    }

    #[test]
    fn what_may_do_harm_twice_is_not_sent_again() {
        let buffered = || OutboundBody::Buffered(VecDeque::from([Bytes::from_static(b"one")]));
        for (method, body) in
            [(Method::PUT, OutboundBody::Empty), (Method::POST, OutboundBody::Empty), (Method::POST, buffered())]
        {
            assert!(Repeat::of(&request(method, body)).is_none());
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
