//! DeleteObjects: what the rules permit goes to the store in one request, and one answer is made of its results and the rules' denials.

use std::collections::BTreeMap;

use crate::audit::Ticket;
use crate::audit::batch::{BatchRecord, Fate};
use crate::base::RuleId;
use crate::documents::Errand;
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, Reply, local};
use crate::rules::{BatchScope, Denied};
use crate::s3::xml::{Element, XmlWriter};
use crate::s3::{ObjectVersion, S3ErrorCode, delete_objects};

/// Largest answer read: 1,000 keys of 1,024 bytes with every byte escaped, and a message each.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Longest version identifier passed on.
const MAX_VERSION_BYTES: usize = 1024;

/// What became of one object at the store.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StoreResult {
    Deleted { marker: bool, marker_version_id: Option<String> },
    Failed(S3ErrorCode),
}

/// DeleteObjects. If nothing is permitted the store is not asked.
///
/// # Errors
/// [`Refusal`] if the store fails as a whole, or answers for something it was not asked for.
pub async fn delete(errand: &Errand<'_>, scope: &BatchScope, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    ticket.note_batch(record(scope, &[]));
    let permitted: Vec<&ObjectVersion> = scope.permitted().collect();
    let mut results = Vec::new();
    if !permitted.is_empty() {
        let prefix = &errand.bucket.upstream_prefix;
        let document = delete_objects::render(permitted.iter().copied(), prefix);
        let outbound = errand.signer.prepare_document(errand.admission, errand.bucket, document)?;
        let (_, root) = errand.send_for_document(outbound, MAX_ANSWER_BYTES, ticket).await?;
        results = read_results(&root, &permitted, prefix).map_err(|fault| bad_answer(&fault))?;
        ticket.note_batch(record(scope, &results));
    }
    Ok(local::document(render(scope, &results)))
}

/// For the audit record: what became of each object. Without results it is not known of those that the store is asked for.
fn record(scope: &BatchScope, results: &[StoreResult]) -> BatchRecord {
    let mut results = results.iter();
    BatchRecord::collect(scope.verdicts().map(|(object, verdict)| {
        // Results are of permitted objects only.
        let fate = match verdict.as_ref().map(|_| results.next()) {
            Err(denied) => Fate::Denied(denying_rule(denied).map(ToString::to_string)),
            Ok(Some(StoreResult::Deleted { .. })) => Fate::Deleted,
            Ok(Some(StoreResult::Failed(code))) => Fate::Failed(code.as_str()),
            Ok(None) => Fate::Unknown,
        };
        (object, fate)
    }))
}

fn denying_rule(denied: &Denied) -> Option<&RuleId> {
    match denied {
        Denied::ByRule { rule, .. } => Some(rule),
        _ => None,
    }
}

/// The results for what was asked, in its order. An object that the store does not mention has failed.
fn read_results(root: &Element, asked: &[&ObjectVersion], prefix: &str) -> Result<Vec<StoreResult>, &'static str> {
    if root.name != "DeleteResult" {
        return Err("no DeleteResult");
    }
    let mut by_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, object) in asked.iter().enumerate() {
        by_key.entry(object.key.as_str()).or_default().push(index);
    }
    let mut results: Vec<Option<StoreResult>> = vec![None; asked.len()];
    for element in &root.children {
        let result = match element.name.as_str() {
            "Deleted" => deleted(element),
            "Error" => StoreResult::Failed(public_code(element.text_of("Code"))),
            // Nothing that says what became of an object.
            _ => continue,
        };
        let key = element.text_of("Key").strip_prefix(prefix).ok_or("a key outside of the bucket's prefix")?;
        let candidates = by_key.get(key).ok_or("a key that was not asked for")?;
        let index = choose(asked, candidates, element).ok_or("a version that was not asked for")?;
        if results[index].replace(result).is_some() {
            return Err("two results for one object");
        }
    }
    Ok(results.into_iter().map(|result| result.unwrap_or(StoreResult::Failed(S3ErrorCode::InternalError))).collect())
}

