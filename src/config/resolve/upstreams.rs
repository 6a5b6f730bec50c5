//! `upstreams` and `buckets`: the stores, and what clients see of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::path::Path;
use super::super::raw::{
    RawAddressing, RawBreaker, RawBucket, RawChecksum, RawConfig, RawOddKeys, RawPayload, RawUpstream,
};
use super::super::suggest::{did_you_mean, listed};
use super::desk::Desk;
use super::values::{ANY_TIMEOUT, WebAddress, check_name, count, duration};
use super::{credentials, pem};
use crate::base::RouteId;
use crate::s3::buckets::is_bucket_name;
use crate::s3::names::check_text;
use crate::s3::reserved::is_reserved;
use crate::s3::{Bucket, OddKeys, PassThrough};
use crate::upstream::{Addressing, BreakerSettings, ChecksumMode, CredentialSettings, PayloadMode, UpstreamSettings};

/// The stores in the order of their names, which is the order of [`RouteId`]. `None` stands for one with a problem.
pub fn upstreams(desk: &mut Desk<'_>, raw: &RawConfig) -> Vec<Option<UpstreamSettings>> {
    let help = "add `upstreams:` with a name, and `endpoint`, `region` and `credentials` below it";
    let Some(raw) = desk.required(&Path::top(), "upstreams", raw.upstreams.as_ref(), help) else { return Vec::new() };
    let path = Path::top().key("upstreams");
    if raw.is_empty() && !desk.is_blurred(&path) {
        desk.report(&path, "there is no upstream", help);
    }
    raw.iter().map(|(name, raw)| upstream(desk, &path.key(name), name, raw)).collect()
}

fn upstream(desk: &mut Desk<'_>, path: &Path, name: &str, raw: &RawUpstream) -> Option<UpstreamSettings> {
    let good_name = check_name(desk, path, name);
    let endpoint = endpoint(desk, path, raw);
    let region = region(desk, path, raw);
    let ca_path = path.key("ca_file");
    let ca_file = pem::authorities(desk, &ca_path, raw.ca_file.as_ref());
    let help = "add `credentials:` with `access_key_id` and `secret_access_key`, or with `profile` or `platform`";
    let credentials = desk.required(path, "credentials", raw.credentials.as_ref(), help);
    let region_or_none = region.as_deref().unwrap_or_default();
    let credentials =
        credentials.and_then(|raw| credentials::credentials(desk, &path.key("credentials"), raw, region_or_none));
    let seal_keys = credentials::seal_keys(desk, &path.key("seal_keys"), raw.seal_keys.as_ref());
    let times = path.key("timeouts");
    let seconds = Duration::from_secs;
    let max_connections = count(desk, &path.key("max_connections"), raw.max_connections, 512, 1..=100_000);
    let max_waiting = count(desk, &path.key("max_waiting"), raw.max_waiting, 128, 0..=100_000);
    let principal_share = count(desk, &path.key("principal_share"), raw.principal_share, 50, 1..=100);
    let breaker = breaker(desk, &path.key("breaker"), &raw.breaker);
    let unknown_length_uploads =
        count(desk, &path.key("unknown_length_uploads"), raw.unknown_length_uploads, 4, 0..=1000);
    let connect_timeout = duration(desk, &times.key("connect"), raw.timeouts.connect.as_ref(), seconds(5), ANY_TIMEOUT);
    let first_byte_timeout =
        duration(desk, &times.key("first_byte"), raw.timeouts.first_byte.as_ref(), seconds(60), ANY_TIMEOUT);
    let idle_timeout = duration(desk, &times.key("idle"), raw.timeouts.idle.as_ref(), seconds(60), ANY_TIMEOUT);
    let pool_idle_timeout =
        duration(desk, &times.key("pool_idle"), raw.timeouts.pool_idle.as_ref(), seconds(8), ANY_TIMEOUT);
    let endpoint = endpoint?;
    check_transport(desk, path, raw, &endpoint);
    Some(UpstreamSettings {
        name: good_name.then(|| name.to_owned())?,
        tls: endpoint.tls,
        addressing: match raw.addressing {
            Some(RawAddressing::VirtualHost) => Addressing::VirtualHost,
            Some(RawAddressing::Path) | None => Addressing::Path,
        },
        payload: match raw.payload {
            Some(RawPayload::Unsigned) => PayloadMode::Unsigned,
            Some(RawPayload::Signed) => PayloadMode::Signed,
            None if endpoint.tls => PayloadMode::Unsigned,
            None => PayloadMode::Signed,
        },
        checksum: match raw.checksum {
            Some(RawChecksum::Trailer) => ChecksumMode::Trailer,
            Some(RawChecksum::Header) => ChecksumMode::Header,
            None if endpoint.tls => ChecksumMode::Trailer,
            None => ChecksumMode::Header,
        },
        host: endpoint.host,
        port: endpoint.port,
        region: region?,
        ca_file,
        credentials: CredentialSettings { source: credentials?, seal_keys },
        max_connections,
        max_waiting,
        principal_share,
        breaker,
        unknown_length_uploads,
        connect_timeout,
        first_byte_timeout,
        idle_timeout,
        pool_idle_timeout,
    })
}

