//! Carrying out an admitted call: passing it on, or the steps that a part, a copy, a document or a setting needs.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::inspection::{inspect, is_inspected};
use super::{Gateway, Remains, internal};
use crate::administration::{forward, list_buckets};
use crate::audit::Ticket;
use crate::body::{BodyPlan, Destination, Fault, Source, Throttle, UploadBody};
use crate::documents::{Errand, attributes, tagging};
use crate::inspect::Inspection;
use crate::limits::{Admission, BodyTerms};
use crate::listing::{self, HiddenUpload};
use crate::multipart::{Carrier, calls, copy, staged, unknown_length};
use crate::respond::local::ListedBucket;
use crate::respond::{Refusal, RefusalKind, Reply, local, relay};
use crate::rules::{ListScope, Permit};
use crate::s3::administration::MAX_REQUEST_BYTES;
use crate::s3::complete_upload::MAX_DOCUMENT_BYTES;
use crate::s3::listing::ListKind;
use crate::s3::{self, Bucket, IdentifyError, Operation, PassThrough, S3Call, S3ErrorCode, UploadHead};

impl Gateway {
    /// Lists the configured buckets that are visible, and those of the store behind the pass-through mapping.
    pub(super) async fn list_buckets(
        &self,
        permit: &Permit,
        visible: &[Arc<Bucket>],
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        let (caller, call, created) = (permit.caller(), permit.call(), local::creation_date(self.since));
        let listed = |bucket: &Arc<Bucket>| ListedBucket {
            name: bucket.name.clone(),
            created: created.clone(),
            region: self.signer.route(bucket.route).region.clone(),
        };
        let mut all: Vec<_> = visible.iter().map(listed).collect();
        let asks = |_: &&PassThrough| self.rules.may_show_passed_through(caller, &self.buckets);
        if let Some(mapping) = self.buckets.pass_through().filter(asks) {
            let is_visible = |name: &str| {
                let bucket = self.buckets.get(name).filter(|bucket| bucket.passed_through);
                bucket.is_some_and(|bucket| self.rules.shows(caller, &bucket))
            };
            let (signer, upstreams) = (&self.signer, &self.upstreams);
            all.extend(list_buckets::of_store(mapping.route, call, is_visible, signer, upstreams, ticket).await?);
            all.sort_by(|a, b| a.name.cmp(&b.name));
        }
        local::list_buckets(caller, call, &all)
    }

    /// Lists what is permitted of a bucket: keys, versions, or uploads, those that wait at hidden keys among them.
    pub(super) async fn list(
        &self,
        permit: &Permit,
        scope: &ListScope,
        bucket: &Bucket,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        let (signer, upstreams) = (&self.signer, &self.upstreams);
        let hidden = async {
            let uploads = match scope.request.kind {
                ListKind::Uploads => staged::open_uploads(&self.staging, signer, upstreams, bucket).await?,
                ListKind::Objects | ListKind::ObjectsV2 | ListKind::Versions => Vec::new(),
            };
            Ok::<_, Refusal>(uploads.into_iter().map(|(entry, hidden)| HiddenUpload { entry, hidden }).collect())
        };
        let page = listing::collect(scope, permit, bucket, hidden, signer, upstreams, ticket).await?;
        Ok(local::document(page))
    }

    /// Carries out a call on a bucket or key: forwards it, or does what a part or a copy of an object needs. `resource` is its path, for
    /// an error that comes after the answer has begun.
    pub(super) async fn carry_out(
        &self,
        carrier: Carrier,
        resource: &str,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        let admission = Arc::clone(&carrier.admission);
        let call = admission.permit().call();
        match call.operation {
            Operation::UploadPart => {
                let calls::PartPlan { terms, query, hidden, content_encoding } = calls::part(&carrier)?;
                let way = Way { terms, query: &query, content_encoding };
                self.forward(&Carrier { hidden, ..carrier }, way, remains, ticket).await
            }
            _ if has_unknown_length(call) => {
                let (carrier, seat) = staged::begin_put(carrier)?;
                let inspection = self.open_inspection(&admission, destination(&carrier), None, ticket).await?;
                let slot = unknown_length::reserve(&self.upstreams, &carrier.bucket)?;
                let _share = self.limiter.unknown_length_share(carrier.bucket.route, admission.permit())?;
                let body = self.attach(&admission, admission.body_terms(), inspection, remains, ticket).await?;
                let stored = Box::pin(unknown_length::store(carrier.clone(), body, slot, ticket)).await?;
                Box::pin(staged::finish_put(carrier, seat, remains.outcome(), stored, ticket)).await
            }
            Operation::PutObject => {
                let (carrier, seat) = staged::begin_put(carrier)?;
                let stored = self.forward(&carrier, Way::of(&admission), remains, ticket).await?;
                match carrier.hidden {
                    None => Ok(stored),
                    Some(_) => Box::pin(staged::finish_put(carrier, seat, remains.outcome(), stored, ticket)).await,
                }
            }
            Operation::GetObject if is_inspected(&admission) => {
                Box::pin(self.inspected_download(&carrier, ticket)).await
            }
            operation if takes_steps(operation) => {
                Box::pin(self.carry_out_in_steps(carrier, resource, remains, ticket)).await
            }
            _ => self.forward(&carrier, Way::of(&admission), remains, ticket).await,
        }
    }

