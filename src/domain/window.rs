//! Which entries may be taken into a call: of which requests, and from where on those that were
//! sent before.

/// Which requests may be sent, by their number: those below `cleared`, and those from `fresh` on.
/// The others wait for a complete list (contract, "Superseded").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// All below had their list.
    pub cleared: u64,
    /// None from here on needs one.
    pub fresh: u64,
}

impl Window {
    /// Everything may be sent.
    pub const OPEN: Self = Self { cleared: u64::MAX, fresh: 0 };

    /// Whether the request of that number may be sent.
    #[must_use]
    pub fn allows(self, seq: u64) -> bool {
        seq < self.cleared || seq >= self.fresh
    }
}

/// From where on those are looked at who were sent before; then come those before it, so that who
/// is refused each time holds up nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// A request's number, and that of an entry in it.
    pub entry: (u64, u32),
    /// A resource's number, of what is set aside for one that refuses.
    pub resource: u64,
}
