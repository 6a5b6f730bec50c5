//! What STS answers, in the XML of its query protocol.
//!
//! Accounts and roles are AWS's words for what there is not here: an identity is the principal, in the form that SDKs take apart. Source:
//! AWS STS API reference; element names from the model in botocore 1.43.

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use crate::auth::{Caller, Scheme, Session};
use crate::respond::{Reply, local};
use crate::s3::xml::XmlWriter;
use crate::sts::error::{StsError, Told};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// The account of every identity: there are none.
const ACCOUNT: &str = "000000000000";

/// The keys of a session.
pub fn keys(session: &Session, request_id: &str) -> Reply {
    let caller = &session.caller;
    let mut xml = XmlWriter::with_namespace("AssumeRoleWithWebIdentityResponse", NAMESPACE);
    xml.open("AssumeRoleWithWebIdentityResult");
    if let Some(subject) = caller.attributes().get("sub").and_then(|values| values.first()) {
        xml.text("SubjectFromWebIdentityToken", subject);
    }
    xml.text("Provider", &session.provider);
    xml.open("AssumedRoleUser")
        .text("AssumedRoleId", caller.principal().as_str())
        .text("Arn", &session_arn(caller))
        .close();
    xml.open("Credentials")
        .text("AccessKeyId", &session.keys.access_key_id)
        .text("SecretAccessKey", session.keys.secret_access_key.expose())
        .text("SessionToken", session.keys.session_token.expose())
        .text("Expiration", &session.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .close();
    xml.close();
    finish(xml, StatusCode::OK, request_id)
}

/// Who the caller is.
pub fn identity(caller: &Caller, request_id: &str) -> Reply {
    let arn = match caller.scheme() {
        Scheme::Jwt | Scheme::Session => session_arn(caller),
        Scheme::AppToken | Scheme::AccessKey | Scheme::Listener | Scheme::Certificate => {
            format!("arn:aws:iam::{ACCOUNT}:user/{}", caller.principal())
        }
    };
    let mut xml = XmlWriter::with_namespace("GetCallerIdentityResponse", NAMESPACE);
    xml.open("GetCallerIdentityResult")
        .text("Arn", &arn)
        .text("UserId", caller.principal().as_str())
        .text("Account", ACCOUNT)
        .close();
    finish(xml, StatusCode::OK, request_id)
}

/// The same in both answers, whatever role and session name the client has made up.
fn session_arn(caller: &Caller) -> String {
    format!("arn:aws:sts::{ACCOUNT}:assumed-role/{}/{}", caller.source_name(), caller.principal())
}

/// A refusal. `close` ends the connection behind it, because a part of the body is unread.
pub fn refusal(error: &StsError, told: &Told, request_id: &str, close: bool) -> Reply {
    let mut xml = XmlWriter::with_namespace("ErrorResponse", NAMESPACE);
    let fault = if told.status.is_server_error() { "Receiver" } else { "Sender" };
    xml.open("Error").text("Type", fault).text("Code", told.code).text("Message", &told.message).close();
    xml.text("RequestId", request_id);
    let mut reply = document(xml.finish(), told.status);
    if let Some(seconds) = error.retry_after() {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if close {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

fn finish(mut xml: XmlWriter, status: StatusCode, request_id: &str) -> Reply {
    xml.open("ResponseMetadata").text("RequestId", request_id).close();
    document(xml.finish(), status)
}

fn document(xml: String, status: StatusCode) -> Reply {
    let mut reply = local::document(xml);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    // Keys must not stay in a cache, nor must a refusal.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
