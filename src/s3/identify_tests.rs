use super::*;
use crate::base::RouteId;
use crate::s3::addressing::Domains;
use crate::s3::buckets::OddKeys;

fn buckets() -> Buckets {
    let bucket = |name: &str, odd_keys| Bucket {
        name: name.to_owned(),
        route: RouteId(0),
        upstream_bucket: format!("up-{name}"),
        upstream_prefix: "gw/".to_owned(),
        odd_keys,
        passed_through: false,
    };
    Buckets::new([bucket("bkt", OddKeys::Refuse), bucket("flat", OddKeys::Pass)])
}

fn identify_with(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<S3Call, IdentifyError> {
    let mut request = http::Request::builder().method(method).uri(target);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "gw.example");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    // Which bucket an error is about matters to the gateway only.
    identify(&request.body(()).unwrap().into_parts().0, &buckets()).map_err(|error| match error {
        IdentifyError::Within(_, error) => *error,
        error => error,
    })
}

fn operation(method: &str, target: &str) -> Result<Operation, IdentifyError> {
    identify_with(method, target, &[]).map(|call| call.operation)
}

#[test]
fn served_operations_are_recognised() {
    for (method, target, expected) in [
        ("GET", "/", Operation::ListBuckets),
        ("HEAD", "/bkt", Operation::HeadBucket),
        ("GET", "/bkt?location", Operation::GetBucketLocation),
        ("GET", "/bkt/?list-type=2&prefix=a/&delimiter=/", Operation::ListObjectsV2),
        ("GET", "/bkt", Operation::ListObjects),
        ("GET", "/bkt?marker=a/x&prefix=a/", Operation::ListObjects),
        ("GET", "/bkt?versions", Operation::ListObjectVersions),
        ("GET", "/bkt?uploads&max-uploads=3", Operation::ListMultipartUploads),
        ("GET", "/bkt/a/x", Operation::GetObject),
        ("GET", "/bkt/a/x?x-id=GetObject&versionId=7", Operation::GetObject),
        ("HEAD", "/bkt/a/x?partNumber=1", Operation::HeadObject),
        ("PUT", "/bkt/a/x", Operation::PutObject),
        ("DELETE", "/bkt/a/x", Operation::DeleteObject),
        ("POST", "/bkt/a/x?uploads", Operation::CreateMultipartUpload),
        ("PUT", "/bkt/a/x?partNumber=1&uploadId=u", Operation::UploadPart),
        ("GET", "/bkt/a/x?uploadId=u", Operation::ListParts),
        ("POST", "/bkt/a/x?uploadId=u", Operation::CompleteMultipartUpload),
        ("DELETE", "/bkt/a/x?uploadId=u", Operation::AbortMultipartUpload),
        ("GET", "/bkt/a/x?tagging&versionId=7", Operation::GetObjectTagging),
        ("DELETE", "/bkt/a/x?tagging", Operation::DeleteObjectTagging),
    ] {
        assert_eq!(operation(method, target), Ok(expected), "{method} {target}");
    }
}

#[test]
fn every_operation_of_the_model_is_recognised_by_its_own_request() {
    for spec in Operation::all().filter(|spec| !spec.shadowed) {
        let query: Vec<_> = spec
            .required_query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.unwrap_or("1").to_owned()))
            .collect();
        let found =
            find_operation(spec.method, spec.level, &query, |name| spec.required_headers.contains(&name)).unwrap();
        assert_eq!(found.operation, spec.operation);
    }
}

#[test]
fn operations_that_are_not_served_are_refused_by_name() {
    for (method, target, name) in
        [("GET", "/bkt?session", "CreateSession"), ("POST", "/bkt/a/x?select&select-type=2", "SelectObjectContent")]
    {
        assert_eq!(operation(method, target), Err(IdentifyError::NotServed(name)), "{method} {target}");
    }
}

#[test]
fn d20_unknown_query_parameters_are_refused() {
    for target in [
        "/bkt/a/x?unknown",
        "/bkt/a/x?ACL",
        "/bkt/a/x?foo=bar",
        "/bkt/a/x?jwt=x",
        "/bkt/a/x?X-Amz-Credential=x",
        "/bkt/a/x?x-id=PutObject",
        "/bkt/a/x?;acl",
        "/bkt/a/x??acl",
        "/bkt/a/x?append",
        "/bkt?list-type=1",
        "/bkt?list-type=3",
        "/bkt?list-type=",
        "/bkt?start-after=a",
        "/bkt?prefix%5B%5D=a/",
        "/bkt?Marker=a",
        "/bkt?versions&marker=a",
        "/bkt?versions&max-uploads=1",
        "/bkt?uploads&max-keys=1",
        "/bkt?uploads&PREFIX=b/",
        "/bkt?list-type=2&marker=a",
        "/bkt?list-type=2&PREFIX=b/",
        "/bkt?list-type=2&prefix%5B%5D=",
    ] {
        assert!(
            matches!(operation("GET", target), Err(IdentifyError::UnknownParameter(_))),
            "{target}: {:?}",
            operation("GET", target)
        );
    }
    for target in ["/bkt/a/x?acl&tagging", "/bkt/a/x?%61cl&versionId=1&torrent"] {
        assert!(operation("GET", target).is_err(), "{target}");
    }
}

