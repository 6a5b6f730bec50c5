//! What an ICAP answer means: what was found, and what is encapsulated.

use super::head::Head;

/// Longest name that reaches a record.
const MAX_NAME: usize = 200;
/// Most bytes of encapsulated heads.
pub const MAX_ENCAPSULATED_HEADS: usize = 32 * 1024;

/// Fields that name what was found, the most telling first. `X-Infection-Found` is c-icap's, ESET's, Symantec's, McAfee's; `X-Virus-ID`
/// Trend Micro's, Kaspersky's, Symantec's; `X-Virus-Name` Sophos'; `X-Blocked-Reason` MetaDefender's. None of them is in an answer about
/// a clean object, so any of them means that something was found, whatever the status.
const NAMING_FIELDS: [&str; 6] = [
    "x-infection-found",
    "x-virus-id",
    "x-virus-name",
    "x-fsecure-infection-name",
    "x-violations-found",
    "x-blocked-reason",
];

/// What the fields of an answer say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Something, and its name.
    Threat(String),
    /// It was a container that could not be looked into.
    Container(String),
}

/// What an answer says was found; `None` if it says nothing of the kind.
pub fn found(head: &Head) -> Option<Found> {
    let fields = NAMING_FIELDS.iter().filter_map(|name| Some((*name, head.get(name)?)));
    // Some servers count violations in every answer.
    let (name, value) = fields.into_iter().find(|(name, value)| *name != "x-violations-found" || *value != "0")?;
    let shown = |text: &str| {
        let text = text.trim();
        let text = if text.is_empty() { "unnamed" } else { text };
        text.chars().take(MAX_NAME).collect::<String>()
    };
    if name != "x-infection-found" {
        return Some(Found::Threat(shown(value)));
    }
    // `Type=0; Resolution=2; Threat=NAME;` of draft-stecher-icap-subid. Type 2 is a container that violates a limit or is encrypted.
    let part = |key: &str| {
        let parts = value.split(';').filter_map(|part| part.split_once('='));
        parts.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case(key)).map(|(_, value)| value.trim())
    };
    let threat = shown(part("threat").unwrap_or(value));
    Some(if part("type") == Some("2") { Found::Container(threat) } else { Found::Threat(threat) })
}

/// `Encapsulated`: which heads there are, and how long they are together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encapsulated {
    /// Where the head of a request begins and ends.
    pub request: Option<std::ops::Range<usize>>,
    /// Where the head of a response begins and ends.
    pub response: Option<std::ops::Range<usize>>,
    /// Bytes of all heads.
    pub heads: usize,
    /// What follows them.
    pub body: Body,
}

/// The body behind encapsulated heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    Null,
    /// That of a request.
    Request,
    /// That of a response.
    Response,
    /// That of the answer to OPTIONS.
    Options,
}

