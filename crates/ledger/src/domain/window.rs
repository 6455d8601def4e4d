//! Which entries may be taken into a call: the requests that are allowed, and the position at which
//! a repetition continues.

/// Which requests may be sent, by their sequence number: those below `cleared`, and those from
/// `fresh` on. The others wait for a complete list (docs/interface.md, "Superseded requests").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// A list was read for all requests below this number.
    pub cleared: u64,
    /// No request from this number on needs a list.
    pub fresh: u64,
    /// The generation of the registry that has these lists; `None` where no list was needed. The
    /// next registry does not know what they showed, so that nothing may be sent for them.
    pub generation: Option<u64>,
}

impl Window {
    /// All requests may be sent.
    pub const OPEN: Self = Self { cleared: u64::MAX, fresh: 0, generation: None };

    /// Whether the request with that number may be sent.
    #[must_use]
    pub fn allows(self, seq: u64) -> bool {
        seq < self.cleared || seq >= self.fresh
    }
}

/// The position at which the repetition of sent entries continues; the entries before it follow at
/// the end, so that an entry that is refused each time does not delay the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// The sequence number of a request, and the index of an entry in it.
    pub entry: (u64, u32),
    /// The number of a resource, among the entries that are parked because their resource refuses.
    pub resource: u64,
}