#[test]
fn d21_methods_that_s3_does_not_have_are_refused() {
    for method in ["PATCH", "TRACE", "OPTIONS", "PROPFIND", "get", "GETX"] {
        assert_eq!(operation(method, "/bkt/a/x"), Err(IdentifyError::Method(method.to_owned())), "{method}");
    }
    assert_eq!(operation("DELETE", "/"), Err(IdentifyError::Method("DELETE".to_owned())));
    assert_eq!(operation("POST", "/bkt/a/x"), Err(IdentifyError::Method("POST".to_owned())));
}

#[test]
fn e01_odd_keys_are_refused_unless_the_bucket_passes_them() {
    for key in [
        "a/../b/secret",
        "a/%2e%2e/b/secret",
        "a/%2E./b",
        "a/..%2fb",
        "a/.%2e%2fb",
        "a/..%5cb",
        "%2flead",
        "a//b",
        "a/%00",
    ] {
        assert!(matches!(operation("GET", &format!("/bkt/{key}")), Err(IdentifyError::Key(_))), "{key}");
    }
    assert_eq!(operation("GET", "/flat/a/%2e%2e/b"), Ok(Operation::GetObject));
    assert_eq!(operation("GET", "/bkt/a/%252e%252e/b"), Ok(Operation::GetObject));
}

#[test]
fn e08_only_configured_buckets_exist() {
    for name in ["other", "BKT", "bkt%00", "bkt%2fa", "..", "%2e%2e", "bkt.", "192.168.0.1", ".minio.sys", "up-bkt"] {
        assert!(matches!(operation("GET", &format!("/{name}/x")), Err(IdentifyError::UnknownBucket(_))), "{name}");
    }
    assert_eq!(operation("GET", "//bkt/a"), Err(IdentifyError::NoBucket));
}

#[test]
fn e09_the_authority_must_be_single_and_agree() {
    let with_host =
        |headers: &[(&str, &str)], target: &str| identify_with("GET", target, headers).map(|call| call.operation);
    assert_eq!(with_host(&[("host", "a"), ("host", "b")], "/bkt/x"), Err(IdentifyError::Address(AddressError::Host)));
    assert_eq!(with_host(&[("host", "")], "/bkt/x"), Err(IdentifyError::Address(AddressError::Host)));
    assert_eq!(with_host(&[("host", "gw")], "http://evil/bkt/x"), Err(IdentifyError::Address(AddressError::Host)));
    assert_eq!(with_host(&[("host", "GW")], "http://gw/bkt/x"), Ok(Operation::GetObject));
}

#[test]
fn k04_bodies_where_none_belongs_are_refused() {
    for headers in [&[("content-length", "5")][..], &[("transfer-encoding", "chunked")]] {
        assert_eq!(identify_with("GET", "/bkt/x", headers).unwrap_err(), IdentifyError::UnexpectedBody("GetObject"));
        assert!(identify_with("DELETE", "/bkt/x", headers).is_err());
    }
    assert!(identify_with("GET", "/bkt/x", &[("content-length", "0")]).is_ok());
}

#[test]
fn k19_only_100_continue_can_be_expected() {
    assert!(identify_with("PUT", "/bkt/x", &[("expect", "100-Continue")]).is_ok());
    assert_eq!(identify_with("PUT", "/bkt/x", &[("expect", "200-ok")]).unwrap_err(), IdentifyError::Expectation);
}

const MD5: (&str, &str) = ("content-md5", "XUFAKrxLKna5cZ2REBfFkg==");

