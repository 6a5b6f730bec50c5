//! Puts one page together out of the answers of a store.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::audit::Ticket;
use crate::bounded;
use crate::listing::walk::{Place, Walk};
use crate::listing::{HiddenUpload, Position};
use crate::respond::{Refusal, RefusalKind, relay};
use crate::rules::listing::{Behind, behind};
use crate::rules::{ListPart, ListScope};
use crate::s3::listing::{ListKind, ListPage, Listed, Question};
use crate::s3::reserved::{ROOT, is_reserved};
use crate::s3::{Bucket, S3Call, S3ErrorCode};
use crate::sign::Signer;
use crate::upstream::Upstreams;

/// Largest page read from a store: 1,000 keys of 1,024 bytes, each byte escaped as three, with room for the rest.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Most pages that are looked through for one more name of the answer.
const MAX_ROUNDS: usize = 100;
/// Questions to the store after which a page of the answer ends with the names found so far. Without it one request with names between
/// long runs of denied ones could ask 100,000 times.
const MAX_QUESTIONS: usize = 1000;
/// Longest time for a page behind its head.
const PAGE_TIME: Duration = Duration::from_secs(60);

pub(in crate::listing) struct Collector<'a> {
    scope: &'a ListScope,
    call: &'a S3Call,
    bucket: &'a Bucket,
    signer: &'a Signer,
    upstreams: &'a Upstreams,
    ticket: &'a mut Ticket,
    page: ListPage,
    /// The identifiers of the hidden keys of uploads on the page, by the store's own ids.
    hidden: HashMap<String, String>,
    /// The groups of this page that the gateway made itself.
    made: HashSet<String>,
    last_group: Option<String>,
    start_after: Option<String>,
    /// Pages that were looked through since the answer last grew, in one part.
    rounds: usize,
    questions: usize,
}

/// A page of the answer.
pub(in crate::listing) struct Collected {
    pub page: ListPage,
    /// Where the next one begins, if there is one.
    pub next: Option<Position>,
    /// The identifiers of the hidden keys of uploads on the page, by the store's own ids.
    pub hidden: HashMap<String, String>,
}

impl<'a> Collector<'a> {
    pub(in crate::listing) fn new(
        scope: &'a ListScope,
        call: &'a S3Call,
        bucket: &'a Bucket,
        signer: &'a Signer,
        upstreams: &'a Upstreams,
        ticket: &'a mut Ticket,
    ) -> Self {
        Self {
            scope,
            call,
            bucket,
            signer,
            upstreams,
            ticket,
            page: ListPage::default(),
            hidden: HashMap::new(),
            made: HashSet::new(),
            last_group: None,
            start_after: None,
            rounds: 0,
            questions: 0,
        }
    }

    /// Fills the page from a position on. `hidden` is awaited when the page gets to the uploads that it finds.
    pub(in crate::listing) async fn run(
        mut self,
        from: Position,
        hidden: impl Future<Output = Result<Vec<HiddenUpload>, Refusal>>,
    ) -> Result<Collected, Refusal> {
        let Position { part: first, place, group, start_after } = from;
        (self.last_group, self.start_after) = (group, start_after);
        let next = self.fill(first, place, hidden).await?;
        let next =
            next.map(|(part, place)| Position { part, place, group: self.last_group, start_after: self.start_after });
        Ok(Collected { page: self.page, next, hidden: self.hidden })
    }

    async fn fill(
        &mut self,
        first: usize,
        mut place: Place,
        hidden: impl Future<Output = Result<Vec<HiddenUpload>, Refusal>>,
    ) -> Result<Option<(usize, Place)>, Refusal> {
        if self.scope.request.max_keys == 0 {
            return Ok(None);
        }
        for (index, part) in self.scope.parts.iter().enumerate().skip(first) {
            if self.room() == 0 {
                return Ok(Some((index, Place::default())));
            }
            let next = self.collect_part(part, std::mem::take(&mut place)).await?;
            if let Some(place) = next {
                return Ok(Some((index, place)));
            }
        }
        let hidden = hidden.await?;
        Ok(self.collect_hidden(hidden, place).map(|place| (self.scope.parts.len(), place)))
    }

