//! `platform` and `assume_role` of an upstream's credentials: who is asked, and for what.
//!
//! Says nothing about whether anybody answers, and nothing about an environment that lacks something: a file is often checked elsewhere
//! than it is used.

use std::net::IpAddr;
use std::time::Duration;

use super::super::path::Path;
use super::super::raw_credentials::{RawAssumeRole, RawPlatform, RawPlatformSource};
use super::desk::{Desk, Reference};
use super::pem;
use super::values::{WebAddress, absolute, duration};
use crate::sign::credentials::{
    AssumeRole, CredentialSource, HAS_PLATFORM, Platform, PlatformKind, StsEndpoint, WebIdentity,
};

/// Longest session policy that STS takes.
const MAX_POLICY_CHARACTERS: usize = 2048;
/// As STS has it.
const MAX_TAGS: usize = 50;
const DEFAULT_SESSION: &str = "countersign";
const HOUR: Duration = Duration::from_secs(3600);

/// Whether this build can do what is asked; else that is the only problem.
pub fn is_built_in(desk: &mut Desk<'_>, path: &Path) -> bool {
    if !HAS_PLATFORM {
        desk.report(
            path,
            "this build of countersign cannot ask a platform or STS for credentials",
            "use the image or a release, or build with `--features aws-chain`",
        );
    }
    HAS_PLATFORM
}

/// The platform's credentials.
pub fn platform(desk: &mut Desk<'_>, path: &Path, raw: &RawPlatform, region: &str) -> Option<CredentialSource> {
    use RawPlatformSource as Source;
    let help = "write one of default-chain, environment, profile, web-identity, ecs, pod-identity, imds, process";
    let source = desk.required(path, "source", raw.source, help);
    if !is_built_in(desk, path) {
        return None;
    }
    let source = source?;
    check_fit(desk, path, raw, source);
    let ca_file = pem::authorities(desk, &path.key("ca_file"), raw.ca_file.as_ref());
    let region = sts_region(desk, raw.region.as_ref(), region);
    let kind = match source {
        Source::DefaultChain => PlatformKind::DefaultChain {
            profile: raw.profile.clone(),
            web_identity: web_identity(desk, path, raw, &region, ca_file.as_ref())?,
            imds_endpoint: imds_endpoint(desk, path, raw)?,
        },
        Source::Environment => PlatformKind::Environment,
        Source::Profile => PlatformKind::Profile(raw.profile.clone()),
        Source::WebIdentity => PlatformKind::WebIdentity(web_identity(desk, path, raw, &region, ca_file.as_ref())?),
        Source::Ecs | Source::PodIdentity => PlatformKind::Container,
        Source::Imds => PlatformKind::Imds(imds_endpoint(desk, path, raw)?),
        Source::Process => PlatformKind::Process(command(desk, path, raw)?),
    };
    Some(CredentialSource::Platform(Box::new(Platform { kind, region, ca_file })))
}

/// Keys without effect are refused: who writes them believes that they have one.
fn check_fit(desk: &mut Desk<'_>, path: &Path, raw: &RawPlatform, source: RawPlatformSource) {
    use RawPlatformSource as Source;
    let identity = matches!(source, Source::WebIdentity | Source::DefaultChain);
    let profile = matches!(source, Source::Profile | Source::DefaultChain);
    let asks = !matches!(source, Source::Environment | Source::Process);
    for (key, written, fits) in [
        ("profile", raw.profile.is_some(), profile),
        ("role_arn", raw.role_arn.is_some(), identity),
        ("token_file", raw.token_file.is_some(), identity),
        ("session_name", raw.session_name.is_some(), identity),
        ("sts_endpoint", raw.sts_endpoint.is_some(), identity),
        ("region", raw.region.is_some(), identity || profile),
        ("imds_endpoint", raw.imds_endpoint.is_some(), matches!(source, Source::Imds | Source::DefaultChain)),
        ("command", raw.command.is_some(), source == Source::Process),
        ("ca_file", raw.ca_file.is_some(), asks),
    ] {
        if written && !fits {
            desk.report_key(&path.key(key), format!("`{key}` has no effect for this `source`"), "leave it out");
        }
    }
}

