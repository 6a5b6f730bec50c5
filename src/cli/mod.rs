//! The command line: `serve`, `check`, `explain`, `scan`, `schema`, `reference`, `token`, `access-key`, `probe-upstream`,
//! `health`, `demo`.

mod explain;
mod health;
mod probe;
mod scan;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::app;
use crate::auth::{access_keys, app_token};
use crate::config::{self, SystemReferences, load_file};
use crate::inspect::Inspectors;
use crate::telemetry::Metrics;

/// A signing gateway for S3.
///
/// Clients show an app token or a JWT of their identity provider and never hold bucket credentials. countersign decides by per-prefix
/// rules what they may do, checks sizes, types and checksums while the bytes stream, signs the request again with its own credentials and
/// sends it to the store. A refused upload never becomes visible.
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    arg_required_else_help = true,
    after_help = "Documentation: README.md, docs/ and config/README.md of the source tree."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    ///
    /// Reads the configuration, binds its listeners and serves until SIGTERM or SIGINT. Then /readyz is 503, after
    /// limits.timeouts.drain_delay no new connection is accepted, requests in flight may finish within limits.timeouts.drain, and the rest
    /// is cut. A second signal does not wait. At SIGHUP, and when the file or one that it refers to changes, the configuration is loaded
    /// again; one with problems changes nothing.
    ///
    /// The log goes to standard error: text on a terminal, JSON lines otherwise. Audit records, one JSON line a request, go to standard
    /// output or to audit.file.
    ///
    /// EXIT STATUS: 0 after a regular stop; 130 or 143 after a second SIGINT or SIGTERM; 1 if the configuration has problems or a listener
    /// cannot be bound.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE", env = "COUNTERSIGN_CONFIG")]
        config: PathBuf,
    },
    /// Check a configuration and list every problem in it.
    ///
    /// Reads the file as `serve` would, references to the environment, files and rules of inspectors included, but binds and connects
    /// nothing. Each problem is shown with file, line, the line itself and what to do. Values of secrets are never shown. If there is none,
    /// what is risky is listed, with its key.
    ///
    /// EXIT STATUS: 0 if there is no problem, 1 if there is one.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
    /// Ask the rules of a configuration a question: may this caller do that?
    ///
    /// Reads the file as `serve` would and decides as the gateway would, about a request that nobody sent. Says which rule decides, on
    /// which terms, why every other rule does not, and which would decide next. Connects to nothing.
    ///
    /// Examples:
    ///
    ///   countersign explain --config gw.yaml --as token:ci --do s3:PutObject --on team-data/builds/x.bin --size 5MiB
    ///
    ///   countersign explain --config gw.yaml --as issuer:corp:alice --attribute groups=red --do ListObjectsV2 --on team-data
    ///
    /// What only the bytes of an upload tell (their number if --size is not given, digests, first bytes) is not decided here; the limits
    /// for it are shown.
    ///
    /// EXIT STATUS: 0 if it is allowed; 2 if it is denied; 1 if the question or the configuration has a problem.
    Explain(Box<explain::Arguments>),
    /// Let the inspectors of a rule look at local files.
    ///
    /// Reads the file as `serve` would, and gives each file to the inspectors that the rule names, as an upload would be. Prints what each of
    /// them says, and what the rule would do. Connects to the scanners that are asked, and to nothing else.
    ///
    /// Examples:
    ///
    ///   countersign scan --config gw.yaml --rule uploads report.docx
    ///
    ///   tar c folder | countersign scan --config gw.yaml --inspector antivirus --json -
    ///
    /// EXIT STATUS: 0 if everything would be allowed; 1 if something would be refused; 2 if the question or the configuration has a problem,
    /// or a file cannot be read.
    Scan(scan::Arguments),
    /// Print the JSON Schema of the configuration, for editors.
    ///
    /// Draft 2020-12, made of the types that the configuration is read into. With the YAML language server, write as the first line of a
    /// configuration: `# yaml-language-server: $schema=countersign.schema.json`. A schema sees single keys only: `countersign check` is what
    /// says whether a file is right.
    Schema,
    /// Print every key of the configuration with its meaning.
    ///
    /// A commented YAML file with the default of every key, or an example. What is not commented out is the smallest file that loads. It is
    /// the same as config/reference.yaml of the source tree.
    Reference,
    /// Make a random app token.
    ///
    /// Prints the secret, which is shown this once and stored nowhere, and the hash that goes into clients.tokens of the configuration.
    /// The client sends the secret as `Authorization: Bearer SECRET`.
    Token,
    /// Make a random access key, for S3 clients that sign their requests.
    ///
    /// Prints the access key id and the secret, which is shown this once and stored nowhere, and the lines for clients.access_keys of the
    /// configuration. The client is given both, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a profile.
    AccessKey {
        /// Name of the key in rules and audit records.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Find out what a live store can do, and print the settings that fit it.
    ///
    /// Uploads a few small objects below countersign-probe/ in the bucket, in every form the gateway knows and with values that a store
    /// must refuse, looks at what became of them, and removes them again. In a bucket with versions, versions of them stay.
    ///
    /// Prints a table: `yes`, `no` with the answer of the store, or `NO` if the store takes a request and does not do what it says. Behind it
    /// stand the lines for the configuration.
    ///
    /// EXIT STATUS: 0 if settings were found; 1 if the store cannot be probed, no setting fits, or an object stays.
    ProbeUpstream(probe::Arguments),
    /// Ask a running gateway whether it is ready.
    ///
    /// For probes of containers, which have neither a shell nor curl: asks /readyz of the admin listener, or /healthz with --live, and
    /// prints the answer, which has a line for each reason.
    ///
    /// EXIT STATUS: 0 if it is ready; 1 if it is not, or does not answer.
    Health(health::Arguments),
    /// Run a gateway with an S3 store in the same process, to try it out.
    ///
    /// Uses config/demo.yaml, built in. The store lies in a temporary folder and is gone at the end; its credentials and the demo token are
    /// random. Prints curl commands that show what is allowed and what is refused.
    ///
    /// EXIT STATUS: with --tour 0 if every step came out as expected, else 1.
    #[cfg(feature = "demo")]
    Demo {
        /// Run the commands itself, show expected and actual results, and stop.
        #[arg(long)]
        tour: bool,
        /// Port on 127.0.0.1; 0 takes a free one. The admin listener has the port config/demo.yaml says, or a free one with 0.
        #[arg(long, default_value_t = 8080, value_name = "PORT")]
        port: u16,
    },
}