    /// Adds the uploads that wait at hidden keys, behind all others. Returns where the next page begins, if there is one left.
    fn collect_hidden(&mut self, mut hidden: Vec<HiddenUpload>, from: Place) -> Option<Place> {
        let place = |upload: &HiddenUpload| (upload.entry.key.clone(), upload.entry.id.clone());
        hidden.retain(|upload| from.after.as_ref().is_none_or(|after| place(upload) > *after));
        hidden.sort_by_key(place);
        let mut end = from;
        for upload in hidden {
            let key = &upload.entry.key;
            let is_listed = self.scope.parts.iter().any(|part| key.starts_with(&part.prefix));
            if !is_listed || self.scope.denied_prefix_of(key).is_some() || !self.is_behind_start(key) {
                continue;
            }
            let here = Place { mark: None, after: Some(place(&upload)) };
            let Some(listed) = self.group(Listed::Entry(upload.entry)) else { continue };
            if self.room() == 0 {
                return Some(end);
            }
            end = here;
            match listed {
                Listed::Entry(entry) => {
                    self.hidden.insert(entry.id.clone().unwrap_or_default(), upload.hidden);
                    self.page.entries.push(entry);
                }
                Listed::Group(group) => {
                    self.last_group = Some(group.clone());
                    self.made.insert(group.clone());
                    self.page.groups.push(group);
                }
            }
        }
        None
    }

    /// Collects names of one part; returns where in it the next page begins, if there is more of it.
    async fn collect_part(&mut self, part: &ListPart, from: Place) -> Result<Option<Place>, Refusal> {
        self.rounds = 0;
        if self.bucket.upstream_prefix.is_empty() && part.prefix.starts_with(".countersign/") {
            return Ok(None);
        }
        let start_after = self.start_after.clone();
        let start_after = match behind(&part.prefix, start_after.as_deref()) {
            Behind::All => None,
            Behind::Name(name) => Some(name),
            Behind::Nothing => return Ok(None),
        };
        if let Some(group) = &part.group {
            let known = self.last_group.as_ref() == Some(group) || self.start_after.as_ref() == Some(group);
            if !known && self.has_visible_key(&part.prefix, start_after).await? {
                self.page.groups.push(group.clone());
                self.last_group = Some(group.clone());
            }
            return Ok(None);
        }
        if self.scope.request.kind == ListKind::Uploads
            || self.scope.hides_some_of(&part.prefix)
            || self.blends_hidden(&part.prefix)
        {
            self.collect_visible(&part.prefix, start_after, from).await
        } else {
            self.collect_all(&part.prefix, start_after, from).await
        }
    }

    /// Collects the names of a prefix in which nothing is denied: a page of the store is a page of ours.
    async fn collect_all(
        &mut self,
        prefix: &str,
        start_after: Option<&str>,
        from: Place,
    ) -> Result<Option<Place>, Refusal> {
        let kind = self.scope.request.kind;
        let delimiter = self.scope.request.delimiter.as_deref();
        let mut mark = from.mark;
        loop {
            let question =
                Question { kind, prefix, start_after, mark: mark.as_ref(), delimiter, max_keys: self.room() };
            let mut page = self.ask(&question).await?;
            let names = page.len();
            page.entries.retain(|entry| !self.is_hidden(&entry.key));
            page.groups.retain(|group| !self.is_hidden(group));
            let only_hidden = names > 0 && page.is_empty();
            page.entries.retain(|entry| self.is_behind_start(&entry.key));
            page.groups.retain(|group| self.is_behind_start(group));
            self.page.entries.append(&mut page.entries);
            self.page.groups.append(&mut page.groups);
            self.rounds += 1;
            match page.next {
                // Clients take a page without names for the last one.
                Some(next) if only_hidden && self.rounds < MAX_ROUNDS => mark = Some(next),
                next => return Ok(next.map(|mark| Place { mark: Some(mark), after: None })),
            }
        }
    }

