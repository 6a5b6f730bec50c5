//! Asks STS for the keys of a role: with other credentials (AssumeRole), or with a JWT (AssumeRoleWithWebIdentity).
//!
//! Where STS is comes out of the configuration alone: `AWS_ENDPOINT_URL`, which people set for their S3 store, would send a JWT there.
//! Source: STS API Reference.

use std::path::Path;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::{BehaviorVersion, IdentityCache, Region};
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::types::{Credentials as Issued, Tag};
use aws_sdk_sts::{Client, Config};

use super::client::KeyClient;
use super::process::plain;
use super::settings::{AssumeRole, StsEndpoint, WebIdentity};
use super::source::CredentialError;
use crate::base::Secret;

const WHO: &str = "STS";
/// Largest accepted file of a JWT; STS takes 20,000 characters.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;
/// How often a request is tried that failed on its way. The task of the store tries on.
const ATTEMPTS: u32 = 2;

/// The keys of a role for who has other keys.
///
/// # Errors
/// [`CredentialError::Refused`] with what STS said.
pub(super) async fn assume_role(role: &AssumeRole, base: Credentials) -> Result<Credentials, CredentialError> {
    let client = KeyClient::new(role.sts.ca_file.clone());
    let tags = role.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    let tags: Vec<Tag> = tags.collect::<Result<_, _>>().map_err(|_| CredentialError::NotSetUp("a tag has no key"))?;
    let seconds = i32::try_from(role.duration.as_secs()).unwrap_or(i32::MAX);
    let answer = sts(&role.sts, &client, Some(base))
        .assume_role()
        .role_arn(&role.role_arn)
        .role_session_name(&role.session_name)
        .set_external_id(role.external_id.clone())
        .set_policy(role.session_policy.clone())
        .set_tags((!tags.is_empty()).then_some(tags))
        .duration_seconds(seconds)
        .send()
        .await
        .map_err(|error| refused(&error, &client))?;
    keys(answer.credentials(), "AssumeRole")
}

/// The keys of a role for who has a JWT.
///
/// # Errors
/// [`CredentialError`] if role or file are not set, the file cannot be read, or with what STS said.
pub(super) async fn web_identity(identity: &WebIdentity) -> Result<Credentials, CredentialError> {
    let role =
        identity.role_arn.as_ref().ok_or(CredentialError::NotSetUp("`role_arn` and AWS_ROLE_ARN are not set"))?;
    let file = identity.token_file.as_ref();
    let file = file.ok_or(CredentialError::NotSetUp("`token_file` and AWS_WEB_IDENTITY_TOKEN_FILE are not set"))?;
    let token = read_token(file).await.map_err(|source| CredentialError::File { path: file.clone(), source })?;
    let client = KeyClient::new(identity.sts.ca_file.clone());
    let answer = sts(&identity.sts, &client, None)
        .assume_role_with_web_identity()
        .role_arn(role)
        .role_session_name(&identity.session_name)
        .web_identity_token(token.expose())
        .send()
        .await
        .map_err(|error| refused(&error, &client))?;
    keys(answer.credentials(), "AssumeRoleWithWebIdentity")
}

/// Off the threads that serve requests: a mounted token may hang with its mount.
async fn read_token(file: &Path) -> std::io::Result<Secret> {
    use std::io::Read;
    let file = file.to_owned();
    let read = move || {
        let mut token = String::new();
        std::fs::File::open(file)?.take(MAX_TOKEN_BYTES).read_to_string(&mut token)?;
        Ok(Secret::new(token.trim()))
    };
    tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?
}

fn sts(endpoint: &StsEndpoint, client: &KeyClient, credentials: Option<Credentials>) -> Client {
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(endpoint.region.clone()))
        .http_client(client.clone())
        .identity_cache(IdentityCache::no_cache())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    config.set_endpoint_url(endpoint.url.clone());
    config.set_credentials_provider(credentials.map(SharedCredentialsProvider::new));
    Client::from_conf(config.build())
}

fn keys(issued: Option<&Issued>, name: &'static str) -> Result<Credentials, CredentialError> {
    let unfit = || CredentialError::Refused { who: WHO, problem: "an answer without keys".to_owned() };
    let issued = issued.ok_or_else(unfit)?;
    let expiry = SystemTime::try_from(*issued.expiration()).map_err(|_| unfit())?;
    let token = Some(issued.session_token().to_owned());
    Ok(Credentials::new(issued.access_key_id(), issued.secret_access_key(), token, Some(expiry), name))
}

/// What STS said in its own words, if these were an error of it; else what became of the request.
fn refused<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, client: &KeyClient) -> CredentialError {
    let last = || client.last().unwrap_or_else(|| "it could not be asked".to_owned());
    let problem = match error {
        SdkError::ServiceError(context) => match context.err().code() {
            Some(code) => format!("{}: {}", plain(code, 64), plain(context.err().message().unwrap_or_default(), 300)),
            None => last(),
        },
        SdkError::ResponseError(_) => format!("{}, and no answer of STS", last()),
        _ => last(),
    };
    CredentialError::Refused { who: WHO, problem }
}
