//! Stores an upload whose length the client did not declare (`Transfer-Encoding: chunked`, or HTTP/2 without `Content-Length`).
//!
//! S3 wants a length before the first byte. So one part is gathered in memory; if the body ends in it, the object is stored in one
//! request, else as a multipart upload. The commit point stays one request, sent after every check has passed; until then the store shows
//! nothing, and whatever ends the upload early removes the parts. How many such uploads run at a time is limited, and so is their memory.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::ETAG;
use tokio::sync::OwnedSemaphorePermit;

use crate::audit::Ticket;
use crate::body::{Fault, UploadBody};
use crate::bounded;
use crate::multipart::{Carrier, MAX_ANSWER_BYTES};
use crate::respond::store_answer::bad_answer;
use crate::respond::{Refusal, RefusalKind, Reply, headers, local, relay};
use crate::s3::checksum::RunningDigest;
use crate::s3::complete_upload::{self, CompletedPart, MAX_PARTS};
use crate::s3::{Bucket, S3ErrorCode};
use crate::sign::MultipartStep;
use crate::upstream::Upstreams;

/// Bytes in a part. S3 wants 5 MiB at least, and takes 10,000 parts: 78 GiB in all.
pub const PART_BYTES: usize = 8 * 1024 * 1024;

/// How long to wait before the removal of an upload is tried again.
const REMOVAL_PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];

/// Size of the blocks that a part is gathered in, but the last of a body: at most 128 of them.
const BLOCK: usize = 64 * 1024;

/// Bytes of the body up to the size of a part.
struct Gathered {
    pieces: VecDeque<Bytes>,
    is_last: bool,
}

/// A place among the uploads of unknown length; to be had before the body is polled.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "kept for its Drop")] OwnedSemaphorePermit);

/// Takes a place for an upload to a bucket.
///
/// # Errors
/// [`Refusal`] if there is none.
pub fn reserve(upstreams: &Upstreams, bucket: &Bucket) -> Result<Slot, Refusal> {
    let upstream = upstreams.get(bucket.route);
    upstream.try_unknown_length_slot().map(Slot).ok_or_else(|| no_slot(upstream.unknown_length_uploads()))
}

/// Stores the upload.
///
/// # Errors
/// [`Refusal`] if a check or the store fails.
pub async fn store(
    carrier: Carrier,
    mut body: Box<UploadBody>,
    _slot: Slot,
    ticket: &mut Ticket,
) -> Result<Reply, Refusal> {
    let mut rest = None;
    let first = gather(&mut body, &mut rest).await?;
    if first.is_last {
        let reply = carrier.send(MultipartStep::Whole(first.pieces)).await?;
        ticket.note_upstream(&reply.upstream, reply.head.status.as_u16(), reply.first_byte);
        let region = carrier.signer.route(carrier.bucket.route).region.clone();
        return relay::relay(reply, carrier.admission.permit().call(), &region).await;
    }
    let upload = OpenUpload::create(carrier, ticket).await?;
    upload.run(first, &mut body, &mut rest, ticket).await
}

fn no_slot(limit: usize) -> Refusal {
    if limit == 0 {
        return Refusal::new(
            S3ErrorCode::MissingContentLength,
            RefusalKind::Client,
            "The length of the body must be declared.",
            "unknown_length_uploads is 0",
        );
    }
    let message = "Too many uploads without a declared length are under way. Declare the length, or try again.";
    Refusal::new(
        S3ErrorCode::SlowDown,
        RefusalKind::Limited,
        message,
        format!("all {limit} unknown_length_uploads are taken"),
    )
}

/// Gathers one part. What a frame holds beyond it stays in `rest` for the next, in the read buffer of the connection.
async fn gather(body: &mut UploadBody, rest: &mut Option<Bytes>) -> Result<Gathered, Refusal> {
    let mut blocks = Blocks::default();
    loop {
        let next = match rest.take() {
            Some(bytes) => Some(bytes),
            None => body.next_checked().await?,
        };
        let Some(mut bytes) = next else { return Ok(Gathered { pieces: blocks.finish(), is_last: true }) };
        let room = PART_BYTES - blocks.length;
        if bytes.len() > room {
            *rest = Some(bytes.split_off(room));
        }
        blocks.push(&bytes);
        if blocks.length == PART_BYTES {
            return Ok(Gathered { pieces: blocks.finish(), is_last: false });
        }
    }
}

/// Bytes of a part in full blocks, but the last of a body. All are copied, because a frame keeps alive the whole buffer it was read into, which can be much larger:
/// a part of such frames held up to three times its size.
#[derive(Default)]
struct Blocks {
    full: VecDeque<Bytes>,
    open: BytesMut,
    length: usize,
}

impl Blocks {
    fn push(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len();
        while !bytes.is_empty() {
            if self.open.capacity() == 0 {
                self.open = BytesMut::with_capacity(BLOCK);
            }
            let (fitting, rest) = bytes.split_at(bytes.len().min(BLOCK - self.open.len()));
            self.open.extend_from_slice(fitting);
            bytes = rest;
            if self.open.len() == BLOCK {
                self.full.push_back(std::mem::take(&mut self.open).freeze());
            }
        }
    }

    fn finish(mut self) -> VecDeque<Bytes> {
        if !self.open.is_empty() {
            self.full.push_back(self.open.freeze());
        }
        self.full
    }
}

/// A multipart upload at the store. Dropped before it is complete, it removes what was stored.
struct OpenUpload {
    carrier: Carrier,
    upload_id: String,
    parts: Vec<String>,
    complete: bool,
}

