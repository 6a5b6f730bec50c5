//! `countersign scan`: what the inspectors of a rule say of local files, and what the rule would do.
//!
//! The very inspectors of the gateway, with their scanners, limits and queues; only the bytes come from a file instead of a request.

use std::fmt;
use std::future::poll_fn;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::BytesMut;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::config::{Config, SystemReferences, load_file};
use crate::inspect::kinds::media_type_of;
use crate::inspect::{
    Action, Actions, Direction, Finding, InspectionTerms, InspectorId, Inspectors, Mark, MultipartInspection, Outcome,
    Subject, Verdict, VerdictState,
};
use crate::telemetry::Metrics;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;
/// Exit status when something would be refused.
const REFUSED: u8 = 1;
/// Exit status when something could not be done.
const FAILED: u8 = 2;

/// The command line of `scan`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG")]
    pub config: PathBuf,
    /// The rule whose inspectors look, and which says what their verdicts lead to.
    #[arg(long, value_name = "NAME", required_unless_present = "inspectors")]
    pub rule: Option<String>,
    /// An inspector, in place of those of the rule; may be repeated. Without a rule everything but clean would be refused.
    #[arg(long = "inspector", value_name = "NAME")]
    pub inspectors: Vec<String>,
    /// Media type that would be declared; without it the one of the file's extension.
    #[arg(long = "type", value_name = "TYPE")]
    pub media_type: Option<String>,
    /// Content-Encoding that would be declared.
    #[arg(long = "encoding", value_name = "CODING")]
    pub content_encoding: Option<String>,
    /// Print JSON, one line a file.
    #[arg(long)]
    pub json: bool,
}

