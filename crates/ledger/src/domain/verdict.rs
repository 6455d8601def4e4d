//! The meaning of a cloud response for one entry of the call.

use super::Fault;

/// The meaning of a response for one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The cloud carried out the entry.
    Done,
    /// The entry failed for good.
    Failed(Fault),
    /// A transient error of this entry: send it again, and count the error.
    Again(Fault),
    /// The call had no effect, for reasons that do not concern the entry: the entry counts as not
    /// sent.
    Unsent(Fault),
    /// As [`Self::Unsent`], for reasons that concern the resource of the call. The entry is parked:
    /// entries of other resources are sent first.
    Parked(Fault),
    /// The call may have had its effect: send the entry again, and do not allow its cancellation.
    Unknown(Fault),
    /// An error that may mean that the entry is done already: the next complete list decides.
    AwaitList(Fault),
}
