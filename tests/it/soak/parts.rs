//! Multipart uploads: completed, aborted, or left.

use super::client::{Told, Worker};
use super::form::Form;
use super::model::{Content, refused_body};
use countersign::base::encoding::encode_path;

const MIB: usize = 1 << 20;
/// The smallest part that may stand before another.
const PART: usize = 5 * MIB;

/// A part that is stored, for certain or perhaps.
struct Part {
    etag: String,
    content: Content,
}

impl Worker {
    /// A whole multipart upload to a new key.
    pub(super) async fn put_in_parts(&mut self) {
        let key = self.new_key("parts");
        let ask = self.ask("CreateMultipartUpload", "POST", &key, "?uploads", Vec::new(), Vec::new());
        let id = match self.tell(ask).await {
            Told::Done(answer) => answer.element("UploadId"),
            Told::Spoilt => return,
            Told::Unclear => {
                self.may_be_open.insert(key);
                return;
            }
            Told::Refused(answer) => return self.complain(&format!("beginning {key}: {:?}", answer.outcome())),
        };
        self.may_be_open.insert(key.clone());
        let count = if self.random.percent(25) { 2 } else { 1 };
        let (mut parts, mut clear) = (Vec::new(), true);
        for number in 1..=count {
            if self.random.percent(10) {
                self.put_wrong_part(&key, &id, number).await;
            }
            let length = if number < count { PART } else { self.random.magnitude(MIB) };
            match self.put_part(&key, &id, number, length).await {
                Some(part) => parts.push(part),
                None => clear = false,
            }
        }
        match self.random.below(10) {
            0 => {}
            1 | 2 => self.abort(&key, &id, clear).await,
            _ if !clear => self.abort(&key, &id, clear).await,
            _ => self.complete(&key, &id, &parts).await,
        }
    }

    /// Uploads or copies a part; `None` if it is not known whether it is there.
    async fn put_part(&mut self, key: &str, id: &str, number: usize, length: usize) -> Option<Part> {
        let query = format!("?partNumber={number}&uploadId={id}");
        let source = self.certain_key().filter(|(_, source)| self.random.percent(40) && source.len() > 0);
        if let Some((source, whole)) = source.filter(|(_, source)| length < PART || source.len() >= PART) {
            let least = if length == PART { PART } else { 1 };
            let first = self.random.below(whole.len() - least + 1);
            let end = self.random.between(first + least, whole.len());
            let headers = vec![
                ("x-amz-copy-source", format!("/bkt/{}", encode_path(&source))),
                ("x-amz-copy-source-range", format!("bytes={first}-{}", end - 1)),
            ];
            let told = self.tell(self.ask("UploadPartCopy", "PUT", key, &query, headers, Vec::new())).await;
            return self.stored(key, told, |answer| answer.element("ETag"), whole.slice(first, end));
        }
        let content = self.new_content(length);
        let (headers, payload) = Form::declared(&mut self.random).send(content.bytes(), &mut self.random);
        let told = self.tell(self.ask("UploadPart", "PUT", key, &query, headers, payload)).await;
        self.stored(key, told, |answer| answer.header("etag").to_owned(), content)
    }

    fn stored(
        &mut self,
        key: &str,
        told: Told,
        etag: impl Fn(&super::super::support::Response) -> String,
        content: Content,
    ) -> Option<Part> {
        match told {
            Told::Done(answer) => return Some(Part { etag: etag(&answer), content }),
            Told::Spoilt | Told::Unclear => {}
            Told::Refused(answer) => self.complain(&format!("a part of {key}: {:?}", answer.outcome())),
        }
        None
    }

    async fn put_wrong_part(&mut self, key: &str, id: &str, number: usize) {
        let body = refused_body(self.random.magnitude(MIB));
        let (headers, payload) = Form::with_digest(&mut self.random).send_spoilt(body, &mut self.random);
        let query = format!("?partNumber={number}&uploadId={id}");
        let ask = self.ask("UploadPart", "PUT", key, &query, headers, payload);
        self.must_be_refused(ask, &["BadDigest", "XAmzContentSHA256Mismatch"]).await;
    }

    async fn abort(&mut self, key: &str, id: &str, clear: bool) {
        let query = format!("?uploadId={id}");
        match self.tell(self.ask("AbortMultipartUpload", "DELETE", key, &query, Vec::new(), Vec::new())).await {
            // A part that is still under way may bring the upload back.
            Told::Done(_) if clear => {
                self.may_be_open.remove(key);
            }
            Told::Done(_) | Told::Spoilt | Told::Unclear => {}
            Told::Refused(answer) => self.complain(&format!("aborting {key}: {:?}", answer.outcome())),
        }
    }

    async fn complete(&mut self, key: &str, id: &str, parts: &[Part]) {
        let part = |(number, part): (usize, &Part)| {
            let etag = part.etag.replace('"', "&quot;");
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        };
        let list: String = (1..).zip(parts).map(part).collect();
        let document = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>").into_bytes();
        let contents: Vec<_> = parts.iter().map(|part| part.content.clone()).collect();
        let content = Some(Content::concat(&contents));
        let query = format!("?uploadId={id}");
        match self.tell(self.ask("CompleteMultipartUpload", "POST", key, &query, Vec::new(), document)).await {
            Told::Done(_) => {
                self.may_be_open.remove(key);
                self.keys.is(key, content);
                self.adopt(key.to_owned());
            }
            Told::Unclear => self.keys.may_be(key, content),
            Told::Spoilt => {}
            Told::Refused(answer) => self.complain(&format!("completing {key}: {:?}", answer.outcome())),
        }
    }
}