fn web_identity(
    desk: &mut Desk<'_>,
    path: &Path,
    raw: &RawPlatform,
    region: &str,
    ca_file: Option<&std::path::PathBuf>,
) -> Option<WebIdentity> {
    let set = |desk: &Desk<'_>, name: &str| desk.env(name).filter(|value| !value.is_empty());
    let role_arn = raw.role_arn.clone().or_else(|| set(desk, "AWS_ROLE_ARN"));
    let good_role = role_arn.as_ref().is_none_or(|role| check_role(desk, &path.key("role_arn"), role));
    let token_file = raw.token_file.clone().or_else(|| set(desk, "AWS_WEB_IDENTITY_TOKEN_FILE"));
    let token_file = match token_file {
        Some(text) => Some(absolute(desk, &path.key("token_file"), &text)?),
        None => None,
    };
    let session = raw.session_name.clone().or_else(|| set(desk, "AWS_ROLE_SESSION_NAME"));
    let session_name = session_name(desk, &path.key("session_name"), session)?;
    let url = sts_endpoint(desk, &path.key("sts_endpoint"), raw.sts_endpoint.as_ref())?;
    let sts = StsEndpoint { url, region: region.to_owned(), ca_file: ca_file.cloned() };
    good_role.then_some(WebIdentity { role_arn, token_file, session_name, sts })
}

/// A role over other credentials.
pub fn assume_role(desk: &mut Desk<'_>, path: &Path, raw: &RawAssumeRole, region: &str) -> Option<AssumeRole> {
    let help = "write it as its account has it, such as arn:aws:iam::123456789012:role/s3-gateway";
    let role_arn = desk.required(path, "role_arn", raw.role_arn.as_ref(), help);
    if !is_built_in(desk, path) {
        return None;
    }
    let role_arn = role_arn.filter(|role| check_role(desk, &path.key("role_arn"), role));
    let external_id = match &raw.external_id {
        Some(id) => Some(external_id(desk, &path.key("external_id"), id)?),
        None => None,
    };
    let session_name = session_name(desk, &path.key("session_name"), raw.session_name.clone());
    let session_policy = match &raw.session_policy {
        Some(text) => Some(session_policy(desk, &path.key("session_policy"), text)?),
        None => None,
    };
    let range = HOUR / 4..=12 * HOUR;
    let duration = duration(desk, &path.key("duration"), raw.duration.as_ref(), HOUR, range);
    let good_tags = check_tags(desk, path, raw);
    let url = sts_endpoint(desk, &path.key("sts_endpoint"), raw.sts_endpoint.as_ref())?;
    let ca_file = pem::authorities(desk, &path.key("ca_file"), raw.ca_file.as_ref());
    let region = sts_region(desk, raw.region.as_ref(), region);
    good_tags.then_some(())?;
    Some(AssumeRole {
        role_arn: role_arn?.clone(),
        external_id,
        session_name: session_name?,
        session_policy,
        duration,
        tags: raw.tags.clone().into_iter().collect(),
        sts: StsEndpoint { url, region, ca_file },
    })
}

fn check_role(desk: &mut Desk<'_>, path: &Path, role: &str) -> bool {
    let good = (20..=2048).contains(&role.len())
        && role.starts_with("arn:")
        && role.matches(':').count() >= 5
        && role.bytes().all(|byte| byte.is_ascii_graphic());
    if !good {
        let help = "write it as its account has it, such as arn:aws:iam::123456789012:role/s3-gateway";
        desk.report(path, "this is not the ARN of a role", help);
    }
    good
}

