//! Files that are accepted, and the settings they become.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::{BASE, HASH, edited, load, references};
use crate::audit::settings::OutletSettings;
use crate::auth::{KeySource, UnsignedPayload};
use crate::base::RouteId;
use crate::config::{Config, LogFormat, LogLevel, load_text};
use crate::inspect::{KindSettings, clamd, icap};
use crate::rules::settings::Client;
use crate::rules::{Effect, Rates, RequestRate};
use crate::s3::addressing::Domains;
use crate::s3::{Bucket, OddKeys};
use crate::upstream::{Addressing, BreakerSettings, ChecksumMode, CredentialSettings, PayloadMode};

fn requests(per_second: u32, burst: u32) -> Option<RequestRate> {
    Some(RequestRate { per_second: NonZeroU32::new(per_second)?, burst: NonZeroU32::new(burst)? })
}

pub(super) fn loaded(text: &str) -> Config {
    load(text).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"))
}

#[test]
fn a_small_file_gets_every_default() {
    let config = loaded(BASE);
    assert_eq!(config.edge.listeners[0].address.to_string(), "127.0.0.1:8080");
    assert!(config.edge.listeners[0].tls.is_none());
    assert_eq!(config.edge.admin.to_string(), "127.0.0.1:9090");
    assert_eq!(config.edge.drain_timeout, Duration::from_secs(30));
    let limits = &config.edge.limits;
    assert_eq!(
        (limits.max_connections, limits.max_head_bytes, limits.max_headers, limits.max_target_bytes),
        (4096, 32768, 100, 8192)
    );
    assert_eq!((limits.min_body_rate, limits.linger_bytes, limits.h2_max_streams), (1024, 4 << 20, 100));
    assert_eq!(limits.buffer_bytes, 16 << 20);
    let seconds = [
        limits.handshake_timeout,
        limits.head_timeout,
        limits.body_idle_timeout,
        limits.body_rate_window,
        limits.linger_timeout,
    ]
    .map(|time| time.as_secs());
    assert_eq!(seconds, [10, 30, 60, 30, 5]);
    assert!(matches!(config.audit.sinks[0].outlet, OutletSettings::Stdout), "{:?}", config.audit);
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Auto));

    let upstream = &config.upstreams[0];
    assert_eq!(
        (upstream.name.as_str(), upstream.tls, upstream.host.as_str(), upstream.port),
        ("store", true, "s3.example.com", 443)
    );
    assert_eq!(
        (upstream.addressing, upstream.payload, upstream.checksum),
        (Addressing::Path, PayloadMode::Unsigned, ChecksumMode::Trailer)
    );
    assert_eq!((upstream.max_connections, upstream.max_waiting, upstream.principal_share), (512, 128, 50));
    assert_eq!(upstream.breaker, BreakerSettings { failures: 10, pause: Duration::from_secs(5) });
    assert_eq!(config.limits.per_principal, Rates::default());
    assert_eq!(config.limits.failed_authentications, requests(100, 10_000));
    let seconds =
        [upstream.connect_timeout, upstream.first_byte_timeout, upstream.idle_timeout, upstream.pool_idle_timeout]
            .map(|time| time.as_secs());
    assert_eq!(seconds, [5, 60, 60, 8]);
    let CredentialSettings::Static { access_key_id, session_token: None, .. } = &upstream.credentials else {
        panic!("{:?}", upstream.credentials)
    };
    assert_eq!(access_key_id.expose(), "AKIDFORTESTS000000001");

    let bucket = Bucket {
        name: "team-data".to_owned(),
        route: RouteId(0),
        upstream_bucket: "corp-team-data".to_owned(),
        upstream_prefix: "gw/".to_owned(),
        odd_keys: OddKeys::Refuse,
        passed_through: false,
    };
    assert_eq!(config.buckets.get("team-data").map(|found| (*found).clone()), Some(bucket));
}

