//! One client: draws operations, sends them, and holds every answer against its model.
//!
//! It alone writes its keys, one operation after the other. After a write whose answer was lost it leaves the key alone, because that write
//! may still arrive behind a later one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use countersign::base::encoding::{encode_path, encode_query};

use super::super::support::Response;
use super::form::{Form, checked};
use super::model::{Content, Keys, State, refused_body};
use super::random::Random;
use super::wire::{Ask, Payload, Seen, Wire, is_error};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Keys that a client uses at a time.
const LIVE: usize = 8;
/// What the rule for `small/` allows; see `mod.rs`.
pub const SMALL: usize = 64 * KIB;
/// The number of the upload whose body begins as a PNG image does.
const PICTURE: u64 = u64::from_be_bytes(*b"\x89PNG\r\n\x1a\n");

/// A client.
pub struct Worker {
    pub wire: Wire,
    pub keys: Keys,
    /// Keys of multipart uploads that may be unfinished: left on purpose, or an answer was lost.
    pub may_be_open: BTreeSet<String>,
    /// Keys of uploads of unknown length that the gateway may have had to give up.
    pub given_up: BTreeSet<String>,
    pub complaints: Vec<String>,
    pub(super) random: Random,
    tenant: char,
    other: char,
    number: u64,
    live: Vec<String>,
    made: u64,
    uploads: u64,
    /// The value of the only tag of a key, as far as it is known.
    tags: BTreeMap<String, Option<String>>,
}

/// What an answer means for the model.
#[derive(Debug)]
pub(super) enum Told {
    /// It happened.
    Done(Response),
    /// It did not.
    Refused(Response),
    /// It did not, because its body did not arrive in time.
    Spoilt,
    /// It happened or not.
    Unclear,
}

impl Worker {
    pub fn new(number: u64, seed: u64, address: SocketAddr, (tenant, other): (char, char), token: &str) -> Self {
        let mut worker = Self {
            wire: Wire::new(tenant, address, token),
            keys: Keys::default(),
            may_be_open: BTreeSet::new(),
            given_up: BTreeSet::new(),
            complaints: Vec::new(),
            random: Random::new(seed, number),
            tenant,
            other,
            number,
            live: Vec::new(),
            made: 0,
            uploads: 0,
            tags: BTreeMap::new(),
        };
        worker.live = (0..LIVE).map(|_| worker.new_key("o")).collect();
        worker
    }

    /// One operation, whichever.
    pub async fn act(&mut self) {
        if self.random.percent(35) {
            self.wire.hang_up();
        }
        match self.random.below(100) {
            0..28 => self.put().await,
            28..45 => self.get().await,
            45..52 => self.get_range().await,
            52..56 => self.head().await,
            56..61 => self.delete().await,
            61..66 => self.delete_several().await,
            66..71 => self.list().await,
            71..77 => self.tag().await,
            77..83 => self.trespass().await,
            83..90 => self.put_what_is_refused().await,
            90..95 => self.copy().await,
            _ => self.put_in_parts().await,
        }
    }

    async fn put(&mut self) {
        let (key, length) = match self.random.below(60) {
            0 => (self.new_key("large"), 8 * MIB + self.random.below(2 * MIB)),
            1..4 => (self.new_key("picture"), self.random.magnitude(MIB)),
            4..7 => (self.new_key("small"), self.random.magnitude(SMALL)),
            _ => (self.random.choose(&self.live).clone(), self.random.magnitude(2 * MIB)),
        };
        let picture = key.contains("/pictures/");
        let content = if picture { Content::of(PICTURE, length.max(100)) } else { self.new_content(length) };
        let form = if length > 8 * MIB { Form::UnknownLength } else { Form::any(&mut self.random) };
        let (mut headers, payload) = form.send(content.bytes(), &mut self.random);
        if picture {
            headers.push(("content-type", "image/png".to_owned()));
        }
        let happened = self.write(&key, self.ask("PutObject", "PUT", &key, "", headers, payload), Some(content)).await;
        if !happened && length > 8 * MIB {
            self.given_up.insert(key);
        }
    }

