//! The rules of a broadcast, which is one command for the agents of all core devices: they decide
//! which of its devices are a core device's own, and whether that core device responds
//! (docs/interface.md, "Broadcast").

use super::DeviceState;

/// Whether a device in that state is the core device's own. A device that the cloud no longer lists
/// is not, although the registry keeps it for a while.
#[must_use]
pub fn is_own(state: Option<DeviceState>) -> bool {
    match state {
        Some(DeviceState::Associated | DeviceState::Associating | DeviceState::Disassociating) => true,
        Some(DeviceState::Disassociated) | None => false,
    }
}

/// What a core device does with a broadcast that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BroadcastAction {
    /// It does nothing and publishes nothing.
    Ignore,
    /// The broadcast becomes a request for the core device's own devices.
    Accept,
    /// It publishes the results of the request that the token names already.
    Repeat,
    /// It rejects the broadcast: the token names a request of other content.
    Conflict,
}

impl BroadcastAction {
    /// Decides by two facts: whether some of the named devices are the core device's own, and the
    /// request that the token names already, if there is one, as whether its content is the same.
    ///
    /// A repetition is answered although its devices have been disassociated since. Other content
    /// is no repetition, so that a core device which it does not concern stays silent.
    #[must_use]
    pub fn of(some_are_own: bool, earlier_is_same: Option<bool>) -> Self {
        match (earlier_is_same, some_are_own) {
            (Some(true), _) => Self::Repeat,
            (Some(false), true) => Self::Conflict,
            (None, true) => Self::Accept,
            (Some(false) | None, false) => Self::Ignore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_device_answers_for_its_own_devices_and_for_its_own_requests_only() {
        for (state, own) in [
            (Some(DeviceState::Associated), true),
            (Some(DeviceState::Associating), true),
            (Some(DeviceState::Disassociating), true),
            (Some(DeviceState::Disassociated), false),
            (None, false),
        ] {
            assert_eq!(is_own(state), own, "{state:?}");
        }
        for (some_are_own, earlier, action) in [
            (false, None, BroadcastAction::Ignore),
            (false, Some(false), BroadcastAction::Ignore),
            (false, Some(true), BroadcastAction::Repeat),
            (true, None, BroadcastAction::Accept),
            (true, Some(false), BroadcastAction::Conflict),
            (true, Some(true), BroadcastAction::Repeat),
        ] {
            assert_eq!(BroadcastAction::of(some_are_own, earlier), action, "{some_are_own} {earlier:?}");
        }
    }
}
