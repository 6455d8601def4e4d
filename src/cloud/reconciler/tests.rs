//! The reconciler between a ledger in memory and a cloud whose lists the test sets.

use std::{collections::VecDeque, sync::Mutex};

use super::*;
use crate::{
    domain::{CallToken, EntryError, Operation, RequestStatus, Target},
    runtime::stop,
    testing::parts,
};

/// The next answers to a list; after them each list is empty.
struct FakeCloud {
    answers: Mutex<VecDeque<CallError>>,
    lists: Mutex<usize>,
}

impl Cloud for FakeCloud {
    async fn call(&self, _: CallKind, _: &[Target], _: Option<&CallToken>) -> Result<Vec<EntryError>, CallError> {
        unreachable!("the reconciler only reads lists")
    }

    async fn list(&self, _: Option<String>) -> Result<ListPage, CallError> {
        *self.lists.lock().unwrap() += 1;
        match self.answers.lock().unwrap().pop_front() {
            Some(error) => Err(error),
            None => Ok(ListPage { devices: Vec::new(), next: None }),
        }
    }
}

/// Somebody corrects the permissions, and asks whether it works now.
#[tokio::test(start_paused = true)]
async fn a_sync_that_is_asked_for_ends_the_wait_after_a_denied_list() {
    let parts = parts::Rig::new("");
    let denied = CallError::new(CallFault::Denied, "AccessDeniedException", "not allowed");
    let cloud = Arc::new(FakeCloud { answers: Mutex::new([denied].into()), lists: Mutex::new(0) });
    let (_stopper, stop) = stop::channel();
    let limit = || RateLimit::new(parts.config.rate, parts.clock.clone());
    let reconciler = Reconciler {
        ledger: parts.ledger.clone(),
        cloud: Arc::clone(&cloud),
        health: Arc::clone(&parts.health),
        gate: ListGate::new(Arc::clone(&parts.health), parts.ledger.summary(), parts.clock.clone()),
        rate: limit(),
        pace: limit(),
        calls_per_second: parts.config.rate.calls_per_second,
        retry: parts.config.retry,
        interval: None,
        stop,
    };
    tokio::spawn(reconciler.run());
    let sync = async |token: &'static str| {
        parts.command(Operation::Sync, "bench", token, vec![Target::Registry], None).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        let lists = *cloud.lists.lock().unwrap();
        (lists, parts.find("bench", token).await.unwrap().tally.status())
    };
    assert_eq!(sync("t1").await, (1, RequestStatus::InProgress));
    assert_eq!(sync("t2").await, (2, RequestStatus::Succeeded));
    assert_eq!(parts.find("bench", "t1").await.unwrap().tally.status(), RequestStatus::Succeeded);
}
