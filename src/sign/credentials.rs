//! The gateway's own credentials at a store: loaded at start, looked up again every minute, the old ones kept on error.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_credential_types::Credentials;

use crate::base::Secret;

/// How often files are read again. A mounted secret that is rotated is in use one minute later.
pub const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// The same while there are no credentials at all, and the gateway is not ready.
pub const RETRY_EVERY: Duration = Duration::from_secs(2);

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// Values known at start.
    Static {
        /// Access key id.
        access_key_id: Secret,
        /// Secret access key.
        secret_access_key: Secret,
        /// Session token.
        session_token: Option<Secret>,
    },
    /// One value a file.
    Files {
        /// File with the access key id.
        access_key_id: PathBuf,
        /// File with the secret access key.
        secret_access_key: PathBuf,
        /// File with the session token.
        session_token: Option<PathBuf>,
    },
    /// A profile of a shared AWS credentials file.
    Profile {
        /// The file.
        file: PathBuf,
        /// Section of the file.
        profile: String,
    },
}

/// Why credentials could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The credentials file has no such profile, or the profile lacks a value.
    #[error("profile `{profile}` of {} has no {what}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Section of the file.
        profile: String,
        /// What is missing.
        what: &'static str,
    },
    /// An empty value.
    #[error("{0} is empty")]
    Empty(&'static str),
}

impl CredentialSource {
    /// Reads the credentials.
    ///
    /// # Errors
    /// [`CredentialError`] if something is missing or empty. Never holds a value.
    pub fn load(&self) -> Result<Credentials, CredentialError> {
        let (id, secret, token) = match self {
            Self::Static { access_key_id, secret_access_key, session_token } => {
                (access_key_id.clone(), secret_access_key.clone(), session_token.clone())
            }
            Self::Files { access_key_id, secret_access_key, session_token } => {
                let token = session_token.as_deref().map(read_value).transpose()?;
                (read_value(access_key_id)?, read_value(secret_access_key)?, token)
            }
            Self::Profile { file, profile } => read_profile(file, profile)?,
        };
        for (name, value) in [("the access key id", &id), ("the secret access key", &secret)] {
            if value.expose().is_empty() {
                return Err(CredentialError::Empty(name));
            }
        }
        let token = token.map(|token| token.expose().to_owned());
        Ok(Credentials::new(id.expose(), secret.expose(), token, None, "countersign"))
    }

    fn changes(&self) -> bool {
        !matches!(self, Self::Static { .. })
    }
}

fn read_file(path: &Path) -> Result<String, CredentialError> {
    std::fs::read_to_string(path).map_err(|source| CredentialError::File { path: path.to_owned(), source })
}

fn read_value(path: &Path) -> Result<Secret, CredentialError> {
    Ok(Secret::new(read_file(path)?.trim()))
}

fn read_profile(path: &Path, profile: &str) -> Result<(Secret, Secret, Option<Secret>), CredentialError> {
    let text = read_file(path)?;
    let missing = |what| CredentialError::Profile { path: path.to_owned(), profile: profile.to_owned(), what };
    let is_header = |line: &&str| line.starts_with('[');
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != format!("[{profile}]"));
    lines.next().ok_or_else(|| missing("section"))?;
    let section: Vec<_> = lines.take_while(|line| !is_header(line)).filter_map(|line| line.split_once('=')).collect();
    let value =
        |name: &str| section.iter().find(|(key, _)| key.trim() == name).map(|(_, value)| Secret::new(value.trim()));
    Ok((
        value("aws_access_key_id").ok_or_else(|| missing("aws_access_key_id"))?,
        value("aws_secret_access_key").ok_or_else(|| missing("aws_secret_access_key"))?,
        value("aws_session_token"),
    ))
}

/// The credentials in use, swapped when the source has new ones.
#[derive(Debug)]
pub struct CredentialStore {
    upstream: String,
    source: CredentialSource,
    current: ArcSwapOption<Credentials>,
}

impl CredentialStore {
    /// A store for the named upstream; loads once.
    pub fn new(upstream: &str, source: CredentialSource) -> Self {
        let store = Self { upstream: upstream.to_owned(), source, current: ArcSwapOption::empty() };
        store.refresh();
        store
    }

    /// The credentials in use; `None` until they could be loaded once.
    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.current.load_full()
    }

    /// Name of the upstream they are for.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Loads again, and keeps the old ones if that fails.
    pub fn refresh(&self) {
        match self.source.load() {
            Ok(credentials) => self.current.store(Some(Arc::new(credentials))),
            Err(error) => {
                let kept = self.current.load().is_some();
                tracing::warn!(upstream = %self.upstream, %error, kept, "cannot load upstream credentials");
            }
        }
    }

    /// Refreshes for ever, if the source can change.
    pub async fn keep_fresh(self: Arc<Self>) {
        while self.source.changes() {
            let loaded = self.current.load().is_some();
            tokio::time::sleep(if loaded { REFRESH_EVERY } else { RETRY_EVERY }).await;
            self.refresh();
        }
    }

    #[cfg(test)]
    pub(crate) fn fixed(access_key_id: &str, secret_access_key: &str) -> Self {
        let (access_key_id, secret_access_key) = (Secret::new(access_key_id), Secret::new(secret_access_key));
        Self::new("test", CredentialSource::Static { access_key_id, secret_access_key, session_token: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_from_its_own_section() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        std::fs::write(
            &file,
            "[other]\naws_access_key_id=X\n\n[gw]\naws_access_key_id = ID\naws_secret_access_key=a=b+c\n[z]\n",
        )
        .unwrap();
        let load = |profile: &str| CredentialSource::Profile { file: file.clone(), profile: profile.to_owned() }.load();
        let credentials = load("gw").unwrap();
        assert_eq!((credentials.access_key_id(), credentials.secret_access_key()), ("ID", "a=b+c"));
        assert!(matches!(load("other"), Err(CredentialError::Profile { what: "aws_secret_access_key", .. })));
        assert!(matches!(load("none"), Err(CredentialError::Profile { what: "section", .. })));
    }

    #[test]
    fn l12_rotated_files_are_taken_up_and_a_broken_one_keeps_the_old_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let (id, secret) = (dir.path().join("id"), dir.path().join("secret"));
        std::fs::write(&id, "ID1\n").unwrap();
        let source = CredentialSource::Files {
            access_key_id: id.clone(),
            secret_access_key: secret.clone(),
            session_token: None,
        };
        let store = CredentialStore::new("store", source);
        assert!(store.current().is_none());
        std::fs::write(&secret, "S1\n").unwrap();
        store.refresh();
        assert_eq!(store.current().unwrap().access_key_id(), "ID1");
        std::fs::write(&id, "\n").unwrap();
        store.refresh();
        assert_eq!(store.current().unwrap().access_key_id(), "ID1");
        std::fs::write(&id, "ID2").unwrap();
        store.refresh();
        assert_eq!(store.current().unwrap().access_key_id(), "ID2");
    }
}
