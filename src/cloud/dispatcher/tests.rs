//! The dispatcher between a ledger in memory and a cloud whose responses the test sets.

use std::sync::Mutex;

use super::*;
use crate::{cloud::api::ListPage, domain::RequestStatus, runtime::stop, testing::parts};

/// What a call gets as its response, and after how long.
type Response = (Result<Vec<EntryError>, CallError>, Duration);

#[derive(Default)]
struct FakeCloud {
    /// The names of each call, with the time since the start.
    calls: Mutex<Vec<(Duration, Vec<String>)>>,
    /// The next responses; after them every call succeeds at once.
    responses: Mutex<VecDeque<Response>>,
    start: Option<Instant>,
}

impl Cloud for FakeCloud {
    async fn call(&self, _: CallKind, targets: &[Target], _: Option<&CallToken>) -> Result<Vec<EntryError>, CallError> {
        let at = self.start.map(|start| start.elapsed()).unwrap_or_default();
        self.calls.lock().unwrap().push((at, targets.iter().map(|target| target.name().to_owned()).collect()));
        let response = self.responses.lock().unwrap().pop_front();
        let Some((result, after)) = response else { return Ok(Vec::new()) };
        tokio::time::sleep(after).await;
        result
    }

    async fn list(&self, _: Option<String>) -> Result<ListPage, CallError> {
        unreachable!("the dispatcher reads no list")
    }
}

struct Rig {
    parts: parts::Rig,
    cloud: Arc<FakeCloud>,
    gate: Arc<ListGate>,
    task: tokio::task::JoinHandle<()>,
    stop: stop::Stopper,
}

impl Rig {
    fn new(settings: &str, responses: Vec<Response>) -> Self {
        let parts = parts::Rig::new(settings);
        let cloud = Arc::new(FakeCloud {
            responses: Mutex::new(responses.into()),
            start: Some(Instant::now()),
            ..FakeCloud::default()
        });
        let (stopper, stop) = stop::channel();
        let gate = ListGate::new(Arc::clone(&parts.health), parts.ledger.summary(), parts.clock.clone());
        let dispatcher = Dispatcher {
            call_kind: CallKind::Disassociate,
            ledger: parts.ledger.clone(),
            cloud: Arc::clone(&cloud),
            health: Arc::clone(&parts.health),
            gate: Arc::clone(&gate),
            rate: RateLimit::new(parts.config.rate, parts.clock.clone()),
            pace: None,
            clock: parts.clock.clone(),
            batch: parts.config.batch,
            retry: parts.config.retry,
            stop,
        };
        Self { gate, task: tokio::spawn(dispatcher.run()), parts, cloud, stop: stopper }
    }

    fn calls(&self) -> Vec<Vec<String>> {
        self.cloud.calls.lock().unwrap().iter().map(|(_, names)| names.clone()).collect()
    }

    async fn status(&self, token: &str) -> RequestStatus {
        self.parts.find("bench", token).await.unwrap().tally.status()
    }
}

