//! Asks a program of the operator over HTTP: one POST for each object, one JSON verdict.
//!
//! The program gets the object as the body of the request, or its metadata alone. Each look has a connection of its own, which lives in
//! the look's future: a verdict, an error or an upload that breaks off ends both. Redirects are not followed, and no answer but a
//! complete one with status 200 means anything.

mod answer;
mod body;
mod exchange;
mod metadata;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderName;
use http::uri::PathAndQuery;

use crate::base::Secret;
use crate::dial::{self, AddressPolicy, Dialer};
use crate::inspect::outside::too_large;
use crate::inspect::{BuildError, Checkup, Content, Health, Inspector, Look, Regards, Subject, Verdict};

use answer::Answer;
use body::{HookBody, Progress};
use exchange::{Target, exchange};

/// Longest time for name resolution, TCP and TLS of one look.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What it is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Where the requests go.
    pub path: PathAndQuery,
    /// PEM file of certificate authorities, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What the program gets to see.
    pub send: Shown,
    /// Headers of every request, such as `authorization`. Their values can be header values.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Larger objects are not scannable; `None` for no limit.
    pub max_size: Option<u64>,
}

/// What the program gets to see of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The bytes as the body, the metadata in a header.
    Body,
    /// The metadata as the body.
    Metadata,
}

/// Why there is no verdict. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
enum HookError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] dial::DialError),
    /// The connection failed, or the answer is not HTTP.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// Redirects, too, mean nothing.
    #[error("answer with status {0}")]
    Status(http::StatusCode),
    /// Not declared as JSON.
    #[error("answer that is not declared as application/json")]
    ContentType,
    /// Nothing is decompressed here.
    #[error("answer with a content encoding")]
    Encoded,
    /// Too long or broken off.
    #[error("answer: {0}")]
    Body(#[from] crate::bounded::CollectError<hyper::Error>),
    /// JSON, but no verdict, or no JSON.
    #[error("answer that is not a verdict: {0}")]
    Answer(#[from] answer::AnswerError),
    /// It cannot know that.
    #[error("answer `clean` before the object had ended")]
    EarlyClean,
}

/// Asks one program.
#[derive(Debug)]
struct Hook {
    target: Target,
    send: Shown,
    max_size: Option<u64>,
    digest: String,
}

/// Makes the inspector of this name.
///
/// # Errors
/// [`BuildError`] if the certificate authorities cannot be used.
pub fn build(name: &str, settings: &Settings) -> Result<Arc<dyn Inspector>, BuildError> {
    let problem = |problem: String| BuildError { inspector: name.to_owned(), problem };
    let dialer = Dialer::new(dial::Settings {
        host: settings.host.clone(),
        port: settings.port,
        tls: settings.tls,
        ca_file: settings.ca_file.clone(),
        connect_timeout: CONNECT_TIMEOUT,
        addresses: AddressPolicy::Any,
    })
    .map_err(|error| problem(error.to_string()))?;
    let target = Target::new(settings, dialer).map_err(problem)?;
    Ok(Arc::new(Hook { target, send: settings.send, max_size: settings.max_size, digest: digest_of(settings) }))
}

/// What an answer may depend on: where it is asked for, under which authorities, and with what. Of the headers' values, which are secrets
/// but may choose a policy or a tenant of the program, only digests go in.
fn digest_of(settings: &Settings) -> String {
    let Settings { tls, host, port, path, ca_file, send, headers, max_size } = settings;
    let sha256 = |text: &str| hex::encode(digest(&SHA256, text.as_bytes()));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), sha256(value.expose()))).collect();
    sha256(&format!("http {tls} {host} {port} {path} {ca_file:?} {send:?} {headers:?} {max_size:?}"))
}

impl Inspector for Hook {
    fn look(self: Arc<Self>, subject: Arc<Subject>, content: Content) -> Look {
        Box::pin(async move {
            match self.send {
                Shown::Body => self.show_body(&subject, content).await,
                Shown::Metadata => self.show_metadata(&subject, content).await,
            }
        })
    }

    fn check(self: Arc<Self>) -> Checkup {
        Box::pin(async move {
            let connected = self.target.dialer().connect().await;
            connected.map(|_| Health::default()).map_err(|error| error.to_string())
        })
    }

    fn regards(&self) -> Regards {
        Regards::Reader
    }

    fn digest(&self) -> String {
        self.digest.clone()
    }
}

impl Hook {
    async fn show_body(&self, subject: &Subject, mut content: Content) -> Verdict {
        if let (Some(length), Some(limit)) = (subject.length, self.max_size)
            && length > limit
        {
            return too_large(limit);
        }
        let progress = Arc::new(Progress::default());
        // Nobody asks an empty body for its end.
        if subject.length == Some(0) && content.next().await == Ok(None) {
            progress.set_ended();
        }
        let body = HookBody::object(content, subject.length, self.max_size, Arc::clone(&progress));
        let answered = exchange(&self.target, self.target.with_object(subject, body)).await;
        match (answered, self.max_size) {
            (Ok(Answer::Clean), _) if !progress.has_ended() => Verdict::error(HookError::EarlyClean.to_string()),
            (Ok(answer), _) => answer.into_verdict(),
            (Err(_), Some(limit)) if progress.is_too_large() => too_large(limit),
            (Err(error), _) => Verdict::error(error.to_string()),
        }
    }

    async fn show_metadata(&self, subject: &Subject, mut content: Content) -> Verdict {
        let verdict = match exchange(&self.target, self.target.with_metadata(subject)).await {
            Ok(answer) => answer.into_verdict(),
            Err(error) => Verdict::error(error.to_string()),
        };
        if verdict == Verdict::Clean {
            // The metadata are of an object that is still to come, as a whole.
            while let Ok(Some(_)) = content.next().await {}
        }
        verdict
    }
}
