//! Forwards an operation about a bucket, or about the settings of a key, with its document, and passes the answer on.
//!
//! The answer is read before it is passed on: it must be the document that was asked for, because a store that does not know a
//! sub-resource answers with the listing or the object instead. Access control lists name the gateway's account and are written anew.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::administration::collect_answer;
use crate::audit::Ticket;
use crate::limits::Admission;
use crate::respond::body::Source;
use crate::respond::store_answer::bad_answer;
use crate::respond::{AnswerBody, Refusal, RefusalKind, Reply, headers, local, relay};
use crate::s3::administration::{self as document, Answer};
use crate::s3::headers::is_acl;
use crate::s3::xml::Element;
use crate::s3::{Bucket, Operation, S3Call, S3ErrorCode};
use crate::sign::Signer;
use crate::upstream::{UpstreamReply, Upstreams};

/// Carries out a forwarded call. `document` is the collected body of a request that has one, its digests checked.
///
/// # Errors
/// [`Refusal`] if the document is not acceptable, the store refuses, or it answers with something else.
pub async fn forward(
    admission: &Admission,
    bucket: &Bucket,
    document: Option<Bytes>,
    signer: &Signer,
    upstreams: &Upstreams,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let call = admission.permit().call();
    let region = &signer.route(bucket.route).region;
    let outbound = match (&call.document, document) {
        (Some(_), Some(document)) => {
            let in_headers = call.headers.pass.keys().any(|name| is_acl(name.as_str()));
            let checked = document::check(call.operation, &document, region, in_headers)?;
            signer.prepare_administration(admission, bucket, checked)?
        }
        _ => signer.prepare(admission, bucket, &call.query, None)?,
    };
    if changes_a_setting(call) {
        ensure_known(admission, bucket, signer, upstreams).await?;
    }
    let reply = upstreams.send(outbound).await?;
    ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
    if !reply.head.status.is_success() {
        return Err(relay::read_error(reply, call).await);
    }
    match document::answer(call.operation) {
        Answer::Bytes => relay::relay(reply, call, region).await,
        expected => pass_on(reply, expected, admission, region).await,
    }
}

/// Whether a call changes a bucket or an object under the name of a sub-resource.
fn changes_a_setting(call: &S3Call) -> bool {
    let spec = call.operation.spec();
    matches!(spec.method, "PUT" | "DELETE") && !spec.required_query.is_empty()
}

/// Asks the store for the setting that is to be changed. One that does not know it would answer with a listing or the object here, and then
/// carry out the plain request: `DELETE /B?encryption` removes the bucket, and `PUT` reports a success that is none (Ceph RGW 16). Only an
/// answer about the setting lets the change go on; a store that is busy or refuses has told nothing.
///
/// # Errors
/// [`Refusal`] if the store does not know it, or does not tell.
pub async fn ensure_known(
    admission: &Admission,
    bucket: &Bucket,
    signer: &Signer,
    upstreams: &Upstreams,
) -> Result<(), Refusal> {
    let call = admission.permit().call();
    let reply = upstreams.send(signer.prepare_question(admission, bucket)?).await?;
    let status = reply.head.status;
    if status == StatusCode::NOT_FOUND || status == StatusCode::BAD_REQUEST {
        return Ok(());
    }
    if !status.is_success() {
        return Err(relay::read_error_before(reply, call).await);
    }
    if call.resource.key().is_some() && reply.head.headers.contains_key(ETAG) {
        return Err(unknown_there("the object"));
    }
    let body = collect_answer(reply.body).await?;
    let root = std::str::from_utf8(&body).ok().and_then(|text| Element::parse(text.trim_start()).ok());
    match root {
        Some(root) if root.name == "ListBucketResult" => Err(unknown_there("a listing")),
        _ => Ok(()),
    }
}

