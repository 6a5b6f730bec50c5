//! A table of broken files. Every row changes one thing in the base file and says exactly which problems that makes.

use super::{BASE, Expected, assert_problems, edited, load, references};

fn check(rows: &[(&str, &str, &[Expected<'_>])]) {
    for (from, to, expected) in rows {
        assert_problems(&edited(from, to), &references(), expected);
    }
}

#[test]
fn what_is_not_yaml_or_not_a_mapping() {
    let none = references();
    assert_problems("", &none, &[(1, "the file is empty", "countersign.yaml")]);
    assert_problems("# only a comment\n", &none, &[(2, "the file is empty", "")]);
    assert_problems("listen: [", &none, &[(1, "not valid YAML: unclosed bracket", "indented")]);
    assert_problems("- a\n", &none, &[(1, "expected a mapping, found a list", "")]);
    assert_problems("text", &none, &[(1, "expected a mapping, found text", "")]);
    assert_problems("a: 1\n---\na: 2\n", &none, &[(3, "not valid YAML", "")]);
    assert_problems("listen: !mine 5\n", &none, &[(1, "unsupported tag", "")]);
    assert_problems(&edited("    who: anyone\n", "    <<: { who: anyone }\n"), &none, &[(28, "merge key", "")]);
    assert_problems(&format!("{BASE}x: &x [*x]\n"), &none, &[(31, "not valid YAML", "")]);
}

#[test]
fn l04_unknown_keys_are_refused_with_a_suggestion() {
    check(&[
        (
            "  - address:",
            "  - adress:",
            &[(2, "unknown key `adress`", "did you mean `address`? allowed keys: `address`, `tls`")],
        ),
        ("    region:", "    regoin:", &[(6, "unknown key `regoin`", "did you mean `region`?")]),
        ("rules:", "ruls:", &[(21, "unknown key `ruls`", "did you mean `rules`?")]),
        (
            "    where: team-data/builds/",
            "    wher: team-data/builds/",
            &[(24, "unknown key `wher`", "did you mean `where`?")],
        ),
        (
            "audience: s3-gateway",
            "audience: s3-gateway\n      colour: red",
            &[(19, "unknown key `colour`", "allowed keys: `name`, `issuer`")],
        ),
        ("prefix: gw/", "prefix: gw/, odd-keys: pass", &[(9, "unknown key `odd-keys`", "did you mean `odd_keys`?")]),
        (
            "    who: anyone",
            "    who: anyone\n    limits: { max_siz: 1MiB }\n    effct: deny",
            &[
                (29, "a deny rule has no `limits`", "allows"),
                (29, "unknown key `max_siz`", "did you mean `max_size`?"),
                (30, "unknown key `effct`", "did you mean `effect`?"),
            ],
        ),
    ]);
}

#[test]
fn keys_that_are_there_twice_are_refused() {
    check(&[
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    region: eu-west-1",
            &[(7, "this key is there already, in line 6", "keep one")],
        ),
        (
            "rules:",
            "rules: []\nrules:",
            &[(21, "no rule, so nothing is allowed", ""), (22, "this key is there already, in line 21", "")],
        ),
        (
            "    effect: deny",
            "    effect: deny\n    effect: allow",
            &[(28, "this key is there already", "silently replace")],
        ),
    ]);
}

#[test]
fn values_of_another_kind_are_refused() {
    check(&[
        ("listen:\n  - address: 127.0.0.1:8080", "listen: 127.0.0.1:8080", &[(1, "expected a list, found text", "")]),
        ("    region: eu-central-1", "    region: [eu-central-1]", &[(6, "expected text, found a list", "")]),
        (
            "    region: eu-central-1",
            "    region:",
            &[(6, "expected text, found nothing", "give the key a value, or remove it")],
        ),
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    max_connections: \"512\"",
            &[(7, "expected a whole number, found text", "digits")],
        ),
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    max_connections: 1.5",
            &[(7, "expected a whole number, found a number", "digits")],
        ),
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    max_connections: -1",
            &[(7, "expected a whole number", "digits")],
        ),
        (
            "    region: eu-central-1",
            "    region: eu-central-1\n    payload: sined",
            &[(7, "`sined` is not known here", "did you mean `signed`? write one of `unsigned`, `signed`")],
        ),
        ("algorithms: [RS256]", "algorithms: RS256", &[(19, "expected a list, found text", "")]),
        (
            "audience: s3-gateway",
            "audience: { a: b }",
            &[(18, "expected text, or a list of texts, found a mapping", "")],
        ),
        (
            "who: anyone",
            "who: [ci]",
            &[(28, "expected the word `anyone`, or a mapping of conditions, found a list", "")],
        ),
        ("effect: deny", "effect: 5", &[(27, "expected one of `allow`, `deny`, found a number", "")]),
        (
            "who: { tokens: [ci] }",
            "who: { tokens: }",
            &[(23, "expected text, or a list of texts, found nothing", "remove it")],
        ),
        ("what: [read, write]", "what: [read, [write]]", &[(25, "expected text, found a list", "")]),
        (
            "who: { tokens: [ci] }",
            "who: { tokens: [ci] }\n    response_overrides: yes",
            &[(24, "expected `true` or `false`, found text", "")],
        ),
    ]);
}