    /// Sends what changes a key; returns whether it was done.
    async fn write(&mut self, key: &str, ask: Ask, state: State) -> bool {
        match self.tell(ask).await {
            Told::Done(_) => {
                self.keys.is(key, state);
                self.tags.remove(key);
                return true;
            }
            Told::Unclear => {
                self.keys.may_be(key, state);
                self.leave(key);
            }
            Told::Spoilt => {}
            Told::Refused(answer) => self.complain(&format!("a write of {key} was refused: {:?}", answer.outcome())),
        }
        false
    }

    async fn get(&mut self) {
        let key = self.random.choose(&self.live).clone();
        let seen = self.send(self.ask("GetObject", "GET", &key, "", Vec::new(), Vec::new())).await;
        if let Seen::Broken { status: Some(http::StatusCode::OK), body } = &seen {
            let begins = |state: &State| state.as_ref().is_some_and(|content| content.bytes().starts_with(body));
            if !self.keys.acceptable(&key).iter().any(begins) {
                self.complain(&format!("the beginning of {key} is not that of what it holds"));
            }
        }
        let found = match self.judge(seen) {
            Told::Done(answer) => Some(answer.body),
            Told::Refused(answer) if answer.outcome() == (404, "NoSuchKey".to_owned()) => None,
            Told::Refused(answer) => return self.complain(&format!("reading {key}: {:?}", answer.outcome())),
            Told::Spoilt | Told::Unclear => return,
        };
        self.complaints.extend(self.keys.complaint(&key, found.as_deref()));
    }

    async fn get_range(&mut self) {
        let Some((key, content)) = self.certain_key() else { return };
        if content.len() == 0 {
            return;
        }
        let first = self.random.below(content.len());
        let end = self.random.between(first + 1, content.len());
        let range = vec![("range", format!("bytes={first}-{}", end - 1))];
        match self.tell(self.ask("GetObject", "GET", &key, "", range, Vec::new())).await {
            Told::Done(answer) if answer.status == 206 && answer.body == content.slice(first, end).bytes() => {}
            Told::Spoilt | Told::Unclear => {}
            other => self.complain(&format!("bytes {first} to {end} of {key}: {}", brief(&other))),
        }
    }

    async fn head(&mut self) {
        let key = self.random.choose(&self.live).clone();
        let length = match self.tell(self.ask("HeadObject", "HEAD", &key, "", Vec::new(), Vec::new())).await {
            Told::Done(answer) => answer.header("content-length").parse().ok(),
            Told::Refused(answer) if answer.status == 404 => None,
            Told::Refused(answer) => return self.complain(&format!("the head of {key}: {:?}", answer.outcome())),
            Told::Spoilt | Told::Unclear => return,
        };
        if !self.keys.acceptable(&key).iter().any(|state| state.as_ref().map(Content::len) == length) {
            self.complain(&format!("the head of {key} says {length:?}, acceptable: {:?}", self.keys.acceptable(&key)));
        }
    }

    async fn delete(&mut self) {
        let key = self.random.choose(&self.live).clone();
        self.write(&key, self.ask("DeleteObject", "DELETE", &key, "", Vec::new(), Vec::new()), None).await;
    }

    /// Deletes some keys, and tries some of others.
    async fn delete_several(&mut self) {
        let own: BTreeSet<_> = (0..self.random.between(0, 3)).map(|_| self.random.choose(&self.live).clone()).collect();
        let others: Vec<_> = (0..self.random.below(3)).map(|_| self.foreign_key()).collect();
        let others: BTreeSet<_> = others.into_iter().collect();
        let object = |key: &String| format!("<Object><Key>{key}</Key></Object>");
        let objects: String = own.iter().chain(&others).map(object).collect();
        if objects.is_empty() {
            return;
        }
        let document = format!("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{objects}</Delete>");
        let ask = Ask {
            operation: "DeleteObjects",
            method: "POST",
            target: "/bkt?delete".to_owned(),
            key: None,
            headers: checked(document.as_bytes()),
            payload: document.into_bytes().into(),
        };
        match self.tell(ask).await {
            Told::Done(answer) => self.note_deleted(&answer, &own, &others),
            Told::Unclear => own.iter().for_each(|key| self.may_be_gone(key)),
            Told::Spoilt => {}
            Told::Refused(answer) => self.complain(&format!("deleting several: {:?}", answer.outcome())),
        }
    }

