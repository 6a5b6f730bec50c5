//! What only browsers send: preflight requests, and forms that upload a file.
//!
//! A form shows its credential in its body, so its fields are read, up to 20 KB, before anybody is known. From then on it is a PutObject
//! like every other: same rules, same terms, same stages.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Gateway, Remains, check_clear_text, check_framing, internal, note_denial, note_unidentified};
use crate::arrival::{ConnectionFacts, Framing};
use crate::audit::Ticket;
use crate::audit::record::Decision;
use crate::auth::{AuthError, Caller, Claim, LengthRange, PostPolicy, post_policy};
use crate::body::form_decode::FormDecode;
use crate::body::{Fault, UploadBody};
use crate::cors::{CorsError, Preflight};
use crate::limits::{Admission, BodyTerms};
use crate::respond::posted::Posted;
use crate::respond::{Refusal, RefusalKind, Reply, local};
use crate::rules::Permit;
use crate::s3::addressing::locate;
use crate::s3::addressing::locate_path;
use crate::s3::headers::{HeaderError, check_connection};
use crate::s3::identify::{check_hop, identify_form};
use crate::s3::post_form::{Delimiter, FormError, FormFields, FormPreamble};
use crate::s3::post_object::{PostObject, Success};
use crate::s3::{IdentifyError, S3ErrorCode};

/// The file of a form, of which the first bytes were read with the fields.
pub(super) struct FormFile {
    delimiter: Delimiter,
    /// Bytes of the file, if the length of the form says it.
    length: Option<u64>,
    first: Bytes,
    /// Bytes of the form before the file.
    taken: usize,
    range: LengthRange,
}

impl FormFile {
    /// The smaller limits of rule and policy.
    pub(super) fn narrow(&self, terms: BodyTerms) -> BodyTerms {
        let max_size = terms.max_size.into_iter().chain(self.range.max).min();
        BodyTerms { min_size: terms.min_size.max(self.range.min), max_size, ..terms }
    }

    /// Puts what is left of the form before the stages of the upload.
    pub(super) fn begin(self, body: &mut UploadBody) {
        body.begin_in_form(FormDecode::new(&self.delimiter, self.length), self.first, self.taken);
    }

    /// A length that is known is held to the policy before anything is sent.
    fn check_length(&self) -> Result<(), Fault> {
        match (self.length, self.range) {
            (Some(length), LengthRange { max: Some(max), .. }) if length > max => Err(Fault::TooLarge { max }),
            (Some(length), LengthRange { min, .. }) if length < min => Err(Fault::TooSmall { min }),
            _ => Ok(()),
        }
    }
}

/// The boundary of a form, if the request is one: a `POST` without query and without a credential in its head.
pub(super) fn form_delimiter(head: &Parts) -> Option<Result<Delimiter, FormError>> {
    if head.method != Method::POST || head.uri.query().is_some() {
        return None;
    }
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else { return None };
    let delimiter = Delimiter::of(content_type)?;
    matches!(Claim::parse(head), Err(AuthError::Missing)).then_some(delimiter)
}

impl Gateway {
    /// Answers a preflight request, which carries no credential and reaches no store. A bucket that is not there is like one without
    /// rules.
    pub(super) fn preflight(
        &self,
        asked: Result<Preflight, CorsError>,
        head: &Parts,
        framing: Framing,
        body: Option<&Incoming>,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        check_framing(framing)?;
        // Not one is answered without a record, and none waits: strangers could fill the queue with those that do.
        self.auditor.make_room_for_stranger(ticket)?;
        check_hop(head)?;
        let target = locate_path(head, self.buckets.domains()).map_err(IdentifyError::from)?;
        let bucket = Some(target.bucket.as_str()).filter(|bucket| !bucket.is_empty());
        ticket.note_unidentified(Some("Preflight"), bucket, target.key.as_deref());
        let has_body = body.is_some_and(|body| !http_body::Body::is_end_stream(body));
        let answered = if has_body { Err(CorsError::Body) } else { asked };
        let headers = answered
            .and_then(|asked| self.cors.preflight(&target.bucket, &self.buckets, &asked))
            .inspect_err(|_| ticket.note_decision(Decision::Deny, None))?;
        ticket.note_decision(Decision::Allow, None);
        let mut reply = local::empty();
        reply.headers_mut().extend(headers);
        Ok(reply)
    }

    /// Serves a form that uploads a file.
    pub(super) async fn post_form(
        &self,
        delimiter: Result<Delimiter, FormError>,
        head: &Parts,
        connection: &ConnectionFacts,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        if connection.vouched.is_some() {
            // The policy of a form is a credential.
            return Err(self.refuse_caller(AuthError::BesideConnection, connection.peer.ip()));
        }
        let bucket = self.form_bucket(head, ticket)?;
        let (mut fields, mut file) = self.read_fields(delimiter?, head, remains, ticket).await?;
        PostObject::name_file(&mut fields)?;
        if let Some(id) = post_policy::access_key_id(fields.all()) {
            ticket.note_access_key(&id);
        }
        let (caller, policy) = self.authenticate_form(&fields, connection.peer.ip())?;
        ticket.note_caller(caller.principal(), caller.scheme().as_str());
        self.make_room(ticket).await?;
        // In a block, so that what was read of the fields is gone while the file passes.
        let (permit, success) = {
            let object = PostObject::read(&fields, &bucket)?;
            file.range = policy.check(fields.all(), &bucket)?;
            check_redirect(&object.success, &policy)?;
            let success = object.success.clone();
            (self.permit_form(head, &bucket, object, file.length, caller, ticket)?, success)
        };
        drop(fields);
        ticket.note_decision(Decision::Allow, Some(permit.rule()));
        check_clear_text(connection, permit.call())?;
        let key = permit.call().resource.key().map(|key| key.as_str().to_owned()).unwrap_or_default();
        let posted = Posted { success, path: head.uri.path().to_owned(), bucket, key };
        self.enter(&permit, remains)?;
        let admission = Admission::admit(permit)?;
        file.check_length()?;
        remains.form = Some(Box::new(file));
        let stored = self.answer(admission, head.uri.path(), remains, ticket).await?;
        Ok(posted.answer(&stored))
    }