/// When to stop asking for a while.
pub fn breaker(desk: &mut Desk<'_>, path: &Path, raw: &RawBreaker) -> BreakerSettings {
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    BreakerSettings {
        failures: count(desk, &path.key("failures"), raw.failures, 10, 0..=100_000),
        pause: duration(desk, &path.key("pause"), raw.pause.as_ref(), Duration::from_secs(5), range),
    }
}

fn endpoint(desk: &mut Desk<'_>, path: &Path, raw: &RawUpstream) -> Option<WebAddress> {
    let help = "write the address of the store, such as https://s3.eu-central-1.amazonaws.com";
    let text = desk.required(path, "endpoint", raw.endpoint.as_ref(), help)?;
    let path = path.key("endpoint");
    let text = match Desk::as_reference(text) {
        Some(reference) => desk.fetch(&path, &reference, false)?,
        None => text.clone(),
    };
    match WebAddress::parse(&text) {
        Ok(address) if address.path.is_empty() || address.path == "/" => Some(address),
        Ok(_) => {
            desk.report(
                &path,
                "the address has a path",
                "write the scheme, the host and, if need be, the port; a bucket belongs under `buckets`",
            );
            None
        }
        Err(message) => {
            desk.report(&path, message, help);
            None
        }
    }
}

fn region(desk: &mut Desk<'_>, path: &Path, raw: &RawUpstream) -> Option<String> {
    let help = "write the region that requests are signed for, such as eu-central-1; many other stores take us-east-1";
    let text = desk.required(path, "region", raw.region.as_ref(), help)?;
    let good = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !good {
        desk.report(&path.key("region"), "this is not a region", help);
    }
    good.then(|| text.clone())
}

/// What fits a store depends on whether TLS protects the way to it.
fn check_transport(desk: &mut Desk<'_>, path: &Path, raw: &RawUpstream, endpoint: &WebAddress) {
    if raw.payload == Some(RawPayload::Unsigned) && !endpoint.tls && !endpoint.is_loopback() {
        let help = "use https, or `payload: signed`; only an address such as 127.0.0.1 may be spoken to without either";
        desk.report(&path.key("payload"), "neither TLS nor the signature would protect the bytes of objects", help);
    }
    if raw.ca_file.is_some() && !endpoint.tls {
        desk.report(&path.key("ca_file"), "`ca_file` does nothing over http", "use https, or remove `ca_file`");
    }
}

