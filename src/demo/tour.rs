//! The tour: requests that show what is allowed and what is refused, as curl commands or run by the demo itself.

use std::fmt::Write;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Demo;
use crate::base::encoding::encode_query;
use crate::inspect::patterns::eicar;
use crate::s3::xml::Element;

/// One request of the tour. In `target` and `body` the words `{upload}` and `{etags}` stand for what earlier answers said: the upload id, and
/// the list of the parts uploaded so far.
struct Step {
    what: &'static str,
    method: Method,
    target: &'static str,
    headers: Headers,
    token: Token,
    body: Vec<u8>,
    expected: Expected,
}

type Headers = &'static [(&'static str, &'static str)];

/// Which credential a step shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Demo,
    None,
    Wrong,
}

/// What must come back.
#[derive(Clone, Copy)]
enum Expected {
    /// 200, and a body that contains this.
    Body(&'static str),
    /// 200 or 204, whatever the body.
    Done,
    /// An S3 error.
    Error(u16, &'static str),
}

/// What answers said that later requests repeat.
#[derive(Default)]
struct Heard {
    upload_id: String,
    etags: Vec<String>,
}

impl Heard {
    fn fill(&self, text: &str) -> String {
        let part = |(number, etag)| format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", number + 1);
        let parts: String = self.etags.iter().enumerate().map(part).collect();
        text.replace("{upload}", &encode_query(&self.upload_id)).replace("{etags}", &parts)
    }

    fn note(&mut self, answer: &Answer) {
        if let Ok(root) = Element::parse(&answer.body)
            && root.name == "InitiateMultipartUploadResult"
        {
            *self = Self { upload_id: root.text_of("UploadId").to_owned(), etags: Vec::new() };
        } else if let Some(etag) = answer.etag.as_ref().filter(|_| answer.is_part) {
            self.etags.push(etag.clone());
        }
    }
}

/// What came back.
struct Answer {
    status: StatusCode,
    etag: Option<String>,
    is_part: bool,
    body: String,
}

fn steps() -> Vec<Step> {
    let mut steps = plain_steps();
    steps.extend(infected_steps());
    steps
}

/// The test file of virus scanners, in one part and split over two.
fn infected_steps() -> Vec<Step> {
    let headers: Headers = &[("content-type", "text/plain")];
    let step = |what, method, target, body: &[u8], expected| {
        let (token, body) = (Token::Demo, body.to_vec());
        Step { what, method, target, headers, token, body, expected }
    };
    let infected = eicar().into_bytes();
    // Stores take no part under 5 MiB but the last.
    let infected_late = [vec![b' '; 5 << 20], infected.clone()].concat();
    let (first, second) = infected_late.split_at(infected_late.len() - infected.len() / 2);
    let (rejected, gone) = (Expected::Error(403, "ContentRejected"), Expected::Error(404, "NoSuchKey"));
    let list = b"<CompleteMultipartUpload>{etags}</CompleteMultipartUpload>";
    let (hello, eicar, parts) = ("/demo/inbox/hello.txt", "/demo/inbox/eicar.txt", "/demo/inbox/parts.txt");
    vec![
        step("a virus (the EICAR test file)", Method::PUT, eicar, &infected, rejected),
        step("... is stored nowhere", Method::GET, eicar, b"", gone),
        step("a virus over the first upload", Method::PUT, hello, &infected, rejected),
        step("... leaves the first one as it was", Method::GET, hello, b"", Expected::Body("hello, store")),
        step("an upload in parts", Method::POST, "/demo/inbox/parts.txt?uploads", b"", Expected::Body("UploadId")),
        step("half a virus as part 1", Method::PUT, PART_1, first, Expected::Done),
        step("the other half as part 2", Method::PUT, PART_2, second, Expected::Done),
        step("... cannot be put together", Method::POST, "/demo/inbox/parts.txt?uploadId={upload}", list, rejected),
        step("... and is stored nowhere", Method::GET, parts, b"", gone),
    ]
}

const PART_1: &str = "/demo/inbox/parts.txt?partNumber=1&uploadId={upload}";
const PART_2: &str = "/demo/inbox/parts.txt?partNumber=2&uploadId={upload}";

fn put(what: &'static str, target: &'static str, headers: Headers, body: &[u8], expected: Expected) -> Step {
    Step { what, method: Method::PUT, target, headers, token: Token::Demo, body: body.to_vec(), expected }
}

fn get(what: &'static str, target: &'static str, token: Token, expected: Expected) -> Step {
    Step { what, method: Method::GET, target, headers: &[], token, body: Vec::new(), expected }
}

fn plain_steps() -> Vec<Step> {
    let text = &[("content-type", "text/plain")];
    vec![
        put("an allowed upload", "/demo/inbox/hello.txt", text, b"hello, store\n", Expected::Done),
        get("a download", "/demo/inbox/hello.txt", Token::Demo, Expected::Body("hello, store")),
        get("a list", "/demo?list-type=2&prefix=inbox/", Token::Demo, Expected::Body("<Key>inbox/hello.txt</Key>")),
        put(
            "an upload that is too large",
            "/demo/inbox/large.txt",
            text,
            &vec![b'x'; 9 << 20],
            Expected::Error(400, "EntityTooLarge"),
        ),
        put(
            "a type the rule does not take",
            "/demo/inbox/page.html",
            &[("content-type", "text/html")],
            b"<html>",
            Expected::Error(403, "AccessDenied"),
        ),
        put(
            "HTML that claims to be an image",
            "/demo/inbox/cat.png",
            &[("content-type", "image/png")],
            b"<html><script>",
            Expected::Error(403, "AccessDenied"),
        ),
        put(
            "an upload outside the prefix",
            "/demo/readonly/mine.txt",
            text,
            b"x",
            Expected::Error(403, "AccessDenied"),
        ),
        put(
            "a damaged upload over the first one",
            "/demo/inbox/hello.txt",
            &[("content-type", "text/plain"), ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")],
            b"damaged\n",
            Expected::Error(400, "BadDigest"),
        ),
        get("... leaves the first one as it was", "/demo/inbox/hello.txt", Token::Demo, Expected::Body("hello, store")),
        get("a read-only object", "/demo/readonly/welcome.txt", Token::Demo, Expected::Body("Welcome")),
        get(
            "a way around the prefix",
            "/demo/readonly/..%2f..%2fprivate/secret.txt",
            Token::Demo,
            Expected::Error(400, "InvalidURI"),
        ),
        get("no token", "/demo/inbox/hello.txt", Token::None, Expected::Error(401, "AccessDenied")),
        get("a wrong token", "/demo/inbox/hello.txt", Token::Wrong, Expected::Error(401, "InvalidToken")),
    ]
}

/// The curl commands for a person to try.
pub(super) fn commands(demo: &Demo) -> String {
    let base = format!("http://{}", demo.address);
    let (token, infected) = (demo.token.expose(), eicar());
    let mut text = String::new();
    let mut line = |command: &str, note: &str| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  # {note}\n  {command}");
    };
    line(&format!("export TOKEN={token}"), "the demo token: it may write below inbox/ and read below readonly/");
    let auth = "-H \"Authorization: Bearer $TOKEN\"";
    line(
        &format!("echo hello | curl -sS {auth} -H 'Content-Type: text/plain' -T - {base}/demo/inbox/hello.txt"),
        "an allowed upload",
    );
    line(&format!("curl -sS {auth} {base}/demo/inbox/hello.txt"), "a download");
    line(&format!("curl -sS {auth} '{base}/demo?list-type=2&prefix=inbox/'"), "a list");
    line(
        &format!(
            "head -c 9000000 /dev/zero | curl -sS {auth} -H 'Content-Type: text/plain' --data-binary @- -X PUT {base}/demo/inbox/large.txt"
        ),
        "too large: EntityTooLarge",
    );
    line(
        &format!(
            "curl -sS {auth} -H 'Content-Type: image/png' --data-binary '<html>' -X PUT {base}/demo/inbox/cat.png"
        ),
        "not an image: AccessDenied",
    );
    // In two halves, so that no scanner takes the demo itself for infected.
    let (first, second) = infected.split_at(34);
    line(
        &format!(
            "printf '%s%s' '{first}' '{second}' | curl -sS {auth} -H 'Content-Type: text/plain' --data-binary @- -X PUT {base}/demo/inbox/eicar.txt"
        ),
        "the test file of virus scanners: ContentRejected",
    );
    line(
        &format!("curl -sS {auth} -H 'Content-Type: text/plain' --data-binary x -X PUT {base}/demo/readonly/mine.txt"),
        "outside the prefix: AccessDenied",
    );
    format!(
        "\ncountersign demo on {base}, with a store in this process. Try, in another terminal:\n\n{text}\nStop with Ctrl-C. Audit records follow, one line a request.\n\n"
    )
}

/// Runs every step, prints a table, and tells whether all came out as expected.
pub(super) async fn run(demo: &Demo) -> anyhow::Result<bool> {
    println!("{:<38} {:<22} {:<22}", "request", "expected", "actual");
    let mut passed = true;
    let mut heard = Heard::default();
    for step in steps() {
        let (what, expected) = (step.what, step.expected);
        let answer = send(demo, step, &heard).await.with_context(|| format!("the step `{what}` got no answer"))?;
        heard.note(&answer);
        let right = matches(expected, answer.status, &answer.body);
        passed &= right;
        let actual = describe(answer.status, &answer.body);
        println!("{what:<38} {:<22} {actual:<22} {}", describe_expected(expected), if right { "ok" } else { "WRONG" });
    }
    println!(
        "{}",
        if passed { "every request came out as expected" } else { "some requests did not come out as expected" }
    );
    Ok(passed)
}

async fn send(demo: &Demo, step: Step, heard: &Heard) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(demo.address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let target = heard.fill(step.target);
    let mut request = Request::builder().method(step.method).uri(target).header("host", demo.address.to_string());
    for (name, value) in step.headers {
        request = request.header(*name, *value);
    }
    request = match step.token {
        Token::Demo => request.header("authorization", format!("Bearer {}", demo.token.expose())),
        Token::Wrong => request.header("authorization", "Bearer csn_not-a-token"),
        Token::None => request,
    };
    let list = str::from_utf8(&step.body).ok().filter(|text| text.contains("{etags}")).map(|text| heard.fill(text));
    let body = list.map_or_else(|| Bytes::from(step.body.clone()), Bytes::from);
    let response = sender.send_request(request.body(Full::new(body))?).await?;
    let status = response.status();
    let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    let is_part = step.target.contains("partNumber=");
    Ok(Answer { status, etag, is_part, body: String::from_utf8_lossy(&body).into_owned() })
}

fn error_code(body: &str) -> Option<String> {
    Element::parse(body).ok().filter(|root| root.name == "Error").map(|root| root.text_of("Code").to_owned())
}

fn matches(expected: Expected, status: StatusCode, body: &str) -> bool {
    match expected {
        Expected::Body(part) => status == StatusCode::OK && body.contains(part),
        Expected::Done => status == StatusCode::OK || status == StatusCode::NO_CONTENT,
        Expected::Error(wanted, code) => status.as_u16() == wanted && error_code(body).as_deref() == Some(code),
    }
}

fn describe(status: StatusCode, body: &str) -> String {
    match error_code(body) {
        Some(code) => format!("{} {code}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

fn describe_expected(expected: Expected) -> String {
    match expected {
        Expected::Body(_) | Expected::Done => "200".to_owned(),
        Expected::Error(status, code) => format!("{status} {code}"),
    }
}
