//! Follows the bytes of an HTTP/1.1 connection and says of each request head whether it can be read in two ways.
//!
//! hyper repairs what it should refuse: it drops `Content-Length` beside `Transfer-Encoding`, accepts
//! `Transfer-Encoding: gzip, chunked`, folds equal lengths into one and accepts two `Host` fields. What it
//! repaired is not visible afterwards, and a proxy in front of us may have repaired it the other way
//! (request smuggling). So this scanner reads the same bytes and is stricter than RFC 9112 asks.
//!
//! Does not parse for use: hyper's parse is what the gateway works with. Once two readings are possible
//! the scanner stops, because from then on nobody knows where the next head begins.
//! Source: RFC 9112 §2.2, §3, §5, §6, §7.1; `docs/THREATS.md` K01–K07.

use std::mem;

use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, request};

use crate::arrival::Framing;

/// Which rule was broken, in words for the log and the audit record.
type Rule = &'static str;

/// Reads the bytes of one connection in any pieces, without I/O. Keeps at most one unfinished line.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    /// Beginning of a line whose end has not arrived.
    line: Vec<u8>,
    /// Bytes of the head, chunk-size line or trailer block so far.
    section_bytes: usize,
    max_section_bytes: usize,
    head: Head,
    broken: Option<Rule>,
}

/// Where in the byte stream the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body { left: u64 },
    ChunkSize,
    ChunkData { left: u64 },
    ChunkEnd,
    Trailers,
}

/// What of the current head decides where its body ends.
#[derive(Debug, Default)]
struct Head {
    request_line_seen: bool,
    empty_line_before: bool,
    http_11: bool,
    /// Of an absolute-form target.
    authority: Option<Vec<u8>>,
    host_seen: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Scanner {
    /// `max_head_bytes` bounds the memory; hyper refuses longer heads with the same number.
    pub fn new(max_head_bytes: usize) -> Self {
        Self {
            state: State::Head,
            line: Vec::new(),
            section_bytes: 0,
            max_section_bytes: max_head_bytes,
            head: Head::default(),
            broken: None,
        }
    }

    /// Takes the next bytes of the connection; returns how many heads with one reading only were completed by them.
    pub fn feed(&mut self, mut bytes: &[u8]) -> usize {
        let mut clear_heads = 0;
        while !bytes.is_empty() && self.broken.is_none() {
            let taken = match &mut self.state {
                State::Body { left } | State::ChunkData { left } => {
                    let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = if let State::Body { .. } = self.state { State::Head } else { State::ChunkEnd };
                    }
                    taken
                }
                State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    match self.take_line(bytes, &mut clear_heads) {
                        Ok(taken) => taken,
                        Err(rule) => {
                            self.broken = Some(rule);
                            self.line = Vec::new();
                            break;
                        }
                    }
                }
            };
            bytes = &bytes[taken..];
        }
        clear_heads
    }

    /// The rule that was broken, once one was. Everything after it is ambiguous.
    pub fn broken(&self) -> Option<Rule> {
        self.broken
    }

    /// Whether nothing of a message is under way: the next byte begins a request.
    pub fn is_between_messages(&self) -> bool {
        self.broken.is_none() && self.state == State::Head && self.section_bytes == 0
    }

    /// Takes bytes up to the next line feed, or all of them; reads the line when it is complete.
    fn take_line(&mut self, bytes: &[u8], clear_heads: &mut usize) -> Result<usize, Rule> {
        let end = memchr::memchr(b'\n', bytes);
        let taken = end.map_or(bytes.len(), |end| end + 1);
        self.section_bytes += taken;
        if self.section_bytes > self.max_section_bytes {
            return Err("head, chunk-size line or trailer block is too long");
        }
        if end.is_some() && self.line.is_empty() {
            *clear_heads += usize::from(self.read_line(&bytes[..taken])?);
            return Ok(taken);
        }
        self.line.extend_from_slice(&bytes[..taken]);
        if end.is_some() {
            let line = mem::take(&mut self.line);
            *clear_heads += usize::from(self.read_line(&line)?);
            self.line = line;
            self.line.clear();
        }
        Ok(taken)
    }

    /// Reads one line including its line feed; returns whether it completed a head.
    fn read_line(&mut self, line: &[u8]) -> Result<bool, Rule> {
        let line = line.strip_suffix(b"\r\n").ok_or("a line ends with a bare line feed")?;
        if memchr::memchr(b'\r', line).is_some() {
            return Err("bare carriage return");
        }
        match self.state {
            State::ChunkSize => self.enter(chunk_after(line)?),
            State::ChunkEnd if line.is_empty() => self.enter(State::ChunkSize),
            State::ChunkEnd => return Err("chunk is longer than its size"),
            State::Trailers if line.is_empty() => self.enter(State::Head),
            State::Trailers => {}
            // Only lines are read here; bodies are counted.
            State::Head | State::Body { .. } | State::ChunkData { .. } => return self.read_head_line(line),
        }
        Ok(false)
    }

    fn read_head_line(&mut self, line: &[u8]) -> Result<bool, Rule> {
        if !self.head.request_line_seen {
            if line.is_empty() {
                // RFC 9112 §2.2: old clients send one CRLF too many after a body.
                return match mem::replace(&mut self.head.empty_line_before, true) {
                    true => Err("several empty lines before the request line"),
                    false => Ok(false),
                };
            }
            self.head.read_request_line(line)?;
            return Ok(false);
        }
        if !line.is_empty() {
            self.head.read_field(line)?;
            return Ok(false);
        }
        let head = mem::take(&mut self.head);
        self.enter(head.body()?);
        Ok(true)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.section_bytes = 0;
    }
}

