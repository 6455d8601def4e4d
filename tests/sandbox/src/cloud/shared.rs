//! What the handle and all connections share: the state behind its lock, and the signals that go with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::associations::Group;
use super::credentials::Credentials;
use super::http::Link;
use super::state::State;

/// What all connections and the handle share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told after every change of the state.
    pub(super) changed: watch::Sender<()>,
    /// Told when the faults are cleared, which lets hanging calls go.
    pub(super) released: watch::Sender<()>,
    pub(super) link: watch::Sender<Link>,
    pub(super) credentials: Credentials,
    /// The one core device there is; `None` for any.
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

    /// A look at the state. A panic of another holder leaves nothing half done here that matters to a test.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and tells whoever waits for a change.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        result
    }

    /// Adds members now, as somebody at the console does.
    pub(super) fn add(&self, group: &Group, members: &[String]) {
        self.change(|state| {
            let now = state.now();
            state.associations.add(group, members, now);
        });
    }

    /// Takes the faults away, then lets go the calls that hang by them.
    pub(super) fn clear_faults(&self) {
        self.change(|state| state.faults.clear());
        self.released.send_replace(());
    }

    /// First the state, by which calls over connections there are find out, then the connections themselves.
    pub(super) fn set_offline(&self, offline: bool) {
        self.change(|state| state.offline = offline);
        self.link.send_replace(if offline { Link::Down } else { Link::Up });
    }
}
