//! Operations on buckets as a whole and on settings of keys: who may, what reaches the store, what comes back.

use countersign::s3::Operation;
use countersign::s3::operation::{Level, OperationSpec};
use countersign::s3::serving::{Mapping, Serving, serving};

use super::hostile::Wire;
use super::support::recorder::response;
use super::support::{Answer, Gateway, Recorder, Response, Setup, Store, StoreKind, eventually};

const EVERYTHING: &str = "\n  - { name: all, who: { tokens: [a] }, where: [bkt, \"*\"], what: \"s3:*\" }";

async fn whole_store(rules: &str) -> Wire {
    let recorder = Recorder::start(Answer::ok()).await;
    Wire { gateway: Setup::before(&recorder).whole_store().rules(rules).start().await, recorder }
}

/// A request for a forwarded operation, with a document that is its own.
fn request(spec: &OperationSpec, bucket: &str) -> (String, Vec<u8>) {
    let target = if spec.level == Level::Object { format!("/{bucket}/a/x") } else { format!("/{bucket}") };
    let query: Vec<_> =
        spec.required_query.iter().map(|(name, value)| format!("{name}={}", value.unwrap_or("1"))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    (format!("{target}{query}"), document(spec).into_bytes())
}

fn document(spec: &OperationSpec) -> String {
    let root = match spec.name {
        "PutBucketPolicy" => return "{\"Statement\": []}".to_owned(),
        "CreateBucket" => return String::new(),
        "PutBucketAcl" | "PutObjectAcl" => "AccessControlPolicy",
        "PutBucketAbac" => "AbacStatus",
        "PutBucketCors" => "CORSConfiguration",
        "PutBucketEncryption" => "ServerSideEncryptionConfiguration",
        "PutBucketLogging" => "BucketLoggingStatus",
        "PutBucketTagging" => "Tagging",
        "PutPublicAccessBlock" => "PublicAccessBlockConfiguration",
        "PutObjectLegalHold" => "LegalHold",
        "PutObjectRetention" => "Retention",
        "RestoreObject" => "RestoreRequest",
        "UpdateObjectEncryption" => "ObjectEncryption",
        "CreateBucketMetadataConfiguration" => "MetadataConfiguration",
        "CreateBucketMetadataTableConfiguration" => "MetadataTableConfiguration",
        name => {
            let name = name.trim_start_matches("UpdateBucketMetadata").trim_start_matches("Put");
            let bare = name.trim_start_matches("Bucket");
            let named = if bare.ends_with("Configuration") || bare == "OwnershipControls" {
                bare.to_owned()
            } else {
                format!("{bare}Configuration")
            };
            return format!("<{named}/>");
        }
    };
    format!("<{root}/>")
}

fn forwarded() -> impl Iterator<Item = &'static OperationSpec> {
    Operation::all().filter(|spec| serving(spec.operation).mapping().is_some())
}

async fn ask(gateway: &Gateway, spec: &OperationSpec, bucket: &str) -> Response {
    let (target, body) = request(spec, bucket);
    let body = if spec.method == "PUT" || spec.method == "POST" { body } else { Vec::new() };
    gateway.a.send(spec.method, &target, &[], body).await
}

#[tokio::test]
async fn every_forwarded_operation_reaches_the_store_for_a_principal_who_may_do_everything() {
    let wire = whole_store(EVERYTHING).await;
    // An ETag would say that the object is what was read.
    let settings = Answer::Where("GET ", Box::new(Answer::status(200, "", "")), Box::new(Answer::ok()));
    wire.recorder.answer(settings);
    for spec in forwarded() {
        let before = wire.recorder.requests().len();
        let reply = ask(&wire.gateway, spec, "any-one").await;
        let sent = wire.recorder.requests();
        // Before a setting is changed the store is asked for it.
        let changes = matches!(spec.method, "PUT" | "DELETE") && !spec.required_query.is_empty();
        assert_eq!(sent.len(), before + 1 + usize::from(changes), "{}: {reply:?}", spec.name);
        let expected = format!("{} {}", spec.method, request(spec, "any-one").0);
        let line = sent[sent.len() - 1].request_line();
        let sorted = |line: &str| {
            let (path, query) = line.split_once('?').unwrap_or((line, ""));
            let mut query: Vec<_> = query.split('&').map(str::to_owned).collect();
            query.sort();
            (path.to_owned(), query)
        };
        assert_eq!(sorted(&line), sorted(&expected), "{}", spec.name);
        // The recorder's empty answer is a success where nothing is asked for, and no document where one is.
        let wanted = if spec.method == "GET" { [501, 502] } else { [200, 200] };
        assert!(wanted.contains(&reply.status.as_u16()) || spec.name == "GetObjectTorrent", "{}: {reply:?}", spec.name);
    }
}

