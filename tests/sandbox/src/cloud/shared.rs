//! The data that the handle and all connections share: the state behind its lock, and the signals
//! for its changes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::associations::Group;
use super::credentials::Credentials;
use super::http::Link;
use super::state::State;

/// The data that the handle and all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Notified after every change of the state.
    pub(super) changed: watch::Sender<()>,
    /// Notified when the faults are cleared, so that hanging calls proceed.
    pub(super) released: watch::Sender<()>,
    pub(super) link: watch::Sender<Link>,
    pub(super) credentials: Credentials,
    /// The only core device that exists; `None` for any.
    pub(super) core: Option<String>,
}

impl Shared {
    pub(super) fn new(core: Option<String>) -> Self {
        Self {
            state: Mutex::new(State::default()),
            changed: watch::Sender::new(()),
            released: watch::Sender::new(()),
            link: watch::Sender::new(Link::Up),
            credentials: Credentials::random(),
            core,
        }
    }

    /// Locks the state. A poisoned lock is used, because a panic of its holder leaves no partial
    /// change that matters to a test.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and notifies all waiters.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        result
    }

    /// Adds members now, as a user of the console does.
    pub(super) fn add(&self, group: &Group, members: &[String]) {
        self.change(|state| {
            let now = state.now();
            state.associations.add(group, members, now);
        });
    }

    /// Clears the faults, then lets the hanging calls proceed.
    pub(super) fn clear_faults(&self) {
        self.change(|state| state.faults.clear());
        self.released.send_replace(());
    }

    /// Changes the state first, which the calls over open connections check, then closes the
    /// connections.
    pub(super) fn set_offline(&self, offline: bool) {
        self.change(|state| state.offline = offline);
        self.link.send_replace(if offline { Link::Down } else { Link::Up });
    }
}