/// Which of the objects of one key a result is about. Stores name a version where none was asked for (the one they made), and leave it out
/// where one was: SeaweedFS then says of a delete marker that was removed only which one it was.
fn choose(asked: &[&ObjectVersion], candidates: &[usize], result: &Element) -> Option<usize> {
    let find =
        |wanted: Option<&str>| candidates.iter().copied().find(|index| asked[*index].version_id.as_deref() == wanted);
    let text = |name| Some(result.text_of(name)).filter(|text| !text.is_empty());
    let named = text("VersionId");
    match (named, candidates) {
        (None, [only]) => Some(*only),
        (Some(_), _) => find(named).or_else(|| find(None)),
        (None, _) => text("DeleteMarkerVersionId").and_then(|marker| find(Some(marker))).or_else(|| find(None)),
    }
}

fn deleted(element: &Element) -> StoreResult {
    let version = element.text_of("DeleteMarkerVersionId");
    let plain = !version.is_empty() && version.len() <= MAX_VERSION_BYTES && !version.chars().any(char::is_control);
    StoreResult::Deleted {
        marker: element.text_of("DeleteMarker") == "true",
        marker_version_id: plain.then(|| version.to_owned()),
    }
}

/// The codes that say something about one object. The store accepted the request as a whole, so an `AccessDenied` is a lock on the object.
fn public_code(code: &str) -> S3ErrorCode {
    use S3ErrorCode as Code;
    match Code::named(code) {
        Some(
            code @ (Code::AccessDenied
            | Code::ConditionalRequestConflict
            | Code::InvalidArgument
            | Code::InvalidObjectState
            | Code::InvalidRequest
            | Code::KeyTooLongError
            | Code::MethodNotAllowed
            | Code::NoSuchKey
            | Code::NoSuchVersion
            | Code::NotImplemented
            | Code::PreconditionFailed
            | Code::SlowDown),
        ) => code,
        _ => Code::InternalError,
    }
}

fn message(code: S3ErrorCode) -> &'static str {
    use S3ErrorCode as Code;
    match code {
        Code::AccessDenied => "Access Denied",
        Code::NoSuchKey => "The key does not exist.",
        Code::NoSuchVersion => "The version does not exist.",
        Code::PreconditionFailed => "A condition of the request does not hold.",
        Code::SlowDown => "The store is busy. Try again, more slowly.",
        Code::InternalError => "The store did not delete the object. Try again.",
        _ => "The store refused to delete the object.",
    }
}

/// The answer for the client, object by object in the order of its request.
fn render(scope: &BatchScope, results: &[StoreResult]) -> String {
    let mut xml = XmlWriter::new("DeleteResult", true);
    let mut results = results.iter();
    for (object, verdict) in scope.verdicts() {
        let result = verdict.as_ref().ok().and_then(|_| results.next());
        match result {
            Some(StoreResult::Deleted { .. }) if scope.quiet() => {}
            Some(StoreResult::Deleted { marker, marker_version_id }) => {
                name(xml.open("Deleted"), object);
                if *marker {
                    xml.text("DeleteMarker", "true");
                }
                if let Some(version_id) = marker_version_id {
                    xml.text("DeleteMarkerVersionId", version_id);
                }
                xml.close();
            }
            Some(StoreResult::Failed(code)) => error(&mut xml, object, *code),
            None => error(&mut xml, object, S3ErrorCode::AccessDenied),
        }
    }
    xml.finish()
}

fn error(xml: &mut XmlWriter, object: &ObjectVersion, code: S3ErrorCode) {
    name(xml.open("Error"), object);
    xml.text("Code", code.as_str()).text("Message", message(code)).close();
}