/// The public buckets, without those that have a problem.
pub fn buckets(desk: &mut Desk<'_>, raw: &RawConfig, upstreams: &[Option<UpstreamSettings>]) -> Vec<Bucket> {
    let help =
        "add `buckets:` with the name that clients use, and `bucket: …` below it if the store has another name for it";
    let Some(raw_buckets) = desk.required(&Path::top(), "buckets", raw.buckets.as_ref(), help) else {
        return Vec::new();
    };
    let path = Path::top().key("buckets");
    if raw_buckets.is_empty() && !desk.is_blurred(&path) {
        desk.report(&path, "there is no bucket", help);
    }
    let none = BTreeMap::new();
    let stores = raw.upstreams.as_ref().unwrap_or(&none);
    let mut buckets: Vec<Bucket> = Vec::new();
    for (name, raw) in raw_buckets.iter().filter(|(name, _)| *name != PassThrough::ANY) {
        let path = path.key(name);
        let Some(bucket) = bucket(desk, &path, name, raw, stores) else { continue };
        if let Some(other) = buckets.iter().find(|other| is_same_place(upstreams, other, &bucket)) {
            let help = "one object would have two names, and a rule for one of them would not hold for the other; give them prefixes that do not contain each other";
            desk.report(
                &path,
                format!("this is the same place as the bucket `{}`, or one lies inside the other", other.name),
                help,
            );
        }
        check_virtual_host(desk, &path, &bucket, upstreams);
        buckets.push(bucket);
    }
    buckets
}

fn bucket(
    desk: &mut Desk<'_>,
    path: &Path,
    name: &str,
    raw: &RawBucket,
    stores: &BTreeMap<String, RawUpstream>,
) -> Option<Bucket> {
    const HELP: &str = "3 to 63 lower-case letters, digits, `-` or `.`, with a letter or digit at both ends, and not like an IP address";
    let good_name = is_bucket_name(name);
    if !good_name {
        desk.report_key(path, "this is not the name of an S3 bucket", HELP);
    }
    let upstream_bucket = raw.bucket.as_deref().unwrap_or(name);
    if raw.bucket.is_some() && !is_bucket_name(upstream_bucket) {
        desk.report(&path.key("bucket"), "this is not the name of an S3 bucket", HELP);
    }
    let prefix = raw.prefix.as_deref().unwrap_or_default();
    check_upstream_prefix(desk, &path.key("prefix"), prefix);
    let route = route(desk, path, raw, stores)?;
    let (name, upstream_bucket) = (name.to_owned(), upstream_bucket.to_owned());
    good_name.then(|| Bucket {
        name,
        route,
        upstream_bucket,
        upstream_prefix: prefix.to_owned(),
        odd_keys: odd_keys(raw),
        passed_through: false,
    })
}

/// The mapping of every bucket that is not configured, if there is one.
pub fn pass_through(
    desk: &mut Desk<'_>,
    raw: &RawConfig,
    upstreams: &[Option<UpstreamSettings>],
    buckets: &[Bucket],
) -> Option<PassThrough> {
    let raw_mapping = raw.buckets.as_ref()?.get(PassThrough::ANY)?;
    let path = Path::top().key("buckets").key(PassThrough::ANY);
    for (key, written) in [("bucket", raw_mapping.bucket.is_some()), ("prefix", raw_mapping.prefix.is_some())] {
        if written {
            let help =
                "every bucket has its own name there and no prefix; configure a bucket by its name to map it otherwise";
            desk.report_key(&path.key(key), format!("`\"*\"` has no `{key}`"), help);
        }
    }
    let none = BTreeMap::new();
    let route = route(desk, &path, raw_mapping, raw.upstreams.as_ref().unwrap_or(&none))?;
    let upstream = upstreams.get(route.0).and_then(Option::as_ref);
    let by_host = upstream.filter(|upstream| upstream.addressing == Addressing::VirtualHost);
    if by_host.is_some_and(|upstream| upstream.host.parse::<std::net::IpAddr>().is_ok()) {
        let help = "set `addressing: path` for the upstream, or give its endpoint as a name";
        desk.report(&path, "an IP address cannot have the bucket before it", help);
    }
    let here = buckets.iter().filter(|bucket| is_same_store(upstreams, bucket.route, route));
    let hidden: BTreeSet<String> = here.map(|bucket| bucket.upstream_bucket.clone()).collect();
    Some(PassThrough { route, odd_keys: odd_keys(raw_mapping), hidden })
}

fn odd_keys(raw: &RawBucket) -> OddKeys {
    match raw.odd_keys {
        Some(RawOddKeys::Pass) => OddKeys::Pass,
        Some(RawOddKeys::Refuse) | None => OddKeys::Refuse,
    }
}

