//! The log of calls: the operation, the caller, the times and the result.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};

/// Maximum number of calls in the log; older calls are dropped. This is far above the calls of one
/// test, and takes some tens of MB at most.
pub const CALLS_KEPT: usize = 100_000;

/// Maximum number of thing names in all calls of the log: with full batches of long names, 100,000
/// calls alone would take a GB.
pub const NAMES_KEPT: usize = 1_000_000;

/// The operations that the stand-in implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// BatchDisassociateClientDeviceFromCoreDevice.
    Disassociate,
    /// BatchAssociateClientDeviceWithCoreDevice.
    Associate,
    /// ListClientDevicesAssociatedWithCoreDevice.
    List,
    /// DisassociateAssets of SiteWise, which disassociates one child from its parent asset.
    DisassociateAssets,
    /// BatchDisassociateProjectAssets of SiteWise.
    DisassociateProjectAssets,
    /// ListAssociatedAssets of SiteWise.
    ListAssociatedAssets,
    /// ListProjectAssets of SiteWise.
    ListProjectAssets,
    /// A GET of the token exchange service.
    Credentials,
}

impl Operation {
    /// Whether the response is a page of a list.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::List | Self::ListAssociatedAssets | Self::ListProjectAssets)
    }

    /// Whether the response reports the entries that failed.
    pub(super) fn is_batch(self) -> bool {
        matches!(self, Self::Disassociate | Self::Associate | Self::DisassociateProjectAssets)
    }
}

/// The content of a request, as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Content {
    pub(super) things: Vec<String>,
    pub(super) hierarchy: Option<String>,
    pub(super) client_token: Option<String>,
}

/// One call that reached the stand-in. The call is logged at its arrival; its last three fields are
/// set later.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// The operation.
    pub operation: Operation,
    /// The resource in the path: a core device, a parent asset or a project; empty for credentials.
    pub about: String,
    /// The core device of the path; empty for SiteWise and for credentials.
    pub core: String,
    /// The names in the entries, or the ids of the assets, in their order; empty for a list and for
    /// credentials.
    pub things: Vec<String>,
    /// The hierarchy that a call of SiteWise names.
    pub hierarchy: Option<String>,
    /// The token by which SiteWise recognises a repeated call.
    pub client_token: Option<String>,
    /// When the call arrived.
    #[serde(serialize_with = "epoch_seconds")]
    pub at: SystemTime,
    /// When the response was sent or the connection was lost; `None` while the call is in flight.
    #[serde(serialize_with = "optional_epoch_seconds")]
    pub ended: Option<SystemTime>,
    /// The status of the response; `None` while the call is in flight, and if the connection was
    /// cut.
    pub status: Option<u16>,
    /// Whether the call changed an association. A delayed call may still do so after it ended.
    pub effect: bool,
}

/// Identifies a call of the log, even after older calls were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallId(u64);

/// The log of calls.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    calls: VecDeque<Call>,
    /// The number of calls that were dropped from the front, which converts an id to an index.
    gone: u64,
    names: usize,
}

impl CallLog {
    pub(super) fn begin(&mut self, operation: Operation, about: &str, core: &str, content: &Content) -> CallId {
        let id = CallId(self.gone + self.calls.len() as u64);
        let Content { things, hierarchy, client_token } = content.clone();
        self.names += things.len();
        self.calls.push_back(Call {
            operation,
            about: about.to_owned(),
            core: core.to_owned(),
            things,
            hierarchy,
            client_token,
            at: SystemTime::now(),
            ended: None,
            status: None,
            effect: false,
        });
        while self.calls.len() > CALLS_KEPT || self.names > NAMES_KEPT {
            self.forget_oldest();
        }
        id
    }

    /// The call, unless it was dropped from the log.
    pub(super) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        let index = usize::try_from(id.0.checked_sub(self.gone)?).ok()?;
        self.calls.get_mut(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    pub(super) fn clear(&mut self) {
        while !self.calls.is_empty() {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(call) = self.calls.pop_front() {
            self.gone += 1;
            self.names -= call.things.len();
        }
    }
}

/// Seconds since the epoch with their fraction, as AWS writes times in JSON; negative before 1970.
pub(super) fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

fn epoch_seconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(seconds(*time))
}

fn optional_epoch_seconds<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(seconds).serialize(serializer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_oldest_calls_leave_and_ids_stay_right() {
        let mut log = CallLog::default();
        let first = log.begin(Operation::List, "core", "core", &Content::default());
        let full = Content { things: (0..100).map(|n| n.to_string()).collect(), ..Content::default() };
        let mut last = first;
        for _ in 0..=NAMES_KEPT / 100 {
            last = log.begin(Operation::Disassociate, "core", "core", &full);
        }
        assert_eq!(log.iter().map(|call| call.things.len()).sum::<usize>(), NAMES_KEPT);
        assert!(log.get_mut(first).is_none());
        log.get_mut(last).unwrap().effect = true;
        assert!(log.iter().last().unwrap().effect);

        log.clear();
        assert!(log.get_mut(last).is_none());
        let next = log.begin(Operation::List, "core", "core", &Content::default());
        assert_eq!(log.get_mut(next).unwrap().operation, Operation::List);
    }
}
