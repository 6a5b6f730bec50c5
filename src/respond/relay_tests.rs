use super::*;
use crate::s3::{Bucket, Buckets, OddKeys, identify};

fn call(method: &str) -> S3Call {
    let bucket = Bucket {
        name: "bkt".into(),
        route: crate::base::RouteId(0),
        upstream_bucket: "up".into(),
        upstream_prefix: String::new(),
        odd_keys: OddKeys::Refuse,
    };
    let request = http::Request::builder().method(method).uri("/bkt/a").header("host", "gw").body(()).unwrap();
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