#[test]
fn clients_and_rules_become_settings() {
    let config = loaded(BASE);
    let token = &config.auth.tokens[0];
    assert_eq!((token.name.as_str(), hex::encode(token.digest), token.expires), ("ci", HASH[7..].to_owned(), None));
    assert_eq!(token.attributes["team"], ["build"]);
    let issuer = &config.auth.issuers[0];
    assert_eq!((issuer.name.as_str(), issuer.issuer.as_str()), ("corp", "https://idp.example.com/"));
    assert_eq!(
        (&issuer.audiences[..], &issuer.algorithms[..]),
        (&["s3-gateway".to_owned()][..], &[Algorithm::RS256][..])
    );
    assert_eq!(
        (&issuer.keys, issuer.required, issuer.principal_claim.as_str(), issuer.leeway.as_secs()),
        (&KeySource::Discovery, true, "sub", 30)
    );

    let [allow, deny] = &config.rules[..] else { panic!("two rules") };
    assert_eq!((allow.effect, deny.effect), (Effect::Allow, Effect::Deny));
    assert_eq!(allow.who.clients, [Client::Token("ci".to_owned())]);
    assert!(deny.who.clients.is_empty() && deny.who.attributes.is_empty());
    assert_eq!((allow.places[0].bucket.as_str(), allow.places[0].prefix.text().as_str()), ("team-data", "builds/"));
    assert!(allow.actions.contains("s3:PutObject") && !allow.actions.contains("s3:DeleteObject"));
    assert!(deny.actions.contains("s3:DeleteObject"));
    assert!(
        !allow.terms.check_bytes
            && !allow.terms.signed_payload
            && allow.terms.max_size.is_none()
            && !allow.terms.response_overrides
    );
}

/// Every key there is, written once, most with another value than the default.
pub(super) const EVERYTHING: &str = r#"
listen:
  - address: "[::1]:8443"
  - address: 127.0.0.1:0
  - address: 127.0.0.1:0
admin:
  address: "[::1]:9091"
  tokens:
    - name: ops
      hash: "sha256:1111111111111111111111111111111111111111111111111111111111111111"
      expires: 2999-01-01T00:00:00Z
  hosts: countersign-admin.example.com
  metrics: protected
upstreams:
  aws:
    endpoint: https://s3.eu-central-1.amazonaws.com/
    region: eu-central-1
    addressing: virtual-host
    credentials: { access_key_id: env:ID, secret_access_key: env:KEY, session_token: env:KEY }
    payload: signed
    checksum: header
    max_connections: 64
    max_waiting: 0
    principal_share: 100
    breaker: { failures: 0, pause: 30s }
    timeouts: { connect: 500ms, first_byte: 1m, idle: 1h30m, pool_idle: 4s }
  rack:
    endpoint: env:RACK
    region: garage
    credentials: { access_key_id: env:ID, secret_access_key: env:KEY }
buckets:
  public: { upstream: aws, bucket: corp-data, prefix: "a/b/" }
  other: { upstream: aws, bucket: corp-data, prefix: "a/c/" }
  rack-data: { upstream: rack, odd_keys: pass, cors: [{ origins: "*", methods: [GET], headers: [x-a], expose: [x-b], max_age: 1h }] }
clients:
  tokens:
    - name: ci
      hash: env:HASH
      expires: 2027-01-01T00:00:00Z
      attributes: { team: build, groups: [a, b], sub: ci, number: 010, flag: true }
  access_keys:
    - { name: etl, id: CSAK4N7Q2W5T3Z6X7Y2M, secret: env:SECRET, expires: 2027-01-01T00:00:00Z, attributes: { team: build } }
    - { name: ci, id: other-key_1.0, secret: env:SECRET }
  signing: { regions: [eu-1, us-east-1], clock_skew: 5m, presigned_expiry: 24h, unsigned_payload: anywhere, host: "s3.example.com:8443" }
  issuers:
    - name: corp
      issuer: http://127.0.0.1:8888/realms/x
      audience: [s3-gateway, s3]
      algorithms: [PS256, EdDSA]
      keys: discovery
      jwks_hosts: [WWW.googleapis.com]
      required: false
      token_types: [application/AT+JWT]
      required_claims: { token_use: access, scope: [a, b] }
      principal: email
      attributes: { groups: "cognito:groups", tenant: tenant }
      leeway: 0s
    - { name: k8s, issuer: "https://kubernetes.default.svc", audience: s3, algorithms: [RS256], keys: { url: "https://10.0.0.1/openid/v1/jwks" } }
