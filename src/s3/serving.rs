//! What becomes of each operation of the model: carried out by a stage of its own, forwarded under conditions, or not served.
//!
//! An operation on a bucket as a whole touches keys under every prefix, so it needs a right on the whole bucket. What names other
//! buckets, accounts, keys of encryption or URLs is only for sites that put the gateway before a whole store. `docs/S3.md` shows
//! this table; a test keeps the two equal.

use crate::s3::buckets::Bucket;
use crate::s3::operation::{Body, Level, Operation, OperationSpec};

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// A stage of its own carries it out, if it is one of [`SERVED`](crate::s3::identify::SERVED).
    Own,
    /// Forwarded for callers who have its action on the key.
    Key(Mapping),
    /// Forwarded for callers who have its action on the whole bucket.
    Bucket(Mapping),
    /// Answered `NotImplemented`, for this reason.
    Not(&'static str),
}

/// How a bucket must be mapped for an operation to be served there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// In any way.
    Any,
    /// Without an upstream prefix: keys beside the prefix are none of the public bucket's.
    Unprefixed,
    /// By the pass-through mapping of a whole store: what the operation says or shows names things of the store.
    PassThrough,
}

impl Mapping {
    /// Whether a bucket is mapped so.
    pub fn fits(self, bucket: &Bucket) -> bool {
        match self {
            Self::Any => true,
            Self::Unprefixed => bucket.upstream_prefix.is_empty(),
            Self::PassThrough => bucket.passed_through,
        }
    }
}

impl Serving {
    /// The words of the documentation.
    pub fn describe(self) -> String {
        match self {
            Self::Own => "see above".to_owned(),
            Self::Key(Mapping::PassThrough) => "forwarded, pass-through only".to_owned(),
            Self::Key(_) => "forwarded".to_owned(),
            Self::Bucket(Mapping::PassThrough) => {
                "forwarded with the right on the whole bucket, pass-through only".to_owned()
            }
            Self::Bucket(_) => "forwarded with the right on the whole bucket, not with an upstream prefix".to_owned(),
            Self::Not(reason) => format!("`NotImplemented`: {reason}"),
        }
    }

    /// How the bucket must be mapped, if the operation is forwarded.
    pub fn mapping(self) -> Option<Mapping> {
        match self {
            Self::Key(mapping) | Self::Bucket(mapping) => Some(mapping),
            Self::Own | Self::Not(_) => None,
        }
    }
}

const SHADOWED: Serving = Serving::Not("never identified: same request as its successor");
const ANNOTATION: Serving = Serving::Not("content of an object that no rule looks at");

