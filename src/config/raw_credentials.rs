//! The keys of the file about the gateway's own credentials at a store; see `raw` for the rest.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// The credential of a store: the two (or three) values by reference, or a profile of an AWS credentials file, or those of the platform.
/// See `docs/CREDENTIALS.md`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawCredentials {
    /// Access key id: `env:NAME` or `file:/path`.
    pub access_key_id: Option<String>,
    /// Secret access key: `env:NAME` or `file:/path`. If all values are files, they are read again every minute, so that they can be
    /// rotated. A file must not be readable by every user of the machine.
    pub secret_access_key: Option<String>,
    /// Session token of temporary credentials: `env:NAME` or `file:/path`.
    pub session_token: Option<String>,
    /// Section of an AWS credentials file, instead of the values above; default `default` if `file` is given. Read again every minute.
    pub profile: Option<String>,
    /// That file; default `$AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`. Absolute path, or one that begins with `~/`.
    pub file: Option<String>,
    /// What the machine, container or pod is given, instead of all above. In builds with the feature `aws-chain`, such as the image.
    pub platform: Option<RawPlatform>,
    /// A role that is taken on with the credentials above; the store is asked as that role. In builds with the feature `aws-chain`.
    pub assume_role: Option<RawAssumeRole>,
}

// Somebody may have written a secret here instead of a reference.
impl fmt::Debug for RawCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawCredentials(…)")
    }
}

/// Credentials of the platform. They are renewed five minutes before their end, or when a third of a short life is left.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawPlatform {
    /// Who is asked: `default-chain` (the first of environment, profile, web identity, container and instance that is set up),
    /// `environment` (`AWS_ACCESS_KEY_ID`, …), `profile` (of the shared files of AWS, with all that a profile can say), `web-identity`
    /// (STS, for a JWT in a file: IRSA of EKS, or `sts` of another countersign), `ecs`, `pod-identity` (of EKS), `imds` (of EC2, version
    /// 2 only) or `process` (a program that prints them). Required.
    pub source: Option<RawPlatformSource>,
    /// Profile, for `profile` and `default-chain`; default `$AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// Role, for `web-identity` and `default-chain`; default `$AWS_ROLE_ARN`.
    pub role_arn: Option<String>,
    /// File with the JWT, for the same; default `$AWS_WEB_IDENTITY_TOKEN_FILE`. Read each time. Absolute path.
    pub token_file: Option<String>,
    /// Name of the session, for the same; default `$AWS_ROLE_SESSION_NAME`, else `countersign`.
    pub session_name: Option<String>,
    /// Address of STS, for the same; default `$AWS_ENDPOINT_URL_STS`, else that of the region at AWS. `https`, or `http` to a loopback
    /// address.
    pub sts_endpoint: Option<String>,
    /// Region of STS, for the same and for `profile`; default `$AWS_REGION`, else that of the upstream.
    pub region: Option<String>,
    /// Address of the metadata service, for `imds` and `default-chain`; default `$AWS_EC2_METADATA_SERVICE_ENDPOINT`, else
    /// `http://169.254.169.254`. An address of this machine or a link-local one.
    pub imds_endpoint: Option<String>,
    /// The program and its arguments, for `process`: the program by its absolute path, started without a shell. It prints JSON in the form
    /// of `credential_process`.
    pub command: Option<Vec<String>>,
    /// PEM file with the certificate authorities to trust for those who are asked, instead of the system's. Absolute path.
    pub ca_file: Option<String>,
}

/// Who is asked for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawPlatformSource {
    /// The first of those below, but `pod-identity`, which is one with `ecs`, and `process`, that is set up.
    DefaultChain,
    /// The environment.
    Environment,
    /// A profile of the shared files of AWS.
    Profile,
    /// STS, for a JWT.
    WebIdentity,
    /// The agent of ECS.
    Ecs,
    /// The agent of EKS Pod Identity.
    PodIdentity,
    /// The metadata service of EC2.
    Imds,
    /// A program.
    Process,
}

/// A role at STS: in another account, or with less rights.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RawAssumeRole {
    /// The role. Required.
    pub role_arn: Option<String>,
    /// What was agreed on with the owner of the role.
    pub external_id: Option<String>,
    /// Name of the session in the records of the role's account: 2 to 64 letters, digits, `_+=,.@-`; default `countersign`.
    pub session_name: Option<String>,
    /// What the session may do at most: a policy in JSON, or `file:/path` of one. At most 2048 characters without blanks.
    pub session_policy: Option<String>,
    /// How long a session lasts, `15m` to `12h`; default `1h`.
    pub duration: Option<String>,
    /// Session tags.
    pub tags: BTreeMap<String, String>,
    /// Address of STS; default `$AWS_ENDPOINT_URL_STS`, else that of the region at AWS. `https`, or `http` to a loopback address.
    pub sts_endpoint: Option<String>,
    /// Region of STS; default `$AWS_REGION`, else that of the upstream.
    pub region: Option<String>,
    /// PEM file with the certificate authorities to trust for STS, instead of the system's. Absolute path.
    pub ca_file: Option<String>,
}
