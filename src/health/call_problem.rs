//! The problem that a failed call raises: what is wrong, and what a person has to do.

use std::borrow::Cow;

use crate::domain::{CERTIFICATE_REFUSED, CallError, CallFault, CallKind, NAME_NOT_RESOLVED, PROXY_FAILED, Traits};

/// A problem's code, for programs.
pub type Code = Cow<'static, str>;

/// What does not happen without a complete list (docs/interface.md, "Superseded requests").
pub(crate) const WITHOUT_LIST: &str =
    "until a list is complete, syncs wait, and so do disassociations from before the start or older than 5 minutes";

/// The problem that a failed call of the kind `call_kind` raises, if any. Its code is that of the
/// call kind if a person has to correct something for this kind alone, and that of the service
/// otherwise.
pub(super) fn problem(call_kind: CallKind, error: &CallError) -> Option<(Code, String)> {
    let CallError { fault, code, message, .. } = error;
    let Traits { suffix, action, service, scoped, .. } = call_kind.traits();
    let service = service.hosts().suffix;
    let (name, suffix, text) = match fault {
        // A device without a battery for its clock starts in the past, before the certificate
        // becomes valid.
        CallFault::Unreachable if code == CERTIFICATE_REFUSED => (
            "CLOUD_UNREACHABLE",
            service,
            format!(
                "the cloud's certificate is not accepted ({message}); check this device's clock, GG_ROOT_CA_PATH, and whether a \
                 proxy inspects TLS"
            ),
        ),
        CallFault::Unreachable if code == PROXY_FAILED => (
            "CLOUD_UNREACHABLE",
            service,
            format!(
                "the cloud cannot be reached through the proxy ({message}); check that the proxy runs and lets this host through, \
                 and the variable; commands are kept and sent later"
            ),
        ),
        CallFault::Unreachable if code == NAME_NOT_RESOLVED => (
            "CLOUD_UNREACHABLE",
            service,
            format!(
                "the cloud's host name is not resolved ({message}); check region, cloud's endpoints and this device's DNS; commands \
                 are kept and sent later"
            ),
        ),
        CallFault::Unreachable | CallFault::NoResponse => (
            "CLOUD_UNREACHABLE",
            service,
            format!(
                "the cloud does not answer ({message}); commands are kept and sent later; check the network and the firewall"
            ),
        ),
        CallFault::NotAws => (
            "CLOUD_UNREACHABLE",
            service,
            format!("something else answers in the cloud's place ({message}); check for a captive portal or a proxy"),
        ),
        CallFault::Credentials => (
            "NO_CREDENTIALS",
            service,
            format!("no valid credentials ({message}); check the token exchange service and its role alias"),
        ),
        CallFault::Clock => (
            "CLOCK_REFUSED",
            service,
            format!("the cloud refuses our signature's time ({message}); set this device's clock"),
        ),
        CallFault::Denied if scoped => (
            "ACCESS_DENIED",
            suffix,
            format!(
                "the token exchange role lacks {action} on a resource that a request names ({message}); add it to its policy, or \
                 cancel the request"
            ),
        ),
        CallFault::Denied if call_kind == CallKind::List => (
            "ACCESS_DENIED",
            suffix,
            format!(
                "the token exchange role lacks {action} on this core device ({message}); add it to its policy: {WITHOUT_LIST}"
            ),
        ),
        CallFault::Denied => (
            "ACCESS_DENIED",
            suffix,
            format!("the token exchange role lacks {action} on this core device ({message}); add it to its policy"),
        ),
        CallFault::UnknownCoreDevice => (
            "REFUSED",
            suffix,
            format!("the cloud knows no such core device ({message}); check coreThingName and region"),
        ),
        CallFault::NotUnderstood => (
            "REFUSED",
            suffix,
            format!(
                "the endpoint does not understand the call ({code}: {message}); check cloud's endpoints and region"
            ),
        ),
        CallFault::Invalid(_) if call_kind == CallKind::List => {
            ("REFUSED", suffix, format!("the cloud refuses the list call ({code}: {message}): {WITHOUT_LIST}"))
        }
        CallFault::Throttled => (
            "THROTTLED",
            service,
            format!("the cloud limits our calls ({message}); lower rate.callsPerSecond if it lasts"),
        ),
        CallFault::Server => (
            "CLOUD_FAILING",
            service,
            format!("the service answers with an error of its own ({message}); calls are repeated, commands are kept"),
        ),
        CallFault::Busy | CallFault::Invalid(_) => return None,
    };
    Some((if suffix.is_empty() { name.into() } else { format!("{name}{suffix}").into() }, text))
}