    /// The bucket that a form is sent to. A form goes to a bucket; the key is one of its fields.
    fn form_bucket(&self, head: &Parts, ticket: &mut Ticket) -> Result<String, Refusal> {
        let target = locate(head, self.buckets.domains()).map_err(IdentifyError::from)?;
        let bucket = Some(target.bucket.as_str()).filter(|bucket| !bucket.is_empty());
        ticket.note_unidentified(Some(POST_OBJECT), bucket, target.key.as_deref());
        if target.key.is_some() || bucket.is_none() {
            return Err(IdentifyError::Method(Method::POST.to_string()).into());
        }
        check_connection(&head.headers).map_err(IdentifyError::from)?;
        match head.headers.keys().find(|name| is_for_an_upload(name.as_str())) {
            Some(name) => Err(IdentifyError::from(HeaderError::Refused(name.clone())).into()),
            None => Ok(target.bucket),
        }
    }

    /// Reads the fields of a form, within the time that a client has for a head: a stranger would hold the end of the process with them.
    /// Begun just before the end it holds that for all of this time, as a head that never ends does.
    async fn read_fields(
        &self,
        delimiter: Delimiter,
        head: &Parts,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<(FormFields, FormFile), Refusal> {
        let body = remains.unread.as_mut().ok_or_else(|| internal("the body was taken twice"))?;
        // From the first poll on a client that waits for 100 has got it.
        remains.polled = true;
        let mut preamble = FormPreamble::new(delimiter.clone());
        let mut seen = 0;
        let reading = async {
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(|_| Refusal::from(Fault::ClientGone))?.into_data() else { continue };
                seen += data.len() as u64;
                if let Some(used) = preamble.push(&data)? {
                    return Ok(data.slice(used..));
                }
            }
            Err(Refusal::from(FormError::NoFile))
        };
        let patience = self.body_limits.head;
        let read = tokio::time::timeout(patience, reading).await;
        ticket.note_upload(Arc::new(move || seen));
        let first = read.map_err(|_| Fault::FieldsLate { seconds: patience.as_secs() })??;
        let taken = preamble.taken();
        let length = file_length(&head.headers, taken + delimiter.closing_bytes())?;
        let range = LengthRange { min: 0, max: None };
        Ok((preamble.finish()?, FormFile { delimiter, length, first, taken, range }))
    }

    fn authenticate_form(&self, fields: &FormFields, peer: IpAddr) -> Result<(Caller, PostPolicy), Refusal> {
        let outcome = self.authenticators.authenticate_form(fields.all(), peer);
        outcome.map_err(|error| self.refuse_caller(error, peer))
    }

    fn permit_form(
        &self,
        head: &Parts,
        bucket: &str,
        object: PostObject,
        length: Option<u64>,
        caller: Caller,
        ticket: &mut Ticket,
    ) -> Result<Permit, Refusal> {
        let call = identify_form(head, bucket, object, length, &self.buckets)
            .inspect_err(|error| {
                note_unidentified(ticket, head, &self.buckets, error);
                ticket.note_operation(POST_OBJECT);
            })
            .map_err(|error| self.hide_bucket(error, &caller))?;
        ticket.note_call(&call);
        ticket.note_operation(POST_OBJECT);
        Ok(self.rules.authorise(caller, call, &self.buckets).inspect_err(|denied| note_denial(ticket, denied))?)
    }
}

/// The operation in the audit record. Its action is `s3:PutObject`.
const POST_OBJECT: &str = "PostObject";

/// Whether a header would say something of the upload, or on which condition it is made. A form says the former in a field, which the
/// policy covers, and the latter not at all. `Cache-Control` is not among them: browsers send it for a page that is loaded anew.
fn is_for_an_upload(name: &str) -> bool {
    const OTHERS: &[&str] = &[
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-md5",
        "content-range",
        "expires",
        "range",
    ];
    name.starts_with("x-amz-") || name.starts_with("if-") || OTHERS.contains(&name)
}

/// Bytes of the file: what the form has beside fields and end. `None` if the length of the form is not declared.
fn file_length(headers: &HeaderMap, around: usize) -> Result<Option<u64>, FormError> {
    let Some(declared) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let declared = declared.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    let length = declared.and_then(|declared| declared.checked_sub(around as u64));
    length.map(Some).ok_or(FormError::Malformed("it is too short for its end"))
}

/// A browser is sent to another page only if whoever signed the policy has said to which host.
fn check_redirect(success: &Success, policy: &PostPolicy) -> Result<(), Refusal> {
    let Success::Redirect(url) = success else { return Ok(()) };
    if policy.fixes("success_action_redirect", |start| url.host_is_fixed_by(start)) {
        return Ok(());
    }
    let message = "Invalid according to Policy: it does not say which host success_action_redirect may name.";
    Err(Refusal::new(S3ErrorCode::AccessDenied, RefusalKind::Denied, message, "the policy leaves the host open"))
}
