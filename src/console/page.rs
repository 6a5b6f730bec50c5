//! The page: one file without anything from elsewhere, and a policy that holds it to that.
//!
//! Script and style are named by their digests, so nothing else runs, not even what a key or a reason would smuggle into the page. It can
//! talk to where it came from only, and no text becomes markup (Trusted Types).
//! Source: Content Security Policy Level 3.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, Full};

use super::ConsoleBody;

const PAGE: &str = include_str!("page.html");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = policy();
    HeaderValue::try_from(policy).expect("visible ASCII: words of the policy and base64")
});

pub(super) fn response() -> Response<ConsoleBody> {
    let mut response = Response::new(Full::new(Bytes::from_static(PAGE.as_bytes())).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

fn policy() -> String {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        source("<script>", "</script>"),
        source("<style>", "</style>")
    )
}

/// The digest of the one element between these tags.
fn source(open: &str, close: &str) -> String {
    let inner = PAGE.split_once(open).and_then(|(_, rest)| rest.split_once(close)).map_or("", |(inner, _)| inner);
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, inner.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_has_one_script_one_style_and_nothing_from_elsewhere() {
        assert!(PAGE.len() < 60 * 1024, "{} bytes", PAGE.len());
        for tag in ["<script", "<style"] {
            assert_eq!(PAGE.matches(tag).count(), 1, "{tag}");
        }
        let forbidden =
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "localStorage"];
        for word in
            forbidden.into_iter().chain([" style=", " onclick", " onload", " onerror", " src=", "@import", "url("])
        {
            assert!(!PAGE.contains(word), "the page has `{word}`");
        }
        for link in PAGE.split("http").skip(1).filter(|rest| rest.starts_with("://") || rest.starts_with("s://")) {
            // The name of the vector graphics language, which nobody asks for anything.
            assert!(link.starts_with("://www.w3.org/2000/svg"), "the page names another site: {}", &link[..40]);
        }
    }

    #[test]
    fn the_policy_lets_in_the_script_and_the_style_by_digest_only() {
        let policy = policy();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(HeaderValue::try_from(policy).is_ok());
    }
}
