//! The policies of `deploy/upstream`, on real stores: they suffice, nothing more is allowed by them, and nobody else comes in.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{Gateway, Store, StoreKind};

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/upstream").join(name)).unwrap()
}

/// A bucket policy for RGW out of policies of users.
fn granted_to_the_gateway(names: &[&str], bucket: &str) -> String {
    let mut statements = Vec::new();
    for name in names {
        let policy: Value = serde_json::from_str(&read(name).replace("BUCKET", bucket)).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            let mut statement = statement.clone();
            statement["Principal"] = json!({ "AWS": ["arn:aws:iam:::user/gateway"] });
            // RGW 16 refuses a policy with an action that it does not know.
            let known = |action: &Value| action.as_str().is_some_and(|action| !action.ends_with("Attributes"));
            statement["Action"] =
                statement["Action"].as_array().unwrap().iter().filter(|a| known(a)).cloned().collect();
            statements.push(statement);
        }
    }
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// The store as another of its users sees it.
fn seen_by(user: &str, store: &Store) -> Store {
    Store { access_key: format!("{user}{}", store.access_key), ..store.clone() }
}

async fn with_policy(store: &Store, policy: &str) {
    let set = store.send("PUT", "", "policy=", policy.as_bytes()).await;
    assert!(set.status.is_success(), "{policy}: {}", set.text());
}

#[tokio::test]
async fn the_actions_of_the_policies_exist_and_none_of_them_changes_who_may_do_what() {
    let model =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/s3/operation_table.rs")).unwrap();
    // IAM actions that are not the one of an operation but of a form of it.
    let forms = ["s3:GetObjectVersion", "s3:GetObjectVersionAttributes", "s3:DeleteObjectVersion"];
    let forms: BTreeSet<_> = forms
        .into_iter()
        .chain(["s3:GetObjectVersionTagging", "s3:PutObjectVersionTagging", "s3:DeleteObjectVersionTagging"])
        .collect();
    for name in ["read.json", "write.json", "delete.json", "versions.json", "tags.json", "inspection.json"] {
        let policy: Value = serde_json::from_str(&read(name)).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            let on_objects = statement["Resource"].as_str().unwrap().contains('/');
            for action in statement["Action"].as_array().unwrap().iter().map(|action| action.as_str().unwrap()) {
                assert!(model.contains(&format!("action: \"{action}\"")) || forms.contains(action), "{name}: {action}");
                assert!(
                    !action.contains('*') && !action.contains("Policy") && !action.contains("Acl"),
                    "{name}: {action}"
                );
                assert_eq!(
                    on_objects,
                    !action.starts_with("s3:ListBucket"),
                    "{name}: {action} on another kind of resource"
                );
            }
        }
    }
    for name in
        ["bucket-policy-aws.json", "bucket-policy-rgw.json", "trust-eks-irsa.json", "trust-eks-pod-identity.json"]
    {
        let policy: Value = serde_json::from_str(&read(name)).unwrap();
        assert_eq!(policy["Version"], "2012-10-17", "{name}");
    }
}

/// A multipart upload from its beginning to its end, and another that is given up; the first status that is no success, or the last.
async fn in_parts(gateway: &Gateway) -> http::StatusCode {
    let begin = || gateway.a.send("POST", "/bkt/a/parts?uploads", &[], "");
    let (first, second) = (begin().await, begin().await);
    if !first.status.is_success() || !second.status.is_success() {
        return first.status;
    }
    let (id, other) = (first.element("UploadId"), second.element("UploadId"));
    let part = gateway.a.put(&format!("/bkt/a/parts?partNumber=1&uploadId={id}"), &[], "part").await;
    let etag = part.header("etag").to_owned();
    let listed = gateway.a.get(&format!("/bkt/a/parts?uploadId={id}")).await;
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let completed = gateway.a.send("POST", &format!("/bkt/a/parts?uploadId={id}"), &[], list).await;
    let aborted = gateway.a.delete(&format!("/bkt/a/parts?uploadId={other}")).await;
    let all = [part.status, listed.status, aborted.status, completed.status];
    all.into_iter().find(|status| !status.is_success()).unwrap_or(completed.status)
}

/// What a client does with one object, and the statuses it gets.
async fn one_after_the_other(gateway: &Gateway) -> [u16; 5] {
    let whole = gateway.a.put("/bkt/a/whole", &[], "body").await.status;
    let read = gateway.a.get("/bkt/a/whole").await.status;
    let list = gateway.a.get("/bkt?list-type=2&prefix=a/").await.status;
    let parts = in_parts(gateway).await;
    let gone = gateway.a.delete("/bkt/a/whole").await.status;
    [whole, read, list, parts, gone].map(|status| status.as_u16())
}

