//! What upload ids and positions in lists are sealed with.
//!
//! They have to open for hours and at every replica, whatever happens to the credentials: so the configuration can name keys. Without these
//! the key comes from the upstream's secret, as long as that is one that all replicas have. Credentials of a platform are others at each
//! replica and others in an hour; there the key is one that this process makes at its start.

use std::sync::{Mutex, OnceLock, PoisonError};

use aws_credential_types::Credentials;
use aws_lc_rs::rand;

use super::settings::{CredentialSettings, CredentialSource};
use crate::base::{Sealer, Secret};

/// How many secrets are remembered that files had before the present one. What was sealed with an older one opens no more.
const FORMER: usize = 2;

/// What seals and opens.
#[derive(Debug)]
pub(super) enum Sealing {
    /// The keys of the configuration.
    Keys(Vec<Secret>),
    /// The secret of the credentials; behind it those before, the last first.
    OfSecret(Mutex<Vec<Secret>>),
    /// A key of this process, for all its configurations.
    OfProcess,
}

impl Sealing {
    pub(super) fn new(settings: &CredentialSettings) -> Self {
        if !settings.seal_keys.is_empty() {
            return Self::Keys(settings.seal_keys.clone());
        }
        match (&settings.source, settings.source.base()) {
            // A role's own secret changes with every session, and is another at every replica; that behind it may be the same for all.
            (CredentialSource::Assumed(_), CredentialSource::Static { secret_access_key, .. }) => {
                Self::Keys(vec![secret_access_key.clone()])
            }
            (CredentialSource::Assumed(_) | CredentialSource::Platform(_), _) => Self::OfProcess,
            _ => Self::OfSecret(Mutex::default()),
        }
    }

    /// There are new credentials instead of these.
    pub(super) fn note_former(&self, former: &Credentials, new: &Credentials) {
        let Self::OfSecret(secrets) = self else { return };
        if former.secret_access_key() != new.secret_access_key() {
            let mut secrets = secrets.lock().unwrap_or_else(PoisonError::into_inner);
            secrets.insert(0, Secret::new(former.secret_access_key()));
            secrets.truncate(FORMER);
        }
    }

    /// Takes over what another one remembers, which was for the same source.
    pub(super) fn inherit(&self, other: &Self) {
        if let (Self::OfSecret(own), Self::OfSecret(others)) = (self, other) {
            let others = others.lock().unwrap_or_else(PoisonError::into_inner).clone();
            *own.lock().unwrap_or_else(PoisonError::into_inner) = others;
        }
    }

    /// Seals with the first key, opens with all. `None` if there is none yet.
    pub(super) fn sealer(&self, current: Option<&Credentials>, purpose: &str) -> Option<Sealer> {
        match self {
            Self::Keys(keys) => {
                let (first, others) = keys.split_first()?;
                Some(Sealer::derive(first, purpose).also_opening(others, purpose))
            }
            Self::OfSecret(former) => {
                let sealer = Sealer::derive(&Secret::new(current?.secret_access_key()), purpose);
                Some(sealer.also_opening(&former.lock().unwrap_or_else(PoisonError::into_inner), purpose))
            }
            Self::OfProcess => Some(Sealer::derive(key_of_process()?, purpose)),
        }
    }
}

/// Made when it is first needed. `None` if the system has no random bytes.
fn key_of_process() -> Option<&'static Secret> {
    static KEY: OnceLock<Option<Secret>> = OnceLock::new();
    let make = || {
        let mut random = [0; 32];
        rand::fill(&mut random).ok()?;
        Some(Secret::new(hex::encode(random)))
    };
    KEY.get_or_init(make).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::credentials::{Platform, PlatformKind};

    fn credentials(secret: &str) -> Credentials {
        Credentials::new("id", secret, None, None, "test")
    }

    #[test]
    fn what_was_sealed_before_a_rotation_of_files_opens_after_it() {
        let files = CredentialSource::Files {
            access_key_id: "/id".into(),
            secret_access_key: "/secret".into(),
            session_token: None,
        };
        let sealing = Sealing::new(&files.clone().into());
        let sealed = sealing.sealer(Some(&credentials("s1")), "p").unwrap().seal("c", "text").unwrap();
        let opens = |secret: &str| sealing.sealer(Some(&credentials(secret)), "p").unwrap().open("c", &sealed);
        sealing.note_former(&credentials("s1"), &credentials("s2"));
        assert_eq!(opens("s2").as_deref(), Some("text"));
        sealing.note_former(&credentials("s2"), &credentials("s2"));
        sealing.note_former(&credentials("s2"), &credentials("s3"));
        assert_eq!(opens("s3").as_deref(), Some("text"));
        let heir = Sealing::new(&files.into());
        heir.inherit(&sealing);
        assert_eq!(heir.sealer(Some(&credentials("s3")), "p").unwrap().open("c", &sealed).as_deref(), Some("text"));
        sealing.note_former(&credentials("s3"), &credentials("s4"));
        assert_eq!(opens("s4"), None, "two before the present one are enough");
        assert!(sealing.sealer(None, "p").is_none());
    }

    #[test]
    fn nothing_is_sealed_with_the_secret_of_a_session() {
        let kind = PlatformKind::Environment;
        let platform = CredentialSource::Platform(Box::new(Platform { kind, region: "r".into(), ca_file: None }));
        let sealing = Sealing::new(&platform.clone().into());
        let sealed = sealing.sealer(Some(&credentials("s1")), "p").unwrap().seal("c", "text").unwrap();
        assert_eq!(sealing.sealer(Some(&credentials("s2")), "p").unwrap().open("c", &sealed).as_deref(), Some("text"));
        assert_eq!(Sealer::derive(&Secret::new("s1"), "p").open("c", &sealed), None);
        let (old, new) = (Secret::new("k1"), Secret::new("k2"));
        let keyed = |keys: &[&Secret]| {
            let seal_keys = keys.iter().map(|key| (*key).clone()).collect();
            Sealing::new(&CredentialSettings { source: platform.clone(), seal_keys }).sealer(None, "p").unwrap()
        };
        let sealed = keyed(&[&old]).seal("c", "text").unwrap();
        assert_eq!(keyed(&[&new, &old]).open("c", &sealed).as_deref(), Some("text"));
        assert_eq!(keyed(&[&new]).open("c", &sealed), None);
    }
}
