//! The schema and the reference configuration against what the loader takes.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::examples::{file_references, yaml_files};
use super::good::EVERYTHING;
use super::{BASE, edited};
use crate::config::node::{Node, Value};
use crate::config::outline::{Effect, effect};
use crate::config::{load_text, reference, schema};
use crate::inspect::yara::IS_BUILT_IN;
use crate::sign::credentials::HAS_PLATFORM;

/// A file as an editor sees it.
fn as_json(text: &str) -> Json {
    let mut root = Node::parse(text).unwrap_or_else(|error| panic!("{error:?}\nin\n{text}"));
    assert!(root.take_repeated_keys().is_empty(), "a key is there twice in\n{text}");
    json_of(&root)
}

fn json_of(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(yes) => json!(yes),
        Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        Value::Text(text) => json!(text),
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Map(entries) => entries.iter().map(|(key, node)| (key.name.clone(), json_of(node))).collect(),
    }
}

fn flaws(text: &str) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    validator.iter_errors(&as_json(text)).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn reference_file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.yaml")
}

#[test]
fn the_schema_is_one_of_draft_2020_12() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn files_that_load_fit_the_schema() {
    let files = yaml_files();
    assert!(files.len() >= 7, "{files:?}");
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    for text in texts.chain([BASE, EVERYTHING].map(str::to_owned)) {
        assert_eq!(flaws(&text), [""; 0], "{text}");
    }
}

#[test]
fn files_with_mistakes_that_a_schema_can_see_do_not_fit() {
    for (from, to) in [
        ("  - address:", "  - adress:"),
        ("    region:", "    regoin:"),
        ("rules:", "ruls:"),
        ("    where: team-data/builds/", "    wher: team-data/builds/"),
        ("audience: s3-gateway", "audience: s3-gateway\n      colour: red"),
        ("prefix: gw/", "prefix: gw/, odd-keys: pass"),
        ("    who: anyone", "    who: anyone\n    limits: { max_siz: 1MiB }"),
        ("    who: anyone", "    who: everybody"),
        ("who: { tokens: [ci] }", "who: { tokns: [ci] }"),
        ("who: { tokens: [ci] }", "who: { tokens: }"),
        ("    effect: deny", "    effect: Deny"),
        ("algorithms: [RS256]", "algorithms: RS256"),
        ("prefix: gw/", "prefix: [gw/]"),
        ("    region: eu-central-1", "    region:"),
        ("    region: eu-central-1\n", ""),
        ("rules:", "log: { format: xml }\nrules:"),
        ("rules:", "log: { colour: red }\nrules:"),
        ("rules:", "limits: { max_connections: many }\nrules:"),
        ("algorithms: [RS256]", "algorithms: [RS256]\n      keys: { uri: x }"),
        ("algorithms: [RS256]", "algorithms: [RS256]\n      keys: files"),
    ] {
        assert!(!flaws(&edited(from, to)).is_empty(), "{to}");
    }
}

#[test]
fn config_reference_yaml_is_what_the_command_prints() {
    let file = std::fs::read_to_string(reference_file()).unwrap();
    assert!(
        file == reference(),
        "config/reference.yaml is not what `countersign reference` prints: run `make reference`"
    );
}

/// The reference with every key that is commented out put back.
fn with_every_key() -> String {
    let put_back = |line: &str| {
        let text = line.trim_start();
        let is_key = text.strip_prefix('#').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '));
        if is_key { line.replacen('#', "", 1) } else { line.to_owned() }
    };
    reference().lines().map(put_back).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_shows_every_key_in_a_form_that_fits() {
    let text = with_every_key();
    assert_eq!(flaws(&text), [""; 0], "{text}");
    let (schema, full) = (schema(), as_json(&text));
    assert_shows(&schema, &schema, &full, "");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
}

/// Asserts that a value has every key that its schema knows, and everything in it too.
fn assert_shows(root: &Json, schema: &Json, value: &Json, path: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => root.pointer(&name[1..]).unwrap(),
        None => schema,
    };
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let shown = value.get(name).unwrap_or_else(|| panic!("{path}.{name} is missing in {value}"));
        assert_shows(root, inner, shown, &format!("{path}.{name}"));
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten().filter(|_| value.is_object()) {
        assert_shows(root, choice, value, path);
    }
    if schema["additionalProperties"].is_object() {
        let inner = value.as_object().unwrap().values().next().unwrap();
        assert_shows(root, &schema["additionalProperties"], inner, &format!("{path}.*"));
    }
    if schema["items"].is_object() {
        assert_shows(root, &schema["items"], &value[0], &format!("{path}[]"));
    }
}

fn loads(value: &Json) -> Result<(), String> {
    let text = value.to_string();
    let references = file_references(&reference_file(), &text);
    load_text("reference.yaml", &text, &references).map(drop).map_err(|problems| problems.to_string())
}

