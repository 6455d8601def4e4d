//! What an answer of the cloud means for one entry of the call.

use super::Fault;

/// The meaning of an answer for one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The cloud did it.
    Done,
    /// It never will.
    Failed(Fault),
    /// A passing error of this entry: send it again, and count it.
    Again(Fault),
    /// The call had no effect, for reasons that are not the entry's: as if it was never sent.
    Unsent(Fault),
    /// As [`Self::Unsent`], for reasons of the resource that the call is about: entries about
    /// others go first.
    Parked(Fault),
    /// The call may have had its effect: send it again, and let nobody withdraw it.
    Unknown(Fault),
    /// An error that may mean that it is done already: the next complete list tells.
    Verify(Fault),
}