fn name(xml: &mut XmlWriter, object: &ObjectVersion) {
    xml.text("Key", object.key.as_str());
    if let Some(version_id) = &object.version_id {
        xml.text("VersionId", version_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{ObjectKey, OddKeys};

    fn object(key: &str, version_id: Option<&str>) -> ObjectVersion {
        ObjectVersion {
            key: ObjectKey::check(key.to_owned(), "gw/", OddKeys::Refuse).unwrap(),
            version_id: version_id.map(str::to_owned),
            conditions: Vec::new(),
        }
    }

    fn read(inside: &str, asked: &[ObjectVersion]) -> Result<Vec<StoreResult>, &'static str> {
        let root = Element::parse(&format!("<DeleteResult>{inside}</DeleteResult>")).unwrap();
        read_results(&root, &asked.iter().collect::<Vec<_>>(), "gw/")
    }

    const GONE: StoreResult = StoreResult::Deleted { marker: false, marker_version_id: None };

    #[test]
    fn results_are_matched_by_key_and_version_in_any_order() {
        let asked = [object("a", None), object("b", Some("1")), object("b", Some("2")), object("c", None)];
        let found = read(
            "<Error><Key>gw/b</Key><VersionId>2</VersionId><Code>NoSuchVersion</Code><Message>inside</Message></Error>\
             <Deleted><Key>gw/b</Key><VersionId>1</VersionId></Deleted>\
             <Deleted><Key>gw/a</Key><VersionId>made</VersionId><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>made</DeleteMarkerVersionId></Deleted>",
            &asked,
        );
        let marker = StoreResult::Deleted { marker: true, marker_version_id: Some("made".into()) };
        let failed = StoreResult::Failed;
        assert_eq!(
            found.unwrap(),
            [marker, GONE, failed(S3ErrorCode::NoSuchVersion), failed(S3ErrorCode::InternalError)]
        );
        // A store that leaves the version out.
        assert_eq!(read("<Deleted><Key>gw/b</Key></Deleted>", &[object("b", Some("1"))]).unwrap(), [GONE]);
    }

    #[test]
    fn a_removed_marker_is_found_by_its_own_version_where_the_store_leaves_out_the_one_asked_for() {
        let asked = [object("b", Some("1")), object("b", Some("2"))];
        let removed = "<Deleted><Key>gw/b</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>2</DeleteMarkerVersionId></Deleted>";
        let found = read(&format!("{removed}<Deleted><Key>gw/b</Key><VersionId>1</VersionId></Deleted>"), &asked);
        let marker = StoreResult::Deleted { marker: true, marker_version_id: Some("2".into()) };
        assert_eq!(found.unwrap(), [GONE, marker]);
        assert!(read(&removed.replace(">2<", ">3<"), &asked).is_err(), "not one of those asked for");
    }

    #[test]
    fn d12_results_for_something_else_are_a_fault_of_the_store() {
        let asked = [object("a", None), object("b", Some("1")), object("b", Some("2"))];
        for inside in [
            "<Deleted><Key>a</Key></Deleted>",
            "<Deleted><Key>gw/other</Key></Deleted>",
            "<Deleted></Deleted>",
            "<Error><Code>AccessDenied</Code></Error>",
            "<Deleted><Key>gw/b</Key></Deleted>",
            "<Deleted><Key>gw/b</Key><VersionId>3</VersionId></Deleted>",
            "<Deleted><Key>gw/a</Key></Deleted><Error><Key>gw/a</Key><Code>SlowDown</Code></Error>",
        ] {
            assert!(read(inside, &asked).is_err(), "{inside}");
        }
        assert!(read_results(&Element::parse("<Other/>").unwrap(), &[], "").is_err());
    }

    #[test]
    fn codes_of_the_store_that_say_nothing_about_an_object_do_not_pass() {
        for code in ["SignatureDoesNotMatch", "InternalError", "", "<x>", "InvalidAccessKeyId", "NoSuchBucket"] {
            assert_eq!(public_code(code), S3ErrorCode::InternalError, "{code}");
        }
        assert_eq!(public_code("NoSuchVersion"), S3ErrorCode::NoSuchVersion);
    }
}