/// Whether a text has only letters, digits and these others, and so many of them.
fn is_word(text: &str, lengths: std::ops::RangeInclusive<usize>, others: &str) -> bool {
    lengths.contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn session_name(desk: &mut Desk<'_>, path: &Path, name: Option<String>) -> Option<String> {
    let name = name.unwrap_or_else(|| DEFAULT_SESSION.to_owned());
    if is_word(&name, 2..=64, "_+=,.@-") {
        return Some(name);
    }
    desk.report(path, "this cannot be the name of a session", "2 to 64 letters, digits or `_+=,.@-`");
    None
}

fn external_id(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<String> {
    let id = match Desk::as_reference(text) {
        Some(reference) => desk.fetch(path, &reference, false)?,
        None => text.to_owned(),
    };
    if is_word(&id, 2..=1224, "_+=,.@:/-") {
        return Some(id);
    }
    desk.report(path, "this cannot be an external id", "2 to 1224 letters, digits or `_+=,.@:/-`");
    None
}

/// The policy without blanks, which STS would count.
fn session_policy(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<String> {
    let help = "write a policy of IAM in JSON, or file:/path of one";
    let text = match Desk::as_reference(text) {
        Some(Reference::File(file)) => desk.read_file(path, &file)?,
        Some(Reference::Env(_)) => {
            desk.report(path, "a policy is not read from the environment", help);
            return None;
        }
        None => text.to_owned(),
    };
    let policy = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(policy) => policy,
        Err(error) => {
            desk.report(path, format!("this is no JSON: {error}"), help);
            return None;
        }
    };
    if let Some(problem) = problem_of_policy(&policy) {
        desk.report(path, problem, help);
        return None;
    }
    let policy = policy.to_string();
    if policy.chars().count() > MAX_POLICY_CHARACTERS {
        let help = format!("STS takes {MAX_POLICY_CHARACTERS} characters at most");
        desk.report(path, "the policy is too long", help);
        return None;
    }
    Some(policy)
}

fn problem_of_policy(policy: &serde_json::Value) -> Option<&'static str> {
    let statements = match &policy["Statement"] {
        serde_json::Value::Array(statements) if !statements.is_empty() => statements.as_slice(),
        one @ serde_json::Value::Object(_) => std::slice::from_ref(one),
        _ => return Some("the policy has no `Statement`"),
    };
    if policy.get("Version").is_some_and(|version| version != "2012-10-17" && version != "2008-10-17") {
        return Some("the `Version` of a policy is 2012-10-17");
    }
    let is_whole = |statement: &serde_json::Value| {
        let has = |names: [&str; 2]| names.into_iter().any(|name| statement.get(name).is_some());
        let effect = &statement["Effect"];
        (effect == "Allow" || effect == "Deny") && has(["Action", "NotAction"]) && has(["Resource", "NotResource"])
    };
    (!statements.iter().all(is_whole)).then_some("a `Statement` needs `Effect`, `Action` and `Resource`")
}

fn check_tags(desk: &mut Desk<'_>, path: &Path, raw: &RawAssumeRole) -> bool {
    let path = path.key("tags");
    let printable = |text: &str| text.chars().all(|c| !c.is_control());
    let mut good = raw.tags.len() <= MAX_TAGS;
    if !good {
        desk.report(&path, "there are too many tags", format!("STS takes {MAX_TAGS}"));
    }
    for (name, value) in &raw.tags {
        let fits = (1..=128).contains(&name.chars().count()) && value.chars().count() <= 256;
        if !fits || !printable(name) || !printable(value) {
            desk.report(&path.key(name), "this cannot be a tag", "a name has 1 to 128 characters, a value up to 256");
            good = false;
        }
    }
    good
}

/// `Some(None)` is that of the region.
fn sts_endpoint(desk: &mut Desk<'_>, path: &Path, written: Option<&String>) -> Option<Option<String>> {
    let set = || desk.env("AWS_ENDPOINT_URL_STS").filter(|url| !url.is_empty());
    let Some(text) = written.cloned().or_else(set) else { return Some(None) };
    let help = "write https://host, such as https://sts.eu-central-1.amazonaws.com; `http` for a loopback address only";
    match WebAddress::parse(&text) {
        Ok(address) if !(address.path.is_empty() || address.path == "/") => {
            desk.report(path, "the address of STS has a path", help);
            None
        }
        // Tokens go there, and keys come from there.
        Ok(address) if !address.tls && !address.is_loopback() => {
            desk.report(path, "STS would be asked in clear text", help);
            None
        }
        Ok(_) => Some(Some(text)),
        Err(message) => {
            desk.report(path, message, help);
            None
        }
    }
}

fn sts_region(desk: &Desk<'_>, written: Option<&String>, of_upstream: &str) -> String {
    let set = |name: &str| desk.env(name).filter(|region| !region.is_empty());
    let region = written.cloned().or_else(|| set("AWS_REGION")).or_else(|| set("AWS_DEFAULT_REGION"));
    region.unwrap_or_else(|| of_upstream.to_owned())
}

/// `Some(None)` is the usual one, or what the environment says.
fn imds_endpoint(desk: &mut Desk<'_>, path: &Path, raw: &RawPlatform) -> Option<Option<String>> {
    let Some(text) = &raw.imds_endpoint else { return Some(None) };
    let path = path.key("imds_endpoint");
    let is_near = |address: IpAddr| match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        // fd00:ec2::254
        IpAddr::V6(address) => address.is_loopback() || address.segments()[..2] == [0xfd00, 0xec2],
    };
    match WebAddress::parse(text) {
        Ok(address) if address.host.parse().is_ok_and(is_near) && (address.path.is_empty() || address.path == "/") => {
            Some(Some(text.clone()))
        }
        _ => {
            let help = "leave it out for http://169.254.169.254, or write http:// and an address of this machine or a link-local one";
            desk.report(&path, "this is not the address of a metadata service", help);
            None
        }
    }
}

fn command(desk: &mut Desk<'_>, path: &Path, raw: &RawPlatform) -> Option<Vec<String>> {
    let help = "write the program and its arguments as a list, such as [/usr/local/bin/get-keys, --role, s3]";
    let command = desk.required(path, "command", raw.command.as_ref(), help)?;
    let path = path.key("command");
    match command.first() {
        None => {
            desk.report(&path, "the list is empty", help);
            None
        }
        Some(program) if !program.starts_with('/') => {
            desk.report(&path.item(0), "the path of the program is not absolute", help);
            None
        }
        Some(_) => Some(command.clone()),
    }
}
