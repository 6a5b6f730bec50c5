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
