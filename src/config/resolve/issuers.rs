//! `clients.issuers`: whose JWTs are accepted, and how much of them is believed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::JwkSet;

use super::super::forms::RawKeys;
use super::super::path::Path;
use super::super::raw::{RawIssuer, RawKeyPlace};
use super::super::suggest::did_you_mean;
use super::clients::{KnownClient, KnownClients, check_attribute_name, check_texts};
use super::desk::Desk;
use super::pem;
use super::values::{WebAddress, absolute, check_name, duration};
use crate::auth::{IssuerSettings, KeySource};
use crate::base::authority::is_host;
use crate::rules::settings::Client;

/// The issuers without those that have a problem.
pub fn issuers(desk: &mut Desk<'_>, path: &Path, raw: &[RawIssuer], known: &mut KnownClients) -> Vec<IssuerSettings> {
    let mut issuers: Vec<IssuerSettings> = Vec::new();
    for (position, raw) in raw.iter().enumerate() {
        let path = path.item(position);
        let name = name(desk, &path, raw);
        match &name {
            Some(name) => known.add(desk, &path.key("name"), issuer_client(name, raw)),
            None => known.complete = false,
        }
        known.complete &= !desk.is_blurred(&path) && !desk.is_blurred(&path.key("attributes"));
        let Some(issuer) = issuer(desk, &path, raw, name) else { continue };
        if let Some(other) = issuers.iter().find(|other| other.issuer == issuer.issuer) {
            desk.report(
                &path.key("issuer"),
                format!("the issuer `{}` has the same URL", other.name),
                "a token must have one issuer; join the two",
            );
        }
        issuers.push(issuer);
    }
    issuers
}

fn issuer_client(name: &str, raw: &RawIssuer) -> KnownClient {
    let own = ["sub", "issuer"].into_iter().map(str::to_owned);
    let attributes: BTreeSet<String> = raw.attributes.keys().cloned().chain(own).collect();
    let plain = attributes.clone();
    KnownClient { client: Client::Issuer(name.to_owned()), attributes, plain }
}

/// What stands before the colon in principals of another kind.
const RESERVED_NAMES: &[&str] = &["token", "key", "listener", "certificate", "spiffe"];

fn name(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer) -> Option<String> {
    let name = desk.required(path, "name", raw.name.as_ref(), "give the issuer a name for rules and audit records")?;
    let path = path.key("name");
    // The principal of a JWT is `issuer name:subject`, the one of an app token `token:name`, that of an access key `key:name`.
    if RESERVED_NAMES.contains(&name.as_str()) {
        desk.report(
            &path,
            format!("an issuer cannot be called `{name}`"),
            format!("its principals would look like those of a {name} in audit records; choose another name"),
        );
        return None;
    }
    check_name(desk, &path, name).then(|| name.clone())
}

fn issuer(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer, name: Option<String>) -> Option<IssuerSettings> {
    let issuer = issuer_url(desk, path, raw);
    let audiences = audiences(desk, path, raw);
    let algorithms = algorithms(desk, path, raw);
    let keys = keys(desk, path, raw);
    let jwks_hosts = jwks_hosts(desk, path, raw);
    let jwks_token = jwks_token(desk, &path.key("jwks_token_file"), raw);
    let ca_path = path.key("ca_file");
    let ca_file = pem::authorities(desk, &ca_path, raw.ca_file.as_ref());
    let principal_claim = raw.principal.clone().unwrap_or_else(|| "sub".to_owned());
    if principal_claim.is_empty() {
        desk.report(
            &path.key("principal"),
            "the name of the claim is empty",
            "write the claim that names the principal, such as `sub` or `email`",
        );
    }
    check_claims(desk, path, raw);
    let leeway = duration(
        desk,
        &path.key("leeway"),
        raw.leeway.as_ref(),
        Duration::from_secs(30),
        Duration::ZERO..=Duration::from_secs(60),
    );
    Some(IssuerSettings {
        name: name?,
        issuer: issuer?,
        audiences: audiences?,
        algorithms: algorithms?,
        keys: keys?,
        jwks_hosts,
        jwks_token,
        ca_file,
        required: raw.required.unwrap_or(true),
        token_types: token_types(desk, path, raw),
        required_claims: raw
            .required_claims
            .iter()
            .map(|(claim, values)| (claim.clone(), values.texts().to_vec()))
            .collect(),
        principal_claim,
        attributes: raw.attributes.clone(),
        leeway,
    })
}

fn issuer_url(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer) -> Option<String> {
    let help = "write the exact `iss` of its tokens, such as https://idp.example.com/";
    let text = desk.required(path, "issuer", raw.issuer.as_ref(), help)?;
    web_address(desk, &path.key("issuer"), text, help).then(|| text.clone())
}

/// Keys fetched over clear text could be anybody's. Loopback stays open for tests.
fn web_address(desk: &mut Desk<'_>, path: &Path, text: &str, help: &str) -> bool {
    let message = match WebAddress::parse(text) {
        Ok(address) if address.tls || address.is_loopback() => return true,
        Ok(_) => "the address must begin with https://",
        Err(message) => message,
    };
    desk.report(path, message, help);
    false
}

fn audiences(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer) -> Option<Vec<String>> {
    let help =
        "write the `aud` value that tokens for this gateway carry; without it a token for any other service would do";
    let values = desk.required(path, "audience", raw.audience.as_ref(), help)?;
    check_texts(desk, &path.key("audience"), values, help);
    Some(values.texts().to_vec())
}

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

