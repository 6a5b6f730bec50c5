//! `tracing`: what is accepted, and what is not.

use super::{BASE, assert_problems, load, references};
use crate::config::{AcceptTraces, TracingSettings};

/// The base file with this section in line 31.
fn with_tracing(keys: &str) -> String {
    format!("{BASE}tracing: {{ {keys} }}\n")
}

fn tracing(text: &str) -> Option<TracingSettings> {
    load(text).unwrap_or_else(|problems| panic!("{problems}\nin\n{text}")).tracing
}

#[test]
fn without_the_section_there_are_no_traces_and_an_empty_one_accepts_and_propagates() {
    assert!(tracing(BASE).is_none());
    let settings = tracing(&with_tracing("")).unwrap();
    assert_eq!((settings.accept, settings.propagate, settings.otlp.is_some()), (AcceptTraces::Any, true, false));
    let settings = tracing(&with_tracing("accept: none, propagate: false")).unwrap();
    assert_eq!((settings.accept, settings.propagate), (AcceptTraces::None, false));
}

#[cfg(feature = "otel")]
#[test]
fn every_key_of_traces_can_be_written() {
    let otlp =
        "otlp: { endpoint: \"https://otel.example.com\", headers: { x-key: env:SECRET }, timeout: 3s, one_in: 4 }";
    let settings = tracing(&with_tracing(&format!("accept: [10.0.0.0/8, \"::1\"], {otlp}"))).unwrap();
    let AcceptTraces::From(networks) = &settings.accept else { panic!("{settings:?}") };
    assert_eq!(networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
    let otlp = settings.otlp.as_ref().unwrap();
    assert_eq!((otlp.sample, otlp.post.path.as_str(), otlp.post.timeout.as_secs()), (0.25, "/v1/traces", 3));
    assert_eq!(otlp.post.headers[0].1.expose(), "s3cr3t-0f-an-access-key");
    assert!(!format!("{settings:?}").contains("s3cr3t"), "{settings:?}");
}

#[cfg(feature = "otel")]
#[test]
fn traces_with_mistakes() {
    let endpoint = "endpoint: \"http://127.0.0.1:4318\"";
    for (keys, message, help) in [
        ("accept: all".to_owned(), "`all` is not a network", "`any`"),
        ("accept: []".to_owned(), "list is empty", ""),
        ("accept: [any, 10.0.0.0/8]".to_owned(), "`any` is not a network", ""),
        ("accept: 10.0.0.1/8".to_owned(), "bits outside its network", "10.0.0.0/8"),
        ("otlp: {}".to_owned(), "`endpoint` is missing", "127.0.0.1:4318"),
        ("otlp: { endpoint: otel }".to_owned(), "does not begin with https://", ""),
        (format!("otlp: {{ {endpoint}, one_in: 0 }}"), "out of range", "1 to 1000000"),
        (format!("otlp: {{ {endpoint}, headers: {{ host: env:ID }} }}"), "`host` cannot be set", ""),
        (format!("otlp: {{ {endpoint}, sample: 1 }}"), "unknown key `sample`", ""),
    ] {
        assert_problems(&with_tracing(&keys), &references(), &[(31, message, help)]);
    }
}