#[test]
fn missing_parts_are_named_with_what_to_write() {
    let refs = references();
    let empty: &[Expected<'_>] = &[
        (1, "the key `listen` is missing", "127.0.0.1:8080"),
        (1, "the key `upstreams` is missing", "endpoint"),
        (1, "the key `buckets` is missing", "buckets:"),
        (1, "there is nobody who could authenticate", "countersign token"),
        (1, "the key `rules` is missing", "every request is refused"),
    ];
    assert_problems("log: { level: info }", &refs, empty);
    check(&[
        ("listen:\n  - address: 127.0.0.1:8080", "listen: []", &[(1, "no address to listen on", "127.0.0.1")]),
        ("    - name: ci\n      hash: env:HASH\n", "    - hash: env:HASH\n", &[(12, "the key `name` is missing", "")]),
        ("    region: eu-central-1\n", "", &[(4, "the key `region` is missing", "eu-central-1")]),
        (
            "  - name: build-write\n    who: { tokens: [ci] }\n",
            "  - name: build-write\n",
            &[(22, "the key `who` is missing", "who: anyone")],
        ),
        ("    where: team-data/builds/\n", "", &[(22, "the key `where` is missing", "bucket/prefix/")]),
        ("    what: [read, write]\n", "", &[(22, "the key `what` is missing", "`read`")]),
        ("      algorithms: [RS256]\n", "", &[(16, "the key `algorithms` is missing", "[RS256]")]),
        ("      audience: s3-gateway\n", "", &[(16, "the key `audience` is missing", "any other service")]),
    ]);
}

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
fn listeners_and_limits() {
    check(&[
        ("127.0.0.1:8080", "localhost:8080", &[(2, "not an address to listen on", "a host name is not an address")]),
        ("127.0.0.1:8080", "127.0.0.1", &[(2, "not an address to listen on", "")]),
        (
            "127.0.0.1:8080",
            "127.0.0.1:8080\n  - address: 127.0.0.1:8080",
            &[(3, "127.0.0.1:8080 is listened on twice", "")],
        ),
        (
            "127.0.0.1:8080",
            "127.0.0.1:8080\n    tls: {}",
            &[(3, "the key `certificate` is missing", ""), (3, "the key `key` is missing", "")],
        ),
        (
            "127.0.0.1:8080",
            "127.0.0.1:8080\n    tls: { certificate: c.pem, key: /k.pem }",
            &[(3, "not absolute", ""), (3, "/k.pem cannot be read", "")],
        ),
        ("upstreams:", "admin: { address: 0.0.0.0:9090 }\nupstreams:", &[(3, "no authentication", "127.0.0.1")]),
        (
            "upstreams:",
            "admin: { address: 127.0.0.1:8080 }\nupstreams:",
            &[(3, "listened on twice", "port of its own")],
        ),
        (
            "upstreams:",
            "limits: { max_head: 4KiB }\nupstreams:",
            &[(3, "`4KiB` is out of range", "write 8KiB to 256KiB")],
        ),
        (
            "upstreams:",
            "limits: { max_head: 1MiB, max_target: 64KiB }\nupstreams:",
            &[(3, "`1MiB` is out of range", ""), (3, "`max_target` is larger than `max_head`", "")],
        ),
        (
            "upstreams:",
            "limits: { max_headers: 0, max_connections: 0 }\nupstreams:",
            &[(3, "0 is out of range", "16 to 1000"), (3, "0 is out of range", "1 to 1000000")],
        ),
        (
            "upstreams:",
            "limits: { timeouts: { head: 0s, drain: -5s, linger: 25h } }\nupstreams:",
            &[
                (3, "`0s` is out of range", "1ms to 24h"),
                (3, "`-5s` is not a duration", "such as `30s`"),
                (3, "`25h` is out of range", ""),
            ],
        ),
        (
            "upstreams:",
            "limits: { linger: 4, min_body_rate: 0, http2_max_streams: 99999999999999999999 }\nupstreams:",
            &[
                (3, "`4` is not a size", "write a number and a unit"),
                (3, "`0` is out of range", "1B to 1GiB"),
                (3, "expected a whole number", "digits"),
            ],
        ),
        (
            "upstreams:",
            "audit: { file: audit.log }\nlog: { level: verbose, format: xml }\nupstreams:",
            &[
                (3, "not absolute", ""),
                (4, "`verbose` is not known here", "`debug`"),
                (4, "`xml` is not known here", "`auto`, `text`, `json`"),
            ],
        ),
    ]);
}

