//! What the gateway would decide about a request that nobody sent.
//!
//! The question becomes a request head, and the head goes the way of every request: `identify`, `authorise`, `admit`. What is said about
//! the rules comes from `rules::explain`, which asks the same functions. `countersign explain` asks about a file, the operator's page about
//! the configuration in use.

mod question;
mod report;
mod terms;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde::Deserialize;

use crate::auth::{self, AuthError};
use crate::base::{Clock, RuleId, SystemClock};
use crate::limits::Admission;
use crate::respond::Refusal;
use crate::rules::explain::{Asked, Trace, is_listing};
use crate::rules::{Action, Denied, RuleSet, RuleSettings};
use crate::s3::operation::{Level, OperationSpec};
use crate::s3::{Bucket, Buckets, IdentifyError, Operation, identify};
use question::{Place, Question, Wanted};

pub use report::Report;

/// A question as it is asked: on the command line, or as JSON under the same names.
#[derive(Debug, clap::Args, Deserialize)]
// `cli/explain` takes it in, and clap would name the groups of both after their equal names.
#[group(skip)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// Who asks: `token:NAME`, `key:NAME`, `listener:NAME` or `certificate:NAME`, with the attributes of the configuration, a SPIFFE id
    /// (`spiffe://DOMAIN/PATH`), or `issuer:NAME:SUBJECT`.
    #[arg(long = "as", value_name = "PRINCIPAL")]
    #[serde(rename = "as")]
    pub principal: String,
    /// What: an operation of S3 (`PutObject`), or an IAM action (`s3:PutObject`).
    #[arg(long = "do", value_name = "OPERATION")]
    #[serde(rename = "do")]
    pub operation: String,
    /// Where: `bucket`, or `bucket/key`; for a listing `bucket/prefix`. Names as clients use them.
    #[arg(long = "on", value_name = "PLACE")]
    #[serde(rename = "on", default)]
    pub place: Option<String>,
    /// The key that a copy reads, as `bucket/key`. With it `PutObject` means `CopyObject`, `UploadPart` means `UploadPartCopy`.
    #[arg(long, value_name = "PLACE")]
    #[serde(default)]
    pub source: Option<String>,
    /// Size of the object, such as `5MiB`; without it the size is not declared.
    #[arg(long, value_name = "SIZE")]
    #[serde(default)]
    pub size: Option<String>,
    /// Media type of the object; the same as `--header 'content-type: TYPE'`.
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type", default)]
    pub media_type: Option<String>,
    /// An attribute that the token of the issuer gives; may be repeated, also for a further value of the same attribute.
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    #[serde(default)]
    pub attributes: Vec<String>,
    /// Address that the request comes from.
    #[arg(long = "from", value_name = "ADDRESS", default_value_t = HERE)]
    #[serde(rename = "from", default = "here")]
    pub address: IpAddr,
    /// A header of the request; may be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    #[serde(default)]
    pub headers: Vec<String>,
    /// A query parameter of the request, such as `versionId=1`; may be repeated.
    #[arg(long = "query", value_name = "NAME=VALUE")]
    #[serde(default)]
    pub query: Vec<String>,
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn here() -> IpAddr {
    HERE
}

/// What of a configuration decides.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Who can authenticate.
    pub auth: auth::Settings,
    /// Public buckets.
    pub buckets: Buckets,
    /// Rules, in the order of the file.
    pub rules: Vec<RuleSettings>,
}

impl Facts {
    /// Answers a question.
    ///
    /// # Errors
    /// What cannot be read in the question, or does not go with the rest of it.
    pub fn answer(&self, arguments: &Arguments) -> anyhow::Result<Report> {
        let question = Question::read(arguments, &self.auth)?;
        Ok(Answering { rules: RuleSet::new(self.rules.clone()), facts: self, question: &question }.answer())
    }
}

/// What an answer is made from.
struct Answering<'a> {
    rules: RuleSet,
    facts: &'a Facts,
    question: &'a Question,
}

