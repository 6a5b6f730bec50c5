//! `countersign demo`: what it promises at the terminal is what happens.

#![cfg(feature = "demo")]

use std::process::Command;

use super::support::eventually;
use super::support::process::{Process, run};
use super::support::store::missing;

#[tokio::test]
async fn the_tour_comes_out_as_expected() {
    let done = run(&["demo", "--tour"], &[]).await;
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert_eq!((done.status.code(), &*err), (Some(0), ""), "{out}");
    assert!(out.ends_with("every request came out as expected\n"), "{out}");
    let rows: Vec<_> = out.lines().skip(1).filter(|line| line.ends_with(" ok")).collect();
    assert!(rows.len() >= 10 && rows.len() + 2 == out.lines().count(), "{out}");
    // A virus in one part, over an object, and split over two parts of an upload.
    assert_eq!(rows.iter().filter(|row| row.contains("403 ContentRejected")).count(), 3, "{out}");
    assert_eq!(rows.iter().filter(|row| row.contains("404 NoSuchKey")).count(), 2, "{out}");
}

#[tokio::test]
async fn the_commands_that_the_demo_prints_do_what_they_say() {
    if Command::new("curl").arg("--version").output().is_err() {
        return missing("curl");
    }
    let mut demo = Process::start(&["demo", "--port", "0"], &[]);
    eventually("the demo has said what to try", || demo.stdout.text().contains("Stop with Ctrl-C")).await;
    let text = demo.stdout.text();
    let commands: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert!(commands.len() >= 10 && commands[0].starts_with("# the demo token"), "{text}");
    let script = commands.join("\necho; echo ---\n");
    let shell = move || Command::new("bash").args(["-c", &script]).env("no_proxy", "*").output().unwrap();
    let output = tokio::task::spawn_blocking(shell).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers: Vec<_> = said.split("---\n").map(str::trim).filter(|answer| !answer.is_empty()).collect();
    assert_eq!(output.stderr, b"", "{}", String::from_utf8_lossy(&output.stderr));
    for (answer, expected) in answers.iter().zip([
        "hello",
        "<Key>inbox/hello.txt</Key>",
        "<Code>EntityTooLarge</Code>",
        "<Code>AccessDenied</Code>",
        "<Code>ContentRejected</Code>",
        "<Code>AccessDenied</Code>",
    ]) {
        assert!(answer.contains(expected), "{expected}: {answer}\n{said}");
    }
    assert_eq!(answers.len(), 6, "{said}");
    demo.signal("INT");
    assert_eq!(demo.end().await.code(), Some(0));
    assert!(
        demo.stdout.text().matches("\"operation\":\"PutObject\"").count() >= 3,
        "audit records follow the commands"
    );
}

#[tokio::test]
async fn two_demos_on_one_port_do_not_get_in_each_others_way() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let done = run(&["demo", "--port", &port], &[]).await;
    let err = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{err}");
    assert!(err.contains("cannot listen on") && err.contains("--port 0"), "{err}");
}
