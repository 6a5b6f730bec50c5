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
use crate::s3::xml::Element;

/// One request of the tour.
struct Step {
    what: &'static str,
    method: Method,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    token: Token,
    body: Vec<u8>,
    expected: Expected,
}

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

fn steps() -> Vec<Step> {
    let text = &[("content-type", "text/plain")];
    let put = |what, target, headers, body: &[u8], expected| Step {
        what,
        method: Method::PUT,
        target,
        headers,
        token: Token::Demo,
        body: body.to_vec(),
        expected,
    };
    let get = |what, target, token, expected| Step {
        what,
        method: Method::GET,
        target,
        headers: &[],
        token,
        body: Vec::new(),
        expected,
    };
    vec![
        put("an allowed upload", "/demo/inbox/hello.txt", text, b"hello, store\n", Expected::Done),
        get("a download", "/demo/inbox/hello.txt", Token::Demo, Expected::Body("hello, store")),
        get("a list", "/demo?list-type=2&prefix=inbox/", Token::Demo, Expected::Body("<Key>inbox/hello.txt</Key>")),
        put(
            "an upload that is too large",
            "/demo/inbox/large.txt",
            text,
            &vec![b'x'; 2 << 20],
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
    let token = demo.token.expose();
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
            "head -c 2000000 /dev/zero | curl -sS {auth} -H 'Content-Type: text/plain' --data-binary @- -X PUT {base}/demo/inbox/large.txt"
        ),
        "too large: EntityTooLarge",
    );
    line(
        &format!(
            "curl -sS {auth} -H 'Content-Type: image/png' --data-binary '<html>' -X PUT {base}/demo/inbox/cat.png"
        ),
        "not an image: AccessDenied",
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
    for step in steps() {
        let (what, expected) = (step.what, step.expected);
        let (status, body) = send(demo, step).await.with_context(|| format!("the step `{what}` got no answer"))?;
        let right = matches(expected, status, &body);
        passed &= right;
        let actual = describe(status, &body);
        println!("{what:<38} {:<22} {actual:<22} {}", describe_expected(expected), if right { "ok" } else { "WRONG" });
    }
    println!(
        "{}",
        if passed { "every request came out as expected" } else { "some requests did not come out as expected" }
    );
    Ok(passed)
}

async fn send(demo: &Demo, step: Step) -> anyhow::Result<(StatusCode, String)> {
    let stream = TcpStream::connect(demo.address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(step.method).uri(step.target).header("host", demo.address.to_string());
    for (name, value) in step.headers {
        request = request.header(*name, *value);
    }
    request = match step.token {
        Token::Demo => request.header("authorization", format!("Bearer {}", demo.token.expose())),
        Token::Wrong => request.header("authorization", "Bearer csn_not-a-token"),
        Token::None => request,
    };
    let response = sender.send_request(request.body(Full::new(Bytes::from(step.body)))?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
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