sts:
  enabled: true
  lifetime: 12h
  keys: [{ id: "2026.11", secret: env:SESSION_KEY }, { id: old, secret: env:OLD_SESSION_KEY }]
  roles: ["arn:aws:iam::000000000000:role/s3"]
rules:
  - name: all
    effect: allow
    who: { tokens: ci, keys: [etl], issuers: [corp], groups: a, attributes: { team: [build, ops] }, networks: [10.0.0.0/8, "::1"] }
    where: ["public/home/{sub}/", rack-data/, "other/t-{groups}/x/"]
    what: [read, s3:PutObject, "s3:GetObjectT*"]
    limits:
      min_size: 1B
      max_size: 10MiB
      per_principal: { request_rate: 5, request_burst: 20, upload_rate: 64KiB }
      together: { download_rate: 1TiB, requests_in_flight: 1000000 }
    content: { types: [IMAGE/png, "text/*"], extensions: [PNG], check_bytes: true, signed_payload: true }
    headers:
      require: { x-amz-meta-owner: null, content-type: text/plain, Content-MD5: null, x-amz-meta-n: 5 }
      set: { x-amz-server-side-encryption: AES256, Cache-Control: no-store, if-none-match: "*" }
      allow: x-amz-storage-class
    response_overrides: true
limits:
  max_connections: 100
  timeouts: { handshake: 1s, head: 2s, body_idle: 3s, drain: 4s, linger: 5s }
  max_head: 64KiB
  max_headers: 50
  max_target: 4KiB
  min_body_rate: 2KiB
  body_rate_window: 10s
  linger: 0
  http2_max_streams: 7
  per_principal: { request_rate: 100, requests_in_flight: 1 }
  failed_authentications: { rate: 7, burst: 8 }
  staging: { keep_objects: 1h, keep_uploads: 720h }
  inspection: { held: 1GiB, verdicts: 7, remember: 2h }
audit: { file: /var/log/countersign/audit.jsonl }
log: { level: debug, format: json }
inspectors:
  antivirus:
    clamd: { addresses: ["tcp://10.0.0.5:3310", "unix:/run/clamav/clamd.ctl"], max_size: 64MiB, connect_timeout: 1s, not_scannable: [Heuristics.], probe: strict }
  gateway-scanner:
    icap: { url: "icaps://av.example.com/avscan?x=1", max_size: 1GiB, connect_timeout: 3s, not_scannable: Encrypted, trust_preview: true, send_type: true, probe: none }
"#;

