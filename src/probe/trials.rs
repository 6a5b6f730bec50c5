//! The trials, one for each ability.

use std::collections::BTreeSet;

use http::StatusCode;

use super::exchange::{Answer, Ask, Payload, ProbeError, Target};
use super::{Ability, Findings, Verdict};
use crate::base::RequestId;
use crate::body::Framer;
use crate::s3::ChecksumAlgorithm;
use crate::s3::checksum::{RunningDigest, to_base64};

const BODY: &[u8] = b"countersign probes what this store can do";
/// As long as the body.
const OTHER: &[u8] = b"countersign probes what that store can do";

const ALGORITHMS: [ChecksumAlgorithm; 5] = [
    ChecksumAlgorithm::Crc32,
    ChecksumAlgorithm::Crc32c,
    ChecksumAlgorithm::Crc64Nvme,
    ChecksumAlgorithm::Sha1,
    ChecksumAlgorithm::Sha256,
];

/// A store while it is probed, and what has to be removed from it.
struct Probe<'a> {
    target: &'a Target,
    prefix: String,
    made: Vec<String>,
}

/// Finds out what a store can do, and removes what it has put there. The second value are keys that could not be removed.
///
/// # Errors
/// [`ProbeError`] if an ordinary upload fails, or the store is gone in the middle.
pub async fn probe(target: &Target) -> Result<(Findings, Vec<String>), ProbeError> {
    let prefix = format!("countersign-probe/{}/", RequestId::generate());
    let mut probe = Probe { target, prefix, made: Vec::new() };
    let found = probe.all().await;
    let left = probe.clean_up().await;
    found.map(|findings| (findings, left))
}

fn put<'a>(key: &'a str, payload: Payload, headers: &'a [(&'a str, String)]) -> Ask<'a> {
    Ask { method: "PUT", key: Some(key), query: &[], headers, payload, body: BODY, claimed: None, declared: true }
}

fn plain<'a>(method: &'static str, key: Option<&'a str>, query: &'a [(&'a str, &'a str)]) -> Ask<'a> {
    Ask { method, key, query, headers: &[], payload: Payload::Hash, body: b"", claimed: None, declared: true }
}

fn refused(answer: &Answer) -> Verdict {
    Verdict::No(answer.summary())
}

