//! Carries out a permitted listing: asks the store once for each permitted part, and puts one page together.
//!
//! Where denied prefixes lie in a permitted one, names are looked at one by one, and nothing in the answer depends on the denied ones.
//! The continuation token of the page is sealed for the caller and the listing: a store's own token is often the last key it looked at,
//! which may be one the caller must not see.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::Ticket;
use crate::auth::Caller;
use crate::base::{Sealer, Secret};
use crate::bounded;
use crate::respond::{Refusal, RefusalKind, relay};
use crate::rules::ListScope;
use crate::s3::listing::{ListError, ListPage, Listed, MAX_KEYS};
use crate::s3::{Bucket, S3Call, S3ErrorCode};
use crate::sign::{SignError, Signer};
use crate::upstream::Upstreams;

/// Largest page read from a store: 1,000 keys of 1,024 bytes, each byte escaped as three, with room for the rest.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Most pages of nothing but denied names that are looked through for one visible one.
const MAX_ROUNDS: usize = 100;
/// Longest time for a page behind its head.
const PAGE_TIME: Duration = Duration::from_secs(60);

/// Where the next page begins.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    /// Which of the permitted parts.
    part: usize,
    /// Where in it.
    place: Place,
    /// The last group given, which the next part may fall into again.
    group: Option<String>,
}

/// A place in a listing of the store.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Place {
    /// The store's token for the page.
    token: Option<String>,
    /// The last name of that page that was given.
    after: Option<String>,
}

/// A walk through the names of a prefix, page by page of the store.
struct Walk<'a> {
    prefix: &'a str,
    start_after: Option<&'a str>,
    delimiter: Option<&'a str>,
    /// The page that `names` is the rest of, and the last name taken of it.
    place: Place,
    names: VecDeque<Listed>,
    next: Next,
}

/// What follows the names at hand.
enum Next {
    /// The page at the walk's place, of which names up to `after` were given before.
    Ask,
    /// The page of this token.
    Page(String),
    /// Nothing.
    End,
}

impl<'a> Walk<'a> {
    fn new(prefix: &'a str, start_after: Option<&'a str>, delimiter: Option<&'a str>, place: Place) -> Self {
        Self { prefix, start_after, delimiter, place, names: VecDeque::new(), next: Next::Ask }
    }

    /// The question for the next page, if there is one.
    fn next_question(&mut self) -> Option<Question<'_>> {
        match std::mem::replace(&mut self.next, Next::End) {
            Next::Ask => {}
            Next::Page(token) => self.place = Place { token: Some(token), after: None },
            Next::End => return None,
        }
        let (prefix, start_after, delimiter) = (self.prefix, self.start_after, self.delimiter);
        Some(Question { prefix, start_after, token: self.place.token.as_deref(), delimiter, max_keys: MAX_KEYS })
    }

    fn take_page(&mut self, mut page: ListPage) {
        if let Some(token) = page.next_token.take() {
            self.next = Next::Page(token);
        }
        let after = self.place.after.as_deref();
        self.names =
            page.into_names().into_iter().filter(|name| after.is_none_or(|after| name.name() > after)).collect();
    }
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
    let request = &scope.request;
    let delimiter = request.delimiter.as_deref().unwrap_or_default();
    let context = format!("{}\n{}\n{}\n{delimiter}", caller.principal(), bucket.name, request.prefix);
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