#[tokio::test]
async fn d20_without_a_right_on_the_whole_bucket_no_such_operation_reaches_the_store() {
    let object_rights = "
  - { name: keys, who: { tokens: [a] }, where: [bkt/a/, \"*/a/\"], what: [\"s3:GetObject\", \"s3:PutObject\", \"s3:DeleteObject\", \"s3:ListBucket\"] }
  - { name: parts, who: { tokens: [a] }, where: [bkt/b/, \"*/b/\"], what: \"s3:*\" }";
    let wire = whole_store(object_rights).await;
    for bucket in ["bkt", "any-one"] {
        for spec in forwarded() {
            let reply = ask(&wire.gateway, spec, bucket).await;
            let denied = reply.outcome() == (403, "AccessDenied".to_owned());
            let not_here = reply.outcome() == (501, "NotImplemented".to_owned());
            assert!(denied || (bucket == "bkt" && not_here), "{} {bucket}: {reply:?}", spec.name);
        }
    }
    assert!(wire.recorder.is_silent());
}

#[tokio::test]
async fn d20_operations_that_name_things_of_the_store_are_not_served_for_a_configured_bucket() {
    let recorder = Recorder::start(Answer::ok()).await;
    let mut setup = Setup::before(&recorder).rules("\n  - { name: all, who: anyone, where: bkt, what: \"s3:*\" }");
    let whole = setup.clone().start().await;
    setup.bucket_settings = ", prefix: gw/".to_owned();
    let prefixed = setup.start().await;
    for spec in forwarded() {
        let before = recorder.requests().len();
        let mapping = serving(spec.operation).mapping();
        let reply = ask(&whole, spec, "bkt").await;
        let reached = recorder.requests().len() > before;
        assert_eq!(reached, mapping != Some(Mapping::PassThrough), "{}: {reply:?}", spec.name);
        assert!(reached || reply.status == 501, "{}: {reply:?}", spec.name);
        let before = recorder.requests().len();
        let reply = ask(&prefixed, spec, "bkt").await;
        let reached = recorder.requests().len() > before;
        assert_eq!(reached, serving(spec.operation) == Serving::Key(Mapping::Any), "{}: {reply:?}", spec.name);
        if reached {
            let line = recorder.requests().pop().unwrap().request_line();
            assert!(line.contains("/up-bkt/gw/a/x?"), "{line}");
        }
    }
    assert_eq!(whole.records().len(), forwarded().count());
    assert!(whole.records().iter().all(|record| record.operation.is_some() && record.bucket.as_deref() == Some("bkt")));
}

#[tokio::test]
async fn d20_d29_unknown_query_keys_are_refused_whatever_the_rules_say() {
    let wire = whole_store(EVERYTHING).await;
    for query in [
        "foo",
        "ACL",
        "a%2563l",
        ";acl",
        "&acl",
        "acl&",
        "?acl",
        "=",
        "acl&foo",
        "acl;tagging",
        "policy&acl",
        "acl&tagging",
        "cors&policy",
        "prefix[]=b",
        "x-id=CopyObject",
        "x-amz-acl=public-read",
        "versionid=1",
        "list-type=3",
        "tagging&jwt=x",
        "append",
        "tagging&X-Amz-Credential=x",
        "tagging&AWSAccessKeyId=x",
        "metrics&id=1&id=2",
        "acl&acl",
        "%61cl&acl",
        "acl%00",
        "retention&x=1",
    ] {
        for method in ["GET", "PUT", "POST", "DELETE", "HEAD"] {
            for target in ["/any-one", "/any-one/", "/any-one/a/x"] {
                let reply = wire.once(&format!("{method} {target}?{query}"), "content-length: 0\r\n").await;
                assert!(matches!(reply.status, 400 | 405 | 501), "{method} {target}?{query}: {reply:?}");
            }
        }
    }
    assert!(wire.recorder.is_silent());
    // One spelling goes on, whatever the client wrote.
    for query in ["acl", "acl=", "%61cl", "a%63l="] {
        wire.once(&format!("GET /any-one?{query}"), "").await;
        assert_eq!(wire.recorder.requests().pop().unwrap().request_line(), "GET /any-one?acl=");
    }
}

#[tokio::test]
async fn documents_that_no_store_should_parse_stay_here() {
    let wire = whole_store(EVERYTHING).await;
    let put = async |target: &str, headers: &[(&str, &str)], body: &[u8]| {
        wire.gateway.a.send("PUT", target, headers, body.to_vec()).await.outcome()
    };
    let malformed = (400, "MalformedXML".to_owned());
    let large = format!("<Tagging>{}</Tagging>", " ".repeat(256 * 1024));
    for body in [
        "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><Tagging>&b;</Tagging>",
        "<Tagging>&b;</Tagging>",
        "<CORSConfiguration/>",
        "",
        "<Tagging>",
        "<?xml version=\"1.0\" encoding=\"UTF-7\"?><Tagging/>",
        &"<a>".repeat(20_000),
    ] {
        assert_eq!(put("/any-one?tagging", &[], body.as_bytes()).await, malformed, "K27: {body:.60}");
    }
    let too_long = (400, "MaxMessageLengthExceeded".to_owned());
    assert_eq!(put("/any-one?tagging", &[], large.as_bytes()).await, too_long);
    assert_eq!(put("/any-one?policy", &[], b"[]").await, (400, "MalformedPolicy".to_owned()));
    let elsewhere =
        b"<CreateBucketConfiguration><LocationConstraint>eu-west-9</LocationConstraint></CreateBucketConfiguration>";
    assert_eq!(put("/any-one", &[], elsewhere).await, (400, "IllegalLocationConstraintException".to_owned()));

    let tagging = b"<Tagging><TagSet/></Tagging>";
    let bad = (400, "BadDigest".to_owned());
    assert_eq!(put("/any-one?tagging", &[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")], tagging).await, bad);
    assert_eq!(put("/any-one?tagging", &[("x-amz-checksum-crc32", "AAAAAA==")], tagging).await, bad);
    assert_eq!(
        put("/any-one?tagging", &[("x-amz-content-sha256", &"0".repeat(64))], tagging).await,
        (400, "XAmzContentSHA256Mismatch".to_owned())
    );
    assert!(wire.recorder.is_silent());

    assert_eq!(put("/any-one?tagging", &[("x-amz-sdk-checksum-algorithm", "CRC32")], tagging).await.0, 200);
    let sent = wire.recorder.requests().pop().unwrap();
    assert_eq!(sent.request_line(), "PUT /any-one?tagging=");
    assert_eq!((sent.body.as_slice(), sent.complete), (&tagging[..], true));
    assert_ne!(sent.header("content-md5"), "");
    assert_eq!(sent.header("x-amz-content-sha256").len(), 64);
    let record = wire.gateway.records().pop().unwrap();
    assert_eq!((record.operation, record.bytes_in), (Some("PutBucketTagging"), tagging.len() as u64));
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_for_is_not_passed_on() {
    let wire = whole_store(EVERYTHING).await;
    let xml = |body: &str| Answer::Bytes(response(200, "content-type: application/xml\r\n", body));
    let get = async |target: &str, answer: Answer| {
        wire.recorder.answer(answer);
        wire.gateway.a.get(target).await
    };
    // What stores answer that do not know a sub-resource.
    let listing = "<ListBucketResult><Contents><Key>secret</Key></Contents></ListBucketResult>";
    for target in
        ["/any-one?inventory&id=1", "/any-one?analytics", "/any-one?tagging", "/any-one/k?retention", "/any-one?policy"]
    {
        let reply = get(target, xml(listing)).await;
        assert!(!reply.text().contains("secret"), "{target}: {reply:?}");
        assert_eq!(reply.outcome(), (501, "NotImplemented".to_owned()), "{target}");
    }
    // G04: an error inside a success.
    let error = "<Error><Code>NoSuchTagSet</Code><Message>up-bkt</Message></Error>";
    assert_eq!(get("/any-one?tagging", xml(error)).await.outcome(), (404, "NoSuchTagSet".to_owned()));
    // K27, from the store.
    let bomb = "<!DOCTYPE a [<!ENTITY b \"c\">]><Tagging>&b;</Tagging>";
    assert_eq!(get("/any-one?tagging", xml(bomb)).await.status, 502);

    let tagging =
        "<?xml version=\"1.0\"?>\n<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    let reply = get("/any-one?tagging", xml(tagging)).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, tagging));
    assert_eq!(reply.header("content-type"), "application/xml");
    let policy = "{\"Version\": \"2012-10-17\",  \"Statement\": []}";
    let reply = get("/any-one?policy", Answer::Bytes(response(200, "", policy))).await;
    assert_eq!((reply.text().as_str(), reply.header("content-type")), (policy, "application/json"));

    wire.recorder.answer(Answer::status(204, "location: http://store/x\r\nserver: store\r\n", ""));
    let deleted = wire.gateway.a.delete("/any-one?tagging").await;
    assert_eq!((deleted.status.as_u16(), deleted.header("location"), deleted.header("server")), (204, "", ""));
    wire.recorder.answer(Answer::error(409, "BucketNotEmpty"));
    let refused = wire.gateway.a.delete("/any-one").await;
    assert_eq!(refused.outcome(), (409, "BucketNotEmpty".to_owned()));
    assert!(!refused.text().contains("store-"), "E11: {}", refused.text());
    // L13: what blames the gateway is not the client's fault.
    wire.recorder.answer(Answer::error(403, "AccessDenied"));
    assert_eq!(wire.gateway.a.delete("/any-one").await.status, 502);
}

#[tokio::test]
async fn a_setting_that_the_store_does_not_know_is_not_changed() {
    let wire = whole_store(EVERYTHING).await;
    wire.recorder.answer(Answer::Bytes(response(200, "content-type: application/xml\r\n", "<ListBucketResult/>")));
    let encryption = "<ServerSideEncryptionConfiguration/>";
    for (method, body) in [("PUT", encryption), ("DELETE", "")] {
        let reply = wire.gateway.a.send(method, "/any-one?encryption", &[], body).await;
        assert_eq!(reply.outcome(), (501, "NotImplemented".to_owned()), "{method}");
    }
    let lines: Vec<_> = wire.recorder.requests().iter().map(|request| request.request_line()).collect();
    assert_eq!(lines, ["GET /any-one?encryption=", "GET /any-one?encryption="]);
    // Ceph RGW 16 takes the one for CreateBucket and the other for DeleteBucket.
    if let Some(store) = Store::get(StoreKind::Rgw).await {
        let gateway = store.setup().whole_store().rules(EVERYTHING).start().await;
        let name = format!("/kept-{}", std::process::id());
        assert_eq!(gateway.a.put(&name, &[], "").await.status, 200);
        assert_eq!(gateway.a.put(&format!("{name}?encryption"), &[], encryption).await.status, 501);
        assert_eq!(gateway.a.delete(&format!("{name}?encryption")).await.status, 501);
        assert_eq!(gateway.a.delete(&format!("{name}?inventory&id=1")).await.status, 501);
        assert_eq!(gateway.a.send("HEAD", &name, &[], "").await.status, 200, "the bucket is still there");
        assert_eq!(gateway.a.delete(&name).await.status, 204);
    }
}

#[tokio::test]
async fn d20_a_store_that_cannot_say_whether_it_knows_a_setting_is_not_told_to_change_it() {
    let wire = whole_store(EVERYTHING).await;
    let ask = async |method: &str, target: &str, body: &str| {
        wire.gateway.a.send(method, target, &[], body.to_owned()).await.outcome()
    };
    for (answer, expected) in
        [(Answer::error(503, "SlowDown"), (503, "SlowDown")), (Answer::error(403, "AccessDenied"), (502, "BadGateway"))]
    {
        wire.recorder.answer(answer);
        let expected = (expected.0, expected.1.to_owned());
        assert_eq!(ask("DELETE", "/any-one?encryption", "").await, expected);
        assert_eq!(ask("PUT", "/any-one/k?legal-hold", "<LegalHold/>").await, expected);
    }
    // A store that answers with the object would overwrite it.
    wire.recorder.answer(Answer::status(200, "etag: \"e\"\r\n", "the object"));
    assert_eq!(ask("PUT", "/any-one/k?legal-hold", "<LegalHold/>").await, (501, "NotImplemented".to_owned()));
    assert!(wire.recorder.requests().iter().all(|request| request.head.starts_with("GET ")));
    assert_eq!(ask("PUT", "/any-one/k?encryption", "<ObjectEncryption/>").await.0, 501);
}

#[tokio::test]
async fn l13_a_refusal_is_the_clients_only_where_a_lock_may_be_the_reason() {
    let wire = whole_store(EVERYTHING).await;
    let known = Answer::status(200, "", "<Retention/>");
    for (code, method, target, body, expected) in [
        ("AccessDenied", "DELETE", "/any-one/k?versionId=1", "", (403, "AccessDenied")),
        ("AccessDenied", "PUT", "/any-one/k?retention", "<Retention/>", (403, "AccessDenied")),
        ("AccessDenied", "PUT", "/any-one/k?legal-hold", "<LegalHold/>", (403, "AccessDenied")),
        ("SignatureDoesNotMatch", "DELETE", "/any-one/k?versionId=1", "", (502, "BadGateway")),
        ("AccessDenied", "DELETE", "/any-one/k", "", (502, "BadGateway")),
        ("AccessDenied", "PUT", "/any-one/k?acl", "<AccessControlPolicy/>", (502, "BadGateway")),
        ("AccessDenied", "PUT", "/any-one?object-lock", "<ObjectLockConfiguration/>", (502, "BadGateway")),
    ] {
        wire.recorder.answer(Answer::Where("GET ", Box::new(known.clone()), Box::new(Answer::error(403, code))));
        let reply = wire.gateway.a.send(method, target, &[], body).await;
        assert_eq!(reply.outcome(), (expected.0, expected.1.to_owned()), "{code} {method} {target}");
    }
}

#[tokio::test]
async fn what_a_lock_forbids_is_no_failure_of_the_gateway() {
    let Some(store) = Store::get(StoreKind::Rgw).await else { return };
    let gateway = store.setup().whole_store().rules(EVERYTHING).start().await;
    let name = format!("/locked-{}", std::process::id());
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    assert_eq!(gateway.a.put(&name, &lock, "").await.status, 200);
    let version = gateway.a.put(&format!("{name}/k"), &[], "x").await.header("x-amz-version-id").to_owned();
    let retain = async |year: u16| {
        let until = format!("<RetainUntilDate>{year}-01-01T00:00:00Z</RetainUntilDate>");
        let document = format!("<Retention><Mode>GOVERNANCE</Mode>{until}</Retention>");
        gateway.a.put(&format!("{name}/k?retention"), &[], document).await.outcome()
    };
    let (done, refused) = ((200, String::new()), (403, "AccessDenied".to_owned()));
    assert_eq!(retain(2099).await, done);
    assert_eq!(retain(2098).await, refused);
    let target = format!("{name}/k?versionId={version}");
    assert_eq!(gateway.a.delete(&target).await.outcome(), refused);
    let bypass = [("x-amz-bypass-governance-retention", "true")];
    assert_eq!(gateway.a.send("DELETE", &target, &bypass, "").await.status, 204);
    assert_eq!(gateway.a.delete(&name).await.status, 204);
}

#[tokio::test]
async fn d22_public_buckets_and_grants_need_the_right_to_access_control() {
    let wire =
        whole_store("\n  - { name: create, who: { tokens: [a] }, where: \"*\", what: \"s3:CreateBucket\" }").await;
    for (name, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-acl", "public-read-write"),
        ("x-amz-grant-read", "uri=http://acs.amazonaws.com/groups/global/AllUsers"),
        ("x-amz-grant-full-control", "id=1"),
        ("x-amz-bucket-object-lock-enabled", "true"),
        ("x-amz-object-ownership", "ObjectWriter"),
        ("x-amz-bucket-namespace", "account-regional"),
    ] {
        let reply = wire.gateway.a.put("/new-one", &[(name, value)], "").await;
        assert_eq!(reply.outcome(), (403, "AccessDenied".to_owned()), "{name}");
    }
    // D26: an account or a payer cannot be pinned.
    for name in ["x-amz-expected-bucket-owner", "x-amz-request-payer", "x-amz-mfa", "x-amz-unknown"] {
        assert_eq!(wire.gateway.a.put("/new-one", &[(name, "1")], "").await.status, 400, "{name}");
    }
    assert!(wire.recorder.is_silent());
    let made = wire.gateway.a.put("/new-one", &[("x-amz-acl", "private")], "").await;
    assert_eq!((made.status.as_u16(), made.header("location")), (200, "/new-one"));
    assert_eq!(wire.recorder.only().header("x-amz-acl"), "");
}

#[tokio::test]
async fn e08_a_name_that_no_bucket_can_have_never_builds_a_url() {
    let wire = whole_store(EVERYTHING).await;
    for name in [
        "..",
        "%2e%2e",
        "BKT",
        "bkt.",
        "ab",
        "a_b",
        "bkt%2fa",
        "bkt%00",
        "192.168.0.1",
        "xn--abc",
        "arn:aws:s3:::x",
        ".minio.sys",
        "x-s3alias",
        "up-bkt",
        "a..b",
        "%C3%A9bc",
        "tenant$bkt",
        "tenant:bkt",
    ] {
        for (method, path) in [("GET", "/x"), ("PUT", "/x"), ("PUT", ""), ("GET", "?policy"), ("DELETE", "")] {
            let reply = wire.once(&format!("{method} /{name}{path}"), "content-length: 0\r\n").await;
            assert!(
                reply.status == 403 && reply.text.contains("<Code>AccessDenied</Code>"),
                "{method} {name}{path}: {reply:?}"
            );
        }
    }
    assert!(wire.recorder.is_silent());
    assert_eq!(wire.once("PUT /up-bkt2/x", "content-length: 0\r\n").await.status, 200);
    assert_eq!(wire.recorder.only().request_line(), "PUT /up-bkt2/x");
}

const STORE_LIST: &str = "<?xml version=\"1.0\"?><ListAllMyBucketsResult><Owner><ID>store-account</ID></Owner><Buckets>\
<Bucket><Name>zoo</Name><CreationDate>2026-01-02T03:04:05.000Z</CreationDate></Bucket>\
<Bucket><Name>up-bkt</Name><CreationDate>2026-01-02T03:04:05.000Z</CreationDate></Bucket>\
<Bucket><Name>hidden-one</Name><CreationDate>2026-01-02T03:04:05.000Z</CreationDate></Bucket>\
<Bucket><Name>Not_A_Name</Name><CreationDate>2026-01-02T03:04:05.000Z</CreationDate></Bucket>\
<Bucket><Name>ant</Name><CreationDate>2026-01-02T03:04:05.000Z</CreationDate></Bucket>\
</Buckets></ListAllMyBucketsResult>";

#[tokio::test]
async fn d17_the_list_of_buckets_shows_those_of_the_store_in_which_the_caller_has_a_right() {
    let rules = "
  - { name: all, who: { tokens: [a] }, where: [bkt, \"*/home/\"], what: read }
  - { name: not, effect: deny, who: anyone, where: hidden-one, what: \"s3:*\" }
  - { name: one, who: { tokens: [b] }, where: bkt, what: read }";
    let wire = whole_store(rules).await;
    wire.recorder.answer(Answer::Bytes(response(200, "content-type: application/xml\r\n", STORE_LIST)));
    let list = async |query: &str| wire.gateway.a.get(&format!("/{query}")).await;
    let all = list("").await;
    assert_eq!(all.elements("Name"), ["ant", "bkt", "zoo"]);
    assert!(!all.text().contains("store-account") && all.text().contains("<ID>token:a</ID>"), "{}", all.text());
    assert_eq!(all.elements("CreationDate")[0], "2026-01-02T03:04:05.000Z");
    assert_eq!(wire.recorder.only().request_line(), "GET /");
    assert_eq!(wire.gateway.record(1).await.upstream_status, Some(200));

    assert_eq!(list("?prefix=z").await.elements("Name"), ["zoo"]);
    let page = list("?max-buckets=2").await;
    assert_eq!(
        (page.elements("Name"), page.element("ContinuationToken")),
        (vec!["ant".into(), "bkt".into()], "bkt".to_owned())
    );
    assert_eq!(list("?max-buckets=2&continuation-token=bkt").await.elements("Name"), ["zoo"]);

    let before = wire.recorder.requests().len();
    assert_eq!(wire.gateway.b.get("/").await.elements("Name"), ["bkt"]);
    assert_eq!(wire.recorder.requests().len(), before, "nothing of the store could show");
    wire.recorder.answer(Answer::error(403, "AccessDenied"));
    assert_eq!(list("").await.status, 502);
    wire.recorder.answer(Answer::Bytes(response(200, "", "<ListBucketResult/>")));
    assert_eq!(list("").await.status, 502);
}

#[tokio::test]
async fn a_whole_store_is_used_through_the_gateway() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let gateway = store.setup().whole_store().rules(EVERYTHING).start().await;
        let name = format!("/whole-{}-{}", std::process::id(), kind as u8);
        let bucket = name.trim_start_matches('/').to_owned();
        let missing = gateway.a.get(&format!("{name}?location")).await;
        assert_eq!(missing.outcome(), (404, "NoSuchBucket".to_owned()), "{kind:?}");
        assert_eq!(gateway.a.put(&name, &[], "").await.status, 200, "{kind:?}");
        assert_eq!(gateway.a.send("HEAD", &name, &[], "").await.status, 200, "{kind:?}");
        assert_eq!(gateway.a.get(&format!("{name}?location")).await.status, 200, "{kind:?}");
        assert!(gateway.a.get("/").await.elements("Name").contains(&bucket), "{kind:?}");
        assert_eq!(gateway.a.put(&format!("{name}/a/x"), &[], "hello").await.status, 200, "{kind:?}");
        assert_eq!(gateway.a.get(&format!("{name}/a/x")).await.text(), "hello", "{kind:?}");
        let listed = gateway.a.get(&format!("{name}?list-type=2")).await;
        assert_eq!(listed.elements("Key"), ["a/x"], "{kind:?}");
        if kind == StoreKind::Rgw {
            // SeaweedFS deletes what is in the bucket as well.
            assert_eq!(gateway.a.delete(&name).await.outcome(), (409, "BucketNotEmpty".to_owned()));
        }
        let acl = gateway.a.get(&format!("{name}?acl")).await;
        assert!(acl.text().contains("token:a") && !acl.text().contains(&store.access_key), "{kind:?}: {}", acl.text());
        assert_eq!(gateway.a.delete(&format!("{name}/a/x")).await.status, 204, "{kind:?}");
        assert_eq!(gateway.a.delete(&name).await.status, 204, "{kind:?}");
        assert!(!gateway.a.get("/").await.elements("Name").contains(&bucket), "{kind:?}");
        // The bucket behind `bkt` has that name only.
        assert_eq!(gateway.a.get(&format!("/{}/x", store.bucket)).await.status, 403, "{kind:?}");
        eventually("the records", || gateway.records().len() >= 13).await;
        assert!(
            gateway
                .records()
                .iter()
                .any(|record| record.operation == Some("CreateBucket") && record.bucket == Some(bucket.clone()))
        );
    }
}
