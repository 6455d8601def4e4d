//! Commands that the ledger answers at once.

use super::{ClientToken, DeviceState, RequestStatus, ThingName, Whose};

/// Names the request to cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The client that owns the request, if it is not the sender.
    pub client: Whose,
    /// The request's token.
    pub token: ClientToken,
}

/// Which part of a list a query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The token from an earlier response.
    pub next_token: Option<String>,
    /// The number of rows, 1 to [`Page::MAX_ROWS`].
    pub max_results: Option<usize>,
}

impl Page {
    /// The maximum number of rows, and the number if the query names none.
    pub const MAX_ROWS: usize = 100;
}

/// A query on the content of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// One request with its failures.
    Request {
        /// The client that owns the request, if it is not the sender.
        client: Whose,
        /// The request's token.
        token: ClientToken,
        /// Which part of its failures.
        page: Page,
    },
    /// The requests of a client, newest first.
    Requests {
        /// The client, if it is not the sender.
        client: Whose,
        /// Limits the list to requests of this status.
        status: Option<RequestStatus>,
        /// Which part of the list.
        page: Page,
    },
    /// One device.
    Device {
        /// The device's name.
        thing: ThingName,
        /// Whether to include its history.
        history: bool,
    },
    /// The devices, sorted by name.
    Devices {
        /// Limits the list to devices of this state.
        state: Option<DeviceState>,
        /// Which part of the list.
        page: Page,
    },
}
