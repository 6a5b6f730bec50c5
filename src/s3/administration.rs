//! The small documents of operations that are forwarded: which root element a request and an answer must have.
//!
//! A request is read strictly before it is passed on, so that no store is given what breaks its parser (K27), and what could name
//! another place is written anew. What a document says is otherwise between the caller, who may do everything here, and the store.

use crate::s3::operation::Operation;
use crate::s3::xml::{Element, XmlError, XmlWriter};

/// Largest document of a request. A lifecycle configuration of 1,000 rules has about 200 KB; bucket policies end at 20 KB.
pub const MAX_REQUEST_BYTES: u64 = 256 * 1024;

/// What an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A status, and perhaps something nobody needs.
    Status,
    /// An XML document with this root.
    Xml(&'static str),
    /// An XML document whose root is a list of configurations; S3 and its imitators spell it differently.
    XmlList,
    /// Where the bucket is, in a document that stores write differently and nobody needs.
    Location,
    /// A JSON object.
    Json,
    /// Bytes that are passed on as they come.
    Bytes,
}

/// Why the document of a request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdministrationError {
    /// Not XML, or not strictly so.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Not UTF-8.
    #[error("the document is not UTF-8")]
    NotText,
    /// Another root element than the operation has, or none.
    #[error("the document must be one `{0}`")]
    Root(&'static str),
    /// An element that is not accepted here.
    #[error("the element `{0}` is not accepted here")]
    Element(String),
    /// A policy that is not one JSON object.
    #[error("the policy is not a JSON object")]
    NotJson,
    /// A bucket wanted in another region.
    #[error("buckets are created in the region `{0}` only")]
    Location(String),
}

/// The root of the document that a request of the operation carries; `None` if it carries JSON.
fn request_root(operation: Operation) -> Option<&'static str> {
    use Operation as Op;
    Some(match operation {
        Op::CreateBucket => "CreateBucketConfiguration",
        Op::CreateBucketMetadataConfiguration => "MetadataConfiguration",
        Op::CreateBucketMetadataTableConfiguration => "MetadataTableConfiguration",
        Op::PutBucketAbac => "AbacStatus",
        Op::PutBucketAccelerateConfiguration => "AccelerateConfiguration",
        Op::PutBucketAcl | Op::PutObjectAcl => "AccessControlPolicy",
        Op::PutBucketAnalyticsConfiguration => "AnalyticsConfiguration",
        Op::PutBucketCors => "CORSConfiguration",
        Op::PutBucketEncryption => "ServerSideEncryptionConfiguration",
        Op::PutBucketIntelligentTieringConfiguration => "IntelligentTieringConfiguration",
        Op::PutBucketInventoryConfiguration => "InventoryConfiguration",
        Op::PutBucketLifecycleConfiguration => "LifecycleConfiguration",
        Op::PutBucketLogging => "BucketLoggingStatus",
        Op::PutBucketMetricsConfiguration => "MetricsConfiguration",
        Op::PutBucketNotificationConfiguration => "NotificationConfiguration",
        Op::PutBucketOwnershipControls => "OwnershipControls",
        Op::PutBucketReplication => "ReplicationConfiguration",
        Op::PutBucketRequestPayment => "RequestPaymentConfiguration",
        Op::PutBucketTagging => "Tagging",
        Op::PutBucketVersioning => "VersioningConfiguration",
        Op::PutBucketWebsite => "WebsiteConfiguration",
        Op::PutObjectLegalHold => "LegalHold",
        Op::PutObjectLockConfiguration => "ObjectLockConfiguration",
        Op::PutObjectRetention => "Retention",
        Op::PutPublicAccessBlock => "PublicAccessBlockConfiguration",
        Op::RestoreObject => "RestoreRequest",
        Op::UpdateBucketMetadataAnnotationTableConfiguration => "AnnotationTableConfiguration",
        Op::UpdateBucketMetadataInventoryTableConfiguration => "InventoryTableConfiguration",
        Op::UpdateBucketMetadataJournalTableConfiguration => "JournalTableConfiguration",
        _ => return None,
    })
}

