//! What clamd answers: an exact grammar, because a word that is misread as `OK` is a virus that got through.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Longest answer that is read. A real one is a name of a signature, under 200 bytes.
pub const MAX_ANSWER_BYTES: usize = 4096;
/// Longest part of an answer that reaches a record.
const MAX_SHOWN: usize = 200;

/// The answer to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `stream: OK`.
    Clean,
    /// `stream: NAME FOUND`.
    Found(String),
    /// `INSTREAM size limit exceeded. ERROR`: the rest was not taken.
    SizeLimit,
    /// Everything else, in words.
    Failed(String),
}

/// Reads one whole answer, without the NUL behind it.
pub fn parse(answer: &[u8]) -> Answer {
    let nonsense = || Answer::Failed(format!("clamd answered `{}`", printable(answer)));
    if answer.len() > MAX_ANSWER_BYTES || !answer.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return nonsense();
    }
    let Ok(text) = std::str::from_utf8(answer) else { return nonsense() };
    if text == "INSTREAM size limit exceeded. ERROR" {
        return Answer::SizeLimit;
    }
    match text.strip_prefix("stream: ") {
        Some("OK") => Answer::Clean,
        Some(rest) => match rest.strip_suffix(" FOUND").filter(|name| !name.trim().is_empty()) {
            Some(name) => Answer::Found(name.chars().take(MAX_SHOWN).collect()),
            None => nonsense(),
        },
        None => nonsense(),
    }
}

/// What can be shown of bytes that a scanner sent: printable ASCII, not much of it.
pub fn printable(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(MAX_SHOWN);
    shown.map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '?' }).collect()
}

/// When the signatures were made: the last part of `ClamAV 1.4.6/27100/Sat Jan 20 08:22:33 2024`, in seconds since 1970.
///
/// clamd writes its local time without a zone; it is read as UTC, so it may be wrong by hours, which does not matter for days.
pub fn signatures_made(version: &str) -> Option<u64> {
    let date = version.splitn(3, '/').nth(2)?;
    let made = DateTime::strptime("%a %b %e %H:%M:%S %Y", date.trim()).ok()?;
    u64::try_from(made.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_of_clamd_are_understood() {
        for (answer, expected) in [
            ("stream: OK", Answer::Clean),
            ("stream: Win.Test.EICAR_HDB-1 FOUND", Answer::Found("Win.Test.EICAR_HDB-1".into())),
            (
                "stream: Eicar(44d88612fea8a8f36de82e1278abb02f:68) FOUND",
                Answer::Found("Eicar(44d88612fea8a8f36de82e1278abb02f:68)".into()),
            ),
            ("INSTREAM size limit exceeded. ERROR", Answer::SizeLimit),
        ] {
            assert_eq!(parse(answer.as_bytes()), expected, "{answer}");
        }
    }

    #[test]
    fn anything_else_is_a_failure() {
        for answer in [
            "",
            "OK",
            "stream: ok",
            "stream: OK ",
            "stream: OK\n",
            " stream: OK",
            "1: stream: OK",
            "stream: OK\0stream: OK",
            "stream:  FOUND",
            "stream: FOUND",
            "stream: x",
            "stream: x FOUND ",
            "stream: Can't allocate memory ERROR",
            "INSTREAM size limit exceeded. ERROR ",
            "COMMAND READ TIMED OUT\n",
            "UNKNOWN COMMAND",
            "/tmp/x: OK",
            "stream: na\u{e9}me FOUND",
        ] {
            assert!(matches!(parse(answer.as_bytes()), Answer::Failed(_)), "{answer:?}");
        }
        assert_eq!(parse(b"\x1b[2Jx\xff"), Answer::Failed("clamd answered `?[2Jx?`".to_owned()));
        assert!(matches!(parse(format!("stream: {} FOUND", "x".repeat(5000)).as_bytes()), Answer::Failed(_)));
    }

    #[test]
    fn the_age_of_signatures_is_read() {
        assert_eq!(signatures_made("ClamAV 1.4.6/27100/Sat Nov 14 08:22:33 2026"), Some(1_794_644_553));
        assert_eq!(signatures_made("ClamAV 1.4.6/27100/Sat Nov  7 08:22:33 2026"), Some(1_794_039_753));
        for version in ["ClamAV 1.4.6", "ClamAV 1.4.6/27100", "ClamAV 1.4.6/27100/yesterday", ""] {
            assert_eq!(signatures_made(version), None, "{version}");
        }
    }

    proptest! {
        #[test]
        fn only_one_text_is_clean(answer in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(parse(&answer) == Answer::Clean, answer == b"stream: OK");
        }

        #[test]
        fn a_changed_answer_is_not_clean(at in 0_usize..10, to in any::<u8>()) {
            let mut answer = b"stream: OK".to_vec();
            prop_assume!(answer[at] != to);
            answer[at] = to;
            prop_assert_ne!(parse(&answer), Answer::Clean);
        }
    }
}
