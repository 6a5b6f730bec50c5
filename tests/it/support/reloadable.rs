//! A gateway whose configuration lies in a file that tests change while it runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use countersign::app::App;
use countersign::app::reload::{Cause, Origin, ReloadError, ReloadReport, Reloader};
use countersign::audit::sink::InMemory;
use countersign::auth::app_token;
use countersign::config::{References, SystemReferences};
use countersign::telemetry::Metrics;

use super::certs::write;
use super::gateway::KEY_SECRETS;
use super::{Gateway, Setup};

/// The files of the machine, and variables of the test's own.
#[derive(Clone, Default)]
pub struct Variables(Arc<Mutex<BTreeMap<String, String>>>);

impl Variables {
    pub fn set(&self, name: &str, value: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }
}

impl References for Variables {
    fn env(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        SystemReferences.read(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        SystemReferences.list(folder)
    }

    fn is_world_readable(&self, path: &Path) -> io::Result<bool> {
        SystemReferences.is_world_readable(path)
    }
}

/// A gateway, its file, and the way to load it again.
pub struct Reloadable {
    pub gateway: Gateway,
    pub reloader: Reloader,
    pub variables: Variables,
    pub file: PathBuf,
    /// For the file, and whatever else the test wants to put there.
    pub folder: tempfile::TempDir,
}

impl Setup {
    /// Starts a gateway that is told when to load its file again.
    pub async fn start_reloadable(self) -> Reloadable {
        self.top("reload: { watch: false }").start_watching(|folder| folder.join("countersign.yaml")).await
    }

    /// Starts a gateway that looks after its file by itself. It lies where `place` says.
    pub async fn start_watching(self, place: impl FnOnce(&Path) -> PathBuf) -> Reloadable {
        let folder = tempfile::tempdir().unwrap();
        let file = place(folder.path());
        write(&file, &self.text());
        let variables = Variables::default();
        let ((token_a, hash_a), (token_b, hash_b)) = (app_token::generate(), app_token::generate());
        for (name, value) in [("ACCESS", &self.access_key), ("SECRET", &self.secret_key)] {
            variables.set(name, value);
        }
        for (name, value) in [("HASH_A", &hash_a), ("HASH_B", &hash_b)] {
            variables.set(name, value);
        }
        KEY_SECRETS.iter().for_each(|(name, value)| variables.set(name, value));
        let (config, origin) =
            Origin::read(&file, Arc::new(variables.clone())).unwrap_or_else(|problems| panic!("{problems}"));
        let (audit, metrics) = (Arc::new(InMemory::default()), Metrics::new().unwrap());
        let app = App::with_origin(config, Some(origin), metrics, Arc::clone(&audit) as _).expect("the gateway starts");
        let reloader = app.reloader();
        let gateway = Gateway::run(app, audit, token_a.expose(), token_b.expose());
        Reloadable { gateway, reloader, variables, file, folder }
    }
}

impl Reloadable {
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap()
    }

    /// The file with one text in the place of another.
    pub fn edited(&self, from: &str, to: &str) -> String {
        let text = self.text();
        assert!(text.contains(from), "{from} is not in\n{text}");
        text.replacen(from, to, 1)
    }

    /// Writes one text in the place of another, and loads the file again.
    pub async fn change(&self, from: &str, to: &str) -> Result<ReloadReport, ReloadError> {
        write(&self.file, &self.edited(from, to));
        self.reload().await
    }

    pub async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        self.reloader.reload(Cause::Admin).await
    }

    /// A file in the folder that only its owner may read.
    pub fn put_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        write(&path, text);
        path
    }

    /// The value of a metric.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.gateway.ask_admin("/metrics").await.text();
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
    }
}