impl OpenUpload {
    async fn create(carrier: Carrier, ticket: &mut Ticket) -> Result<Self, Refusal> {
        let (_, root) = carrier.send_for_document(MultipartStep::Create, ticket).await?;
        let upload_id = root.text_of("UploadId").to_owned();
        if upload_id.is_empty() {
            return Err(bad_answer(&"no UploadId"));
        }
        Ok(Self { carrier, upload_id, parts: Vec::new(), complete: false })
    }

    async fn run(
        mut self,
        first: Gathered,
        body: &mut UploadBody,
        rest: &mut Option<Bytes>,
        ticket: &mut Ticket,
    ) -> Result<Reply, Refusal> {
        let mut part = first;
        loop {
            // A body that fills its last part exactly ends with an empty one.
            if !part.pieces.is_empty() {
                self.send_part(part.pieces).await?;
            }
            if part.is_last {
                return self.complete(ticket).await;
            }
            part = gather(body, rest).await?;
        }
    }

    async fn send_part(&mut self, pieces: VecDeque<Bytes>) -> Result<(), Refusal> {
        let number = u32::try_from(self.parts.len()).unwrap_or(u32::MAX).saturating_add(1);
        if number > MAX_PARTS {
            let max = u64::from(MAX_PARTS) * PART_BYTES as u64;
            return Err(Fault::TooLarge { max }.into());
        }
        let reply = self.carrier.send(MultipartStep::Part { upload_id: &self.upload_id, number, pieces }).await?;
        if !reply.head.status.is_success() {
            return Err(relay::read_error(reply, self.carrier.admission.permit().call()).await);
        }
        let etag = reply.head.headers.get(ETAG).and_then(|value| value.to_str().ok());
        self.parts.push(etag.ok_or_else(|| bad_answer(&"a part without ETag"))?.to_owned());
        // Read to the end, so that the connection can be used again.
        bounded::collect(reply.body, MAX_ANSWER_BYTES).await.map_err(|error| bad_answer(&error))?;
        Ok(())
    }

    async fn complete(mut self, ticket: &mut Ticket) -> Result<Reply, Refusal> {
        let part = |(number, etag): (u32, &String)| CompletedPart {
            number,
            etag: etag.trim_matches('"').to_owned(),
            checksums: Vec::new(),
        };
        let parts: Vec<_> = (1..).zip(&self.parts).map(part).collect();
        let step = MultipartStep::Complete { upload_id: &self.upload_id, document: complete_upload::render(&parts) };
        let (head, root) = self.carrier.send_for_document(step, ticket).await?;
        self.complete = true;
        let mut reply = local::empty();
        *reply.headers_mut() = headers::for_client(&head.headers);
        reply.headers_mut().remove(http::header::CONTENT_LENGTH);
        reply.headers_mut().remove(http::header::CONTENT_TYPE);
        let etag = Some(root.text_of("ETag").to_owned())
            .filter(|etag| !etag.is_empty())
            .or_else(|| etag_of_parts(&self.parts));
        if let Some(Ok(etag)) = etag.map(|etag| http::HeaderValue::from_str(&etag)) {
            reply.headers_mut().insert(ETAG, etag);
        }
        Ok(reply)
    }
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        if self.complete {
            return;
        }
        // Without a runtime the process is ending; a lifecycle rule of the bucket removes what is left.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (carrier, upload_id) = (self.carrier.clone(), std::mem::take(&mut self.upload_id));
        drop(runtime.spawn(remove(carrier, upload_id)));
    }
}

/// Removes an upload. Whatever broke it may break this too, so it is tried again.
async fn remove(carrier: Carrier, upload_id: String) {
    let mut pauses = REMOVAL_PAUSES.iter();
    loop {
        let failure = match carrier.send(MultipartStep::Abort { upload_id: &upload_id }).await {
            Ok(reply) if reply.head.status.is_success() => return,
            // An attempt before whose answer was lost.
            Ok(reply) if reply.head.status == StatusCode::NOT_FOUND => return,
            Ok(reply) => reply.head.status.to_string(),
            Err(refusal) => refusal.reason,
        };
        match pauses.next() {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => {
                tracing::warn!(reason = %failure, bucket = %carrier.bucket.name, "the store kept parts of a refused upload");
                return;
            }
        }
    }
}

/// The ETag S3 gives an object of parts: the MD5 over their MD5s and their number. Ceph RGW 16 leaves it out of its answer.
pub(super) fn etag_of_parts(parts: &[String]) -> Option<String> {
    let mut digest = RunningDigest::md5();
    for etag in parts {
        let mut part = [0; 16];
        hex::decode_to_slice(etag.trim_matches('"'), &mut part).ok()?;
        digest.update(&part);
    }
    Some(format!("\"{}-{}\"", hex::encode(digest.finish(16)), parts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k08_single_bytes_are_gathered_into_few_blocks() {
        let mut blocks = Blocks::default();
        for byte in (0..PART_BYTES).map(|n| (n % 251) as u8) {
            blocks.push(&[byte]);
        }
        let pieces = blocks.finish();
        assert_eq!(pieces.len(), PART_BYTES / BLOCK);
        let bytes = pieces.iter().flat_map(|piece| piece.iter().copied());
        assert!(bytes.enumerate().all(|(n, byte)| byte == (n % 251) as u8));
    }

    #[test]
    fn l09_blocks_hold_what_they_were_given_and_no_room_beside_it() {
        let content: Vec<u8> = (0..PART_BYTES).map(|n| (n % 251) as u8).collect();
        let mut blocks = Blocks::default();
        for frame in content.chunks(BLOCK + BLOCK / 2) {
            blocks.push(frame);
        }
        let pieces = blocks.finish();
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [BLOCK; PART_BYTES / BLOCK]);
        assert!(pieces.iter().flatten().eq(&content));
        let room: usize = pieces.into_iter().map(|piece| BytesMut::from(piece).capacity()).sum();
        assert_eq!(room, PART_BYTES);
    }
}