impl Cli {
    /// Reads the command line of the process.
    ///
    /// # Errors
    /// The exit status, after help or a usage message was printed: 2 if the command line is wrong, but 1 for `explain`, for which 2 means
    /// "denied": a misspelt question must not pass for an answer.
    pub fn of_process() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            // If standard error is closed, the exit status says it all.
            drop(error.print());
            match (error.use_stderr(), std::env::args_os().nth(1)) {
                (false, _) => ExitCode::SUCCESS,
                (true, Some(command)) if command == "explain" => ExitCode::FAILURE,
                (true, _) => ExitCode::from(2),
            }
        })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// What stopped it, in words for the person at the terminal.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve { config } => app::serve(&config).map(ExitCode::from),
            Command::Check { file } => match load_file(&file, &SystemReferences) {
                Ok(config) => {
                    if let Err(error) = Inspectors::new(config.inspectors.clone(), &Metrics::new()?) {
                        eprintln!("{}: {error}", file.display());
                        return Ok(ExitCode::FAILURE);
                    }
                    let risks = app::risks(&config);
                    let (buckets, rules, upstreams) =
                        (config.buckets.iter().count(), config.rules.len(), config.upstreams.len());
                    println!(
                        "{}: no problems ({buckets} buckets, {rules} rules, {upstreams} upstreams)",
                        file.display()
                    );
                    for risk in risks {
                        println!("risk: {risk}");
                    }
                    Ok(ExitCode::SUCCESS)
                }
                Err(problems) => {
                    eprintln!("{problems}");
                    Ok(ExitCode::FAILURE)
                }
            },
            Command::Explain(arguments) => explain::run(&arguments),
            Command::Scan(arguments) => Ok(scan::run(&arguments)),
            Command::Schema => print(&format!("{:#}\n", config::schema())).map(|()| ExitCode::SUCCESS),
            Command::Reference => print(&config::reference()).map(|()| ExitCode::SUCCESS),
            Command::Token => {
                print_token();
                Ok(ExitCode::SUCCESS)
            }
            Command::AccessKey { name } => print_access_key(&name).map(|()| ExitCode::SUCCESS),
            Command::ProbeUpstream(arguments) => probe::run(&arguments),
            Command::Health(arguments) => health::run(&arguments),
            #[cfg(feature = "demo")]
            Command::Demo { tour, port } => crate::demo::run(tour, port),
        }
    }
}

/// Writes to standard output, which may be closed before its end (`countersign reference | head`).
fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output")
}

fn print_token() {
    let (secret, hash) = app_token::generate();
    println!("secret: {}", secret.expose());
    println!("hash:   {hash}");
    println!();
    println!("Give the secret to the client; it is not stored anywhere. Put the hash into the configuration:");
    println!();
    println!("clients:\n  tokens:\n    - name: my-app\n      hash: \"{hash}\"");
}

fn print_access_key(name: &str) -> anyhow::Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let good = (1..=64).contains(&name.len()) && name.bytes().all(plain);
    anyhow::ensure!(good, "a name has 1 to 64 letters, digits, `.`, `_` or `-`");
    let (id, secret) = access_keys::generate();
    let variable = format!("COUNTERSIGN_KEY_{}", name.to_ascii_uppercase().replace(['.', '-'], "_"));
    println!("access key id:     {id}");
    println!("secret access key: {}", secret.expose());
    println!();
    println!(
        "Give both to the client, and the secret to the gateway, here as a variable of its environment; it is not"
    );
    println!("stored anywhere. Put the rest into the configuration:");
    println!();
    println!("clients:\n  access_keys:\n    - name: {name}\n      id: {id}\n      secret: env:{variable}");
    Ok(())
}