#[test]
fn upstreams() {
    check(&[
        ("https://s3.example.com", "https://s3.example.com/bucket", &[(5, "the address has a path", "`buckets`")]),
        ("https://s3.example.com", "https://u:p@s3.example.com", &[(5, "user name or password", "")]),
        ("https://s3.example.com", "https://s3.example.com?x=1", &[(5, "query or fragment", "")]),
        ("https://s3.example.com", "s3.example.com", &[(5, "does not begin with https://", "")]),
        ("https://s3.example.com", "env:NOPE", &[(5, "NOPE is not set", "")]),
        (
            "https://s3.example.com",
            "http://s3.example.com\n    payload: unsigned",
            &[(6, "neither TLS nor the signature", "payload: signed")],
        ),
        (
            "https://s3.example.com",
            "http://localhost\n    payload: unsigned",
            &[(6, "neither TLS nor the signature", "127.0.0.1")],
        ),
        (
            "https://s3.example.com",
            "http://127.0.0.1\n    ca_file: /ca.pem",
            &[(6, "/ca.pem cannot be read", ""), (6, "`ca_file` does nothing over http", "")],
        ),
        ("region: eu-central-1", "region: \"eu central\"", &[(6, "not a region", "")]),
        (
            "region: eu-central-1",
            "region: x\n    timeouts: { connect: 0s, idle: 1 }",
            &[(7, "`0s` is out of range", "1ms"), (7, "`1` is not a duration", "")],
        ),
        ("region: eu-central-1", "region: x\n    max_connections: 0", &[(7, "0 is out of range", "1 to 100000")]),
        ("  store:", "  \"my store\":", &[(4, "cannot be a name", "")]),
    ]);
}

#[test]
fn credentials() {
    let keys = "credentials: { access_key_id: env:ID, secret_access_key: env:KEY }";
    check(&[
        (keys, "credentials: {}", &[(7, "there is no credential here", "env:NAME")]),
        (keys, "credentials: { access_key_id: env:ID }", &[(7, "the key `secret_access_key` is missing", "env:NAME")]),
        (
            keys,
            "credentials: { access_key_id: env:ID, secret_access_key: env:KEY, profile: x }",
            &[(7, "two credentials", "either")],
        ),
        (
            keys,
            "credentials: { access_key_id: AKIDREAL, secret_access_key: s3cr3ts3cr3t }",
            &[(7, "a secret must not stand in the file", "env:NAME or file:/path"), (7, "a secret must not", "")],
        ),
        (
            keys,
            "credentials: { access_key_id: env:NOPE, secret_access_key: file:/none }",
            &[(7, "NOPE is not set", ""), (7, "/none cannot be read", "")],
        ),
        (
            keys,
            "credentials: { access_key_id: file:id, secret_access_key: \"env:a/b+c\" }",
            &[(7, "not absolute", ""), (7, "what follows `env:` is not the name", "")],
        ),
        (
            keys,
            "credentials: { access_key_id: env:ID, secret_access_key: env:KEY, session_token: env:EMPTY }",
            &[(7, "the value it refers to is empty", "")],
        ),
        (keys, "credentials: { profile: ci }", &[(7, "/home/gw/.aws/credentials cannot be read", "")]),
        (keys, "credentials: { profile: ci, file: credentials }", &[(7, "not absolute", "")]),
        (
            "    credentials: { access_key_id: env:ID, secret_access_key: env:KEY }\n",
            "",
            &[(4, "the key `credentials` is missing", "profile")],
        ),
    ]);
}

#[test]
fn a14_published_example_credentials_are_refused() {
    for value in [
        "minioadmin",
        "minio123",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "test",
        "password",
        "Admin",
        "changeme",
    ] {
        let mut refs = references();
        refs.env.insert("KEY".to_owned(), value.to_owned());
        assert_problems(BASE, &refs, &[(7, "published example", "of its own")]);
    }
    for value in ["two words", "a\nb", "schlüssel"] {
        let mut refs = references();
        refs.env.insert("KEY".to_owned(), value.to_owned());
        assert_problems(BASE, &refs, &[(7, "not one word of plain characters", "bare value")]);
    }
}

