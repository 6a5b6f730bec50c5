//! The gateway's credential can do more than its callers: who calls is decided once, and nothing a caller sends borrows the rest.

use countersign::s3::Operation;
use countersign::s3::identify::SERVED;
use countersign::s3::operation::{Level, OperationSpec};
use countersign::s3::serving::serving;

use super::hostile::{Reply, Wire};

/// A request for an operation, as a client would make it.
fn request_line(spec: &OperationSpec) -> String {
    let target = match spec.level {
        Level::Service => "/",
        Level::Bucket => "/bkt",
        Level::Object => "/bkt/a/x",
    };
    let query: Vec<_> =
        spec.required_query.iter().map(|(name, value)| format!("{name}={}", value.unwrap_or("1"))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("{} {target}{query}", spec.method)
}

fn required_headers(spec: &OperationSpec) -> String {
    spec.required_headers.iter().map(|name| format!("{name}: /bkt/b/x\r\n")).collect()
}

impl Wire {
    /// Sends one request with these lines instead of a credential.
    async fn with_credential(&self, line: &str, credential: &str) -> Reply {
        self.ask(format!("{line} HTTP/1.1\r\nhost: gw\r\nconnection: close\r\n{credential}\r\n")).await
    }
}

fn has_code(reply: &Reply, code: &str) -> bool {
    reply.text.contains(&format!("<Code>{code}</Code>"))
}

#[tokio::test]
async fn a08_without_a_credential_every_operation_is_a_401() {
    let wire = Wire::start().await;
    let mut lines: Vec<_> = Operation::all().map(|spec| (request_line(spec), required_headers(spec))).collect();
    assert!(lines.len() > 100);
    for line in [
        "OPTIONS /bkt/a/x",
        "OPTIONS *",
        "HEAD /",
        "GET /minio/health/live",
        "GET /favicon.ico",
        "GET /metrics",
        "GET /unknown/a/x",
        "GET /bkt/a/../x",
        "PATCH /bkt/a/x",
        "GET /bkt/a/x?access_token=TOKEN&jwt=TOKEN&token=TOKEN",
    ] {
        lines.push((
            line.replace("TOKEN", &wire.gateway.a.token),
            "if-none-match: *\r\nrange: bytes=0-0\r\n".to_owned(),
        ));
    }
    lines.push(("GET /bkt/a/x".to_owned(), format!("cookie: token={}\r\n", wire.gateway.a.token)));
    for (line, headers) in &lines {
        let reply = wire.with_credential(line, headers).await;
        assert_eq!(reply.status, 401, "{line}: {reply:?}");
        assert!(reply.text.contains("www-authenticate: Bearer realm=\"countersign\"\r\n"), "{line}: {reply:?}");
        assert!(line.starts_with("HEAD") || has_code(&reply, "AccessDenied"), "{line}: {reply:?}");
        // A04: nor with a token that nobody has.
        let forged = format!("{headers}authorization: Bearer {}\r\n", wire.gateway.a.token.replace("csn_", "csn_0"));
        let reply = wire.with_credential(line, &forged).await;
        assert!(
            reply.status == 401 && (line.starts_with("HEAD") || has_code(&reply, "InvalidToken")),
            "{line}: {reply:?}"
        );
    }
    assert!(wire.recorder.is_silent());
}

#[tokio::test]
async fn d20_operations_that_are_not_served_never_reach_the_store_whatever_the_rules_say() {
    let wire = Wire::with_rules("\n  - { name: all, who: anyone, where: bkt, what: \"s3:*\" }").await;
    let is_served =
        |spec: &OperationSpec| SERVED.contains(&spec.operation) || serving(spec.operation).mapping().is_some();
    for spec in Operation::all().filter(|spec| !is_served(spec)) {
        let before = wire.recorder.requests().len();
        let reply = wire.once(&request_line(spec), &(required_headers(spec) + "content-length: 0\r\n")).await;
        // An older form may be another operation's today.
        let is_other = Operation::all().any(|other| is_served(other) && request_line(other) == request_line(spec));
        if !(spec.shadowed && is_other) {
            assert_eq!(wire.recorder.requests().len(), before, "{}: {reply:?}", spec.name);
            assert!(matches!(reply.status, 400 | 501), "{}: {reply:?}", spec.name);
        }
    }
    for served in SERVED {
        let headers = match served {
            Operation::GetObjectAttributes => "content-length: 0\r\nx-amz-object-attributes: ETag\r\n",
            // The MD5 of nothing.
            _ => "content-length: 0\r\ncontent-md5: 1B2M2Y8AsgTpgAmY7PhCfg==\r\n",
        };
        let reply = wire.once(&request_line(served.spec()), headers).await;
        // The recorder's empty answer is no listing, no upload and no attributes, and `1` is nobody's upload id. Nothing is no document.
        let is_understood = ["NoSuchUpload", "MalformedXML", "The store does not support this."];
        assert!(
            matches!(reply.status, 200 | 204 | 502) || is_understood.iter().any(|word| reply.text.contains(word)),
            "{}: {reply:?}",
            served.name()
        );
    }
}

#[tokio::test]
async fn d20_unknown_query_keys_are_refused_and_not_taken_for_the_plain_object() {
    let objects =
        "[\"s3:GetObject\", \"s3:GetObjectVersion\", \"s3:PutObject\", \"s3:DeleteObject\", \"s3:ListBucket\"]";
    let wire = Wire::with_rules(&format!("\n  - {{ name: all, who: anyone, where: bkt, what: {objects} }}")).await;
    let subresources = [
        "acl",
        "policy",
        "policyStatus",
        "website",
        "cors",
        "lifecycle",
        "notification",
        "replication",
        "logging",
        "versioning",
        "encryption",
        "tagging",
        "torrent",
        "select&select-type=2",
        "restore",
        "legal-hold",
        "retention",
        "object-lock",
        "publicAccessBlock",
        "ownershipControls",
        "intelligent-tiering",
        "inventory",
        "analytics",
        "metrics",
        "accelerate",
        "requestPayment",
        "attributes",
        "session",
        "metadataTable",
        "metadataInventoryTable",
        "renameObject",
        "append",
        "delete",
    ];
    let odd = [
        "foo",
        "ACL",
        "acl=",
        "acl&versionId=1",
        "%61cl",
        "a%63l",
        "a%2563l",
        ";acl",
        "&acl",
        "acl&",
        "?acl",
        "acl#",
        "=",
        "x=1;acl",
        "jwt=x",
        "prefix[]=b/",
        "list-type=3",
        "list-type=2&list-type=2",
        "x-id=CopyObject",
        "x-amz-acl=public-read",
        "versionid=1",
        "response-content-type=a&Response-Content-Type=b",
        "key=%00",
        "%ff=1",
        "%zz",
    ];
    for query in subresources.iter().chain(&odd) {
        for method in ["GET", "PUT", "POST", "DELETE", "HEAD"] {
            for target in ["/bkt", "/bkt/", "/bkt/a/x"] {
                let line = format!("{method} {target}?{query}");
                if SERVED.iter().any(|served| request_line(served.spec()) == format!("{line}=")) {
                    continue;
                }
                let reply = wire.once(&line, "content-length: 0\r\n").await;
                assert!(matches!(reply.status, 400 | 403 | 405 | 501), "{method} {target}?{query}: {reply:?}");
            }
        }
    }
    assert!(wire.recorder.is_silent());
    for (line, sent) in [
        ("GET /bkt/a/x?x-id=GetObject", "GET /up-bkt/a/x"),
        ("GET /bkt/a/x?", "GET /up-bkt/a/x"),
        ("GET /bkt/a/x?versionId=1", "GET /up-bkt/a/x?versionId=1"),
        ("GET /bkt/a/x?versionId=a%20%2b+%7e&partNumber=3", "GET /up-bkt/a/x?partNumber=3&versionId=a%20%2B%20~"),
    ] {
        assert_eq!(wire.once(line, "").await.status, 200, "{line}");
        assert_eq!(wire.recorder.requests().pop().unwrap().request_line(), sent);
    }
}

#[tokio::test]
async fn d21_methods_are_those_of_s3_and_none_is_overridden() {
    let wire = Wire::with_rules("\n  - { name: all, who: anyone, where: bkt, what: \"s3:*\" }").await;
    for line in [
        "PATCH /bkt/a/x",
        "TRACE /bkt/a/x",
        "CONNECT bkt:443",
        "PROPFIND /bkt/a/x",
        "get /bkt/a/x",
        "Put /bkt/a/x",
        "GETX /bkt/a/x",
        "OPTIONS *",
        "OPTIONS /bkt/a/x",
        "POST /bkt/a/x",
        "PUT http://169.254.169.254/",
        "GET *",
        "GET bkt/a/x",
        "G\tET /bkt/a/x",
        "LINK /bkt/a/x",
        "COPY /bkt/a/x",
        "MOVE /bkt/a/x",
    ] {
        let reply = wire.once(line, "content-length: 0\r\n").await;
        assert!(matches!(reply.status, 400 | 405 | 501), "{line}: {reply:?}");
    }
    assert!(wire.recorder.is_silent());
    let overriding = "x-http-method-override: DELETE\r\nx-http-method: DELETE\r\nx-method-override: DELETE\r\n";
    assert_eq!(wire.once("GET /bkt/a/x", overriding).await.status, 200);
    let sent = wire.recorder.only();
    assert!(sent.request_line() == "GET /up-bkt/a/x" && !sent.head.contains("DELETE"), "{}", sent.head);
}

#[tokio::test]
async fn a05_a06_two_credentials_are_one_too_many() {
    let wire = Wire::start().await;
    let good = format!("authorization: Bearer {}\r\n", wire.gateway.a.token);
    let other = format!("Authorization: Bearer {}\r\n", wire.gateway.b.token);
    let sigv4 = "AUTHORIZATION: AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00\r\n";
    for pair in [
        format!("{good}{other}"),
        format!("{other}{good}"),
        format!("{good}{good}"),
        format!("{good}{sigv4}"),
        format!("{sigv4}{good}"),
        format!("{good}authorization:\r\n"),
        format!("authorization: Basic dTpw\r\n{good}"),
    ] {
        let reply = wire.with_credential("GET /bkt/a/x", &pair).await;
        assert!(reply.status == 400 && has_code(&reply, "InvalidArgument"), "{pair}: {reply:?}");
    }
    for query in [
        "X-Amz-Signature=00",
        "x-amz-signature=00",
        "X-Amz-Signatur%65=00",
        "X-Amz-Credential=AK",
        "X-Amz-Security-Token=x",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "Signature=x&AWSAccessKeyId=AK",
        "AWSAccessKeyId=AK",
        "Signature=",
    ] {
        let reply = wire.with_credential(&format!("GET /bkt/a/x?{query}"), &good).await;
        assert!(reply.status == 400 && has_code(&reply, "InvalidArgument"), "{query}: {reply:?}");
        // D29: and alone they are no signature of ours.
        let status = if query.to_lowercase().starts_with("x-amz-") { 400 } else { 501 };
        assert_eq!(wire.with_credential(&format!("GET /bkt/a/x?{query}"), "").await.status, status, "{query}");
    }
    assert!(wire.recorder.is_silent());
    assert_eq!(wire.with_credential("GET /bkt/a/x", &good).await.status, 200);
}

#[tokio::test]
async fn a07_only_one_whole_bearer_token_is_a_credential() {
    let wire = Wire::start().await;
    let token = wire.gateway.a.token.clone();
    for (value, status) in [
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer \t", 401),
        ("bearer x", 401),
        ("Bearer a b", 401),
        ("Bearer TOKEN,TOKEN", 401),
        ("Bearer TOKEN, Bearer TOKEN", 401),
        ("Bearer\tTOKEN", 401),
        ("Bearer TOKEN x", 401),
        ("Bearer \"TOKEN\"", 401),
        ("TOKEN", 501),
        ("Token TOKEN", 501),
        ("Bearer TOKEN=", 401),
        ("Bearer TOKENx", 401),
        ("Bearer csn_", 401),
        ("Basic dTpw", 501),
        ("AWS AK:sig", 501),
        ("AWS4-HMAC-SHA256 Credential=AK", 400),
        ("AWS4-ECDSA-P256-SHA256 Credential=AK", 501),
        ("Negotiate YII", 501),
    ] {
        let header = format!("authorization: {}\r\n", value.replace("TOKEN", &token));
        let reply = wire.with_credential("GET /bkt/a/x", &header).await;
        assert_eq!(reply.status, status, "{value}: {reply:?}");
        assert!(!reply.text.contains(&token), "{value}");
    }
    assert!(wire.recorder.is_silent());
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(
            wire.with_credential("GET /bkt/a/x", &format!("authorization: {scheme} {token}\r\n")).await.status,
            200
        );
    }
}

