//! What an allowed request must keep to: sizes, kinds of content, headers.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::super::forms::{HeaderWish, OneOrMany};
use super::super::path::Path;
use super::super::raw::{RawContent, RawHeaders, RawRule, RawSizes};
use super::super::suggest::did_you_mean;
use super::clients::{check_texts, text_path};
use super::desk::Desk;
use super::inspect::inspection;
use super::rates::rates;
use super::rules::{World, each};
use super::values::size;
use crate::auth::REPRESENTATION;
use crate::rules::settings::Terms;
use crate::s3::headers::{Disposition, disposition};
use crate::s3::operation::{Body, Level, Operation, OperationSpec};

/// Largest object of S3 for a long time; a larger limit is a mistake in the unit.
const MAX_OBJECT: u64 = 5 << 40;

/// The terms of an allow rule.
pub fn terms(desk: &mut Desk<'_>, path: &Path, raw: &RawRule, world: &World<'_>) -> Terms {
    let mut terms = Terms { response_overrides: raw.response_overrides.unwrap_or(false), ..Terms::default() };
    if let Some(raw) = &raw.limits {
        sizes(desk, &path.key("limits"), raw, &mut terms);
    }
    if let Some(raw) = &raw.content {
        content(desk, &path.key("content"), raw, &mut terms);
    }
    if let Some(raw) = &raw.inspect {
        terms.inspection = inspection(desk, &path.key("inspect"), raw, world).map(Arc::new);
    }
    if let Some(raw) = &raw.headers {
        headers(desk, &path.key("headers"), raw, &mut terms);
    }
    terms
}

fn sizes(desk: &mut Desk<'_>, path: &Path, raw: &RawSizes, terms: &mut Terms) {
    terms.min_size = size(desk, &path.key("min_size"), raw.min_size.as_ref(), 0, 0..=MAX_OBJECT);
    let max_path = path.key("max_size");
    terms.max_size = raw.max_size.as_ref().map(|text| size(desk, &max_path, Some(text), MAX_OBJECT, 1..=MAX_OBJECT));
    if terms.max_size.is_some_and(|max| max < terms.min_size) {
        desk.report(&max_path, "`max_size` is smaller than `min_size`", "no object could be written; exchange the two");
    }
    terms.rates_per_principal = rates(desk, &path.key("per_principal"), raw.per_principal.as_ref());
    terms.rates_together = rates(desk, &path.key("together"), raw.together.as_ref());
}

fn content(desk: &mut Desk<'_>, path: &Path, raw: &RawContent, terms: &mut Terms) {
    let any = "the list is what is accepted; remove the key to accept anything";
    for (key, list) in [("types", &raw.types), ("extensions", &raw.extensions)] {
        if let Some(list) = list {
            check_texts(desk, &path.key(key), list, any);
        }
    }
    for (position, text) in each(&raw.types).filter(|(_, text)| !text.is_empty()) {
        let media_type = text.to_ascii_lowercase();
        if is_media_range(&media_type) {
            terms.content_types.push(media_type);
        } else {
            report_text(
                desk,
                &path.key("types"),
                &raw.types,
                position,
                "this is not a media type",
                "write it like image/png or \"image/*\", without parameters",
            );
        }
    }
    for (position, text) in each(&raw.extensions).filter(|(_, text)| !text.is_empty()) {
        let extension = text.to_ascii_lowercase();
        if extension.len() <= 32 && extension.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+~".contains(&b)) {
            terms.extensions.push(extension);
        } else {
            let help = "write what follows the last dot of the name: `png`, not `.png`; `gz`, not `tar.gz`";
            report_text(
                desk,
                &path.key("extensions"),
                &raw.extensions,
                position,
                "this is not a file name extension",
                help,
            );
        }
    }
    terms.check_bytes = raw.check_bytes.unwrap_or(false);
    terms.signed_payload = raw.signed_payload.unwrap_or(false);
}