    /// Whether a name is one of the gateway's own.
    fn is_hidden(&self, name: &str) -> bool {
        name.starts_with(ROOT) && is_reserved(&self.bucket.upstream_prefix, name)
    }

    /// Whether the delimiter may put hidden names of a part into one group with others.
    fn blends_hidden(&self, prefix: &str) -> bool {
        let delimiter = self.scope.request.delimiter.as_deref().unwrap_or("/");
        self.may_hold_hidden(prefix) && ROOT.contains(delimiter)
    }

    /// Whether hidden names may be below this prefix or in this group.
    fn may_hold_hidden(&self, group: &str) -> bool {
        self.bucket.upstream_prefix.is_empty() && ROOT.starts_with(group)
    }

    fn room(&self) -> u32 {
        self.scope.request.max_keys.saturating_sub(u32::try_from(self.page.len()).unwrap_or(u32::MAX))
    }

    /// Whether a name lies behind the one that the client named. RGW 16 and SeaweedFS give the key of a `key-marker` once more; no store
    /// is told the marker for uploads, see [`Question::parameters`].
    fn is_behind_start(&self, name: &str) -> bool {
        match &self.start_after {
            Some(start) if self.scope.request.kind == ListKind::Uploads => name > start.as_str(),
            Some(start) => name != start,
            None => true,
        }
    }

    /// Collects names one by one where the caller must not see all of them, or the store does not group them. Nothing in the answer depends
    /// on denied ones: not the number of names, not whether there is more, and the position is sealed. Returns where the next page begins,
    /// if there is a visible name left.
    async fn collect_visible(
        &mut self,
        prefix: &str,
        start_after: Option<&str>,
        from: Place,
    ) -> Result<Option<Place>, Refusal> {
        let delimiter = self.scope.request.delimiter.clone().filter(|_| !self.groups_itself());
        let mut walk = Walk::new(self.scope.request.kind, prefix, start_after, delimiter.as_deref(), from);
        let mut end = walk.place.clone();
        while let Some(name) = self.next_visible(&mut walk).await? {
            let Some(name) = self.group(name) else { continue };
            let is_long_enough = self.questions > MAX_QUESTIONS && !self.page.is_empty();
            if self.room() == 0 || is_long_enough {
                return Ok(Some(end));
            }
            end = walk.place.clone();
            self.rounds = 0;
            match name {
                Listed::Entry(entry) => self.page.entries.push(entry),
                Listed::Group(group) => {
                    if self.groups_itself() {
                        self.last_group = Some(group.clone());
                        self.made.insert(group.clone());
                    }
                    self.page.groups.push(group);
                }
            }
        }
        Ok(None)
    }

    /// Whether names that are looked at one by one are put into groups here. No store of ours does so for uploads, and SeaweedFS 4.48 groups
    /// versions by folders only, which would show that of a denied name.
    fn groups_itself(&self) -> bool {
        let request = &self.scope.request;
        match request.kind {
            ListKind::Uploads => true,
            ListKind::Versions => request.delimiter.as_deref() != Some("/"),
            ListKind::Objects | ListKind::ObjectsV2 => false,
        }
    }

    /// Puts a name into its group; `None` if that was given before. A store without order of the keys (SeaweedFS for uploads) may make the
    /// same group come again on a later page.
    fn group(&self, name: Listed) -> Option<Listed> {
        if !self.groups_itself() {
            return Some(name);
        }
        let Some(group) = self.scope.request.group_of(name.name()) else { return Some(name) };
        let known = self.last_group.as_ref() == Some(&group) || self.made.contains(&group);
        (!known && self.is_behind_start(&group)).then_some(Listed::Group(group))
    }