fn everything() -> Config {
    let mut refs = references();
    refs.env.insert("RACK".to_owned(), "http://10.0.0.9:3900".to_owned());
    refs.env.insert("SESSION_KEY".to_owned(), "a-new-secret-of-32-characters-at-least".to_owned());
    refs.env.insert("OLD_SESSION_KEY".to_owned(), "an-old-secret-of-32-characters-at-least".to_owned());
    load_text("all.yaml", EVERYTHING, &refs).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_key_of_upstreams_and_buckets_can_be_written() {
    let config = everything();
    let [aws, rack] = &config.upstreams[..] else { panic!("two upstreams") };
    assert_eq!(
        (aws.addressing, aws.payload, aws.checksum, aws.max_connections),
        (Addressing::VirtualHost, PayloadMode::Signed, ChecksumMode::Header, 64)
    );
    assert_eq!((aws.max_waiting, aws.principal_share), (0, 100));
    assert_eq!(aws.breaker, BreakerSettings { failures: 0, pause: Duration::from_secs(30) });
    assert_eq!((aws.connect_timeout, aws.idle_timeout), (Duration::from_millis(500), Duration::from_secs(5400)));
    assert_eq!(
        (rack.tls, rack.host.as_str(), rack.port, rack.payload, rack.checksum),
        (false, "10.0.0.9", 3900, PayloadMode::Signed, ChecksumMode::Header)
    );
    assert_eq!(
        config.buckets.get("rack-data").map(|bucket| (bucket.route, bucket.upstream_bucket.clone(), bucket.odd_keys)),
        Some((RouteId(1), "rack-data".to_owned(), OddKeys::Pass))
    );
}

#[test]
fn every_key_of_clients_can_be_written() {
    let config = everything();
    let token = &config.auth.tokens[0];
    assert_eq!(token.expires.map(|instant| instant.to_string()).as_deref(), Some("2027-01-01T00:00:00Z"));
    assert_eq!(
        (&token.attributes["groups"][..], &token.attributes["number"][..], &token.attributes["flag"][..]),
        (&["a".to_owned(), "b".to_owned()][..], &["010".to_owned()][..], &["true".to_owned()][..])
    );
    let [corp, k8s] = &config.auth.issuers[..] else { panic!("two issuers") };
    assert_eq!(
        (&corp.algorithms[..], corp.leeway, corp.required),
        (&[Algorithm::PS256, Algorithm::EdDSA][..], Duration::ZERO, false)
    );
    assert_eq!(
        (corp.jwks_hosts[0].as_str(), corp.token_types[0].as_str(), corp.principal_claim.as_str()),
        ("www.googleapis.com", "at+jwt", "email")
    );
    assert_eq!(
        (&corp.required_claims["scope"][..], corp.attributes["groups"].as_str()),
        (&["a".to_owned(), "b".to_owned()][..], "cognito:groups")
    );
    assert_eq!(k8s.keys, KeySource::Url("https://10.0.0.1/openid/v1/jwks".to_owned()));
}

#[test]
fn every_key_of_sts_can_be_written() {
    let config = everything();
    let sessions = config.auth.sessions.unwrap();
    let keys: Vec<_> = sessions.keys.iter().map(|key| (key.id.as_str(), key.secret.expose())).collect();
    assert_eq!(
        keys,
        [("2026.11", "a-new-secret-of-32-characters-at-least"), ("old", "an-old-secret-of-32-characters-at-least")]
    );
    assert_eq!(sessions.lifetime, Duration::from_secs(12 * 3600));
    assert_eq!(config.sts.unwrap().roles, ["arn:aws:iam::000000000000:role/s3"]);
}

#[test]
fn sts_is_off_unless_it_is_said() {
    for (written, on) in
        [("", false), ("enabled: false, lifetime: 2h", false), ("lifetime: 2h", false), ("enabled: true", true)]
    {
        let config = loaded(&edited("rules:", &format!("sts: {{ {written} }}\nrules:")));
        assert_eq!((config.auth.sessions.is_some(), config.sts.is_some()), (on, on), "{written}");
        assert!(
            config.auth.sessions.is_none_or(|sessions| sessions.keys.is_empty() && sessions.lifetime.as_secs() == 3600)
        );
    }
}

#[test]
fn every_key_of_access_keys_and_signing_can_be_written() {
    let config = everything();
    let [etl, ci] = &config.auth.access_keys[..] else { panic!("two access keys") };
    assert_eq!((etl.name.as_str(), etl.id.as_str()), ("etl", "CSAK4N7Q2W5T3Z6X7Y2M"));
    assert_eq!(etl.secret.expose(), "s3cr3t-0f-an-access-key");
    assert_eq!(etl.expires.map(|instant| instant.to_string()).as_deref(), Some("2027-01-01T00:00:00Z"));
    assert_eq!(&etl.attributes["team"][..], ["build"]);
    assert_eq!((ci.name.as_str(), ci.id.as_str(), ci.expires), ("ci", "other-key_1.0", None));
    let signing = &config.auth.signing;
    assert_eq!(signing.regions, ["eu-1", "us-east-1"]);
    assert_eq!((signing.clock_skew.as_secs(), signing.presigned_expiry.as_secs()), (300, 86_400));
    assert_eq!(signing.unsigned_payload, UnsignedPayload::Anywhere);
    assert_eq!(signing.host.as_deref(), Some("s3.example.com:8443"));
}

#[test]
fn signed_requests_have_defaults_and_the_regions_of_the_upstreams() {
    let signing = loaded(BASE).auth.signing;
    assert_eq!(signing.regions, ["eu-central-1", "us-east-1"]);
    assert_eq!((signing.clock_skew.as_secs(), signing.presigned_expiry.as_secs()), (900, 604_800));
    assert_eq!((signing.unsigned_payload, signing.host), (UnsignedPayload::Loopback, None));
    let any = loaded(&edited("clients:\n", "clients:\n  signing: { regions: \"*\" }\n"));
    assert!(any.auth.signing.regions.is_empty(), "every region");
    let keys_alone = BASE.replace(
        "  tokens:\n    - name: ci\n      hash: env:HASH\n",
        "  access_keys:\n    - name: ci\n      id: CSAK1\n      secret: env:SECRET\n",
    );
    assert_eq!(loaded(&keys_alone.replace("tokens: [ci]", "keys: [ci]")).auth.access_keys.len(), 1);
}

#[test]
fn every_key_of_rules_can_be_written() {
    let config = everything();
    let rule = &config.rules[0];
    let named = [Client::Token("ci".to_owned()), Client::Key("etl".to_owned()), Client::Issuer("corp".to_owned())];
    assert_eq!(rule.who.clients, named);
    assert_eq!(
        rule.who.attributes,
        [("groups".to_owned(), vec!["a".to_owned()]), ("team".to_owned(), vec!["build".to_owned(), "ops".to_owned()])]
    );
    assert_eq!(rule.who.networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
    assert_eq!(
        rule.places.iter().map(|place| format!("{}/{}", place.bucket, place.prefix.text())).collect::<Vec<_>>(),
        ["public/home/{sub}/", "rack-data/", "other/t-{groups}/x/"]
    );
    let terms = &rule.terms;
    assert_eq!(
        (terms.min_size, terms.max_size, terms.check_bytes && terms.signed_payload, terms.response_overrides),
        (1, Some(10 << 20), true, true)
    );
    assert_eq!(
        (&terms.content_types[..], &terms.extensions[..]),
        (&["image/png".to_owned(), "text/*".to_owned()][..], &["png".to_owned()][..])
    );
    let required: Vec<_> = terms
        .require_headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_ref().and_then(|value| value.to_str().ok())))
        .collect();
    assert_eq!(
        required,
        [
            ("content-md5", None),
            ("content-type", Some("text/plain")),
            ("x-amz-meta-n", Some("5")),
            ("x-amz-meta-owner", None)
        ]
    );
    assert_eq!(
        terms.set_headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["cache-control", "if-none-match", "x-amz-server-side-encryption"]
    );
    assert_eq!(terms.allow_headers, ["x-amz-storage-class"]);
}

