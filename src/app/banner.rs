//! What an operator should see at the start: what runs here, and what of it is risky.
//!
//! Lines out of a checked configuration; nothing is asked or connected to. Risks are no problems: each can be what is wanted, and then its
//! line is the reminder that it was chosen. `countersign check` prints the same ones.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use crate::audit::settings::OutletSettings;
use crate::auth::settings::UnsignedPayload;
use crate::config::Config;
use crate::edge::{ListenAddress, ListenerSettings, Settings};
use crate::inspect::{Action, InspectionTerms, QuarantinePlace};
use crate::rules::settings::{Effect, Place, RuleSettings, Who};
use crate::upstream::{PayloadMode, UpstreamSettings};

/// Something that is less safe than it could be, and the key of the file to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    /// Where in the configuration.
    pub key: String,
    /// What is risky about it.
    pub what: String,
}

impl Risk {
    fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into() }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// The features that this program was built with.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "aws-chain")]
    "aws-chain",
    #[cfg(feature = "demo")]
    "demo",
    #[cfg(feature = "jemalloc")]
    "jemalloc",
    #[cfg(feature = "otel")]
    "otel",
    #[cfg(feature = "yara")]
    "yara",
];

/// Writes the banner into the log: a line each for what runs here, and for each risk.
pub(super) fn tell(config: &Config, file: &Path, descriptors: Option<u64>) {
    for line in lines(config, file) {
        tracing::info!("{line}");
    }
    let too_few = super::descriptors::risk(descriptors, super::descriptors::needed(config));
    for Risk { key, what } in risks(config).into_iter().chain(lost_audit(config)).chain(too_few) {
        tracing::warn!(key, "risk: {what}");
    }
}

/// What runs here.
fn lines(config: &Config, file: &Path) -> Vec<String> {
    let mut lines = vec![format!("countersign {}, built with {}", env!("CARGO_PKG_VERSION"), listed(FEATURES.iter()))];
    lines.push(format!("configuration {}", file.display()));
    lines.extend(
        config
            .edge
            .listeners
            .iter()
            .map(|listener| format!("serves clients on {}: {}", listener.address, protection(listener))),
    );
    lines.push(format!("serves operators on {}: {}", config.edge.admin, admin_protection(&config.edge)));
    lines.extend(config.upstreams.iter().map(|upstream| {
        let UpstreamSettings { name, tls, host, port, region, max_connections, .. } = upstream;
        let scheme = if *tls { "https" } else { "http" };
        format!("store `{name}`: {scheme}://{host}:{port}, region {region}, {max_connections} requests at a time")
    }));
    let auth = &config.auth;
    lines.push(format!(
        "{}, {}; {}, {}, {}; STS {}",
        counted(config.buckets.iter().count(), "bucket"),
        counted(config.rules.len(), "rule"),
        counted(auth.tokens.len(), "app token"),
        counted(auth.access_keys.len(), "access key"),
        counted(auth.issuers.len(), "issuer"),
        if config.sts.is_some() { "on" } else { "off" },
    ));
    lines.push(match &config.inspectors[..] {
        [] => "no inspectors: nothing looks into objects".to_owned(),
        inspectors => format!("inspectors: {}", listed(inspectors.iter().map(|inspector| &inspector.name))),
    });
    let sinks = config.audit.sinks.iter().map(|sink| match &sink.outlet {
        OutletSettings::Stdout => "standard output".to_owned(),
        OutletSettings::File(file) => file.path.display().to_string(),
        OutletSettings::Syslog(_) => format!("syslog ({})", sink.name),
        OutletSettings::Http(http) => format!("{}:{} ({})", http.post.host, http.post.port, sink.name),
    });
    lines.push(format!("audit records go to {}", listed(sinks)));
    lines
}

