//! What is fuzzed: one function for each parser of bytes that a stranger chooses, or a store, or an operator.
//!
//! Each takes any bytes and panics if the parser does, or if something does not hold that must: what was read and written anew reads the
//! same, limits are kept, the split of a stream does not matter. libFuzzer runs them for long (`make fuzz`), `tests/fuzz_targets.rs` runs
//! them over the corpora and some mutations in every test run. The corpora are in `corpus/NAME`.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use countersign::auth::session_token::KeyRing;
use countersign::auth::{Claim, PostPolicy, RingKey, strict_json};
use countersign::base::encoding::{encode_path, encode_query};
use countersign::base::{RouteId, Secret, parse_duration, parse_size};
use countersign::body::chunk_decode::ChunkDecode;
use countersign::body::form_decode::FormDecode;
use countersign::body::{Fault, Stage};
use countersign::config::{MapReferences, load_text};
use countersign::edge::framing::Scanner;
use countersign::edge::proxy_header;
use countersign::inspect::clamd::answer as clamd;
use countersign::inspect::file_type;
use countersign::inspect::icap::answer::{Encapsulated, MAX_ENCAPSULATED_HEADS, found};
use countersign::inspect::icap::head::{Head, MAX_HEAD_BYTES};
use countersign::inspect::icap::options::Options;
use countersign::rules::template::PrefixTemplate;
use countersign::s3::checksum::{parse_md5, to_base64};
use countersign::s3::headers::SortedHeaders;
use countersign::s3::listing::{ListKind, ListPage, ListRequest};
use countersign::s3::names::MAX_KEY_BYTES;
use countersign::s3::post_form::{Delimiter, FormFields, FormPreamble, MAX_PREAMBLE_BYTES};
use countersign::s3::post_object::PostObject;
use countersign::s3::target::{Target, parse_query};
use countersign::s3::upload::MediaType;
use countersign::s3::xml::Element;
use countersign::s3::{
    Bucket, Buckets, ChecksumAlgorithm, CopySource, ObjectKey, OddKeys, Operation, UploadHead, complete_upload,
    delete_objects, identify, range, tagging,
};
use countersign::sigv4::chunk::EMPTY_SHA256;
use countersign::sigv4::{
    AmzDate, ChunkCheck, ChunkSigner, PresignedQuery, Received, SignedHead, SignedHeaders, SigningKey,
};
use countersign::sts::StsAction;
use countersign::sts::form::Form;
use http::request::Parts;

/// A target by its name.
pub type Fuzzed = (&'static str, fn(&[u8]));

/// Every target; the name is that of its corpus.
pub const TARGETS: &[Fuzzed] = &[
    ("request_target", request_target),
    ("query", query),
    ("identify", identify_head),
    ("headers", headers),
    ("framing", framing),
    ("claim", claim),
    ("authorization", authorization),
    ("presigned_query", presigned_query),
    ("canonical_request", canonical_request),
    ("jwt_json", jwt_json),
    ("session_token", session_token),
    ("sts_request", sts_request),
    ("xml", xml),
    ("complete_upload", complete),
    ("list_page", list_page),
    ("copy_source", copy_source),
    ("delete_objects", deletes),
    ("tagging", tags),
    ("range", ranges),
    ("checksum", checksum),
    ("chunk_decode", chunk_decode),
    ("post_form", post_form),
    ("post_policy", post_policy),
    ("trailer", trailer),
    ("media_type", media_type),
    ("template", template),
    ("units", units),
    ("configuration", configuration),
    ("clamd_answer", clamd_answer),
    ("icap_answer", icap_answer),
    ("proxy_header", proxy_header),
];

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

fn request_target(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    let Ok(target) = Target::parse(path, query) else { return };
    let key = target.key.as_deref().map(encode_path).unwrap_or_default();
    let written = format!("/{}/{key}", encode_query(&target.bucket));
    let query: Vec<String> =
        target.query.iter().map(|(name, value)| format!("{}={}", encode_query(name), encode_query(value))).collect();
    assert_eq!(Target::parse(&written, Some(&query.join("&"))), Ok(target.clone()), "{written}");
    if let Some(key) = target.key {
        for odd in [OddKeys::Refuse, OddKeys::Pass] {
            let Ok(key) = ObjectKey::check(key.clone(), "gw/", odd) else { continue };
            let key = key.as_str();
            assert!(!key.is_empty() && key.len() + 3 <= MAX_KEY_BYTES && !key.chars().any(char::is_control));
            let is_odd = key.starts_with('/')
                || key.split('/').any(|segment| segment == "." || segment == "..")
                || key.contains('\\');
            assert!(odd == OddKeys::Pass || !is_odd, "{key}");
        }
    }
}

fn query(data: &[u8]) {
    let Some(parameters) = text(data).and_then(|text| parse_query(text).ok()) else { return };
    assert!(parameters.len() <= 64);
    let mut names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    let written: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", encode_query(name), encode_query(value))).collect();
    assert_eq!(parse_query(&written.join("&")), Ok(parameters));
}

/// A head out of lines: method and target, then `name: value`. Lines that HTTP would not accept are left out.
fn head(data: &[u8]) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::from_bytes(words.next()?).ok()?;
    *request.uri_mut() = http::Uri::try_from(words.next()?).ok()?;
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = http::HeaderName::from_bytes(&line[..colon]);
        let value = http::HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            // More than hyper lets through never arrive.
            if request.headers().len() < 100 {
                request.headers_mut().append(name, value);
            }
        }
    }
    Some(request.into_parts().0)
}