/// What the answer to a forwarded operation holds.
pub fn answer(operation: Operation) -> Answer {
    use Operation as Op;
    match operation {
        Op::GetBucketAbac => Answer::Xml("AbacStatus"),
        Op::GetBucketAccelerateConfiguration => Answer::Xml("AccelerateConfiguration"),
        Op::GetBucketAcl | Op::GetObjectAcl => Answer::Xml("AccessControlPolicy"),
        Op::GetBucketAnalyticsConfiguration => Answer::Xml("AnalyticsConfiguration"),
        Op::GetBucketCors => Answer::Xml("CORSConfiguration"),
        Op::GetBucketEncryption => Answer::Xml("ServerSideEncryptionConfiguration"),
        Op::GetBucketIntelligentTieringConfiguration => Answer::Xml("IntelligentTieringConfiguration"),
        Op::GetBucketInventoryConfiguration => Answer::Xml("InventoryConfiguration"),
        Op::GetBucketLifecycleConfiguration => Answer::Xml("LifecycleConfiguration"),
        Op::GetBucketLocation => Answer::Location,
        Op::GetBucketLogging => Answer::Xml("BucketLoggingStatus"),
        Op::GetBucketMetadataConfiguration => Answer::Xml("GetBucketMetadataConfigurationResult"),
        Op::GetBucketMetadataTableConfiguration => Answer::Xml("GetBucketMetadataTableConfigurationResult"),
        Op::GetBucketMetricsConfiguration => Answer::Xml("MetricsConfiguration"),
        Op::GetBucketNotificationConfiguration => Answer::Xml("NotificationConfiguration"),
        Op::GetBucketOwnershipControls => Answer::Xml("OwnershipControls"),
        Op::GetBucketPolicy => Answer::Json,
        Op::GetBucketPolicyStatus => Answer::Xml("PolicyStatus"),
        Op::GetBucketReplication => Answer::Xml("ReplicationConfiguration"),
        Op::GetBucketRequestPayment => Answer::Xml("RequestPaymentConfiguration"),
        Op::GetBucketTagging => Answer::Xml("Tagging"),
        Op::GetBucketVersioning => Answer::Xml("VersioningConfiguration"),
        Op::GetBucketWebsite => Answer::Xml("WebsiteConfiguration"),
        Op::GetObjectLegalHold => Answer::Xml("LegalHold"),
        Op::GetObjectLockConfiguration => Answer::Xml("ObjectLockConfiguration"),
        Op::GetObjectRetention => Answer::Xml("Retention"),
        Op::GetObjectTorrent => Answer::Bytes,
        Op::GetPublicAccessBlock => Answer::Xml("PublicAccessBlockConfiguration"),
        Op::ListBucketAnalyticsConfigurations
        | Op::ListBucketIntelligentTieringConfigurations
        | Op::ListBucketInventoryConfigurations
        | Op::ListBucketMetricsConfigurations => Answer::XmlList,
        _ => Answer::Status,
    }
}

impl Answer {
    /// Whether a document has the root that belongs there: a store that does not know a sub-resource answers with a listing.
    pub fn has_root(self, root: &Element) -> bool {
        match self {
            Self::Xml(expected) => root.name == expected,
            Self::XmlList => root.name.starts_with("List") && root.name.contains("Configuration"),
            Self::Status | Self::Location | Self::Json | Self::Bytes => false,
        }
    }
}

/// Checks the document of a request and returns what goes to the store. `region` is the only one in which buckets can be created;
/// `in_headers` says whether an access control list stands in the headers, so that there may be no document.
///
/// # Errors
/// [`AdministrationError`] with the first thing wrong.
pub fn check(
    operation: Operation,
    document: &[u8],
    region: &str,
    in_headers: bool,
) -> Result<Vec<u8>, AdministrationError> {
    let Some(expected) = request_root(operation) else {
        let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(document);
        return object.map(|_| document.to_vec()).map_err(|_| AdministrationError::NotJson);
    };
    if document.is_empty() && (operation == Operation::CreateBucket || in_headers) {
        return Ok(Vec::new());
    }
    let text = std::str::from_utf8(document).map_err(|_| AdministrationError::NotText)?;
    let root = Element::parse(text)?;
    if root.name != expected {
        return Err(AdministrationError::Root(expected));
    }
    match operation {
        Operation::CreateBucket => location(&root, region),
        Operation::RestoreObject => restore(&root),
        _ => Ok(document.to_vec()),
    }
}

/// A bucket is created where the gateway is configured to look for it, and without anything else.
fn location(root: &Element, region: &str) -> Result<Vec<u8>, AdministrationError> {
    let mut wanted = None;
    for child in &root.children {
        if child.name != "LocationConstraint"
            || !child.children.is_empty()
            || wanted.replace(child.text.trim()).is_some()
        {
            return Err(unwanted(child));
        }
    }
    match wanted {
        None | Some("") => Ok(Vec::new()),
        Some(wanted) if wanted == region => {
            let mut xml = XmlWriter::new("CreateBucketConfiguration", true);
            xml.text("LocationConstraint", region);
            Ok(xml.finish().into_bytes())
        }
        Some(_) => Err(AdministrationError::Location(region.to_owned())),
    }
}

/// A restore can also run a query and write its result into any bucket. Only the restoring is served.
fn restore(root: &Element) -> Result<Vec<u8>, AdministrationError> {
    let mut xml = XmlWriter::new("RestoreRequest", true);
    for child in &root.children {
        match (child.name.as_str(), child.children.as_slice()) {
            ("Days", []) => drop(xml.text("Days", child.text.trim())),
            ("GlacierJobParameters", [tier]) if tier.name == "Tier" && tier.children.is_empty() => {
                xml.open("GlacierJobParameters").text("Tier", tier.text.trim()).close();
            }
            _ => return Err(unwanted(child)),
        }
    }
    Ok(xml.finish().into_bytes())
}