/// What is risky in a configuration, in the order of its keys.
pub fn risks(config: &Config) -> Vec<Risk> {
    let mut risks = Vec::new();
    for (position, listener) in config.edge.listeners.iter().enumerate() {
        if is_open_clear_text(listener) {
            let what = format!(
                "{} is clear text and not loopback: tokens and objects can be read and changed on the way",
                listener.address
            );
            risks.push(Risk::new(format!("listen[{position}].tls"), what));
        }
        if let (Some(name), ListenAddress::Tcp(_)) = (&listener.identity, &listener.address) {
            let what =
                format!("whoever reaches {} is `{name}`: every program of this machine or pod", listener.address);
            risks.push(Risk::new(format!("listen[{position}].identity"), what));
        }
    }
    let (admin, admin_tls) = (config.edge.admin, &config.edge.admin_tls);
    if admin_tls.is_none() && !admin.ip().is_loopback() {
        let what = format!("{admin} is clear text and not loopback: tokens of operators can be read on the way");
        risks.push(Risk::new("admin.tls", what));
    }
    let knows_callers = config.edge.listeners.iter().any(|listener| listener.identity.is_some());
    if knows_callers && !config.edge.admin_access.wants_credentials() {
        let what = "the application beside the gateway can read rules and records on the admin listener, and reload: set `admin.tokens`";
        risks.push(Risk::new("admin.tokens".to_owned(), what.to_owned()));
    }
    risks.extend(config.upstreams.iter().filter_map(store_risk));
    let clear_text = config.edge.listeners.iter().any(|listener| listener.tls.is_none());
    if clear_text && config.auth.signing.unsigned_payload == UnsignedPayload::Anywhere {
        let what = "bodies may come in clear text under no signature: they can be changed on the way";
        risks.push(Risk::new("clients.signing.unsigned_payload", what));
    }
    if config.auth.sessions.as_ref().is_some_and(|sessions| sessions.keys.is_empty()) {
        let what = "empty: sessions end with this process, and no other replica accepts them";
        risks.push(Risk::new("sts.keys", what));
    }
    for rule in config.rules.iter().filter(|rule| rule.effect == Effect::Allow) {
        rule_risks(rule, !config.inspectors.is_empty(), &mut risks);
        risks.extend(open_quarantine(rule, &config.rules));
    }
    risks
}

fn is_open_clear_text(listener: &ListenerSettings) -> bool {
    match &listener.address {
        ListenAddress::Tcp(address) => listener.tls.is_none() && !address.ip().is_loopback(),
        // Its permissions say who may connect, and nobody is between.
        ListenAddress::Unix(_) => false,
    }
}

fn protection(listener: &ListenerSettings) -> String {
    let tls = match &listener.tls {
        None => "clear text",
        Some(tls) => match &tls.client {
            None => "TLS",
            Some(client) if client.require => "TLS, clients need a certificate",
            Some(_) => "TLS, clients may show a certificate",
        },
    };
    match &listener.identity {
        None => tls.to_owned(),
        Some(name) => format!("{tls}, whoever connects is `{name}`"),
    }
}

fn admin_protection(edge: &Settings) -> String {
    let tls = if edge.admin_tls.is_some() { "TLS" } else { "clear text" };
    let who = match (edge.admin_access.tokens.is_empty(), edge.admin_access.client_certificates) {
        (true, false) => "for this machine only",
        (false, false) => "with a token",
        (true, true) => "with a certificate",
        (false, true) => "with a token or a certificate",
    };
    format!("{tls}, {who}")
}

fn store_risk(upstream: &UpstreamSettings) -> Option<Risk> {
    let is_local =
        upstream.host == "localhost" || upstream.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    if upstream.tls || is_local {
        return None;
    }
    let what = match upstream.payload {
        PayloadMode::Signed => "http: objects can be read on the way to the store, and those on the way back changed",
        PayloadMode::Unsigned => {
            "http with payload `unsigned`: objects can be read and changed on the way to the store"
        }
    };
    Some(Risk::new(format!("upstreams.{}.endpoint", upstream.name), what))
}

