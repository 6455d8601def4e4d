//! The state of the stand-in: the associations, the calls, and the settings of its behaviour.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::associations::Associations;
use super::calls::CallLog;
use super::faults::Faults;
use super::sitewise::tokens::Tokens;

/// The effect of disassociating a device that is not associated. The Greengrass V2 API reference
/// does not specify it, so a client has to handle both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NotAssociated {
    /// The entry succeeds.
    #[default]
    Ignore,
    /// The entry is in `errorEntries` with the code `ResourceNotFoundException`.
    EntryError,
}

/// The effect of disassociating an asset from a project that does not contain it. The SiteWise API
/// reference does not specify it either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NotInProject {
    /// The entry succeeds.
    #[default]
    Ignore,
    /// The whole call fails with ResourceNotFoundException and has no effect; the message names the
    /// asset.
    NotFound,
}

/// The settings of the stand-in.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    pub(super) page_size: Option<usize>,
    pub(super) not_associated: NotAssociated,
    pub(super) not_in_project: NotInProject,
    pub(super) clock_offset: i64,
    pub(super) first_entry: usize,
}

/// The data that the lock protects.
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
    /// The time of the server's clock, which may be wrong on purpose.
    pub(super) fn now(&self) -> SystemTime {
        shifted(SystemTime::now(), self.settings.clock_offset)
    }

    pub(super) fn clear_observations(&mut self) {
        self.calls.clear();
        self.associations.forget_taken_off();
    }
}

/// The last second that [`shifted`] returns, the end of 9998: HTTP dates have years of four digits.
const LAST_SECOND: u64 = 253_370_764_799;

/// The time plus a number of seconds, which may be negative, within the years that an HTTP date can
/// have (1970 to 9998).
pub(super) fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let by = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 { since_epoch.saturating_sub(by) } else { since_epoch.saturating_add(by) };
    UNIX_EPOCH + moved.min(Duration::from_secs(LAST_SECOND))
}
