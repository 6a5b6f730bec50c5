//! `clients.tokens`, and what rules need to know of every client. The other ways in: `access_keys`, `issuers`.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{SHA256, digest};

use super::super::forms::OneOrMany;
use super::super::path::Path;
use super::super::raw::{RawConfig, RawToken};
use super::desk::{Desk, Reference};
use super::values::check_name;
use super::{access_keys, certificates, identity, issuers};
use crate::auth::{Attributes, Settings, TokenSettings};
use crate::rules::settings::Client;
use crate::rules::template::{PrefixTemplate, is_plain_name};

/// The clients of the file, as far as rules refer to them.
#[derive(Debug, Default)]
pub struct KnownClients {
    /// Every client with a name.
    pub clients: Vec<KnownClient>,
    /// Whether these are all: a client with a mistake in its name or attributes may be what a rule means.
    pub complete: bool,
}

/// One client of the file.
#[derive(Debug)]
pub struct KnownClient {
    /// What rules call it.
    pub client: Client,
    /// The attributes it can have.
    pub attributes: BTreeSet<String>,
    /// Those of them that can stand in a prefix.
    pub plain: BTreeSet<String>,
}

/// Tokens, access keys and issuers.
pub fn clients(desk: &mut Desk<'_>, raw: &RawConfig) -> (Settings, KnownClients) {
    let path = Path::top().key("clients");
    let (token_path, key_path, issuer_path) = (path.key("tokens"), path.key("access_keys"), path.key("issuers"));
    let certificate_path = path.key("certificates");
    let raw_tokens = raw.clients.tokens.as_deref().unwrap_or_default();
    let raw_keys = raw.clients.access_keys.as_deref().unwrap_or_default();
    let raw_issuers = raw.clients.issuers.as_deref().unwrap_or_default();
    let excused = desk.is_excused(&Path::top(), "clients")
        || [&path, &token_path, &key_path, &issuer_path, &certificate_path]
            .into_iter()
            .any(|path| desk.is_blurred(path));
    let raw_certificates = raw.clients.certificates.as_deref().unwrap_or_default();
    let vouched = !raw_certificates.is_empty() || raw.listen.iter().flatten().any(|raw| raw.identity.is_some());
    if raw_tokens.is_empty() && raw_keys.is_empty() && raw_issuers.is_empty() && !vouched && !excused {
        desk.report(
            &path,
            "there is nobody who could authenticate",
            "add a token, an access key or an issuer; `countersign token` makes a token and the text for `hash`",
        );
    }
    let mut known = KnownClients { clients: Vec::new(), complete: !excused };
    let tokens = tokens(desk, &token_path, raw_tokens, &mut known);
    let access_keys = access_keys::access_keys(desk, &key_path, raw_keys, &mut known);
    let issuers = issuers::issuers(desk, &issuer_path, raw_issuers, &mut known);
    let listeners = identity::listeners(desk, raw, &mut known);
    let certificates = certificates::certificates(desk, &certificate_path, raw, &mut known);
    let signing = access_keys::signing(desk, &path.key("signing"), raw);
    (Settings { tokens, issuers, access_keys, listeners, certificates, signing, sessions: None }, known)
}

fn tokens(desk: &mut Desk<'_>, path: &Path, raw: &[RawToken], known: &mut KnownClients) -> Vec<TokenSettings> {
    let mut tokens: Vec<TokenSettings> = Vec::new();
    for (position, raw) in raw.iter().enumerate() {
        let path = path.item(position);
        let name = desk.required(&path, "name", raw.name.as_ref(), "give the token a name for rules and audit records");
        let name = name.filter(|name| check_name(desk, &path.key("name"), name)).cloned();
        let digest = token_digest(desk, &path, raw.hash.as_ref());
        let expires = raw.expires.as_ref().map(|text| instant(desk, &path.key("expires"), text));
        let attributes = attributes(desk, &path.key("attributes"), &raw.attributes);
        let Some(name) = name else {
            known.complete = false;
            continue;
        };
        known.add(desk, &path.key("name"), token_client(&name, &attributes));
        known.complete &= !desk.is_blurred(&path) && !desk.is_blurred(&path.key("attributes"));
        let (Some(digest), Some(expires)) = (digest, expires.map_or(Some(None), |instant| instant.map(Some))) else {
            continue;
        };
        if let Some(other) = tokens.iter().find(|other| other.digest == digest) {
            let help = "make a token of its own for each; `countersign token` does";
            desk.report(&path.key("hash"), format!("the token `{}` has the same hash", other.name), help);
        }
        tokens.push(TokenSettings { name, digest, expires, attributes });
    }
    tokens
}

fn token_client(name: &str, attributes: &Attributes) -> KnownClient {
    let mut plain = plain_attributes(attributes);
    let mut attributes: BTreeSet<String> = attributes.keys().cloned().collect();
    attributes.insert("token".to_owned());
    plain.insert("token".to_owned());
    KnownClient { client: Client::Token(name.to_owned()), attributes, plain }
}

/// The attributes that have a value which can stand in a prefix.
pub fn plain_attributes(attributes: &Attributes) -> BTreeSet<String> {
    let plain = attributes.iter().filter(|(_, values)| values.iter().any(|value| is_plain_name(value)));
    plain.map(|(name, _)| name.clone()).collect()
}

