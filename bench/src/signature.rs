//! Checks a SigV4 signature, so that nobody wins by not signing.
//!
//! Written on its own, not with the code of the gateway.
//! Source: S3 API reference, "Authenticating Requests: Using the Authorization Header".

use aws_lc_rs::{digest, hmac};

use super::wire::field;

/// Of the credentials that the gateway has at this upstream.
pub const SECRET_ACCESS_KEY: &str = "bench-secret-access-key";

/// Whether a request was signed with [`SECRET_ACCESS_KEY`].
pub fn is_right(head: &str, method: &str, target: &str, authorization: &str) -> bool {
    signature(head, method, target, authorization).is_some_and(|(sent, made)| sent == made)
}

fn signature(head: &str, method: &str, target: &str, authorization: &str) -> Option<(String, String)> {
    let part = |name: &str| {
        let rest = authorization.split_once(name)?.1;
        Some(rest.split([',', ' ']).next().unwrap_or_default())
    };
    let (credential, names, sent) = (part("Credential=")?, part("SignedHeaders=")?, part("Signature=")?);
    let scope = credential.split_once('/')?.1;
    let mut of_scope = scope.split('/');
    let (day, region, service) = (of_scope.next()?, of_scope.next()?, of_scope.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut canonical = format!("{method}\n{path}\n{query}\n");
    for name in names.split(';') {
        canonical.extend([name, ":", field(head, name)?, "\n"]);
    }
    canonical.extend(["\n", names, "\n", field(head, "x-amz-content-sha256")?]);
    let hash = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", field(head, "x-amz-date")?);
    let secret = format!("AWS4{SECRET_ACCESS_KEY}");
    let step = |key: &[u8], data: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes());
    let key =
        step(step(step(step(secret.as_bytes(), day).as_ref(), region).as_ref(), service).as_ref(), "aws4_request");
    Some((sent.to_owned(), hex::encode(step(key.as_ref(), &text))))
}