fn buckets() -> Buckets {
    Buckets::new([Bucket {
        name: "bkt".to_owned(),
        route: RouteId(0),
        upstream_bucket: "up-bkt".to_owned(),
        upstream_prefix: "gw/".to_owned(),
        odd_keys: OddKeys::Refuse,
        passed_through: false,
    }])
}

fn identify_head(data: &[u8]) {
    let Some(mut head) = head(data) else { return };
    head.headers.entry("host").or_insert(http::HeaderValue::from_static("gw"));
    let Ok(call) = identify(&head, &buckets()) else { return };
    let spec = call.operation.spec();
    assert_eq!(spec.method, head.method.as_str());
    assert!(call.resource.bucket().is_none_or(|bucket| bucket.name == "bkt"));
    if let Some(key) = call.resource.key() {
        assert!(ObjectKey::check(key.as_str().to_owned(), "gw/", OddKeys::Refuse).is_ok());
    }
    for (name, _) in &call.query {
        let known = spec.optional_query.contains(&name.as_str())
            || spec.required_query.iter().any(|(required, _)| required == name);
        assert!(known, "{name} of {}", spec.name);
    }
}

fn headers(data: &[u8]) {
    let [first, rest @ ..] = data else { return };
    let operations: Vec<_> = Operation::all().collect();
    let spec = operations[usize::from(*first) % operations.len()];
    let Some(head) = head(&[b"PUT /bkt/x\n", rest].concat()) else { return };
    if let Ok(sorted) = SortedHeaders::sort(spec, &head.headers) {
        assert!(sorted.pass.values().all(|value| value.to_str().is_ok()));
        assert!(sorted.needs_allow.iter().all(|name| sorted.pass.contains_key(name)));
        assert!(!sorted.pass.contains_key("authorization") && !sorted.pass.contains_key("host"));
        // What would be sent is what would be passed again.
        let again = SortedHeaders::sort(spec, &sorted.pass).expect("what passed passes");
        assert_eq!(again.pass, sorted.pass);
    }
    if let Ok(upload) = UploadHead::parse(&head.headers, head.version) {
        assert!(upload.length.is_none_or(|length| length <= 5 << 40));
    }
}

fn framing(data: &[u8]) {
    const MAX_HEAD: usize = 512;
    let scan = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut scanner = Scanner::new(MAX_HEAD);
        let clear: usize = pieces.map(|piece| scanner.feed(piece)).sum();
        (clear, scanner.broken(), scanner.is_between_messages())
    };
    let whole = scan(&mut std::iter::once(data));
    assert_eq!(whole, scan(&mut data.chunks(1)));
    assert_eq!(whole, scan(&mut data.chunks(7)));
}