fn rule_risks(rule: &RuleSettings, inspectors: bool, risks: &mut Vec<Risk>) {
    let key = |key: &str| format!("rules[{}].{key}", rule.name);
    let Who { clients, attributes, networks } = &rule.who;
    if clients.is_empty() && attributes.is_empty() && networks.is_empty() {
        risks.push(Risk::new(key("who"), "allows everybody who has any credential of this gateway"));
    }
    if let Some(terms) = &rule.terms.inspection {
        let InspectionTerms { actions, .. } = &**terms;
        let all = [("matched", actions.matched), ("not_scannable", actions.not_scannable), ("error", actions.error)];
        for (state, action) in all {
            if action == Action::Allow {
                risks.push(Risk::new(
                    key(&format!("inspect.{state}")),
                    format!("`allow`: objects with verdict `{state}` pass"),
                ));
            }
        }
    }
    let inspects_uploads = rule.terms.inspection.as_ref().is_some_and(|terms| terms.uploads);
    if inspectors && rule.actions.contains("s3:PutObject") && !inspects_uploads {
        risks.push(Risk::new(key("inspect"), "allows uploads that no inspector looks at, though there are inspectors"));
    }
}

/// A quarantine in the place of a rule that is about more than that.
fn open_quarantine(rule: &RuleSettings, all: &[RuleSettings]) -> Option<Risk> {
    let holds = |place: &Place, kept: &QuarantinePlace| {
        place.bucket == kept.bucket && place.prefix.text() != kept.prefix && place.prefix.could_cover(&kept.of_a_day())
    };
    let mut kept = all.iter().filter_map(|rule| rule.terms.inspection.as_ref()?.quarantine.as_ref());
    let QuarantinePlace { bucket, prefix } = kept.find(|kept| rule.places.iter().any(|place| holds(place, kept)))?;
    let touching = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject"];
    touching.iter().any(|action| rule.actions.contains(action)).then(|| {
        let what =
            format!("holds the quarantine {bucket}/{prefix}: what was refused is open to those whom this rule allows");
        Risk::new(format!("rules[{}].where", rule.name), what)
    })
}

/// Audit records on a standard output that goes nowhere.
fn lost_audit(config: &Config) -> Option<Risk> {
    let lost = config.audit.sinks.iter().all(|sink| matches!(sink.outlet, OutletSettings::Stdout))
        && std::fs::read_link("/proc/self/fd/1").is_ok_and(|target| target.as_os_str() == "/dev/null");
    lost.then(|| Risk::new("audit.file", "audit records go to standard output, and that is /dev/null"))
}

fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

