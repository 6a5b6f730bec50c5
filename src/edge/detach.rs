//! Takes the head of a long request out of the buffer that hyper read it into.
//!
//! hyper's heads are slices of its first read buffer, 8 KiB, most of which held the beginning of the body. A head that is kept until the
//! end of an upload would keep all of it. Changes no byte of the head.

use bytes::Bytes;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Uri};

/// Bodies from this size on last; a shorter one is through before its memory matters.
const LONG: u64 = 64 * 1024;

/// Copies target and values of the head, if a long body follows, or one of unknown length.
pub(super) fn detach(head: &mut Parts, body_bytes: Option<u64>) {
    if body_bytes.is_some_and(|bytes| bytes < LONG) {
        return;
    }
    // What cannot be made anew stays as it is, and keeps the buffer.
    if let Some(uri) = copy_of(&head.uri) {
        head.uri = uri;
    }
    for value in head.headers.values_mut() {
        if let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) {
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
    }
}

fn copy_of(uri: &Uri) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    if let Some(target) = &mut parts.path_and_query {
        *target = PathAndQuery::from_maybe_shared(copy(target.as_str())).ok()?;
    }
    if let Some(authority) = &mut parts.authority {
        *authority = Authority::from_maybe_shared(copy(authority.as_str())).ok()?;
    }
    Uri::from_parts(parts).ok().filter(|copy| copy == uri)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// A read buffer, and what tells whether it is still there.
    struct Buffer(Vec<u8>, #[expect(dead_code, reason = "counted")] Arc<()>);

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    /// A head as hyper makes it, and what is shared for as long as its buffer is there.
    fn head(target: &str, value: &[u8]) -> (Parts, Arc<()>) {
        let alive = Arc::new(());
        let text = [target.as_bytes(), value, &[b'b'; 8192]].concat();
        let buffer = Bytes::from_owner(Buffer(text, Arc::clone(&alive)));
        let mut request = http::Request::new(());
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(..target.len())).unwrap();
        let value = HeaderValue::from_maybe_shared(buffer.slice(target.len()..target.len() + value.len())).unwrap();
        request.headers_mut().insert("x-amz-meta-a", value.clone());
        request.headers_mut().append("x-amz-meta-a", value);
        (request.into_parts().0, alive)
    }

    #[test]
    fn l09_the_head_of_a_long_upload_does_not_keep_what_it_was_read_into() {
        let (mut long, alive) = head("/bucket/key?partNumber=1", b"value");
        assert_eq!(Arc::strong_count(&alive), 2);
        detach(&mut long, Some(LONG));
        assert_eq!(Arc::strong_count(&alive), 1);
        let (mut short, alive) = head("/bucket/key", b"value");
        detach(&mut short, Some(LONG - 1));
        assert_eq!(Arc::strong_count(&alive), 2, "not worth the copies");
    }

    proptest! {
        #[test]
        fn no_byte_of_the_head_changes(
            target in "(http://[a-z]{1,9}(:[0-9]{1,4})?)?/[!-\"$-;=@-_a-~]{0,60}(\\?[!$-;=?-_a-~]{0,60})?|\\*",
            value in prop::collection::vec(prop_oneof![Just(b'\t'), 32..127_u8, 128..=255_u8], 0..80),
        ) {
            if target.parse::<Uri>().is_ok() {
                let (mut head, _) = head(&target, &value);
                let before = (head.uri.to_string(), format!("{:?}", head.uri), head.headers.clone());
                detach(&mut head, None);
                prop_assert_eq!((head.uri.to_string(), format!("{:?}", head.uri), head.headers), before);
            }
        }
    }
}