#[tokio::test]
async fn the_gateway_can_do_with_each_policy_what_it_is_for_and_no_more() {
    let Some(store) = Store::get(StoreKind::Rgw).await else { return };
    store.put("a/whole", b"before").await;
    let user = seen_by("gateway", &store);
    let gateway = user.setup().start().await;
    let policies: [(&[&str], [u16; 5]); 4] = [
        (&["delete.json"], [502, 502, 502, 502, 204]),
        (&["read.json"], [502, 404, 200, 502, 502]),
        (&["read.json", "write.json"], [200, 200, 200, 200, 502]),
        (&["read.json", "write.json", "delete.json"], [200, 200, 200, 200, 204]),
    ];
    for (names, statuses) in policies {
        with_policy(&store, &granted_to_the_gateway(names, &store.bucket)).await;
        assert_eq!(one_after_the_other(&gateway).await, statuses, "{names:?}");
    }
    for (method, key, query) in
        [("PUT", "", "policy="), ("DELETE", "", "policy="), ("DELETE", "", ""), ("PUT", "a/parts", "acl=")]
    {
        let headers = [("content-length", "0"), ("x-amz-acl", "public-read")];
        let refused = user.send_with(method, key, query, &headers, b"").await;
        assert_eq!(refused.status, 403, "{method} {key}?{query}: {}", refused.text());
    }
}

#[tokio::test]
async fn a_bucket_that_is_open_to_all_is_open_to_the_gateway_alone_under_the_policy() {
    let Some(store) = Store::get(StoreKind::Rgw).await else { return };
    let (user, other) = (seen_by("gateway", &store), seen_by("other", &store));
    store.put("secret", b"text").await;
    for (key, query) in [("", "acl="), ("secret", "acl=")] {
        let opened =
            store.send_with("PUT", key, query, &[("content-length", "0"), ("x-amz-acl", "public-read")], b"").await;
        assert!(opened.status.is_success(), "{}", opened.text());
    }
    assert_eq!(other.answer("secret").await.status, 200, "it is public");
    let policy = read("bucket-policy-rgw.json").replace("BUCKET", &store.bucket).replace("GATEWAY", "gateway");
    with_policy(&store, &policy.replace("STORE-ADMIN", "tests")).await;
    assert_eq!(other.answer("secret").await.status, 403);
    assert_eq!(other.send("GET", "", "list-type=2", b"").await.status, 403);
    assert_eq!(user.answer("secret").await.status, 200);
    assert_eq!(user.send("PUT", "mine", "", b"x").await.status, 200);
}

#[tokio::test]
async fn the_lifecycle_rules_are_taken_and_kept_by_real_stores() {
    for kind in StoreKind::REAL {
        let Some(store) = Store::get(kind).await else { continue };
        let rules: Value = serde_json::from_str(&read("lifecycle.json")).unwrap();
        let mut document = String::from("<LifecycleConfiguration>");
        for rule in rules["Rules"].as_array().unwrap() {
            let id = rule["ID"].as_str().unwrap();
            let prefix = rule["Filter"]["Prefix"].as_str().unwrap();
            document.push_str(&format!(
                "<Rule><ID>{id}</ID><Status>Enabled</Status><Filter><Prefix>{prefix}</Prefix></Filter>"
            ));
            for (name, days) in [
                ("AbortIncompleteMultipartUpload", "DaysAfterInitiation"),
                ("Expiration", "Days"),
                ("NoncurrentVersionExpiration", "NoncurrentDays"),
            ] {
                if let Some(number) = rule[name][days].as_u64() {
                    document.push_str(&format!("<{name}><{days}>{number}</{days}></{name}>"));
                }
            }
            document.push_str("</Rule>");
        }
        document.push_str("</LifecycleConfiguration>");
        let set = store.send("PUT", "", "lifecycle=", document.as_bytes()).await;
        assert!(set.status.is_success(), "{kind:?}: {}", set.text());
        let kept = store.send("GET", "", "lifecycle=", b"").await.text();
        for word in ["countersign-incomplete-uploads", "countersign-hidden-keys", ".countersign/"] {
            assert!(kept.contains(word), "{kind:?} keeps {word}: {kept}");
        }
    }
}
