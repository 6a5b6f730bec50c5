//! `countersign demo`: a gateway and an S3 store in one process, for a first look.
//!
//! The gateway is the real one with `config/demo.yaml`; only the store is a toy (s3s-fs). Compiled with the feature `demo` only.

mod store;
mod tour;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use aws_lc_rs::rand;

use crate::app::{self, App};
use crate::audit::AuditSettings;
use crate::auth::app_token;
use crate::base::Secret;
use crate::config::{LogFormat, LogLevel, LogSettings, MapReferences, load_text};
use crate::edge::ListenAddress;

const CONFIG: &str = include_str!("../../config/demo.yaml");

/// A running demo: the gateway's address and the one token it knows.
struct Demo {
    address: SocketAddr,
    token: Secret,
}

/// Runs the demo; with `tour` it shows itself and ends.
///
/// # Errors
/// If the store or the gateway cannot start.
pub fn run(tour: bool, port: u16) -> anyhow::Result<ExitCode> {
    let level = if tour { LogLevel::Error } else { LogLevel::Info };
    app::start_log(LogSettings { level, format: LogFormat::Text });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        // A tour disturbs nobody: it takes free ports, and keeps its audit records beside the store.
        let port = if tour { 0 } else { port };
        let (app, demo) = start(folder.path(), port, tour).await?;
        if tour {
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let serving = tokio::spawn(app.run(async { drop(stopped.await) }));
            let passed = tour::run(&demo).await?;
            drop(stop);
            serving.await?;
            return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let shutdown = app::termination()?;
        print!("{}", tour::commands(&demo));
        app.run(shutdown).await;
        Ok(ExitCode::SUCCESS)
    })
}

async fn start(folder: &std::path::Path, port: u16, quiet: bool) -> anyhow::Result<(App, Demo)> {
    let (access_key_id, secret_access_key) = (random_text()?, random_text()?);
    let store = store::start(folder, &access_key_id, &secret_access_key).await?;
    let (token, hash) = app_token::generate();
    let references = MapReferences {
        env: [
            ("COUNTERSIGN_DEMO_ENDPOINT", format!("http://{store}")),
            ("COUNTERSIGN_DEMO_ACCESS_KEY_ID", access_key_id),
            ("COUNTERSIGN_DEMO_SECRET_ACCESS_KEY", secret_access_key),
            ("COUNTERSIGN_DEMO_TOKEN_HASH", hash),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        ..MapReferences::default()
    };
    let mut config =
        load_text("config/demo.yaml", CONFIG, &references).map_err(|problems| anyhow::anyhow!("{problems}"))?;
    if let ListenAddress::Tcp(address) = &mut config.edge.listeners[0].address {
        address.set_port(port);
    }
    if port == 0 {
        config.edge.admin.set_port(0);
    }
    if quiet {
        config.audit = AuditSettings::file(folder.join("audit.jsonl"));
    }
    let app = App::build(config).context("is another demo running? Try `demo --port 0`")?;
    let address = app.addresses().data[0];
    Ok((app, Demo { address, token }))
}

/// 32 random hex digits.
fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(hex::encode(bytes))
}