fn claim(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let target = [b"/b/k?", lines.next().unwrap_or_default()].concat();
    let Ok(uri) = http::Uri::try_from(target.as_slice()) else { return };
    let mut request = http::Request::new(());
    *request.uri_mut() = uri;
    for line in lines.next().unwrap_or_default().split(|byte| *byte == b'\n') {
        if let Ok(value) = http::HeaderValue::from_bytes(line) {
            request.headers_mut().append(http::header::AUTHORIZATION, value);
        }
    }
    let (head, ()) = request.into_parts();
    if let Ok(Claim::Bearer(token)) = Claim::parse(&head) {
        let token = token.expose();
        assert!(
            !token.is_empty() && token.len() <= 8192 && token.bytes().all(|byte| byte.is_ascii_graphic()),
            "{token:?}"
        );
        assert_eq!(head.headers.get_all(http::header::AUTHORIZATION).iter().count(), 1);
    }
}

fn check_signed(signed: &SignedHead) {
    let names: Vec<&str> = signed.signed_headers.names().collect();
    assert!(
        names.len() <= 100 && names.contains(&"host") && names.windows(2).all(|pair| pair[0] < pair[1]),
        "{names:?}"
    );
    let credential = &signed.credential;
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    assert!(plain(&credential.access_key_id) && credential.access_key_id.len() <= 128, "{credential:?}");
    assert!(plain(&credential.region) && plain(&credential.service) && credential.day.len() == 8, "{credential:?}");
}

fn authorization(data: &[u8]) {
    let Some(signed) = text(data).and_then(|text| SignedHead::parse(text).ok()) else { return };
    check_signed(&signed);
    let countersign::sigv4::Credential { access_key_id, day, region, service } = &signed.credential;
    let (names, signature) = (signed.signed_headers.as_str(), &signed.signature);
    let written = format!(
        "Signature={signature},SignedHeaders={names},Credential={access_key_id}/{day}/{region}/{service}/aws4_request"
    );
    assert_eq!(SignedHead::parse(&written).as_ref(), Ok(&signed), "{written}");
}

fn presigned_query(data: &[u8]) {
    let Some(query) = text(data).and_then(|text| PresignedQuery::parse(text).ok()) else { return };
    check_signed(&query.signed);
    assert!((1..=604_800).contains(&query.expires.as_secs()));
    assert!(query.headers.iter().all(|(name, _)| name.starts_with("x-amz-") && *name == name.to_ascii_lowercase()));
    // Nothing of the credential goes on: not for this reader of queries either.
    for (name, _) in parse_query(&query.rest).unwrap_or_default() {
        assert!(!name.to_ascii_lowercase().starts_with("x-amz-"), "{}", query.rest);
    }
}

/// What is verified says the same as what the rules read: a target that is read and written anew has the same canonical form.
fn canonical_request(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let mut lines = text.lines();
    let target = lines.next().unwrap_or_default();
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value)) else {
            return;
        };
        headers.append(name, value);
    }
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).filter(|name| *name != "host").collect();
    names.push("host");
    names.sort_unstable();
    let Ok(signed) = SignedHeaders::parse(&names.join(";")) else { return };
    let hash = |path: &str, query: &str| {
        let request = Received { method: "GET", path, query, host: "gw", headers: &headers };
        request.canonical_hash(&signed, "UNSIGNED-PAYLOAD").expect("every header is there")
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let found = hash(path, query);
    let Ok(read) = Target::parse(path, Some(query)) else { return };
    let (Some(key), false) = (&read.key, read.bucket.contains('/')) else { return };
    let path = format!("/{}/{}", encode_query(&read.bucket), encode_path(key));
    let mut pairs: Vec<String> =
        read.query.iter().map(|(name, value)| format!("{}={}", encode_query(name), encode_query(value))).collect();
    pairs.reverse();
    if !read.query.iter().any(|(name, _)| name == "X-Amz-Signature") {
        assert_eq!(hash(&path, &pairs.join("&")), found, "{target}");
        assert_ne!(hash(&format!("{path}/"), &pairs.join("&")), found, "{target}");
    }
}

