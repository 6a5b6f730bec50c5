//! `credentials` of an upstream: by reference, never in the file, never a published example.

use std::path::PathBuf;

use super::super::forms::OneOrMany;
use super::super::path::Path;
use super::super::raw_credentials::RawCredentials;
use super::super::suggest::{did_you_mean, listed};
use super::desk::{Desk, Reference};
use super::platform;
use super::values::absolute;
use crate::base::Secret;
use crate::sign::credentials::{Assumed, CredentialSource};

/// Where an upstream's credentials come from; every value is read once to see that it is there.
pub fn credentials(desk: &mut Desk<'_>, path: &Path, raw: &RawCredentials, region: &str) -> Option<CredentialSource> {
    let base = base(desk, path, raw, region);
    match &raw.assume_role {
        None => base,
        Some(role) => {
            let role = platform::assume_role(desk, &path.key("assume_role"), role, region);
            let (base, role) = (base?, role?);
            Some(CredentialSource::Assumed(Box::new(Assumed { base, role })))
        }
    }
}

fn base(desk: &mut Desk<'_>, path: &Path, raw: &RawCredentials, region: &str) -> Option<CredentialSource> {
    let has_keys = raw.access_key_id.is_some() || raw.secret_access_key.is_some() || raw.session_token.is_some();
    let has_profile = raw.profile.is_some() || raw.file.is_some();
    match (has_keys, has_profile, &raw.platform) {
        (true, false, None) => keys(desk, path, raw),
        (false, true, None) => profile(desk, path, raw),
        (false, false, Some(raw)) => platform::platform(desk, &path.key("platform"), raw, region),
        (false, false, None) => {
            if !desk.is_blurred(path) {
                desk.report(
                    path,
                    "there is no credential here",
                    "write `access_key_id` and `secret_access_key` as env:NAME or file:/path, or `profile`, or `platform`",
                );
            }
            None
        }
        _ => {
            desk.report(
                path,
                "there are two credentials here",
                "keep either `access_key_id` and `secret_access_key`, or `profile` and `file`, or `platform`",
            );
            None
        }
    }
}

/// What seals upload ids, if it is not to be the credential itself.
pub fn seal_keys(desk: &mut Desk<'_>, path: &Path, raw: Option<&OneOrMany>) -> Vec<Secret> {
    let texts = raw.map(OneOrMany::texts).unwrap_or_default();
    if raw.is_some() && texts.is_empty() && !desk.is_blurred(path) {
        desk.report(path, "the list is empty", "leave it out, or write env:NAME or file:/path");
    }
    let mut keys = Vec::new();
    for (position, text) in texts.iter().enumerate() {
        let path = if matches!(raw, Some(OneOrMany::Many(_))) { path.item(position) } else { path.clone() };
        keys.extend(super::sts::secret(desk, &path, text));
    }
    keys
}

fn keys(desk: &mut Desk<'_>, path: &Path, raw: &RawCredentials) -> Option<CredentialSource> {
    let help = "write it as env:NAME or file:/path";
    let id = desk.required(path, "access_key_id", raw.access_key_id.as_ref(), help);
    let secret = desk.required(path, "secret_access_key", raw.secret_access_key.as_ref(), help);
    let id = id.and_then(|text| value(desk, &path.key("access_key_id"), text));
    let secret = secret.and_then(|text| value(desk, &path.key("secret_access_key"), text));
    let token = match &raw.session_token {
        Some(text) => Some(value(desk, &path.key("session_token"), text)?),
        None => None,
    };
    match (id?, secret?, token) {
        ((Reference::File(id), _), (Reference::File(secret), _), None) => {
            Some(CredentialSource::Files { access_key_id: id, secret_access_key: secret, session_token: None })
        }
        ((Reference::File(id), _), (Reference::File(secret), _), Some((Reference::File(token), _))) => {
            Some(CredentialSource::Files { access_key_id: id, secret_access_key: secret, session_token: Some(token) })
        }
        ((_, id), (_, secret), token) => {
            let session_token = token.map(|(_, token)| token);
            Some(CredentialSource::Static { access_key_id: id, secret_access_key: secret, session_token })
        }
    }
}