fn report_text(desk: &mut Desk<'_>, path: &Path, list: &Option<OneOrMany>, position: usize, message: &str, help: &str) {
    let path = list.as_ref().map_or_else(|| path.clone(), |list| text_path(path, list, position));
    desk.report(&path, message, help);
}

/// `type/subtype` or `type/*`, in the letters of RFC 6838.
fn is_media_range(text: &str) -> bool {
    let name = |part: &str| {
        let mut bytes = part.bytes();
        part.len() <= 127
            && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, subtype)| name(kind) && (subtype == "*" || name(subtype)))
}

/// Headers that carry the client's credential, or say how the message is framed, signed or checked: the gateway makes its own.
const OWN: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-amz-security-token",
    "host",
    "date",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "content-length",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "content-md5",
    "user-agent",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-user-agent",
    "x-amz-api-version",
];

/// Families of the same kind, and those that would make another request of it: a copy of any object the gateway can read.
const OWN_FAMILIES: &[&str] = &["x-amz-checksum-", "x-amz-copy-source", "x-forwarded-", "amz-sdk-", "sec-"];

fn is_own(name: &str) -> bool {
    OWN.contains(&name) || OWN_FAMILIES.iter().any(|family| name.starts_with(family))
}

fn headers(desk: &mut Desk<'_>, path: &Path, raw: &RawHeaders, terms: &mut Terms) {
    let mut seen = BTreeSet::new();
    for (text, wish) in &raw.require {
        let path = path.key("require").key(text);
        let Some(name) = header_name(desk, &path, text, &mut seen) else { continue };
        let value = match wish {
            HeaderWish::Any => Some(None),
            HeaderWish::Exact(text) => header_value(desk, &path, text).map(Some),
        };
        let Some(value) = value else { continue };
        check_required(desk, &path, &name, value.as_ref());
        terms.require_headers.push((name, value));
    }
    let mut seen = BTreeSet::new();
    for (text, value) in &raw.set {
        let path = path.key("set").key(text);
        let Some(name) = header_name(desk, &path, text, &mut seen) else { continue };
        let Some(value) = header_value(desk, &path, value) else { continue };
        if is_own(name.as_str()) || name.as_str().contains("customer-key") {
            let help = "the gateway makes it itself, or it would change what the request is";
            desk.report_key(&path, format!("`{name}` cannot be set"), help);
        } else {
            check_known(desk, &path, &name, &value);
        }
        terms.set_headers.push((name, value));
    }
    if let Some(list) = &raw.allow {
        check_texts(desk, &path.key("allow"), list, "name the headers that clients may send, or remove the key");
    }
    let mut seen = BTreeSet::new();
    for (position, text) in each(&raw.allow).filter(|(_, text)| !text.is_empty()) {
        let path =
            raw.allow.as_ref().map_or_else(|| path.clone(), |list| text_path(&path.key("allow"), list, position));
        let Some(name) = header_name(desk, &path, text, &mut seen) else { continue };
        check_allowed(desk, &path, &name);
        terms.allow_headers.push(name);
    }
}

fn header_name(desk: &mut Desk<'_>, path: &Path, text: &str, seen: &mut BTreeSet<String>) -> Option<HeaderName> {
    let name: Option<HeaderName> = text.parse().ok();
    match &name {
        None => desk.report_key(path, "this is not the name of a header", "write it like x-amz-storage-class"),
        Some(name) if !seen.insert(name.as_str().to_owned()) => {
            desk.report_key(
                path,
                format!("`{name}` is there twice"),
                "upper and lower case are the same header; keep one",
            );
        }
        Some(_) => {}
    }
    name
}

fn header_value(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<HeaderValue> {
    // Signatures trim blanks, so a value with them at its ends would never be what was signed.
    let plain = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && text.trim() == text && !text.is_empty();
    let value = HeaderValue::from_str(text).ok().filter(|_| plain);
    if value.is_none() {
        desk.report(
            path,
            "this cannot be the value of a header",
            "write plain ASCII text without blanks at its ends; `null` in `require` means any value",
        );
    }
    value
}

/// The operations that write objects.
fn writes() -> impl Iterator<Item = &'static OperationSpec> {
    let of_object = Operation::all().filter(|spec| spec.level == Level::Object);
    of_object.filter(|spec| spec.body == Body::Object || spec.name == "CreateMultipartUpload")
}

