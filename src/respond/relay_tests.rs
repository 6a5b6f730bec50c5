use super::*;
use crate::s3::{Bucket, Buckets, OddKeys, identify};

fn call(method: &str) -> S3Call {
    call_of(method, "/bkt/a")
}

fn call_of(method: &str, target: &str) -> S3Call {
    let bucket = Bucket {
        name: "bkt".into(),
        route: crate::base::RouteId(0),
        upstream_bucket: "up".into(),
        upstream_prefix: String::new(),
        odd_keys: OddKeys::Refuse,
        passed_through: false,
    };
    let request = http::Request::builder().method(method).uri(target).header("host", "gw").body(()).unwrap();
    identify(&request.into_parts().0, &Buckets::new([bucket])).unwrap()
}

fn translated(status: u16, code: Option<&str>) -> (u16, &'static str) {
    let refusal = translate(StatusCode::from_u16(status).unwrap(), code, &call("GET"), "r".into());
    (refusal.status.as_u16(), refusal.code.as_str())
}

#[test]
fn l13_rejected_gateway_credentials_are_the_gateways_fault() {
    for code in ["SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "RequestTimeTooSkewed", "ExpiredToken"]
    {
        assert_eq!(translated(403, Some(code)), (502, "BadGateway"), "{code}");
    }
    assert_eq!(translated(401, None), (502, "BadGateway"));
}

#[test]
fn g03_redirects_become_a_gateway_error() {
    for status in [301, 302, 303, 307, 308] {
        assert_eq!(translated(status, Some("PermanentRedirect")), (502, "BadGateway"));
    }
}

#[test]
fn errors_about_the_object_reach_the_client() {
    assert_eq!(translated(404, Some("NoSuchKey")), (404, "NoSuchKey"));
    assert_eq!(translated(404, None), (404, "NoSuchKey"));
    assert_eq!(translated(404, Some("NoSuchBucket")), (404, "NoSuchBucket"));
    assert_eq!(translated(412, Some("PreconditionFailed")), (412, "PreconditionFailed"));
    assert_eq!(translated(416, None), (416, "InvalidRange"));
    assert_eq!(translated(503, Some("SlowDown")), (503, "SlowDown"));
    assert_eq!(translated(500, Some("InternalError")), (502, "BadGateway"));
    assert_eq!(translated(400, Some("XAmzContentSHA256Mismatch")), (502, "BadGateway"));
}

#[test]
fn what_the_store_says_of_settings_reaches_those_who_ask_for_them() {
    let settings = |target: &str, status: u16, code: &str| {
        let call = call_of("GET", target);
        let refusal = translate(StatusCode::from_u16(status).unwrap(), Some(code), &call, "r".into());
        (refusal.status.as_u16(), refusal.code.as_str())
    };
    assert_eq!(settings("/bkt?tagging", 404, "NoSuchTagSet"), (404, "NoSuchTagSet"));
    assert_eq!(settings("/bkt?cors", 404, "NoSuchCORSConfiguration"), (404, "NoSuchCORSConfiguration"));
    assert_eq!(
        settings("/bkt/a?retention", 404, "NoSuchObjectLockConfiguration"),
        (404, "NoSuchObjectLockConfiguration")
    );
    assert_eq!(settings("/bkt?tagging", 409, "BucketNotEmpty"), (409, "BucketNotEmpty"));
    assert_eq!(settings("/bkt?tagging", 403, "NoSuchTagSet"), (502, "BadGateway"), "another status than the code has");
    assert_eq!(settings("/bkt/a", 404, "NoSuchTagSet"), (404, "NoSuchKey"), "another call");
}
