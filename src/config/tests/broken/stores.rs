//! Stores, their credentials, and the buckets that stand for what is in them.

use super::check;
use crate::config::tests::{BASE, assert_problems, edited, load, references};

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