#[test]
fn the_reference_loads_and_without_a_required_key_it_does_not() {
    let (schema, smallest) = (schema(), as_json(&reference()));
    loads(&smallest).unwrap_or_else(|problems| panic!("{problems}"));
    let mut checked = 0;
    for pointer in required_keys(&schema, &schema, &smallest, "") {
        let (above, name) = pointer.rsplit_once('/').unwrap();
        let mut without = smallest.clone();
        without.pointer_mut(above).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        assert!(loads(&without).is_err(), "the schema requires {pointer}, the loader does not");
        checked += 1;
    }
    assert!(checked >= 14, "{checked}");
}

/// Pointers to the required keys in a value.
fn required_keys(root: &Json, schema: &Json, value: &Json, path: &str) -> Vec<String> {
    let schema = schema["$ref"].as_str().map_or(schema, |name| root.pointer(&name[1..]).unwrap());
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let mut found: Vec<String> = required.map(|name| format!("{path}/{name}")).collect();
    let mut inside = |schema: &Json, name: &str, value: &Json| {
        found.extend(required_keys(root, schema, value, &format!("{path}/{name}")));
    };
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        value.get(name).into_iter().for_each(|value| inside(inner, name, value));
    }
    match value {
        Json::Object(entries) if schema["additionalProperties"].is_object() => {
            entries.iter().for_each(|(name, value)| inside(&schema["additionalProperties"], name, value));
        }
        Json::Array(items) => inside(&schema["items"], "0", &items[0]),
        _ => {}
    }
    found
}

/// Beginnings of keys of the reference that need more than the keys above them: another client, another credential.
const NOT_ALONE: &[&str] = &[
    "/audit/wait",
    "/upstreams/store/credentials/profile",
    "/upstreams/store/credentials/file",
    "/upstreams/store/credentials/platform",
    "/rules/0/who/keys",
    "/listen/0/mode",
    "/rules/0/who/issuers",
    "/rules/0/who/listeners",
    "/rules/0/who/certificates",
    "/clients/issuers/0/jwks_token_file",
    "/clients/certificates/0/name",
    "/clients/certificates/0/match/subject",
    "/clients/certificates/0/match/dns",
    "/clients/certificates/0/match/uri",
    "/clients/certificates/0/match/spiffe/trust_domain",
    "/clients/certificates/0/match/spiffe/path",
    "/clients/certificates/0/attributes",
    "/rules/0/who/groups",
    "/rules/0/who/attributes",
    "/rules/0/limits/per_principal/request_burst",
    "/rules/0/limits/together/request_burst",
    "/limits/per_principal/request_burst",
    "/rules/0/inspect/quarantine",
    "/inspectors/antivirus/patterns/files/words",
];

/// What else must be there for a key to load: the first row whose beginning fits.
const COMPANIONS: &[(&str, &[&str])] = &[
    ("/admin/tls/crls", &["/admin/tls/certificate", "/admin/tls/key", "/admin/tls/client_ca"]),
    ("/admin/tls", &["/admin/tls/certificate", "/admin/tls/key"]),
    ("/admin/tokens/0", &["/admin/tokens/0/name", "/admin/tokens/0/hash"]),
    ("/inspectors/antivirus/clamd", &["/inspectors/antivirus/clamd/addresses"]),
    ("/inspectors/antivirus/file_type", &[]),
    ("/inspectors/antivirus/icap", &["/inspectors/antivirus/icap/url"]),
    ("/inspectors/antivirus/yara", &["/inspectors/antivirus/yara/files"]),
    ("/inspectors/antivirus/http", &["/inspectors/antivirus/http/url"]),
    ("/inspectors/antivirus", &["/inspectors/antivirus/patterns/sets"]),
    ("/audit/sinks/siem/stdout", &[]),
    ("/audit/sinks/siem/file", &["/audit/sinks/siem/file/path", "/audit/sinks/siem/file/rotate/size"]),
    ("/audit/sinks/siem/syslog", &["/audit/sinks/siem/syslog/address"]),
    ("/audit/sinks/siem/http", &["/audit/sinks/siem/http/url"]),
    ("/audit/sinks/siem", &["/audit/sinks/siem/http/url"]),
    ("/tracing/otlp", &["/tracing/otlp/endpoint"]),
    ("/rules/0/inspect", &["/rules/0/inspect/with", "/inspectors/antivirus/patterns/sets"]),
];

/// Puts what is in one value into another.
fn merge(into: &mut Json, from: Json) {
    match (into, from) {
        (Json::Object(into), Json::Object(from)) => {
            from.into_iter().for_each(|(name, value)| merge(into.entry(name).or_insert(Json::Null), value));
        }
        (Json::Array(into), Json::Array(from)) => into.iter_mut().zip(from).for_each(|(into, from)| merge(into, from)),
        (into, from) => *into = from,
    }
}

