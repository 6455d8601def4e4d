//! What the operations that change something have in common.

use std::time::Duration;

use super::{
    spec::{Given, Member, Rule},
    text_kind::{TIME, TOKEN},
};
use crate::domain::Timestamp;

/// The longest `reason`, in characters. It is kept in the record of the request, which has to stay
/// small.
pub const MAX_REASON: usize = 256;

/// The longest `expiresInSeconds`: one year.
pub const MAX_EXPIRY: u64 = 365 * 24 * 3600;

/// The token, which every operation has. It is read before the operation is known.
pub const CLIENT_TOKEN: Member = Member::optional(
    "clientToken",
    Rule::Text(&TOKEN),
    "Names the request among the sender's own, over all operations. Sent again with the same content it is the same \
     request. Without one the agent makes one and names it in `accepted`.",
    "\"retire-7\"",
);

/// Overrides a guard.
pub const FORCE: Member =
    Member::optional("force", Rule::Flag, "Overrides `guard.maxFraction`, but not `guard.protected`.", "false");
/// Asks for a plan.
pub const DRY_RUN: Member = Member::optional("dryRun", Rule::Flag, "Answer with a plan, and do nothing.", "false");
/// When the person asked.
pub const ISSUED_AT: Member = Member::optional(
    "issuedAt",
    Rule::Text(&TIME),
    "When the person asked, as in RFC 3339, where a broker or a bridge may have held the command; else \
     `acceptedAt` counts.",
    "\"2026-11-21T09:00:00Z\"",
);
/// The deadline.
pub const EXPIRES_IN: Member = Member::optional(
    "expiresInSeconds",
    Rule::Whole(1, MAX_EXPIRY),
    "What was not sent by then ends as `TimedOut`; counted from `issuedAt`, else from `acceptedAt`.",
    "604800",
);
/// For people.
pub const REASON: Member =
    Member::optional("reason", Rule::Short(MAX_REASON), "For people; kept with the request.", "\"line 3 was sold\"");

/// The members that all changes of associations have.
pub(super) const CHANGE: &[Member] = &[FORCE, DRY_RUN, ISSUED_AT, EXPIRES_IN, REASON];

/// The values of the arguments of a change.
#[derive(Debug)]
pub struct Options {
    /// Whether the command may exceed `guard.maxFraction`.
    pub force: bool,
    /// Whether the agent answers with a plan and changes nothing.
    pub dry_run: bool,
    /// When the person issued the command, if the message says so.
    pub issued_at: Option<Timestamp>,
    /// The time until the request expires.
    pub expires_in: Option<Duration>,
    /// A text for people.
    pub reason: Option<String>,
}

impl Options {
    /// Reads them.
    #[must_use]
    pub fn of(given: &Given) -> Self {
        Self {
            force: given.flag(&FORCE),
            dry_run: given.flag(&DRY_RUN),
            issued_at: given.parsed(&ISSUED_AT, |text| Timestamp::parse(text).ok_or(())),
            expires_in: given.whole(&EXPIRES_IN).map(Duration::from_secs),
            reason: given.text(&REASON).map(str::to_owned),
        }
    }
}

/// The forms of `accepted` for a change of things that the registry does not hold.
pub(super) const ACCEPTED: &[&[&str]] = &[&["acceptedAt", "clientToken", "entryCount"], &["plan"]];
