//! Who may call: tokens, access keys, issuers, what is signed, sessions of STS.

use super::check;
use crate::config::tests::{BASE, Expected, assert_problems, edited, references};

#[test]
fn a14_nobody_who_could_authenticate() {
    let text = format!(
        "{}{}",
        &BASE[..BASE.find("clients:").unwrap()],
        "clients: { tokens: [] }\nrules:\n  - { name: a, who: anyone, where: team-data, what: read }\n"
    );
    assert_problems(&text, &references(), &[(10, "there is nobody who could authenticate", "countersign token")]);
}

#[test]
fn a14_hashes_of_nothing_and_of_guessable_words() {
    let word = |text: &str| hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()));
    for text in ["", "token", "secret", "changeme", "password", "demo", "test", "csn_example", "token\n", "minioadmin"]
    {
        let text = edited("hash: env:HASH", &format!("hash: sha256:{}", word(text)));
        assert_problems(
            &text,
            &references(),
            &[(13, "the hash of nothing, or of a word that anybody can guess", "countersign token")],
        );
    }
    let zeros = edited("hash: env:HASH", &format!("hash: sha256:{}", "0".repeat(64)));
    assert_problems(&zeros, &references(), &[(13, "the hash of nothing", "")]);
}

#[test]
fn tokens() {
    check(&[
        ("hash: env:HASH", "hash: 9f86d081", &[(13, "not the hash of a token", "sha256:")]),
        ("hash: env:HASH", "hash: \"sha256:9f86\"", &[(13, "not the hash of a token", "64 hex digits")]),
        ("hash: env:HASH", "hash: env:NOPE", &[(13, "the environment variable NOPE is not set", "set it")]),
        ("hash: env:HASH", "hash: env:EMPTY", &[(13, "the value it refers to is empty", "")]),
        ("hash: env:HASH", "hash: file:/no", &[(13, "/no cannot be read", "check the path")]),
        (
            "hash: env:HASH",
            "hash: env:HASH\n      expires: tomorrow",
            &[(14, "not an instant", "2027-01-01T00:00:00Z")],
        ),
        ("hash: env:HASH", "hash: env:HASH\n      expires: 2027-01-01", &[(14, "not an instant", "")]),
        ("- name: ci", "- name: c i", &[(12, "cannot be a name", "1 to 64")]),
        (
            "attributes: { team: build }",
            "attributes: { token: x, issuer: y }",
            &[(14, "the attribute `token` is set by the gateway", ""), (14, "the attribute `issuer`", "")],
        ),
        (
            "attributes: { team: build }",
            "attributes: { \"te am\": x, team: [] }",
            &[(14, "cannot be the name of an attribute", "letters"), (14, "the list is empty", "remove it")],
        ),
        (
            "attributes: { team: build }",
            "attributes: { team: build }\n    - name: ci\n      hash: env:HASH",
            &[(15, "this name is there already", ""), (16, "the token `ci` has the same hash", "of its own")],
        ),
    ]);
}

