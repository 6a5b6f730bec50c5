//! Carries out a permitted listing: asks the store once for each permitted part, and puts one page together.
//!
//! Where denied prefixes lie in a permitted one, names are looked at one by one, and nothing in the answer depends on the denied ones.
//! The token or marker for the next page is sealed for the caller and the listing: a store's own is often the last key it looked at, which
//! may be one the caller must not see. Upload ids in the answer are sealed for the caller as well.

mod collector;
mod walk;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::audit::Ticket;
use crate::auth::Caller;
use crate::base::Sealer;
use crate::listing::collector::{Collected, Collector};
use crate::listing::walk::Place;
use crate::respond::{Refusal, RefusalKind};
use crate::rules::listing::{Behind, behind};
use crate::rules::{ListScope, Permit, UploadSeal};
use crate::s3::listing::{ListEntry, ListError, ListKind, ListPage, Mark};
use crate::s3::{Bucket, S3ErrorCode};
use crate::sign::Signer;
use crate::upstream::Upstreams;

/// A sealed position is filled up to a multiple of this, so that its length does not tell that of a name the caller must not see.
const SEALED_STEP: usize = 256;

/// Where the next page begins.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    /// Which of the permitted parts.
    part: usize,
    /// Where in it.
    place: Place,
    /// The last group given, which the next part may fall into again.
    group: Option<String>,
    /// The name behind which the listing began: clients do not repeat it.
    start_after: Option<String>,
}

/// A multipart upload whose parts wait at a hidden key.
#[derive(Debug)]
pub struct HiddenUpload {
    /// As it is shown, under the key that it is for, but with the store's own id.
    pub entry: ListEntry,
    /// Identifier of the hidden key.
    pub hidden: String,
}

/// Collects one page of a permitted listing, as an XML document. `hidden` finds the uploads that the store lists under other keys; it may ask
/// for thousands of records, and runs only for a page that gets to them.
///
/// # Errors
/// [`Refusal`] if the token is not acceptable or the store fails.
pub async fn collect(
    scope: &ListScope,
    permit: &Permit,
    bucket: &Bucket,
    hidden: impl Future<Output = Result<Vec<HiddenUpload>, Refusal>>,
    signer: &Signer,
    upstreams: &Upstreams,
    ticket: &mut Ticket,
) -> Result<String, Refusal> {
    let sealer = signer.sealer(bucket, "countersign list position v1")?;
    let (request, caller) = (&scope.request, permit.caller());
    let delimiter = request.delimiter.as_deref().unwrap_or_default();
    // No text in it holds a line feed, so no two contexts read the same.
    let context =
        format!("{}\n{}\n{}\n{}\n{delimiter}", caller.principal(), bucket.name, request.kind.as_str(), request.prefix);
    let position = open_position(scope, bucket, &sealer, &context)?;
    let collector = Collector::new(scope, permit.call(), bucket, signer, upstreams, ticket);
    let Collected { mut page, next, hidden } = collector.run(position, hidden).await?;
    if request.kind == ListKind::Uploads {
        seal_uploads(&mut page, &hidden, &signer.sealer(bucket, UploadSeal::PURPOSE)?, caller, bucket)?;
    }
    let next = next.map(|position| seal_position(&position, &sealer, &context)).transpose()?;
    Ok(page.render(&bucket.name, request, next.as_deref()))
}

fn seal_position(position: &Position, sealer: &Sealer, context: &str) -> Result<String, Refusal> {
    let mut text = serde_json::to_string(position).map_err(|error| internal(&error))?;
    text.extend(std::iter::repeat_n(' ', SEALED_STEP - text.len() % SEALED_STEP));
    sealer.seal(context, &text).ok_or_else(|| internal(&"no random bytes"))
}

fn open_position(scope: &ListScope, bucket: &Bucket, sealer: &Sealer, context: &str) -> Result<Position, ListError> {
    let Some(token) = &scope.request.token else { return Ok(first_position(scope, bucket)) };
    let text = sealer.open(context, token).ok_or(ListError::Token)?;
    let position: Position = serde_json::from_str(text.trim_end()).map_err(|_| ListError::Token)?;
    // Rules may have changed since; what is asked of the store is permitted now in any case.
    // Behind all parts stand the hidden uploads.
    let last = scope.parts.len() - usize::from(scope.request.kind != ListKind::Uploads);
    if position.part <= last { Ok(position) } else { Err(ListError::Token) }
}

/// Where a listing begins that does not continue another. A version is passed on to the store with a key that may be listed only: whether
/// the version of another key exists is not the caller's to learn.
fn first_position(scope: &ListScope, bucket: &Bucket) -> Position {
    let start_after = scope.request.start_after.clone();
    if let (Some(key), Some(version)) = (&start_after, &scope.request.version_marker) {
        // Of a key in a group nothing shows but the group.
        let shows = scope.request.group_of(key).is_none() && scope.denied_prefix_of(key).is_none();
        let part = scope.parts.iter().position(|part| matches!(behind(&part.prefix, Some(key)), Behind::Name(_)));
        if let Some(part) = part.filter(|_| shows) {
            let mark = Mark { name: format!("{}{key}", bucket.upstream_prefix), id: Some(version.clone()) };
            return Position { part, place: Place { mark: Some(mark), after: None }, ..Position::default() };
        }
    }
    Position { start_after, ..Position::default() }
}

/// Puts sealed ids in place of the store's own. `hidden` has the identifiers of hidden keys by these.
fn seal_uploads(
    page: &mut ListPage,
    hidden: &HashMap<String, String>,
    sealer: &Sealer,
    caller: &Caller,
    bucket: &Bucket,
) -> Result<(), Refusal> {
    for upload in &mut page.entries {
        let id = upload.id.take().unwrap_or_default();
        let both = (id.as_str(), hidden.get(&id).map(String::as_str));
        let sealed = UploadSeal::seal_listed(both, sealer, caller, bucket, &upload.key);
        upload.id = Some(sealed.ok_or_else(|| internal(&"no random bytes"))?);
    }
    Ok(())
}

fn internal(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(S3ErrorCode::InternalError, RefusalKind::Internal, "The gateway failed.", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Secret;

    #[test]
    fn d16_the_length_of_a_token_does_not_tell_that_of_a_hidden_name() {
        let sealer = Sealer::derive(&Secret::new("s"), "test");
        let length = |name: &str| {
            let mark = Mark { name: name.to_owned(), id: None };
            let place = Place { mark: Some(mark), after: None };
            seal_position(&Position { place, ..Position::default() }, &sealer, "context").unwrap().len()
        };
        assert_eq!(length("a/secret/x"), length(&format!("a/secret/{}", "x".repeat(90))));
    }
}
