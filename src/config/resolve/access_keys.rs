//! `clients.access_keys` and `clients.signing`.

use super::super::path::Path;
use super::super::raw::RawConfig;
use super::super::raw_signing::{RawAccessKey, RawUnsignedPayload};
use super::clients::{KnownClient, KnownClients, attributes, instant, plain_attributes};
use super::credentials::value;
use super::desk::Desk;
use super::values::{check_name, duration};
use crate::auth::{AccessKeySettings, Attributes, SigningSettings, UnsignedPayload};
use crate::base::authority::is_host;
use crate::rules::settings::Client;
use crate::sign::credentials::CredentialSource;
use crate::upstream::UpstreamSettings;

/// A secret that can be guessed can be found from one signed request.
const MIN_SECRET_BYTES: usize = 20;

/// The access keys of the file.
pub fn access_keys(
    desk: &mut Desk<'_>,
    path: &Path,
    raw: &[RawAccessKey],
    known: &mut KnownClients,
) -> Vec<AccessKeySettings> {
    let mut keys: Vec<AccessKeySettings> = Vec::new();
    for (position, raw) in raw.iter().enumerate() {
        let path = path.item(position);
        let name = desk.required(&path, "name", raw.name.as_ref(), "give the key a name for rules and audit records");
        let name = name.filter(|name| check_name(desk, &path.key("name"), name)).cloned();
        let id = key_id(desk, &path, raw);
        let secret = secret(desk, &path, raw);
        let expires = raw.expires.as_ref().map(|text| instant(desk, &path.key("expires"), text));
        let attributes = attributes(desk, &path.key("attributes"), &raw.attributes);
        let Some(name) = name else {
            known.complete = false;
            continue;
        };
        known.add(desk, &path.key("name"), key_client(&name, &attributes));
        known.complete &= !desk.is_blurred(&path) && !desk.is_blurred(&path.key("attributes"));
        let expires = expires.map_or(Some(None), |instant| instant.map(Some));
        let (Some(id), Some(secret), Some(expires)) = (id, secret, expires) else { continue };
        if let Some(other) = keys.iter().find(|other| other.id == id) {
            let help = "give each an id of its own; `countersign access-key NAME` makes one";
            desk.report(&path.key("id"), format!("the access key `{}` has the same id", other.name), help);
        }
        keys.push(AccessKeySettings { name, id, secret, expires, attributes });
    }
    keys
}

fn key_client(name: &str, attributes: &Attributes) -> KnownClient {
    let mut plain = plain_attributes(attributes);
    plain.insert("key".to_owned());
    let attributes = attributes.keys().cloned().chain(["key".to_owned()]).collect();
    KnownClient { client: Client::Key(name.to_owned()), attributes, plain }
}

fn key_id(desk: &mut Desk<'_>, path: &Path, raw: &RawAccessKey) -> Option<String> {
    let help = "write 3 to 128 letters, digits, `-`, `_` or `.`; `countersign access-key NAME` makes one";
    let id = desk.required(path, "id", raw.id.as_ref(), help)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let good = (3..=128).contains(&id.len()) && id.bytes().all(plain);
    if !good {
        desk.report(&path.key("id"), "this cannot be an access key id", help);
    }
    good.then(|| id.clone())
}

fn secret(desk: &mut Desk<'_>, path: &Path, raw: &RawAccessKey) -> Option<crate::base::Secret> {
    let help = "write env:NAME or file:/path; `countersign access-key NAME` makes a secret";
    let text = desk.required(path, "secret", raw.secret.as_ref(), help)?;
    let (_, secret) = value(desk, &path.key("secret"), text)?;
    if secret.expose().len() < MIN_SECRET_BYTES {
        desk.report(
            &path.key("secret"),
            format!("the secret has less than {MIN_SECRET_BYTES} characters"),
            "make one with `countersign access-key NAME`: who sees one signed request can try short ones",
        );
        return None;
    }
    Some(secret)
}