impl Probe<'_> {
    async fn all(&mut self) -> Result<Findings, ProbeError> {
        let key = self.key("plain");
        let first = self.target.send(&put(&key, Payload::Hash, &[])).await?;
        if !first.status.is_success() {
            return Err(ProbeError::Refused(first.summary()));
        }
        let trailer = Some(ChecksumAlgorithm::Crc64Nvme);
        let forms = [
            (Ability::UnsignedPayload, Payload::Unsigned),
            (Ability::UnsignedTrailer, Payload::Framed(Framer { signed: false, trailer })),
            (Ability::SignedChunks, Payload::Framed(Framer { signed: true, trailer: None })),
            (Ability::SignedTrailer, Payload::Framed(Framer { signed: true, trailer })),
        ];
        let mut found = Vec::new();
        for (ability, payload) in forms {
            found.push((ability, self.form(payload).await?));
        }
        found.push((Ability::UndeclaredLength, self.undeclared().await?));
        let mut md5 = RunningDigest::md5();
        md5.update(OTHER);
        found.push((Ability::ContentMd5, self.digest("content-md5", RunningDigest::md5(), md5, 16).await?));
        for algorithm in ALGORITHMS {
            let mut wrong = RunningDigest::new(algorithm);
            wrong.update(OTHER);
            let (right, length) = (RunningDigest::new(algorithm), algorithm.value_length());
            let verdict = self.digest(algorithm.header().as_str(), right, wrong, length).await?;
            found.push((Ability::Checksum(algorithm), verdict));
        }
        found.push((Ability::IfNoneMatch, self.condition("if-none-match", "*").await?));
        found.push((Ability::IfMatch, self.condition("if-match", "\"00000000000000000000000000000000\"").await?));
        found.push((Ability::Range, self.range(&key).await?));
        found.push((Ability::Attributes, self.attributes(&key).await?));
        found.push((Ability::Tagging, self.tagging(&key).await?));
        found.push((Ability::Versions, self.versions().await?));
        found.push((Ability::EncodedList, self.encoded_list().await?));
        found.push((Ability::Multipart, self.multipart().await?));
        found.push((Ability::OddKeys, self.odd_keys().await?));
        Ok(Findings(found))
    }

    /// A new key, to be removed at the end.
    fn key(&mut self, name: &str) -> String {
        let key = format!("{}{}-{name}", self.prefix, self.made.len());
        self.made.push(key.clone());
        key
    }

    /// The bytes of an object; nothing if there is none.
    async fn read(&self, key: &str) -> Result<Option<bytes::Bytes>, ProbeError> {
        let answer = self.target.send(&plain("GET", Some(key), &[])).await?;
        Ok((answer.status == StatusCode::OK).then_some(answer.body))
    }

    /// An upload counts if its bytes come back, and if one that is not what its signatures or its trailer say is refused.
    async fn form(&mut self, payload: Payload) -> Result<Verdict, ProbeError> {
        let key = self.key("form");
        let answer = self.target.send(&put(&key, payload, &[])).await?;
        if !answer.status.is_success() {
            return Ok(refused(&answer));
        }
        if self.read(&key).await?.as_deref() != Some(BODY) {
            return Ok(Verdict::Wrong("takes it and stores other bytes"));
        }
        if !matches!(payload, Payload::Framed(_)) {
            return Ok(Verdict::Yes);
        }
        let key = self.key("forged");
        let forged = Ask { claimed: Some(OTHER), ..put(&key, payload, &[]) };
        let answer = self.target.send(&forged).await?;
        let kept_out = !answer.status.is_success() && self.read(&key).await?.is_none();
        Ok(if kept_out { Verdict::Yes } else { Verdict::Wrong("takes it and does not check it") })
    }

    async fn undeclared(&mut self) -> Result<Verdict, ProbeError> {
        let key = self.key("undeclared");
        let ask = Ask { declared: false, ..put(&key, Payload::Unsigned, &[]) };
        let answer = self.target.send(&ask).await?;
        if !answer.status.is_success() {
            return Ok(refused(&answer));
        }
        let whole = self.read(&key).await?.as_deref() == Some(BODY);
        Ok(if whole { Verdict::Yes } else { Verdict::Wrong("takes it and stores other bytes") })
    }

    /// A right value must be taken, a wrong one refused, and nothing stored then.
    async fn digest(
        &mut self,
        header: &str,
        mut right: RunningDigest,
        wrong: RunningDigest,
        length: usize,
    ) -> Result<Verdict, ProbeError> {
        right.update(BODY);
        let (right_key, wrong_key) = (self.key("digest"), self.key("wrong-digest"));
        let headers = [(header, to_base64(&right.finish(length)))];
        let answer = self.target.send(&put(&right_key, Payload::Hash, &headers)).await?;
        if !answer.status.is_success() {
            return Ok(refused(&answer));
        }
        let headers = [(header, to_base64(&wrong.finish(length)))];
        let answer = self.target.send(&put(&wrong_key, Payload::Hash, &headers)).await?;
        let kept_out = !answer.status.is_success() && self.read(&wrong_key).await?.is_none();
        Ok(if kept_out { Verdict::Yes } else { Verdict::Wrong("ignored") })
    }

    /// A condition that does not hold must keep the object.
    async fn condition(&mut self, header: &str, value: &str) -> Result<Verdict, ProbeError> {
        let key = self.key("condition");
        let first = Ask { body: OTHER, ..put(&key, Payload::Hash, &[]) };
        if !self.target.send(&first).await?.status.is_success() {
            return Ok(Verdict::Wrong("the object to keep could not be stored"));
        }
        let headers = [(header, value.to_owned())];
        let answer = self.target.send(&put(&key, Payload::Hash, &headers)).await?;
        let kept = self.read(&key).await?.as_deref() == Some(OTHER);
        Ok(match answer.status {
            StatusCode::PRECONDITION_FAILED if kept => Verdict::Yes,
            _ if kept => refused(&answer),
            _ => Verdict::Wrong("ignored: the object was overwritten"),
        })
    }

    async fn range(&self, key: &str) -> Result<Verdict, ProbeError> {
        let headers = [("range", "bytes=0-10".to_owned())];
        let answer = self.target.send(&Ask { headers: &headers, ..plain("GET", Some(key), &[]) }).await?;
        Ok(match answer.status {
            StatusCode::PARTIAL_CONTENT if answer.body == BODY[..11] => Verdict::Yes,
            status if status.is_success() => Verdict::Wrong("ignored"),
            _ => refused(&answer),
        })
    }

    async fn attributes(&self, key: &str) -> Result<Verdict, ProbeError> {
        let headers = [("x-amz-object-attributes", "ObjectSize".to_owned())];
        let answer =
            self.target.send(&Ask { headers: &headers, ..plain("GET", Some(key), &[("attributes", "")]) }).await?;
        let size = answer.document("GetObjectAttributesResponse").map(|root| root.text_of("ObjectSize").to_owned());
        Ok(self.judge(&answer, size.as_deref() == Some(BODY.len().to_string().as_str())))
    }

    async fn tagging(&self, key: &str) -> Result<Verdict, ProbeError> {
        let document = b"<Tagging><TagSet><Tag><Key>probe</Key><Value>yes</Value></Tag></TagSet></Tagging>";
        let answer = self.target.send(&Ask { body: document, ..plain("PUT", Some(key), &[("tagging", "")]) }).await?;
        if !answer.status.is_success() {
            return Ok(refused(&answer));
        }
        if self.read(key).await?.as_deref() != Some(BODY) {
            return Ok(Verdict::Wrong("takes the document for the object"));
        }
        let answer = self.target.send(&plain("GET", Some(key), &[("tagging", "")])).await?;
        let tags = answer.document("Tagging");
        let tag = tags.as_ref().and_then(|root| root.child("TagSet")?.child("Tag").map(|tag| tag.text_of("Value")));
        Ok(self.judge(&answer, tag == Some("yes")))
    }

    async fn versions(&self) -> Result<Verdict, ProbeError> {
        let query = [("versions", ""), ("prefix", self.prefix.as_str())];
        let answer = self.target.send(&plain("GET", None, &query)).await?;
        Ok(self.judge(&answer, answer.document("ListVersionsResult").is_some()))
    }

    async fn encoded_list(&mut self) -> Result<Verdict, ProbeError> {
        let key = self.key("a b+\u{fc}");
        self.target.send(&put(&key, Payload::Hash, &[])).await?;
        let query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", key.as_str())];
        let answer = self.target.send(&plain("GET", None, &query)).await?;
        let listed = answer.document("ListBucketResult");
        let name = listed.as_ref().and_then(|root| root.child("Contents").map(|entry| entry.text_of("Key")));
        Ok(self.judge(&answer, name.is_some_and(|name| name.ends_with("%2B%C3%BC"))))
    }

    async fn multipart(&mut self) -> Result<Verdict, ProbeError> {
        let key = self.key("multipart");
        let answer = self.target.send(&plain("POST", Some(&key), &[("uploads", "")])).await?;
        let Some(begun) = answer.document("InitiateMultipartUploadResult") else {
            return Ok(self.judge(&answer, false));
        };
        let id = begun.text_of("UploadId").to_owned();
        let query = [("partNumber", "1"), ("uploadId", id.as_str())];
        let part = self.target.send(&Ask { query: &query, ..put(&key, Payload::Hash, &[]) }).await?;
        let taken = part.status.is_success() && part.headers.contains_key("etag");
        let aborted = self.target.send(&plain("DELETE", Some(&key), &[("uploadId", id.as_str())])).await?;
        if !aborted.status.is_success() {
            return Ok(Verdict::Wrong("an upload cannot be aborted"));
        }
        Ok(self.judge(&part, taken))
    }

    /// Each odd key must come back in the list as it was written, and be an object of its own.
    async fn odd_keys(&mut self) -> Result<Verdict, ProbeError> {
        let base = format!("{}odd/", self.prefix);
        let keys: Vec<String> = ["a//b", "a/./b", "a/../b"].iter().map(|name| format!("{base}{name}")).collect();
        for key in &keys {
            let answer = self.target.send(&put(key, Payload::Hash, &[])).await?;
            if answer.status.is_success() {
                self.made.push(key.clone());
            } else {
                return Ok(refused(&answer));
            }
        }
        let listed = self.list(&base).await?;
        let kept = keys.iter().all(|key| listed.contains(key)) && listed.len() == keys.len();
        // What they became is removed as well: at the end everything below the prefix is.
        Ok(if kept { Verdict::Yes } else { Verdict::Wrong("keys become others") })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ProbeError> {
        let answer = self.target.send(&plain("GET", None, &[("list-type", "2"), ("prefix", prefix)])).await?;
        let root = answer.document("ListBucketResult");
        let keys =
            root.iter().flat_map(|root| root.children_named("Contents")).map(|entry| entry.text_of("Key").to_owned());
        Ok(keys.collect())
    }

    fn judge(&self, answer: &Answer, right: bool) -> Verdict {
        match (right, answer.status.is_success()) {
            (true, _) => Verdict::Yes,
            (false, true) => Verdict::Wrong("takes it and answers something else"),
            (false, false) => refused(answer),
        }
    }

    /// Removes every object, whatever has failed before; gives the keys of those that stay.
    async fn clean_up(&self) -> Vec<String> {
        // Also what a store has made of an odd key, and of an upload that it refused.
        let listed = self.list_own().await;
        let keys: BTreeSet<&String> = self.made.iter().chain(&listed).collect();
        for key in keys {
            // What stays is in the list below.
            drop(self.target.send(&plain("DELETE", Some(key), &[])).await);
        }
        self.list_own().await
    }

    async fn list_own(&self) -> Vec<String> {
        let mut listed = self.list(&self.prefix).await.unwrap_or_default();
        listed.retain(|key| self.is_own(key));
        listed
    }

    /// Whether the probe may remove an object that a store lists. A store can take no notice of the prefix, or tell a name that leads out of
    /// it: these are objects of others.
    fn is_own(&self, key: &String) -> bool {
        let leads_out = || key.split('/').any(|segment| segment == "..");
        self.made.contains(key) || (key.starts_with(&self.prefix) && !leads_out())
    }
}