fn algorithms(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer) -> Option<Vec<Algorithm>> {
    let help = "write the algorithms that the issuer signs with, such as [RS256] or [ES256]";
    let words = desk.required(path, "algorithms", raw.algorithms.as_ref(), help)?;
    let path = path.key("algorithms");
    if words.is_empty() && !desk.is_blurred(&path) {
        desk.report(&path, "the list is empty", help);
    }
    let mut algorithms = Vec::new();
    for (position, word) in words.iter().enumerate() {
        let known = ALGORITHMS.iter().find(|(name, _)| name == word);
        let shared = word.to_ascii_uppercase().starts_with("HS") || word.eq_ignore_ascii_case("none");
        match known {
            Some((_, algorithm)) => algorithms.push(*algorithm),
            None if shared => {
                let help = "use an algorithm with a key pair, such as RS256 or ES256";
                desk.report(
                    &path.item(position),
                    "anybody who can check such a signature, or none, can also make it",
                    help,
                );
            }
            None => {
                let help = format!("{}{help}", did_you_mean(word, ALGORITHMS.iter().map(|(name, _)| *name)));
                desk.report(&path.item(position), "this is not a signature algorithm", help);
            }
        }
    }
    Some(algorithms).filter(|found| !found.is_empty())
}

fn keys(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer) -> Option<KeySource> {
    let path = path.key("keys");
    let help = "write `discovery`, `{ url: https://… }` or `{ file: /path }`";
    match &raw.keys {
        None if desk.is_written(&path) => None,
        None => Some(KeySource::Discovery),
        Some(RawKeys::Word(word)) if word == "discovery" => Some(KeySource::Discovery),
        Some(RawKeys::At(RawKeyPlace { url: Some(url), file: None })) => {
            web_address(desk, &path.key("url"), url, "write the address of the JWKS document")
                .then(|| KeySource::Url(url.clone()))
        }
        Some(RawKeys::At(RawKeyPlace { url: None, file: Some(file) })) => key_file(desk, &path.key("file"), file),
        Some(RawKeys::At(_)) if desk.is_blurred(&path) => None,
        Some(_) => {
            desk.report(&path, "this is not a place of keys", help);
            None
        }
    }
}

fn key_file(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<KeySource> {
    let file = absolute(desk, path, text)?;
    let document = desk.read_file(path, &file)?;
    let usable = serde_json::from_str::<JwkSet>(&document).is_ok_and(|set| !set.keys.is_empty());
    if !usable {
        desk.report(
            path,
            format!("{} is not a JWKS document with a key", file.display()),
            "the file must be JSON such as {\"keys\": [{\"kty\": …}]}",
        );
    }
    usable.then_some(KeySource::File(file))
}

fn jwks_hosts(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer) -> Vec<String> {
    let path = path.key("jwks_hosts");
    let Some(hosts) = &raw.jwks_hosts else { return Vec::new() };
    if !matches!(&raw.keys, None | Some(RawKeys::Word(_))) {
        desk.report(
            &path,
            "`jwks_hosts` does nothing without `keys: discovery`",
            "remove it; the place of the keys is written already",
        );
    }
    for (position, host) in hosts.iter().enumerate() {
        if !is_host(host) {
            desk.report(
                &path.item(position),
                "this is not a host name",
                "write the name alone, such as www.googleapis.com",
            );
        }
    }
    hosts.iter().map(|host| host.to_ascii_lowercase()).collect()
}

/// The file of the token that is shown to get the keys. It is read when they are fetched, and may not be there yet.
fn jwks_token(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer) -> Option<PathBuf> {
    let text = raw.jwks_token_file.as_ref()?;
    if !matches!(&raw.keys, Some(RawKeys::At(RawKeyPlace { url: Some(_), .. }))) {
        let help = "write `keys: { url: https://kubernetes.default.svc/openid/v1/jwks }`, or remove the key";
        desk.report_key(path, "the token is for the URL of the keys, and there is none", help);
    }
    absolute(desk, path, text)
}

fn token_types(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer) -> Vec<String> {
    let path = path.key("token_types");
    let Some(types) = &raw.token_types else { return Vec::new() };
    if types.is_empty() && !desk.is_blurred(&path) {
        desk.report(&path, "the list is empty", "remove it to accept the usual types, or name those that are accepted");
    }
    let bare = |text: &String| {
        let text = text.to_ascii_lowercase();
        text.strip_prefix("application/").map(str::to_owned).unwrap_or(text)
    };
    for (position, text) in types.iter().enumerate() {
        if bare(text).is_empty() {
            desk.report(&path.item(position), "the text is empty", "write the `typ` of the token head, such as at+jwt");
        }
    }
    types.iter().map(bare).collect()
}

/// Claims whose checks have keys of their own.
const CHECKED_CLAIMS: &[(&str, &str)] =
    &[("iss", "issuer"), ("aud", "audience"), ("exp", "leeway"), ("nbf", "leeway"), ("iat", "leeway")];

fn check_claims(desk: &mut Desk<'_>, path: &Path, raw: &RawIssuer) {
    for (claim, values) in &raw.required_claims {
        let path = path.key("required_claims").key(claim);
        if let Some((_, key)) = CHECKED_CLAIMS.iter().find(|(name, _)| name == claim) {
            desk.report_key(&path, format!("`{claim}` is always checked"), format!("remove it; `{key}` says how"));
        }
        check_texts(desk, &path, values, "write the value or values that are accepted");
    }
    for (name, claim) in &raw.attributes {
        let path = path.key("attributes").key(name);
        check_attribute_name(desk, &path, name, &["token", "key", "issuer", "listener", "certificate", "sub"]);
        if claim.is_empty() {
            desk.report(&path, "the name of the claim is empty", "write the claim that the attribute comes from");
        }
    }
}
