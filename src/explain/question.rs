//! The question of `explain`: who, what and where, made into a caller and a request head.

use anyhow::{Context as _, anyhow, bail, ensure};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Version};

use super::Arguments;
use crate::auth::hypothetical::{
    hypothetical_certificate, hypothetical_key, hypothetical_listener, hypothetical_spiffe, hypothetical_subject,
    hypothetical_token,
};
use crate::auth::{Attributes, Caller, Settings};
use crate::base::encoding::{encode_path, encode_query};
use crate::base::parse_size;
use crate::rules::Action;
use crate::rules::explain::is_listing;
use crate::s3::Operation;
use crate::s3::identify::SERVED;
use crate::s3::operation::{Body, Level, OperationSpec};
use crate::s3::serving::serving;

/// A question that can be answered.
#[derive(Debug)]
pub struct Question {
    /// Who would ask.
    pub caller: Caller,
    /// What for.
    pub wanted: Wanted,
    /// Where.
    pub place: Option<Place>,
    /// What a copy would read.
    pub source: Option<Place>,
    /// The request; of no meaning for a right.
    pub head: Parts,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// An operation of S3.
    Operation(&'static OperationSpec),
    /// An IAM action by itself: no served operation stands for it.
    Right(Action),
}

/// A bucket, and a key in it or the prefix of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Public name of the bucket.
    pub bucket: String,
    /// Everything behind the first slash, if there is anything.
    pub key: Option<String>,
}

/// An action, the operation it is asked of, and the parameters that make it need just this action.
type Meaning = (&'static str, Operation, &'static [(&'static str, &'static str)]);

/// Actions that an operation needs only with a certain parameter, and those whose own name is not that of the usual operation.
const MEANINGS: &[Meaning] = &[
    ("s3:ListBucket", Operation::ListObjectsV2, &[]),
    ("s3:GetObjectVersion", Operation::GetObject, &[("versionId", "1")]),
    ("s3:DeleteObjectVersion", Operation::DeleteObject, &[("versionId", "1")]),
];

impl Question {
    /// Reads the command line, against the clients of a configuration.
    ///
    /// # Errors
    /// What cannot be read, or does not go with the rest.
    pub fn read(arguments: &Arguments, clients: &Settings) -> anyhow::Result<Self> {
        let caller = caller(arguments, clients)?;
        let (wanted, mut query) = wanted(&arguments.operation, arguments.source.is_some())?;
        let place = arguments.place.as_deref().map(Place::parse).transpose().context("--on")?;
        let source = arguments.source.as_deref().map(Place::parse).transpose().context("--source")?;
        for text in &arguments.query {
            query.push(pair(text, '=').with_context(|| format!("--query `{text}` is not `NAME=VALUE`"))?);
        }
        let head = match wanted {
            Wanted::Operation(spec) => head(spec, place.as_ref(), source.as_ref(), query, arguments)?,
            Wanted::Right(action) => {
                ensure!(place.is_some(), "--on is missing: where is {} wanted?", action.as_str());
                Request::new(()).into_parts().0
            }
        };
        Ok(Self { caller, wanted, place, source, head })
    }
}

impl Place {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (bucket, key) = text.split_once('/').unwrap_or((text, ""));
        ensure!(!bucket.is_empty(), "`{text}` has no bucket; write `bucket` or `bucket/key`");
        Ok(Self { bucket: bucket.to_owned(), key: Some(key.to_owned()).filter(|key| !key.is_empty()) })
    }

    /// As it was written.
    pub fn text(&self) -> String {
        match &self.key {
            Some(key) => format!("{}/{key}", self.bucket),
            None => self.bucket.clone(),
        }
    }
}