#[test]
fn buckets() {
    let bucket = "team-data: { bucket: corp-team-data, prefix: gw/ }";
    let two = "    credentials: { access_key_id: env:ID, secret_access_key: env:KEY }\n";
    let other = format!(
        "{two}  other: {{ endpoint: \"https://S3.example.com:443\", region: x, credentials: {{ access_key_id: env:ID, secret_access_key: env:KEY }} }}\n"
    );
    check(&[
        (bucket, "team-data: { prefix: gw }", &[(9, "does not end with `/`", "write `gw/`")]),
        (bucket, "team-data: { prefix: /gw/ }", &[(9, "begins with a slash", "gw/")]),
        (bucket, "team-data: { prefix: .countersign/x/ }", &[(9, "the gateway's own", "another prefix")]),
        (bucket, "team-data: { prefix: a/../b/ }", &[(9, "the prefix has a `.` or `..` segment", "")]),
        (bucket, "team-data: { prefix: \"{sub}/\" }", &[(9, "no attribute parts", "where")]),
        (bucket, "team-data: { bucket: Corp_Data }", &[(9, "not the name of an S3 bucket", "3 to 63")]),
        (bucket, "team-data: { upstream: stor }", &[(9, "no upstream of this name", "did you mean `store`?")]),
        (bucket, "team-data: {}\n  Bad_Name: {}", &[(10, "not the name of an S3 bucket", "lower-case")]),
        (
            bucket,
            "team-data: {}\n  10.0.0.1: {}\n  ab: {}\n  a..b: {}",
            &[(10, "not the name", ""), (11, "not the name", ""), (12, "not the name", "")],
        ),
        (
            bucket,
            "team-data: { bucket: shared, prefix: a/ }\n  inner: { bucket: shared, prefix: a/b/ }",
            &[(9, "same place as the bucket `inner`, or one lies inside", "two names")],
        ),
        (
            bucket,
            "team-data: { bucket: shared }\n  inner: { bucket: shared }",
            &[(9, "same place as the bucket `inner`", "")],
        ),
        (two, &other, &[(10, "the key `upstream` is missing", "one of `other`, `store`")]),
    ]);
    let same_store = edited(two, &other).replace(
        bucket,
        "team-data: { upstream: store, bucket: shared }\n  alias: { upstream: other, bucket: shared }",
    );
    assert_problems(&same_store, &references(), &[(10, "same place as the bucket `alias`", "")]);
    let dotted = edited("region: eu-central-1", "region: x\n    addressing: virtual-host")
        .replace("bucket: corp-team-data", "bucket: corp.team");
    assert_problems(&dotted, &references(), &[(10, "does not work with `addressing: virtual-host`", "path")]);
    let address =
        edited("endpoint: https://s3.example.com", "endpoint: https://192.0.2.1\n    addressing: virtual-host");
    assert_problems(&address, &references(), &[(10, "an IP address cannot have the bucket before it", "path")]);
}

#[test]
fn domains() {
    let listen = "listen:\n";
    let with = |domains: &str| format!("domains: {domains}\nlisten:\n");
    let not = |domain: &str| {
        assert_problems(
            &edited(listen, &with(&format!("\"{domain}\""))),
            &references(),
            &[(1, "this is not a domain", "s3.example.com")],
        );
    };
    let long = format!("{}.example", "a".repeat(64));
    for domain in [
        "S3.example.com",
        "s3.example.com.",
        "s3.example.com:443",
        "*.example.com",
        ".example.com",
        "127.0.0.1",
        "a..b",
        "-a.b",
        &long,
    ] {
        not(domain);
    }
    check(&[
        (listen, &with("[]"), &[(1, "the list is empty", "remove the key")]),
        (listen, &with("[s3.example.com, example.com]"), &[(1, "one lies inside the other", "keep one")]),
        (listen, &with("[example.com, example.com]"), &[(1, "the same as the domain", "keep one")]),
    ]);
}

#[test]
fn b09_e09_a_host_that_is_not_signed_names_no_bucket() {
    let signing = ("clients:\n", "clients:\n  signing: { host: gw.example }\n");
    let text = edited(signing.0, signing.1);
    assert!(load(&text).is_ok(), "each of the two alone is fine");
    let text = text.replace("listen:\n", "domains: s3.example.com\nlisten:\n");
    assert_problems(&text, &references(), &[(12, "does not go with `domains`", "remove `clients.signing.host`")]);
}

#[test]
fn the_mapping_of_a_whole_store_has_no_name_and_no_prefix() {
    let bucket = "team-data: { bucket: corp-team-data, prefix: gw/ }";
    check(&[
        (bucket, "team-data: {}\n  \"*\": { bucket: x-1 }", &[(10, "`\"*\"` has no `bucket`", "by its name")]),
        (bucket, "team-data: {}\n  \"*\": { prefix: gw/ }", &[(10, "`\"*\"` has no `prefix`", "by its name")]),
        (
            bucket,
            "team-data: {}\n  \"*\": { upstream: stor }",
            &[(10, "no upstream of this name", "did you mean `store`?")],
        ),
        ("where: team-data/builds/", "where: \"*\"", &[(24, "there is no bucket `*`", "team-data")]),
    ]);
    let whole = edited(bucket, &format!("{bucket}\n  \"*\": {{}}"));
    for (place, message, help) in [
        ("corp-team-data/x/", "a configured bucket lies in this one", "reach it as `team-data`"),
        ("Team-Data", "there is no bucket", "team-data"),
        ("team-*", "there is no bucket", "team-data"),
        ("xn--data", "there is no bucket", ""),
    ] {
        let text = whole.replace("where: team-data/builds/", &format!("where: \"{place}\""));
        assert_problems(&text, &references(), &[(25, message, help)]);
    }
}

