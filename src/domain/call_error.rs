//! The cloud's answer to a call, in the few kinds that make a difference to us.

use std::time::Duration;

use super::Fault;

/// Codes of connections that were not made, where a person has to look at one thing in particular.
pub const CERTIFICATE_REFUSED: &str = "CertificateRefused";
/// See [`CERTIFICATE_REFUSED`].
pub const PROXY_FAILED: &str = "ProxyFailed";
/// See [`CERTIFICATE_REFUSED`].
pub const NAME_NOT_RESOLVED: &str = "NameNotResolved";

/// One item of an `errorEntries` list. All of it is optional in the API, and the code a free text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryError {
    /// The entry it is about, if it says.
    pub name: Option<String>,
    /// The cloud's code.
    pub code: String,
    /// The cloud's words.
    pub message: String,
}

/// Why a call as a whole failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// No connection, so nothing was sent: DNS, TCP, TLS.
    Unreachable,
    /// Sent, and no answer: the effect is not known.
    Lost,
    /// Answered by something that is not the API: a captive portal, a proxy.
    Foreign,
    /// Too many calls.
    Throttled,
    /// The service failed; the effect is not known.
    Server,
    /// The resource is busy with something else; no effect.
    Busy,
    /// Signatures fail since a clock is off.
    Clock,
    /// There are no credentials, or they are not taken.
    Credentials,
    /// The credentials lack the permission.
    Denied,
    /// The core device does not exist.
    NoCore,
    /// The service does not understand the call: a wrong endpoint, or a fault of ours.
    Misfit,
    /// The service refuses the content; with the indexes of the entries that it names.
    Invalid(Vec<usize>),
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// Which kind.
    pub fault: CallFault,
    /// The cloud's code, or one of ours where there was no answer.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// The least time to wait before another call.
    pub retry_after: Option<Duration>,
}

impl CallError {
    /// A failed call, its texts cut to what is kept of a text from outside.
    #[must_use]
    pub fn new(fault: CallFault, code: &str, message: &str) -> Self {
        let Fault { code, message } = Fault::new(code, message);
        Self { fault, code, message, retry_after: None }
    }
}

/// The cloud as `status` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloudState {
    /// Not called yet.
    #[default]
    Unknown,
    /// The last call was answered.
    Reachable,
    /// Answered that there were too many calls.
    Throttled,
    /// Answered that this is not permitted.
    AccessDenied,
    /// No credentials.
    NoCredentials,
    /// Not answered.
    Unreachable,
}

impl CloudState {
    /// All of them, from well to worst.
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

    /// Whether the service itself answers.
    #[must_use]
    pub fn is_out_of_reach(self) -> bool {
        matches!(self, Self::Unreachable | Self::NoCredentials)
    }
}

impl CallFault {
    /// A name for programs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Foreign => "foreign",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Busy => "busy",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Denied => "denied",
            Self::NoCore => "no_core",
            Self::Misfit => "misfit",
            Self::Invalid(_) => "invalid",
        }
    }

    /// What this says of the cloud.
    #[must_use]
    pub fn state(&self) -> CloudState {
        match self {
            Self::Unreachable | Self::Lost | Self::Foreign | Self::Clock => CloudState::Unreachable,
            Self::Credentials => CloudState::NoCredentials,
            Self::Throttled => CloudState::Throttled,
            Self::Denied => CloudState::AccessDenied,
            Self::Server | Self::Busy | Self::NoCore | Self::Misfit | Self::Invalid(_) => CloudState::Reachable,
        }
    }
}
