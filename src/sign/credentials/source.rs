//! Reads credentials that lie on this machine, and asks others for those that do not.

use std::path::{Path, PathBuf};

use aws_credential_types::Credentials;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::settings::CredentialSource;
use crate::base::{Clock, Secret, SystemClock, UtcInstant};

/// Why credentials could not be loaded. Never holds a value.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
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
    /// An empty value, or one that no header can hold.
    #[error("{0} is empty or not one word of plain characters")]
    Unusable(&'static str),
    /// What came is over already.
    #[error("they had expired already")]
    Expired,
    /// Something that is needed to ask is not set.
    #[error("{0}")]
    NotSetUp(&'static str),
    /// Who was asked did not give any.
    #[error("{who}: {problem}")]
    Refused {
        /// Who was asked.
        who: &'static str,
        /// What came instead, without anything secret.
        problem: String,
    },
    /// No answer in time.
    #[error("no answer after {0} s")]
    TimedOut(u64),
    /// This build cannot ask.
    #[error("this build has no `aws-chain`")]
    NotBuiltIn,
}

/// The reading of files that is under way for one store, if one is.
///
/// A mount that hangs holds the thread that reads, and nobody can end that. Whoever tries again therefore waits for the same reading: a
/// second one would be one more thread that is gone. A mount that never comes back is left by a reload, which reads anew.
#[derive(Debug, Default)]
pub(super) struct Reading(Mutex<Option<JoinHandle<Result<Credentials, CredentialError>>>>);

impl Reading {
    /// Reads a source that is local, off the threads that serve requests. May be given up and asked again.
    async fn read(&self, source: &CredentialSource) -> Result<Credentials, CredentialError> {
        let mut under_way = self.0.lock().await;
        let reading = under_way.get_or_insert_with(|| {
            let source = source.clone();
            tokio::task::spawn_blocking(move || source.read())
        });
        let read = reading.await;
        *under_way = None;
        read.unwrap_or(Err(CredentialError::NotSetUp("the reading of its files was cut off")))
    }
}

impl CredentialSource {
    /// Reads the credentials, or asks for them. Takes as long as those who are asked; the caller sets the limit.
    ///
    /// # Errors
    /// [`CredentialError`] if there are none, or none that can be used.
    pub(super) async fn load(&self, reading: &Reading) -> Result<Credentials, CredentialError> {
        let credentials = match self {
            Self::Platform(platform) => ask_platform(platform).await?,
            Self::Assumed(assumed) => {
                // In a box, because this calls itself.
                let base = Box::pin(assumed.base.load(reading)).await?;
                ask_for_role(&assumed.role, base).await?
            }
            Self::Static { .. } => return self.read(),
            Self::Files { .. } | Self::Profile { .. } => return reading.read(self).await,
        };
        checked(credentials)
    }

    /// Reads the credentials of a source that is local.
    ///
    /// # Errors
    /// As [`CredentialSource::load`]. A source that has to be asked is [`CredentialError::NotSetUp`].
    pub(super) fn read(&self) -> Result<Credentials, CredentialError> {
        let (id, secret, token) = match self {
            Self::Static { access_key_id, secret_access_key, session_token } => {
                (access_key_id.clone(), secret_access_key.clone(), session_token.clone())
            }
            Self::Files { access_key_id, secret_access_key, session_token } => {
                let token = session_token.as_deref().map(read_value).transpose()?;
                (read_value(access_key_id)?, read_value(secret_access_key)?, token)
            }
            Self::Profile { file, profile } => read_profile(file, profile)?,
            Self::Platform(_) | Self::Assumed(_) => return Err(CredentialError::NotSetUp("nobody was asked yet")),
        };
        let token = token.map(|token| token.expose().to_owned());
        checked(Credentials::new(id.expose(), secret.expose(), token, None, "countersign"))
    }
}

#[cfg(feature = "aws-chain")]
use super::{platform::ask as ask_platform, sts::assume_role as ask_for_role};

#[cfg(not(feature = "aws-chain"))]
async fn ask_platform(_: &super::Platform) -> Result<Credentials, CredentialError> {
    Err(CredentialError::NotBuiltIn)
}

#[cfg(not(feature = "aws-chain"))]
async fn ask_for_role(_: &super::AssumeRole, _: Credentials) -> Result<Credentials, CredentialError> {
    Err(CredentialError::NotBuiltIn)
}

/// Credentials that can be sent, and are good for some time yet.
fn checked(credentials: Credentials) -> Result<Credentials, CredentialError> {
    let plain = |value: &str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    for (name, value) in [
        ("the access key id", Some(credentials.access_key_id())),
        ("the secret access key", Some(credentials.secret_access_key())),
        ("the session token", credentials.session_token()),
    ] {
        if value.is_some_and(|value| !plain(value)) {
            return Err(CredentialError::Unusable(name));
        }
    }
    match expiry_of(&credentials) {
        Some(expiry) if expiry <= SystemClock.now() => Err(CredentialError::Expired),
        _ => Ok(credentials),
    }
}

/// When credentials end. One that no clock can tell is never reached.
pub(super) fn expiry_of(credentials: &Credentials) -> Option<UtcInstant> {
    credentials.expiry().and_then(|expiry| UtcInstant::try_from(expiry).ok())
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

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
        let read = |profile: &str| CredentialSource::Profile { file: file.clone(), profile: profile.to_owned() }.read();
        let credentials = read("gw").unwrap();
        assert_eq!((credentials.access_key_id(), credentials.secret_access_key()), ("ID", "a=b+c"));
        assert!(matches!(read("other"), Err(CredentialError::Profile { what: "aws_secret_access_key", .. })));
        assert!(matches!(read("none"), Err(CredentialError::Profile { what: "section", .. })));
    }

    #[test]
    fn credentials_that_cannot_be_sent_or_are_over_are_none() {
        let with = |id: &str, token: Option<&str>, expiry| {
            checked(Credentials::new(id, "s", token.map(str::to_owned), expiry, "test")).map(drop)
        };
        // Of this machine, since the seam of the clock is not in these functions.
        let now: SystemTime = SystemClock.now().into();
        let (past, future) = (now - Duration::from_secs(1), now + Duration::from_secs(60));
        assert!(with("id", Some("token"), Some(future)).is_ok());
        assert!(matches!(with("id", None, Some(past)), Err(CredentialError::Expired)));
        for (id, token) in [("", None), ("a b", None), ("id", Some("")), ("id", Some("a\r\nb: c"))] {
            assert!(matches!(with(id, token, Some(future)), Err(CredentialError::Unusable(_))), "{id} {token:?}");
        }
    }
}
