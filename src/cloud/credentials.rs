//! Credentials from Greengrass's token exchange service, and from nowhere else: a stray key or profile in the
//! environment would act in another's name.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use aws_config::{ecs::EcsCredentialsProvider, provider_config::ProviderConfig, retry::RetryConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, Result, error::CredentialsError, future},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::{clock::Clock, model::Mono};

/// The variable in which the nucleus tells the service's address.
const ADDRESS: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// The service may try for 30 s before it answers.
const READ: Duration = Duration::from_secs(35);

/// Credentials are used until so long before their end.
const MARGIN: Duration = Duration::from_secs(300);

/// And no longer than this, whatever their end: they last an hour as a rule, and the local clock may be off.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Asks the token exchange service, and keeps what it gives for a while.
///
/// The SDK's own cache is not used: it goes by the wall clock alone, and keeps what the cloud calls expired.
#[derive(Clone, Debug)]
pub(super) struct TokenExchange {
    http: SharedHttpClient,
    clock: Clock,
    kept: Arc<Mutex<Option<(Credentials, Mono)>>>,
}

impl TokenExchange {
    /// `http` must go to the service directly: the proxies of the environment are not for it.
    pub(super) fn new(http: SharedHttpClient, clock: Clock) -> Self {
        Self { http, clock, kept: Arc::default() }
    }

    /// The next call asks again.
    pub(super) fn forget(&self) {
        *self.kept() = None;
    }

    fn kept(&self) -> MutexGuard<'_, Option<(Credentials, Mono)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self) -> Result {
        let now = self.clock.now();
        if let Some((credentials, until)) = &*self.kept()
            && now.mono < *until
        {
            return Ok(credentials.clone());
        }
        let credentials = self.ask().await?;
        let wall = UNIX_EPOCH + Duration::from_millis(u64::try_from(now.wall.0).unwrap_or_default());
        let left = credentials.expiry().and_then(|end| end.duration_since(wall).ok()).unwrap_or_default();
        let until = now.mono.after(left.saturating_sub(MARGIN).min(MAX_AGE));
        *self.kept() = Some((credentials.clone(), until));
        Ok(credentials)
    }

    async fn ask(&self) -> Result {
        if std::env::var_os(ADDRESS).is_none_or(|address| address.is_empty()) {
            return Err(CredentialsError::not_loaded(format!(
                "{ADDRESS} is not set; the component must depend on aws.greengrass.TokenExchangeService"
            )));
        }
        // Made anew each time, since a provider remembers for good that `localhost` once did not resolve.
        // Without the provider's own repetitions, which would add up with ours.
        let config =
            ProviderConfig::default().with_http_client(self.http.clone()).with_retry_config(RetryConfig::disabled());
        let provider = EcsCredentialsProvider::builder().read_timeout(READ).configure(&config).build();
        provider.provide_credentials().await
    }
}

impl ProvideCredentials for TokenExchange {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}