#[test]
fn rules_name_clients_that_exist() {
    check(&[
        (
            "who: { tokens: [ci] }",
            "who: { tokens: [cii] }",
            &[(23, "there is no token `cii`", "did you mean `ci`? defined are: `ci`")],
        ),
        ("who: { tokens: [ci] }", "who: { issuers: cor }", &[(23, "there is no issuer `cor`", "did you mean `corp`?")]),
        ("who: { tokens: [ci] }", "who: { issuers: [ci] }", &[(23, "there is no issuer `ci`", "defined are: `corp`")]),
        ("who: { tokens: [ci] }", "who: everyone", &[(23, "this word is not known here", "who: anyone")]),
        ("who: { tokens: [ci] }", "who: {}", &[(23, "there is no condition here", "who: anyone")]),
        ("who: { tokens: [ci] }", "who: { tokens: [] }", &[(23, "the list is empty", "match every caller")]),
        (
            "who: { tokens: [ci] }",
            "who: { networks: [10.0.0.1/8, 10.0.0.0/33, example.com] }",
            &[
                (23, "bits outside its network", "write 10.0.0.0/8"),
                (23, "not a network", "10.0.0.0/8"),
                (23, "not a network", ""),
            ],
        ),
        (
            "who: { tokens: [ci] }",
            "who: { tokens: ci, groups: dev }",
            &[(23, "no client of this rule can have the attribute `groups`", "known are: `team`, `token`")],
        ),
        (
            "who: { tokens: [ci] }",
            "who: { attributes: { tem: build } }",
            &[(23, "can have the attribute `tem`", "did you mean `team`?")],
        ),
        ("who: { tokens: [ci] }", "who: { attributes: { team: [] } }", &[(23, "the list is empty", "")]),
    ]);
}

#[test]
fn places_of_rules() {
    check(&[
        (
            "where: team-data/builds/",
            "where: team-dta/builds/",
            &[(24, "there is no bucket `team-dta`", "did you mean `team-data`?")],
        ),
        (
            "where: team-data/builds/",
            "where: corp-team-data",
            &[(24, "there is no bucket `corp-team-data`", "name that clients use")],
        ),
        (
            "where: team-data/builds/",
            "where: [team-data, team-data/builds]",
            &[(24, "does not end with `/`", "would also cover")],
        ),
        ("where: team-data/builds/", "where: team-data/*", &[(24, "no patterns", "covers every key below")]),
        ("where: team-data/builds/", "where: team-data/a/../b/", &[(24, "`..` segment", "")]),
        ("where: team-data/builds/", "where: team-data//b/", &[(24, "begins with a slash", "")]),
        (
            "where: team-data/builds/",
            "where: team-data/{sub}/",
            &[(24, "can have the attribute `sub`", "`team`, `token`")],
        ),
        ("where: team-data/builds/", "where: \"team-data/{team/\"", &[(24, "unbalanced brace", "{sub}")]),
        (
            "where: team-data/builds/",
            "where: \"team-data/{team}-{token}/\"",
            &[(24, "two attributes in one segment", "`/` between")],
        ),
        ("where: team-data/builds/", "where: []", &[(24, "the list is empty", "")]),
    ]);
}

#[test]
fn actions_and_names_of_rules() {
    check(&[
        ("what: [read, write]", "what: [raed]", &[(25, "`raed` is not an action", "did you mean `read`?")]),
        (
            "what: [read, write]",
            "what: PutObject",
            &[(25, "`PutObject` is not an action", "did you mean `s3:PutObject`?")],
        ),
        (
            "what: [read, write]",
            "what: s3:PutObjct",
            &[(25, "`s3:PutObjct` is not an action", "did you mean `s3:PutObject`?")],
        ),
        (
            "what: [read, write]",
            "what: [\"*\", \"s3:Foo*\"]",
            &[(25, "`*` is not an action", ""), (25, "`s3:Foo*` is not", "")],
        ),
        ("what: [read, write]", "what: []", &[(25, "the list is empty", "")]),
        ("- name: no-secrets", "- name: build-write", &[(26, "another rule has this name", "")]),
        ("- name: no-secrets", "- name: \"no secrets\"", &[(26, "cannot be a name", "")]),
    ]);
    let odd = edited("attributes: { team: build }", "attributes: { team: a/b }")
        .replace("where: team-data/builds/", "where: team-data/{team}/");
    assert_problems(&odd, &references(), &[(24, "can have the attribute `team`", "known are: `token`")]);
}

#[test]
fn l04_an_empty_rule_list_is_said_to_allow_nothing() {
    let text = format!("{}rules: []\n", &BASE[..BASE.find("rules:").unwrap()]);
    assert_problems(&text, &references(), &[(21, "no rule, so nothing is allowed", "add a rule")]);
}

#[test]
fn l06_sizes_at_every_edge() {
    let what = "what: [read, write]";
    let row = |limits: &str, expected: &[Expected<'_>]| {
        assert_problems(&edited(what, &format!("what: write\n    limits: {limits}")), &references(), expected)
    };
    row("{ max_size: 10 }", &[(26, "`10` is not a size", "such as `64MiB`")]);
    row("{ max_size: 0 }", &[(26, "`0` is out of range", "1B to 5TiB")]);
    row("{ max_size: 6TiB }", &[(26, "`6TiB` is out of range", "5TiB")]);
    row("{ max_size: 9223372036854775808B }", &[(26, "is out of range", "5TiB")]);
    row("{ max_size: 99999999999999999999999B }", &[(26, "`99999999999999999999999B`", "")]);
    row("{ max_size: -1MiB }", &[(26, "`-1MiB` is not a size", "")]);
    row("{ max_size: 1e3 }", &[(26, "`1e3` is not a size", "")]);
    row("{ min_size: 2MiB, max_size: 1MiB }", &[(26, "`max_size` is smaller than `min_size`", "exchange")]);
}