impl Head {
    fn read_request_line(&mut self, line: &[u8]) -> Result<(), Rule> {
        self.request_line_seen = true;
        let mut words = line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("request line is not three words with one space between them");
        };
        if !is_token(method) {
            return Err("method is not a token");
        }
        if has_control(target) || target.contains(&b'\t') {
            return Err("control character in the target");
        }
        if target.contains(&b'#') {
            return Err("fragment in the target");
        }
        self.http_11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err("version is neither HTTP/1.1 nor HTTP/1.0"),
        };
        self.authority = authority_of(method, target)?.map(<[u8]>::to_vec);
        Ok(())
    }

    fn read_field(&mut self, line: &[u8]) -> Result<(), Rule> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err("folded header line");
        }
        let colon = memchr::memchr(b':', line).ok_or("header line without a colon")?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if matches!(name.last(), Some(b' ' | b'\t')) {
            return Err("blank between header name and colon");
        }
        if !is_token(name) {
            return Err("header name is not a token");
        }
        if has_control(value) {
            return Err("control character in a header value");
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.read_content_length(value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.read_transfer_encoding(value)
        } else if name.eq_ignore_ascii_case(b"host") {
            self.read_host(value)
        } else {
            Ok(())
        }
    }

    fn read_content_length(&mut self, value: &[u8]) -> Result<(), Rule> {
        if self.chunked {
            return Err("Content-Length together with Transfer-Encoding");
        }
        let length = decimal(without_leading_space(value)).ok_or("Content-Length is not a plain decimal number")?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err("several Content-Length"),
        }
    }

    fn read_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Rule> {
        if self.length.is_some() {
            return Err("Content-Length together with Transfer-Encoding");
        }
        if mem::replace(&mut self.chunked, true) {
            return Err("several Transfer-Encoding");
        }
        if !self.http_11 {
            return Err("Transfer-Encoding in HTTP/1.0");
        }
        match without_leading_space(value).eq_ignore_ascii_case(b"chunked") {
            true => Ok(()),
            false => Err("Transfer-Encoding is not exactly `chunked`"),
        }
    }

    fn read_host(&mut self, value: &[u8]) -> Result<(), Rule> {
        if mem::replace(&mut self.host_seen, true) {
            return Err("several Host");
        }
        if !is_host(value.trim_ascii()) {
            return Err(NO_HOST);
        }
        match &self.authority {
            Some(authority) if !authority.eq_ignore_ascii_case(value.trim_ascii()) => {
                Err("authority of the target differs from Host")
            }
            _ => Ok(()),
        }
    }

    /// Where the byte after the head belongs.
    fn body(&self) -> Result<State, Rule> {
        if self.http_11 && !self.host_seen {
            return Err("no Host");
        }
        Ok(match self.length {
            _ if self.chunked => State::ChunkSize,
            None | Some(0) => State::Head,
            Some(left) => State::Body { left },
        })
    }
}