impl Answering<'_> {
    fn answer(&self) -> Report {
        let mut report = Report::new(self.question);
        let decided = match self.question.wanted {
            Wanted::Right(action) => self.right(action, &mut report),
            Wanted::Operation(spec) => self.operation(spec, &mut report),
        };
        report.conclude(self.check_expiry().and(decided));
        report
    }

    /// An expired token is refused before any rule is asked; what the rules would say is shown all the same.
    fn check_expiry(&self) -> Result<(), Refusal> {
        match self.question.caller.expires() {
            Some(expires) if expires <= SystemClock.now() => Err(AuthError::Expired.into()),
            _ => Ok(()),
        }
    }

    /// An action that no served operation stands for.
    fn right(&self, action: Action, report: &mut Report) -> Result<RuleId, Refusal> {
        let Some(place) = &self.question.place else {
            return Err(IdentifyError::NoBucket.into());
        };
        let bucket = self.bucket(place)?;
        let asked = match &place.key {
            Some(key) => Asked::Key(&bucket, key),
            None => Asked::Bucket(&bucket),
        };
        let trace = self.rules.trace(&self.question.caller, action.as_str(), asked);
        let verdict = trace.verdict.clone();
        report.add(trace);
        let rule = verdict?;
        report.note_terms(self.settings(&rule));
        Ok(rule)
    }

    /// An operation, by way of a request head.
    fn operation(&self, spec: &OperationSpec, report: &mut Report) -> Result<RuleId, Refusal> {
        let call = match identify(&self.question.head, &self.facts.buckets) {
            Ok(call) => call,
            Err(error) => {
                self.trace_unserved(spec, report);
                return Err(inner(error).into());
            }
        };
        for trace in self.rules.trace_call(&self.question.caller, &call) {
            report.add(trace);
        }
        self.trace_source(report);
        if let (Operation::DeleteObjects, Some(bucket)) = (call.operation, call.resource.bucket()) {
            // Each object is a question of its own; about the bucket the gateway decides only whether to read which they are.
            self.rules.admit_batch(&self.question.caller, bucket)?;
            return Ok(RuleId::new("(decided for each object)"));
        }
        let authorised = self.rules.authorise(self.question.caller.clone(), call, &self.facts.buckets);
        let permit = authorised.inspect_err(|denied| {
            if let Denied::Header { rule, .. }
            | Denied::ResponseOverride { rule, .. }
            | Denied::Uninspected { rule, .. } = denied
            {
                report.note_terms(self.settings(rule));
            }
        })?;
        let rule = permit.rule().clone();
        report.note_terms(self.settings(&rule));
        report.note_scope(permit.scope());
        Admission::admit(permit)?;
        Ok(rule)
    }

    /// What the rules would say to a request that is refused before they are asked.
    fn trace_unserved(&self, spec: &OperationSpec, report: &mut Report) {
        let Some(place) = &self.question.place else { return };
        let Ok(bucket) = self.bucket(place) else { return };
        let rest = place.key.as_deref();
        let asked = match spec.level {
            Level::Object => Asked::Key(&bucket, rest.unwrap_or_default()),
            _ if is_listing(spec.operation) => Asked::Listing(&bucket, rest.unwrap_or_default()),
            Level::Bucket | Level::Service => Asked::Bucket(&bucket),
        };
        report.add(self.rules.trace(&self.question.caller, spec.action, asked));
        self.trace_source(report);
    }

    /// A copy reads its source, which is a right of its own.
    fn trace_source(&self, report: &mut Report) {
        let Some(source @ Place { key: Some(key), .. }) = &self.question.source else { return };
        let Ok(bucket) = self.bucket(source) else { return };
        let trace: Trace = self.rules.trace(&self.question.caller, "s3:GetObject", Asked::Key(&bucket, key));
        if !report.has(&trace) {
            report.add(trace);
        }
    }

    fn settings(&self, rule: &RuleId) -> Option<&RuleSettings> {
        self.facts.rules.iter().find(|settings| settings.name == rule.as_str())
    }

    fn bucket(&self, place: &Place) -> Result<Arc<Bucket>, IdentifyError> {
        let found = self.facts.buckets.get(&place.bucket);
        found.ok_or_else(|| IdentifyError::UnknownBucket(place.bucket.clone()))
    }
}

/// The operator may know that the bucket exists.
fn inner(error: IdentifyError) -> IdentifyError {
    match error {
        IdentifyError::Within(_, error) => *error,
        other => other,
    }
}
