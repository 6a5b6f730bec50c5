//! The commented reference configuration: a walk through the schema, so that every key is there with what `raw` says of it.
//!
//! What is not commented out is the smallest file that loads. Values stand for the default where the description names one, else for what is
//! usual; [`VALUES`] has those that no description tells. A key that is missing there gets a placeholder of its kind.

use serde_json::{Map, Value};

use super::outline::{Effect, effect};
use super::schema::schema;

/// Longest line.
const WIDTH: usize = 120;

const HEAD: &str = "\
# Every key of the configuration. Made by `countersign reference` from src/config/raw.rs: do not edit.
#
# Prose stands behind `# `; a key that may be left out stands behind `#` without a blank. Take the `#` away to use it,
# and those of the keys that it stands under. The value is the default, or an example where none can be written.
#
# A change takes effect with a reload (docs/RELOAD.md), for new requests; at the next start where it says so.
";

/// Values by path that no description tells, and names that have to fit together. `[]` stands for an item, `*` for a name.
const VALUES: &[(&str, &str)] = &[
    ("listen[].identity.name", "app"),
    ("listen[].identity.attributes", "{ team: red }"),
    ("listen[].tls.certificate", "/etc/countersign/tls/tls.crt"),
    ("listen[].tls.key", "/etc/countersign/tls/tls.key"),
    ("listen[].tls.client.ca", "/etc/countersign/ca.pem"),
    ("listen[].tls.client.crls", "/etc/countersign/revoked.pem"),
    ("listen[].proxy_protocol.from", "10.0.0.0/24"),
    ("listen[].forwarded.from", "10.0.0.0/24"),
    ("clients.certificates[].name", "shop"),
    ("clients.certificates[].match.subject", "\"CN=etl,O=Example\""),
    ("clients.certificates[].match.dns", "etl.example.com"),
    ("clients.certificates[].match.uri", "\"urn:example:etl\""),
    ("clients.certificates[].match.spiffe.trust_domain", "example.org"),
    ("clients.certificates[].match.spiffe.path", "\"/ns/{namespace}/sa/{service_account}\""),
    ("clients.certificates[].attributes", "{ team: red }"),
    ("rules[].who.certificates", "[shop]"),
    ("admin.tls.certificate", "/etc/countersign/tls/tls.crt"),
    ("admin.tls.key", "/etc/countersign/tls/tls.key"),
    ("admin.tls.client_ca", "/etc/countersign/ca.pem"),
    ("admin.tls.crls", "/etc/countersign/revoked.pem"),
    ("admin.tokens[].name", "ops"),
    ("admin.tokens[].hash", "env:COUNTERSIGN_ADMIN_TOKEN_HASH"),
    ("admin.hosts", "countersign-admin.example.com"),
    ("upstreams.*.endpoint", "https://s3.eu-central-1.amazonaws.com"),
    ("upstreams.*.ca_file", "/etc/countersign/ca.pem"),
    ("upstreams.*.credentials.access_key_id", "env:COUNTERSIGN_STORE_ACCESS_KEY_ID"),
    ("upstreams.*.credentials.secret_access_key", "env:COUNTERSIGN_STORE_SECRET_ACCESS_KEY"),
    ("upstreams.*.credentials.session_token", "env:COUNTERSIGN_STORE_SESSION_TOKEN"),
    ("upstreams.*.credentials.file", "/etc/countersign/credentials"),
    ("upstreams.*.credentials.platform.source", "default-chain"),
    ("upstreams.*.credentials.platform.role_arn", "arn:aws:iam::123456789012:role/s3-gateway"),
    ("upstreams.*.credentials.platform.token_file", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"),
    ("upstreams.*.credentials.platform.session_name", "countersign"),
    ("upstreams.*.credentials.platform.sts_endpoint", "https://sts.eu-central-1.amazonaws.com"),
    ("upstreams.*.credentials.platform.region", "eu-central-1"),
    ("upstreams.*.credentials.platform.imds_endpoint", "http://169.254.169.254"),
    ("upstreams.*.credentials.platform.command", "[/usr/local/bin/get-keys, --role, s3]"),
    ("upstreams.*.credentials.platform.ca_file", "/etc/countersign/ca.pem"),
    ("upstreams.*.credentials.assume_role.role_arn", "arn:aws:iam::123456789012:role/s3-gateway"),
    ("upstreams.*.credentials.assume_role.external_id", "4f1d-countersign"),
    (
        "upstreams.*.credentials.assume_role.session_policy",
        "'{\"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": \"*\"}]}'",
    ),
    ("upstreams.*.credentials.assume_role.tags", "{ team: red }"),
    ("upstreams.*.credentials.assume_role.sts_endpoint", "https://sts.eu-central-1.amazonaws.com"),
    ("upstreams.*.credentials.assume_role.region", "eu-central-1"),
    ("upstreams.*.credentials.assume_role.ca_file", "/etc/countersign/ca.pem"),
    ("upstreams.*.seal_keys", "env:COUNTERSIGN_SEAL_KEY"),
    ("buckets.*.upstream", "store"),
    ("buckets.*.bucket", "corp-team-data"),
    ("buckets.*.cors[].origins", "https://app.example.com"),
    ("buckets.*.cors[].methods", "[GET, HEAD, PUT]"),
    ("buckets.*.cors[].headers", "\"*\""),
    ("buckets.*.cors[].expose", "[x-amz-meta-owner]"),
    ("clients.tokens[].name", "ci"),
    ("clients.tokens[].hash", "env:COUNTERSIGN_CI_TOKEN_HASH"),
    ("clients.tokens[].attributes", "{ team: red }"),
    ("clients.access_keys[].name", "etl"),
    ("clients.access_keys[].id", "CSAK4N7Q2W5T3Z6X7Y2M"),
    ("clients.access_keys[].secret", "env:COUNTERSIGN_KEY_ETL"),
    ("clients.access_keys[].attributes", "{ team: red }"),
    ("clients.signing.regions", "[eu-central-1, us-east-1]"),
    ("clients.signing.unsigned_payload", "loopback"),
    ("clients.signing.host", "s3.example.com"),
    ("clients.issuers[].name", "corp"),
    ("clients.issuers[].issuer", "https://idp.example.com/"),
    ("clients.issuers[].audience", "s3-gateway"),
    ("clients.issuers[].algorithms", "[RS256]"),
    ("clients.issuers[].jwks_token_file", "/var/run/secrets/kubernetes.io/serviceaccount/token"),
    ("clients.issuers[].jwks_hosts", "[www.googleapis.com]"),
    ("clients.issuers[].ca_file", "/etc/countersign/ca.pem"),
    ("clients.issuers[].required_claims", "{ token_use: access }"),
    ("clients.issuers[].attributes", "{ groups: groups }"),
    ("sts.keys[].id", "2026-11"),
    ("sts.keys[].secret", "env:COUNTERSIGN_SESSION_KEY"),
    ("sts.roles", "[\"arn:aws:iam::000000000000:role/s3\"]"),
    ("rules[].name", "ci-builds"),
    ("rules[].who.tokens", "[ci]"),
    ("rules[].who.keys", "[etl]"),
    ("rules[].who.issuers", "[corp]"),
    ("rules[].who.listeners", "[app]"),
    ("rules[].who.groups", "[red, blue]"),
    ("rules[].who.attributes", "{ team: red }"),
    ("rules[].where", "team-data/builds/"),
    ("rules[].what", "[read, write]"),
    ("rules[].limits.max_size", "5GiB"),
    ("rules[].limits.per_principal.upload_rate", "20MiB"),
    ("rules[].limits.per_principal.download_rate", "50MiB"),
    ("rules[].limits.together.upload_rate", "200MiB"),
    ("rules[].limits.together.download_rate", "500MiB"),
    ("limits.per_principal.upload_rate", "100MiB"),
    ("limits.per_principal.download_rate", "200MiB"),
    ("rules[].content.types", "[image/png, image/jpeg]"),
    ("rules[].content.extensions", "[png, jpg]"),
    ("rules[].inspect.with", "[antivirus]"),
    ("rules[].inspect.quarantine", "team-data/quarantine/"),
    ("rules[].inspect.mark", "tag:countersign-verdict"),
    ("inspectors.*.patterns.sets", "[eicar]"),
    ("inspectors.*.patterns.literals", "{ project: \"Project Nightjar\" }"),
    ("inspectors.*.patterns.regexes", "{ case: 'CASE-[0-9]{4,8}' }"),
    ("inspectors.*.patterns.files", "{ words: /etc/countersign/words.txt }"),
    ("inspectors.*.clamd.addresses", "unix:/run/clamav/clamd.ctl"),
    ("inspectors.*.file_type.allow", "[image/png, image/jpeg]"),
    ("inspectors.*.file_type.deny", "[active-content, executables]"),
    ("inspectors.*.icap.url", "icaps://scanner.example.com/avscan"),
    ("inspectors.*.yara.files", "/etc/countersign/yara/rules.yar"),
    ("inspectors.*.yara.folder", "/etc/countersign/yara.d"),
    ("inspectors.*.yara.whole_up_to", "8MiB"),
    ("inspectors.*.yara.ignore_tags", "[info]"),
    ("inspectors.*.http.url", "https://scanner.example.com/scan"),
    ("inspectors.*.http.headers", "{ authorization: env:COUNTERSIGN_SCANNER_TOKEN }"),
    ("inspectors.*.http.ca_file", "/etc/countersign/ca.pem"),
    ("inspectors.*.http.max_size", "1GiB"),
    ("rules[].headers.require", "{ x-amz-meta-owner: null, content-language: en }"),
    ("rules[].headers.set", "{ cache-control: no-store }"),
    ("tracing.accept", "any"),
    ("tracing.otlp.endpoint", "https://otel.example.com/v1/traces"),
    ("tracing.otlp.headers", "{ authorization: env:COUNTERSIGN_OTLP_TOKEN }"),
    ("tracing.otlp.ca_file", "/etc/countersign/ca.pem"),
    ("audit.file", "\"-\""),
    ("audit.sinks.*.stdout", "true"),
    ("audit.sinks.*.file.path", "/var/log/countersign/audit.jsonl"),
    ("audit.sinks.*.file.rotate.size", "100MiB"),
    ("audit.sinks.*.file.rotate.every", "24h"),
    ("audit.sinks.*.syslog.address", "tls://logs.example.com:6514"),
    ("audit.sinks.*.syslog.facility", "local0"),
    ("audit.sinks.*.syslog.ca_file", "/etc/countersign/ca.pem"),
    ("audit.sinks.*.http.url", "https://logs.example.com/ingest"),
    ("audit.sinks.*.http.headers", "{ authorization: env:COUNTERSIGN_LOGS_TOKEN }"),
    ("audit.sinks.*.http.ca_file", "/etc/countersign/ca.pem"),
];

/// What is said of keys that a reload does not change.
const AT_RESTART: &str = " Takes effect at the next start.";

/// Names for the mappings that have names of the operator's choice as keys.
const NAMES: &[(&str, &str)] =
    &[("upstreams", "store"), ("buckets", "team-data"), ("inspectors", "antivirus"), ("audit.sinks", "siem")];

/// Optional keys without which the file would not load.
const NEEDED: &[&str] = &[
    "clients",
    "upstreams.*.credentials.access_key_id",
    "upstreams.*.credentials.secret_access_key",
    "buckets.*.bucket",
    "clients.tokens",
    "rules[].who.tokens",
];

/// The reference configuration as YAML.
pub fn reference() -> String {
    let schema = schema();
    let walk = Walk { definitions: schema.get("$defs").and_then(Value::as_object) };
    let mut text = HEAD.to_owned();
    for (name, key) in properties(&schema) {
        text.push('\n');
        let needed = is_required(&schema, name) || NEEDED.contains(&name.as_str());
        walk.key(name, key, "", needed, 0).iter().for_each(|line| line.write(&mut text));
    }
    text
}

/// One line of the file.
struct Line {
    indent: usize,
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prose,
    Written,
    CommentedOut,
}

impl Line {
    fn write(&self, text: &mut String) {
        let mark = match self.kind {
            Kind::Prose => "# ",
            Kind::Written => "",
            Kind::CommentedOut => "#",
        };
        text.extend(std::iter::repeat_n(' ', self.indent));
        text.extend([mark, self.text.as_str(), "\n"]);
    }
}

/// How a key is written.
enum Shape<'a> {
    /// A mapping with these keys.
    Keys(&'a Value),
    /// A mapping from names to such a mapping.
    Names(&'a Value),
    /// A list of such mappings.
    Items(&'a Value),
    /// On the same line.
    Plain(String),
}

struct Walk<'a> {
    definitions: Option<&'a Map<String, Value>>,
}

impl<'a> Walk<'a> {
    /// The lines of a key: what is said of it, the key, and everything in it.
    fn key(&self, name: &str, schema: &'a Value, above: &str, written: bool, indent: usize) -> Vec<Line> {
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
        let kind = if written { Kind::Written } else { Kind::CommentedOut };
        let mut lines = self.description(schema, &path, indent);
        let start = |rest: &str| Line { indent, text: format!("{name}:{rest}"), kind };
        match self.shape(schema, &path) {
            Shape::Plain(value) => {
                lines.extend(self.other_form(schema, indent));
                lines.push(start(&format!(" {value}")));
            }
            Shape::Keys(inner) => {
                lines.push(start(""));
                lines.extend(self.keys(inner, &path, written, indent + 2));
            }
            Shape::Names(inner) => {
                let name = NAMES.iter().find(|(known, _)| *known == path).map_or("NAME", |(_, name)| name);
                lines.push(start(""));
                lines.push(Line { indent: indent + 2, text: format!("{name}:"), kind });
                lines.extend(self.keys(inner, &format!("{path}.*"), written, indent + 4));
            }
            Shape::Items(inner) => {
                lines.push(start(""));
                lines.extend(as_item(self.keys(inner, &format!("{path}[]"), written, indent + 4)));
            }
        }
        lines
    }

    /// What is said of a key, and when a change takes effect if not with a reload.
    fn description(&self, schema: &'a Value, path: &str, indent: usize) -> Vec<Line> {
        let is_plain = matches!(self.shape(schema, path), Shape::Plain(_));
        let waits = is_plain && effect(path) != Some(Effect::Reload);
        prose(&format!("{}{}", description(schema), if waits { AT_RESTART } else { "" }), indent)
    }

    fn keys(&self, schema: &'a Value, path: &str, written: bool, indent: usize) -> Vec<Line> {
        let line = |(name, key): (&'a String, &'a Value)| {
            let needed = is_required(schema, name) || NEEDED.contains(&format!("{path}.{name}").as_str());
            self.key(name, key, path, written && needed, indent)
        };
        properties(schema).flat_map(line).collect()
    }

    fn shape(&self, schema: &'a Value, path: &str) -> Shape<'a> {
        let resolved = self.resolve(schema);
        let has_keys = |value: &Value| value.get("properties").is_some();
        if has_keys(resolved) {
            return Shape::Keys(resolved);
        }
        let inner = |keyword| resolved.get(keyword).map(|inner| self.resolve(inner)).filter(|inner| has_keys(inner));
        if let Some(inner) = inner("additionalProperties") {
            return Shape::Names(inner);
        }
        if let Some(inner) = inner("items") {
            return Shape::Items(inner);
        }
        let value = VALUES.iter().find(|(known, _)| *known == path).map(|(_, value)| (*value).to_owned());
        let value = value.or_else(|| self.described_value(schema, resolved));
        match (value, self.mapping_form(resolved)) {
            (None, Some(mapping)) => Shape::Keys(mapping),
            (value, _) => Shape::Plain(value.unwrap_or_else(|| placeholder(resolved))),
        }
    }

    /// The default that the description names, or its first example.
    fn described_value(&self, schema: &Value, resolved: &Value) -> Option<String> {
        let text = description(schema);
        let quoted =
            |before: &str| text.split_once(before).and_then(|(_, rest)| rest.split_once('`')).map(|(word, _)| word);
        let bare =
            text.split_once("default ").map(|(_, rest)| rest.split([' ', '.', ';', ',']).next().unwrap_or_default());
        let bare = bare.filter(|word| matches!(*word, "true" | "false") || word.parse::<u64>().is_ok());
        // `word` (default)
        let marked = text.split_once("` (default").and_then(|(before, _)| before.rsplit('`').next());
        let word = quoted("default `").or(bare).or(marked).or_else(|| quoted("such as `"))?;
        let is_list = resolved.get("type").is_some_and(|kind| kind == "array");
        Some(if is_list { format!("[{word}]") } else { word.to_owned() })
    }

    /// The mapping that may stand instead of a word.
    fn mapping_form(&self, schema: &'a Value) -> Option<&'a Value> {
        let choices = schema.get("anyOf")?.as_array()?;
        choices.iter().map(|choice| self.resolve(choice)).find(|choice| choice.get("properties").is_some())
    }

    /// What the keys of the mapping mean that may stand instead of the word that is shown.
    fn other_form(&self, schema: &'a Value, indent: usize) -> Vec<Line> {
        let mapping = self.mapping_form(self.resolve(schema));
        let keys = mapping.into_iter().flat_map(properties);
        keys.flat_map(|(name, key)| prose(&format!("- `{name}`: {}", description(key)), indent)).collect()
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
        name.and_then(|name| self.definitions?.get(name)).unwrap_or(schema)
    }
}

/// Makes the lines of a mapping an item of a list: the dash stands before its first key.
fn as_item(mut lines: Vec<Line>) -> Vec<Line> {
    for line in &mut lines {
        line.indent -= 2;
        if line.kind != Kind::Prose {
            line.text.insert_str(0, "- ");
            break;
        }
    }
    lines
}

fn prose(text: &str, indent: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if indent + 2 + line.text.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.text.push(' ');
                line.text.push_str(word);
            }
            _ => lines.push(Line { indent, text: word.to_owned(), kind: Kind::Prose }),
        }
    }
    lines
}

fn placeholder(schema: &Value) -> String {
    let choices = ["enum", "oneOf"].into_iter().find_map(|keyword| schema.get(keyword)?.as_array()?.first());
    if let Some(word) = choices.map(|choice| choice.get("const").unwrap_or(choice)).and_then(Value::as_str) {
        return word.to_owned();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("integer") => "1",
        Some("boolean") => "true",
        Some("array") => "[TEXT]",
        Some("object") => "{ NAME: TEXT }",
        _ => "TEXT",
    }
    .to_owned()
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn description(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

fn is_required(schema: &Value, name: &str) -> bool {
    schema.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|known| known == name))
}