    fn note_deleted(&mut self, answer: &Response, own: &BTreeSet<String>, others: &BTreeSet<String>) {
        let text = |part: &str, name: &str| {
            let rest = part.split(&format!("<{name}>")).nth(1)?;
            Some(rest.split('<').next()?.to_owned())
        };
        let deleted: BTreeSet<_> = answer.elements("Deleted").iter().filter_map(|part| text(part, "Key")).collect();
        let errors = answer.elements("Error");
        let errors: BTreeMap<_, _> =
            errors.iter().filter_map(|part| Some((text(part, "Key")?, text(part, "Code")?))).collect();
        for key in own {
            match (deleted.contains(key), errors.get(key)) {
                (true, None) => {
                    self.keys.is(key, None);
                    self.tags.remove(key);
                }
                (false, Some(_)) => self.may_be_gone(key),
                _ => self.complain(&format!("{key} in the result of a batch: {}", answer.text())),
            }
        }
        for key in others {
            if deleted.contains(key) || errors.get(key).is_none_or(|code| code != "AccessDenied") {
                self.complain(&format!("{key} of another in the result of a batch: {}", answer.text()));
            }
        }
    }

    fn may_be_gone(&mut self, key: &str) {
        self.keys.may_be(key, None);
        self.leave(key);
    }

    async fn list(&mut self) {
        let prefix = if self.random.percent(70) { format!("{}/w{}/", self.tenant, self.number) } else { String::new() };
        let target = format!("/bkt?list-type=2&prefix={}", encode_query(&prefix));
        let key = Some(prefix.clone());
        let ask = Ask { key, target, ..self.ask("ListObjectsV2", "GET", "", "", Vec::new(), Vec::new()) };
        let answer = match self.tell(ask).await {
            Told::Done(answer) => answer,
            Told::Spoilt | Told::Unclear => return,
            Told::Refused(answer) => return self.complain(&format!("listing {prefix:?}: {:?}", answer.outcome())),
        };
        let listed: BTreeSet<String> = answer.elements("Key").into_iter().collect();
        let own = format!("{}/", self.tenant);
        if let Some(key) = listed.iter().find(|key| !key.starts_with(&own) || !key.starts_with(&prefix)) {
            self.complain(&format!("{key} is listed below {prefix:?} for {}", self.tenant));
        }
        if prefix.is_empty() || answer.element("IsTruncated") == "true" {
            return;
        }
        for key in self.keys.names().filter(|key| key.starts_with(&prefix)) {
            let fits = |state: &State| state.is_some() == listed.contains(key);
            if !self.keys.acceptable(key).iter().any(fits) {
                self.complaints.push(format!("{key} is listed: {}", listed.contains(key)));
            }
        }
    }

    async fn tag(&mut self) {
        let Some((key, _)) = self.certain_key() else { return };
        let known = self.tags.get(&key).cloned();
        match (self.random.below(3), known) {
            (0, Some(known)) => {
                let ask = self.ask("GetObjectTagging", "GET", &key, "?tagging", Vec::new(), Vec::new());
                match self.tell(ask).await {
                    Told::Done(answer) if Some(answer.element("Value")).filter(|v| !v.is_empty()) == known => {}
                    Told::Spoilt | Told::Unclear => {}
                    other => self.complain(&format!("tags of {key}, {known:?} are expected: {}", brief(&other))),
                }
            }
            (1, _) => {
                let ask = self.ask("DeleteObjectTagging", "DELETE", &key, "?tagging", Vec::new(), Vec::new());
                self.change_tag(&key, ask, None).await;
            }
            _ => {
                let value = format!("v{}", self.random.below(1_000_000));
                let tag = format!("<Tag><Key>soak</Key><Value>{value}</Value></Tag>");
                let document = format!("<Tagging><TagSet>{tag}</TagSet></Tagging>").into_bytes();
                let ask = self.ask("PutObjectTagging", "PUT", &key, "?tagging", checked(&document), document);
                self.change_tag(&key, ask, Some(value)).await;
            }
        }
    }