#[test]
fn every_key_of_listeners_limits_and_logs_can_be_written() {
    let config = everything();
    assert_eq!(config.edge.listeners.len(), 3);
    assert_eq!((config.edge.admin.to_string().as_str(), config.edge.drain_timeout.as_secs()), ("[::1]:9091", 4));
    assert_eq!((config.edge.limits.linger_bytes, config.edge.limits.h2_max_streams), (0, 7));
    let OutletSettings::File(file) = &config.audit.sinks[0].outlet else { panic!("{:?}", config.audit) };
    assert_eq!(file.path, PathBuf::from("/var/log/countersign/audit.jsonl"));
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
}

#[test]
fn every_key_of_rates_can_be_written() {
    let config = everything();
    let each = Rates { requests: requests(100, 100), in_flight: Some(1), ..Rates::default() };
    assert_eq!(config.limits.per_principal, each, "a burst is one second's requests if nothing else is said");
    assert_eq!(config.limits.failed_authentications, requests(7, 8));
    let terms = &config.rules[0].terms;
    let upload = NonZeroU64::new(64 << 10);
    assert_eq!(terms.rates_per_principal, Rates { requests: requests(5, 20), upload, ..Rates::default() });
    let download = NonZeroU64::new(1 << 40);
    assert_eq!(terms.rates_together, Rates { download, in_flight: Some(1_000_000), ..Rates::default() });
    let uncounted = loaded(&format!("{BASE}limits: {{ failed_authentications: {{ rate: 0 }} }}\n"));
    assert_eq!(uncounted.limits.failed_authentications, None);
}

