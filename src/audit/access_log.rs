//! A record as a line in the format of S3 server access logs.
//!
//! Source: "Amazon S3 server access log format" of the S3 user guide. All fields are there, `-` for what does not exist here (owner, host
//! id, cipher suite, access point, ACL). The Request-URI has no query: signatures of presigned URLs stand there. What clients choose
//! (keys, user agents, referers, names) is percent-encoded where it could end a field or a line.

use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::audit::record::Record;

/// What cannot stand in a field between blanks.
const BARE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'\\').add(b'[').add(b']').add(b'%');
/// What cannot stand between quotation marks. Bytes that are not ASCII are always encoded.
const QUOTED: &AsciiSet = &CONTROLS.add(b'"').add(b'\\');

/// The line, with its line feed.
pub(super) fn line(record: &Record) -> Vec<u8> {
    let web = record.web.as_deref();
    let method = record.method.as_str();
    let mut fields = Fields(String::with_capacity(512));
    fields.dash(); // bucket owner
    fields.bare(record.bucket.as_deref());
    fields.plain(&time(&record.time));
    fields.bare(Some(&record.client));
    fields.bare(record.principal.as_deref());
    fields.bare(Some(&record.request_id));
    fields.bare(record.operation.map(|operation| operation_name(operation, method)).as_deref());
    fields.bare(record.key.as_deref().filter(|key| !key.is_empty()));
    let uri = web.map(|web| format!("{method} {} {}", web.path, web.version));
    fields.quoted(uri.as_deref());
    fields.number(record.status.map(u64::from));
    fields.bare(record.code);
    fields.number(Some(record.bytes_out).filter(|bytes| *bytes > 0));
    fields.number(object_size(record));
    fields.number(Some(whole(record.duration_ms)));
    fields.number(record.upstream_ms.map(whole));
    // What reads these logs takes a blank in it for its end.
    fields.quoted(web.and_then(|web| web.referer.as_deref()).map(|text| text.replace(' ', "%20")).as_deref());
    fields.quoted(web.and_then(|web| web.user_agent.as_deref()));
    fields.bare(web.and_then(|web| web.version_id.as_deref()));
    fields.dash(); // host id
    fields.bare(matches!(record.scheme, Some("access_key" | "session")).then_some("SigV4"));
    fields.dash(); // cipher suite
    fields.bare(authentication_type(record));
    fields.bare(web.and_then(|web| web.host.as_deref()));
    fields.bare(record.tls.then_some("TLS"));
    fields.dash(); // access point
    fields.dash(); // whether an ACL was required
    let mut line = fields.0;
    line.push('\n');
    line.into_bytes()
}

struct Fields(String);

impl Fields {
    fn plain(&mut self, value: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(value);
    }

    fn dash(&mut self) {
        self.plain("-");
    }

    fn bare(&mut self, value: Option<&str>) {
        match value {
            Some(value) if !value.is_empty() && value != "-" => {
                self.plain("");
                self.0.extend(utf8_percent_encode(value, BARE));
            }
            _ => self.dash(),
        }
    }

    fn quoted(&mut self, value: Option<&str>) {
        match value {
            Some(value) if !value.is_empty() => {
                self.plain("\"");
                self.0.extend(utf8_percent_encode(value, QUOTED));
                self.0.push('"');
            }
            _ => self.plain("\"-\""),
        }
    }

    fn number(&mut self, value: Option<u64>) {
        match value {
            Some(value) => self.plain(&value.to_string()),
            None => self.dash(),
        }
    }
}

/// `[06/Feb/2019:00:00:38 +0000]`.
fn time(rfc3339: &str) -> String {
    match rfc3339.parse::<Timestamp>() {
        Ok(time) => time.strftime("[%d/%b/%Y:%H:%M:%S +0000]").to_string(),
        Err(_) => "[-]".to_owned(),
    }
}

