//! Rules: whom, where and what they are about, and their terms.

use super::check;
use crate::config::tests::{BASE, Expected, assert_problems, edited, references};

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
