//! `cors` of buckets: pages of other origins.

use std::time::Duration;

use http::{HeaderName, Method};

use super::super::forms::OneOrMany;
use super::super::path::Path;
use super::super::raw::RawConfig;
use super::super::raw_cors::RawCorsRule;
use super::desk::Desk;
use super::values::duration;
use crate::cors::{CorsRule, CorsRules, HeaderPattern, OriginPattern};

/// The rules of every bucket, `"*"` included.
pub fn cors(desk: &mut Desk<'_>, raw: &RawConfig) -> CorsRules {
    let mut rules = Vec::new();
    for (name, bucket) in raw.buckets.iter().flatten() {
        let path = Path::top().key("buckets").key(name).key("cors");
        let of_bucket: Vec<CorsRule> = bucket
            .cors
            .iter()
            .flatten()
            .enumerate()
            .filter_map(|(position, raw)| rule(desk, &path.item(position), raw))
            .collect();
        rules.push((name.clone(), of_bucket));
    }
    CorsRules::new(rules)
}

fn rule(desk: &mut Desk<'_>, path: &Path, raw: &RawCorsRule) -> Option<CorsRule> {
    let help = "write the origins as browsers do, such as https://app.example.com: scheme and host in lower case, no path; at most one `*`, in front of a dot or as the port";
    let origins = desk.required(path, "origins", raw.origins.as_ref(), help);
    let origins = origins.map(|texts| {
        each(desk, &path.key("origins"), texts, help, |text| {
            OriginPattern::parse(text).map_err(|error| error.to_string())
        })
    });
    let help = "write some of GET, HEAD, PUT, POST and DELETE";
    let methods = desk.required(path, "methods", raw.methods.as_ref(), help);
    let methods = methods.map(|texts| each(desk, &path.key("methods"), texts, help, method));
    let help = "write header names, with at most one `*` in each";
    let headers = match &raw.headers {
        None => HeaderPattern::parse("*").into_iter().collect(),
        Some(texts) => each(desk, &path.key("headers"), texts, help, |text| {
            HeaderPattern::parse(text).map_err(|error| error.to_string())
        }),
    };
    let help = "write whole header names; browsers know no `*` within one";
    let expose =
        raw.expose.as_ref().map_or_else(Vec::new, |texts| each(desk, &path.key("expose"), texts, help, exposed));
    let max_age = duration(
        desk,
        &path.key("max_age"),
        raw.max_age.as_ref(),
        Duration::from_secs(300),
        Duration::ZERO..=Duration::from_secs(24 * 3600),
    );
    Some(CorsRule { origins: origins?, methods: methods?, headers, expose, max_age })
}

/// Reads every text of a list, and reports those that cannot be read, and a list without any.
fn each<T>(
    desk: &mut Desk<'_>,
    path: &Path,
    texts: &OneOrMany,
    help: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    if texts.texts().is_empty() {
        desk.report(path, "the list is empty", help);
    }
    let mut found = Vec::new();
    for text in texts.texts() {
        match read(text) {
            Ok(value) => found.push(value),
            Err(error) => desk.report(path, format!("`{text}`: {error}"), help),
        }
    }
    found
}

fn method(text: &str) -> Result<Method, String> {
    [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE]
        .into_iter()
        .find(|method| method == text)
        .ok_or_else(|| "this is not a method of S3".to_owned())
}

fn exposed(text: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(text)
        .ok()
        .filter(|name| !name.as_str().contains('*'))
        .ok_or_else(|| "this is not a header name".to_owned())
}