/// What becomes of an operation.
pub fn serving(operation: Operation) -> Serving {
    use Operation as Op;
    match operation {
        Op::AbortMultipartUpload
        | Op::CompleteMultipartUpload
        | Op::CopyObject
        | Op::CreateMultipartUpload
        | Op::DeleteObject
        | Op::DeleteObjectTagging
        | Op::DeleteObjects
        | Op::GetBucketLocation
        | Op::GetObject
        | Op::GetObjectAttributes
        | Op::GetObjectTagging
        | Op::HeadBucket
        | Op::HeadObject
        | Op::ListBuckets
        | Op::ListMultipartUploads
        | Op::ListObjectVersions
        | Op::ListObjects
        | Op::ListObjectsV2
        | Op::ListParts
        | Op::PutObject
        | Op::PutObjectTagging
        | Op::UploadPart
        | Op::UploadPartCopy => Serving::Own,

        Op::GetObjectAcl
        | Op::GetObjectLegalHold
        | Op::GetObjectRetention
        | Op::PutObjectAcl
        | Op::PutObjectLegalHold
        | Op::PutObjectRetention
        | Op::RestoreObject => Serving::Key(Mapping::Any),

        // A torrent names the bucket of the store and its tracker.
        Op::GetObjectTorrent => Serving::Key(Mapping::PassThrough),
        // Nor can a store be asked beforehand: there is no such read.
        Op::UpdateObjectEncryption => Serving::Not("a store that does not know it overwrites the object"),

        Op::CreateBucket
        | Op::DeleteBucket
        | Op::DeleteBucketCors
        | Op::DeleteBucketIntelligentTieringConfiguration
        | Op::DeleteBucketLifecycle
        | Op::DeleteBucketOwnershipControls
        | Op::DeleteBucketTagging
        | Op::DeletePublicAccessBlock
        | Op::GetBucketAbac
        | Op::GetBucketAccelerateConfiguration
        | Op::GetBucketAcl
        | Op::GetBucketCors
        | Op::GetBucketIntelligentTieringConfiguration
        | Op::GetBucketLifecycleConfiguration
        | Op::GetBucketOwnershipControls
        | Op::GetBucketPolicyStatus
        | Op::GetBucketRequestPayment
        | Op::GetBucketTagging
        | Op::GetBucketVersioning
        | Op::GetObjectLockConfiguration
        | Op::GetPublicAccessBlock
        | Op::ListBucketIntelligentTieringConfigurations
        | Op::PutBucketAbac
        | Op::PutBucketAccelerateConfiguration
        | Op::PutBucketCors
        | Op::PutBucketIntelligentTieringConfiguration
        | Op::PutBucketLifecycleConfiguration
        | Op::PutBucketOwnershipControls
        | Op::PutBucketRequestPayment
        | Op::PutBucketTagging
        | Op::PutBucketVersioning
        | Op::PutObjectLockConfiguration
        | Op::PutPublicAccessBlock => Serving::Bucket(Mapping::Unprefixed),

        Op::CreateBucketMetadataConfiguration
        | Op::CreateBucketMetadataTableConfiguration
        | Op::DeleteBucketAnalyticsConfiguration
        | Op::DeleteBucketEncryption
        | Op::DeleteBucketInventoryConfiguration
        | Op::DeleteBucketMetadataConfiguration
        | Op::DeleteBucketMetadataTableConfiguration
        | Op::DeleteBucketMetricsConfiguration
        | Op::DeleteBucketPolicy
        | Op::DeleteBucketReplication
        | Op::DeleteBucketWebsite
        | Op::GetBucketAnalyticsConfiguration
        | Op::GetBucketEncryption
        | Op::GetBucketInventoryConfiguration
        | Op::GetBucketLogging
        | Op::GetBucketMetadataConfiguration
        | Op::GetBucketMetadataTableConfiguration
        | Op::GetBucketMetricsConfiguration
        | Op::GetBucketNotificationConfiguration
        | Op::GetBucketPolicy
        | Op::GetBucketReplication
        | Op::GetBucketWebsite
        | Op::ListBucketAnalyticsConfigurations
        | Op::ListBucketInventoryConfigurations
        | Op::ListBucketMetricsConfigurations
        | Op::PutBucketAcl
        | Op::PutBucketAnalyticsConfiguration
        | Op::PutBucketEncryption
        | Op::PutBucketInventoryConfiguration
        | Op::PutBucketLogging
        | Op::PutBucketMetricsConfiguration
        | Op::PutBucketNotificationConfiguration
        | Op::PutBucketPolicy
        | Op::PutBucketReplication
        | Op::PutBucketWebsite
        | Op::UpdateBucketMetadataAnnotationTableConfiguration
        | Op::UpdateBucketMetadataInventoryTableConfiguration
        | Op::UpdateBucketMetadataJournalTableConfiguration => Serving::Bucket(Mapping::PassThrough),

        Op::CreateSession => Serving::Not("a session would be the gateway's own credential"),
        Op::RenameObject => Serving::Not("directory buckets only"),
        Op::SelectObjectContent => Serving::Not("a query language and an event stream of its own"),
        Op::WriteGetObjectResponse => Serving::Not("an answer of a Lambda function, not a request of a client"),
        Op::DeleteObjectAnnotation | Op::GetObjectAnnotation | Op::ListObjectAnnotations | Op::PutObjectAnnotation => {
            ANNOTATION
        }
        Op::GetBucketLifecycle
        | Op::GetBucketNotification
        | Op::ListDirectoryBuckets
        | Op::PutBucketLifecycle
        | Op::PutBucketNotification => SHADOWED,
    }
}

/// Whether a request of the operation carries a small document that is forwarded.
pub fn carries_document(spec: &OperationSpec) -> bool {
    spec.body == Body::Xml && serving(spec.operation).mapping().is_some()
}

