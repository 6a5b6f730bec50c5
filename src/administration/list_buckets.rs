//! The list of buckets of a whole store, cut down to those in which the caller has a right.

use std::collections::BTreeMap;

use http::StatusCode;

use crate::administration::collect_answer;
use crate::audit::Ticket;
use crate::base::RouteId;
use crate::respond::local::ListedBucket;
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, relay};
use crate::s3::S3Call;
use crate::s3::xml::Element;
use crate::sign::Signer;
use crate::upstream::Upstreams;

/// Asks the store behind the pass-through mapping for its buckets, and keeps those that `is_visible`.
///
/// # Errors
/// [`Refusal`] if the store fails or answers with something else.
pub async fn of_store(
    route: RouteId,
    call: &S3Call,
    is_visible: impl Fn(&str) -> bool,
    signer: &Signer,
    upstreams: &Upstreams,
    ticket: &mut Ticket,
) -> Result<Vec<ListedBucket>, Refusal> {
    let reply = upstreams.send(signer.prepare_list_buckets(route)?).await?;
    ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
    if reply.head.status != StatusCode::OK {
        return Err(relay::read_error(reply, call).await);
    }
    let document = collect_answer(reply.body).await?;
    let text = std::str::from_utf8(&document).map_err(|error| bad_answer(&error))?;
    let found = parse(text).map_err(|error| bad_answer(&error))?;
    let region = &signer.route(route).region;
    let visible = found.into_iter().filter(|(name, _)| is_visible(name));
    Ok(visible.map(|(name, created)| ListedBucket { name, created, region: region.clone() }).collect())
}

/// Names and times of creation.
fn parse(text: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let root = Element::parse(text.trim_start()).map_err(|_| "no XML document")?;
    if root.name != "ListAllMyBucketsResult" {
        return Err("no list of buckets");
    }
    if !root.text_of("ContinuationToken").is_empty() {
        // Nobody asked for pages; what is left out here would seem not to be there.
        return Err("a part of a list of buckets");
    }
    let buckets = root.child("Buckets").map(|list| list.children.as_slice()).unwrap_or_default();
    Ok(buckets
        .iter()
        .map(|bucket| (bucket.text_of("Name").to_owned(), bucket.text_of("CreationDate").to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_a_store_is_read_whole_or_not_at_all() {
        let list = |inside: &str| parse(&format!("<ListAllMyBucketsResult>{inside}</ListAllMyBucketsResult>"));
        let two = "<Buckets><Bucket><Name>b</Name><CreationDate>2026</CreationDate></Bucket><Bucket><Name>a</Name></Bucket></Buckets>";
        assert_eq!(
            list(two).unwrap().into_iter().collect::<Vec<_>>(),
            [("a".into(), String::new()), ("b".into(), "2026".into())]
        );
        assert!(list("").unwrap().is_empty());
        assert!(list("<Buckets/><ContinuationToken>b</ContinuationToken>").is_err());
        assert!(parse("<ListBucketResult/>").is_err() && parse("").is_err());
    }
}
