//! Requests whose signature stands in the query, with an end of their own.

use super::*;

#[tokio::test]
async fn c02_h03_an_unsigned_payload_header_on_a_presigned_url_means_nothing() {
    for payload in [SHA, "UNSIGNED-PAYLOAD"] {
        let authenticated = check(with_header(presigned("PUT").sign(), "x-amz-content-sha256", payload)).await.unwrap();
        let head = authenticated.presigned.unwrap().head;
        assert!(!head.headers.contains_key("x-amz-content-sha256"), "{payload}");
    }
    for payload in &PAYLOADS[2..] {
        let refused = refusal(with_header(presigned("PUT").sign(), "x-amz-content-sha256", payload)).await;
        assert_eq!(refused, SignatureError::NotSigned(HeaderName::from_static("x-amz-content-sha256")), "{payload}");
    }
}

#[tokio::test]
async fn b13_a_payload_hash_in_a_presigned_url_counts() {
    let ask = |target| Ask { target, payload: SHA, ..presigned("PUT") };
    let in_query =
        ask("/bkt/a/x?X-Amz-Content-Sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    let authenticated = check(in_query.sign()).await.unwrap();
    let head = authenticated.presigned.unwrap().head;
    assert_eq!(head.headers["x-amz-content-sha256"], SHA, "later stages hold the body to it");
    assert!(check(with_header(in_query.sign(), "x-amz-content-sha256", SHA)).await.is_ok());
    let other = "0".repeat(64);
    let refused = refusal(with_header(in_query.sign(), "x-amz-content-sha256", &other)).await;
    assert_eq!(refused, SignatureError::Query(FormFault::Contradiction));
    let signed_header = Ask { headers: vec![("x-amz-content-sha256", SHA)], payload: SHA, ..presigned("PUT") };
    let head = check(signed_header.sign()).await.unwrap().presigned.unwrap().head;
    assert_eq!(head.headers["x-amz-content-sha256"], SHA);
}

#[tokio::test]
async fn b14_a_presigned_url_ends_and_the_gateway_may_end_it_earlier() {
    for (age, expires, fine) in [(59, 60, true), (60, 60, false), (61, 60, false), (604_799, 604_800, true)] {
        let outcome = check(Ask { age, expires: Some(expires), ..presigned("GET") }.sign()).await;
        match outcome {
            Ok(_) => assert!(fine, "{age} of {expires}"),
            Err(error) => assert!(!fine && error == SignatureError::Over.into(), "{age} of {expires}: {error}"),
        }
    }
    let cap = SigningSettings { presigned_expiry: Duration::from_secs(3600), ..SigningSettings::default() };
    let ask = |expires| Ask { expires: Some(expires), ..presigned("GET") }.sign();
    assert!(check_with(cap.clone(), ask(3600), [192, 0, 2, 1], true).await.is_ok());
    let longer = check_with(cap, ask(3601), [192, 0, 2, 1], true).await.unwrap_err();
    assert_eq!(longer, SignatureError::LivesTooLong { limit_secs: 3600 }.into());
}

#[tokio::test]
async fn b15_the_whole_query_is_signed_in_any_order() {
    let ask = || Ask { target: "/bkt/a/x?versionId=1&partNumber=2", ..presigned("GET") }.sign();
    let reversed = edited(ask(), |uri| {
        let (path, query) = uri.split_once('?').unwrap();
        let mut pairs: Vec<&str> = query.split('&').collect();
        pairs.reverse();
        format!("{path}?{}", pairs.join("&"))
    });
    let head = check(reversed).await.unwrap().presigned.unwrap().head;
    assert_eq!(head.uri, "/bkt/a/x?partNumber=2&versionId=1", "nothing of the credential goes on");
    for added in
        ["acl", "versionId=2", "response-content-type=text/html", "x-id=GetObject", "partNumber=3", "x-amz-acl=private"]
    {
        assert_eq!(refusal(edited(ask(), |uri| format!("{uri}&{added}"))).await, SignatureError::Mismatch, "{added}");
    }
    let refused = refusal(edited(ask(), |uri| uri.replace("&partNumber=2", ""))).await;
    assert_eq!(refused, SignatureError::Mismatch);
    let other = refusal(edited(ask(), |uri| uri.replace("/bkt/a/x", "/bkt/a/y"))).await;
    assert_eq!(other, SignatureError::Mismatch);
}

#[tokio::test]
async fn b16_values_in_the_query_become_the_headers_they_stand_for() {
    let target =
        "/bkt/a/x?x-amz-acl=public-read&X-Amz-Meta-Note=a%20b&x-amz-copy-source=%2Fbkt%2Fb%2Fsecret&versionId=1";
    let head = check(Ask { target, ..presigned("PUT") }.sign()).await.unwrap().presigned.unwrap().head;
    assert_eq!(head.uri, "/bkt/a/x?versionId=1");
    let header = |name: &str| head.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-amz-acl"), "public-read");
    assert_eq!(header("x-amz-meta-note"), "a b");
    assert_eq!(header("x-amz-copy-source"), "/bkt/b/secret");
    let request = with_header(Ask { target, ..presigned("PUT") }.sign(), "x-amz-acl", "private");
    assert_eq!(refusal(request).await, SignatureError::NotSigned(HeaderName::from_static("x-amz-acl")));
    let both = Ask { target, headers: vec![("x-amz-acl", "private")], ..presigned("PUT") };
    assert_eq!(refusal(both.sign()).await, SignatureError::Query(FormFault::Contradiction));
    let line_feed = Ask { target: "/bkt/a/x?x-amz-meta-a=b%0d%0ac", ..presigned("PUT") };
    assert_eq!(refusal(line_feed.sign()).await, SignatureError::Query(FormFault::Parameter));
    let in_header = check(Ask { target, ..put() }.sign()).await.unwrap();
    assert!(in_header.presigned.is_none(), "a query of a request signed in its header stays a query");
}

#[tokio::test]
async fn b17_a_session_token_in_a_header_of_a_presigned_url_is_refused() {
    let signed = Ask { headers: vec![("x-amz-security-token", "t")], ..presigned("GET") };
    assert_eq!(refusal(signed.sign()).await, SignatureError::Token);
    let added = with_header(presigned("GET").sign(), "x-amz-security-token", "t");
    assert_eq!(refusal(added).await, SignatureError::Token);
}

#[tokio::test]
async fn c05_what_the_holder_of_a_url_adds_to_the_object_is_noted() {
    let added = ["cache-control", "content-disposition", "content-encoding", "content-language", "expires"];
    for name in added {
        let request = check(with_header(presigned("PUT").sign(), name, "x")).await.unwrap().presigned.unwrap();
        assert_eq!(request.added, [HeaderName::from_static(name)]);
        let signed = Ask { headers: vec![(name, "x")], ..presigned("PUT") };
        assert!(check(signed.sign()).await.unwrap().presigned.unwrap().added.is_empty(), "{name} is signed");
    }
    for name in ["content-type", "content-md5", "range", "if-none-match"] {
        let request = check(with_header(presigned("PUT").sign(), name, "x")).await.unwrap().presigned.unwrap();
        assert!(request.added.is_empty(), "{name}");
    }
}