/// Refuses a key of the gateway as its credential at a store: a request would go round until nothing is left (K17).
pub fn check_loops<'a>(
    desk: &mut Desk<'_>,
    keys: &[AccessKeySettings],
    upstreams: impl Iterator<Item = &'a UpstreamSettings>,
) {
    for upstream in upstreams {
        let CredentialSource::Static { access_key_id, .. } = upstream.credentials.source.base() else { continue };
        if keys.iter().any(|key| key.id == access_key_id.expose()) {
            let path = Path::top().key("upstreams").key(&upstream.name).key("credentials");
            desk.report(
                &path,
                "this is an access key of the gateway itself",
                "write the credential that the store has made for the gateway",
            );
        }
    }
}

/// What signed requests must keep to.
pub fn signing(desk: &mut Desk<'_>, path: &Path, config: &RawConfig) -> SigningSettings {
    let raw = &config.clients.signing;
    let defaults = SigningSettings::default();
    let second = std::time::Duration::from_secs(1);
    let (max_skew, max_presigned) = (SigningSettings::MAX_SKEW, SigningSettings::MAX_PRESIGNED);
    SigningSettings {
        regions: regions(desk, path, config),
        clock_skew: duration(
            desk,
            &path.key("clock_skew"),
            raw.clock_skew.as_ref(),
            defaults.clock_skew,
            second..=max_skew,
        ),
        presigned_expiry: duration(
            desk,
            &path.key("presigned_expiry"),
            raw.presigned_expiry.as_ref(),
            defaults.presigned_expiry,
            second..=max_presigned,
        ),
        unsigned_payload: match raw.unsigned_payload {
            Some(RawUnsignedPayload::Tls) => UnsignedPayload::Tls,
            Some(RawUnsignedPayload::Loopback) => UnsignedPayload::Loopback,
            Some(RawUnsignedPayload::Anywhere) => UnsignedPayload::Anywhere,
            None => defaults.unsigned_payload,
        },
        host: host(desk, path, config),
    }
}

fn regions(desk: &mut Desk<'_>, path: &Path, config: &RawConfig) -> Vec<String> {
    let Some(written) = &config.clients.signing.regions else {
        let upstreams = config.upstreams.iter().flatten();
        let mut regions: Vec<String> = Vec::new();
        for region in upstreams.filter_map(|(_, raw)| raw.region.clone()).chain(["us-east-1".to_owned()]) {
            if !regions.contains(&region) {
                regions.push(region);
            }
        }
        return regions;
    };
    if written.texts() == ["*"] {
        return Vec::new();
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let good = |text: &String| (1..=64).contains(&text.len()) && text.bytes().all(plain);
    if (written.texts().is_empty() || !written.texts().iter().all(good)) && !desk.is_blurred(&path.key("regions")) {
        desk.report(
            &path.key("regions"),
            "these are not names of regions",
            "write one or a list such as [eu-central-1, us-east-1], or \"*\" alone for any",
        );
    }
    written.texts().to_vec()
}

fn host(desk: &mut Desk<'_>, path: &Path, config: &RawConfig) -> Option<String> {
    let host = config.clients.signing.host.as_ref()?;
    let (name, port) = host.split_once(':').map_or((host.as_str(), None), |(name, port)| (name, Some(port)));
    if !is_host(name) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        desk.report(&path.key("host"), "this is not a host", "write it as clients send it, such as s3.example.com");
    }
    // The `Host` that comes would name the bucket, and the signature would cover another: one for `a.s3.example.com` would open `b`.
    if config.domains.is_some() {
        desk.report(
            &path.key("host"),
            "`clients.signing.host` does not go with `domains`: the host that names the bucket would not be signed",
            "let the proxy hand on `Host` and remove `clients.signing.host`, or remove `domains`",
        );
    }
    Some(host.clone())
}