#[test]
fn anchors_of_yaml_work_and_dash_is_standard_output() {
    let text = edited("who: { tokens: [ci] }", "who: &us { tokens: [ci] }").replace("who: anyone", "who: *us")
        + "audit: { file: \"-\" }\n";
    let config = loaded(&text);
    assert_eq!(config.rules[1].who.clients, [Client::Token("ci".to_owned())]);
    assert!(matches!(config.audit.sinks[0].outlet, OutletSettings::Stdout), "{:?}", config.audit);
}

#[test]
fn k24_plain_http_to_loopback_may_leave_bodies_unsigned() {
    let config = loaded(&edited("https://s3.example.com", "http://127.0.0.1:9000\n    payload: unsigned"));
    assert_eq!((config.upstreams[0].tls, config.upstreams[0].payload), (false, PayloadMode::Unsigned));
}

#[test]
fn the_name_for_every_bucket_maps_all_that_are_not_configured() {
    let text = edited(
        "team-data: { bucket: corp-team-data, prefix: gw/ }",
        "team-data: { bucket: corp-team-data, prefix: gw/ }\n  \"*\": { upstream: store }",
    );
    let text = text.replace("where: team-data/secret/", "where: [\"*/secret/\", \"*\", some-bucket, team-data]");
    let config = loaded(&text);
    let mapping = config.buckets.pass_through().unwrap();
    assert_eq!((mapping.route, mapping.odd_keys), (RouteId(0), OddKeys::Refuse));
    assert_eq!(mapping.hidden.iter().collect::<Vec<_>>(), ["corp-team-data"]);
    assert!(config.buckets.get("anything").unwrap().passed_through);
    assert_eq!(config.buckets.iter().count(), 1, "`*` itself is no bucket");
    let places: Vec<_> = config.rules[1].places.iter().map(|place| place.bucket.as_str()).collect();
    assert_eq!(places, ["*", "*", "some-bucket", "team-data"]);
    assert_eq!(loaded(BASE).buckets.pass_through(), None);
}

#[test]
fn domains_are_taken_as_one_or_as_a_list() {
    let domains = |written: &str| {
        loaded(&edited("listen:\n", &format!("domains: {written}\nlisten:\n"))).buckets.domains().clone()
    };
    assert_eq!(domains("s3.example.com"), Domains::new(["s3.example.com".to_owned()]));
    let two = Domains::new(["s3.example.com".to_owned(), "xs3.example.com".to_owned()]);
    assert_eq!(domains("[s3.example.com, xs3.example.com]"), two);
    assert_eq!(loaded(BASE).buckets.domains(), &Domains::default());
}

#[test]
fn every_key_of_scanners_can_be_written() {
    let config = everything();
    let hours = |count: u64| Duration::from_secs(3600 * count);
    assert_eq!((config.sweeping.objects, config.sweeping.uploads), (hours(1), hours(720)));
    assert_eq!((loaded(BASE).sweeping.objects, loaded(BASE).sweeping.uploads), (hours(24), hours(168)));
    let of = |name: &str| config.inspectors.iter().find(|found| found.name == name).map(|found| found.kind.clone());
    let Some(KindSettings::Clamd(clamd)) = of("antivirus") else { panic!("{:?}", config.inspectors) };
    let expected = clamd::Settings {
        addresses: vec![
            clamd::Address::Tcp { host: "10.0.0.5".to_owned(), port: 3310 },
            clamd::Address::Unix(PathBuf::from("/run/clamav/clamd.ctl")),
        ],
        max_size: 64 << 20,
        connect_timeout: Duration::from_secs(1),
        not_scannable: vec!["Heuristics.".to_owned()],
        probe: clamd::Probe::Strict,
    };
    assert_eq!(clamd, expected);
    let Some(KindSettings::Icap(icap)) = of("gateway-scanner") else { panic!("{:?}", config.inspectors) };
    let expected = icap::Settings {
        url: "icaps://av.example.com:11344/avscan?x=1".parse().unwrap(),
        ca_file: None,
        max_size: 1 << 30,
        connect_timeout: Duration::from_secs(3),
        not_scannable: vec!["Encrypted".to_owned()],
        trust_preview: true,
        send_type: true,
        probe: icap::Probe::None,
    };
    assert_eq!(icap, expected);
}