#[test]
fn d14_documents_that_change_something_need_a_digest() {
    for (method, target, name) in
        [("POST", "/bkt?delete", "DeleteObjects"), ("PUT", "/bkt/a/x?tagging", "PutObjectTagging")]
    {
        let with = |headers: &[(&str, &str)]| {
            let mut all = vec![("content-length", "5")];
            all.extend(headers);
            identify_with(method, target, &all)
        };
        assert_eq!(with(&[]).unwrap_err(), IdentifyError::NoDigest(name));
        assert_eq!(with(&[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")]).unwrap_err(), IdentifyError::NoDigest(name));
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for digest in [MD5, ("x-amz-checksum-crc32", "NhCmhg=="), ("x-amz-content-sha256", sha256)] {
            let call = with(&[digest, ("x-amz-sdk-checksum-algorithm", "CRC32")]).unwrap();
            assert_eq!((call.operation.name(), call.document.unwrap().length), (name, Some(5)), "{digest:?}");
            assert!(call.headers.pass.is_empty(), "the digest is of the client's document, not of ours");
        }
        assert!(matches!(with(&[("content-md5", "x")]), Err(IdentifyError::Upload(UploadError::BadDigest(_)))));
        assert!(matches!(with(&[MD5, ("x-amz-checksum-md5", "x")]), Err(IdentifyError::Headers(_))));
        assert_eq!(with(&[MD5, ("content-encoding", "gzip")]).unwrap_err(), IdentifyError::EncodedDocument(name));
    }
}

#[test]
fn d15_a_second_factor_is_never_carried_into_a_batch() {
    let with = |name: &str| identify_with("POST", "/bkt?delete", &[MD5, ("content-length", "5"), (name, "v")]);
    for name in ["x-amz-mfa", "x-amz-expected-bucket-owner", "x-amz-request-payer", "x-amz-tagging"] {
        assert!(matches!(with(name), Err(IdentifyError::Headers(HeaderError::Refused(_)))), "{name}");
    }
    let needed = with("x-amz-bypass-governance-retention").unwrap().headers.needs_actions;
    assert_eq!(needed[0].0, "s3:BypassGovernanceRetention");
}

#[test]
fn g10_reads_ask_for_one_part_of_an_object() {
    let get = |target: &str, headers: &[(&str, &str)]| identify_with("GET", target, headers);
    assert!(get("/bkt/a/x", &[("range", "bytes=0-5")]).unwrap().headers.pass.contains_key("range"));
    assert_eq!(get("/bkt/a/x", &[("range", "bytes=0-5,7-8")]).unwrap_err(), RangeError::NotOne.into());
    assert_eq!(get("/bkt/a/x?partNumber=0", &[]).unwrap_err(), RangeError::PartNumber.into());
    assert_eq!(get("/bkt/a/x?partNumber=1", &[("range", "bytes=0-5")]).unwrap_err(), RangeError::Both.into());
    let conditional = get("/bkt/a/x", &[("range", "bytes=0-5"), ("if-range", "\"e\"")]).unwrap();
    assert!(!conditional.headers.pass.contains_key("range"));
}
#[test]
fn operations_on_a_whole_bucket_are_not_served_where_it_is_only_a_prefix() {
    for (method, target, name) in [
        ("PUT", "/bkt", "CreateBucket"),
        ("DELETE", "/bkt", "DeleteBucket"),
        ("GET", "/bkt?versioning", "GetBucketVersioning"),
        ("PUT", "/bkt?policy", "PutBucketPolicy"),
        ("GET", "/bkt/a/x?torrent", "GetObjectTorrent"),
    ] {
        assert_eq!(operation(method, target), Err(IdentifyError::NotServedHere(name)), "{method} {target}");
    }
    assert_eq!(operation("PUT", "/bkt/a/x?acl"), Ok(Operation::PutObjectAcl));
    assert!(matches!(operation("PUT", "/unknown?policy"), Err(IdentifyError::UnknownBucket(_))));
}

#[test]
fn documents_come_plain() {
    let head =
        |headers: &[(&str, &str)]| identify_with("PUT", "/bkt/a/x?acl", headers).map(|call| call.document.unwrap());
    assert_eq!(head(&[("content-length", "2"), ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")]).unwrap().length, Some(2));
    let framed =
        [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), ("x-amz-decoded-content-length", "2")];
    assert!(matches!(head(&framed), Err(IdentifyError::Upload(_))));
    assert!(matches!(head(&[("content-encoding", "gzip")]), Err(IdentifyError::Upload(_))));
    assert!(matches!(head(&[("content-md5", "x")]), Err(IdentifyError::Upload(_))));
    let with_checksum = identify_with("PUT", "/bkt/a/x?acl", &[("x-amz-checksum-crc32", "AAAAAA==")]).unwrap();
    assert!(with_checksum.document.unwrap().checksum.is_some() && with_checksum.headers.pass.is_empty());
}

#[test]
fn e09_one_style_is_decided_by_the_host_alone() {
    let buckets = buckets().with_domains(Domains::new(["gw.example".to_owned()]));
    let resource = |host: &str, target: &str| {
        let request = http::Request::builder().uri(target).header("host", host).body(()).unwrap();
        identify(&request.into_parts().0, &buckets).map(|call| {
            let resource = call.resource;
            (resource.bucket().unwrap().name.clone(), resource.key().map(|key| key.as_str().to_owned()))
        })
    };
    let object = |bucket: &str, key: &str| Ok((bucket.to_owned(), Some(key.to_owned())));
    assert_eq!(resource("bkt.gw.example", "/a/x"), object("bkt", "a/x"));
    assert_eq!(resource("bkt.gw.example", "/flat/a/x"), object("bkt", "flat/a/x"));
    assert_eq!(resource("gw.example", "/flat/a/x"), object("flat", "a/x"));
    assert_eq!(resource("bkt.gw.example", "/?list-type=2"), Ok(("bkt".to_owned(), None)));
    for host in ["other.gw.example", "a.b.gw.example", "-.gw.example"] {
        assert!(matches!(resource(host, "/bkt/a/x"), Err(IdentifyError::UnknownBucket(_))), "{host}");
    }
}
