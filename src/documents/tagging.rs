//! GetObjectTagging, PutObjectTagging and DeleteObjectTagging.

use http::StatusCode;

use crate::audit::Ticket;
use crate::documents::{Errand, answer};
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, Reply};
use crate::s3::tagging::{self, Tag};

/// Largest answer read. Ten tags take a few KiB; some stores keep more of them.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// GetObjectTagging.
///
/// # Errors
/// [`Refusal`] if the store fails.
pub async fn get(errand: &Errand<'_>, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let (head, root) = errand.send_for_document(errand.prepare()?, MAX_ANSWER_BYTES, ticket).await?;
    if root.name != "Tagging" {
        return Err(bad_answer(&"no Tagging"));
    }
    let tags = tagging::read(&root).map_err(|error| bad_answer(&error))?;
    Ok(answer(tagging::render(&tags), &head.headers))
}

/// PutObjectTagging; `tags` are those of the client's document.
///
/// # Errors
/// [`Refusal`] if the store fails.
pub async fn put(errand: &Errand<'_>, tags: &[Tag], ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let outbound = errand.signer.prepare_document(errand.admission, errand.bucket, tagging::render(tags))?;
    let reply = errand.send(outbound, ticket).await?;
    Ok(answer(String::new(), &reply.head.headers))
}

/// DeleteObjectTagging.
///
/// # Errors
/// [`Refusal`] if the store fails.
pub async fn delete(errand: &Errand<'_>, ticket: &mut Ticket) -> Result<Reply, Refusal> {
    let reply = errand.send(errand.prepare()?, ticket).await?;
    let mut answer = answer(String::new(), &reply.head.headers);
    *answer.status_mut() = StatusCode::NO_CONTENT;
    Ok(answer)
}
