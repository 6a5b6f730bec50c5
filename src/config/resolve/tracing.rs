//! `tracing`: whose traces are continued, and where spans go.

use std::net::IpAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use ipnet::IpNet;

use super::super::path::Path;
use super::super::raw::RawConfig;
use super::super::raw_tracing::{RawOtlp, RawTracing};
use super::super::{AcceptTraces, OtlpSettings, TracingSettings};
use super::desk::Desk;
use super::pem;
use super::post::{headers, web_address};
use super::values::{ANY_TIMEOUT, count, duration};
use crate::post::PostSettings;

/// The settings, if the section is there.
pub fn tracing(desk: &mut Desk<'_>, raw: &RawConfig) -> Option<TracingSettings> {
    let raw = raw.tracing.as_ref()?;
    let path = Path::top().key("tracing");
    let accept = accept(desk, &path.key("accept"), raw);
    let otlp = raw.otlp.as_ref().map(|raw| otlp(desk, &path.key("otlp"), raw));
    Some(TracingSettings { accept, propagate: raw.propagate.unwrap_or(true), otlp: otlp.flatten() })
}

fn accept(desk: &mut Desk<'_>, path: &Path, raw: &RawTracing) -> AcceptTraces {
    let texts = raw.accept.as_ref().map_or(&[][..], |accept| accept.texts());
    match texts {
        [] if raw.accept.is_some() => {
            desk.report(path, "the list is empty", "write `none`, `any`, or networks");
            AcceptTraces::None
        }
        [] => AcceptTraces::Any,
        [word] if word == "any" => AcceptTraces::Any,
        [word] if word == "none" => AcceptTraces::None,
        texts => AcceptTraces::From(texts.iter().filter_map(|text| network(desk, path, text)).collect()),
    }
}

fn network(desk: &mut Desk<'_>, path: &Path, text: &str) -> Option<IpNet> {
    let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    match parsed {
        Some(network) if network.trunc() == network => return Some(network),
        Some(network) => {
            desk.report(path, "the address has bits outside its network", format!("write {}", network.trunc()));
        }
        None => {
            let help = "write `any`, `none`, or networks like 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32";
            desk.report(path, format!("`{text}` is not a network"), help);
        }
    }
    None
}

fn otlp(desk: &mut Desk<'_>, path: &Path, raw: &RawOtlp) -> Option<OtlpSettings> {
    if !cfg!(feature = "otel") {
        desk.report_key(path, "this build sends no spans", "use a build with the feature `otel`, or remove `otlp`");
    }
    let help = "write the address of the collector, such as http://127.0.0.1:4318/v1/traces";
    let address = web_address(desk, path, "endpoint", raw.endpoint.as_ref(), help);
    let ca_file = pem::authorities(desk, &path.key("ca_file"), raw.ca_file.as_ref());
    let headers = headers(desk, &path.key("headers"), &raw.headers, address.as_ref());
    let time_path = path.key("timeout");
    let timeout = duration(desk, &time_path, raw.timeout.as_ref(), Duration::from_secs(10), ANY_TIMEOUT);
    let one_in = count(desk, &path.key("one_in"), raw.one_in, 1_u32, 1..=1_000_000);
    let address = address?;
    if raw.ca_file.is_some() && !address.tls {
        let help = "use https, or remove `ca_file`";
        desk.report(&path.key("ca_file"), "`ca_file` does nothing over http", help);
    }
    let post = PostSettings {
        tls: address.tls,
        port: address.port,
        // Collectors take spans at this path if nothing else is said.
        path: PathAndQuery::try_from(if address.path.is_empty() { "/v1/traces" } else { &address.path }).ok()?,
        host: address.host,
        ca_file,
        headers: headers?,
        timeout,
    };
    Some(OtlpSettings { post, sample: 1.0 / f64::from(one_in) })
}
