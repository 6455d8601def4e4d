//! The result of a failed cloud call, classified by what the agent does next.

use std::time::Duration;

use super::Fault;

/// Code of a connection that failed because the certificate was refused. Each of these codes names
/// one thing that a person has to check.
pub const CERTIFICATE_REFUSED: &str = "CertificateRefused";
/// See [`CERTIFICATE_REFUSED`].
pub const PROXY_FAILED: &str = "ProxyFailed";
/// See [`CERTIFICATE_REFUSED`].
pub const NAME_NOT_RESOLVED: &str = "NameNotResolved";

/// One item of an `errorEntries` list. Every member is optional in the API, and the code is free
/// text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryError {
    /// The entry that the item is about, if the item names it.
    pub name: Option<String>,
    /// The cloud's error code.
    pub code: String,
    /// The cloud's error message.
    pub message: String,
}

/// Why a call as a whole failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// There was no connection (DNS, TCP, TLS), so nothing was sent.
    Unreachable,
    /// The call was sent and no response came: its effect is not known.
    NoResponse,
    /// The response came from something other than the API: a captive portal, a proxy.
    NotAws,
    /// The service throttled the call.
    Throttled,
    /// The service failed; the effect is not known.
    Server,
    /// The resource is busy with another change; the call had no effect.
    Busy,
    /// The signature was refused because a clock is wrong.
    Clock,
    /// There are no credentials, or the service refuses them.
    Credentials,
    /// The credentials lack the permission.
    Denied,
    /// The core device does not exist.
    UnknownCoreDevice,
    /// The service does not understand the call: the endpoint is wrong, or the agent has a defect.
    NotUnderstood,
    /// The service refuses the content; the value holds the indexes of the entries that it names.
    Invalid(Vec<usize>),
}

impl CallFault {
    /// Whether the next call fails, too, until a person has repaired something.
    #[must_use]
    pub fn needs_repair(&self) -> bool {
        matches!(self, Self::Denied | Self::UnknownCoreDevice | Self::NotUnderstood | Self::Invalid(_))
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The kind of failure.
    pub fault: CallFault,
    /// The cloud's error code, or one of the agent's where there was no response.
    pub code: String,
    /// A description of the failure for people.
    pub message: String,
    /// The minimum time to wait before another call.
    pub retry_after: Option<Duration>,
}

impl CallError {
    /// Creates the error of a failed call. The texts are cut to the length that is kept of a text
    /// from outside.
    #[must_use]
    pub fn new(fault: CallFault, code: &str, message: &str) -> Self {
        let Fault { code, message } = Fault::new(code, message);
        Self { fault, code, message, retry_after: None }
    }
}

/// The state of the cloud as `status` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloudState {
    /// No call was made yet.
    #[default]
    Unknown,
    /// The last call was answered.
    Reachable,
    /// The last call was throttled.
    Throttled,
    /// The last call was refused for lack of permission.
    AccessDenied,
    /// There are no credentials.
    NoCredentials,
    /// The last call had no response.
    Unreachable,
}

impl CloudState {
    /// All states, from the best to the worst.
    pub const ALL: &[Self] =
        &[Self::Unknown, Self::Reachable, Self::Throttled, Self::AccessDenied, Self::NoCredentials, Self::Unreachable];

    /// The name in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Reachable => "REACHABLE",
            Self::Throttled => "THROTTLED",
            Self::AccessDenied => "ACCESS_DENIED",
            Self::NoCredentials => "NO_CREDENTIALS",
            Self::Unreachable => "UNREACHABLE",
        }
    }

    /// Whether no call reaches the service itself.
    #[must_use]
    pub fn is_out_of_reach(self) -> bool {
        matches!(self, Self::Unreachable | Self::NoCredentials)
    }
}

impl CallFault {
    /// The name in metrics and logs, for programs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::NoResponse => "no_response",
            Self::NotAws => "not_aws",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Busy => "busy",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Denied => "denied",
            Self::UnknownCoreDevice => "unknown_core_device",
            Self::NotUnderstood => "not_understood",
            Self::Invalid(_) => "invalid",
        }
    }

    /// The state of the cloud that this failure shows.
    #[must_use]
    pub fn state(&self) -> CloudState {
        match self {
            Self::Unreachable | Self::NoResponse | Self::NotAws | Self::Clock => CloudState::Unreachable,
            Self::Credentials => CloudState::NoCredentials,
            Self::Throttled => CloudState::Throttled,
            Self::Denied => CloudState::AccessDenied,
            Self::Server | Self::Busy | Self::UnknownCoreDevice | Self::NotUnderstood | Self::Invalid(_) => {
                CloudState::Reachable
            }
        }
    }
}
