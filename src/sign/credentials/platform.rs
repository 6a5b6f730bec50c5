//! Asks the platform: the providers of AWS, each made anew for each time.
//!
//! Made anew, because they remember: the one of profiles what a file said first, the one of instances the last keys, which it gives out again
//! when the service fails, with a later end than they have. What is kept, for how long, is decided in `store` alone.

use std::time::SystemTime;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_async::time::TimeSource;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use super::client::KeyClient;
use super::process::{self, plain};
use super::settings::{Platform, PlatformKind, WebIdentity};
use super::source::CredentialError;
use super::sts;

/// Asks for credentials.
///
/// # Errors
/// [`CredentialError`] if there are none.
pub(super) async fn ask(platform: &Platform) -> Result<Credentials, CredentialError> {
    match &platform.kind {
        PlatformKind::WebIdentity(identity) => return sts::web_identity(identity).await,
        PlatformKind::Process(command) => return process::run(command).await,
        _ => {}
    }
    let client = KeyClient::new(platform.ca_file.clone());
    let config = ProviderConfig::without_region()
        .with_region(Some(Region::new(platform.region.clone())))
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_http_client(client.clone());
    let asking = async {
        match &platform.kind {
            PlatformKind::DefaultChain { profile, web_identity, imds_endpoint } => {
                chain(&config, profile.as_deref(), web_identity, imds_endpoint.as_deref()).provide_credentials().await
            }
            PlatformKind::Environment => EnvironmentVariableCredentialsProvider::new().provide_credentials().await,
            PlatformKind::Profile(name) => profile(&config, name.as_deref()).provide_credentials().await,
            PlatformKind::Container => container(&config).provide_credentials().await,
            PlatformKind::Imds(endpoint) => instance(&config, endpoint.as_deref())?.provide_credentials().await,
            PlatformKind::WebIdentity(_) | PlatformKind::Process(_) => {
                Err(CredentialsError::not_loaded("not a provider"))
            }
        }
    };
    // They log what they got, garbled answers with keys in them too; what is safe of it stands in the error.
    let given = asking.with_subscriber(NoSubscriber::default()).await;
    given.map_err(|error| refused(&error, &client))
}

/// The first that is set up. One that is set up and fails is an error, and not a reason to be somebody else.
fn chain(
    config: &ProviderConfig,
    name: Option<&str>,
    identity: &WebIdentity,
    imds_endpoint: Option<&str>,
) -> CredentialsProviderChain {
    let chain = CredentialsProviderChain::first_try("environment", EnvironmentVariableCredentialsProvider::new())
        .or_else("profile", profile(config, name))
        .or_else("web identity", OfIdentity(identity.clone()))
        .or_else("container", container(config));
    match instance(config, imds_endpoint) {
        Ok(instance) => chain.or_else("instance", instance),
        Err(_) => chain,
    }
}

fn profile(config: &ProviderConfig, name: Option<&str>) -> ProfileFileCredentialsProvider {
    let builder = ProfileFileCredentialsProvider::builder().configure(config);
    match name {
        Some(name) => builder.profile_name(name).build(),
        None => builder.build(),
    }
}

fn container(config: &ProviderConfig) -> EcsCredentialsProvider {
    EcsCredentialsProvider::builder().configure(config).build()
}

fn instance(config: &ProviderConfig, endpoint: Option<&str>) -> Result<ImdsCredentialsProvider, CredentialsError> {
    // Once: the task of the store tries on, and with longer pauses.
    let mut client = imds::Client::builder().configure(config).max_attempts(1);
    if let Some(endpoint) = endpoint {
        client = client.endpoint(endpoint).map_err(CredentialsError::invalid_configuration)?;
    }
    // To a provider that lives in 1970 no key is stale, so it changes the end of none.
    let config = config.clone().with_time_source(LongAgo);
    Ok(ImdsCredentialsProvider::builder().configure(&config).imds_client(client.build()).build())
}

#[derive(Debug)]
struct LongAgo;

impl TimeSource for LongAgo {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// Web identity in a chain: not set up without its file.
#[derive(Debug)]
struct OfIdentity(WebIdentity);

impl ProvideCredentials for OfIdentity {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            if self.0.token_file.is_none() {
                return Err(CredentialsError::not_loaded("no file with a token is set"));
            }
            sts::web_identity(&self.0).await.map_err(CredentialsError::invalid_configuration)
        })
    }
}

/// What is safe to tell. The causes of a failure may quote the answer, so of these the fate of the last request has to do.
fn refused(error: &CredentialsError, client: &KeyClient) -> CredentialError {
    let tells = matches!(error, CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_));
    let mut problem = error.to_string();
    let mut cause = std::error::Error::source(error).filter(|_| tells);
    while let Some(inner) = cause {
        problem = format!("{problem}: {inner}");
        cause = inner.source();
    }
    if let Some(last) = client.last() {
        problem = format!("{problem} ({last})");
    }
    CredentialError::Refused { who: "the platform", problem: plain(&problem, 400) }
}