fn caller(arguments: &Arguments, clients: &Settings) -> anyhow::Result<Caller> {
    let principal = arguments.principal.as_str();
    let names = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    if let Some(name) = principal.strip_prefix("token:") {
        ensure!(arguments.attributes.is_empty(), "--attribute: the attributes of a token stand in the configuration");
        let token = clients.tokens.iter().find(|token| token.name == name).ok_or_else(|| {
            let known = names(clients.tokens.iter().map(|token| token.name.as_str()).collect());
            anyhow!("--as: there is no token `{name}`; there are: {known}")
        })?;
        return Ok(hypothetical_token(token, arguments.address));
    }
    if let Some(name) = principal.strip_prefix("key:") {
        ensure!(arguments.attributes.is_empty(), "--attribute: the attributes of a key stand in the configuration");
        let key = clients.access_keys.iter().find(|key| key.name == name).ok_or_else(|| {
            let known = names(clients.access_keys.iter().map(|key| key.name.as_str()).collect());
            anyhow!("--as: there is no access key `{name}`; there are: {known}")
        })?;
        return Ok(hypothetical_key(key, arguments.address));
    }
    if let Some(name) = principal.strip_prefix("listener:") {
        ensure!(
            arguments.attributes.is_empty(),
            "--attribute: the attributes of a listener stand in the configuration"
        );
        let listener = clients.listeners.iter().find(|listener| listener.name == name).ok_or_else(|| {
            let known = names(clients.listeners.iter().map(|listener| listener.name.as_str()).collect());
            anyhow!("--as: there is no listener with the identity `{name}`; there are: {known}")
        })?;
        return Ok(hypothetical_listener(listener, arguments.address));
    }
    if let Some(name) = principal.strip_prefix("certificate:") {
        let certificate =
            clients.certificates.iter().find(|certificate| certificate.name == name).ok_or_else(|| {
                let known = names(clients.certificates.iter().map(|certificate| certificate.name.as_str()).collect());
                anyhow!("--as: there is no certificate `{name}`; there are: {known}")
            })?;
        return Ok(hypothetical_certificate(certificate, &attributes(arguments)?, arguments.address)?);
    }
    if principal.starts_with("spiffe:") {
        ensure!(
            arguments.attributes.is_empty(),
            "--attribute: the attributes of a SPIFFE id stand in it and in the configuration"
        );
        return hypothetical_spiffe(&clients.certificates, principal, arguments.address).context("--as");
    }
    let Some((name, subject)) = principal.strip_prefix("issuer:").and_then(|rest| rest.split_once(':')) else {
        bail!(
            "--as: `{principal}` is not a principal; write `token:NAME`, `key:NAME`, `listener:NAME`, `certificate:NAME`, `spiffe://DOMAIN/PATH` or `issuer:NAME:SUBJECT`"
        );
    };
    let issuer = clients.issuers.iter().find(|issuer| issuer.name == name).ok_or_else(|| {
        let known = names(clients.issuers.iter().map(|issuer| issuer.name.as_str()).collect());
        anyhow!("--as: there is no issuer `{name}`; there are: {known}")
    })?;
    Ok(hypothetical_subject(issuer, subject, &attributes(arguments)?, arguments.address)?)
}

/// The attributes that are given on the command line.
fn attributes(arguments: &Arguments) -> anyhow::Result<Attributes> {
    let mut attributes = Attributes::new();
    for text in &arguments.attributes {
        let (name, value) = pair(text, '=').with_context(|| format!("--attribute `{text}` is not `NAME=VALUE`"))?;
        attributes.entry(name).or_default().push(value);
    }
    Ok(attributes)
}

fn pair(text: &str, between: char) -> Option<(String, String)> {
    let (name, value) = text.split_once(between)?;
    (!name.is_empty()).then(|| (name.to_owned(), value.trim_start().to_owned()))
}

/// What a word asks for, with the query parameters that make an operation need just this action.
fn wanted(word: &str, copies: bool) -> anyhow::Result<(Wanted, Vec<(String, String)>)> {
    let operation = |operation: Operation| Wanted::Operation(as_copy(operation, copies).spec());
    if let Some(spec) = Operation::all().find(|spec| spec.name == word && !spec.shadowed) {
        return Ok((operation(spec.operation), Vec::new()));
    }
    let Some(action) = Action::named(word) else {
        bail!("--do: `{word}` is neither an operation such as PutObject nor an IAM action such as s3:PutObject");
    };
    if let Some((_, meant, query)) = MEANINGS.iter().find(|(name, ..)| *name == word) {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        return Ok((operation(*meant), query.collect()));
    }
    let is_served = |operation: Operation| SERVED.contains(&operation) || serving(operation).mapping().is_some();
    let served = || Operation::all().filter(|spec| spec.action == word && is_served(spec.operation));
    let found = served().find(|spec| word.strip_prefix("s3:") == Some(spec.name)).or_else(|| served().next());
    Ok((found.map_or(Wanted::Right(action), |spec| operation(spec.operation)), Vec::new()))
}