fn jwt_json(data: &[u8]) {
    if let Some(object) = strict_json::object(data) {
        let written = serde_json::to_vec(&object).expect("a map of JSON values");
        // Numbers with a fraction may differ in their last bit.
        let again = strict_json::object(&written).expect("what was read is written readably");
        assert!(again.keys().eq(object.keys()));
    }
    let Some(text) = text(data) else { return };
    if let Some(bytes) = strict_json::base64url(text) {
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        assert!(text.bytes().all(alphabet) && bytes.len() == text.len() * 3 / 4);
    }
}

/// An access key id and a session token. The corpus has one that this ring has sealed; nothing else may open.
fn session_token(data: &[u8]) {
    let Some((id, token)) = text(data).and_then(|text| text.split_once('\n')) else { return };
    let secret = Secret::new("the secret of the fuzz corpus, which seals nothing else");
    let ring = KeyRing::new(vec![RingKey { id: "fuzz.1".to_owned(), secret }]);
    let Ok((claims, secret)) = ring.open(token.trim_end(), id) else { return };
    assert_eq!((claims.principal.as_str(), secret.expose().len()), ("corp:alice", 40));
}

fn sts_request(data: &[u8]) {
    if let Ok(form) = Form::parse(data) {
        let pairs: Vec<(&str, &str)> = form.names().filter_map(|name| Some((name, form.get(name)?))).collect();
        let written: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{}={}", encode_query(name), encode_query(value))).collect();
        assert_eq!(Form::parse(written.join("&").as_bytes()), Ok(form.clone()), "{written:?}");
    }
    if let Ok(StsAction::AssumeRoleWithWebIdentity(asked)) = StsAction::parse(data) {
        assert!((4..=8192).contains(&asked.token.expose().len()) && (20..=2048).contains(&asked.role.len()));
        assert!(asked.duration.is_none_or(|duration| (900..=43_200).contains(&duration.as_secs())));
    }
}

fn depth(element: &Element) -> usize {
    1 + element.children.iter().map(depth).max().unwrap_or(0)
}

fn xml(data: &[u8]) {
    let Some(root) = text(data).and_then(|text| Element::parse(text).ok()) else { return };
    assert!(depth(&root) <= 21);
}

fn complete(data: &[u8]) {
    let Ok(parts) = complete_upload::parse(data) else { return };
    assert!(!parts.is_empty() && parts.len() <= 10_000 && parts.windows(2).all(|pair| pair[0].number < pair[1].number));
    let written = complete_upload::render(&parts);
    assert_eq!(complete_upload::parse(written.as_bytes()), Ok(parts), "{written}");
}

fn list_page(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for kind in [ListKind::Objects, ListKind::ObjectsV2, ListKind::Versions, ListKind::Uploads] {
        let Ok(mut page) = ListPage::parse(kind, text, "gw/") else { continue };
        page.next = None;
        let request = ListRequest { kind, url_encoded: true, max_keys: 1000, ..ListRequest::default() };
        let written = page.render("bkt", &request, None);
        let root = Element::parse(&written).expect("our own page");
        assert_eq!(root.children_named("CommonPrefixes").count(), page.groups.len(), "{written}");
        assert!(depth(&root) <= 4, "{written}");
    }
}

fn copy_source(data: &[u8]) {
    let Some((source, range)) = text(data).map(|text| text.split_once('\n').unwrap_or((text, ""))) else { return };
    let mut headers = http::HeaderMap::new();
    for (name, value) in [("x-amz-copy-source", source), ("x-amz-copy-source-range", range)] {
        match http::HeaderValue::from_str(value) {
            Ok(value) if !value.is_empty() => drop(headers.insert(name, value)),
            _ => {}
        }
    }
    let Ok(source) = CopySource::parse(&headers, &buckets()) else { return };
    let version = source.version_id.as_ref().map(|version| format!("?versionId={version}")).unwrap_or_default();
    let written = format!("{}{version}", encode_path(&format!("/bkt/{}", source.key.as_str())));
    headers.insert("x-amz-copy-source", http::HeaderValue::from_str(&written).expect("percent-encoded"));
    assert_eq!(CopySource::parse(&headers, &buckets()), Ok(source), "{written}");
}