    async fn change_tag(&mut self, key: &str, ask: Ask, value: Option<String>) {
        match self.tell(ask).await {
            Told::Done(_) => drop(self.tags.insert(key.to_owned(), value)),
            Told::Spoilt => {}
            Told::Unclear => self.leave(key),
            Told::Refused(answer) => self.complain(&format!("tagging {key}: {:?}", answer.outcome())),
        }
    }

    /// Something with the keys of another.
    async fn trespass(&mut self) {
        let (own, foreign) = (self.random.choose(&self.live).clone(), self.foreign_key());
        let refused = || refused_body(3 * KIB);
        let source = |key: &str| vec![("x-amz-copy-source", format!("/bkt/{}", encode_path(key)))];
        let tags = b"<Tagging><TagSet/></Tagging>".to_vec();
        let ask = match self.random.below(8) {
            0 => self.ask("GetObject", "GET", &foreign, "", Vec::new(), Vec::new()),
            1 => self.ask("PutObject", "PUT", &foreign, "", Vec::new(), refused()),
            2 => self.ask("DeleteObject", "DELETE", &foreign, "", Vec::new(), Vec::new()),
            3 => self.ask("CopyObject", "PUT", &own, "", source(&foreign), Vec::new()),
            4 => self.ask("CopyObject", "PUT", &foreign, "", source(&own), Vec::new()),
            5 => self.ask("CreateMultipartUpload", "POST", &foreign, "?uploads", Vec::new(), Vec::new()),
            6 => self.ask("PutObjectTagging", "PUT", &foreign, "?tagging", checked(&tags), tags),
            _ => {
                let prefix = format!("{}/", self.other);
                let target = format!("/bkt?list-type=2&prefix={}", encode_query(&prefix));
                let ask = self.ask("ListObjectsV2", "GET", "", "", Vec::new(), Vec::new());
                Ask { target, key: Some(prefix), ..ask }
            }
        };
        self.must_be_refused(ask, &["AccessDenied"]).await;
    }

    /// Uploads that must not be stored: with a wrong digest, too large, of another type than they say.
    async fn put_what_is_refused(&mut self) {
        let random = &mut self.random;
        let length = random.magnitude(MIB);
        let (kind, codes): (_, &[_]) = match random.below(4) {
            0 => ("small", &["EntityTooLarge"]),
            1 => ("picture", &["AccessDenied"]),
            _ => ("o", &["BadDigest", "XAmzContentSHA256Mismatch"]),
        };
        let ((mut headers, payload), key) = match kind {
            "small" => {
                let form = Form::any(&mut self.random);
                let body = refused_body(SMALL + 1 + length);
                (form.send(body, &mut self.random), self.new_key(kind))
            }
            "picture" => {
                let form = Form::any(&mut self.random);
                (form.send(refused_body(length.max(100)), &mut self.random), self.new_key(kind))
            }
            _ => {
                let sent = Form::with_digest(&mut self.random).send_spoilt(refused_body(length), &mut self.random);
                (sent, self.random.choose(&self.live).clone())
            }
        };
        if kind == "picture" {
            headers.push(("content-type", "image/png".to_owned()));
        }
        self.must_be_refused(self.ask("PutObject", "PUT", &key, "", headers, payload), codes).await;
    }

    async fn copy(&mut self) {
        let Some((source, content)) = self.certain_key() else { return };
        let target = self.random.choose(&self.live).clone();
        if source != target {
            let headers = vec![("x-amz-copy-source", format!("/bkt/{}", encode_path(&source)))];
            self.write(&target, self.ask("CopyObject", "PUT", &target, "", headers, Vec::new()), Some(content)).await;
        }
    }

