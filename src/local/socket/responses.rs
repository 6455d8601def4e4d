//! Where the responses to a command of the local socket are sent, and what the command occupies
//! until it has its response.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::places::{Place, Places};
use crate::{domain::ClientToken, protocol::ResultKind};

/// A request that was accepted over the socket, and where its results are sent.
pub(crate) struct Asked {
    pub(crate) seq: u64,
    /// Identifies the request: after the store was replaced, another request may have the same
    /// number.
    pub(crate) token: ClientToken,
    pub(crate) answers: Responses,
    /// Counts the request among those of its connection.
    pub(crate) _watched: Option<OwnedSemaphorePermit>,
}

/// What a command occupies until it has its response, and a request until it has ended.
pub(crate) struct Hold {
    pub(crate) watched: Option<OwnedSemaphorePermit>,
    pub(super) _unanswered: Option<OwnedSemaphorePermit>,
    pub(super) _large: Option<OwnedSemaphorePermit>,
}

/// Where a connection's responses are sent. Closed together with the connection.
#[derive(Clone)]
pub(crate) struct Responses {
    pub(super) lines: mpsc::Sender<Vec<u8>>,
    pub(super) place: Arc<Place>,
    pub(super) places: Arc<Places>,
}

impl Responses {
    /// Passes a response to the connection, which is closed if too many responses wait there
    /// already. Does not wait.
    pub(crate) fn send(&self, kind: ResultKind, payload: &[u8]) {
        let line = [b"{\"result\":\"", kind.as_str().as_bytes(), b"\",\"payload\":", payload, b"}\n"].concat();
        self.places.queue(&self.place, line.len());
        if self.lines.try_send(line).is_err() {
            self.close();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lines.is_closed()
    }

    /// Ends the connection, since a result for which it waits will not come.
    pub(crate) fn close(&self) {
        self.place.close();
    }
}
