//! The requests that store an object whose length nobody knows beforehand: in one piece if it turns out small, else part by part.

use std::collections::VecDeque;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method};

use crate::limits::Admission;
use crate::s3::checksum::ChecksumAlgorithm;
use crate::s3::{Bucket, Operation, StagingKey};
use crate::sign::staged::conditions;
use crate::sign::{Draft, Outbound, SignError, Signer, headers_instead, key_instead, object_headers};
use crate::sigv4::canonical::canonical_query;

/// One request of such an upload.
#[derive(Debug)]
pub enum MultipartStep<'a> {
    /// The whole object, after all.
    Whole(VecDeque<Bytes>),
    /// CreateMultipartUpload, with the headers of the object.
    Create,
    /// UploadPart.
    Part {
        /// The store's upload id.
        upload_id: &'a str,
        /// From 1.
        number: u32,
        /// The bytes.
        pieces: VecDeque<Bytes>,
    },
    /// CompleteMultipartUpload, with the conditions of the request.
    Complete {
        /// The store's upload id.
        upload_id: &'a str,
        /// The list of parts.
        document: String,
    },
    /// ListParts, from behind a part number.
    List {
        /// The store's upload id.
        upload_id: &'a str,
        /// The last part of the page before; 0 for the first page.
        after: u32,
        /// Most parts in the answer.
        max_parts: u32,
    },
    /// AbortMultipartUpload.
    Abort {
        /// The store's upload id.
        upload_id: &'a str,
    },
}

impl Signer {
    /// Prepares one request of a multipart upload of the call's key, or at the hidden key that stands for it.
    ///
    /// # Errors
    /// [`SignError`] if the upstream has no credentials.
    pub fn prepare_step(
        &self,
        admission: &Admission,
        bucket: &Bucket,
        hidden: Option<&StagingKey>,
        step: MultipartStep<'_>,
    ) -> Result<Outbound, SignError> {
        let call = admission.permit().call();
        let key = key_instead(call, hidden);
        let object = headers_instead(object_headers(call, admission.terms())?, hidden);
        let completes = matches!(step, MultipartStep::Complete { .. });
        let (method, query, mut headers, pieces) = match step {
            MultipartStep::Whole(pieces) => (Method::PUT, String::new(), object, pieces),
            MultipartStep::Create => {
                (Method::POST, canonical_query([("uploads", "")]), without_digests(object), VecDeque::new())
            }
            MultipartStep::Part { upload_id, number, pieces } => {
                let number = number.to_string();
                (
                    Method::PUT,
                    canonical_query([("partNumber", number.as_str()), ("uploadId", upload_id)]),
                    HeaderMap::new(),
                    pieces,
                )
            }
            MultipartStep::Complete { upload_id, document } => {
                let pieces = VecDeque::from([Bytes::from(document)]);
                (
                    Method::POST,
                    canonical_query([("uploadId", upload_id)]),
                    completion_headers(call.operation, object),
                    pieces,
                )
            }
            MultipartStep::List { upload_id, after, max_parts } => {
                let (after, max_parts) = (after.to_string(), max_parts.to_string());
                let query = [("uploadId", upload_id), ("part-number-marker", &after), ("max-parts", &max_parts)];
                (Method::GET, canonical_query(query), HeaderMap::new(), VecDeque::new())
            }
            MultipartStep::Abort { upload_id } => {
                (Method::DELETE, canonical_query([("uploadId", upload_id)]), HeaderMap::new(), VecDeque::new())
            }
        };
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        let (request, _) =
            self.sign(Draft { method, bucket, key: key.as_deref(), query, headers }, sha256(&pieces).into())?;
        let outbound = Outbound::buffered(request, pieces);
        Ok(if completes { outbound.taking_long() } else { outbound })
    }
}

/// The bytes are in memory, so every store can check them: it knows their SHA-256 from the signature.
pub(in crate::sign) fn sha256(pieces: &VecDeque<Bytes>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    pieces.iter().for_each(|piece| context.update(piece));
    hex::encode(context.finish())
}

/// Digests of the whole object do not go with its parts, and conditions go with the last request. Both were, or will be, checked.
fn without_digests(mut headers: HeaderMap) -> HeaderMap {
    headers.remove("content-md5");
    for name in ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::header).into_iter().chain([IF_MATCH, IF_NONE_MATCH]) {
        headers.remove(name);
    }
    headers
}

/// A client's own CompleteMultipartUpload carries what belongs to it; of a PutObject only the conditions do.
fn completion_headers(operation: Operation, headers: HeaderMap) -> HeaderMap {
    if operation == Operation::CompleteMultipartUpload { headers } else { conditions(&headers) }
}