impl Encapsulated {
    /// Reads `req-hdr=0, res-hdr=10, res-body=20`; `None` if it is anything else than ascending heads and one body at the end.
    pub fn parse(value: &str) -> Option<Self> {
        let mut heads: Vec<(&str, usize)> = Vec::new();
        let mut body = None;
        for item in value.split(',') {
            let (name, offset) = item.trim().split_once('=')?;
            let digits = !offset.is_empty() && offset.len() <= 5 && offset.bytes().all(|byte| byte.is_ascii_digit());
            let offset: usize = offset.parse().ok().filter(|offset| digits && *offset <= MAX_ENCAPSULATED_HEADS)?;
            let before = heads.last().map(|(_, before)| *before);
            let is_next = before.map_or(offset == 0, |before| before < offset);
            let name = ["req-hdr", "res-hdr", "req-body", "res-body", "opt-body", "null-body"]
                .into_iter()
                .find(|known| name.eq_ignore_ascii_case(known))?;
            if body.is_some() || !is_next || heads.iter().any(|(known, _)| *known == name) {
                return None;
            }
            match name {
                "req-hdr" | "res-hdr" => heads.push((name, offset)),
                "req-body" => body = Some((Body::Request, offset)),
                "res-body" => body = Some((Body::Response, offset)),
                "opt-body" => body = Some((Body::Options, offset)),
                _ => body = Some((Body::Null, offset)),
            }
        }
        let (body, end) = body?;
        let range = |wanted: &str| {
            let index = heads.iter().position(|(name, _)| *name == wanted)?;
            Some(heads[index].1..heads.get(index + 1).map_or(end, |(_, next)| *next))
        };
        Some(Self { request: range("req-hdr"), response: range("res-hdr"), heads: end, body })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(fields: &str) -> Head {
        Head::parse(format!("ICAP/1.0 200 OK\r\n{fields}\r\n\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn what_was_found_is_named_as_vendors_name_it() {
        let threat = |name: &str| Some(Found::Threat(name.to_owned()));
        for (fields, expected) in [
            ("X-Infection-Found: Type=0; Resolution=2; Threat=Local.Eicar;", threat("Local.Eicar")),
            ("X-Infection-Found: Type=2; Resolution=0; Threat=Encrypted", Some(Found::Container("Encrypted".into()))),
            ("X-Infection-Found: something", threat("something")),
            ("X-Infection-Found:", threat("unnamed")),
            ("X-Violations-Found: 1\r\n\t-\r\n\tEicar", threat("1 - Eicar")),
            ("X-Violations-Found: 1\r\n\t-\r\n\tEicar\r\nX-Infection-Found: Threat=A;", threat("A")),
            ("X-Violations-Found: 0", None),
            ("X-Violations-Found: 0\r\nX-Blocked-Reason: Infected", threat("Infected")),
            ("X-Virus-ID: EICAR", threat("EICAR")),
            ("X-Virus-Name: EICAR-AV-Test", threat("EICAR-AV-Test")),
            ("X-FSecure-Infection-Name: a b", threat("a b")),
            ("X-Other: x", None),
        ] {
            assert_eq!(found(&head(fields)), expected, "{fields}");
        }
    }

    #[test]
    fn what_is_encapsulated_is_read() {
        let read = Encapsulated::parse("req-hdr=0, res-hdr=10, res-body=25 ").unwrap();
        assert_eq!(
            (read.request, read.response, read.heads, read.body),
            (Some(0..10), Some(10..25), 25, Body::Response)
        );
        let read = Encapsulated::parse("null-body=0 ").unwrap();
        assert_eq!((read.request, read.response, read.heads, read.body), (None, None, 0, Body::Null));
        assert_eq!(Encapsulated::parse("RES-HDR=0,null-body=5").unwrap().response, Some(0..5));
    }

    #[test]
    fn anything_else_is_not_encapsulated() {
        for value in [
            "",
            "req-hdr=0",
            "null-body=5",
            "req-body=0, req-hdr=0",
            "req-hdr=5, req-body=9",
            "req-hdr=0, req-body=0",
            "req-hdr=0, req-hdr=5, req-body=9",
            "req-hdr=0, res-hdr=9, req-body=5",
            "req-hdr=0, req-body=+5",
            "req-hdr=0, req-body=-5",
            "req-hdr=0, req-body=99999",
            "req-hdr=0, req-body=123456",
            "req-hdr=0, req-body=",
            "req-hdr=0, other=5",
            "req-hdr=0, req-body=5, null-body=6",
        ] {
            assert_eq!(Encapsulated::parse(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn heads_lie_one_behind_the_other(value in "(req-hdr=[0-9]{1,3}, )?(res-hdr=[0-9]{1,3}, )?(req|res|null|opt)-body=[0-9]{1,5}") {
            if let Some(read) = Encapsulated::parse(&value) {
                let ranges = [read.request, read.response];
                let ends = ranges.iter().flatten().map(|range| range.len()).sum::<usize>();
                prop_assert_eq!(ends, read.heads);
                prop_assert!(read.heads <= MAX_ENCAPSULATED_HEADS);
            }
        }
    }
}