fn as_copy(operation: Operation, copies: bool) -> Operation {
    match operation {
        Operation::PutObject if copies => Operation::CopyObject,
        Operation::UploadPart if copies => Operation::UploadPartCopy,
        other => other,
    }
}

/// The head that a client would send, as far as it matters to `identify`, the rules and the terms.
fn head(
    spec: &OperationSpec,
    place: Option<&Place>,
    source: Option<&Place>,
    mut query: Vec<(String, String)>,
    arguments: &Arguments,
) -> anyhow::Result<Parts> {
    for (name, value) in spec.required_query {
        if !query.iter().any(|(given, _)| given == name) {
            // Upload ids and part numbers are read when the store is asked.
            query.push(((*name).to_owned(), value.unwrap_or("1").to_owned()));
        }
    }
    let path = path(spec, place, &mut query)?;
    let query: Vec<_> =
        query.iter().map(|(name, value)| format!("{}={}", encode_query(name), encode_query(value))).collect();
    let target = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
    let request = Request::builder().method(spec.method).uri(target).version(Version::HTTP_11).body(())?;
    let mut head = request.into_parts().0;
    for (name, value) in headers(spec, source, arguments)? {
        ensure!(head.headers.insert(name.clone(), value).is_none(), "the header `{name}` is given twice");
    }
    Ok(head)
}

fn path(spec: &OperationSpec, place: Option<&Place>, query: &mut Vec<(String, String)>) -> anyhow::Result<String> {
    let name = spec.name;
    match (spec.level, place) {
        (Level::Service, None) => Ok("/".to_owned()),
        (Level::Service, Some(_)) => bail!("--on: {name} is about no bucket"),
        (Level::Bucket, Some(Place { bucket, key: None })) => Ok(format!("/{}", encode_query(bucket))),
        (Level::Bucket, Some(Place { bucket, key: Some(prefix) })) if is_listing(spec.operation) => {
            query.push(("prefix".to_owned(), prefix.clone()));
            Ok(format!("/{}", encode_query(bucket)))
        }
        (Level::Object, Some(Place { bucket, key: Some(key) })) => {
            Ok(format!("/{}/{}", encode_query(bucket), encode_path(key)))
        }
        (Level::Bucket, Some(place)) => bail!("--on: {name} is about a bucket, `{}` is a key", place.text()),
        (Level::Object, Some(place)) => bail!("--on: {name} is about a key; write `{}/key`", place.bucket),
        (Level::Bucket | Level::Object, None) => bail!("--on is missing: where is {name} wanted?"),
    }
}

fn headers(
    spec: &OperationSpec,
    source: Option<&Place>,
    arguments: &Arguments,
) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let mut pairs = vec![("host".to_owned(), "gateway".to_owned())];
    match (spec.required_headers.contains(&"x-amz-copy-source"), source) {
        (true, Some(source)) => pairs.push(("x-amz-copy-source".to_owned(), encode_path(&source.text()))),
        (true, None) => bail!("--source is missing: {} reads a key", spec.name),
        (false, Some(_)) => bail!("--source: {} reads no other key", spec.name),
        (false, None) => {}
    }
    match (spec.body, &arguments.size) {
        (Body::Object, Some(size)) => pairs.push(("content-length".to_owned(), parse_size(size)?.to_string())),
        (Body::Object, None) => pairs.push(("transfer-encoding".to_owned(), "chunked".to_owned())),
        (_, Some(_)) => bail!("--size: {} carries no object", spec.name),
        (_, None) => {}
    }
    // What every client sends with these, and no rule looks at.
    if spec.has_checked_document() {
        pairs.push(("content-md5".to_owned(), "1B2M2Y8AsgTpgAmY7PhCfg==".to_owned()));
    }
    if spec.operation == Operation::GetObjectAttributes {
        pairs.push(("x-amz-object-attributes".to_owned(), "ETag".to_owned()));
    }
    if let Some(media_type) = &arguments.media_type {
        ensure!(spec.headers.contains(&"content-type"), "--type: {} declares no media type", spec.name);
        pairs.push(("content-type".to_owned(), media_type.clone()));
    }
    for text in &arguments.headers {
        pairs.push(pair(text, ':').with_context(|| format!("--header `{text}` is not `NAME: VALUE`"))?);
    }
    let parse = |(name, value): (String, String)| Ok((HeaderName::try_from(name)?, HeaderValue::try_from(value)?));
    pairs.into_iter().map(parse).collect()
}
