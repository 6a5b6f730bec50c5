//! The request in which an object goes to an ICAP server: encapsulated HTTP heads out of what is known of it.
//!
//! Everything in the subject is the client's choice. The key is percent-encoded, types and codings are let through only if they are plain
//! words: nothing of it can begin another line.

use super::address::Address;
use crate::base::encoding::encode_path;
use crate::inspect::Subject;

/// The host that objects seem to come from. No name of the network: servers look some up.
const HOST: &str = "countersign.invalid";

/// How a server is asked about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// As a request that brings it.
    Reqmod,
    /// As a response that holds it.
    Respmod,
}

/// The head of the ICAP request, with the encapsulated ones behind it. The declared type goes with it only if that is wanted: a server may
/// skip objects by it, and the client chooses it.
pub fn head(address: &Address, method: Method, subject: &Subject, send_type: bool, preview: Option<u64>) -> String {
    let url = format!("http://{HOST}/{}/{}", encode_path(&subject.bucket), encode_path(&subject.key));
    let fields = object_fields(subject, send_type);
    let host = format!("Host: {HOST}\r\n");
    let (request, response) = match method {
        Method::Reqmod => (format!("PUT {url} HTTP/1.1\r\n{host}{fields}\r\n"), String::new()),
        Method::Respmod => (format!("GET {url} HTTP/1.1\r\n{host}\r\n"), format!("HTTP/1.1 200 OK\r\n{fields}\r\n")),
    };
    let encapsulated = match method {
        Method::Reqmod => format!("req-hdr=0, req-body={}", request.len()),
        Method::Respmod => {
            format!("req-hdr=0, res-hdr={}, res-body={}", request.len(), request.len() + response.len())
        }
    };
    let name = ["REQMOD", "RESPMOD"][usize::from(method == Method::Respmod)];
    let preview = preview.map(|bytes| format!("Preview: {bytes}\r\n")).unwrap_or_default();
    let authority = address.authority();
    format!(
        "{name} {address} ICAP/1.0\r\nHost: {authority}\r\nUser-Agent: countersign\r\nAllow: 204\r\nConnection: close\r\n\
         {preview}Encapsulated: {encapsulated}\r\n\r\n{request}{response}"
    )
}

/// The head of a question for the options.
pub fn options(address: &Address) -> String {
    let authority = address.authority();
    format!("OPTIONS {address} ICAP/1.0\r\nHost: {authority}\r\nUser-Agent: countersign\r\nConnection: close\r\n\r\n")
}

fn object_fields(subject: &Subject, send_type: bool) -> String {
    let is_word = |text: &&str| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-+._, ".contains(&byte))
    };
    let media_type = subject.media_type.as_deref().filter(is_word).filter(|_| send_type);
    let media_type = media_type.unwrap_or("application/octet-stream");
    let coding = subject.content_encoding.as_deref().filter(is_word);
    let coding = coding.map(|coding| format!("Content-Encoding: {coding}\r\n")).unwrap_or_default();
    let length = match subject.length {
        Some(length) => format!("Content-Length: {length}\r\n"),
        None => "Transfer-Encoding: chunked\r\n".to_owned(),
    };
    format!("Content-Type: {media_type}\r\n{coding}{length}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Direction;

    fn subject() -> Subject {
        Subject {
            request_id: "r".into(),
            principal: "p".into(),
            bucket: "team-data".into(),
            key: "a b/\r\nX-Evil: 1\r\n\r\nü?#".into(),
            media_type: Some("text/plain\r\nX-Evil: 1".into()),
            content_encoding: Some("gzip\r\n\r\nx".into()),
            length: Some(5),
            direction: Direction::Upload,
        }
    }

    #[test]
    fn e12_nothing_in_an_object_begins_another_line() {
        let address = "icap://127.0.0.1/avscan".parse().unwrap();
        let head = head(&address, Method::Reqmod, &subject(), true, Some(1024));
        let expected = "REQMOD icap://127.0.0.1:1344/avscan ICAP/1.0\r\nHost: 127.0.0.1:1344\r\nUser-Agent: countersign\r\nAllow: 204\r\n\
                        Connection: close\r\nPreview: 1024\r\nEncapsulated: req-hdr=0, req-body=189\r\n\r\n\
                        PUT http://countersign.invalid/team-data/a%20b/%0D%0AX-Evil%3A%201%0D%0A%0D%0A%C3%BC%3F%23 HTTP/1.1\r\n\
                        Host: countersign.invalid\r\nContent-Type: application/octet-stream\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(head, expected);
    }

    #[test]
    fn the_offsets_are_those_of_the_heads() {
        let address = "icap://x/y".parse().unwrap();
        let mut subject = subject();
        (subject.media_type, subject.content_encoding) = (Some("text/plain".into()), Some("gzip".into()));
        (subject.length, subject.direction) = (None, Direction::Download);
        assert!(!super::head(&address, Method::Respmod, &subject, false, None).contains("text/plain"));
        let head = head(&address, Method::Respmod, &subject, true, None);
        let (icap, http) = head.split_once("\r\n\r\n").unwrap();
        let value = icap.rsplit_once("Encapsulated: ").unwrap().1;
        let read = super::super::answer::Encapsulated::parse(value).unwrap();
        assert_eq!(read.heads, http.len());
        assert!(http[read.request.unwrap()].starts_with("GET http://"));
        let response = &http[read.response.unwrap()];
        assert_eq!(
            response,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
    }
}