    /// A request for a key.
    pub(super) fn ask(
        &self,
        operation: &'static str,
        method: &'static str,
        key: &str,
        query: &str,
        headers: Vec<(&'static str, String)>,
        payload: impl Into<Payload>,
    ) -> Ask {
        let target = format!("/bkt/{}{query}", encode_path(key));
        Ask { operation, method, target, key: Some(key.to_owned()), headers, payload: payload.into() }
    }

    async fn send(&mut self, ask: Ask) -> Seen {
        self.wire.send(ask).await
    }

    pub(super) async fn tell(&mut self, ask: Ask) -> Told {
        let seen = self.send(ask).await;
        self.judge(seen)
    }

    fn judge(&mut self, seen: Seen) -> Told {
        let Seen::Whole(answer) = seen else { return Told::Unclear };
        if answer.header("x-amz-request-id").is_empty() {
            self.complain(&format!("an answer without request id: {answer:?}"));
        }
        match (answer.status.as_u16(), answer.code().as_str()) {
            (200..300, _) if !is_error(&answer) => Told::Done(answer),
            (200..300, "BadGateway" | "GatewayTimeout" | "SlowDown") | (502..=504, _) => Told::Unclear,
            (500 | 501, code) => {
                self.complain(&format!("{} {code}", answer.status));
                Told::Unclear
            }
            (400, "IncompleteBody" | "RequestTimeout") => Told::Spoilt,
            _ => Told::Refused(answer),
        }
    }

    pub(super) async fn must_be_refused(&mut self, ask: Ask, codes: &[&str]) {
        let what = format!("{} {}", ask.operation, ask.target);
        match self.tell(ask).await {
            Told::Refused(answer) if codes.contains(&answer.code().as_str()) => {}
            Told::Spoilt | Told::Unclear => {}
            other => self.complain(&format!("{what} must be refused with {codes:?}: {}", brief(&other))),
        }
    }

    pub(super) fn complain(&mut self, text: &str) {
        let sent = self.wire.journal.last();
        let id = sent.and_then(|sent| sent.request_id.as_deref()).unwrap_or("no id");
        self.complaints.push(format!("client {} ({id}): {text}", self.number));
    }

    /// A key that was never used.
    pub(super) fn new_key(&mut self, kind: &str) -> String {
        self.made += 1;
        let (tenant, number, made) = (self.tenant, self.number, self.made);
        match kind {
            "small" => format!("{tenant}/small/w{number}-{made}"),
            "picture" => format!("{tenant}/pictures/w{number}-{made}"),
            _ => format!("{tenant}/w{number}/{kind} {made}+ü"),
        }
    }

    /// The body of a new upload.
    pub(super) fn new_content(&mut self, length: usize) -> Content {
        self.uploads += 1;
        Content::of(self.number << 32 | self.uploads, length)
    }

    /// Uses another key from now on.
    fn leave(&mut self, key: &str) {
        self.tags.remove(key);
        if let Some(place) = self.live.iter().position(|live| live == key) {
            self.live[place] = self.new_key("o");
        }
    }

    /// Uses this key from now on, in the place of another.
    pub(super) fn adopt(&mut self, key: String) {
        let place = self.random.below(self.live.len());
        self.live[place] = key;
    }

    pub(super) fn certain_key(&mut self) -> Option<(String, Content)> {
        let key = self.random.choose(&self.live).clone();
        let content = self.keys.certain(&key)?.clone();
        Some((key, content))
    }

    /// A key of another, perhaps one that is there.
    fn foreign_key(&mut self) -> String {
        let (client, number) = (self.random.below(8), self.random.between(1, 30));
        match self.random.below(3) {
            0 => format!("c/untouched-{}", number % 4),
            _ => format!("{}/w{client}/o {number}+ü", self.other),
        }
    }
}

fn brief(told: &Told) -> String {
    match told {
        Told::Done(answer) | Told::Refused(answer) => {
            format!("{:?}, {} bytes, {:?}", answer.outcome(), answer.body.len(), answer.headers)
        }
        Told::Spoilt => "body spoilt".to_owned(),
        Told::Unclear => "unclear".to_owned(),
    }
}
