//! `http` of an inspector: what is accepted, and what is not.

use super::{MapReferences, assert_problems, edited, load, references};
use crate::inspect::KindSettings;
use crate::inspect::hook::{Settings, Shown};

/// The base file with an inspector `own`; its keys are in line 21.
fn with_hook(keys: &str) -> String {
    edited("rules:\n", &format!("inspectors: {{ own: {{ http: {{ {keys} }} }} }}\nrules:\n"))
}

fn hook(text: &str) -> Settings {
    let config = load(text).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"));
    match &config.inspectors[0].kind {
        KindSettings::Http(settings) => settings.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hook_is_read_with_its_defaults() {
    let hook = hook(&with_hook("url: \"https://Scan.example.com\""));
    assert_eq!((hook.tls, hook.host.as_str(), hook.port, hook.path.as_str()), (true, "scan.example.com", 443, "/"));
    assert_eq!((hook.send, hook.max_size, hook.headers.len(), &hook.ca_file), (Shown::Body, None, 0, &None));
}

#[test]
fn every_key_of_a_hook_can_be_written() {
    let text = with_hook(
        "url: \"http://127.0.0.1:8800/scan/v1\", send: body, max_size: 1GiB, headers: { Authorization: env:SECRET, x-tenant: env:ID }",
    );
    let hook = hook(&text);
    assert_eq!((hook.tls, hook.port, hook.path.as_str(), hook.max_size), (false, 8800, "/scan/v1", Some(1 << 30)));
    let headers: Vec<_> = hook.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("authorization", "s3cr3t-0f-an-access-key"), ("x-tenant", "AKIDFORTESTS000000001")]);
}

#[test]
fn a_hook_may_get_the_metadata_alone_and_its_address_from_the_environment() {
    let mut refs: MapReferences = references();
    refs.env.insert("HOOK".to_owned(), "https://[::1]:8443/".to_owned());
    let text = with_hook("url: env:HOOK, send: metadata");
    let config = super::load_text("test.yaml", &text, &refs).unwrap_or_else(|problems| panic!("{problems}"));
    let KindSettings::Http(hook) = &config.inspectors[0].kind else { panic!("no hook") };
    assert_eq!((hook.host.as_str(), hook.port, hook.send), ("::1", 8443, Shown::Metadata));
}

#[test]
fn hooks_with_mistakes() {
    let url = "url: \"https://scan.example.com/\"";
    for (keys, message, help) in [
        ("".to_owned(), "`url` is missing", "write the address"),
        ("url: scan.example.com".to_owned(), "does not begin with https://", "scanner.example.com"),
        ("url: \"https://u:p@scan.example.com\"".to_owned(), "user name or password", ""),
        ("url: \"https://scan.example.com/?x=1\"".to_owned(), "query", ""),
        (format!("{url}, send: all"), "`all`", ""),
        (format!("{url}, max_size: 0"), "out of range", "1B"),
        (format!("{url}, send: metadata, max_size: 1MiB"), "does nothing with `send: metadata`", "remove it"),
        (format!("{url}, ca_file: ca.pem"), "not absolute", ""),
        (format!("{url}, headers: {{ authorization: s3cret }}"), "must not stand in the file", "env:NAME"),
        (format!("{url}, headers: {{ authorization: env:NONE }}"), "NONE is not set", ""),
        (format!("{url}, headers: {{ \"a b\": env:ID }}"), "not the name of a header", ""),
        (format!("{url}, headers: {{ Host: env:ID }}"), "`host` cannot be set", "itself"),
        (format!("{url}, headers: {{ Transfer-Encoding: env:ID }}"), "cannot be set", ""),
        (format!("{url}, headers: {{ x-a: env:ID, X-A: env:ID }}"), "`x-a` is there twice", "same header"),
        (format!("{url}, redirects: 1"), "unknown key `redirects`", ""),
        (
            "url: \"http://scan.example.com/\", headers: { authorization: env:ID }".to_owned(),
            "in clear text",
            "use https",
        ),
    ] {
        assert_problems(&with_hook(&keys), &references(), &[(21, message, help)]);
    }
}

#[test]
fn a_header_value_of_two_lines_is_a_problem() {
    let mut refs = references();
    refs.env.insert("LINES".to_owned(), "a\r\nx-evil: 1".to_owned());
    let text = with_hook("url: \"https://scan.example.com\", headers: { x-a: env:LINES }");
    assert_problems(&text, &refs, &[(21, "cannot stand in a header", "one line")]);
}