fn failure(fault: CallFault) -> Result<Vec<EntryError>, CallError> {
    Err(CallError::new(fault, "SomeCode", "some message"))
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn commands_that_come_together_share_a_call() {
    let rig = Rig::new("", Vec::new());
    for (token, name) in [("t1", "a"), ("t2", "b"), ("t3", "c")] {
        rig.parts.disassociate("bench", token, &[name]).await;
    }
    pass(10).await;
    assert_eq!(rig.calls(), [["a", "b", "c"]]);
    assert_eq!(rig.status("t2").await, RequestStatus::Succeeded);
}

/// A full call does not wait for more.
#[tokio::test(start_paused = true)]
async fn a_call_has_a_hundred_entries_and_goes_when_it_is_full() {
    let rig = Rig::new(r#""batch":{"lingerMs":30000}"#, Vec::new());
    let names: Vec<String> = (0..250).map(|n| format!("d{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    rig.parts.disassociate("bench", "t1", &names).await;
    pass(40).await;
    let calls: Vec<(u64, usize)> =
        rig.cloud.calls.lock().unwrap().iter().map(|(at, names)| (at.as_secs(), names.len())).collect();
    assert_eq!(calls, [(0, 100), (0, 100), (30, 50)]);
}

/// The outcome of a full call and the entries of the next one become durable together.
#[tokio::test(start_paused = true)]
async fn full_calls_share_their_syncs() {
    let rig = Rig::new("", Vec::new());
    let names: Vec<String> = (0..1000).map(|n| format!("d{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    rig.parts.disassociate("bench", "t1", &names).await;
    pass(10).await;
    assert_eq!(rig.calls().len(), 10);
    assert_eq!(rig.status("t1").await, RequestStatus::Succeeded);
    // One for the command, and one before, between and after the ten calls.
    assert_eq!(rig.parts.ledger.stats().commits.iter().sum::<u64>(), 1 + 11);
}

/// What the cloud throttled had no effect: a client can still cancel it.
#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_repeated_and_its_entries_count_as_unsent() {
    let rig = Rig::new("", vec![(failure(CallFault::Throttled), Duration::ZERO)]);
    rig.parts.disassociate("bench", "t1", &["a"]).await;
    rig.parts.disassociate("bench", "t2", &["b"]).await;
    while rig.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (seq, mut so_far) = (rig.parts.find("bench", "t1").await.unwrap().seq, ledger::Canceled::default());
    let cancel = rig.parts.ledger.run(move |tx| ledger::cancel(tx, seq, &mut so_far).map(|_| so_far.canceled));
    assert_eq!(cancel.await.unwrap(), 1);
    pass(60).await;
    assert_eq!(rig.calls(), [vec!["a", "b"], vec!["b"]]);
    assert_eq!(rig.status("t1").await, RequestStatus::Canceled);
    assert_eq!(rig.parts.problems(), Vec::<String>::new(), "it passed");
}

/// Whether a call without a response had its effect is for the next list to show.
#[tokio::test(start_paused = true)]
async fn a_call_without_a_response_leaves_the_rest_to_the_list() {
    let rig = Rig::new("", vec![(failure(CallFault::NoResponse), Duration::from_secs(3))]);
    rig.parts.disassociate("bench", "t1", &["a"]).await;
    pass(3600).await;
    assert_eq!(rig.calls(), [["a"]], "no call until a list shows that the cloud is back");
    assert_eq!(rig.status("t1").await, RequestStatus::InProgress);
    // A page arrives: the cloud is back, and the list is not complete yet.
    let mark = rig.parts.ledger.run(|tx| Ok(ledger::begin_list(tx))).await.unwrap();
    rig.gate.begin_list(mark.seq);
    rig.gate.answered(CallKind::List, Ok(()), false);
    pass(3600).await;
    assert_eq!(rig.calls().len(), 1, "that call may have been carried out: only a complete list decides");
    rig.gate.end_list();
    pass(3600).await;
    assert_eq!(rig.calls().len(), 2);
    assert_eq!(rig.status("t1").await, RequestStatus::Succeeded);
}

/// Somebody may have associated the device again meanwhile.
#[tokio::test(start_paused = true)]
async fn what_was_accepted_before_a_suspension_waits_for_a_list() {
    let rig = Rig::new(r#""batch":{"lingerMs":30000}"#, Vec::new());
    rig.parts.disassociate("bench", "t1", &["a"]).await;
    pass(1).await;
    rig.parts.clock.suspend(Duration::from_secs(8 * 3600));
    pass(3600).await;
    assert_eq!(rig.calls(), Vec::<Vec<String>>::new());
    assert!(rig.gate.list_wanted());
    let mark = rig.parts.ledger.run(|tx| Ok(ledger::begin_list(tx))).await.unwrap();
    rig.gate.begin_list(mark.seq);
    rig.gate.end_list();
    rig.gate.answered(CallKind::List, Ok(()), false);
    pass(60).await;
    assert_eq!(rig.calls(), [["a"]]);
}

/// The nucleus kills the process 5 s after it asked it to stop.
#[tokio::test(start_paused = true)]
async fn at_a_stop_a_call_in_flight_is_given_up_after_its_last_moment() {
    for (takes, calls_end_well) in [(Duration::from_secs(1), true), (Duration::from_secs(60), false)] {
        let rig = Rig::new("", vec![(Ok(Vec::new()), takes)]);
        rig.parts.disassociate("bench", "t1", &["a"]).await;
        while rig.calls().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let stopped = Instant::now();
        rig.stop.stop();
        rig.task.await.unwrap();
        assert!(stopped.elapsed() <= LAST_CALL + Duration::from_millis(100), "{:?}", stopped.elapsed());
        let request = rig.parts.find("bench", "t1").await.unwrap();
        assert_eq!(request.tally.status() == RequestStatus::Succeeded, calls_end_well);
    }
}
