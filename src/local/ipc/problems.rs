//! The problems of the transports over Greengrass IPC. Both transports share a code, for which
//! `status` has one message.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{domain::Via, health::Health};

/// There is no connection, or the server does not accept messages.
pub(crate) const UNAVAILABLE: &str = "IPC_UNAVAILABLE";
/// `accessControl` lacks an operation or a topic.
pub(super) const DENIED: &str = "IPC_DENIED";
/// The connection is open, and nothing is delivered.
pub(super) const SILENT: &str = "IPC_SILENT";

/// Raises and clears the problems of both transports.
#[derive(Clone)]
pub(crate) struct Problems {
    health: Arc<Health>,
    raised: Arc<Mutex<BTreeMap<(&'static str, Via), String>>>,
}

impl Problems {
    pub(crate) fn new(health: Arc<Health>) -> Self {
        Self { health, raised: Arc::default() }
    }

    /// Raises a problem of one transport in place of its earlier one; `false` if the same problem
    /// was raised before.
    pub(crate) fn raise(&self, code: &'static str, via: Via, message: String) -> bool {
        self.set(code, via, Some(message))
    }

    /// Ends a problem of one transport; `false` if there was none.
    pub(super) fn clear(&self, code: &'static str, via: Via) -> bool {
        self.set(code, via, None)
    }

    fn set(&self, code: &'static str, via: Via, message: Option<String>) -> bool {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &message {
            Some(message) => raised.insert((code, via), message.clone()),
            None => raised.remove(&(code, via)),
        };
        if before == message {
            return false;
        }
        let all: Vec<&str> =
            raised.iter().filter(|((other, _), _)| *other == code).map(|(_, message)| message.as_str()).collect();
        if all.is_empty() {
            self.health.clear(code);
        } else {
            self.health.raise(code, all.join(". "));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::Clock;

    #[test]
    fn the_end_of_one_transports_problem_leaves_that_of_the_other() {
        let health = Health::new(Clock::start());
        let problems = Problems::new(Arc::clone(&health));
        let message = || health.snapshot().problems.get(SILENT).map(|problem| problem.message.clone());
        assert!(problems.raise(SILENT, Via::IotCore, "b".into()) && problems.raise(SILENT, Via::PubSub, "a".into()));
        assert!(!problems.raise(SILENT, Via::PubSub, "a".into()), "the same again");
        assert_eq!(message().as_deref(), Some("a. b"));
        assert!(problems.clear(SILENT, Via::PubSub) && !problems.clear(SILENT, Via::PubSub));
        assert_eq!(message().as_deref(), Some("b"));
        assert!(problems.clear(SILENT, Via::IotCore));
        assert_eq!(message(), None);
    }
}
