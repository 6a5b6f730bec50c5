//! Where an upstream's credentials come from, as the configuration says it. The same in every build.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::Secret;

/// The credentials of an upstream, and what goes with them.
#[derive(Debug, Clone, PartialEq)]
pub struct CredentialSettings {
    /// Where they come from.
    pub source: CredentialSource,
    /// What seals upload ids and positions in lists: the first seals, all open. Empty: see `sealing`.
    pub seal_keys: Vec<Secret>,
}

impl From<CredentialSource> for CredentialSettings {
    fn from(source: CredentialSource) -> Self {
        Self { source, seal_keys: Vec::new() }
    }
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq)]
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
    /// What the machine, the container or the pod was given.
    Platform(Box<Platform>),
    /// A role, taken on with other credentials.
    Assumed(Box<Assumed>),
}

impl CredentialSource {
    /// Whether they can be read at once, without asking anybody.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Static { .. } | Self::Files { .. } | Self::Profile { .. })
    }

    /// Whether looking for them again costs no more than reading a file, unless they have an end and so come from somebody else.
    pub fn reads_files(&self) -> bool {
        match self {
            Self::Platform(platform) => {
                matches!(platform.kind, PlatformKind::DefaultChain { .. } | PlatformKind::Profile(_))
            }
            other => other.is_local(),
        }
    }

    /// Whether they can ever be others than now.
    pub fn changes(&self) -> bool {
        !matches!(self, Self::Static { .. })
    }

    /// What other credentials the role is taken on with, down to the ones that are there.
    pub fn base(&self) -> &Self {
        match self {
            Self::Assumed(assumed) => assumed.base.base(),
            other => other,
        }
    }
}

/// Credentials of the platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Platform {
    /// Which.
    pub kind: PlatformKind,
    /// Region for what the providers of AWS ask STS themselves.
    pub region: String,
    /// PEM file of certificate authorities for whom is asked, instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum PlatformKind {
    /// Environment, profile, web identity, container, instance, in this order: the first that is set up.
    DefaultChain {
        /// Profile instead of `AWS_PROFILE`.
        profile: Option<String>,
        /// For the third.
        web_identity: WebIdentity,
        /// Address of the metadata service, instead of the usual one.
        imds_endpoint: Option<String>,
    },
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    Environment,
    /// A profile of the shared files of AWS, with everything a profile can say.
    Profile(Option<String>),
    /// STS, for a JWT in a file.
    WebIdentity(WebIdentity),
    /// The agent of ECS, or that of EKS Pod Identity.
    Container,
    /// The metadata service of the instance, version 2, at this address instead of the usual one.
    Imds(Option<String>),
    /// A program that prints them.
    Process(Vec<String>),
}

/// A role for whoever has a JWT.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WebIdentity {
    /// The role; `None` if neither file nor environment named one.
    pub role_arn: Option<String>,
    /// File with the JWT, read anew each time.
    pub token_file: Option<PathBuf>,
    /// Name of the session in the platform's records.
    pub session_name: String,
    /// Who is asked.
    pub sts: StsEndpoint,
}

/// A role, and the credentials with which it is taken on.
#[derive(Debug, Clone, PartialEq)]
pub struct Assumed {
    /// The credentials that STS is asked with.
    pub base: CredentialSource,
    /// What is asked for.
    pub role: AssumeRole,
}

/// What is asked of AssumeRole.
#[derive(Debug, Clone, PartialEq)]
pub struct AssumeRole {
    /// The role.
    pub role_arn: String,
    /// What the owner of the role agreed on with the operator.
    pub external_id: Option<String>,
    /// Name of the session in the platform's records.
    pub session_name: String,
    /// What the session may do at most: a policy in JSON.
    pub session_policy: Option<String>,
    /// How long a session lasts.
    pub duration: Duration,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// Who is asked.
    pub sts: StsEndpoint,
}

/// Who is asked for the keys of a role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StsEndpoint {
    /// Its address; `None` for that of the region at AWS.
    pub url: Option<String>,
    /// The region that is signed for.
    pub region: String,
    /// PEM file of certificate authorities to trust for it, instead of the system's.
    pub ca_file: Option<PathBuf>,
}
