//! Carries out a permitted listing: asks the store once for each permitted part, and puts one page together.
//!
//! The continuation token of the page is sealed for the caller and the listing: a store's own token is often the last key it looked at,
//! which may be one the caller must not see.

use serde::{Deserialize, Serialize};

use crate::audit::Ticket;
use crate::auth::Caller;
use crate::base::{Sealer, Secret};
use crate::bounded;
use crate::respond::{Refusal, RefusalKind, relay};
use crate::rules::ListScope;
use crate::rules::listing::ListPart;
use crate::s3::listing::{ListError, ListPage};
use crate::s3::{Bucket, S3Call, S3ErrorCode};
use crate::sign::{SignError, Signer};
use crate::upstream::Upstreams;

/// Largest page read from a store: 1,000 keys of 1,024 bytes, each byte escaped as three, with room for the rest.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Where the next page begins.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    /// Which of the permitted parts.
    part: usize,
    /// The store's token in it.
    token: Option<String>,
    /// The last group given, which the next part may fall into again.
    group: Option<String>,
}

/// Collects one page of a permitted listing, as an XML document.
///
/// # Errors
/// [`Refusal`] if the token is not acceptable or the store fails.
pub async fn collect(
    scope: &ListScope,
    call: &S3Call,
    bucket: &Bucket,
    caller: &Caller,
    signer: &Signer,
    upstreams: &Upstreams,
    ticket: &mut Ticket,
) -> Result<String, Refusal> {
    let route = signer.route(bucket.route);
    let credentials = route.credentials.current().ok_or_else(|| SignError::NoCredentials(route.name.clone()))?;
    let sealer = Sealer::derive(&Secret::new(credentials.secret_access_key()), "countersign continuation token v1");
    let context = format!("{}\n{}\n{}", caller.principal(), bucket.name, scope.request.prefix);
    let mut collector = Collector { scope, call, bucket, signer, upstreams, ticket, page: ListPage::default() };
    let next = collector.run(open_position(scope, &sealer, &context)?).await?;
    let mut page = collector.page;
    if let Some(position) = next {
        let text = serde_json::to_string(&position).map_err(|error| internal(&error))?;
        page.next_token = Some(sealer.seal(&context, &text).ok_or_else(|| internal(&"no random bytes"))?);
    }
    Ok(page.render(&bucket.name, &scope.request))
}

fn open_position(scope: &ListScope, sealer: &Sealer, context: &str) -> Result<Position, ListError> {
    let Some(token) = &scope.request.continuation_token else { return Ok(Position::default()) };
    let text = sealer.open(context, token).ok_or(ListError::Token)?;
    let position: Position = serde_json::from_str(&text).map_err(|_| ListError::Token)?;
    // Rules may have changed since; what is asked of the store is permitted now in any case.
    if position.part < scope.parts.len() { Ok(position) } else { Err(ListError::Token) }
}

struct Collector<'a> {
    scope: &'a ListScope,
    call: &'a S3Call,
    bucket: &'a Bucket,
    signer: &'a Signer,
    upstreams: &'a Upstreams,
    ticket: &'a mut Ticket,
    page: ListPage,
}

impl Collector<'_> {
    /// Fills the page from a position on; returns where the next one begins.
    async fn run(&mut self, from: Position) -> Result<Option<Position>, Refusal> {
        let Position { part: first, mut token, group: mut last_group } = from;
        if self.scope.request.max_keys == 0 {
            return Ok(None);
        }
        for (index, part) in self.scope.parts.iter().enumerate().skip(first) {
            let room = self.room();
            if room == 0 {
                return Ok(Some(Position { part: index, token: None, group: last_group }));
            }
            match &part.group {
                Some(group) if last_group.as_ref() == Some(group) => {}
                Some(group) => {
                    if !self.ask(part, None, 1).await?.contents.is_empty() {
                        self.page.common_prefixes.push(group.clone());
                        last_group = Some(group.clone());
                    }
                }
                None => {
                    let mut page = self.ask(part, token.take().as_deref(), room).await?;
                    let next_token = page.next_token.take();
                    self.scope.filter(&mut page);
                    self.page.contents.append(&mut page.contents);
                    self.page.common_prefixes.append(&mut page.common_prefixes);
                    if next_token.is_some() {
                        return Ok(Some(Position { part: index, token: next_token, group: last_group }));
                    }
                }
            }
        }
        Ok(None)
    }

    fn room(&self) -> u32 {
        let listed = self.page.contents.len() + self.page.common_prefixes.len();
        self.scope.request.max_keys.saturating_sub(u32::try_from(listed).unwrap_or(u32::MAX))
    }

    async fn ask(&mut self, part: &ListPart, token: Option<&str>, max_keys: u32) -> Result<ListPage, Refusal> {
        let upstream_prefix = &self.bucket.upstream_prefix;
        let prefix = format!("{upstream_prefix}{}", part.prefix);
        let max_keys = max_keys.to_string();
        let start_after = self.scope.request.start_after.as_ref().map(|key| format!("{upstream_prefix}{key}"));
        let mut parameters =
            vec![("list-type", "2"), ("encoding-type", "url"), ("prefix", &prefix), ("max-keys", &max_keys)];
        parameters.extend(start_after.as_deref().map(|key| ("start-after", key)));
        parameters.extend(token.map(|token| ("continuation-token", token)));
        if part.group.is_none() {
            parameters.extend(self.scope.request.delimiter.as_deref().map(|delimiter| ("delimiter", delimiter)));
        }
        let reply = self.upstreams.send(self.signer.prepare_listing(self.bucket, &parameters)?).await?;
        self.ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
        if reply.head.status != http::StatusCode::OK {
            return Err(relay::read_error(reply, self.call).await);
        }
        let document = bounded::collect(reply.body, MAX_PAGE_BYTES).await.map_err(|error| bad_page(&error))?;
        let text = std::str::from_utf8(&document).map_err(|error| bad_page(&error))?;
        let page = ListPage::parse(text, upstream_prefix).map_err(|error| bad_page(&error))?;
        // The store is asked for a prefix; that it kept to it is checked, not believed.
        let outside = |name: &str| !name.starts_with(&part.prefix);
        if page.contents.iter().any(|object| outside(&object.key))
            || page.common_prefixes.iter().any(|group| outside(group))
        {
            return Err(bad_page(&"a name outside of the prefix asked for"));
        }
        Ok(page)
    }
}

fn bad_page(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        S3ErrorCode::BadGateway,
        RefusalKind::Upstream,
        "The store answered a listing with something else.",
        error,
    )
}

fn internal(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(S3ErrorCode::InternalError, RefusalKind::Internal, "The gateway failed.", error)
}