/// Looks at the files and prints what was found. Mistakes are exit status 2, since 1 means "refused".
pub fn run(arguments: &Arguments) -> ExitCode {
    match scan(arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("countersign: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn scan(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = load_file(&arguments.config, &SystemReferences)
        .map_err(|problems| anyhow::anyhow!("the configuration has problems\n\n{problems}"))?;
    let terms = terms(arguments, &config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let inspectors = Inspectors::new(config.inspectors, &Metrics::new()?)?;
        let mut status = 0;
        for file in &arguments.files {
            let name = file.display().to_string();
            match look(&inspectors, &terms, arguments, file).await {
                Ok(outcome) => {
                    let report = Report { file: &name, outcome: &outcome };
                    let line = if arguments.json { format!("{}\n", report.json()) } else { report.to_string() };
                    super::print(&line)?;
                    let refused = matches!(outcome.action, Action::Refuse | Action::Quarantine);
                    status = status.max(if refused { REFUSED } else { 0 });
                }
                Err(error) => {
                    eprintln!("countersign: {name}: {error:#}");
                    status = FAILED;
                }
            }
        }
        Ok(status)
    })
}

/// What the rule wants, or what is asked for in its place.
fn terms(arguments: &Arguments, config: &Config) -> anyhow::Result<InspectionTerms> {
    let rule = match &arguments.rule {
        Some(name) => {
            let rule = config.rules.iter().find(|rule| rule.name == *name);
            Some(rule.with_context(|| format!("there is no rule `{name}`"))?)
        }
        None => None,
    };
    let of_rule = rule.and_then(|rule| rule.terms.inspection.as_deref());
    if arguments.inspectors.is_empty() {
        let name = arguments.rule.as_deref().unwrap_or_default();
        return of_rule.cloned().with_context(|| format!("the rule `{name}` has nothing inspected"));
    }
    let id = |name: &String| {
        let found = config.inspectors.iter().position(|inspector| inspector.name == *name);
        found.map(InspectorId).with_context(|| format!("there is no inspector `{name}`"))
    };
    let mut inspectors = arguments.inspectors.iter().map(id).collect::<Result<Vec<_>, _>>()?;
    inspectors.sort_unstable();
    inspectors.dedup();
    Ok(InspectionTerms {
        names: inspectors.iter().map(|id| config.inspectors[id.0].name.clone()).collect(),
        inspectors,
        uploads: true,
        actions: of_rule.map_or_else(Actions::default, |terms| terms.actions),
        quarantine: of_rule.and_then(|terms| terms.quarantine.clone()),
        mark: of_rule.map_or_else(|| Mark::Tag(String::new()), |terms| terms.mark.clone()),
        multipart: MultipartInspection::default(),
        downloads: None,
    })
}

async fn look(
    inspectors: &Inspectors,
    terms: &InspectionTerms,
    arguments: &Arguments,
    file: &Path,
) -> anyhow::Result<Arc<Outcome>> {
    let is_input = file == Path::new("-");
    let key = if is_input { String::new() } else { file.to_string_lossy().into_owned() };
    let declared = arguments.media_type.as_deref().or_else(|| media_type_of(&key)).map(str::to_ascii_lowercase);
    let mut subject = Subject {
        request_id: "scan".to_owned(),
        principal: "scan".to_owned(),
        bucket: "scan".to_owned(),
        key,
        media_type: declared,
        content_encoding: arguments.content_encoding.clone(),
        length: None,
        direction: Direction::Upload,
    };
    if is_input {
        let input = std::io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
        return pass(inspectors, terms, subject, tokio::fs::File::from_std(input.into())).await;
    }
    let opened = tokio::fs::File::open(file).await.context("cannot be opened")?;
    let metadata = opened.metadata().await.context("cannot be read")?;
    anyhow::ensure!(!metadata.is_dir(), "is a folder");
    subject.length = Some(metadata.len()).filter(|_| metadata.is_file());
    pass(inspectors, terms, subject, opened).await
}

/// Shows the bytes to the inspectors, as fast as they take them.
async fn pass(
    inspectors: &Inspectors,
    terms: &InspectionTerms,
    subject: Subject,
    mut source: impl AsyncRead + Unpin,
) -> anyhow::Result<Arc<Outcome>> {
    let progress = progress(&subject);
    let mut inspection = inspectors.open(terms, subject).await?;
    let mut buffer = BytesMut::new();
    while inspection.outcome_now().is_none() {
        poll_fn(|context| inspection.poll_ready(context)).await;
        buffer.reserve(PIECE);
        let read = (&mut source).take(PIECE as u64).read_buf(&mut buffer).await.context("cannot be read")?;
        if read == 0 {
            inspection.end();
            break;
        }
        progress.inc(read as u64);
        inspection.push(&buffer.split().freeze());
    }
    let outcome = poll_fn(|context| inspection.poll_outcome(context)).await;
    progress.finish_and_clear();
    Ok(outcome)
}

/// A bar on standard error; if that is no terminal nothing is drawn.
fn progress(subject: &Subject) -> ProgressBar {
    let (bar, template) = match subject.length {
        Some(length) => (ProgressBar::new(length), "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}  {msg}"),
        None => (ProgressBar::no_length(), "{spinner} {bytes} {bytes_per_sec}  {msg}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    // A name may hold what a terminal would obey.
    bar.set_message(subject.key.escape_debug().to_string());
    bar
}

/// What is printed of a file.
struct Report<'a> {
    file: &'a str,
    outcome: &'a Outcome,
}

impl Report<'_> {
    fn json(&self) -> serde_json::Value {
        json!({
            "file": self.file,
            "action": self.outcome.action.as_str(),
            "state": self.outcome.state.as_str(),
            "inspection": self.outcome.findings.iter().map(finding_json).collect::<Vec<_>>(),
        })
    }
}

fn finding_json(finding: &Finding) -> serde_json::Value {
    let mut line = json!({
        "inspector": finding.inspector,
        "verdict": finding.verdict.state().as_str(),
        "bytes": finding.bytes,
        "ms": milliseconds(finding),
    });
    match &finding.verdict {
        Verdict::Clean => {}
        Verdict::Matched { name } => line["name"] = json!(name),
        Verdict::NotScannable { reason } | Verdict::Error { reason } => line["reason"] = json!(reason),
    }
    line
}

fn milliseconds(finding: &Finding) -> f64 {
    (finding.time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.outcome.action {
            Action::Allow if self.outcome.state == VerdictState::Clean => "clean, allowed",
            Action::Allow => "allowed all the same",
            Action::Mark => "stored with a mark",
            Action::Quarantine => "to the quarantine, refused to the client",
            Action::Refuse => "refused",
        };
        writeln!(f, "{}: {what}", self.file.escape_debug())?;
        for finding in &self.outcome.findings {
            let (verdict, detail) = (finding.verdict.state().as_str(), finding.verdict.detail().escape_debug());
            let (space, bytes, ms) =
                (if finding.verdict.detail().is_empty() { "" } else { " " }, finding.bytes, milliseconds(finding));
            writeln!(f, "  {}: {verdict}{space}{detail} ({bytes} bytes, {ms} ms)", finding.inspector)?;
        }
        Ok(())
    }
}