/// One request to the store, in public terms.
struct Question<'a> {
    prefix: &'a str,
    start_after: Option<&'a str>,
    token: Option<&'a str>,
    delimiter: Option<&'a str>,
    max_keys: u32,
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
        let Position { part: first, mut place, group: mut last_group } = from;
        if self.scope.request.max_keys == 0 {
            return Ok(None);
        }
        for (index, part) in self.scope.parts.iter().enumerate().skip(first) {
            let room = self.room();
            if room == 0 {
                return Ok(Some(Position { part: index, group: last_group, ..Position::default() }));
            }
            match &part.group {
                Some(group) if last_group.as_ref() == Some(group) => {}
                Some(group) => {
                    if self.has_visible_key(&part.prefix).await? {
                        self.page.common_prefixes.push(group.clone());
                        last_group = Some(group.clone());
                    }
                }
                None if self.scope.hides_some_of(&part.prefix) => {
                    let next = self.collect_visible(&part.prefix, std::mem::take(&mut place), room).await?;
                    if let Some(place) = next {
                        return Ok(Some(Position { part: index, place, group: last_group }));
                    }
                }
                None => {
                    let token = self.collect_all(&part.prefix, std::mem::take(&mut place), room).await?;
                    if token.is_some() {
                        return Ok(Some(Position {
                            part: index,
                            place: Place { token, after: None },
                            group: last_group,
                        }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Collects the names of a prefix in which nothing is denied: a page of the store is a page of ours.
    async fn collect_all(&mut self, prefix: &str, from: Place, room: u32) -> Result<Option<String>, Refusal> {
        let (start_after, delimiter) =
            (self.scope.request.start_after.as_deref(), self.scope.request.delimiter.as_deref());
        let question = Question { prefix, start_after, token: from.token.as_deref(), delimiter, max_keys: room };
        let mut page = self.ask(&question).await?;
        self.page.contents.append(&mut page.contents);
        self.page.common_prefixes.append(&mut page.common_prefixes);
        Ok(page.next_token)
    }

    fn room(&self) -> u32 {
        let listed = self.page.contents.len() + self.page.common_prefixes.len();
        self.scope.request.max_keys.saturating_sub(u32::try_from(listed).unwrap_or(u32::MAX))
    }

    /// Collects visible names of a prefix in which some keys are denied. Nothing in the answer depends on those: not the number of names,
    /// not whether there is more, and the token is sealed. Returns where the next page begins, if there is a visible name left.
    async fn collect_visible(&mut self, prefix: &str, from: Place, room: u32) -> Result<Option<Place>, Refusal> {
        let start_after = self.scope.request.start_after.clone();
        let delimiter = self.scope.request.delimiter.clone();
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let mut walk = Walk::new(prefix, start_after.as_deref(), delimiter.as_deref(), from);
        let mut end = walk.place.clone();
        for given in 0.. {
            let Some(name) = self.next_visible(&mut walk).await? else { break };
            if given == room {
                return Ok(Some(end));
            }
            end = walk.place.clone();
            match name {
                Listed::Key(object) => self.page.contents.push(object),
                Listed::Group(group) => self.page.common_prefixes.push(group),
            }
        }
        Ok(None)
    }

    /// Whether a caller may know that there is something below a prefix.
    async fn has_visible_key(&mut self, prefix: &str) -> Result<bool, Refusal> {
        let start_after = self.scope.request.start_after.clone();
        let mut walk = Walk::new(prefix, start_after.as_deref(), None, Place::default());
        Ok(self.next_visible(&mut walk).await?.is_some())
    }

    /// The next visible name of a walk. Stores order names differently (SeaweedFS goes by folders), so a walk
    /// follows the store's own tokens from page to page.
    async fn next_visible(&mut self, walk: &mut Walk<'_>) -> Result<Option<Listed>, Refusal> {
        for _ in 0..MAX_ROUNDS {
            while let Some(name) = walk.names.pop_front() {
                walk.place.after = Some(name.name().to_owned());
                if self.is_visible(&name).await? {
                    return Ok(Some(name));
                }
            }
            let Some(question) = walk.next_question() else { return Ok(None) };
            let page = self.ask(&question).await?;
            walk.take_page(page);
        }
        let message = "The listing holds too many names to look through. Ask for a longer prefix.";
        Err(Refusal::new(S3ErrorCode::SlowDown, RefusalKind::Limited, message, "too many denied names in a row"))
    }

    /// A group is visible if a key in it is, which takes a look where some of it is denied.
    async fn is_visible(&mut self, name: &Listed) -> Result<bool, Refusal> {
        if self.scope.denied_prefix_of(name.name()).is_some() {
            return Ok(false);
        }
        match name {
            Listed::Group(group) if self.scope.hides_some_of(group) => {
                let mut walk = Walk::new(group, None, None, Place::default());
                Ok(Box::pin(self.next_visible(&mut walk)).await?.is_some())
            }
            Listed::Group(_) | Listed::Key(_) => Ok(true),
        }
    }

    async fn ask(&mut self, question: &Question<'_>) -> Result<ListPage, Refusal> {
        let upstream_prefix = &self.bucket.upstream_prefix;
        let prefix = format!("{upstream_prefix}{}", question.prefix);
        let max_keys = question.max_keys.to_string();
        let start_after = question.start_after.map(|key| format!("{upstream_prefix}{key}"));
        let mut parameters =
            vec![("list-type", "2"), ("encoding-type", "url"), ("prefix", &prefix), ("max-keys", &max_keys)];
        parameters.extend(start_after.as_deref().map(|key| ("start-after", key)));
        parameters.extend(question.token.map(|token| ("continuation-token", token)));
        parameters.extend(question.delimiter.map(|delimiter| ("delimiter", delimiter)));
        let reply = self.upstreams.send(self.signer.prepare_listing(self.bucket, &parameters)?).await?;
        self.ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
        if reply.head.status != http::StatusCode::OK {
            return Err(relay::read_error(reply, self.call).await);
        }
        let collected = tokio::time::timeout(PAGE_TIME, bounded::collect(reply.body, MAX_PAGE_BYTES)).await;
        let document = collected.map_err(|error| bad_page(&error))?.map_err(|error| bad_page(&error))?;
        let text = std::str::from_utf8(&document).map_err(|error| bad_page(&error))?;
        let page = ListPage::parse(text, upstream_prefix).map_err(|error| bad_page(&error))?;
        // The store is asked for a prefix; that it kept to it is checked, not believed.
        let outside = |name: &str| !name.starts_with(question.prefix);
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
