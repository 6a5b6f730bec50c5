//! `sts`: whether sessions are given out, and what seals them.

use std::collections::BTreeSet;

use super::super::path::Path;
use super::super::raw::RawConfig;
use super::super::raw_sts::RawSessionKey;
use super::desk::Desk;
use super::values::{check_name, duration};
use crate::auth::{RingKey, SessionSettings};
use crate::base::Secret;
use crate::sts::StsSettings;

/// Shortest text that 256 random bits have in base64 without padding, less what nobody would miss.
const MIN_SECRET_CHARACTERS: usize = 32;

/// The settings of sessions and of their API, or neither.
pub fn sts(desk: &mut Desk<'_>, raw: &RawConfig) -> Option<(SessionSettings, StsSettings)> {
    let (path, raw_sts) = (Path::top().key("sts"), &raw.sts);
    let range = SessionSettings::SHORTEST..=SessionSettings::LONGEST;
    let lifetime = duration(desk, &path.key("lifetime"), raw_sts.lifetime.as_ref(), DEFAULT_LIFETIME, range);
    let keys = keys(desk, &path.key("keys"), raw_sts.keys.as_deref().unwrap_or_default());
    let roles = roles(desk, &path.key("roles"), raw_sts.roles.as_deref());
    if raw_sts.enabled != Some(true) {
        return None;
    }
    let no_issuer = raw.clients.issuers.as_ref().is_none_or(Vec::is_empty);
    if no_issuer && !desk.is_excused(&Path::top(), "clients") && !desk.is_blurred(&Path::top().key("clients")) {
        desk.report(
            &path.key("enabled"),
            "there is no issuer whose tokens could be exchanged",
            "add one under `clients.issuers`, or write `enabled: false`",
        );
    }
    Some((SessionSettings { keys, lifetime }, StsSettings { roles }))
}

/// As in AWS.
const DEFAULT_LIFETIME: std::time::Duration = std::time::Duration::from_secs(3600);

fn keys(desk: &mut Desk<'_>, path: &Path, raw: &[RawSessionKey]) -> Vec<RingKey> {
    let mut names = BTreeSet::new();
    let mut keys: Vec<RingKey> = Vec::new();
    for (position, raw) in raw.iter().enumerate() {
        let path = path.item(position);
        let id = desk.required(&path, "id", raw.id.as_ref(), "give the key a name; it stands in every token it seals");
        let id = id.filter(|id| check_name(desk, &path.key("id"), id)).cloned();
        let help = "write it as env:NAME or file:/path; `openssl rand -base64 32` makes one";
        let text = desk.required(&path, "secret", raw.secret.as_ref(), help);
        let secret = text.and_then(|text| secret(desk, &path.key("secret"), text));
        let (Some(id), Some(secret)) = (id, secret) else { continue };
        if !names.insert(id.clone()) {
            desk.report(&path.key("id"), "this name is there already", "give every key a name of its own");
        }
        if keys.iter().any(|other| other.secret.expose() == secret.expose()) {
            desk.report(&path.key("secret"), "another key has the same secret", "make a new one for each");
        }
        keys.push(RingKey { id, secret });
    }
    keys
}

/// A secret that seals something: long enough for that.
pub fn secret(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<Secret> {
    let reference = desk.secret_reference(path, text)?;
    let secret = Secret::new(desk.fetch(path, &reference, true)?);
    if secret.expose().len() < MIN_SECRET_CHARACTERS {
        let help = format!("{MIN_SECRET_CHARACTERS} characters at least; `openssl rand -base64 32` makes a good one");
        desk.report(path, "the secret is too short to seal anything", help);
        return None;
    }
    Some(secret)
}

fn roles(desk: &mut Desk<'_>, path: &Path, raw: Option<&[String]>) -> Vec<String> {
    let roles = raw.unwrap_or_default();
    if raw.is_some() && roles.is_empty() && !desk.is_blurred(path) {
        desk.report(path, "the list is empty", "leave `roles` out to accept any, or write `enabled: false`");
    }
    for (position, role) in roles.iter().enumerate() {
        if !(20..=2048).contains(&role.len()) || !role.bytes().all(|byte| byte.is_ascii_graphic()) {
            let help = "write it as clients have it in AWS_ROLE_ARN, such as arn:aws:iam::000000000000:role/s3";
            desk.report(&path.item(position), "this is not the ARN of a role", help);
        }
    }
    roles.to_vec()
}
