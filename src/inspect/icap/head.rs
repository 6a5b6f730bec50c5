//! The head of an ICAP answer, or of an HTTP message inside of one (RFC 3507 section 4.3, RFC 9112 section 5).
//!
//! Takes folded lines, which real servers send, and nothing else that is out of form: an answer that is half understood must not count.

/// Largest head that is read.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// First line and fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    first_line: String,
    /// Names in lower case; the lines of a folded value with one blank between them.
    fields: Vec<(String, String)>,
}

/// The bytes are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It does not end with an empty line, or is too large.
    #[error("the head has no end")]
    NoEnd,
    /// A byte that heads do not have.
    #[error("the head has a control character or is not text")]
    BadByte,
    /// A line that is neither a field nor the continuation of one.
    #[error("the head has a line that is no field")]
    BadLine,
    /// The first line is not `ICAP/1.0 200 OK` or of its kind.
    #[error("the first line is not a status")]
    BadStatus,
    /// Two fields of a name that may be there once.
    #[error("the field {0} is there twice")]
    Twice(&'static str),
}

impl Head {
    /// Reads a head, the empty line at its end included.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        let bytes = bytes.strip_suffix(b"\r\n\r\n").filter(|rest| rest.len() <= MAX_HEAD_BYTES);
        let text = std::str::from_utf8(bytes.ok_or(HeadError::NoEnd)?).map_err(|_| HeadError::BadByte)?;
        let mut lines = text.split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let is_plain = |line: &str| line.chars().all(|c| c == '\t' || !c.is_control());
        if !is_plain(&first_line) {
            return Err(HeadError::BadByte);
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines {
            if !is_plain(line) {
                return Err(HeadError::BadByte);
            }
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut().ok_or(HeadError::BadLine)?;
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(HeadError::BadLine)?;
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(HeadError::BadLine);
            }
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let count = |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).count();
        match count("encapsulated") {
            0 | 1 => Ok(Self { first_line, fields }),
            _ => Err(HeadError::Twice("encapsulated")),
        }
    }

    /// The status, if the first line is one of this protocol: `ICAP/1.0`, `HTTP/1.`.
    ///
    /// # Errors
    /// [`HeadError::BadStatus`].
    pub fn status(&self, protocol: &str) -> Result<u16, HeadError> {
        let mut words = self.first_line.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        let digits = words.next().filter(|word| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()));
        let is_ours =
            version == protocol || protocol.ends_with('.') && matches!(version.strip_prefix(protocol), Some("0" | "1"));
        digits.filter(|_| is_ours).and_then(|digits| digits.parse().ok()).ok_or(HeadError::BadStatus)
    }

    /// The first field of a name, which is given in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The items of a list, over all fields of the name.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.fields.iter().filter(move |(found, _)| found == name);
        values.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|item| !item.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_field_is_one_value() {
        let head = Head::parse(b"ICAP/1.0 200 OK\r\nISTag: \"a\"\r\nX-Violations-Found: 1\r\n\t-\r\n\tEicar\r\n\t0\r\nAllow: 204,\r\n 206\r\n\r\n").unwrap();
        assert_eq!(head.status("ICAP/1.0"), Ok(200));
        assert_eq!(head.get("x-violations-found"), Some("1 - Eicar 0"));
        assert_eq!(head.list("allow").collect::<Vec<_>>(), ["204", "206"]);
        assert_eq!(head.get("istag"), Some("\"a\""));
    }

    #[test]
    fn what_is_out_of_form_is_no_head() {
        for (bytes, error) in [
            (&b""[..], HeadError::NoEnd),
            (b"ICAP/1.0 204 x\r\n", HeadError::NoEnd),
            (b"ICAP/1.0 204 x\n\n", HeadError::NoEnd),
            (b"ICAP/1.0 204 x\nA: b\r\n\r\n", HeadError::BadByte),
            (b"ICAP/1.0 204 x\r\nA: \0\r\n\r\n", HeadError::BadByte),
            (b"ICAP/1.0 204 x\r\nA: \xff\r\n\r\n", HeadError::BadByte),
            (b"ICAP/1.0 204 x\r\n folded\r\n\r\n", HeadError::BadLine),
            (b"ICAP/1.0 204 x\r\nno field\r\n\r\n", HeadError::BadLine),
            (b"ICAP/1.0 204 x\r\nA : b\r\n\r\n", HeadError::BadLine),
            (b"ICAP/1.0 204 x\r\nEncapsulated: a\r\nencapsulated: b\r\n\r\n", HeadError::Twice("encapsulated")),
        ] {
            assert_eq!(Head::parse(bytes), Err(error), "{}", String::from_utf8_lossy(bytes));
        }
        let long = [b"ICAP/1.0 204 x\r\nA: ".as_slice(), &[b'x'; MAX_HEAD_BYTES], b"\r\n\r\n"].concat();
        assert_eq!(Head::parse(&long), Err(HeadError::NoEnd));
    }

    #[test]
    fn only_a_status_of_the_protocol_is_one() {
        let status = |line: &str, protocol| Head::parse(format!("{line}\r\n\r\n").as_bytes()).unwrap().status(protocol);
        assert_eq!(status("ICAP/1.0 204 Unmodified", "ICAP/1.0"), Ok(204));
        assert_eq!(status("ICAP/1.0 204", "ICAP/1.0"), Ok(204));
        assert_eq!(status("HTTP/1.1 403 Forbidden", "HTTP/1."), Ok(403));
        for line in ["ICAP/1.1 204 x", "HTTP/1.1 204 x", "ICAP/1.0 20 x", "ICAP/1.0 2044", "ICAP/1.0  204", "204", ""] {
            assert_eq!(status(line, "ICAP/1.0"), Err(HeadError::BadStatus), "{line}");
        }
        assert_eq!(status("HTTP/1.2 200 OK", "HTTP/1."), Err(HeadError::BadStatus));
    }
}