#[test]
fn access_keys() {
    let key = |text: &str| format!("  access_keys:\n    - {text}\n  issuers:");
    let check_keys = |cases: &[(&str, &[Expected<'_>])]| {
        for (text, expected) in cases {
            assert_problems(&edited("  issuers:", &key(text)), &references(), expected);
        }
    };
    check_keys(&[
        ("{ id: CSAK1, secret: env:SECRET }", &[(16, "the key `name` is missing", "")]),
        ("{ name: etl, secret: env:SECRET }", &[(16, "the key `id` is missing", "countersign access-key")]),
        ("{ name: etl, id: CSAK1 }", &[(16, "the key `secret` is missing", "env:NAME")]),
        (
            "{ name: etl, id: CSAK1, secret: s3cr3t-0f-an-access-key }",
            &[(16, "must not stand in the file", "env:NAME")],
        ),
        ("{ name: etl, id: CSAK1, secret: env:SHORT }", &[(16, "less than 20 characters", "countersign access-key")]),
        ("{ name: etl, id: CSAK1, secret: env:NOPE }", &[(16, "NOPE is not set", "")]),
        ("{ name: etl, id: a/b, secret: env:SECRET }", &[(16, "cannot be an access key id", "3 to 128")]),
        ("{ name: etl, id: ab, secret: env:SECRET }", &[(16, "cannot be an access key id", "")]),
        ("{ name: e l, id: CSAK1, secret: env:SECRET }", &[(16, "cannot be a name", "")]),
        ("{ name: etl, id: CSAK1, secret: env:SECRET, expires: soon }", &[(16, "not an instant", "")]),
        (
            "{ name: etl, id: CSAK1, secret: env:SECRET, attributes: { key: x } }",
            &[(16, "the attribute `key` is set by the gateway", "")],
        ),
        (
            "{ name: etl, id: CSAK1, secret: env:SECRET }\n    - { name: etl, id: CSAK1, secret: env:SECRET }",
            &[(17, "this name is there already", ""), (17, "`etl` has the same id", "countersign access-key")],
        ),
    ]);
    check(&[
        ("who: { tokens: [ci] }", "who: { keys: [ci] }", &[(23, "there is no access key `ci`", "defined are")]),
        ("- name: corp", "- name: key", &[(16, "an issuer cannot be called `key`", "another name")]),
    ]);
}

#[test]
fn k17_a_key_of_the_gateway_is_no_credential_of_a_store() {
    let key = "  access_keys:\n    - { name: etl, id: AKIDFORTESTS000000001, secret: env:SECRET }\n  issuers:";
    assert_problems(
        &edited("  issuers:", key),
        &references(),
        &[(7, "an access key of the gateway itself", "the store")],
    );
}

#[test]
fn a14_published_access_keys_are_refused() {
    for published in ["minioadmin", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"] {
        let mut refs = references();
        refs.env.insert("SECRET".to_owned(), published.to_owned());
        let key = "  access_keys:\n    - { name: etl, id: CSAK1, secret: env:SECRET }\n  issuers:";
        assert_problems(&edited("  issuers:", key), &refs, &[(16, "a published example", "")]);
    }
}

#[test]
fn signing() {
    let cases = [
        ("{ regions: [] }", "not names of regions"),
        ("{ regions: [\"*\", eu-1] }", "not names of regions"),
        ("{ regions: \"eu 1\" }", "not names of regions"),
        ("{ clock_skew: 16m }", "`16m` is out of range"),
        ("{ clock_skew: 0s }", "`0s` is out of range"),
        ("{ presigned_expiry: 169h }", "`169h` is out of range"),
        ("{ unsigned_payload: never }", "never"),
        ("{ host: \"https://s3.example.com\" }", "not a host"),
        ("{ hosts: s3.example.com }", "unknown key `hosts`"),
    ];
    for (text, message) in cases {
        let text = edited("clients:\n", &format!("clients:\n  signing: {text}\n"));
        assert_problems(&text, &references(), &[(11, message, "")]);
    }
}

#[test]
fn issuers() {
    check(&[
        ("https://idp.example.com/", "http://idp.example.com/", &[(17, "must begin with https://", "iss")]),
        ("https://idp.example.com/", "idp.example.com", &[(17, "does not begin with https://", "")]),
        ("https://idp.example.com/", "https://u:p@idp.example.com/", &[(17, "user name or password", "")]),
        ("https://idp.example.com/", "http://localhost/", &[(17, "must begin with https://", "")]),
        ("algorithms: [RS256]", "algorithms: [HS256]", &[(19, "anybody who can check such a signature", "key pair")]),
        ("algorithms: [RS256]", "algorithms: [none]", &[(19, "anybody who can check such a signature, or none", "")]),
        ("algorithms: [RS256]", "algorithms: [rs256]", &[(19, "not a signature algorithm", "did you mean `RS256`?")]),
        ("algorithms: [RS256]", "algorithms: []", &[(19, "the list is empty", "")]),
        ("audience: s3-gateway", "audience: []", &[(18, "the list is empty", "any other service")]),
        ("audience: s3-gateway", "audience: [\"\"]", &[(18, "the text is empty", "")]),
        ("audience: s3-gateway", "audience: a\n      leeway: 61s", &[(19, "`61s` is out of range", "60s")]),
        (
            "audience: s3-gateway",
            "audience: a\n      leeway: 30",
            &[(19, "`30` is not a duration", "write a number and a unit")],
        ),
        ("audience: s3-gateway", "audience: a\n      keys: jwks", &[(19, "not a place of keys", "discovery")]),
        ("audience: s3-gateway", "audience: a\n      keys: {}", &[(19, "not a place of keys", "discovery")]),
        (
            "audience: s3-gateway",
            "audience: a\n      keys: { url: http://x/jwks }",
            &[(19, "must begin with https://", "JWKS")],
        ),
        (
            "audience: s3-gateway",
            "audience: a\n      keys: { uri: https://x/jwks }",
            &[(19, "unknown key `uri`", "did you mean `url`?")],
        ),
        (
            "audience: s3-gateway",
            "audience: a\n      keys: { file: jwks.json }",
            &[(19, "not absolute", "begin it with `/`")],
        ),
        (
            "audience: s3-gateway",
            "audience: a\n      keys: { file: /jwks.json }",
            &[(19, "/jwks.json cannot be read", "")],
        ),
        (
            "audience: s3-gateway",
            "audience: a\n      keys: { url: https://x }\n      jwks_hosts: [y]",
            &[(20, "does nothing without `keys: discovery`", "remove it")],
        ),
        (
            "audience: s3-gateway",
            "audience: a\n      jwks_hosts: [\"https://y\"]",
            &[(19, "not a host name", "name alone")],
        ),
        ("audience: s3-gateway", "audience: a\n      token_types: []", &[(19, "the list is empty", "")]),
        (
            "audience: s3-gateway",
            "audience: a\n      required_claims: { aud: x, token_use: [] }",
            &[(19, "`aud` is always checked", "`audience`"), (19, "the list is empty", "")],
        ),
        ("audience: s3-gateway", "audience: a\n      principal: \"\"", &[(19, "name of the claim is empty", "sub")]),
        (
            "attributes: { groups: groups }",
            "attributes: { groups: \"\", sub: email }",
            &[(20, "name of the claim is empty", ""), (20, "the attribute `sub` is set by the gateway", "")],
        ),
        ("- name: corp", "- name: token", &[(16, "an issuer cannot be called `token`", "audit")]),
        (
            "rules:",
            "    - { name: corp, issuer: \"https://idp.example.com/\", audience: x, algorithms: [ES256] }\nrules:",
            &[(21, "this name is there already", ""), (21, "the issuer `corp` has the same URL", "join the two")],
        ),
    ]);
}

#[test]
fn sts_with_mistakes() {
    let issuer = "  issuers:\n    - name: corp\n      issuer: https://idp.example.com/\n      audience: s3-gateway\n      algorithms: [RS256]\n      attributes: { groups: groups }\n";
    let key = |keys: &str| format!("sts: {{ enabled: true, keys: [{keys}] }}\nrules:");
    for (to, expected) in [
        ("sts: { enable: true }\nrules:".to_owned(), &[(21, "unknown key `enable`", "did you mean `enabled`?")][..]),
        ("sts: { enabled: true, lifetime: 5m }\nrules:".to_owned(), &[(21, "`5m` is out of range", "900s to 12h")]),
        ("sts: { enabled: true, lifetime: 13h }\nrules:".to_owned(), &[(21, "`13h` is out of range", "900s to 12h")]),
        ("sts: { enabled: true, roles: [] }\nrules:".to_owned(), &[(21, "the list is empty", "any")]),
        ("sts: { enabled: true, roles: [s3] }\nrules:".to_owned(), &[(21, "not the ARN of a role", "AWS_ROLE_ARN")]),
        (
            key("{ id: a, secret: in-the-file-and-so-no-secret-any-more }"),
            &[(21, "must not stand in the file", "env:NAME")],
        ),
        (key("{ id: a, secret: env:ID }"), &[(21, "too short to seal", "openssl rand")]),
        (key("{ id: a b, secret: env:KEY }"), &[(21, "cannot be a name", "letters")]),
        (key("{ secret: env:KEY }"), &[(21, "`id` is missing", "")]),
        (key("{ id: a }"), &[(21, "`secret` is missing", "openssl rand")]),
        (
            key("{ id: a, secret: env:KEY }, { id: a, secret: env:KEY }"),
            &[(21, "this name is there already", ""), (21, "another key has the same secret", "")],
        ),
    ] {
        assert_problems(&edited("rules:", &to), &references(), expected);
    }
    let alone = BASE.replacen(issuer, "sts: { enabled: true }\n", 1);
    assert_problems(&alone, &references(), &[(15, "no issuer whose tokens could be exchanged", "clients.issuers")]);
}
