//! The verdict that a program answers with.
//!
//! Strict, because whoever writes `{"verdict": "matched"}` and whoever writes `{"status": "infected"}` both believe to have said no.

use serde::Deserialize;

use crate::inspect::Verdict;

/// Longest accepted answer in bytes.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// Longest name or reason that is kept, in characters: it goes into audit records.
const MAX_DETAIL_CHARS: usize = 256;

/// What a program said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Looked at, nothing found.
    Clean,
    /// Anything else.
    Bad(Verdict),
}

/// Why an answer is no verdict.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    /// No JSON of this form.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Not one of the four.
    #[error("`verdict` is not clean, matched, not_scannable or error")]
    Unknown,
    /// It says what was found in a clean object.
    #[error("`clean` with a name or a reason")]
    Contradiction,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    verdict: String,
    name: Option<String>,
    reason: Option<String>,
}

impl Answer {
    /// Reads the JSON text.
    ///
    /// # Errors
    /// [`AnswerError`] for everything but one object with `verdict` and perhaps `name` and `reason`, each once.
    pub(super) fn parse(text: &[u8]) -> Result<Self, AnswerError> {
        let Wire { verdict, name, reason } = serde_json::from_slice(text)?;
        let name_or = |other: Option<String>| detail(name.clone().or(other), "unnamed");
        match verdict.as_str() {
            "clean" if name.is_some() || reason.is_some() => Err(AnswerError::Contradiction),
            "clean" => Ok(Self::Clean),
            "matched" => Ok(Self::Bad(Verdict::matched(name_or(reason)))),
            "not_scannable" => Ok(Self::Bad(Verdict::not_scannable(detail(reason.or(name), "no reason given")))),
            "error" => Ok(Self::Bad(Verdict::error(detail(reason.or(name), "no reason given")))),
            _ => Err(AnswerError::Unknown),
        }
    }

    /// As a verdict.
    pub(super) fn into_verdict(self) -> Verdict {
        match self {
            Self::Clean => Verdict::Clean,
            Self::Bad(verdict) => verdict,
        }
    }
}

/// A text of the program as it may be written down.
fn detail(text: Option<String>, otherwise: &str) -> String {
    let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| otherwise.to_owned());
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(MAX_DETAIL_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Answer> {
        Answer::parse(text.as_bytes()).ok()
    }

    #[test]
    fn the_four_verdicts_are_read() {
        for (text, verdict) in [
            (r#"{"verdict":"clean"}"#, Verdict::Clean),
            (r#" {"verdict" : "clean", "name": null}"#, Verdict::Clean),
            (r#"{"verdict":"matched","name":"Eicar"}"#, Verdict::matched("Eicar")),
            (r#"{"verdict":"matched","reason":"bad"}"#, Verdict::matched("bad")),
            (r#"{"verdict":"matched"}"#, Verdict::matched("unnamed")),
            (r#"{"verdict":"matched","name":""}"#, Verdict::matched("unnamed")),
            (r#"{"verdict":"not_scannable","reason":"encrypted"}"#, Verdict::not_scannable("encrypted")),
            (r#"{"verdict":"error","reason":"a\nb"}"#, Verdict::error("a\u{fffd}b")),
            (r#"{"verdict":"error"}"#, Verdict::error("no reason given")),
        ] {
            assert_eq!(parsed(text).map(Answer::into_verdict), Some(verdict), "{text}");
        }
        let long = format!(r#"{{"verdict":"matched","name":"{}"}}"#, "é".repeat(10_000));
        assert_eq!(parsed(&long).map(Answer::into_verdict), Some(Verdict::matched("é".repeat(256))));
    }

    #[test]
    fn everything_else_is_no_verdict() {
        for text in [
            "",
            "null",
            "[]",
            r#""clean""#,
            "{}",
            r#"{"verdict":"Clean"}"#,
            r#"{"verdict":"ok"}"#,
            r#"{"verdict":true}"#,
            r#"{"verdict":null}"#,
            r#"{"verdict":["clean"]}"#,
            r#"{"verdict":{"clean":null}}"#,
            r#"{"Verdict":"clean"}"#,
            r#"{"verdict":"clean","verdict":"matched"}"#,
            r#"{"verdict":"clean","status":"infected"}"#,
            r#"{"verdict":"clean","name":"Eicar"}"#,
            r#"{"verdict":"clean","reason":"x"}"#,
            r#"{"verdict":"matched","name":5}"#,
            r#"{"verdict":"clean"}{"verdict":"matched"}"#,
            r#"{"verdict":"clean"} x"#,
            r#"{"verdict":"clean""#,
            "\u{feff}{\"verdict\":\"clean\"}",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