impl KnownClients {
    /// Adds a client; reports it if there is one of this name.
    pub fn add(&mut self, desk: &mut Desk<'_>, path: &Path, client: KnownClient) {
        if self.clients.iter().any(|other| other.client == client.client) {
            desk.report(
                path,
                "this name is there already",
                "give every token, access key, issuer, listener and certificate a name of its own",
            );
        }
        self.clients.push(client);
    }
}

/// The hash of a token, there and not of a word that anybody can guess.
pub fn token_digest(desk: &mut Desk<'_>, path: &Path, hash: Option<&String>) -> Option<[u8; 32]> {
    let help = "write `sha256:` and the 64 hex digits that `countersign token` prints, or a reference to that text";
    let text = desk.required(path, "hash", hash, help)?;
    let path = path.key("hash");
    let text = match Desk::as_reference(text) {
        Some(reference @ (Reference::Env(_) | Reference::File(_))) => desk.fetch(&path, &reference, false)?,
        None => text.clone(),
    };
    let mut digest = [0; 32];
    let good = text.strip_prefix("sha256:").is_some_and(|hex| hex::decode_to_slice(hex, &mut digest).is_ok());
    if !good {
        desk.report(&path, "this is not the hash of a token", help);
        return None;
    }
    if is_published(digest) {
        desk.report(
            &path,
            "this is the hash of nothing, or of a word that anybody can guess",
            "make a token with `countersign token`",
        );
        return None;
    }
    Some(digest)
}

/// Tokens out of manuals and examples, and what people type to get started.
const PUBLISHED: &[&str] = &[
    "",
    "\n",
    "token",
    "secret",
    "changeme",
    "change-me",
    "password",
    "demo",
    "test",
    "example",
    "admin",
    "letmein",
    "hunter2",
    "foo",
    "bar",
    "foobar",
    "123456",
    "12345678",
    "123456789",
    "1234567890",
    "qwerty",
    "hello",
    "hello world",
    "csn",
    "csn_",
    "csn_example",
    "csn_test",
    "csn_demo",
    "csn_token",
    "csn_secret",
    "countersign",
    "my-token",
    "mytoken",
    "my_token",
    "apikey",
    "api-key",
    "api_key",
    "s3cr3t",
    "default",
    "root",
    "minioadmin",
    "dev",
    "local",
    "ci",
    "none",
    "null",
    "undefined",
    "TOKEN",
    "SECRET",
    "xxx",
    "todo",
    "your-token",
    "your_token_here",
];

fn is_published(found: [u8; 32]) -> bool {
    let of = |text: &str| digest(&SHA256, text.as_bytes()).as_ref() == found;
    found == [0; 32] || PUBLISHED.iter().any(|word| of(word) || of(&format!("{word}\n")))
}

/// An instant, reported if it is none.
pub fn instant(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<crate::base::UtcInstant> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        desk.report(path, "this is not an instant", "write date, time and zone, such as 2027-01-01T00:00:00Z");
    }
    parsed
}

/// Attributes that the gateway sets itself.
pub const OWN_ATTRIBUTES: &[&str] = &["token", "key", "issuer", "listener", "certificate"];

/// Whether a text can be the name of an attribute, reported if not. `own` are names that the gateway sets itself.
pub fn check_attribute_name(desk: &mut Desk<'_>, path: &Path, name: &str, own: &[&str]) -> bool {
    if own.contains(&name) {
        desk.report_key(path, format!("the attribute `{name}` is set by the gateway"), "choose another name");
        return false;
    }
    // What a template can name; one grammar for both.
    let good = PrefixTemplate::parse(&format!("{{{name}}}")).is_ok_and(|template| template.attributes().eq([name]));
    if !good {
        desk.report_key(path, "this cannot be the name of an attribute", "use letters, digits, `_`, `-`, `:` and `.`");
    }
    good
}

/// The attributes of a token or access key.
pub fn attributes(desk: &mut Desk<'_>, path: &Path, raw: &BTreeMap<String, OneOrMany>) -> Attributes {
    let mut attributes = Attributes::new();
    for (name, values) in raw {
        let path = path.key(name);
        check_attribute_name(desk, &path, name, OWN_ATTRIBUTES);
        check_texts(desk, &path, values, "an attribute without a value matches nothing; give it one, or remove it");
        attributes.insert(name.clone(), values.texts().to_vec());
    }
    attributes
}

/// Reports a list that is empty, and empty texts in it. An empty list would mean "any" where the author may mean "none".
pub fn check_texts(desk: &mut Desk<'_>, path: &Path, values: &OneOrMany, help: &str) {
    if values.texts().is_empty() && !desk.is_blurred(path) {
        desk.report(path, "the list is empty", help);
    }
    for (position, text) in values.texts().iter().enumerate() {
        if text.is_empty() {
            desk.report(&text_path(path, values, position), "the text is empty", help);
        }
    }
}

/// Where one of the texts stands: the value itself, or an item of the list.
pub fn text_path(path: &Path, values: &OneOrMany, position: usize) -> Path {
    match values {
        OneOrMany::One(_) => path.clone(),
        OneOrMany::Many(_) => path.item(position),
    }
}