/// The same questions for an HTTP/2 head, of which fewer are open: frames delimit the body, and the
/// `h2` crate refuses connection-specific fields, broken pseudo-fields and a body of another length.
pub(super) fn of_h2(head: &request::Parts) -> Framing {
    if head.method == Method::CONNECT {
        return Framing::Ambiguous(CONNECT);
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    match (head.uri.authority(), hosts.next(), hosts.next()) {
        (None, None, _) => return Framing::Ambiguous("neither `:authority` nor Host"),
        (_, Some(_), Some(_)) => return Framing::Ambiguous("several Host"),
        (Some(authority), Some(host), None) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            return Framing::Ambiguous("`:authority` differs from Host");
        }
        _ => {}
    }
    let named = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    if !named.or(head.headers.get(HOST).map(HeaderValue::as_bytes)).is_some_and(is_host) {
        return Framing::Ambiguous(NO_HOST);
    }
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(_), Some(_)) => Framing::Ambiguous("several Content-Length"),
        (Some(length), None) if decimal(length.as_bytes()).is_none() => {
            Framing::Ambiguous("Content-Length is not a plain decimal number")
        }
        _ => Framing::Clear,
    }
}

const NO_HOST: Rule = "Host has a byte that no host has";

/// `uri-host [ ":" port ]` of RFC 3986 §3.2.2 by its bytes: a reader that takes `@`, `/` or `#` for a delimiter finds another host in it.
fn is_host(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(byte))
}

const CONNECT: Rule = "CONNECT is not served, and its body has no agreed framing";

/// Authority of an absolute-form target; `None` for a path or `OPTIONS *`.
fn authority_of<'t>(method: &[u8], target: &'t [u8]) -> Result<Option<&'t [u8]>, Rule> {
    if method == b"CONNECT" {
        return Err(CONNECT);
    }
    if target.starts_with(b"/") || (method == b"OPTIONS" && target == b"*") {
        return Ok(None);
    }
    for scheme in [b"http://".as_slice(), b"https://"] {
        if let Some((head, rest)) = target.split_at_checked(scheme.len())
            && head.eq_ignore_ascii_case(scheme)
        {
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
            return Ok(Some(&rest[..end.unwrap_or(rest.len())]));
        }
    }
    Err("target is neither a path nor an http URL")
}