fn unwanted(element: &Element) -> AdministrationError {
    AdministrationError::Element(element.name.chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::serving::carries_document;

    fn checked(operation: Operation, document: &str) -> Result<String, AdministrationError> {
        check(operation, document.as_bytes(), "eu-1", false).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn every_operation_with_a_document_has_a_root_or_is_the_policy() {
        for spec in Operation::all().filter(|spec| carries_document(spec)) {
            assert_eq!(
                request_root(spec.operation).is_none(),
                spec.operation == Operation::PutBucketPolicy,
                "{}",
                spec.name
            );
        }
    }

    #[test]
    fn every_forwarded_read_has_an_answer_that_can_be_told_from_another() {
        let reads = Operation::all().filter(|spec| spec.method == "GET");
        for spec in reads.filter(|spec| crate::s3::serving::serving(spec.operation).mapping().is_some()) {
            assert_ne!(answer(spec.operation), Answer::Status, "{}", spec.name);
        }
        let named = |name: &str| Element { name: name.into(), ..Element::default() };
        assert!(Answer::Xml("Tagging").has_root(&named("Tagging")));
        assert!(!Answer::Xml("Tagging").has_root(&named("ListBucketResult")));
        assert!(Answer::XmlList.has_root(&named("ListMetricsConfigurationsResult")));
        assert!(!Answer::XmlList.has_root(&named("ListBucketResult")));
    }

    #[test]
    fn a_document_of_another_operation_is_refused() {
        let tagging = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Tagging xmlns=\"x\"><TagSet/></Tagging>";
        assert_eq!(checked(Operation::PutBucketTagging, tagging).unwrap(), tagging);
        assert_eq!(checked(Operation::PutBucketCors, tagging), Err(AdministrationError::Root("CORSConfiguration")));
        assert!(checked(Operation::PutBucketTagging, "").is_err());
        assert_eq!(check(Operation::PutBucketAcl, b"", "eu-1", true), Ok(Vec::new()));
        assert!(check(Operation::PutBucketAcl, b"", "eu-1", false).is_err());
    }

    #[test]
    fn k27_bombs_and_foreign_encodings_are_refused() {
        for document in [
            "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><Tagging>&b;</Tagging>".to_owned(),
            "<Tagging>&b;</Tagging>".to_owned(),
            "<Tagging>".repeat(100_000),
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><Tagging/>".to_owned(),
            "<Tagging>".to_owned(),
        ] {
            assert!(checked(Operation::PutBucketTagging, &document).is_err(), "{:.60}", document);
        }
        assert_eq!(
            check(Operation::PutBucketTagging, b"\xff\xfe<\0", "eu-1", false),
            Err(AdministrationError::NotText)
        );
    }

    #[test]
    fn a_policy_is_one_json_object() {
        assert!(checked(Operation::PutBucketPolicy, "{\"Statement\":[]}").is_ok());
        let deep = "[".repeat(100_000);
        for policy in ["", "[]", "\"x\"", "{\"a\":1} {}", "{", "<Policy/>", deep.as_str()] {
            assert_eq!(checked(Operation::PutBucketPolicy, policy), Err(AdministrationError::NotJson), "{policy:.20}");
        }
    }

    #[test]
    fn a_bucket_is_created_in_the_configured_region_or_in_none_named() {
        let create = |inside: &str| {
            let text = format!("<CreateBucketConfiguration>{inside}</CreateBucketConfiguration>");
            checked(Operation::CreateBucket, &text)
        };
        assert_eq!(checked(Operation::CreateBucket, "").unwrap(), "");
        assert_eq!(create("").unwrap(), "");
        assert!(create("<LocationConstraint>eu-1</LocationConstraint>").unwrap().contains(">eu-1<"));
        assert_eq!(
            create("<LocationConstraint>us-2</LocationConstraint>"),
            Err(AdministrationError::Location("eu-1".into()))
        );
        for inside in [
            "<Location><Name>x</Name></Location>",
            "<Bucket><Type>Directory</Type></Bucket>",
            "<LocationConstraint>eu-1</LocationConstraint><LocationConstraint>us-2</LocationConstraint>",
            "<Tags/>",
        ] {
            assert!(matches!(create(inside), Err(AdministrationError::Element(_))), "{inside}");
        }
    }

    #[test]
    fn a_restore_cannot_write_a_result_elsewhere() {
        let restore =
            |inside: &str| checked(Operation::RestoreObject, &format!("<RestoreRequest>{inside}</RestoreRequest>"));
        assert!(restore("<Days>2</Days><GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters>").is_ok());
        for inside in [
            "<OutputLocation><S3/></OutputLocation>",
            "<Type>SELECT</Type>",
            "<SelectParameters/>",
            "<x:Days>1</x:Days>",
        ] {
            assert!(matches!(restore(inside), Err(AdministrationError::Element(_))), "{inside}");
        }
    }
}