    /// Carries out a call that is more than one request passed on: parts, copies, documents, settings.
    async fn carry_out_in_steps(
        &self,
        carrier: Carrier,
        resource: &str,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        let (admission, call) = (Arc::clone(&carrier.admission), carrier.admission.permit().call());
        match call.operation {
            Operation::CreateMultipartUpload => calls::create(&carrier, ticket).await,
            Operation::CompleteMultipartUpload => {
                let body = self.read_document(call.document.as_ref(), MAX_DOCUMENT_BYTES, remains, ticket).await?;
                calls::complete(&carrier, &body, resource, ticket).await
            }
            Operation::AbortMultipartUpload => calls::abort(&carrier, ticket).await,
            Operation::ListParts => calls::list(&carrier, ticket).await,
            Operation::CopyObject => copy::object(&carrier, resource, ticket).await,
            Operation::UploadPartCopy => copy::part(&carrier, resource, ticket).await,
            Operation::GetObjectAttributes => attributes::get(&self.errand(&admission, &carrier.bucket), ticket).await,
            Operation::GetObjectTagging => tagging::get(&self.errand(&admission, &carrier.bucket), ticket).await,
            Operation::PutObjectTagging => {
                let limit = s3::tagging::MAX_DOCUMENT_BYTES;
                let body = self.read_document(call.document.as_ref(), limit, remains, ticket).await?;
                let tags = s3::tagging::parse(&body)?;
                forward::ensure_known(&admission, &carrier.bucket, &carrier.signer, &carrier.upstreams).await?;
                tagging::put(&self.errand(&admission, &carrier.bucket), &tags, ticket).await
            }
            Operation::DeleteObjectTagging => {
                forward::ensure_known(&admission, &carrier.bucket, &carrier.signer, &carrier.upstreams).await?;
                tagging::delete(&self.errand(&admission, &carrier.bucket), ticket).await
            }
            _ => {
                let document = match &call.document {
                    Some(_) => {
                        Some(self.read_document(call.document.as_ref(), MAX_REQUEST_BYTES, remains, ticket).await?)
                    }
                    None => None,
                };
                let (signer, upstreams) = (&carrier.signer, &carrier.upstreams);
                forward::forward(&admission, &carrier.bucket, document, signer, upstreams, ticket).await
            }
        }
    }

