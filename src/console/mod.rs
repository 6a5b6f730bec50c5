//! The operator's page and what it shows, as JSON: what passes through the gateway, why it was refused, what is configured.
//!
//! Knows no connection and no credential: whoever gets here was let in by the edge. Changes nothing by itself; a reload is asked of
//! [`Told`]. Records are shown as the audit has them, so they hold object keys and principals, and no secret.
//! See `docs/CONSOLE.md`.

mod events;
mod history;
mod page;
mod recent;
mod views;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde_json::{Value, json};

use crate::base::{Clock, SystemClock, UtcInstant};
use crate::explain::{Arguments, Report};
use crate::telemetry::Totals;

pub use recent::Recent;
pub use views::{ConfigView, InspectorView, ListenerView, Status, UpstreamView};

use history::History;

/// The body of an answer.
pub type ConsoleBody = UnsyncBoxBody<Bytes, Infallible>;

/// What the page tells of besides what passes through.
pub trait Told: Send + Sync {
    /// How the gateway is. `who` asks.
    fn status(&self, who: &str, stopping: bool) -> Status;
    /// What was counted since the start.
    fn totals(&self) -> Totals;
    /// The stores, in the order of the configuration.
    fn upstreams(&self) -> Vec<UpstreamView>;
    /// The inspectors, in the order of the configuration.
    fn inspectors(&self) -> Vec<InspectorView>;
    /// The configuration in use.
    fn config(&self) -> ConfigView;
    /// Who may do what, and why.
    ///
    /// # Errors
    /// What is wrong with the question.
    fn explain(&self, question: &Arguments) -> Result<Report, String>;
    /// Reads the configuration again.
    ///
    /// # Errors
    /// Why the old one goes on.
    fn reload(&self) -> BoxFuture<'_, Result<Value, String>>;
}

/// What the page keeps.
pub struct Console {
    recent: Arc<Recent>,
    history: History,
    started: UtcInstant,
}

/// A request that may be answered.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `GET`, `HEAD` or `POST`.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The whole body.
    pub body: Bytes,
    /// Who asks.
    pub who: String,
    /// Whether the gateway has been told to stop.
    pub stopping: bool,
}

impl Console {
    /// A page that shows these records.
    pub fn new(recent: Arc<Recent>) -> Self {
        Self { recent, history: History::default(), started: SystemClock.now() }
    }

    /// Since when.
    pub fn started(&self) -> UtcInstant {
        self.started
    }

    /// Notes the counters every few seconds, for ever.
    pub async fn keep_history(&self, told: &dyn Told) {
        self.history.keep(|| told.totals()).await;
    }

    /// Answers a request for `/` or something below `/api/`.
    pub async fn answer(&self, asked: Asked, told: &dyn Told) -> Response<ConsoleBody> {
        let is_read = asked.method == Method::GET || asked.method == Method::HEAD;
        match (asked.path.as_str(), is_read) {
            ("/", true) => page::response(),
            ("/api/status", true) => json_response(StatusCode::OK, &told.status(&asked.who, asked.stopping)),
            ("/api/summary", true) => json_response(StatusCode::OK, &self.summary(told)),
            ("/api/upstreams", true) => json_response(StatusCode::OK, &told.upstreams()),
            ("/api/inspectors", true) => json_response(StatusCode::OK, &told.inspectors()),
            ("/api/config", true) => json_response(StatusCode::OK, &told.config()),
            ("/api/events", true) if asked.method == Method::GET => self.events(),
            ("/api/explain", false) => explain(&asked.body, told),
            ("/api/reload", false) => reload(&asked, told).await,
            ("/api/explain" | "/api/reload", true) => wrong_method("POST"),
            ("/api/events", _) => wrong_method("GET"),
            ("/api/status" | "/api/summary" | "/api/upstreams" | "/api/inspectors" | "/api/config", _) => {
                wrong_method("GET, HEAD")
            }
            _ => failure(StatusCode::NOT_FOUND, "there is nothing at this path"),
        }
    }

    fn summary(&self, told: &dyn Told) -> Value {
        let totals = told.totals();
        let (by_rule, others) = self.recent.refusals();
        let history = self.history.samples();
        json!({ "totals": totals, "history": history, "refusals_by_rule": by_rule, "refusals_besides": others })
    }

    fn events(&self) -> Response<ConsoleBody> {
        let Some(body) = events::watch(&self.recent) else {
            let mut refusal = failure(StatusCode::SERVICE_UNAVAILABLE, "too many pages are watching; close one");
            refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
            return refusal;
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response
    }
}

fn explain(body: &[u8], told: &dyn Told) -> Response<ConsoleBody> {
    let question: Arguments = match serde_json::from_slice(body) {
        Ok(question) => question,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &format!("this is not a question: {error}")),
    };
    match told.explain(&question) {
        Ok(report) => json_response(StatusCode::OK, &json!({ "text": report.to_string(), "report": report })),
        // The names of options on the command line are those of the fields here.
        Err(problem) => failure(StatusCode::BAD_REQUEST, problem.trim_start_matches("--")),
    }
}

async fn reload(asked: &Asked, told: &dyn Told) -> Response<ConsoleBody> {
    if !matches!(asked.body.trim_ascii(), b"" | b"{}") {
        return failure(StatusCode::BAD_REQUEST, "a reload takes no arguments");
    }
    tracing::info!(who = %asked.who, "reload asked for on the admin listener");
    match told.reload().await {
        Ok(report) => json_response(StatusCode::OK, &report),
        Err(problem) => failure(StatusCode::CONFLICT, &problem),
    }
}

fn failure(status: StatusCode, problem: &str) -> Response<ConsoleBody> {
    json_response(status, &json!({ "error": problem }))
}

fn wrong_method(allowed: &'static str) -> Response<ConsoleBody> {
    let mut refusal = failure(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed}"));
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

fn json_response(status: StatusCode, value: &impl Serialize) -> Response<ConsoleBody> {
    let (status, text) = match serde_json::to_vec(value) {
        Ok(text) => (status, text),
        Err(error) => {
            tracing::error!(%error, "an answer of the operator's page cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, b"{}".to_vec())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