#[tokio::test]
async fn a11_a15_a16_headers_say_nothing_about_who_is_calling() {
    let rules = "
  - { name: office, who: { tokens: [a], networks: [10.0.0.0/8, 192.0.2.1] }, where: bkt/office/, what: read }
  - { name: here, who: { tokens: [a], networks: [\"127.0.0.0/8\"] }, where: bkt/here/, what: read }
  - { name: admins, who: { attributes: { token: b } }, where: bkt/admin/, what: read }
  - { name: other, who: { tokens: [b] }, where: bkt/b/, what: read }";
    let wire = Wire::with_rules(rules).await;
    let claims = "x-forwarded-for: 10.1.2.3\r\nx-real-ip: 10.1.2.3\r\nforwarded: for=10.1.2.3\r\nclient-ip: 10.1.2.3\r\n\
        true-client-ip: 10.1.2.3\r\nuserid: root\r\ntoken: b\r\njwt-sub: b\r\nx-gateway-tenant: b\r\nx-forwarded-user: b\r\n\
        x-amz-principal: b\r\n";
    let refused: Vec<_> = ["office", "admin", "b"].map(|folder| format!("GET /bkt/{folder}/x")).to_vec();
    for line in &refused {
        // The x-amz-* one is refused by name; without it the others are not even looked at.
        assert_eq!(wire.once(line, claims).await.status, 400, "{line}");
        let claims = claims.replace("x-amz-principal: b\r\n", "if-none-match: *\r\nrange: bytes=0-0\r\n");
        let (with, without) = (wire.once(line, &claims).await, wire.once(line, "").await);
        let body = |reply: &Reply| {
            let text = reply.text.split("<Code>").nth(1).unwrap_or_default();
            text.split("<RequestId>").next().unwrap_or_default().to_owned()
        };
        assert_eq!((with.status, body(&with)), (403, body(&without)), "{line}");
    }
    assert!(wire.recorder.is_silent());
    assert_eq!(wire.once("GET /bkt/here/x", "x-forwarded-for: 8.8.8.8\r\n").await.status, 200);
    assert_eq!(wire.gateway.record(3 * refused.len() + 1).await.client, "127.0.0.1");
    assert_eq!(wire.recorder.only().header("x-forwarded-for"), "");
}

#[tokio::test]
async fn d01_d06_a_copy_source_is_refused_wherever_it_stands() {
    let wire = Wire::start().await;
    for source in
        ["/bkt/b/secret", "bkt/b/secret", "bkt%2Fb%2Fsecret", "other/x", "", "/", "arn:aws:s3:::bkt/b", "/up-bkt/b"]
    {
        for line in [
            "PUT /bkt/a/x",
            "PUT /bkt/a/x?partNumber=1&uploadId=x",
            "PUT /bkt",
            "PUT /bkt/a/x?acl",
            "GET /bkt/a/x",
            "HEAD /bkt/a/x",
            "DELETE /bkt/a/x",
            "POST /bkt/a/x?uploads",
            "GET /bkt?list-type=2",
        ] {
            for name in ["x-amz-copy-source", "X-Amz-Copy-Source"] {
                let reply = wire.once(line, &format!("{name}: {source}\r\ncontent-length: 0\r\n")).await;
                assert!(matches!(reply.status, 400 | 403 | 501), "{line} {source}: {reply:?}");
            }
        }
    }
    for more in
        ["x-amz-copy-source-range: bytes=0-1", "x-amz-copy-source-if-match: e", "x-amz-metadata-directive: REPLACE"]
    {
        let reply = wire.once("PUT /bkt/a/x", &format!("{more}\r\ncontent-length: 0\r\n")).await;
        assert_eq!(reply.status, 400, "{more}: {reply:?}");
    }
    assert!(wire.recorder.is_silent());
    assert_eq!(wire.once("PUT /bkt/a/x", "content-length: 0\r\n").await.status, 200);
}

/// Headers with consequences, the status without the right, and what gives the right.
const CONSEQUENCES: &[(&str, &str, u16)] = &[
    ("x-amz-acl", "public-read", 403),
    ("x-amz-grant-read", "uri=http://acs.amazonaws.com/groups/global/AllUsers", 403),
    ("x-amz-grant-full-control", "id=1", 403),
    ("x-amz-tagging", "a=b", 403),
    ("x-amz-object-lock-mode", "GOVERNANCE", 403),
    ("x-amz-object-lock-legal-hold", "ON", 403),
    ("x-amz-website-redirect-location", "https://evil", 403),
    ("x-amz-storage-class", "GLACIER", 403),
    ("x-amz-server-side-encryption", "aws:kms", 403),
    ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:us-east-1:1:key/1", 403),
    ("x-amz-server-side-encryption-customer-algorithm", "AES256", 403),
    ("x-amz-expected-bucket-owner", "1", 400),
    ("x-amz-request-payer", "requester", 400),
    ("x-amz-replication-status", "REPLICA", 400),
    ("x-amz-meta-x-minio-internal-a", "1", 400),
    ("x-amz-meta-", "1", 400),
    ("x-amz-s3session-token", "t", 400),
    ("x-amz-unknown", "1", 400),
];

#[tokio::test]
async fn d22_d23_d25_d27_headers_with_consequences_need_a_right_of_their_own() {
    let plain = Wire::start().await;
    for (name, value, status) in CONSEQUENCES {
        for name in [(*name).to_owned(), name.to_ascii_uppercase()] {
            let reply = plain.once("PUT /bkt/a/x", &format!("{name}: {value}\r\ncontent-length: 0\r\n")).await;
            assert_eq!(reply.status, *status, "{name}: {reply:?}");
        }
    }
    assert!(plain.recorder.is_silent());
    // What every object has anyway, and what is no header of S3.
    let harmless = "x-amz-acl: private\r\nx-minio-source-etag: e\r\nx-rgw-x: 1\r\nx-seaweedfs-a: 1\r\nx-amz-server-side-encryption: AES256\r\n";
    assert_eq!(plain.once("PUT /bkt/a/x", &format!("{harmless}content-length: 0\r\n")).await.status, 200);
    let sent = plain.recorder.only();
    for name in ["x-amz-acl", "x-minio-source-etag", "x-rgw-x", "x-seaweedfs-a"] {
        assert_eq!(sent.header(name), "", "{name}");
    }
    assert_eq!(sent.header("x-amz-server-side-encryption"), "AES256");

    let listed: Vec<_> = CONSEQUENCES.iter().filter(|(.., status)| *status == 403).map(|(name, ..)| *name).collect();
    let by_rule: Vec<_> = listed
        .iter()
        .filter(|name| ["website", "storage", "encryption"].iter().any(|word| name.contains(word)))
        .copied()
        .collect();
    let rules = format!(
        "\n  - {{ name: all, who: anyone, where: bkt, what: \"s3:*\", headers: {{ allow: [{}] }} }}",
        by_rule.join(", ")
    );
    let wire = Wire::with_rules(&rules).await;
    for (name, value, status) in CONSEQUENCES {
        let reply = wire.once("PUT /bkt/a/x", &format!("{name}: {value}\r\ncontent-length: 0\r\n")).await;
        assert_eq!(reply.status, if *status == 403 { 200 } else { 400 }, "{name}: {reply:?}");
        if *status == 403 {
            assert_eq!(wire.recorder.requests().pop().unwrap().header(name), *value);
        }
    }
    assert_eq!(wire.recorder.requests().len(), listed.len());
}

#[tokio::test]
async fn e08_a_bucket_without_any_right_in_it_is_like_one_that_does_not_exist() {
    let wire = Wire::with_rules("\n  - { name: b-only, who: { tokens: [b] }, where: bkt, what: read }").await;
    let long = "k".repeat(1024);
    for (line, headers) in [
        ("PUT /BUCKET/x", "x-amz-mfa: 1\r\ncontent-length: 0\r\n"),
        ("GET /BUCKET/a//b", ""),
        ("GET /BUCKET/..", ""),
        ("GET /BUCKET?list-type=2&max-keys=abc", ""),
        ("GET /BUCKET/x", "content-length: 1\r\n"),
        ("GET /BUCKET/x", "connection: foo\r\n"),
        ("PUT /BUCKET/x", "content-type: a,b\r\ncontent-length: 0\r\n"),
        (&format!("GET /BUCKET/{long}k"), ""),
        (&format!("GET /BUCKET/{long}"), ""),
        ("HEAD /BUCKET", ""),
        ("GET /BUCKET?location", ""),
    ] {
        let hidden = wire.once(&line.replace("BUCKET", "bkt"), headers).await;
        let missing = wire.once(&line.replace("BUCKET", "zzz"), headers).await;
        assert_eq!(hidden.status, missing.status, "{line}");
        let code = |text: &str| text.split("<Code>").nth(1).and_then(|rest| rest.split('<').next()).map(str::to_owned);
        assert_eq!(code(&hidden.text), code(&missing.text), "{line}");
    }
    assert!(wire.recorder.is_silent());
}

#[tokio::test]
async fn c07_d25_a_key_of_the_client_never_comes_in_clear_text() {
    let rules = "\n  - { name: r, who: { tokens: [a] }, where: bkt/a/, what: [read, write], headers: { allow: [x-amz-server-side-encryption-customer-algorithm, x-amz-server-side-encryption-customer-key, x-amz-copy-source-server-side-encryption-customer-key] } }";
    let wire = Wire::with_rules(rules).await;
    for (line, name) in [
        ("PUT /bkt/a/x", "x-amz-server-side-encryption-customer-key"),
        ("GET /bkt/a/x", "x-amz-server-side-encryption-customer-key"),
        ("POST /bkt/a/x?uploads", "x-amz-server-side-encryption-customer-key"),
        ("PUT /bkt/a/x", "x-amz-copy-source-server-side-encryption-customer-key"),
    ] {
        let source = if name.contains("copy") { "x-amz-copy-source: bkt/a/y\r\n" } else { "" };
        let reply = wire.once(line, &format!("{name}: c2VjcmV0\r\n{source}content-length: 0\r\n")).await;
        assert_eq!(reply.status, 400, "{line} {name}: {reply:?}");
        assert!(has_code(&reply, "InvalidRequest"), "{line} {name}: {reply:?}");
    }
    assert!(wire.recorder.is_silent());
    // E08: whoever has no right in a bucket does not learn by it that the bucket is there.
    let key = [("x-amz-server-side-encryption-customer-key", "c2VjcmV0")];
    for bucket in ["bkt", "other"] {
        let answer = wire.gateway.b.send("GET", &format!("/{bucket}/a/x"), &key, "").await;
        assert_eq!(answer.outcome(), (403, "AccessDenied".to_owned()), "{bucket}");
    }
    let algorithm = "x-amz-server-side-encryption-customer-algorithm: AES256\r\ncontent-length: 0\r\n";
    assert_eq!(wire.once("PUT /bkt/a/x", algorithm).await.status, 200, "its neighbour says nothing secret");
}