/// The reference, and what it stands for now.
pub fn value(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<(Reference, Secret)> {
    let reference = desk.secret_reference(path, text)?;
    let value = Secret::new(desk.fetch(path, &reference, true)?);
    check_value(desk, path, value.expose()).then_some((reference, value))
}

fn check_value(desk: &mut Desk<'_>, path: &Path, value: &str) -> bool {
    if !value.bytes().all(|b| b.is_ascii_graphic()) {
        desk.report(
            path,
            "the value it refers to is not one word of plain characters",
            "it must hold the bare value: no quotes, no `key=`, no second line",
        );
        return false;
    }
    if is_published(value) {
        desk.report(
            path,
            "the value it refers to is a published example that anybody can try",
            "make a credential of its own for the gateway in the store",
        );
        return false;
    }
    true
}

/// Credentials out of manuals and images: if one of them works, the store is open to everybody.
const PUBLISHED: &[&str] = &[
    "minioadmin",
    "minio",
    "minio123",
    "rustfsadmin",
    "garageadmin",
    "weedadmin",
    "admin",
    "root",
    "password",
    "secret",
    "test",
    "testing",
    "demo",
    "changeme",
    "change-me",
    "example",
    "accesskey",
    "secretkey",
    "access_key",
    "secret_key",
    "access-key",
    "secret-key",
    "access_key_id",
    "secret_access_key",
    "foobar",
    "12345678",
    "wjalrxutnfemi/k7mdeng/bpxrficyexamplekey",
    "wjalrxutnfemi/k7mdeng+bpxrficyexamplekey",
    "je7mtgbclwbf/2zp9utk/h3ycoh8nvbexamplekey",
];

fn is_published(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    // AKIAIOSFODNN7EXAMPLE, AKIAI44QH8DHBEXAMPLE, ASIAIOSFODNN7EXAMPLE and the secrets next to them.
    PUBLISHED.contains(&value.as_str()) || value.ends_with("example") || value.ends_with("examplekey")
}

fn profile(desk: &mut Desk<'_>, path: &Path, raw: &RawCredentials) -> Option<CredentialSource> {
    let file_path = path.key(if raw.file.is_some() { "file" } else { "profile" });
    let file = profile_file(desk, &file_path, raw.file.as_deref())?;
    let text = desk.read_secret_file(&file_path, &file)?;
    let profile = raw.profile.as_deref().unwrap_or("default");
    let profile_path = path.key(if raw.profile.is_some() { "profile" } else { "file" });
    let sections = sections(&text);
    let Some((_, entries)) = sections.iter().find(|(name, _)| *name == profile) else {
        let names = sections.iter().map(|(name, _)| *name);
        let help = format!("{}the file has: {}", did_you_mean(profile, names.clone()), listed(names));
        desk.report(&profile_path, format!("{} has no profile `{profile}`", file.display()), help);
        return None;
    };
    let mut complete = true;
    for key in ["aws_access_key_id", "aws_secret_access_key"] {
        match entries.iter().find(|(name, _)| *name == key) {
            Some((_, value)) if !value.is_empty() => complete &= check_value(desk, &profile_path, value),
            _ => {
                let help =
                    format!("add it below [{profile}]; a profile that assumes a role or logs in is not understood");
                desk.report(&profile_path, format!("the profile `{profile}` has no {key}"), help);
                complete = false;
            }
        }
    }
    complete.then(|| CredentialSource::Profile { file, profile: profile.to_owned() })
}

fn profile_file(desk: &mut Desk<'_>, path: &Path, written: Option<&str>) -> Option<PathBuf> {
    let home = |desk: &Desk<'_>| desk.env("HOME").filter(|home| home.starts_with('/')).map(PathBuf::from);
    let help = "write the path of the credentials file, beginning with `/`";
    match (written, desk.env("AWS_SHARED_CREDENTIALS_FILE").filter(|file| !file.is_empty())) {
        (Some(text), _) => match text.strip_prefix("~/") {
            None => absolute(desk, path, text),
            Some(rest) => {
                let home = home(desk);
                if home.is_none() {
                    desk.report(path, "the environment variable HOME is not set, so `~` means nothing", help);
                }
                home.map(|home| home.join(rest))
            }
        },
        (None, Some(file)) => absolute(desk, path, &file),
        (None, None) => {
            let home = home(desk);
            if home.is_none() {
                desk.report(
                    path,
                    "the credentials file is not known: `file`, AWS_SHARED_CREDENTIALS_FILE and HOME are not set",
                    help,
                );
            }
            home.map(|home| home.join(".aws/credentials"))
        }
    }
}

type Section<'a> = (&'a str, Vec<(&'a str, &'a str)>);

/// The sections of an AWS credentials file with their `key = value` lines.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        // As strict as the reader at run time.
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push((name, Vec::new()));
        } else if let (Some((key, value)), Some((_, entries))) = (line.split_once('='), sections.last_mut()) {
            entries.push((key.trim(), value.trim()));
        }
    }
    sections
}
