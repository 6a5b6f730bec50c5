//! Credentials that a program prints, in the form of `credential_process`.
//!
//! The program is started as it is written, without a shell, and its standard error is not read: some print their tokens there.
//! Source: AWS SDKs and Tools Reference Guide, Process credential provider.

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::source::CredentialError;
use crate::base::{Secret, UtcInstant};

/// Largest accepted output. Keys with their session token have about 2 KiB.
const MAX_OUTPUT_BYTES: u64 = 64 * 1024;
/// How long a program may take. It may have to ask somebody.
pub(super) const RUN_TIME: Duration = Duration::from_secs(25);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

/// Runs the program and reads what it prints. It is killed if it takes too long, or if nobody waits any more.
///
/// # Errors
/// [`CredentialError`] if it cannot be started, fails, is late or prints something else.
pub(super) async fn run(command: &[String]) -> Result<Credentials, CredentialError> {
    let refused = |problem: String| CredentialError::Refused { who: "the program", problem };
    let (program, arguments) = command.split_first().ok_or(CredentialError::NotSetUp("no program is named"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| refused(format!("cannot be started: {error}")))?;
    let output = child.stdout.take().ok_or_else(|| refused("has no output".to_owned()))?;
    let running = async {
        let mut printed = Vec::new();
        output.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut printed).await?;
        Ok::<_, std::io::Error>((printed, child.wait().await?))
    };
    let (printed, status) = tokio::time::timeout(RUN_TIME, running)
        .await
        .map_err(|_| CredentialError::TimedOut(RUN_TIME.as_secs()))?
        .map_err(|error| refused(error.to_string()))?;
    let printed = Secret::new(String::from_utf8(printed).map_err(|_| refused("printed no text".to_owned()))?);
    if printed.expose().len() as u64 > MAX_OUTPUT_BYTES {
        return Err(refused(format!("printed more than {MAX_OUTPUT_BYTES} bytes")));
    }
    if !status.success() {
        return Err(refused(format!("ended with {status}")));
    }
    parse(printed.expose()).ok_or_else(|| refused("printed something else than credentials of version 1".to_owned()))
}

fn parse(text: &str) -> Option<Credentials> {
    let printed: Printed = serde_json::from_str(text).ok().filter(|printed: &Printed| printed.version == 1)?;
    let expiry = match &printed.expiration {
        Some(text) => Some(SystemTime::from(text.parse::<UtcInstant>().ok()?)),
        None => None,
    };
    let Printed { access_key_id, secret_access_key, session_token, .. } = printed;
    Some(Credentials::new(access_key_id, secret_access_key, session_token, expiry, "process"))
}

/// A text of somebody else for a line of the log: plain, not too long, and without what looks like a token.
pub(super) fn plain(text: &str, longest: usize) -> String {
    let word = |word: &str| if word.contains("eyJ") { "…".to_owned() } else { word.to_owned() };
    let text = text.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(longest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_program_that_prints_credentials_is_read() {
        let json = r#"{"Version":1,"AccessKeyId":"ID","SecretAccessKey":"S","SessionToken":"T","Expiration":"2099-01-01T00:00:00Z"}"#;
        let found = run(&shell(&format!("echo '{json}'; echo secret >&2"))).await.unwrap();
        assert_eq!((found.access_key_id(), found.secret_access_key(), found.session_token()), ("ID", "S", Some("T")));
        assert!(found.expiry().is_some());
        let short = run(&shell(r#"echo '{"Version":1,"AccessKeyId":"ID","SecretAccessKey":"S"}'"#)).await.unwrap();
        assert_eq!((short.session_token(), short.expiry()), (None, None));
    }

    #[tokio::test]
    async fn whatever_else_a_program_does_is_an_error_without_its_words() {
        for (script, problem) in [
            ("exit 3", "exit status: 3"),
            ("echo h1dden; exit 0", "printed something else"),
            (r#"echo '{"Version":2,"AccessKeyId":"ID","SecretAccessKey":"h1dden"}'"#, "printed something else"),
            (
                r#"echo '{"Version":1,"AccessKeyId":"I","SecretAccessKey":"h1dden","Expiration":"soon"}'"#,
                "something else",
            ),
            ("head -c 100000 /dev/zero | tr '\\0' a", "more than"),
            (r"printf '\377'", "no text"),
        ] {
            let error = run(&shell(script)).await.unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("h1dden"), "{script}: {error}");
        }
        let error = run(&["/no/such/program".to_owned()]).await.unwrap_err().to_string();
        assert!(error.contains("cannot be started"), "{error}");
    }

    #[test]
    fn words_of_others_are_cut_and_hold_no_token() {
        assert_eq!(plain("a\nb\u{7} eyJhbGciOi.x.y c", 100), "a b … c");
        assert_eq!(plain("abcdef", 3), "abc");
    }
}
