//! Where the answers to a command of the local socket go, and what it takes up until it is
//! answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::places::{Place, Places};
use crate::{domain::ClientToken, protocol::ResultKind};

/// A request that was accepted over the socket, and where its results go.
pub(crate) struct Asked {
    pub(crate) seq: u64,
    /// Another store may have another request of that number.
    pub(crate) token: ClientToken,
    pub(crate) answers: Answers,
    /// Counts it among the connection's.
    pub(crate) _watched: Option<OwnedSemaphorePermit>,
}

/// What a command takes up until it is answered, and a request until it has ended.
pub(crate) struct Hold {
    pub(crate) watched: Option<OwnedSemaphorePermit>,
    pub(super) _unanswered: Option<OwnedSemaphorePermit>,
    pub(super) _large: Option<OwnedSemaphorePermit>,
}

/// Where a connection's answers go. Closed with the connection.
#[derive(Clone)]
pub(crate) struct Answers {
    pub(super) lines: mpsc::Sender<Vec<u8>>,
    pub(super) place: Arc<Place>,
    pub(super) places: Arc<Places>,
}

impl Answers {
    /// Hands an answer to the connection, which is closed if too many wait there already. Waits for
    /// nobody.
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

    /// Ends the connection: something that it waits for will not come.
    pub(crate) fn close(&self) {
        self.place.close();
    }
}