fn report_unknown(desk: &mut Desk<'_>, path: &Path, name: &str) {
    let known = writes().flat_map(|spec| spec.headers).copied();
    let help = format!("{}metadata of your own begins with x-amz-meta-", did_you_mean(name, known));
    desk.report_key(path, format!("no write has a header `{name}`"), help);
}

/// What a write can be required to carry: a header that the gateway passes on, or would under some rule.
fn check_required(desk: &mut Desk<'_>, path: &Path, name: &HeaderName, value: Option<&HeaderValue>) {
    let any = HeaderValue::from_static("any");
    let fates: Vec<_> = writes().map(|spec| disposition(spec, name.as_str(), value.unwrap_or(&any))).collect();
    let is_seen = |fate: &Disposition| !matches!(fate, Disposition::Drop | Disposition::Refuse);
    if is_own(name.as_str()) && !fates.iter().any(is_seen) {
        desk.report_key(
            path,
            format!("`{name}` cannot be required"),
            "the gateway reads it and checks what there is to check",
        );
    } else if !writes().any(|spec| spec.headers.contains(&name.as_str())) && !fates.iter().any(is_seen) {
        report_unknown(desk, path, name.as_str());
    } else if !fates.iter().any(is_seen) {
        desk.report_key(
            path,
            format!("`{name}` with this value cannot be required"),
            "the gateway drops or refuses it, so no write could be accepted",
        );
    }
}

/// A header that no write knows is a typing mistake.
fn check_known(desk: &mut Desk<'_>, path: &Path, name: &HeaderName, value: &HeaderValue) {
    let is_metadata = name.as_str().starts_with("x-amz-meta-");
    let known = writes().any(|spec| match is_metadata {
        true => disposition(spec, name.as_str(), value) == Disposition::Pass,
        false => spec.headers.contains(&name.as_str()),
    });
    if !known {
        report_unknown(desk, path, name.as_str());
    }
}

/// `allow` is for headers that are refused by default; the rest would be a line without effect that somebody relies on.
fn check_allowed(desk: &mut Desk<'_>, path: &Path, name: &HeaderName) {
    let any = HeaderValue::from_static("any");
    let knowing = || Operation::all().filter(|spec| spec.headers.contains(&name.as_str()));
    let found: Vec<Disposition> = knowing().map(|spec| disposition(spec, name.as_str(), &any)).collect();
    // Those about the key of a copied object say nothing about which object it is.
    if is_own(name.as_str()) && !name.as_str().contains("-customer-") {
        desk.report(
            path,
            format!("`{name}` cannot be allowed"),
            "the gateway reads it or makes its own; it is never passed on",
        );
    } else if found.contains(&Disposition::NeedsAllow) || REPRESENTATION.contains(name) {
    } else if let Some(Disposition::NeedsAction(action)) =
        found.iter().find(|one| matches!(one, Disposition::NeedsAction(_)))
    {
        desk.report(path, format!("`{name}` needs a right of its own"), format!("add `{action}` to `what` instead"));
    } else if found.contains(&Disposition::Pass) || name.as_str().starts_with("x-amz-meta-") {
        desk.report(
            path,
            format!("`{name}` is passed on anyway"),
            "remove it; `allow` is for headers that are refused by default",
        );
    } else {
        let refusable = Operation::all().flat_map(|spec| spec.headers.iter().map(move |name| (spec, *name)));
        let candidates = refusable
            .filter(|(spec, name)| disposition(spec, name, &any) == Disposition::NeedsAllow)
            .map(|(_, name)| name);
        let help = format!(
            "{}only headers of S3 writes and reads that the gateway can carry over can be allowed",
            did_you_mean(name.as_str(), candidates)
        );
        desk.report(path, format!("`{name}` cannot be allowed"), help);
    }
}
