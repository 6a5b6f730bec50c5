//! `admin`: who may ask the admin listener, and what does not start.

use super::{HASH, assert_problems, edited, load, references, references_with_tls};
use crate::config::load_text;
use crate::edge::{Access, MetricsAccess};

/// The base file with keys of the admin listener; they are in line 3.
fn with_admin(keys: &str) -> String {
    edited("upstreams:", &format!("admin: {{ {keys} }}\nupstreams:"))
}

fn access(text: &str) -> Access {
    let config = load(text).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"));
    Access::clone(&config.edge.admin_access)
}

/// The hash of another token than that of the base file's client.
fn other_hash(digit: &str) -> String {
    format!("\"sha256:{}\"", digit.repeat(64))
}

#[test]
fn nobody_needs_a_token_until_one_is_configured() {
    let access = access(super::BASE);
    assert!(access.tokens.is_empty() && access.hosts.is_empty() && !access.client_certificates);
    assert_eq!(access.metrics, MetricsAccess::Open);
}

#[test]
fn every_key_of_the_access_can_be_written() {
    let tokens = format!(
        "tokens: [{{ name: ops, hash: {}, expires: 2999-01-01T00:00:00Z }}, {{ name: oncall, hash: {} }}]",
        other_hash("1"),
        other_hash("2")
    );
    let access =
        access(&with_admin(&format!("{tokens}, hosts: [gw-admin.example.com, countersign], metrics: protected")));
    let names: Vec<_> = access.tokens.iter().map(|token| (token.name.as_str(), token.expires.is_some())).collect();
    assert_eq!(names, [("ops", true), ("oncall", false)]);
    assert_eq!(access.tokens[0].digest, [0x11; 32]);
    assert_eq!(access.hosts, ["gw-admin.example.com", "countersign"]);
    assert_eq!(access.metrics, MetricsAccess::Protected);
}

#[test]
fn l14_an_address_that_others_reach_needs_a_token_or_an_authority() {
    let token = format!("tokens: [{{ name: ops, hash: {} }}]", other_hash("1"));
    for address in ["0.0.0.0:9090", "192.0.2.1:9090", "\"[::]:9090\""] {
        let open = with_admin(&format!("address: {address}"));
        assert_problems(&open, &references(), &[(3, "no authentication", "admin.tokens")]);
        let protected = load(&with_admin(&format!("address: {address}, {token}"))).unwrap();
        assert!(!protected.edge.admin.ip().is_loopback());
    }
    // Neither a certificate of its own nor protected metrics say who asks.
    let other = with_admin("address: 0.0.0.0:9090, metrics: protected");
    assert_problems(&other, &references(), &[(3, "no authentication", "admin.tokens")]);
}

#[test]
fn access_with_mistakes() {
    let token = |more: &str| format!("tokens: [{{ name: ops, hash: {} }}{more}]", other_hash("1"));
    for (keys, message, help) in [
        ("tokens: []".to_owned(), "there is no token", "remove the key"),
        ("tokens: [{ name: ops }]".to_owned(), "`hash` is missing", "countersign token"),
        (format!("tokens: [{{ hash: {} }}]", other_hash("1")), "`name` is missing", ""),
        ("tokens: [{ name: ops, hash: csn_secret-itself }]".to_owned(), "not the hash of a token", ""),
        (format!("tokens: [{{ name: \"a b\", hash: {} }}]", other_hash("1")), "cannot be a name", ""),
        (token(&format!(", {{ name: ops, hash: {} }}", other_hash("2"))), "two tokens `ops`", ""),
        (token(&format!(", {{ name: b, hash: {} }}", other_hash("1"))), "`ops` has the same hash", "of its own"),
        (format!("tokens: [{{ name: ops, hash: {}, expires: soon }}]", other_hash("1")), "not an instant", ""),
        (format!("tokens: [{{ name: ops, hash: \"{HASH}\" }}]"), "`ci` of a client has the same hash", "operators"),
        ("hosts: []".to_owned(), "the list is empty", "remove the key"),
        ("hosts: \"gw.example.com:9090\"".to_owned(), "not a host name", "without port"),
        ("hosts: GW.example.com".to_owned(), "not a host name", "lower case"),
        ("hosts: \"*.example.com\"".to_owned(), "not a host name", ""),
        ("metrics: closed".to_owned(), "`closed`", "protected"),
        ("tls: { certificate: /c.pem, key: /k.pem, client_ca: ca.pem }".to_owned(), "", ""),
    ] {
        if keys.starts_with("tls") {
            let expected = [(3, "ca.pem", ""), (3, "/c.pem cannot be read", ""), (3, "/k.pem cannot be read", "")];
            let text = with_admin(&keys);
            let problems = load(&text).unwrap_err();
            assert_eq!(problems.iter().count(), expected.len(), "{problems}");
            continue;
        }
        assert_problems(&with_admin(&keys), &references(), &[(3, message, help)]);
    }
}

#[test]
fn lists_of_revoked_certificates_need_the_authorities_that_they_are_of() {
    let references = references_with_tls();
    let with = |keys: &str| with_admin(&format!("tls: {{ certificate: /tls.crt, key: /tls.key{keys} }}"));
    let loaded = |keys: &str| load_text("test.yaml", &with(keys), &references).unwrap().edge.clone();
    assert_eq!(loaded("").admin_tls.unwrap().client, None);
    let edge = loaded(", client_ca: /ca.pem, crls: /crl.pem");
    let client = edge.admin_tls.unwrap().client.unwrap();
    assert_eq!((client.require, client.crls), (false, vec!["/crl.pem".into()]), "probes have no certificate");
    assert!(edge.admin_access.client_certificates);
    for (keys, problem, help) in [
        (", crls: /crl.pem", "no certificate of a client is looked at", "client_ca"),
        (", client_ca: /ca.pem, crls: /ca.pem", "/ca.pem holds no PEM list of revoked certificates", "X509 CRL"),
        (", client_ca: /ca.pem, crls: []", "the list is empty", "remove"),
    ] {
        assert_problems(&with(keys), &references, &[(3, problem, help)]);
    }
}

#[test]
fn l01_the_file_is_shown_without_the_hashes_of_tokens() {
    let text = with_admin(&format!("tokens: [{{ name: ops, hash: {} }}]", other_hash("1")));
    let source = load(&text).unwrap().source;
    assert!(source.text.contains("name: ops") && !source.text.contains(&"1".repeat(64)), "{}", source.text);
    assert_eq!((source.name.as_str(), source.digest.len()), ("test.yaml", 64));
}
