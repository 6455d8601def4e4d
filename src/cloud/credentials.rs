//! Credentials from Greengrass's token exchange service, and from nowhere else: a stray key or profile in the
//! environment would act in another's name.

use aws_config::{ecs::EcsCredentialsProvider, provider_config::ProviderConfig, retry::RetryConfig};
use aws_credential_types::provider::{ProvideCredentials, Result, error::CredentialsError, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// The variable in which the nucleus tells the service's address.
const ADDRESS: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";

/// Asks the token exchange service each time it is asked; the SDK's cache sits in front.
#[derive(Debug)]
pub(super) struct TokenExchange {
    http: SharedHttpClient,
}

impl TokenExchange {
    /// `http` must go to the service directly: the proxies of the environment are not for it.
    pub(super) fn new(http: SharedHttpClient) -> Self {
        Self { http }
    }

    async fn load(&self) -> Result {
        if std::env::var_os(ADDRESS).is_none_or(|address| address.is_empty()) {
            return Err(CredentialsError::not_loaded(format!(
                "{ADDRESS} is not set; the component must depend on aws.greengrass.TokenExchangeService"
            )));
        }
        // Made anew each time, since a provider remembers for good that `localhost` once did not resolve.
        // Without the provider's own repetitions, which would add up with ours.
        let config =
            ProviderConfig::default().with_http_client(self.http.clone()).with_retry_config(RetryConfig::disabled());
        EcsCredentialsProvider::builder().configure(&config).build().provide_credentials().await
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