fn deletes(data: &[u8]) {
    let bucket = buckets().get("bkt").expect("made above");
    let Ok(request) = delete_objects::parse(data, &bucket) else { return };
    assert!((1..=1000).contains(&request.objects.len()));
    let written = delete_objects::render(request.objects.iter(), "");
    let again = delete_objects::parse(written.as_bytes(), &bucket).expect("our own document");
    assert_eq!(again.objects, request.objects, "{written}");
}

fn tags(data: &[u8]) {
    let Ok(tags) = tagging::parse(data) else { return };
    assert!(tags.len() <= 10);
    assert_eq!(tagging::parse(tagging::render(&tags).as_bytes()), Ok(tags));
}

fn ranges(data: &[u8]) {
    let Ok(value) = http::HeaderValue::from_bytes(data) else { return };
    let headers = http::HeaderMap::from_iter([(http::header::RANGE, value.clone())]);
    let accepted = range::check(&headers, None).is_ok();
    assert!(!accepted || !value.as_bytes().contains(&b','), "{value:?}");
}

fn checksum(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        if let Some(value) = algorithm.parse_value(text) {
            assert_eq!((value.len(), to_base64(&value).as_str()), (algorithm.value_length(), text));
        }
    }
    if let Some(value) = parse_md5(text) {
        assert_eq!((value.len(), to_base64(&value).as_str()), (16, text));
    }
}

/// The signatures of the corpus: `from_request` is the signature of the request itself.
fn chunk_signer(from_request: &str) -> ChunkSigner {
    let date = AmzDate::new("2026-01-01T00:00:00Z".parse().expect("a date"));
    ChunkSigner::new(SigningKey::derive(&Secret::new("secret"), "us-east-1", &date), &date, from_request.repeat(64))
}

/// What comes out of the decoder, whatever the pieces are.
fn decode(
    pieces: &mut dyn Iterator<Item = &[u8]>,
    announced: bool,
    signer: Option<ChunkSigner>,
) -> Result<(Vec<u8>, Option<Vec<u8>>), Fault> {
    let slot = std::sync::Arc::new(std::sync::OnceLock::new());
    let announced = announced.then(|| (ChecksumAlgorithm::Crc32, std::sync::Arc::clone(&slot)));
    let mut decoder = ChunkDecode::new(announced, signer.map(ChunkCheck::Chain));
    let mut out = Vec::new();
    let mut emit = |bytes: Bytes| {
        out.extend_from_slice(&bytes);
        Ok(())
    };
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        decoder.push(Bytes::copy_from_slice(piece), &mut emit)?;
    }
    decoder.finish(&mut emit)?;
    Ok((out, slot.get().cloned()))
}

/// The fields, how many bytes they took, and the file, in pieces of a size.
fn read_form(form: &[u8], size: usize) -> Option<(FormFields, usize, Vec<u8>)> {
    let content_type = http::HeaderValue::from_static("multipart/form-data; boundary=XX");
    let delimiter = Delimiter::of(&content_type)?.ok()?;
    let (mut preamble, mut file) = (FormPreamble::new(delimiter.clone()), Vec::new());
    let mut decode = FormDecode::new(&delimiter, None);
    let mut emit = |bytes: Bytes| {
        file.extend_from_slice(&bytes);
        Ok(())
    };
    let mut found = false;
    for piece in form.chunks(size) {
        let rest = match found {
            true => piece,
            false => match preamble.push(piece).ok()? {
                None => continue,
                Some(used) => &piece[used..],
            },
        };
        found = true;
        if !rest.is_empty() {
            decode.push(Bytes::copy_from_slice(rest), &mut emit).ok()?;
        }
    }
    decode.finish(&mut emit).ok()?;
    let taken = preamble.taken();
    Some((preamble.finish().ok()?, taken, file))
}

