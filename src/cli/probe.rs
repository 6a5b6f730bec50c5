//! `countersign probe-upstream`: what a live store can do, and the settings that fit it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::app;
use crate::config::{Config, SystemReferences, load_file};
use crate::dial::{self, AddressPolicy, Dialer};
use crate::probe::{Ability, Findings, Fitting, Target, Verdict, probe};
use crate::sign::{CredentialStore, Unusable};
use crate::upstream::UpstreamSettings;

/// What is to be probed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG")]
    config: PathBuf,
    /// Name of the upstream; may be left out if there is only one.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Name of a bucket in the store, in which the credential may read, write, list and delete.
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
}

/// How long the credentials are waited for.
const CREDENTIALS_TIME: Duration = Duration::from_secs(30);

/// Probes, and prints what came out.
///
/// # Errors
/// If the configuration has problems or the store cannot be probed.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = load_file(&arguments.config, &SystemReferences)
        .map_err(|problems| anyhow::anyhow!("the configuration has problems\n\n{problems}"))?;
    let upstream = chosen(&config, arguments.upstream.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let target = runtime.block_on(target(upstream, &arguments.bucket))?;
    let (findings, left) = runtime.block_on(probe(&target)).with_context(|| format!("upstream `{}`", upstream.name))?;
    let loopback = upstream.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let fitting = findings.fitting(upstream.tls, loopback);
    super::print(&report(upstream, &findings, fitting))?;
    for key in &left {
        eprintln!("countersign: {key} could not be removed from the bucket {}", arguments.bucket);
    }
    Ok(if fitting.is_some() && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen<'a>(config: &'a Config, name: Option<&str>) -> anyhow::Result<&'a UpstreamSettings> {
    let names = || config.upstreams.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, &config.upstreams[..]) {
        (None, [only]) => Ok(only),
        (None, _) => bail!("there is more than one upstream; choose with --upstream: {}", names()),
        (Some(name), all) => all
            .iter()
            .find(|one| one.name == name)
            .with_context(|| format!("there is no upstream `{name}`; there are: {}", names())),
    }
}

async fn target(upstream: &UpstreamSettings, bucket: &str) -> anyhow::Result<Target> {
    let credentials = Arc::new(CredentialStore::new(&upstream.name, upstream.credentials.clone()));
    let dialer = Dialer::new(dial::Settings {
        host: upstream.host.clone(),
        port: upstream.port,
        tls: upstream.tls,
        ca_file: upstream.ca_file.clone(),
        connect_timeout: upstream.connect_timeout,
        addresses: AddressPolicy::Any,
    })?;
    let current = credentials.load_within(CREDENTIALS_TIME).await.map_err(|problem| match problem {
        Unusable::Missing => anyhow::anyhow!("its credentials could not be loaded"),
        Unusable::Expired => anyhow::anyhow!("its credentials have expired"),
    })?;
    Ok(Target { route: app::route(upstream, &credentials), dialer, credentials: current, bucket: bucket.to_owned() })
}

fn report(upstream: &UpstreamSettings, findings: &Findings, fitting: Option<Fitting>) -> String {
    let mut text: String = findings.0.iter().map(|(ability, verdict)| line(*ability, verdict)).collect();
    let Some(Fitting { payload, checksum }) = fitting else {
        text.push_str(
            "\nNo setting fits: in clear text the gateway needs signed chunks. Reach the store over https.\n",
        );
        return text;
    };
    text.push_str(&format!("\nupstreams:\n  {}:\n    payload: {payload}\n    checksum: {checksum}\n", upstream.name));
    text.push_str(if findings.has(Ability::OddKeys) {
        "# This store keeps odd keys byte for byte: a bucket may have `odd_keys: pass`.\n"
    } else {
        "# This store does not keep odd keys as they are: leave `odd_keys: refuse`.\n"
    });
    text
}

fn line(ability: Ability, verdict: &Verdict) -> String {
    let (word, detail) = match verdict {
        Verdict::Yes => ("yes", ""),
        Verdict::No(answer) => ("no", answer.as_str()),
        Verdict::Wrong(what) => ("NO", *what),
    };
    let line = format!("{word:4} {:56} {detail}", ability.name());
    format!("{}\n", line.trim_end())
}
