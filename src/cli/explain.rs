//! `countersign explain`: asks the rules of a file; see [`crate::explain`].

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{SystemReferences, load_file};
use crate::explain::{self, Facts};

/// The command line of `explain`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG")]
    pub config: PathBuf,
    #[command(flatten)]
    pub question: explain::Arguments,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Exit status for "denied".
const DENIED: u8 = 2;

/// Answers the question and prints the answer.
///
/// # Errors
/// What is wrong with the configuration or the question.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = load_file(&arguments.config, &SystemReferences)
        .map_err(|problems| anyhow::anyhow!("the configuration has problems\n\n{problems}"))?;
    let report =
        Facts { auth: config.auth, buckets: config.buckets, rules: config.rules }.answer(&arguments.question)?;
    let text =
        if arguments.json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { report.to_string() };
    super::print(&text)?;
    Ok(if report.is_allowed() { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}