/// Longest prefix that is put before keys; leaves half of the 1024 bytes of a key to clients.
const MAX_PREFIX_BYTES: usize = 512;

fn check_upstream_prefix(desk: &mut Desk<'_>, path: &Path, prefix: &str) {
    if prefix.contains(['{', '}', '*']) {
        desk.report(
            path,
            "this prefix has no attribute parts or patterns",
            "write it as it is in the store; `{attribute}` belongs to `where` of a rule",
        );
    } else if let Err(error) = check_text(prefix, OddKeys::Refuse) {
        desk.report(path, error.to_string().replace("the key", "the prefix"), "write it like `gw/` or `a/b/`");
    } else if !prefix.is_empty() && !prefix.ends_with('/') {
        let help = format!("write `{prefix}/`; without the slash it would also cover `{prefix}-other/`");
        desk.report(path, "the prefix does not end with `/`", help);
    } else if is_reserved(prefix, "") {
        desk.report(path, "this part of a bucket is the gateway's own", "write another prefix");
    } else if prefix.len() > MAX_PREFIX_BYTES {
        desk.report(
            path,
            "the prefix is too long",
            format!("at most {MAX_PREFIX_BYTES} bytes; a key has 1024 with it"),
        );
    }
}

fn route(desk: &mut Desk<'_>, path: &Path, raw: &RawBucket, stores: &BTreeMap<String, RawUpstream>) -> Option<RouteId> {
    let upstreams = Path::top().key("upstreams");
    let blurred = desk.is_blurred(&upstreams) || desk.is_excused(&Path::top(), "upstreams");
    let Some(wanted) = &raw.upstream else {
        if stores.len() > 1 {
            let help =
                format!("there is more than one upstream; write one of {}", listed(stores.keys().map(String::as_str)));
            desk.required::<()>(path, "upstream", None, &help);
        }
        return (stores.len() == 1).then_some(RouteId(0));
    };
    let position = stores.keys().position(|name| name == wanted);
    if position.is_none() && !blurred {
        let names = stores.keys().map(String::as_str);
        let help = format!("{}defined are: {}", did_you_mean(wanted, names.clone()), listed(names));
        desk.report(&path.key("upstream"), "there is no upstream of this name", help);
    }
    position.map(RouteId)
}

/// Two upstreams with one address are one store, whatever they are called.
fn is_same_store(upstreams: &[Option<UpstreamSettings>], a: RouteId, b: RouteId) -> bool {
    let store = |route: RouteId| {
        upstreams.get(route.0).and_then(Option::as_ref).map(|upstream| (upstream.host.as_str(), upstream.port))
    };
    a == b || store(a).is_some_and(|known| store(b) == Some(known))
}

fn is_same_place(upstreams: &[Option<UpstreamSettings>], a: &Bucket, b: &Bucket) -> bool {
    let same_store = is_same_store(upstreams, a.route, b.route);
    let nested = a.upstream_prefix.starts_with(&b.upstream_prefix) || b.upstream_prefix.starts_with(&a.upstream_prefix);
    same_store && a.upstream_bucket == b.upstream_bucket && nested
}

/// `a.b.s3.example.com` is not covered by a certificate for `*.s3.example.com`.
fn check_virtual_host(desk: &mut Desk<'_>, path: &Path, bucket: &Bucket, upstreams: &[Option<UpstreamSettings>]) {
    let Some(upstream) = upstreams.get(bucket.route.0).and_then(Option::as_ref) else { return };
    if upstream.addressing != Addressing::VirtualHost {
        return;
    }
    if upstream.host.parse::<std::net::IpAddr>().is_ok() {
        let help = "set `addressing: path` for the upstream, or give its endpoint as a name";
        desk.report(path, "an IP address cannot have the bucket before it", help);
    } else if upstream.tls && bucket.upstream_bucket.contains('.') {
        let help = "set `addressing: path` for the upstream; no certificate covers a bucket name with dots as a host";
        desk.report(path, "a bucket name with a dot does not work with `addressing: virtual-host` over https", help);
    }
}