fn listed(things: impl Iterator<Item: fmt::Display>) -> String {
    let all: Vec<_> = things.map(|thing| thing.to_string()).collect();
    if all.is_empty() { "nothing more".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MapReferences, load_text};

    const SAFE: &str = r#"
listen: [{ address: 127.0.0.1:8080 }, { address: "[::1]:8080" }]
upstreams:
  main: { endpoint: "https://s3.example.com", region: eu-1, credentials: { access_key_id: env:ID, secret_access_key: env:SECRET } }
buckets: { data: { upstream: main } }
clients: { tokens: [{ name: ci, hash: env:HASH }] }
inspectors: { words: { patterns: { literals: { word: nightjar } } } }
rules:
  - { name: uploads, who: { tokens: ci }, where: data, what: write, inspect: { with: words } }
  - { name: nobody, effect: deny, who: anyone, where: data, what: delete }
"#;

    fn config(text: &str) -> Config {
        let hash = crate::auth::app_token::generate().1;
        let env = [("ID", "id"), ("SECRET", "secret-value"), ("HASH", &hash)];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let references = MapReferences { env, ..MapReferences::default() };
        load_text("test.yaml", text, &references).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }

    /// The keys that are told as risky after `from` was replaced by `to`.
    fn risky_keys(from: &str, to: &str) -> Vec<String> {
        assert!(SAFE.contains(from), "{from}");
        risks(&config(&SAFE.replacen(from, to, 1))).into_iter().map(|risk| risk.key).collect()
    }

    #[test]
    fn a_careful_configuration_has_no_risks() {
        assert_eq!(risks(&config(SAFE)), []);
    }

    #[test]
    fn each_risk_is_told_with_the_key_to_change() {
        let cases = [
            ("\"[::1]:8080\"", "\"[::]:8080\"", "listen[1].tls"),
            ("127.0.0.1:8080", "192.0.2.7:8080", "listen[0].tls"),
            ("https://s3", "http://s3", "upstreams.main.endpoint"),
            ("clients: { ", "clients: { signing: { unsigned_payload: anywhere }, ", "clients.signing.unsigned_payload"),
            ("who: { tokens: ci }", "who: anyone", "rules[uploads].who"),
            (", inspect: { with: words }", "", "rules[uploads].inspect"),
            ("with: words", "with: words, uploads: false, downloads: { hold: 1MiB }", "rules[uploads].inspect"),
            ("with: words", "with: words, error: allow", "rules[uploads].inspect.error"),
            ("with: words", "with: words, matched: allow", "rules[uploads].inspect.matched"),
            ("with: words", "with: words, not_scannable: allow", "rules[uploads].inspect.not_scannable"),
            (
                "clients: { ",
                "sts: { enabled: true }\nclients: { issuers: [{ name: idp, issuer: \"https://idp.example.com\", audience: s3, algorithms: [RS256] }], ",
                "sts.keys",
            ),
        ];
        for (from, to, key) in cases {
            assert_eq!(risky_keys(from, to), [key], "{to}");
        }
    }

    #[test]
    fn a_quarantine_in_the_place_of_another_rule_is_a_risk() {
        let kept =
            "where: data/in/, what: write, inspect: { with: words, matched: quarantine, quarantine: data/kept/ } }";
        let from = "where: data, what: write, inspect: { with: words } }";
        for (other, keys) in [
            ("where: data, what: read", &["rules[other].where"][..]),
            ("where: [data/x/, data], what: delete", &["rules[other].where"]),
            ("where: data/kept/, what: [read, delete]", &[]),
            ("where: data/other/, what: read", &[]),
            ("where: data, what: list", &[]),
            ("where: data, what: read, effect: deny", &[]),
        ] {
            let to = format!("{kept}\n  - {{ name: other, who: {{ tokens: ci }}, {other} }}");
            assert_eq!(risky_keys(from, &to), keys, "{other}");
        }
    }

    #[test]
    fn l14_an_application_beside_the_gateway_is_no_operator() {
        let named = "{ address: 127.0.0.1:8080, identity: { name: app } }";
        assert_eq!(risky_keys("{ address: 127.0.0.1:8080 }", named), ["listen[0].identity", "admin.tokens"]);
        let guarded =
            format!("admin: {{ tokens: [{{ name: ops, hash: \"sha256:{}\" }}] }}\nlisten: [{named}", "5a".repeat(32));
        assert_eq!(risky_keys("listen: [{ address: 127.0.0.1:8080 }", &guarded), ["listen[0].identity"]);
    }

    #[test]
    fn l14_tokens_of_operators_in_clear_text_are_a_risk() {
        let with_address = |address: &str| {
            let hash = "5a".repeat(32);
            let admin =
                format!("admin: {{ address: \"{address}\", tokens: [{{ name: ops, hash: \"sha256:{hash}\" }}] }}");
            risky_keys("listen: [", &format!("{admin}\nlisten: ["))
        };
        assert_eq!(with_address("0.0.0.0:9090"), ["admin.tls"]);
        assert_eq!(with_address("[::1]:9090"), [""; 0]);
    }

    #[test]
    fn what_is_near_to_a_risk_is_none() {
        for (from, to) in [
            ("https://s3.example.com", "http://127.0.0.1:9000"),
            ("https://s3.example.com", "http://localhost:9000"),
            ("with: words", "with: words, error: mark"),
            ("what: write, inspect: { with: words }", "what: read"),
        ] {
            assert_eq!(risky_keys(from, to), [""; 0], "{to}");
        }
    }

    #[test]
    fn the_lines_tell_what_runs_here() {
        let text = lines(&config(SAFE), Path::new("/etc/gw.yaml")).join("\n");
        for part in [
            env!("CARGO_PKG_VERSION"),
            "configuration /etc/gw.yaml",
            "serves clients on 127.0.0.1:8080: clear text",
            "serves operators on 127.0.0.1:9090: clear text, for this machine only",
            "store `main`: https://s3.example.com:443, region eu-1",
            "1 bucket, 2 rules; 1 app token, 0 access keys, 0 issuers; STS off",
            "inspectors: words",
            "audit records go to standard output",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("secret-value"), "{text}");
    }
}
