//! What clients and operators get to see of an inspection.
//!
//! The client reads that its object was not accepted and of what kind the reason is: never the name of a signature, which would help to get
//! around it, nor anything of the scanner. The operator finds all of it in the audit record.

use crate::audit::record::{FindingRecord, InspectionNote};
use crate::inspect::{Finding, Outcome, Verdict, VerdictState};
use crate::respond::refusal::{Refusal, RefusalKind};
use crate::s3::S3ErrorCode;

/// Longest name of a signature, or reason, in an audit record. Scanners may quote names out of the object.
const MAX_DETAIL_BYTES: usize = 256;

impl From<&Outcome> for Refusal {
    /// Of an object that is not accepted. With 403, which no SDK tries again: the same object would come to the same.
    fn from(outcome: &Outcome) -> Self {
        let refuse = |code, message: &str| Self::new(code, RefusalKind::Blocked, message, outcome);
        match outcome.state {
            VerdictState::Matched => {
                refuse(S3ErrorCode::ContentRejected, "The content of the object is not allowed here.")
            }
            VerdictState::NotScannable => refuse(
                S3ErrorCode::ContentNotScannable,
                "The object cannot be inspected as a whole: it is too large, encrypted, or packed too deep for that.",
            ),
            VerdictState::Clean | VerdictState::Error => {
                refuse(S3ErrorCode::InspectionFailed, "The object could not be inspected, and is not accepted without.")
            }
        }
    }
}

/// What the audit record says of an inspection.
pub fn note_of(outcome: &Outcome) -> InspectionNote {
    InspectionNote { findings: outcome.findings.iter().map(record).collect(), action: outcome.action.as_str() }
}

fn record(finding: &Finding) -> FindingRecord {
    let detail = finding.verdict.detail();
    let detail =
        Some(detail[..detail.floor_char_boundary(MAX_DETAIL_BYTES)].to_owned()).filter(|text| !text.is_empty());
    let (name, reason) = match finding.verdict {
        Verdict::Matched { .. } => (detail, None),
        Verdict::Clean | Verdict::NotScannable { .. } | Verdict::Error { .. } => (None, detail),
    };
    FindingRecord {
        inspector: finding.inspector.clone(),
        verdict: finding.verdict.state().as_str(),
        name,
        reason,
        bytes: finding.bytes,
        ms: (finding.time.as_secs_f64() * 1_000_000.0).round() / 1000.0,
        remembered: finding.remembered,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::inspect::Actions;

    fn outcome(verdict: Verdict) -> Outcome {
        let time = Duration::from_micros(1_500);
        let finding = Finding { inspector: "av-7".into(), verdict, bytes: 9, time, remembered: false };
        Outcome::of(vec![finding], Actions::default())
    }

    #[test]
    fn h12_a_client_reads_what_kind_of_reason_there_is_and_nothing_of_the_scanner() {
        let detail = "Win.Test at 10.0.0.9: socket /run/clamd";
        for (verdict, code) in [
            (Verdict::matched(detail), S3ErrorCode::ContentRejected),
            (Verdict::not_scannable(detail), S3ErrorCode::ContentNotScannable),
            (Verdict::error(detail), S3ErrorCode::InspectionFailed),
        ] {
            let refusal = Refusal::from(&outcome(verdict));
            assert_eq!((refusal.code, refusal.status.as_u16(), refusal.kind), (code, 403, RefusalKind::Blocked));
            assert!(refusal.reason.contains(detail) && refusal.reason.contains("av-7"), "{}", refusal.reason);
            assert!(!refusal.message.contains("Win") && !refusal.message.contains("av-7"), "{}", refusal.message);
        }
    }

    #[test]
    fn e12_a_name_of_any_length_is_cut_between_characters() {
        let note = note_of(&outcome(Verdict::matched(format!("x{}\n", "ü".repeat(300)))));
        let finding = &note.findings[0];
        assert_eq!(finding.name.as_deref(), Some(format!("x{}", "ü".repeat(127)).as_str()));
        assert_eq!((note.action, finding.verdict, &finding.reason), ("refuse", "matched", &None));
        assert_eq!((finding.bytes, finding.ms), (9, 1.5));
        let reason = note_of(&outcome(Verdict::error("down"))).findings.remove(0).reason;
        assert_eq!(reason.as_deref(), Some("down"));
    }
}