#[test]
fn l08_rates_that_limit_nothing_or_cannot_be_meant() {
    let rows: &[(&str, &str, &str)] = &[
        ("{}", "nothing is limited here", "`request_rate`"),
        ("{ request_burst: 5 }", "`request_burst` does nothing without `request_rate`", "beside it"),
        ("{ request_rate: 0 }", "0 is out of range", "write 1 to 1000000"),
        ("{ request_rate: 1000001 }", "1000001 is out of range", "write 1 to 1000000"),
        ("{ request_rate: 5/s }", "expected a whole number", "digits only"),
        ("{ request_rate: 5, request_burst: 0 }", "0 is out of range", "write 1 to 1000000"),
        ("{ requests_in_flight: 0 }", "0 is out of range", "write 1 to 1000000"),
        ("{ upload_rate: 1KiB }", "`1KiB` is out of range", "write 64KiB to 1TiB"),
        ("{ download_rate: 10000000 }", "is not a size", "a unit"),
        ("{ upload_rte: 1MiB }", "unknown key `upload_rte`", "did you mean `upload_rate`?"),
    ];
    for (rates, message, help) in rows {
        let whole = format!("{BASE}limits: {{ per_principal: {rates} }}\n");
        assert_problems(&whole, &references(), &[(31, message, help)]);
        for key in ["per_principal", "together"] {
            let limits = format!("    what: [read, write]\n    limits: {{ {key}: {rates} }}");
            assert_problems(&edited("    what: [read, write]", &limits), &references(), &[(26, message, help)]);
        }
    }
    let upstream =
        |setting: &str| edited("    region: eu-central-1", &format!("    region: eu-central-1\n    {setting}"));
    for (setting, message, help) in [
        ("max_waiting: 100001", "100001 is out of range", "write 0 to 100000"),
        ("principal_share: 0", "0 is out of range", "write 1 to 100"),
        ("principal_share: 101", "101 is out of range", "write 1 to 100"),
        ("breaker: { failures: 100001 }", "100001 is out of range", "write 0 to 100000"),
        ("breaker: { pause: 1ms }", "`1ms` is out of range", "write 100ms to 1h"),
        ("breaker: { failure: 1 }", "unknown key `failure`", "did you mean `failures`?"),
    ] {
        assert_problems(&upstream(setting), &references(), &[(7, message, help)]);
    }
    for (failures, message, help) in [
        ("{ rate: 1000001 }", "1000001 is out of range", "write 0 to 1000000"),
        ("{ burst: 0 }", "0 is out of range", "write 1 to 1000000"),
        ("{ rate: 0, burst: 5 }", "`burst` does nothing with a `rate` of 0", "remove"),
    ] {
        let text = format!("{BASE}limits: {{ failed_authentications: {failures} }}\n");
        assert_problems(&text, &references(), &[(31, message, help)]);
    }
}

