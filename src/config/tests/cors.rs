//! `cors` of buckets: what is taken, and what is refused.

use std::time::Duration;

use http::{HeaderName, Method};

use super::{assert_problems, edited, load, references};
use crate::cors::{CorsRule, CorsRules, HeaderPattern, OriginPattern};

const PLACE: &str = "prefix: gw/";

fn with_cors(cors: &str) -> String {
    edited(PLACE, &format!("{PLACE}, cors: {cors}"))
}

fn loaded(cors: &str) -> CorsRules {
    load(&with_cors(cors)).unwrap_or_else(|problems| panic!("{problems}")).cors
}

#[test]
fn rules_for_browsers_become_settings() {
    let origins = |texts: &[&str]| texts.iter().map(|text| OriginPattern::parse(text).unwrap()).collect();
    let headers = |texts: &[&str]| texts.iter().map(|text| HeaderPattern::parse(text).unwrap()).collect();
    let short = CorsRule {
        origins: origins(&["https://app.example"]),
        methods: vec![Method::GET],
        headers: headers(&["*"]),
        expose: Vec::new(),
        max_age: Duration::from_secs(300),
    };
    assert_eq!(
        loaded("[{ origins: https://app.example, methods: GET }]"),
        CorsRules::new([("team-data".to_owned(), vec![short.clone()])])
    );
    let long = CorsRule {
        origins: origins(&["null", "http://localhost:*"]),
        methods: vec![Method::PUT, Method::DELETE],
        headers: headers(&["x-amz-*", "content-type"]),
        expose: vec![HeaderName::from_static("x-amz-meta-a")],
        max_age: Duration::ZERO,
    };
    let text = "[{ origins: [\"null\", \"http://localhost:*\"], methods: [PUT, DELETE], headers: [x-amz-*, Content-Type], expose: X-Amz-Meta-A, max_age: 0s }, { origins: https://app.example, methods: GET }]";
    assert_eq!(loaded(text), CorsRules::new([("team-data".to_owned(), vec![long, short])]));
}

#[test]
fn g08_rules_for_browsers_with_mistakes_are_refused() {
    for (cors, message, help) in [
        ("[{ methods: GET }]", "the key `origins` is missing", "https://app.example.com"),
        ("[{ origins: \"*\" }]", "the key `methods` is missing", "GET"),
        ("[{ origins: [], methods: GET }]", "the list is empty", "https://app.example.com"),
        ("[{ origins: app.example.com, methods: GET }]", "this is not an origin", "scheme"),
        ("[{ origins: \"https://app.example.com/\", methods: GET }]", "this is not an origin", "no path"),
        ("[{ origins: \"https://*example.com\", methods: GET }]", "would also stand for domains of others", "dot"),
        ("[{ origins: \"https://*.*.com\", methods: GET }]", "more than one `*`", ""),
        ("[{ origins: \"*\", methods: OPTIONS }]", "not a method of S3", "GET"),
        ("[{ origins: \"*\", methods: get }]", "not a method of S3", "GET"),
        ("[{ origins: \"*\", methods: GET, headers: [\"a b\"] }]", "not a header name", "one `*`"),
        // G02: what is exposed gets into a header of every answer.
        ("[{ origins: \"*\", methods: GET, expose: \"x\\r\\nset-cookie: a\" }]", "not a header name", "whole"),
        ("[{ origins: \"*\", methods: GET, expose: \"x-amz-*\" }]", "not a header name", "whole"),
        ("[{ origins: \"*\", methods: GET, max_age: 25h }]", "out of range", "24h"),
        ("[{ origin: \"*\", origins: \"*\", methods: GET }]", "unknown key `origin`", "origins"),
    ] {
        assert_problems(&with_cors(cors), &references(), &[(9, message, help)]);
    }
}