/// Paths of all keys that hold a value, without positions.
fn leaves(value: &Json, path: &str, found: &mut Vec<String>) {
    match value {
        Json::Object(entries) => entries.iter().for_each(|(name, inner)| {
            let dot = if path.is_empty() { "" } else { "." };
            leaves(inner, &format!("{path}{dot}{name}"), found);
        }),
        Json::Array(items) if items.iter().any(Json::is_object) => {
            items.iter().for_each(|item| leaves(item, &format!("{path}[]"), found));
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn of_every_key_it_is_known_when_a_change_takes_effect_and_the_reference_says_so() {
    let (text, mut paths) = (with_every_key(), Vec::new());
    leaves(&as_json(&text), "", &mut paths);
    assert!(paths.len() >= 60, "{paths:?}");
    let unmarked: Vec<_> = paths.iter().filter(|path| effect(path).is_none()).collect();
    assert!(unmarked.is_empty(), "src/config/outline.rs does not say when these take effect: {unmarked:?}");
    let waiting = paths.iter().filter(|path| effect(path) == Some(Effect::Restart)).count();
    let prose = reference().replace("#", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(prose.matches("Takes effect at the next start.").count(), waiting);
}

#[test]
fn every_optional_key_of_the_reference_loads_as_it_stands_there() {
    let (schema, smallest, full) = (schema(), as_json(&reference()), as_json(&with_every_key()));
    let mut pointers = Vec::new();
    optional_leaves(&full, &smallest, "", &mut pointers);
    assert!(pointers.len() >= 60, "{pointers:?}");
    for pointer in pointers {
        let kept = |pointer: &str| {
            let mut value = full.clone();
            keep(&schema, &schema, &mut value, &smallest, pointer);
            value
        };
        let mut value = kept(&pointer);
        let companions = COMPANIONS.iter().find(|(start, _)| pointer.starts_with(start));
        companions.into_iter().flat_map(|(_, all)| *all).for_each(|companion| merge(&mut value, kept(companion)));
        let outcome = loads(&value);
        let is_built_in = (IS_BUILT_IN || !pointer.starts_with("/inspectors/antivirus/yara"))
            && (HAS_PLATFORM || !pointer.starts_with("/upstreams/store/credentials/assume_role"));
        assert_eq!(
            outcome.is_ok(),
            is_built_in && !NOT_ALONE.iter().any(|start| pointer.starts_with(start)),
            "{pointer}: {outcome:?}\nin {value:#}"
        );
    }
}

/// Pointers to what stands in the full file and not in the smallest, nothing inside which is a mapping with keys of its own.
fn optional_leaves(full: &Json, smallest: &Json, path: &str, found: &mut Vec<String>) {
    match full {
        Json::Object(entries)
            if !path.ends_with("attributes") && !path.ends_with("/tags") && !path.ends_with("required_claims") =>
        {
            for (name, inner) in entries {
                optional_leaves(inner, &smallest[name], &format!("{path}/{name}"), found);
            }
        }
        Json::Array(items) if items[0].is_object() => {
            optional_leaves(&items[0], &smallest[0], &format!("{path}/0"), found);
        }
        _ if smallest.is_null() => found.push(path.to_owned()),
        _ => {}
    }
}

/// Takes everything out of a value but what is in the smallest file, what lies on the way to the pointer, and what is required there.
fn keep(root: &Json, schema: &Json, value: &mut Json, smallest: &Json, pointer: &str) {
    let schema = schema["$ref"].as_str().map_or(schema, |name| root.pointer(&name[1..]).unwrap());
    let path = pointer.strip_prefix('/').unwrap_or(pointer);
    let (step, rest) = path.split_once('/').map_or((path, String::new()), |(step, rest)| (step, format!("/{rest}")));
    match value {
        Json::Object(entries) if schema["properties"].is_object() => {
            let required =
                |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
            entries.retain(|name, _| name == step || required(name) || smallest.get(name).is_some());
            for (name, inner) in entries {
                let rest = if name == step { rest.as_str() } else { "" };
                keep(root, &schema["properties"][name.as_str()], inner, &smallest[name.as_str()], rest);
            }
        }
        Json::Object(entries) => {
            let choice =
                schema["anyOf"].as_array().and_then(|choices| choices.iter().find(|choice| choice["$ref"].is_string()));
            match choice {
                Some(choice) => keep(root, choice, value, smallest, pointer),
                None if schema["additionalProperties"]["$ref"].is_string() => {
                    for (name, inner) in entries {
                        let rest = if name == step { rest.as_str() } else { "" };
                        keep(root, &schema["additionalProperties"], inner, &smallest[name.as_str()], rest);
                    }
                }
                None => {}
            }
        }
        Json::Array(items) if schema["items"]["$ref"].is_string() => {
            let rest = if step == "0" { rest.as_str() } else { "" };
            keep(root, &schema["items"], &mut items[0], &smallest[0], rest);
        }
        _ => {}
    }
}