#[test]
fn content_and_headers() {
    let what = "what: [read, write]";
    let row = |terms: &str, expected: &[Expected<'_>]| {
        assert_problems(&edited(what, &format!("what: write\n    {terms}")), &references(), expected)
    };
    row(
        "content: { types: [png, \"*/*\", \"a/b; c=d\", \"image/\"] }",
        &[
            (26, "not a media type", "image/png"),
            (26, "not a media", ""),
            (26, "not a media", ""),
            (26, "not a media", ""),
        ],
    );
    row(
        "content: { extensions: [.png, tar.gz] }",
        &[(26, "not a file name extension", "`png`, not `.png`"), (26, "not a file name", "")],
    );
    row("content: { types: [] }", &[(26, "the list is empty", "remove the key")]);
    row("content: { check_bytes: 1 }", &[(26, "expected `true` or `false`", "")]);
    for name in [
        "authorization",
        "Host",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-security-token",
        "content-length",
        "transfer-encoding",
        "connection",
        "content-md5",
    ] {
        row(&format!("headers: {{ set: {{ {name}: x }} }}"), &[(26, "cannot be set", "")]);
        row(&format!("headers: {{ allow: [{name}] }}"), &[(26, "cannot be allowed", "")]);
    }
    for name in
        ["x-amz-copy-source", "x-amz-checksum-crc32", "x-amz-server-side-encryption-customer-key", "X-Amz-Trailer"]
    {
        row(&format!("headers: {{ set: {{ {name}: x }} }}"), &[(26, "cannot be set", "change what the request is")]);
    }
    row(
        "headers: { set: { x-amz-server-side-encrypton: AES256 } }",
        &[(26, "no write has a header", "did you mean `x-amz-server-side-encryption`?")],
    );
    row("headers: { set: { \"a b\": x } }", &[(26, "not the name of a header", "")]);
    row("headers: { set: { cache-control: \"a\\nb\" } }", &[(26, "cannot be the value of a header", "")]);
    row("headers: { set: { cache-control: \"\" } }", &[(26, "cannot be the value of a header", "")]);
    row("headers: { set: { cache-control: null } }", &[(26, "expected text, found nothing", "")]);
    row(
        "headers: { set: { cache-control: a, Cache-Control: b } }",
        &[(26, "`cache-control` is there twice", "same header")],
    );
    row("headers: { require: { authorization: null } }", &[(26, "cannot be required", "")]);
    for name in ["x-amz-content-sha256", "x-amz-date", "host", "x-amz-copy-source", "cookie"] {
        row(&format!("headers: {{ require: {{ {name}: null }} }}"), &[(26, "cannot be required", "gateway reads it")]);
    }
    row("headers: { require: { x-amz-acl: private } }", &[(26, "with this value cannot be required", "no write")]);
    row("headers: { require: { x-amz-meta-x-minio-a: null } }", &[(26, "no write has a header", "")]);
    row("headers: { set: { x-amz-meta-x-minio-a: b } }", &[(26, "no write has a header", "")]);
    row(
        "headers: { set: { cache-contol: no-store } }",
        &[(26, "no write has a header", "did you mean `cache-control`?")],
    );
    row("headers: { require: { origin: null } }", &[(26, "no write has a header `origin`", "")]);
    row("headers: { require: { x-amz-mta-owner: null } }", &[(26, "no write has a header", "x-amz-meta-")]);
    row(
        "headers: { require: { content-type: [a] } }",
        &[(26, "expected text, or `null` for any value, found a list", "")],
    );
    row(
        "headers: { allow: [x-amz-storage-clas] }",
        &[(26, "cannot be allowed", "did you mean `x-amz-storage-class`?")],
    );
    row("headers: { allow: [x-amz-tagging] }", &[(26, "needs a right of its own", "`s3:PutObjectTagging`")]);
    row("headers: { allow: [x-amz-meta-owner] }", &[(26, "passed on anyway", "remove it")]);
}

#[test]
fn a_deny_has_no_terms() {
    for (key, value) in [
        ("limits", "{ max_size: 1MiB }"),
        ("content", "{ check_bytes: true }"),
        ("headers", "{ allow: [x-amz-storage-class] }"),
        ("response_overrides", "true"),
    ] {
        let text = edited("effect: deny", &format!("effect: deny\n    {key}: {value}"));
        assert_problems(
            &text,
            &references(),
            &[(28, &format!("a deny rule has no `{key}`"), "put the conditions into the rule that allows")],
        );
    }
}

#[test]
fn several_problems_are_all_reported_and_none_follows_from_another() {
    let text = "\
listen:
  - adress: 127.0.0.1:8080
upstreams:
  store: { endpoint: 5, region: [], credentials: { profil: x } }
buckets:
  data: { upstream: sotre }
  more: x
clients:
  tokens:
    - name: [ci]
      hash: env:HASH
rules:
  - { name: a, who: { tokens: [ci, cd], networks: [1, 10.0.0.0/8, 3] }, where: [data, more, most], what: [read, rite] }
  - { name: b, who: { attributes: { team: x } }, where: data, what: 5, limits: 1MiB }
";
    assert_problems(
        text,
        &references(),
        &[
            (2, "unknown key `adress`", "did you mean `address`?"),
            (4, "does not begin with https://", ""),
            (4, "expected text, found a list", ""),
            (4, "unknown key `profil`", "did you mean `profile`?"),
            (6, "no upstream of this name", "did you mean `store`?"),
            (7, "expected a mapping, found text", ""),
            (10, "expected text, found a list", ""),
            (13, "not a network", ""),
            (13, "not a network", ""),
            (13, "`rite` is not an action", "did you mean `write`?"),
            (14, "`5` is not an action", ""),
            (14, "expected a mapping, found text", ""),
        ],
    );
}

