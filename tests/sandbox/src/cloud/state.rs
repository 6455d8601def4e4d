//! What the stand-in knows: the associations, the calls, and how it is set up to behave.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::associations::Associations;
use super::calls::CallLog;
use super::faults::Faults;
use super::sitewise::tokens::Tokens;

/// What disassociating a device does that is not associated. The Greengrass V2 API reference does not say, so a client
/// has to be right for both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NotAssociated {
    /// It succeeds.
    #[default]
    Ignore,
    /// It is in `errorEntries` with the code `ResourceNotFoundException`.
    EntryError,
}

/// What disassociating an asset from a project does that is not in it. The SiteWise API reference does not say either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NotInProject {
    /// It succeeds.
    #[default]
    Ignore,
    /// ResourceNotFoundException for the whole call, which has no effect; the message names the asset.
    NotFound,
}

/// The switches of the stand-in.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) page_size: Option<usize>,
    pub(super) not_associated: NotAssociated,
    pub(super) not_in_project: NotInProject,
    pub(super) clock_offset: i64,
    pub(super) first_entry: usize,
}

/// Everything behind the one lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) associations: Associations,
    pub(super) tokens: Tokens,
    pub(super) calls: CallLog,
    pub(super) faults: Faults,
    pub(super) settings: Settings,
    pub(super) offline: bool,
}

impl State {
    /// The server's clock, which may be set wrong on purpose.
    pub(super) fn now(&self) -> SystemTime {
        shifted(SystemTime::now(), self.settings.clock_offset)
    }

    pub(super) fn clear_observations(&mut self) {
        self.calls.clear();
        self.associations.forget_taken_off();
    }
}

/// The last second that [`shifted`] gives, the end of 9998: HTTP dates have years of four digits.
const LAST_SECOND: u64 = 253_370_764_799;

/// The time so many seconds later, or earlier if negative, within the years that an HTTP date can have (1970 to 9998).
pub(super) fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let by = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 { since_epoch.saturating_sub(by) } else { since_epoch.saturating_add(by) };
    UNIX_EPOCH + moved.min(Duration::from_secs(LAST_SECOND))
}
