//! `countersign explain`, `schema` and `reference`, as an operator runs them; and that `explain` says what the gateway then does.

use serde_json::Value;

use super::support::gateway::KEY_SECRETS;
use super::support::process::{Served, run};
use super::support::{Answer, Recorder, Setup};

const CONFIG: &str = r#"
listen: [{ address: 127.0.0.1:0 }]
upstreams:
  store:
    endpoint: http://127.0.0.1:1
    region: us-east-1
    credentials: { access_key_id: env:ID, secret_access_key: env:SECRET }
buckets:
  data: {}
  other: {}
clients:
  tokens:
    - { name: ci, hash: env:HASH_CI, attributes: { team: red } }
    - { name: old, hash: env:HASH_OLD, expires: 2020-01-01T00:00:00Z }
  access_keys:
    - { name: etl, id: CSAKFORTESTS, secret: env:KEY_ETL, attributes: { team: red } }
  issuers:
    - { name: corp, issuer: https://idp.example.com/, audience: s3, algorithms: [RS256], attributes: { groups: groups } }
rules:
  - name: pictures
    who: { tokens: [ci, old] }
    where: "data/{team}/pictures/"
    what: [s3:PutObject]
    limits: { max_size: 1MiB }
    content: { types: [image/png] }
    headers: { set: { cache-control: no-store } }
  - { name: everything, who: { tokens: [ci] }, where: data, what: ["s3:*"] }
  - { name: homes, who: { issuers: [corp], groups: [staff] }, where: ["data/home/{sub}/", other/public/], what: [read, write] }
  - { name: no-keys, effect: deny, who: anyone, where: [data/home/alice/.keys/, data/red/locked/], what: ["s3:*"] }
"#;

fn hash(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

/// Runs `explain` on the file above: exit status, standard output, standard error.
async fn explain(arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gw.yaml");
    std::fs::write(&path, CONFIG).unwrap();
    let (ci, old) = (hash("1"), hash("2"));
    let env = [
        ("ID", "AKIDFORTESTS000000001"),
        ("SECRET", "store-secret-of-the-test"),
        ("HASH_CI", ci.as_str()),
        ("HASH_OLD", old.as_str()),
        ("KEY_ETL", "access-key-of-the-test"),
    ];
    let config = path.display().to_string();
    let done = run(&[&["explain", "--config", config.as_str()], arguments].concat(), &env).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    for secret in ["store-secret-of-the-test", "access-key-of-the-test"] {
        assert!(!out.contains(secret) && !err.contains(secret));
    }
    (done.status.code().unwrap(), out, err)
}

async fn json(arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = explain(&[arguments, &["--json"]].concat()).await;
    assert_eq!(err, "");
    (code, serde_json::from_str(&out).unwrap())
}

#[tokio::test]
async fn explain_knows_the_callers_of_access_keys() {
    let asked = ["--as", "key:etl", "--do", "s3:PutObject", "--on", "data/red/pictures/a.png"];
    let (code, out, _) = explain(&asked).await;
    assert_eq!(code, 2, "no rule names the key: {out}");
    assert!(out.contains("caller:  key:etl (access_key: key=etl team=red), from 127.0.0.1"), "{out}");
    let unknown = ["--as", "key:other", "--do", "s3:PutObject", "--on", "data/red/pictures/a.png"];
    let (code, _, err) = explain(&unknown).await;
    assert!(code == 1 && err.contains("there is no access key `other`; there are: etl"), "{err}");
}

const PUT: [&str; 6] = ["--as", "token:ci", "--do", "s3:PutObject", "--on", "data/red/pictures/a.png"];

#[tokio::test]
async fn explain_shows_the_deciding_rule_its_terms_and_what_would_decide_next() {
    let (code, out, err) = explain(&[&PUT[..], &["--size", "5KiB", "--type", "image/png"]].concat()).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for line in [
        "ALLOWED by the rule `pictures`",
        "caller:  token:ci (app_token: team=red token=ci), from 127.0.0.1",
        "request: PutObject on data/red/pictures/a.png",
        "s3:PutObject on data/red/pictures/a.png: allowed by `pictures`",
        "  allow `pictures` decides, with `red/pictures/`",
        "  allow `everything` would decide next, with the whole bucket",
        "  deny  `no-keys` does not match; where: is about data/home/alice/.keys/, data/red/locked/",
        "  limits.max_size      1048576 bytes",
        "  headers.set          cache-control: no-store",
    ] {
        assert!(out.lines().any(|shown| shown == line), "`{line}` is missing in\n{out}");
    }
    let homes = out.lines().find(|line| line.contains("`homes`")).unwrap();
    for reason in
        ["who: is for issuer corp", "who: wants the attribute groups to be staff", "where: needs the attribute sub"]
    {
        assert!(homes.contains(reason), "{homes}");
    }

    let (code, answer) = json(&[&PUT[..], &["--size", "5KiB", "--type", "image/png"]].concat()).await;
    assert_eq!((code, &answer["decision"], &answer["rule"]), (0, &"allowed".into(), &"pictures".into()));
    assert_eq!(answer["terms"]["limits"]["max_size"], 1 << 20);
    let rules = answer["rights"][0]["rules"].as_array().unwrap();
    let seen: Vec<_> =
        rules.iter().map(|rule| (rule["rule"].as_str().unwrap(), rule["standing"].as_str().unwrap())).collect();
    assert_eq!(seen, [("pictures", "decides"), ("everything", "next"), ("no-keys", "misses"), ("homes", "misses")]);
}

#[tokio::test]
async fn explain_holds_the_request_to_the_terms_of_the_rule() {
    for (more, code, reason) in [
        (&["--size", "2MiB", "--type", "image/png"][..], "EntityTooLarge", "2097152 bytes"),
        (&["--size", "5KiB", "--type", "text/html"], "AccessDenied", "text/html"),
        (&["--size", "5KiB"], "AccessDenied", "none is declared"),
        (&["--type", "image/png", "--header", "x-amz-storage-class: GLACIER"], "AccessDenied", "x-amz-storage-class"),
        (&["--type", "image/png", "--header", "x-amz-unheard-of: 1"], "InvalidArgument", "x-amz-unheard-of"),
    ] {
        let (status, answer) = json(&[&PUT[..], more].concat()).await;
        assert_eq!((status, &answer["decision"]), (2, &"denied".into()), "{more:?}");
        if reason != "x-amz-unheard-of" {
            assert_eq!((&answer["rule"], answer["terms"].is_object()), (&"pictures".into(), true), "{more:?}");
        }
        assert_eq!(answer["refusal"]["code"], code, "{more:?}");
        assert!(answer["refusal"]["reason"].as_str().unwrap().contains(reason), "{answer:#}");
    }
}

#[tokio::test]
async fn explain_exits_with_2_for_denied_and_with_1_for_a_bad_question() {
    let (code, out, _) = explain(&["--as", "token:ci", "--do", "GetObject", "--on", "data/red/locked/x"]).await;
    assert_eq!(code, 2);
    assert!(out.starts_with("DENIED: rule `no-keys` denies s3:GetObject (403 AccessDenied)\n"), "{out}");
    assert!(out.contains("\ns3:GetObject on data/red/locked/x: denied by `no-keys`\n"), "{out}");
    assert!(out.contains("  allow `everything` has no say against a deny, with the whole bucket\n"), "{out}");
    let (code, answer) = json(&["--as", "token:old", "--do", "GetObject", "--on", "other/x"]).await;
    assert_eq!((code, &answer["refusal"]["code"]), (2, &"ExpiredToken".into()));

    for (arguments, word) in [
        (&["--as", "token:cj", "--do", "GetObject", "--on", "data/x"][..], "there are: ci, old"),
        (&["--as", "issuer:korp:a", "--do", "GetObject", "--on", "data/x"], "there are: corp"),
        (&["--as", "ci", "--do", "GetObject", "--on", "data/x"], "token:NAME"),
        (&["--as", "token:ci", "--do", "GetObjekt", "--on", "data/x"], "--do"),
        (&["--as", "token:ci", "--do", "GetObject", "--on", "data"], "data/key"),
        (&["--as", "token:ci", "--do", "GetObject"], "--on"),
        (&["--as", "token:ci", "--do", "HeadBucket", "--on", "data/x"], "is a key"),
        (&["--as", "token:ci", "--do", "GetObject", "--on", "data/x", "--size", "1KiB"], "--size"),
        (&["--as", "token:ci", "--do", "PutObject", "--on", "data/x", "--size", "10"], "is not a size"),
        (&["--as", "token:ci", "--do", "CopyObject", "--on", "data/x"], "--source"),
        (&["--as", "token:ci", "--do", "GetObject", "--on", "data/x", "--attribute", "team=blue"], "--attribute"),
        (&["--as", "issuer:corp:a", "--do", "GetObject", "--on", "data/x", "--attribute", "team=blue"], "groups"),
        // A misspelt option must not pass for an answer either.
        (&["--as", "token:ci", "--do", "GetObject", "--onn", "data/x"], "Usage:"),
    ] {
        let (code, out, err) = explain(arguments).await;
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
        assert!(err.contains(word), "{arguments:?}: {err}");
    }
}

#[tokio::test]
async fn explain_takes_attributes_and_an_address_for_a_subject_of_an_issuer() {
    let alice = ["--as", "issuer:corp:alice", "--do", "GetObject", "--on", "data/home/alice/x"];
    assert_eq!(explain(&alice).await.0, 2);
    let staff = ["--attribute", "groups=guests", "--attribute", "groups=staff"];
    assert_eq!(explain(&[&alice[..], &staff].concat()).await.0, 0);
    assert_eq!(explain(&[&alice[..4], &["--on", "data/home/bob/x"], &staff].concat()).await.0, 2);
}

#[tokio::test]
async fn explain_shows_what_a_listing_would_show() {
    let list = ["--as", "issuer:corp:alice", "--attribute", "groups=staff", "--do", "s3:ListBucket", "--on"];
    let (code, answer) = json(&[&list[..], &["data/home", "--query", "delimiter=/"]].concat()).await;
    assert_eq!((code, &answer["operation"]), (0, &"ListObjectsV2".into()));
    let listing = &answer["listing"];
    assert_eq!(listing["permitted"], serde_json::json!([{ "prefix": "home/alice/", "group": "home/" }]));
    assert_eq!(listing["denied"], serde_json::json!(["home/alice/.keys/"]));
    let (code, out, _) = explain(&[&list[..], &["data"]].concat()).await;
    assert_eq!(code, 0);
    assert!(out.contains("\nthe listing shows:\n  `home/alice/`\n  but nothing of `home/alice/.keys/`\n"), "{out}");
    assert_eq!(explain(&[&list[..], &["data/red/"]].concat()).await.0, 2);

    let (code, answer) = json(&["--as", "token:ci", "--do", "ListBuckets"]).await;
    assert_eq!((code, &answer["buckets"]), (0, &serde_json::json!(["data"])));
}

#[tokio::test]
async fn explain_asks_both_rights_of_a_copy_and_rights_by_themselves() {
    let copy = ["--as", "token:ci", "--do", "PutObject", "--on", "data/x", "--source"];
    let (_, answer) = json(&[&copy[..], &["data/red/locked/x"]].concat()).await;
    let rights = answer["rights"].as_array().unwrap();
    let mut asked: Vec<_> =
        rights.iter().map(|right| (right["on"].as_str().unwrap(), right["decision"].as_str().unwrap())).collect();
    asked.sort_unstable();
    assert_eq!(
        (&answer["operation"], asked),
        (&"CopyObject".into(), vec![("data/red/locked/x", "denied"), ("data/x", "allowed")])
    );
    assert_eq!(answer["decision"], "denied");

    // No served operation stands for it by itself; a header of PutObject needs it.
    let (code, answer) = json(&["--as", "token:ci", "--do", "s3:BypassGovernanceRetention", "--on", "data/x"]).await;
    assert_eq!((code, &answer["operation"], &answer["rule"]), (0, &Value::Null, &"everything".into()));
    let (code, answer) = json(&[&PUT[..4], &["--on", "data/x", "--header", "x-amz-tagging: a=b"]].concat()).await;
    let actions: Vec<_> = answer["rights"].as_array().unwrap().iter().map(|right| right["action"].clone()).collect();
    assert_eq!((code, actions), (0, vec!["s3:PutObjectTagging".into(), "s3:PutObject".into()]));
}

#[tokio::test]
async fn the_gateway_does_what_explain_said() {
    let recorder = Recorder::start(Answer::ok()).await;
    let setup = Setup::before(&recorder);
    let served = Served::start(&setup, "", &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gw.yaml");
    std::fs::write(&file, setup.text()).unwrap();
    let (config, hash_a, hash_b) = (file.display().to_string(), hash("1"), hash("2"));
    let env = [
        ("ACCESS", setup.access_key.as_str()),
        ("SECRET", setup.secret_key.as_str()),
        ("HASH_A", hash_a.as_str()),
        ("HASH_B", hash_b.as_str()),
        KEY_SECRETS[0],
        KEY_SECRETS[1],
    ];
    for (client, name) in [(&served.a, "a"), (&served.b, "b")] {
        for key in ["a/x", "b/x", "x"] {
            let on = format!("bkt/{key}");
            let arguments =
                ["explain", "--config", &config, "--as", &format!("token:{name}"), "--do", "GetObject", "--on", &on];
            let said = run(&arguments, &env).await.status.code();
            let status = client.get(&format!("/{on}")).await.status.as_u16();
            assert_eq!(said, Some(if status == 200 { 0 } else { 2 }), "{name} {on}: {status}");
        }
    }
}

#[tokio::test]
async fn schema_and_reference_print_what_they_say() {
    let schema = run(&["schema"], &[]).await;
    let schema: Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    let reference = run(&["reference"], &[]).await;
    assert_eq!(String::from_utf8(reference.stdout).unwrap(), include_str!("../../config/reference.yaml"));
}
