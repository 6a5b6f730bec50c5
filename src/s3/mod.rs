//! The vocabulary of S3: operations, names, addresses. No I/O, no async, no clock; knows neither callers nor rules.

pub mod addressing;
pub mod administration;
pub mod buckets;
pub mod checksum;
pub mod complete_upload;
pub mod copy_source;
pub mod delete_objects;
pub mod document;
pub mod error_code;
pub mod headers;
pub mod identify;
pub mod listing;
pub mod names;
pub mod object_attributes;
pub mod operation;
mod operation_table;
pub mod post_form;
pub mod post_object;
pub mod range;
pub mod reserved;
pub mod serving;
pub mod tagging;
pub mod target;
pub mod upload;
pub mod xml;

pub use buckets::{Bucket, Buckets, OddKeys, PassThrough};
pub use checksum::ChecksumAlgorithm;
pub use copy_source::CopySource;
pub use delete_objects::{DeleteRequest, ObjectVersion};
pub use error_code::S3ErrorCode;
pub use identify::{IdentifyError, Resource, S3Call, identify};
pub use names::ObjectKey;
pub use operation::Operation;
pub use reserved::StagingKey;
pub use upload::{BodyFraming, UploadHead};