/// What follows a chunk-size line. Extensions are skipped; hyper bounds them.
fn chunk_after(line: &[u8]) -> Result<State, Rule> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("chunk size is not a hexadecimal number");
    }
    // At most 16 digits fit into 64 bits, so nothing is shifted out.
    let left = digits.iter().fold(0, |size: u64, &digit| (size << 4) | u64::from(hex_value(digit)));
    Ok(if left == 0 { State::Trailers } else { State::ChunkData { left } })
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// A number without sign, blanks or superfluous zeros, which all readers read alike.
fn decimal(text: &[u8]) -> Option<u64> {
    let superfluous_zero = text.len() > 1 && text[0] == b'0';
    if superfluous_zero || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The value after the one space that everybody writes behind the colon. More blanks stay and count as part of
/// the value: some readers trim spaces only, some tabs too, some neither at the end.
fn without_leading_space(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

fn has_control(text: &[u8]) -> bool {
    // Without an early end, so that the compiler looks at many bytes at once.
    text.iter().fold(false, |found, &byte| found | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f))
}

/// RFC 9110 §5.6.2: at least one of the visible characters that are no delimiters.
fn is_token(text: &[u8]) -> bool {
    const ALLOWED: [bool; 256] = {
        let (mut allowed, mut byte) = ([false; 256], 0u8);
        while byte < 128 {
            allowed[byte as usize] = byte.is_ascii_alphanumeric();
            byte += 1;
        }
        let (others, mut at) = (b"!#$%&'*+-.^_`|~", 0);
        while at < others.len() {
            allowed[others[at] as usize] = true;
            at += 1;
        }
        allowed
    };
    !text.is_empty() && text.iter().all(|&byte| ALLOWED[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_HEAD: usize = 4096;

    /// Heads found clear, and the rule that ended the scan.
    fn scan<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (usize, Option<Rule>) {
        let mut scanner = Scanner::new(MAX_HEAD);
        let clear = pieces.into_iter().map(|piece| scanner.feed(piece)).sum();
        (clear, scanner.broken())
    }

    fn scan_all(stream: &str) -> (usize, Option<Rule>) {
        scan([stream.as_bytes()])
    }

    /// A PUT with these fields beside Host.
    fn put(fields: &str) -> String {
        format!("PUT /b/k HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
    }

    #[test]
    fn bodies_are_skipped_and_the_next_head_is_found() {
        for body in [
            put("Content-Length: 5\r\n") + "GET /",
            put("content-length:5\r\n") + "\r\n\r\n\n",
            put("Content-Length: 0\r\n"),
            put("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n",
            put("transfer-encoding:Chunked\r\n") + "A;x=\"y\"\r\n0123456789\r\n00\r\nTrailer: x\r\n\r\n",
            put("") + "\r\n",
            "GET http://h/b/k HTTP/1.1\r\nHost: H\r\n\r\n".to_owned(),
            "GET /b/k HTTP/1.0\r\n\r\n".to_owned(),
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ] {
            let stream = format!("{body}GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(scan_all(&stream), (2, None), "{stream:?}");
        }
    }

    #[test]
    fn a_chunk_that_does_not_end_where_it_says_breaks_the_scan_and_not_the_head_before() {
        for body in [
            "5\r\nhello!\r\n0\r\n\r\n",
            "5\nhello\r\n",
            "+5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "\r\n",
            "11112222333344445\r\n",
            "5;a\rb\r\nhello\r\n",
            "0\r\nTrailer: x\n\r\n",
        ] {
            let (clear, broken) = scan_all(&(put("Transfer-Encoding: chunked\r\n") + body));
            assert!(clear == 1 && broken.is_some(), "{body:?}");
        }
    }

    #[test]
    fn nothing_after_an_ambiguous_head_is_clear() {
        let good = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let (clear, broken) = scan_all(&format!("{good}{}{good}{good}", put("Host: other\r\n")));
        assert_eq!((clear, broken), (1, Some("several Host")));
    }

    #[test]
    fn memory_is_bounded_by_the_longest_head() {
        let mut scanner = Scanner::new(MAX_HEAD);
        for _ in 0..MAX_HEAD {
            scanner.feed(b"aaaaaaaaaaaaaaaa");
        }
        assert!(scanner.broken().is_some());
        assert!(scanner.line.capacity() == 0);
    }

    #[test]
    fn it_knows_when_a_message_is_under_way() {
        let mut scanner = Scanner::new(MAX_HEAD);
        assert!(scanner.is_between_messages());
        for (piece, between) in [
            ("PUT / HTTP/1.1\r\n", false),
            ("Host: h\r\nContent-Length: 3\r\n\r\n", false),
            ("ab", false),
            ("c", true),
            ("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("1\r\na\r\n0\r\n", false),
            ("\r\n", true),
            ("x\n", false),
        ] {
            scanner.feed(piece.as_bytes());
            assert_eq!(scanner.is_between_messages(), between, "{piece:?}");
        }
    }

    /// Fragments that make streams which are well formed, broken, and everything between.
    fn fragments() -> impl Strategy<Value = String> {
        let fragment = prop_oneof![
            4 => Just("PUT /b/k HTTP/1.1\r\nHost: h\r\n"),
            2 => Just("Content-Length: 4\r\n\r\nbody"),
            2 => Just("Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
            2 => Just("\r\n"),
            1 => Just("x-amz-meta-a: b\r\n"),
            1 => Just("4\r\nbo\r\n\r\n0\r\nTrailer: t\r\n\r\n"),
            1 => Just("\n"),
            1 => Just("\r"),
            1 => Just(" folded\r\n"),
            1 => Just("Host: other\r\n"),
        ];
        prop::collection::vec(fragment, 0..12).prop_map(|fragments| fragments.concat())
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_verdicts(
            stream in fragments(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(scan(pieces), scan([bytes]));
            prop_assert_eq!(scan(bytes.chunks(1)), scan([bytes]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _verdict = scan([b"PUT / HTTP/1.1\r\n".as_slice(), &bytes]);
            let _verdict = scan([put("Transfer-Encoding: chunked\r\n").as_bytes(), &bytes]);
        }
    }
}