    pub(super) fn errand<'a>(&'a self, admission: &'a Admission, bucket: &'a Bucket) -> Errand<'a> {
        Errand { signer: &self.signer, upstreams: &self.upstreams, admission, bucket }
    }

    async fn forward(
        &self,
        carrier: &Carrier,
        way: Way<'_>,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        let Way { terms, query, content_encoding } = way;
        let (admission, bucket) = (&carrier.admission, &carrier.bucket);
        let call = admission.permit().call();
        let digest = self.upload_digest(admission);
        let body = match call.upload.as_ref().and_then(|upload| upload.length) {
            Some(length) => {
                // What goes to a hidden key in parts is looked at as a whole, when they are all there.
                let inspection = match (&carrier.hidden, call.operation) {
                    (Some(_), Operation::UploadPart) => None,
                    _ => self.open_inspection(admission, destination(carrier), content_encoding, ticket).await?,
                };
                Some((self.attach(admission, terms, inspection, remains, ticket).await?, length))
            }
            None => None,
        };
        let outbound = self.signer.prepare_instead(admission, bucket, carrier.hidden.as_ref(), query, body)?;
        let reply = self.upstreams.send(outbound).await?;
        ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
        if let Some(digest) = digest {
            self.remember_upload(carrier, &digest, &reply, remains);
        }
        relay::relay(reply, call, &self.signer.route(bucket.route).region).await
    }

    /// Reads the document of a call with the checks of an upload: digests, framing, pace, and never past a limit.
    pub(super) async fn read_document(
        &self,
        head: Option<&UploadHead>,
        limit: u64,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Bytes, Refusal> {
        let head = head.ok_or_else(|| internal("a document without its head"))?;
        if head.length.is_some_and(|length| length > limit) {
            return Err(too_long(limit));
        }
        let terms = BodyTerms { min_size: 0, max_size: Some(limit), check_type: None };
        let mut body = self.open_body(head, terms, remains, ticket)?;
        let mut document = BytesMut::new();
        loop {
            match body.next_checked().await {
                Ok(Some(piece)) => document.extend_from_slice(&piece),
                Ok(None) => return Ok(document.freeze()),
                Err(Fault::TooLarge { max }) => return Err(too_long(max)),
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    /// Puts the stages and inspectors on the body of an upload, and reads its beginning.
    async fn attach(
        &self,
        admission: &Admission,
        terms: BodyTerms,
        inspection: Option<(Inspection, Destination)>,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Box<UploadBody>, Refusal> {
        let mut body = self.open_body(admission.upload(), terms, remains, ticket)?;
        if let Some(inspection) = inspection {
            inspect(&mut body, inspection, ticket);
        }
        body.prime().await?;
        Ok(body)
    }

    /// Puts the stages on a body. Nothing of it is read yet, nor is `100 Continue` sent. Boxed, because it is handed on through several
    /// futures, which have room for it in requests without a body too.
    fn open_body(
        &self,
        head: &UploadHead,
        terms: BodyTerms,
        remains: &mut Remains,
        ticket: &mut Ticket,
    ) -> Result<Box<UploadBody>, Refusal> {
        // Before the body is taken: who cannot sign chunks is refused like for any other part of the head.
        let plan = BodyPlan::new(head, remains.chunks.take()).map_err(IdentifyError::from)?;
        let source = remains.unread.take().ok_or_else(|| internal("the body was taken twice"))?;
        let form = remains.form.take();
        let terms = match &form {
            Some(form) => form.narrow(terms),
            None => terms,
        };
        let mut body = Box::new(UploadBody::attach(plan, terms, Source::Client(source), self.body_limits));
        if let Some(form) = form {
            form.begin(&mut body);
        }
        if let Some(meter) = remains.upload_meter() {
            body.throttle(Throttle::new(meter));
        }
        let watch = Arc::clone(body.watch());
        remains.upload = Some(Arc::clone(&watch));
        ticket.note_upload(Arc::new(move || watch.client_bytes()));
        Ok(body)
    }
}

/// How a request goes on to the store.
struct Way<'a> {
    /// What its body must keep to.
    terms: BodyTerms,
    /// Its query.
    query: &'a [(String, String)],
    /// `Content-Encoding` of its object, where its own head does not say it.
    content_encoding: Option<String>,
}

impl<'a> Way<'a> {
    /// As it came.
    fn of(admission: &'a Admission) -> Self {
        Self { terms: admission.body_terms(), query: &admission.permit().call().query, content_encoding: None }
    }
}

/// Where the bytes of an upload go.
fn destination(carrier: &Carrier) -> Destination {
    if carrier.hidden.is_some() { Destination::Staging } else { Destination::Final }
}

/// Whether an operation is more than one request passed on. The location of a bucket is asked for only to know that it exists.
fn takes_steps(operation: Operation) -> bool {
    use Operation as Op;
    let passed_on = matches!(
        operation,
        Op::GetObject | Op::HeadObject | Op::PutObject | Op::UploadPart | Op::DeleteObject | Op::HeadBucket
    );
    !passed_on
}

fn has_unknown_length(call: &S3Call) -> bool {
    call.upload.as_ref().is_some_and(|upload| upload.length.is_none())
}

fn too_long(limit: u64) -> Refusal {
    let message = "The document is longer than any of its kind.";
    let reason = format!("the document has more than {limit} bytes");
    Refusal::new(S3ErrorCode::MaxMessageLengthExceeded, RefusalKind::Client, message, reason)
}