/// The action that a forwarded operation needs besides its own.
///
/// A store that does not know a sub-resource carries out the plain request: `DELETE /b?inventory` then removes the bucket, `PUT
/// /b/k?encryption` overwrites the object (seen on Ceph RGW 16). So the caller must be allowed that as well.
pub fn plain_action(spec: &OperationSpec, names_version: bool) -> Option<&'static str> {
    serving(spec.operation).mapping()?;
    match (spec.level, spec.method) {
        (Level::Bucket, "PUT") => Some("s3:CreateBucket"),
        (Level::Bucket, "DELETE") => Some("s3:DeleteBucket"),
        (Level::Object, "GET") if names_version => Some("s3:GetObjectVersion"),
        (Level::Object, "GET") => Some("s3:GetObject"),
        (Level::Object, "PUT") => Some("s3:PutObject"),
        // The answer of a plain GET on a bucket is told by its root element, and S3 has no plain POST.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(prefix: &str, passed_through: bool) -> Bucket {
        Bucket {
            name: "bkt".into(),
            route: crate::base::RouteId(0),
            upstream_bucket: "up".into(),
            upstream_prefix: prefix.into(),
            odd_keys: crate::s3::OddKeys::Refuse,
            passed_through,
        }
    }

    #[test]
    fn the_level_of_an_operation_says_where_its_right_is_needed() {
        for spec in Operation::all() {
            match serving(spec.operation) {
                Serving::Key(_) => assert_eq!(spec.level, Level::Object, "{}", spec.name),
                Serving::Bucket(_) => assert_eq!(spec.level, Level::Bucket, "{}", spec.name),
                Serving::Own | Serving::Not(_) => {}
            }
            assert_eq!(spec.shadowed, serving(spec.operation) == SHADOWED, "{}", spec.name);
        }
    }

    /// A row of the table in the documentation.
    fn row(spec: &OperationSpec) -> String {
        let path = match spec.level {
            Level::Service => "/",
            Level::Bucket => "/B",
            Level::Object => "/B/K",
        };
        let parameter = |(name, value): &(&str, Option<&str>)| match value {
            None => format!("{name}=…"),
            Some("") => (*name).to_owned(),
            Some(value) => format!("{name}={value}"),
        };
        let query = spec.required_query.iter().map(parameter).collect::<Vec<_>>().join("&");
        let query = if query.is_empty() { query } else { format!("?{query}") };
        let headers = spec.required_headers.join(", ");
        let headers = if headers.is_empty() { headers } else { format!(" + {headers}") };
        let served = serving(spec.operation).describe();
        format!("| `{}` | `{} {path}{query}{headers}` | `{}` | {served} |", spec.name, spec.method, spec.action)
    }

    #[test]
    fn the_documentation_has_this_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/S3.md");
        let text = std::fs::read_to_string(path).unwrap();
        let table = text.split("## Every operation of the model").nth(1).expect("the section with the table");
        let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = Operation::all().map(row).collect();
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(row, expected);
        }
        assert_eq!(rows.len(), expected.len());
    }

    #[test]
    fn a_mapping_with_a_prefix_has_no_bucket_wide_operations() {
        let (prefixed, whole, passed) = (bucket("gw/", false), bucket("", false), bucket("", true));
        assert!(
            Mapping::Any.fits(&prefixed)
                && !Mapping::Unprefixed.fits(&prefixed)
                && !Mapping::PassThrough.fits(&prefixed)
        );
        assert!(Mapping::Unprefixed.fits(&whole) && !Mapping::PassThrough.fits(&whole));
        assert!(Mapping::Unprefixed.fits(&passed) && Mapping::PassThrough.fits(&passed));
    }

    #[test]
    fn d20_what_a_store_may_take_for_the_plain_request_needs_the_right_to_that() {
        let plain = |operation: Operation| plain_action(operation.spec(), false);
        assert_eq!(plain(Operation::DeleteBucketInventoryConfiguration), Some("s3:DeleteBucket"));
        assert_eq!(plain(Operation::PutBucketTagging), Some("s3:CreateBucket"));
        assert_eq!(plain(Operation::PutObjectRetention), Some("s3:PutObject"));
        assert_eq!(plain(Operation::GetObjectAcl), Some("s3:GetObject"));
        assert_eq!(plain_action(Operation::GetObjectAcl.spec(), true), Some("s3:GetObjectVersion"));
        assert_eq!((plain(Operation::GetObject), plain(Operation::GetBucketTagging)), (None, None));
    }
}
