//! What a server says to OPTIONS (RFC 3507 section 4.10).

use std::time::Duration;

use super::head::Head;

/// Largest preview that is sent; what is larger is cut down, which the server must take.
const MAX_PREVIEW: u64 = 64 * 1024;
/// How long the options hold if the server does not say, and the limits of what it may say.
const DEFAULT_TTL: Duration = Duration::from_secs(300);
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 3600);

/// What a server can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// It looks at requests.
    pub reqmod: bool,
    /// It looks at responses.
    pub respmod: bool,
    /// How many bytes it wants to see before it decides whether it wants the rest; `None` if it always wants all.
    pub preview: Option<u64>,
    /// Most connections it wants.
    pub max_connections: Option<usize>,
    /// The state of the service: another tag, other verdicts.
    pub istag: String,
    /// What it calls itself.
    pub service: String,
    /// How long these options hold.
    pub ttl: Duration,
}

impl Options {
    /// Reads the head of an answer.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn read(head: &Head) -> Result<Self, String> {
        let method = |wanted: &str| head.list("methods").any(|method| method.eq_ignore_ascii_case(wanted));
        let (reqmod, respmod) = (method("REQMOD"), method("RESPMOD"));
        if !reqmod && !respmod {
            return Err("it offers neither REQMOD nor RESPMOD".to_owned());
        }
        let number = |name: &str| match head.get(name) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(number)),
                _ => Err(format!("its {name} is no number")),
            },
        };
        let max_connections = number("max-connections")?.filter(|most| *most > 0);
        let ttl = number("options-ttl")?.map_or(DEFAULT_TTL, Duration::from_secs);
        let text = |name: &str| head.get(name).unwrap_or_default().trim_matches('"').chars().take(100).collect();
        Ok(Self {
            reqmod,
            respmod,
            preview: number("preview")?.map(|bytes| bytes.min(MAX_PREVIEW)),
            max_connections: max_connections.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            istag: text("istag"),
            service: text("service"),
            ttl: ttl.clamp(*TTL.start(), *TTL.end()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> Result<Options, String> {
        Options::read(&Head::parse(format!("ICAP/1.0 200 OK\r\n{fields}\r\n\r\n").as_bytes()).unwrap())
    }

    #[test]
    fn what_c_icap_says_is_read() {
        let options = read("Methods: RESPMOD, REQMOD\r\nService: C-ICAP/0.5.10 server - Antivirus service\r\nISTag: \"CI0001-x\"\r\nTransfer-Preview: *\r\nOptions-TTL: 3600\r\nMax-Connections: 20\r\nPreview: 1024\r\nAllow: 204\r\nEncapsulated: null-body=0 ").unwrap();
        let expected = Options {
            reqmod: true,
            respmod: true,
            preview: Some(1024),
            max_connections: Some(20),
            istag: "CI0001-x".to_owned(),
            service: "C-ICAP/0.5.10 server - Antivirus service".to_owned(),
            ttl: Duration::from_secs(3600),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn what_is_missing_has_a_default_and_what_is_wild_a_limit() {
        let options = read("Methods: RESPMOD\r\nMax-Connections: 0\r\nPreview: 99999999\r\nOptions-TTL: 0").unwrap();
        assert_eq!((options.reqmod, options.preview, options.max_connections), (false, Some(65536), None));
        assert_eq!(options.ttl, Duration::from_secs(10));
        assert_eq!(read("Methods: REQMOD").unwrap().preview, None);
        for fields in ["A: b", "Methods: GET", "Methods: REQMOD\r\nPreview: -1", "Methods: REQMOD\r\nPreview: 1k"] {
            assert!(read(fields).is_err(), "{fields}");
        }
    }
}