    /// Whether a caller may know that there is something below a prefix.
    async fn has_visible_key(&mut self, prefix: &str, start_after: Option<&str>) -> Result<bool, Refusal> {
        let mut walk = Walk::new(self.scope.request.kind, prefix, start_after, None, Place::default());
        Ok(self.next_visible(&mut walk).await?.is_some())
    }

    /// The next visible name of a walk.
    async fn next_visible(&mut self, walk: &mut Walk<'_>) -> Result<Option<Listed>, Refusal> {
        loop {
            while let Some(name) = walk.take_name() {
                if self.is_behind_start(name.name()) && self.is_visible(&name).await? {
                    return Ok(Some(name));
                }
            }
            let Some(question) = walk.next_question() else { return Ok(None) };
            if self.rounds == MAX_ROUNDS {
                return Err(too_many());
            }
            self.rounds += 1;
            let page = self.ask(&question).await?;
            walk.take_page(page);
        }
    }

    /// A group is visible if a key in it is, which takes a look where some of it is denied.
    async fn is_visible(&mut self, name: &Listed) -> Result<bool, Refusal> {
        if self.scope.denied_prefix_of(name.name()).is_some() || self.is_hidden(name.name()) {
            return Ok(false);
        }
        match name {
            Listed::Group(group) if self.scope.hides_some_of(group) || self.may_hold_hidden(group) => {
                // Only keys behind the client's own marker count, as the store counted them.
                let start_after = self.start_after.clone();
                match behind(group, start_after.as_deref()) {
                    Behind::All => Box::pin(self.has_visible_key(group, None)).await,
                    Behind::Name(name) => Box::pin(self.has_visible_key(group, Some(name))).await,
                    Behind::Nothing => Ok(false),
                }
            }
            Listed::Group(_) | Listed::Entry(_) => Ok(true),
        }
    }

    async fn ask(&mut self, question: &Question<'_>) -> Result<ListPage, Refusal> {
        self.questions += 1;
        let upstream_prefix = &self.bucket.upstream_prefix;
        let outbound = self.signer.prepare_listing(self.bucket, &question.parameters(upstream_prefix))?;
        let reply = self.upstreams.send(outbound).await?;
        self.ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
        if reply.head.status != http::StatusCode::OK {
            return Err(relay::read_error(reply, self.call).await);
        }
        let collected = tokio::time::timeout(PAGE_TIME, bounded::collect(reply.body, MAX_PAGE_BYTES)).await;
        let document = collected.map_err(|error| bad_page(&error))?.map_err(|error| bad_page(&error))?;
        let text = std::str::from_utf8(&document).map_err(|error| bad_page(&error))?;
        let page = ListPage::parse(question.kind, text, upstream_prefix).map_err(|error| bad_page(&error))?;
        // The store is asked for a prefix; that it kept to it is checked, not believed.
        let outside = |name: &str| !name.starts_with(question.prefix);
        if page.entries.iter().any(|entry| outside(&entry.key)) || page.groups.iter().any(|group| outside(group)) {
            return Err(bad_page(&"a name outside of the prefix asked for"));
        }
        // Groups are looked into without a delimiter: more groups there would have no end.
        if question.delimiter.is_none() && !page.groups.is_empty() {
            return Err(bad_page(&"groups that were not asked for"));
        }
        if page.next.is_some() && page.next.as_ref() == question.mark {
            return Err(bad_page(&"the next page is the same page"));
        }
        Ok(page)
    }
}

fn too_many() -> Refusal {
    let message = "The listing holds too many names to look through. Ask for a longer prefix.";
    Refusal::new(S3ErrorCode::SlowDown, RefusalKind::Limited, message, "too many names that do not show in a row")
}

fn bad_page(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        S3ErrorCode::BadGateway,
        RefusalKind::Upstream,
        "The store answered a listing with something else.",
        error,
    )
}