async fn pass_on(
    reply: UpstreamReply,
    expected: Answer,
    admission: &Admission,
    region: &str,
) -> Result<Reply, Refusal> {
    let call = admission.permit().call();
    let (status, mut passed) = (reply.head.status, without_body(&reply.head.headers));
    let body = collect_answer(reply.body).await?;
    let text = std::str::from_utf8(&body).map_err(|error| bad_answer(&error))?;
    let (content_type, body) = match expected {
        Answer::Json => {
            let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
            object.map_err(|_| unknown_there("no JSON object"))?;
            (Some("application/json"), body)
        }
        Answer::Xml(_) | Answer::XmlList => {
            let root = Element::parse(text.trim_start()).map_err(|error| bad_answer(&error))?;
            if root.name == "Error" {
                return Err(relay::error_in_success(&root, call));
            }
            if !expected.has_root(&root) {
                return Err(unknown_there("another document"));
            }
            (Some("application/xml"), told(call, &root, body, admission))
        }
        Answer::Status | Answer::Location | Answer::Bytes => {
            if let Some(root) = Element::parse(text.trim_start()).ok().filter(|root| root.name == "Error") {
                return Err(relay::error_in_success(&root, call));
            }
            (None, Bytes::new())
        }
    };
    if expected == Answer::Location {
        // It exists. Clients sign for the region that the gateway is configured with, whatever the store calls its own.
        return Ok(local::bucket_location(region));
    }
    if let Some(content_type) = content_type {
        passed.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let (Operation::CreateBucket, Some(bucket)) = (call.operation, call.resource.bucket())
        && let Ok(location) = HeaderValue::from_str(&format!("/{}", bucket.name))
    {
        passed.insert(LOCATION, location);
    }
    Ok(answer(status, passed, body))
}

/// The document in the client's terms.
fn told(call: &S3Call, root: &Element, body: Bytes, admission: &Admission) -> Bytes {
    match call.operation {
        Operation::GetBucketAcl | Operation::GetObjectAcl => {
            Bytes::from(access_control(root, admission.permit().caller().principal().as_str()))
        }
        _ => body,
    }
}

/// An access control list in which the owner, the gateway's account, is called as the caller is in the list of buckets.
fn access_control(root: &Element, owner: &str) -> String {
    let owner_id = root.child("Owner").map_or("", |owner| owner.text_of("ID"));
    let escape = |text: &str| quick_xml::escape::escape(text).into_owned();
    let named = |id: &str, name: &str| {
        let (id, name) = if id == owner_id { (owner, owner) } else { (id, name) };
        format!("<ID>{}</ID><DisplayName>{}</DisplayName>", escape(id), escape(name))
    };
    let grant = |grant: &Element| {
        let grantee = grant.child("Grantee").cloned().unwrap_or_default();
        let (kind, inside) = match (grantee.child("URI"), grantee.child("EmailAddress")) {
            (Some(uri), _) => ("Group", format!("<URI>{}</URI>", escape(&uri.text))),
            (None, Some(mail)) => {
                ("AmazonCustomerByEmail", format!("<EmailAddress>{}</EmailAddress>", escape(&mail.text)))
            }
            (None, None) => ("CanonicalUser", named(grantee.text_of("ID"), grantee.text_of("DisplayName"))),
        };
        let permission = escape(grant.text_of("Permission"));
        format!(
            "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"{kind}\">{inside}</Grantee>\
             <Permission>{permission}</Permission></Grant>"
        )
    };
    let list = root.child("AccessControlList").cloned().unwrap_or_default();
    let grants: String = list.children_named("Grant").map(grant).collect();
    let owner = named(owner_id, "");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner>{owner}</Owner>\
         <AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
    )
}

fn without_body(upstream: &HeaderMap) -> HeaderMap {
    let mut passed = headers::for_client(upstream);
    passed.remove(CONTENT_LENGTH);
    passed.remove(CONTENT_TYPE);
    passed
}

fn answer(status: StatusCode, headers: HeaderMap, body: Bytes) -> Reply {
    let mut reply = Reply::new(AnswerBody::new(Source::Full(body)));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}

fn unknown_there(what: &str) -> Refusal {
    let reason = format!("the store answered with {what}, so it does not know the sub-resource");
    Refusal::new(S3ErrorCode::NotImplemented, RefusalKind::Upstream, "The store does not support this.", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e11_an_access_control_list_does_not_name_the_account_of_the_gateway() {
        let root = Element::parse(
            "<AccessControlPolicy><Owner><ID>acct-1</ID><DisplayName>corp</DisplayName></Owner><AccessControlList>\
             <Grant><Grantee><ID>acct-1</ID><DisplayName>corp</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant>\
             <Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>\
             <Grant><Grantee><ID>other</ID></Grantee><Permission>READ</Permission></Grant>\
             </AccessControlList></AccessControlPolicy>",
        )
        .unwrap();
        let told = access_control(&root, "token:<ci>");
        assert!(!told.contains("acct-1") && !told.contains("corp"), "{told}");
        let read = Element::parse(&told).unwrap();
        assert_eq!(read.child("Owner").unwrap().text_of("ID"), "token:<ci>");
        let grants: Vec<_> = read.child("AccessControlList").unwrap().children_named("Grant").collect();
        assert_eq!(grants.len(), 3);
        assert_eq!(grants[0].child("Grantee").unwrap().text_of("ID"), "token:<ci>");
        assert!(told.contains("xsi:type=\"Group\"") && grants[1].text_of("Permission") == "READ");
        assert_eq!(grants[2].child("Grantee").unwrap().text_of("ID"), "other");
    }
}
