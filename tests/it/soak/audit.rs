//! Holds the audit records against the journals of the clients: one record for each request, and the same story in both.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::wire::Sent;

/// Operations that leave an object behind.
const WRITES: [&str; 3] = ["PutObject", "CompleteMultipartUpload", "CopyObject"];

/// The records of a run.
pub struct Audit<'a> {
    records: &'a [Value],
}

fn text<'a>(record: &'a Value, field: &str) -> Option<&'a str> {
    record[field].as_str()
}

impl<'a> Audit<'a> {
    pub fn new(records: &'a [Value]) -> Self {
        Self { records }
    }

    /// Everything in which the records and the journals differ.
    pub fn complaints(&self, journal: &[Sent]) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut by_id: BTreeMap<&str, &Value> = BTreeMap::new();
        for record in self.records {
            if by_id.insert(text(record, "request_id").unwrap_or_default(), record).is_some() {
                complaints.push(format!("the request id of {record} is there twice"));
            }
            if text(record, "code") == Some("InternalError") || record["reason"].to_string().contains("panicked") {
                complaints.push(format!("the gateway failed: {record}"));
            }
        }
        let mut without_answer: BTreeMap<_, usize> = BTreeMap::new();
        for sent in journal {
            match sent.request_id.as_deref().map(|id| (id, by_id.remove(id))) {
                Some((_, Some(record))) => complaints.extend(difference(sent, record)),
                Some((id, None)) => {
                    complaints.push(format!("no record, or a second answer, with the id {id}: {sent:?}"))
                }
                None => *without_answer.entry(what_was_sent(sent)).or_default() += 1,
            }
        }
        for record in by_id.values() {
            match without_answer.get_mut(&what_is_recorded(record)) {
                Some(count @ 1..) => *count -= 1,
                _ => complaints.push(format!("nobody sent what is recorded: {record}")),
            }
        }
        complaints
    }

    /// Keys that the records allow to be written.
    pub fn written(&self) -> BTreeSet<&'a str> {
        let writes = |record: &&Value| {
            record["decision"] == "allow" && text(record, "operation").is_some_and(|name| WRITES.contains(&name))
        };
        self.records.iter().filter(writes).filter_map(|record| text(record, "key")).collect()
    }

    /// What the records say of the uploads to a key.
    pub fn story_of(&self, key: &str) -> Vec<String> {
        let of_key = self.records.iter().filter(|record| text(record, "key") == Some(key));
        of_key.map(|r| format!("{} {} {}: {}", r["operation"], r["outcome"], r["code"], r["reason"])).collect()
    }

    /// How many requests had which outcome.
    pub fn outcomes(&self) -> BTreeMap<&'a str, usize> {
        let mut outcomes = BTreeMap::new();
        for record in self.records {
            *outcomes.entry(text(record, "outcome").unwrap_or("none")).or_default() += 1;
        }
        outcomes
    }
}

fn what_was_sent(sent: &Sent) -> (String, &str, Option<&str>) {
    (format!("token:{}", sent.tenant), sent.operation, sent.key.as_deref())
}

fn what_is_recorded(record: &Value) -> (String, &str, Option<&str>) {
    let principal = text(record, "principal").unwrap_or_default().to_owned();
    (principal, text(record, "operation").unwrap_or_default(), text(record, "key"))
}

/// In what the answer that a client saw differs from the record with its id.
fn difference(sent: &Sent, record: &Value) -> Option<String> {
    let same =
        what_was_sent(sent) == what_is_recorded(record) && record["status"].as_u64() == sent.status.map(u64::from);
    let outcome = text(record, "outcome").unwrap_or_default();
    let spoilt = matches!(sent.code.as_deref(), Some("IncompleteBody" | "RequestTimeout"));
    let fits = match (sent.status, sent.whole) {
        // What a client saw in part, the gateway may have sent to the last byte.
        (_, false) => true,
        (Some(200..400), _) if sent.operation == "DeleteObjects" => ["ok", "partial", "refused"].contains(&outcome),
        (Some(200..400), _) if sent.code.is_none() => outcome == "ok",
        _ => outcome == "refused" || (spoilt && outcome == "aborted"),
    };
    let codes = sent.code.is_none() || sent.code.as_deref() == text(record, "code");
    (!same || !fits || !codes).then(|| format!("seen: {sent:?}, recorded: {record}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(request_id: Option<&str>) -> Sent {
        let (operation, key, code) = ("GetObject", Some("a/k".to_owned()), None);
        let (request_id, status) = (request_id.map(str::to_owned), request_id.map(|_| 200));
        Sent { tenant: 'a', operation, key, request_id, status, code, whole: status.is_some() }
    }

    fn record(id: &str) -> Value {
        json!({ "request_id": id, "principal": "token:a", "operation": "GetObject", "key": "a/k", "status": 200,
            "outcome": "ok", "code": null, "reason": null, "decision": "allow" })
    }

    #[test]
    fn one_record_fits_one_request() {
        let complaints = |journal: &[Sent], records: &[Value]| Audit::new(records).complaints(journal).len();
        assert_eq!(complaints(&[sent(Some("1")), sent(None)], &[record("1"), record("2")]), 0);
        assert_eq!(complaints(&[sent(Some("1")), sent(None)], &[record("1")]), 0, "one that never arrived");
        assert_eq!(complaints(&[sent(Some("1"))], &[]), 1, "a record is missing");
        assert_eq!(complaints(&[sent(Some("1"))], &[record("1"), record("2")]), 1, "nobody sent the second");
        assert_eq!(complaints(&[sent(Some("1"))], &[record("1"), record("1")]), 1, "the id is there twice");
        for (field, value) in [("key", "a/other"), ("principal", "token:b"), ("outcome", "aborted")] {
            let mut other = record("1");
            other[field] = value.into();
            assert_eq!(complaints(&[sent(Some("1"))], &[other]), 1, "another {field}");
        }
    }
}
