//! The real program, as an operator starts it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use countersign::auth::app_token;
use serde_json::Value;

use super::certs::write;
use super::gateway::{KEY_A, KEY_SECRETS};
use super::store::missing;
use super::{Client, Setup, SignedClient, eventually};

/// Runs the program to its end, without our environment.
pub async fn run(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = command(arguments, env);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Runs it on a terminal of its own, whose text is the standard output then; `None` if the program for that is missing, which is an error in CI.
pub async fn run_on_a_terminal(arguments: &[&str], env: &[(&str, &str)]) -> Option<Output> {
    const SCRIPT: &str = "/usr/bin/script";
    if !Path::new(SCRIPT).exists() {
        missing("script");
        return None;
    }
    let words = std::iter::once(&env!("CARGO_BIN_EXE_countersign")).chain(arguments);
    let line = words.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let mut command = Command::new(SCRIPT);
    command.args(["-q", "-e", "-c", &line, "/dev/null"]).env_clear().env("TERM", "xterm").envs(env.iter().copied());
    Some(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
}

fn command(arguments: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).env_clear().envs(env.iter().copied());
    command
}

/// What a program wrote so far.
pub struct Written {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Written {
    fn collect(source: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut lines = BufReader::new(source);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                all.lock().unwrap().append(&mut line);
            }
        });
        Self { text, reader: Some(reader) }
    }

    /// Waits for the last line; to be called when the program has ended.
    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// Every line as JSON; panics if one is not.
    pub fn json(&self) -> Vec<Value> {
        let text = self.text();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

/// A started program; killed when this is dropped.
pub struct Process {
    child: Child,
    pub stdout: Written,
    pub stderr: Written,
    _folder: tempfile::TempDir,
}

/// `countersign serve` with the tokens of both tenants.
pub struct Served {
    pub process: Process,
    /// Its configuration.
    pub file: PathBuf,
    pub admin: SocketAddr,
    pub a: Client,
    pub b: Client,
    /// Client with the access key of tenant `a`.
    pub key_a: SignedClient,
}

impl Process {
    /// Starts the program.
    pub fn start(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments, env)
    }

    fn start_in(folder: tempfile::TempDir, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut process = Self::spawn(command(arguments, env));
        process._folder = folder;
        process
    }

    /// Starts another program that ends up being this one.
    pub fn spawn(mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Written::collect(child.stdout.take().unwrap());
        let stderr = Written::collect(child.stderr.take().unwrap());
        Self { child, stdout, stderr, _folder: folder }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, and for the last line it wrote.
    pub async fn end(&mut self) -> ExitStatus {
        eventually("the program ends", || self.has_ended()).await;
        self.stdout.finish();
        self.stderr.finish();
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Served {
    /// Serves what a setup describes; `more` is added to its configuration.
    pub async fn start(setup: &Setup, more: &str, env: &[(&str, &str)]) -> Self {
        Self::start_with(setup, &format!("{}{more}", setup.text()), env).await
    }

    /// Serves another configuration than that of the setup, with its credentials. The last listener is the one for `a` and `b`.
    pub async fn start_with(setup: &Setup, configuration: &str, env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("countersign.yaml");
        write(&file, configuration);
        let ((token_a, hash_a), (token_b, hash_b)) = (app_token::generate(), app_token::generate());
        let mut all = vec![
            ("ACCESS", setup.access_key.as_str()),
            ("SECRET", setup.secret_key.as_str()),
            ("HASH_A", &hash_a),
            ("HASH_B", &hash_b),
        ];
        all.extend(KEY_SECRETS);
        all.extend(env);
        let mut process = Process::start_in(folder, &["serve", "--config", file.to_str().unwrap()], &all);
        let mut addresses = None;
        eventually("the program serves", || {
            addresses = addresses_in(&process.stderr.text());
            assert!(!process.has_ended(), "{}", process.stderr.text());
            addresses.is_some()
        })
        .await;
        let (address, admin) = addresses.unwrap();
        let client = |token: &str| Client { address, token: token.to_owned() };
        let key_a = SignedClient::new(address, KEY_A, KEY_SECRETS[0].1);
        Self { process, file, admin, a: client(token_a.expose()), b: client(token_b.expose()), key_a }
    }

    /// Writes one text in the place of another into its configuration, and waits until it is in use. The log must show `info`.
    pub async fn reconfigure(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.file).unwrap();
        assert!(text.contains(from), "{from} is not in\n{text}");
        let loaded = || self.process.stderr.text().matches("another configuration serves").count();
        let before = loaded();
        write(&self.file, &text.replacen(from, to, 1));
        self.process.signal("HUP");
        eventually("the configuration is in use", || loaded() > before).await;
    }

    /// Asks the admin listener.
    pub async fn ask_admin(&self, path: &str) -> super::Response {
        Client { address: self.admin, token: String::new() }.send_plain("GET", path, &[], "").await
    }

    /// Waits until there are so many audit records on standard output, and gives them.
    pub async fn records(&self, count: usize) -> Vec<Value> {
        eventually("audit records", || self.process.stdout.json().len() >= count).await;
        self.process.stdout.json()
    }
}

/// The addresses that the log names, in its text or its JSON form.
fn addresses_in(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let address_of = |message: &str| {
        let line = log.lines().rfind(|line| line.contains(message) && line.contains("address"))?;
        let (_, rest) = line.split_once("address")?;
        let text = rest.trim_start_matches(['"', ':', '=']);
        text.split(['"', ' ', ',', '}']).next()?.parse().ok()
    };
    Some((address_of("listening")?, address_of("admin listener")?))
}