/// The object's length as far as its bytes passed: of an upload what came in. Of a read it is not known, since a part may have been asked for.
fn object_size(record: &Record) -> Option<u64> {
    let is_upload = matches!(record.operation, Some("PutObject" | "UploadPart" | "PostObject"));
    is_upload.then_some(record.bytes_in)
}

fn whole(milliseconds: f64) -> u64 {
    milliseconds.max(0.0).round() as u64
}

fn authentication_type(record: &Record) -> Option<&'static str> {
    let web = record.web.as_deref()?;
    record.principal.as_ref()?;
    match (web.presigned, record.operation) {
        (true, _) => Some("QueryString"),
        (false, Some("PostObject")) => None,
        // Who is known by the socket or by TLS shows no credential in the request.
        (false, _) => (!matches!(record.scheme, Some("listener" | "certificate"))).then_some("AuthHeader"),
    }
}

/// `REST.<method>.<resource>`, as S3 names what is asked most; for the rest the name of the operation without its verb.
fn operation_name(operation: &str, method: &str) -> String {
    let known = match operation {
        "GetObject" => "REST.GET.OBJECT",
        "HeadObject" => "REST.HEAD.OBJECT",
        "PutObject" => "REST.PUT.OBJECT",
        "PostObject" => "REST.POST.OBJECT",
        "DeleteObject" => "REST.DELETE.OBJECT",
        "DeleteObjects" => "REST.POST.MULTI_OBJECT_DELETE",
        "CopyObject" => "REST.COPY.OBJECT",
        "UploadPartCopy" => "REST.COPY.PART",
        "UploadPart" => "REST.PUT.PART",
        "CreateMultipartUpload" => "REST.POST.UPLOADS",
        "CompleteMultipartUpload" => "REST.POST.UPLOAD",
        "AbortMultipartUpload" => "REST.DELETE.UPLOAD",
        "ListParts" => "REST.GET.UPLOAD",
        "ListMultipartUploads" => "REST.GET.UPLOADS",
        "ListObjects" | "ListObjectsV2" => "REST.GET.BUCKET",
        "ListObjectVersions" => "REST.GET.BUCKETVERSIONS",
        "ListBuckets" => "REST.GET.SERVICE",
        "HeadBucket" => "REST.HEAD.BUCKET",
        "CreateBucket" => "REST.PUT.BUCKET",
        "DeleteBucket" => "REST.DELETE.BUCKET",
        "GetBucketLocation" => "REST.GET.LOCATION",
        "Preflight" => "REST.OPTIONS.PREFLIGHT",
        other => {
            let start = other.char_indices().skip(1).find(|(_, c)| c.is_ascii_uppercase()).map_or(0, |(at, _)| at);
            let mut resource = String::new();
            for (position, letter) in other[start..].char_indices() {
                if position > 0 && letter.is_ascii_uppercase() {
                    resource.push('_');
                }
                resource.push(letter.to_ascii_uppercase());
            }
            return format!("REST.{method}.{resource}");
        }
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_automata::meta::Regex;

    use super::*;
    use crate::audit::record::WebFacts;

    /// The expression of Amazon Athena's `RegexSerDe` in "Querying Amazon S3 server access logs" of the S3 user guide, whole.
    const ATHENA: &str = "^([^ ]*) ([^ ]*) \\[(.*?)\\] ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) (\"[^\"]*\"|-) (-|[0-9]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) (\"[^\"]*\"|-) ([^ ]*)(?: ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*))?$";

    fn fields(line: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(line).unwrap();
        assert_eq!(text.find('\n'), Some(text.len() - 1), "{text:?}");
        let text = &text[..text.len() - 1];
        let regex = Regex::new(ATHENA).unwrap();
        let mut captures = regex.create_captures();
        regex.captures(text, &mut captures);
        assert!(captures.is_match(), "{text}");
        (1..=26).map(|group| text[captures.get_group(group).unwrap().range()].to_owned()).collect()
    }

    fn record() -> Record {
        Record {
            time: "2026-02-06T00:00:38.250Z".into(),
            request_id: "3E57427F3EXAMPLE".into(),
            client: "192.0.2.3".into(),
            tls: true,
            method: "GET".into(),
            principal: Some("key:etl".into()),
            scheme: Some("access_key"),
            operation: Some("GetObject"),
            bucket: Some("team-data".into()),
            key: Some("a/ü b.txt".into()),
            status: Some(200),
            bytes_out: 113,
            upstream_ms: Some(4.6),
            duration_ms: 7.2,
            web: Some(Box::new(WebFacts {
                path: "/team-data/a/%C3%BC%20b.txt".into(),
                version: "HTTP/1.1",
                host: Some("s3.example.com".into()),
                referer: None,
                user_agent: Some("aws-cli/2 \"x\"".into()),
                version_id: Some("v1".into()),
                presigned: true,
            })),
            ..Record::default()
        }
    }

    #[test]
    fn a_line_has_every_field_of_the_format() {
        let expected = [
            "-",
            "team-data",
            "06/Feb/2026:00:00:38 +0000",
            "192.0.2.3",
            "key:etl",
            "3E57427F3EXAMPLE",
            "REST.GET.OBJECT",
            "a/%C3%BC%20b.txt",
            "\"GET /team-data/a/%C3%BC%20b.txt HTTP/1.1\"",
            "200",
            "-",
            "113",
            "-",
            "7",
            "5",
            "\"-\"",
            "\"aws-cli/2 %22x%22\"",
            "v1",
            "-",
            "SigV4",
            "-",
            "QueryString",
            "s3.example.com",
            "TLS",
            "-",
            "-",
        ];
        assert_eq!(fields(&line(&record())), expected);
        let unread = Record { time: record().time, request_id: "1".into(), client: "::1".into(), ..Record::default() };
        assert_eq!(fields(&line(&unread)).iter().filter(|field| *field == "-").count(), 19);
    }

    #[test]
    fn a_caller_without_a_credential_in_the_request_is_not_authenticated_by_a_header() {
        let web = || Some(Box::new(WebFacts { presigned: false, ..*record().web.unwrap() }));
        for (scheme, expected) in [
            ("app_token", "AuthHeader"),
            ("jwt", "AuthHeader"),
            ("access_key", "AuthHeader"),
            ("session", "AuthHeader"),
            ("listener", "-"),
            ("certificate", "-"),
        ] {
            let record = Record { scheme: Some(scheme), web: web(), ..record() };
            assert_eq!(fields(&line(&record))[21], expected, "{scheme}");
        }
    }

    #[test]
    fn operations_are_named_as_s3_names_them() {
        for (operation, method, name) in [
            ("ListObjectsV2", "GET", "REST.GET.BUCKET"),
            ("PutObjectTagging", "PUT", "REST.PUT.OBJECT_TAGGING"),
            ("GetBucketVersioning", "GET", "REST.GET.BUCKET_VERSIONING"),
        ] {
            assert_eq!(operation_name(operation, method), name);
        }
    }

    proptest! {
        #[test]
        fn l10_nothing_that_a_client_chooses_ends_a_field_or_a_line(
            text in "([ -~]|\\PC|[\\x00-\\x20\"\\\\\\[\\]\\x7f-\\u{a0}]){0,24}",
        ) {
            let mut record = record();
            let web = record.web.as_mut().unwrap();
            for field in [&mut web.host, &mut web.referer, &mut web.user_agent, &mut web.version_id] {
                *field = Some(text.clone());
            }
            web.path = text.clone();
            for field in [&mut record.bucket, &mut record.key, &mut record.principal] {
                *field = Some(text.clone());
            }
            record.method = text.clone();
            let fields = fields(&line(&record));
            prop_assert_eq!((fields[9].as_str(), fields[13].as_str(), fields[23].as_str()), ("200", "7", "TLS"));
        }
    }
}
