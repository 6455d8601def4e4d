//! A copy of the registry that is being made while the ledger goes on.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use crate::ledger::registry::store::{Store, StoreError};

/// A registry that is being copied, in a thread of its own: the copy takes some 10 us for each row.
/// It is only read meanwhile. When this is dropped, nothing is copied any more.
pub(super) struct Rewriting {
    copied: Receiver<Result<bool, StoreError>>,
    thread: Option<JoinHandle<()>>,
    /// What was live when it began, and the file's size, in bytes.
    pub(super) before: (u64, u64),
}

impl Rewriting {
    /// Has the registry copied by its second handle.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn begin(mut registry: Box<dyn Store + Send>, before: (u64, u64)) -> std::io::Result<Self> {
        let (done, copied) = sync_channel(1);
        let run = move || {
            let result = registry.rewrite();
            // The copy takes the file's place as soon as the result is known, so this handle must not
            // hold the file any more.
            drop(registry);
            let _ = done.send(result);
        };
        let thread = Some(std::thread::Builder::new().name("rewrite".into()).spawn(run)?);
        Ok(Self { copied, thread, before })
    }

    /// The outcome of [`Store::rewrite`]; `None` if there is none after `patience`.
    pub(super) fn outcome(&self, patience: Duration) -> Option<Result<bool, StoreError>> {
        match self.copied.recv_timeout(patience) {
            Ok(copied) => Some(copied),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err(StoreError::Defect("the thread that rewrites the registry has ended".into())))
            }
        }
    }
}

impl Drop for Rewriting {
    fn drop(&mut self) {
        // A panic of it is a result that did not come.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
