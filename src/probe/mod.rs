//! What a live store can do: tried out with small objects under a prefix of its own, which are removed again.
//!
//! For `countersign probe-upstream`, not a part of serving: requests are made here and sent on connections of their own, past the rules,
//! the pool and the breaker. A store is believed only what it does: an upload counts if the same bytes come back, a check if a wrong
//! value is refused and nothing is stored.

mod exchange;
mod trials;

pub use exchange::{ProbeError, Target};
pub use trials::probe;

/// Whether a store does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does, rightly.
    Yes,
    /// It says that it does not: status and error code.
    No(String),
    /// It takes the request, and does not what was asked for.
    Wrong(&'static str),
}

impl Verdict {
    /// Whether it can be relied upon.
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }
}

/// Something that stores differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Bytes that the signature does not cover.
    UnsignedPayload,
    /// `aws-chunked` with a checksum behind it, chunks not signed.
    UnsignedTrailer,
    /// `aws-chunked` with signed chunks.
    SignedChunks,
    /// Signed chunks and a checksum behind them.
    SignedTrailer,
    /// A body without `Content-Length`.
    UndeclaredLength,
    /// `Content-MD5` is checked.
    ContentMd5,
    /// A checksum in a header is checked.
    Checksum(crate::s3::ChecksumAlgorithm),
    /// `If-None-Match: *` keeps an object.
    IfNoneMatch,
    /// `If-Match` keeps an object that is another.
    IfMatch,
    /// A range of bytes.
    Range,
    /// GetObjectAttributes.
    Attributes,
    /// Tags of objects.
    Tagging,
    /// The list of versions.
    Versions,
    /// `encoding-type=url` in lists.
    EncodedList,
    /// Multipart uploads.
    Multipart,
    /// Keys are kept byte for byte, `//`, `/./` and `/../` in them too.
    OddKeys,
}

impl Ability {
    /// What the table calls it.
    pub fn name(self) -> String {
        let fixed = match self {
            Self::UnsignedPayload => "payload that is not signed (UNSIGNED-PAYLOAD)",
            Self::UnsignedTrailer => "checksum trailer (STREAMING-UNSIGNED-PAYLOAD-TRAILER)",
            Self::SignedChunks => "signed chunks (STREAMING-AWS4-HMAC-SHA256-PAYLOAD)",
            Self::SignedTrailer => "signed chunks with trailer (...-PAYLOAD-TRAILER)",
            Self::UndeclaredLength => "upload without Content-Length",
            Self::ContentMd5 => "Content-MD5 is checked",
            Self::Checksum(algorithm) => return format!("{} is checked", algorithm.header()),
            Self::IfNoneMatch => "If-None-Match: * on writes",
            Self::IfMatch => "If-Match on writes",
            Self::Range => "Range",
            Self::Attributes => "GetObjectAttributes",
            Self::Tagging => "tags of objects",
            Self::Versions => "list of versions",
            Self::EncodedList => "encoding-type=url in lists",
            Self::Multipart => "multipart uploads",
            Self::OddKeys => "odd keys (a//b, a/./b, a/../b) byte for byte",
        };
        fixed.to_owned()
    }
}

/// What was found out, in the order of the table.
#[derive(Debug, Clone, Default)]
pub struct Findings(pub Vec<(Ability, Verdict)>);

/// Values of the keys of an upstream that fit a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fitting {
    /// `payload`.
    pub payload: &'static str,
    /// `checksum`.
    pub checksum: &'static str,
}

impl Findings {
    /// Whether the store can do it.
    pub fn has(&self, ability: Ability) -> bool {
        self.0.iter().any(|(known, verdict)| *known == ability && verdict.is_yes())
    }

    /// The settings that carry the most integrity to the store: over TLS its protection and a checksum, in clear text signed chunks.
    /// `loopback` is clear text that does not leave the machine. `None` if nothing that the gateway does is taken.
    pub fn fitting(&self, tls: bool, loopback: bool) -> Option<Fitting> {
        let checksum = |trailer| if self.has(trailer) { "trailer" } else { "header" };
        let unsigned = Fitting { payload: "unsigned", checksum: checksum(Ability::UnsignedTrailer) };
        let signed = Fitting { payload: "signed", checksum: checksum(Ability::SignedTrailer) };
        match (self.has(Ability::UnsignedPayload), self.has(Ability::SignedChunks)) {
            (true, _) if tls => Some(unsigned),
            (_, true) => Some(signed),
            (true, false) if loopback => Some(unsigned),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_fit_what_was_found_and_the_way_to_the_store() {
        let all = [Ability::UnsignedPayload, Ability::UnsignedTrailer, Ability::SignedChunks, Ability::SignedTrailer];
        let found = |abilities: &[Ability]| {
            Findings(
                all.iter()
                    .map(|one| (*one, if abilities.contains(one) { Verdict::Yes } else { Verdict::No("501".into()) }))
                    .collect(),
            )
        };
        let fit = |payload, checksum| Some(Fitting { payload, checksum });
        use Ability::{SignedChunks, SignedTrailer, UnsignedPayload, UnsignedTrailer};
        for (abilities, tls, loopback, expected) in [
            (&all[..], true, false, fit("unsigned", "trailer")),
            (&all, false, false, fit("signed", "trailer")),
            (&[UnsignedPayload, SignedChunks], true, false, fit("unsigned", "header")),
            (&[UnsignedPayload, SignedChunks], false, true, fit("signed", "header")),
            (&[UnsignedPayload, UnsignedTrailer], false, true, fit("unsigned", "trailer")),
            (&[UnsignedPayload, UnsignedTrailer], false, false, None),
            (&[SignedChunks, SignedTrailer], true, false, fit("signed", "trailer")),
            (&[SignedChunks, UnsignedTrailer], true, false, fit("signed", "header")),
            (&[], true, true, None),
        ] {
            assert_eq!(found(abilities).fitting(tls, loopback), expected, "{abilities:?} {tls} {loopback}");
        }
    }
}