fn post_form(data: &[u8]) {
    let [first, form @ ..] = data else { return };
    let whole = read_form(form, form.len().max(1));
    assert_eq!(whole, read_form(form, 1));
    assert_eq!(whole, read_form(form, 1 + usize::from(*first)));
    let Some((fields, taken, file)) = whole else { return };
    assert!(taken <= MAX_PREAMBLE_BYTES && taken + file.len() < form.len());
    assert_eq!(&form[taken..taken + file.len()], file);
    let mut names: Vec<&str> = fields.all().iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.iter().all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase())));
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    assert!(!fields.filename().contains(['/', '\\']));
    let mut named = fields.clone();
    if PostObject::name_file(&mut named).is_ok()
        && let Ok(object) = PostObject::read(&named, "bkt")
    {
        let framing = ["content-length", "transfer-encoding", "host", "authorization", "x-amz-content-sha256"];
        assert!(framing.iter().all(|name| !object.headers.contains_key(*name)));
    }
}

fn post_policy(data: &[u8]) {
    let Ok(policy) = PostPolicy::parse(&to_base64(data)) else { return };
    let fields = [("key".to_owned(), "a/x".to_owned()), ("acl".to_owned(), "private".to_owned())];
    if policy.check(&fields, "bkt").is_err() {
        return;
    }
    let extra = [&fields[..], &[("x-not-in-it".to_owned(), String::new())]].concat();
    assert!(text(data).is_some_and(|text| text.contains("x-not-in-it")) || policy.check(&extra, "bkt").is_err());
}

/// The first byte says whether a checksum is announced, whether chunks are signed, and the size of pieces.
fn chunk_decode(data: &[u8]) {
    let [first, body @ ..] = data else { return };
    let (announced, signed) = (first & 1 == 1, first & 128 == 128);
    let signer = || signed.then(|| chunk_signer("0"));
    let whole = decode(&mut std::iter::once(body), announced, signer());
    assert_eq!(whole, decode(&mut body.chunks(1), announced, signer()));
    assert_eq!(whole, decode(&mut body.chunks(1 + usize::from(*first) / 2), announced, signer()));
    if let Ok((object, trailer)) = whole {
        assert!(object.len() < body.len() && trailer.is_some() == announced);
        // What is signed for one request is not for another.
        assert!(!signed || decode(&mut std::iter::once(body), announced, Some(chunk_signer("1"))).is_err());
    }
}

/// What stands behind the last chunk of a body. The first byte is as above.
fn trailer(data: &[u8]) {
    let [first, end @ ..] = data else { return };
    let (announced, signed) = (first & 1 == 1, first & 128 == 128);
    let mut signer = chunk_signer("0");
    let signature = signer.sign_chunk(EMPTY_SHA256);
    let last = if signed { format!("0;chunk-signature={signature}\r\n") } else { "0\r\n".to_owned() };
    let body = [last.as_bytes(), end].concat();
    let decoded = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        decode(pieces, announced, signed.then(|| chunk_signer("0"))).map_err(|fault| fault.to_string())
    };
    let whole = decoded(&mut std::iter::once(body.as_slice()));
    assert_eq!(whole, decoded(&mut body.chunks(1)));
    let Ok((object, value)) = whole else { return };
    assert!(object.is_empty() && value.is_some() == announced);
    let Some(value) = value else { return assert!(end.is_empty() || end == b"\r\n") };
    // Written anew with the value that was read, signed anew if it was signed, it is read the same.
    let field = format!("x-amz-checksum-crc32:{}", to_base64(&value));
    let signature = signer.sign_trailer(&format!("{field}\n"));
    let line = if signed { format!("x-amz-trailer-signature:{signature}\r\n") } else { String::new() };
    assert!(!signed || end.windows(64).any(|window| window == signature.as_bytes()));
    let written = [last.as_bytes(), field.as_bytes(), b"\r\n", line.as_bytes(), b"\r\n"].concat();
    assert_eq!(decoded(&mut std::iter::once(written.as_slice())), Ok((Vec::new(), Some(value))));
}

fn media_type(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let (declared, first) = text.split_once('\n').unwrap_or((text, ""));
    let parsed = MediaType::parse(declared);
    if let Some(parsed) = &parsed {
        assert_eq!(MediaType::parse(parsed.as_str()).as_ref(), Some(parsed));
        assert!(!parsed.as_str().contains([',', ';', ' ']));
    }
    let _verdict = file_type::check(parsed.as_ref().map(MediaType::as_str), first.as_bytes());
}

