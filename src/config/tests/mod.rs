//! Tests of the configuration as a whole: text in, settings or problems out.

mod admin;
mod audit;
mod broken;
mod cors;
mod downloads;
mod examples;
mod files;
mod good;
mod identity;
mod inspect_http;
mod inspect_yara;
mod inspection;
mod lifecycle;
mod platform;
mod reload;
mod rendering;
mod schema;
mod tracing;

use super::{Config, MapReferences, Problems, load_text};

/// A small configuration with one of everything that rules refer to. The tables of broken files change single lines of it.
const BASE: &str = "\
listen:
  - address: 127.0.0.1:8080
upstreams:
  store:
    endpoint: https://s3.example.com
    region: eu-central-1
    credentials: { access_key_id: env:ID, secret_access_key: env:KEY }
buckets:
  team-data: { bucket: corp-team-data, prefix: gw/ }
clients:
  tokens:
    - name: ci
      hash: env:HASH
      attributes: { team: build }
  issuers:
    - name: corp
      issuer: https://idp.example.com/
      audience: s3-gateway
      algorithms: [RS256]
      attributes: { groups: groups }
rules:
  - name: build-write
    who: { tokens: [ci] }
    where: team-data/builds/
    what: [read, write]
  - name: no-secrets
    effect: deny
    who: anyone
    where: team-data/secret/
    what: \"s3:*\"
";

/// SHA-256 of a text that no list of guessable words holds.
const HASH: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a09";

fn references() -> MapReferences {
    let pairs = [
        ("ID", "AKIDFORTESTS000000001"),
        ("KEY", "k3yF0rT3sts/000000000000000000000000001"),
        ("HASH", HASH),
        ("SECRET", "s3cr3t-0f-an-access-key"),
        ("SHORT", "nineteen-characters"),
        ("EMPTY", " \n"),
        ("HOME", "/home/gw"),
    ];
    MapReferences {
        env: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..MapReferences::default()
    }
}

/// With a certificate, its key, an authority and a list of revoked certificates.
fn references_with_tls() -> MapReferences {
    let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
    let mut references = references();
    references.files = [
        ("/tls.crt", made.cert.pem()),
        ("/tls.key", made.signing_key.serialize_pem()),
        ("/ca.pem", made.cert.pem()),
        ("/crl.pem", "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_owned()),
    ]
    .map(|(path, text)| (path.into(), text))
    .into();
    references
}

fn load(text: &str) -> Result<Config, Problems> {
    load_text("test.yaml", text, &references())
}

/// [`BASE`] with one part replaced, which must be there exactly once.
fn edited(from: &str, to: &str) -> String {
    assert_eq!(BASE.matches(from).count(), 1, "`{from}` must be in the base file once");
    BASE.replacen(from, to, 1)
}

/// What one problem must be: its line, a part of its message, a part of its help.
type Expected<'a> = (usize, &'a str, &'a str);

/// Asserts that a file has exactly these problems.
fn assert_problems(text: &str, references: &MapReferences, expected: &[Expected<'_>]) {
    let problems = match load_text("test.yaml", text, references) {
        Ok(_) => panic!("no problem found in:\n{text}"),
        Err(problems) => problems,
    };
    let found: Vec<_> = problems.iter().collect();
    assert_eq!(found.len(), expected.len(), "expected {expected:?}, found\n{problems}\nin\n{text}");
    for (problem, (line, message, help)) in found.iter().zip(expected) {
        assert_eq!(problem.line(), *line, "{problems}");
        assert!(problem.message.contains(message), "expected `{message}` in\n{problems}");
        assert!(problem.help.contains(help), "expected `{help}` in\n{problems}");
    }
}
