//! GetObjectAttributes.

use http::header::ETAG;

use crate::audit::Ticket;
use crate::documents::{Errand, answer};
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, RefusalKind, Reply};
use crate::s3::{S3ErrorCode, object_attributes};

/// Largest answer read. A page of 1,000 parts has about 300 KB.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// GetObjectAttributes.
///
/// # Errors
/// [`Refusal`] if the store fails, or does not know the operation.
pub async fn get(errand: &Errand<'_>, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let reply = errand.send(errand.prepare()?, ticket).await?;
    // Ceph RGW 16 does not know `?attributes` and answers with the object itself, whose bytes are not to be taken for attributes. An
    // answer about attributes has no ETag header: the ETag stands inside.
    if reply.head.headers.contains_key(ETAG) {
        let message = "The store does not support this.";
        let reason = "the store answered GetObjectAttributes with an object";
        return Err(Refusal::new(S3ErrorCode::NotImplemented, RefusalKind::Upstream, message, reason));
    }
    let (head, root) = errand.read_document(reply, MAX_ANSWER_BYTES).await?;
    let document = object_attributes::translate(&root).ok_or_else(|| bad_answer(&"no attributes"))?;
    Ok(answer(document, &head.headers))
}