#[test]
fn l07_a_file_of_nothing_but_mistakes_ends_after_a_hundred() {
    let text: String = (0..5000).map(|number| format!("k{number}: x\n")).collect();
    let problems = crate::config::load_text("test.yaml", &text, &references()).unwrap_err();
    assert_eq!(problems.iter().count(), 100);
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

#[test]
fn scanners_with_mistakes() {
    for (to, expected) in [
        ("clamd: {}", &[(21, "`addresses` is missing", "tcp://host:port")][..]),
        ("clamd: { addresses: [] }", &[(21, "the list is empty", "unix:/path")]),
        ("clamd: { addresses: \"127.0.0.1:3310\" }", &[(21, "not an address of clamd", "tcp://host:port")]),
        ("clamd: { addresses: \"tcp://127.1:3310\" }", &[(21, "not a host", "")]),
        ("clamd: { addresses: [\"tcp://a\", \"tcp://a:3310\"] }", &[(21, "this address is there twice", "")]),
        ("clamd: { addresses: \"tcp://a\", max_size: 5GiB }", &[(21, "`5GiB` is out of range", "4GiB")]),
        ("clamd: { addresses: \"tcp://a\", not_scannable: [\"\"] }", &[(21, "the text is empty", "Heuristics")]),
        ("icap: {}", &[(21, "`url` is missing", "icap://host:port/service")]),
        ("icap: { url: \"http://a/b\" }", &[(21, "not an address of an ICAP service", "icap://")]),
        ("icap: { url: \"icap://a\" }", &[(21, "not an address of an ICAP service", "icap://")]),
        ("icap: { url: \"icap://127.1/b\" }", &[(21, "not a host", "")]),
        ("icap: { url: \"icap://a/b\", not_scannable: [] }", &[(21, "the list is empty", "")]),
        ("clamd: { addresses: \"tcp://a\", probe: some }", &[(21, "not known here", "")]),
    ] {
        assert_problems(
            &edited("rules:", &format!("inspectors: {{ antivirus: {{ {to} }} }}\nrules:")),
            &references(),
            expected,
        );
    }
}

#[test]
fn patterns_with_mistakes() {
    let inspector =
        |keys: &str| edited("rules:", &format!("inspectors: {{ dlp: {{ patterns: {{ {keys} }} }} }}\nrules:"));
    for (keys, expected) in [
        ("", &[(21, "there are no patterns", "sets: [eicar]")][..]),
        ("sets: []", &[(21, "the list is empty", "name a set")]),
        ("sets: [card-number]", &[(21, "there is no set `card-number`", "did you mean `card-numbers`?")]),
        ("sets: [eicar, eicar]", &[(21, "named twice", "remove one")]),
        ("literals: { a: \"\" }", &[(21, "a literal of 0 bytes", "1 to 4096")]),
        ("literals: { a b: x }", &[(21, "cannot be a name", "")]),
        ("regexes: { a: 'x+' }", &[(21, "no longest match", "{1,200}")]),
        ("regexes: { a: 'x{0,2}' }", &[(21, "matches an empty text", "{1,200}")]),
        ("regexes: { a: '^x' }", &[(21, "begin or end of the whole object", "(?m)")]),
        ("regexes: { a: 'x(' }", &[(21, "cannot be read: unclosed group", "single quotes")]),
        ("files: { a: words.txt }", &[(21, "not absolute", "")]),
        ("files: { a: /nowhere/words.txt }", &[(21, "cannot be read", "")]),
        ("sets: eicar, count: 0", &[(21, "0 is out of range", "1 to 1000")]),
    ] {
        assert_problems(&inspector(keys), &references(), expected);
    }
}

#[test]
fn file_types_with_mistakes() {
    for (keys, expected) in [
        ("allow: []", &[(21, "the list is empty", "name a type")][..]),
        ("allow: png", &[(21, "there is no type `png`", "image/*")]),
        ("deny: [macro]", &[(21, "there is no type `macro`", "did you mean `macros`?")]),
        ("deny: [image/png, '']", &[(21, "the text is empty", "")]),
    ] {
        let inspectors = format!("inspectors: {{ types: {{ file_type: {{ {keys} }} }} }}\nrules:");
        assert_problems(&edited("rules:", &inspectors), &references(), expected);
    }
}

#[test]
fn a_quarantine_at_another_store_than_the_objects_is_a_mistake() {
    let inspector = edited("rules:", "inspectors: { words: { patterns: { sets: eicar } } }\nrules:");
    let inspect = "where: team-data/builds/\n    inspect: { with: words, matched: quarantine, quarantine: cell/ }";
    let inspected = inspector.replacen("where: team-data/builds/", inspect, 1);
    let other = "endpoint: https://s3.example.org\n    region: x\n    credentials: { access_key_id: env:ID, secret_access_key: env:KEY }\nbuckets:\n";
    let two_stores = inspected
        .replacen("buckets:\n", &format!("  other:\n    {other}  cell: {{ upstream: other }}\n"), 1)
        .replacen("team-data: { ", "team-data: { upstream: store, ", 1);
    assert_problems(&two_stores, &references(), &[(31, "`team-data` is at another store", "same upstream")]);
    let one_store = inspected.replacen("buckets:\n", "buckets:\n  cell: {}\n", 1);
    assert!(load(&one_store).is_ok());
    let per_part = inspected.replacen("cell/ }", "team-data/q/, multipart: per_part }", 1);
    assert_problems(&per_part, &references(), &[(26, "a part alone cannot be marked", "multipart: staged")]);
}

#[test]
fn staging_with_mistakes() {
    for (keys, problem) in
        [("keep_objects: 500ms", "`500ms` is out of range"), ("keep_uploads: 721h", "`721h` is out of range")]
    {
        let text = format!("{BASE}limits: {{ staging: {{ {keys} }} }}\n");
        assert_problems(&text, &references(), &[(31, problem, "")]);
    }
}
