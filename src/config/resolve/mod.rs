//! From the file as written to the `Settings` of every module: every check of one key against another, every default.
//!
//! Nothing stops at the first problem. A function that finds one reports it and returns `None` or leaves the thing out, and what
//! depends on it keeps quiet. Only if nothing was reported is there a [`Config`].

mod access_keys;
mod admin;
mod audit;
mod certificates;
mod clients;
mod cors;
mod credentials;
mod desk;
mod identity;
mod inspect;
mod issuers;
mod listen;
mod pem;
mod post;
mod proxies;
mod rates;
mod rules;
mod sts;
mod terms;
mod tracing;
mod upstreams;
mod values;

use std::collections::BTreeSet;

pub use desk::Desk;

use super::path::Path;
use super::raw::RawConfig;
use super::raw_output::{RawFormat, RawLevel};
use super::{Config, LogFormat, LogLevel, LogSettings, ReloadSettings, Source};
use crate::s3::Buckets;

/// The settings of every module, or `None` if a problem was reported.
pub fn resolve(raw: &RawConfig, desk: &mut Desk<'_>) -> Option<Config> {
    let edge = listen::edge(desk, raw);
    let upstreams = upstreams::upstreams(desk, raw);
    let buckets = upstreams::buckets(desk, raw, &upstreams);
    let domains = listen::domains(desk, raw);
    let pass_through = upstreams::pass_through(desk, raw, &upstreams, &buckets);
    let cors = cors::cors(desk, raw);
    let (mut auth, known) = clients::clients(desk, raw);
    let (sessions, sts) = sts::sts(desk, raw).unzip();
    auth.sessions = sessions;
    access_keys::check_loops(desk, &auth.access_keys, upstreams.iter().flatten());
    let inspectors = inspect::inspectors(desk, raw);
    let bucket_path = Path::top().key("buckets");
    let world = rules::World {
        clients: &known,
        buckets: &buckets,
        pass_through: pass_through.as_ref(),
        bucket_names: raw
            .buckets
            .iter()
            .flat_map(|buckets| buckets.keys().map(String::as_str))
            .collect::<BTreeSet<_>>(),
        inspectors: raw.inspectors.iter().flatten().map(|(name, _)| name.as_str()).collect(),
        buckets_complete: !desk.is_blurred(&bucket_path) && !desk.is_excused(&Path::top(), "buckets"),
    };
    let rules = rules::rules(desk, raw, &world);
    let limits = rates::limits(desk, &Path::top().key("limits"), &raw.limits);
    let inspection = inspect::limits(desk, &raw.limits.inspection);
    let sweeping = inspect::sweeping(desk, &raw.limits.staging);
    let audit = audit::audit(desk, raw);
    let tracing = tracing::tracing(desk, raw);
    admin::check_tokens_of_clients(desk, &edge.admin_access, &auth.tokens);
    let complete = [
        (edge.listeners.len(), raw.listen.as_ref().map(Vec::len)),
        (upstreams.iter().flatten().count(), raw.upstreams.as_ref().map(|all| all.len())),
        (buckets.len() + usize::from(pass_through.is_some()), raw.buckets.as_ref().map(|all| all.len())),
        (auth.tokens.len(), Some(raw.clients.tokens.as_ref().map_or(0, Vec::len))),
        (edge.admin_access.tokens.len(), Some(raw.admin.tokens.as_ref().map_or(0, Vec::len))),
        (auth.access_keys.len(), Some(raw.clients.access_keys.as_ref().map_or(0, Vec::len))),
        (auth.issuers.len(), Some(raw.clients.issuers.as_ref().map_or(0, Vec::len))),
        (auth.listeners.len(), Some(raw.listen.iter().flatten().filter(|raw| raw.identity.is_some()).count())),
        (auth.certificates.len(), Some(raw.clients.certificates.as_ref().map_or(0, Vec::len))),
        (auth.sessions.as_ref().map_or(0, |sessions| sessions.keys.len()), written_session_keys(raw)),
        (inspectors.iter().flatten().count(), Some(raw.inspectors.as_ref().map_or(0, |all| all.len()))),
        (rules.len(), raw.rules.as_ref().map(Vec::len)),
    ];
    if desk.is_clean() && complete.iter().any(|(resolved, written)| Some(*resolved) != *written) {
        // Leaving out a deny without a word would be the worst that can happen here.
        desk.report(
            &Path::top(),
            "a part of the file was not understood",
            "this is a mistake of countersign; please report it with the file",
        );
    }
    desk.is_clean().then(|| Config {
        edge,
        auth,
        sts,
        buckets: Buckets::new(buckets).with_pass_through(pass_through).with_domains(domains),
        cors,
        inspectors: inspectors.into_iter().flatten().collect(),
        rules,
        upstreams: upstreams.into_iter().flatten().collect(),
        inspection,
        limits,
        sweeping,
        audit,
        tracing,
        log: log(raw),
        reload: ReloadSettings { watch: raw.reload.watch.unwrap_or(true) },
        source: Source::default(),
    })
}

/// How many keys for sessions are written in the file, if they are used.
fn written_session_keys(raw: &RawConfig) -> Option<usize> {
    let used = raw.sts.keys.as_ref().filter(|_| raw.sts.enabled == Some(true));
    Some(used.map_or(0, Vec::len))
}

fn log(raw: &RawConfig) -> LogSettings {
    let level = match raw.log.level {
        Some(RawLevel::Error) => LogLevel::Error,
        Some(RawLevel::Warn) => LogLevel::Warn,
        Some(RawLevel::Info) | None => LogLevel::Info,
        Some(RawLevel::Debug) => LogLevel::Debug,
        Some(RawLevel::Trace) => LogLevel::Trace,
    };
    let format = match raw.log.format {
        Some(RawFormat::Auto) | None => LogFormat::Auto,
        Some(RawFormat::Text) => LogFormat::Text,
        Some(RawFormat::Json) => LogFormat::Json,
    };
    LogSettings { level, format }
}