fn template(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(template) = PrefixTemplate::parse(text) else { return };
    assert_eq!(template.text(), text);
    assert_eq!(PrefixTemplate::parse(&template.text()).map(|template| template.text()), Ok(text.to_owned()));
}

fn units(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let _size = parse_size(text);
    let _duration = parse_duration(text);
    if let Some(number) = complete_upload::parse_part_number(text) {
        assert_eq!(number.to_string(), text);
    }
}

fn configuration(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let env = ["STORE_ID", "STORE_SECRET"].map(|name| (name.to_owned(), "a-secret-of-the-corpus".to_owned()));
    let references = MapReferences { env: env.into(), ..MapReferences::default() };
    match load_text("fuzz.yaml", text, &references) {
        Ok(config) => assert!(!format!("{config:?}").contains("a-secret-of-the-corpus")),
        Err(problems) => {
            let told = problems.to_string();
            assert!(!told.is_empty() && !told.contains("a-secret-of-the-corpus"), "{told}");
        }
    }
}

/// Only one text is clean, and what reaches a record is printable and short.
fn clamd_answer(data: &[u8]) {
    match clamd::parse(data) {
        clamd::Answer::Clean => assert_eq!(data, b"stream: OK"),
        clamd::Answer::Found(name) | clamd::Answer::Failed(name) => {
            assert!(!name.is_empty() && name.len() < 300 && name.chars().all(|c| c == ' ' || c.is_ascii_graphic()));
        }
        clamd::Answer::SizeLimit => {}
    }
    if let Some(text) = text(data) {
        let _age = clamd::signatures_made(text);
    }
}

/// Nothing behind the header is read or has a say, and who is named could have opened a connection.
fn proxy_header(data: &[u8]) {
    let read = |data: &[u8]| {
        let mut stream = data;
        let read = pin!(proxy_header::read(&mut stream)).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(read) = read else { panic!("bytes in memory are waited for") };
        (read, data.len() - stream.len())
    };
    let (outcome, length) = read(data);
    let limit = if data.starts_with(b"PROXY ") { 107 } else { 16 + 4096 };
    assert!(length <= limit, "{length}");
    let Ok(client) = outcome else { return };
    let header = &data[..length];
    for behind in [&b""[..], b"\r\n", b"PROXY UNKNOWN\r\n", b"\x16\x03\x01"] {
        let (again, end) = read(&[header, behind].concat());
        assert_eq!((again.ok(), end), (Some(client), length));
    }
    assert!((0..length).all(|end| read(&data[..end]).0.is_err()), "a part of a header is none");
    let Some(client) = client else { return };
    let ip = client.ip();
    assert!(!ip.is_unspecified() && !ip.is_multicast() && ip.to_canonical() == ip);
    let (family, ours) = if ip.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
    let line = format!("PROXY {family} {ip} {ours} {} 443\r\n", client.port());
    assert_eq!(read(line.as_bytes()).0.ok(), Some(Some(client)), "{line}");
}

/// No field holds the end of a line, folded or not; what is encapsulated lies in order.
fn icap_answer(data: &[u8]) {
    let Ok(head) = Head::parse(data) else { return };
    assert!(data.len() <= MAX_HEAD_BYTES + 4);
    for name in ["istag", "x-infection-found", "encapsulated"] {
        assert!(head.get(name).is_none_or(|value| !value.contains(['\r', '\n', '\0'])));
    }
    let _status = head.status("ICAP/1.0");
    let _found = found(&head);
    if let Ok(options) = Options::read(&head) {
        assert!(options.reqmod || options.respmod);
    }
    if let Some(parts) = head.get("encapsulated").and_then(Encapsulated::parse) {
        let ranges = [parts.request, parts.response];
        assert_eq!(ranges.iter().flatten().map(std::ops::Range::len).sum::<usize>(), parts.heads);
        assert!(parts.heads <= MAX_ENCAPSULATED_HEADS);
    }
}
