//! Tests of opposite requests for one device: after any sequence of events, the device has in the
//! cloud the state that the later request asks for.

use std::collections::BTreeSet;

use super::*;

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask,
    Take(CallKind),
    Answer(Answer),
    /// The agent is killed during a call, which had its effect or not.
    Kill(bool),
    List,
    Cancel(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Done,
    Throttled,
    Lost(bool),
    EntryAgain,
    EntryRefused,
}

/// One device, its cloud, and the requests about it.
#[derive(Clone)]
struct World {
    bench: Bench,
    /// When the cloud has it associated since.
    cloud: Option<i64>,
    in_flight: Option<CallKind>,
    script: &'static [Operation],
    asked: usize,
    canceled: BTreeSet<usize>,
    refused: BTreeSet<CallKind>,
    history: Vec<Event>,
}

const DIS: Operation = Operation::DisassociateClientDevices;
const ASS: Operation = Operation::AssociateClientDevices;

impl World {
    fn new(script: &'static [Operation], associated: bool) -> Self {
        // All interleavings make hundreds of thousands of transactions.
        let mut bench = Bench { check_every: 7, ..Bench::new() };
        let cloud = associated.then_some(5);
        bench.list(&cloud.map(|at| ("a", at)).into_iter().collect::<Vec<_>>());
        let (canceled, refused) = (BTreeSet::new(), BTreeSet::new());
        Self { bench, cloud, in_flight: None, script, asked: 0, canceled, refused, history: Vec::new() }
    }

    fn possible(&self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.asked < self.script.len() {
            events.push(Event::Ask);
        }
        match self.in_flight {
            Some(_) => {
                let answers = [Answer::Done, Answer::Throttled, Answer::Lost(true), Answer::Lost(false)];
                events.extend(answers.into_iter().chain([Answer::EntryAgain, Answer::EntryRefused]).map(Event::Answer));
                events.extend([Event::Kill(true), Event::Kill(false)]);
            }
            None => events.extend([Event::Take(CallKind::Disassociate), Event::Take(CallKind::Associate)]),
        }
        events.push(Event::List);
        events.extend((0..self.asked).filter(|n| !self.canceled.contains(n)).map(Event::Cancel));
        events
    }

    fn token(n: usize) -> String {
        format!("t{n}")
    }

    fn effect(&mut self, call_kind: CallKind) {
        self.cloud = match call_kind {
            CallKind::Associate => self.cloud.or(Some(self.bench.now.wall.0)),
            _ => None,
        };
    }

    fn go(&mut self, event: Event) {
        self.history.push(event);
        self.bench.wait(1000);
        match event {
            Event::Ask => {
                let operation = self.script[self.asked];
                let change = if operation == ASS { associate(&["a"]) } else { change(&["a"]) };
                self.bench.accept(&order("x", Some(&Self::token(self.asked)), change));
                self.asked += 1;
            }
            Event::Take(call_kind) => {
                if !self.bench.take_of(call_kind, 1).is_empty() {
                    self.in_flight = Some(call_kind);
                }
            }
            Event::Kill(effect) => {
                let call_kind = self.in_flight.take().unwrap();
                if effect {
                    self.effect(call_kind);
                }
            }
            Event::Answer(answer) => {
                let call_kind = self.in_flight.take().unwrap();
                if matches!(answer, Answer::Done | Answer::Lost(true)) {
                    self.effect(call_kind);
                }
                let verdict = match answer {
                    Answer::Done => Verdict::Done,
                    Answer::Throttled => Verdict::Unsent(fault("ThrottlingException")),
                    Answer::Lost(_) => Verdict::Unknown(fault("NoAnswer")),
                    Answer::EntryAgain => Verdict::Again(fault("InternalFailure")),
                    Answer::EntryRefused => {
                        self.refused.insert(call_kind);
                        Verdict::AwaitList(fault("SomeException"))
                    }
                };
                self.bench.settle_of(call_kind, &["a"], &verdict);
            }
            Event::List => {
                let listed: Vec<_> = self.cloud.map(|at| ("a", at)).into_iter().collect();
                self.bench.list(&listed);
            }
            Event::Cancel(n) => {
                self.canceled.insert(n);
                let seq = self.bench.request("x", &Self::token(n)).seq;
                let mut so_far = Canceled::default();
                while !self.bench.run(|tx| cancel(tx, seq, &mut so_far)) {}
            }
        }
        // Invariant 4: nobody takes it for a second call.
        if let Some(call_kind) = self.in_flight {
            let other = if call_kind == CallKind::Associate { CallKind::Disassociate } else { CallKind::Associate };
            assert_eq!(self.bench.clone().take_of(other, 1), Vec::<String>::new(), "{:?}", self.history);
        }
    }

    /// The cloud answers well from here on: all that was asked ends, and the cloud is as it was
    /// asked for last.
    fn ends_well(mut self) {
        self.bench.trusting = true;
        for _ in 0..12 {
            let summary = self.bench.summary();
            if self.in_flight.is_none() && summary.open_requests == 0 && summary.awaiting_list() == 0 {
                break;
            }
            for call_kind in [CallKind::Disassociate, CallKind::Associate] {
                if self.in_flight.is_none() {
                    self.go(Event::Take(call_kind));
                }
                if self.in_flight.is_some() {
                    self.go(Event::Answer(Answer::Done));
                }
            }
            self.go(Event::List);
        }
        self.go(Event::List);
        let statuses: Vec<_> = (0..self.asked).map(|n| self.bench.status("x", &Self::token(n))).collect();
        let found = || format!("{statuses:?} and {:?} after {:?}", self.cloud, self.history);
        assert!(statuses.iter().all(|status| *status != RequestStatus::InProgress), "{}", found());
        let Some(last) = statuses.iter().rposition(|status| *status == RequestStatus::Succeeded) else { return };
        // Later ones only were withdrawn, or refused by the cloud.
        let later_tried = (last + 1..self.asked).any(|n| !self.canceled.contains(&n));
        assert!(!later_tried || !self.refused.is_empty(), "{}", found());
        if !later_tried {
            assert_eq!(self.cloud.is_some(), self.script[last] == ASS, "{}", found());
        }
        let registered = if self.cloud.is_some() { DeviceState::Associated } else { DeviceState::Disassociated };
        assert_eq!(self.bench.state("a"), Some(registered), "{}", found());
    }
}

/// Explores all interleavings of `depth` events; after each event the cloud then answers well.
fn explore(world: World, depth: usize, seen: &mut BTreeSet<String>) {
    world.clone().ends_well();
    if depth == 0 {
        return;
    }
    for event in world.possible() {
        let mut next = world.clone();
        next.go(event);
        // The same state by another way leads to the same.
        let World { bench, cloud, in_flight, asked, canceled, refused, .. } = &next;
        let state = Snapshot::of(bench.view());
        if seen.insert(format!("{depth} {state:?} {cloud:?} {in_flight:?} {asked} {canceled:?} {refused:?}")) {
            explore(next, depth - 1, seen);
        }
    }
}

/// `associate` after `disassociate` and the other way round, both pending, one in flight, or the
/// first done, answered in any way, with lists, kills and cancels between.
#[test]
fn the_cloud_ends_as_the_later_request_asked() {
    for script in [&[DIS, ASS][..], &[ASS, DIS], &[DIS, ASS, DIS], &[ASS, DIS, ASS]] {
        for associated in [true, false] {
            explore(World::new(script, associated), 5, &mut BTreeSet::new());
        }
    }
}

/// An association that the agent made supersedes no later request to disassociate the device
/// (docs/interface.md, "Superseded requests"). An association by somebody else does.
#[test]
fn our_own_association_overtakes_nobody() {
    let mut bench = Bench::new();
    bench.list(&[]);
    bench.accept(&order("x", Some("t"), associate(&["a"])));
    assert_eq!(bench.take_of(CallKind::Associate, 9), ["a"]);
    bench.accept(&order("x", Some("u"), change(&["a"])));
    let asked = bench.now.wall.0;
    bench.wait(5000);
    bench.settle_of(CallKind::Associate, &["a"], &Verdict::Done);
    bench.list(&[("a", asked + 4000)]);
    assert_eq!(bench.take(9), ["a"]);
    bench.settle(&["a"], &Verdict::Done);
    assert_eq!(bench.status("x", "u"), RequestStatus::Succeeded);

    bench.wait(600_000);
    bench.accept(&order("x", Some("v"), change(&["a"])));
    let again = bench.now.wall.0 + 1000;
    bench.wait(2000);
    bench.list(&[("a", again)]);
    assert_eq!(bench.take(9), Vec::<String>::new());
    assert_eq!(bench.status("x", "v"), RequestStatus::Failed);
}

/// A list may lag behind what the agent did, in either direction.
#[test]
fn a_list_that_lags_does_not_undo_an_association() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1)]);
    for (n, change) in [change(&["a"]), associate(&["a"])].into_iter().enumerate() {
        let call_kind = change.operation.call_kind().unwrap();
        bench.accept(&order("x", Some(&format!("t{n}")), change));
        bench.take_of(call_kind, 9);
        bench.settle_of(call_kind, &["a"], &Verdict::Done);
    }
    bench.wait(1000);
    bench.list(&[]);
    assert_eq!(bench.state("a"), Some(DeviceState::Associated), "as it was between the two");
    bench.wait(301_000);
    bench.list(&[]);
    assert_eq!(bench.state("a"), Some(DeviceState::Disassociated), "that is no lag any more");
}

/// The registry keeps what the agent changed for a while although a list shows otherwise, but that
/// settles no later request.
#[test]
fn a_list_that_may_lag_behind_shows_no_success() {
    let mut bench = Bench::new();
    bench.list(&[]);
    let ask = |bench: &mut Bench, token, call_kind, verdict| {
        let change = if call_kind == CallKind::Associate { associate(&["a"]) } else { change(&["a"]) };
        bench.accept(&order("x", Some(token), change));
        bench.take_of(call_kind, 9);
        bench.settle_of(call_kind, &["a"], &verdict);
        bench.wait(50_000);
    };
    ask(&mut bench, "t1", CallKind::Associate, Verdict::Done);
    // Somebody else disassociated the device meanwhile.
    ask(&mut bench, "t2", CallKind::Associate, Verdict::AwaitList(fault("No")));
    bench.list(&[]);
    assert_eq!((bench.status("x", "t2"), bench.state("a")), (RequestStatus::Failed, Some(DeviceState::Disassociated)));
    ask(&mut bench, "t3", CallKind::Associate, Verdict::Done);
    ask(&mut bench, "t4", CallKind::Disassociate, Verdict::Done);
    let now = bench.now.wall.0;
    // And somebody else associated it.
    ask(&mut bench, "t5", CallKind::Disassociate, Verdict::AwaitList(fault("No")));
    bench.list(&[("a", now)]);
    assert_eq!((bench.status("x", "t5"), bench.state("a")), (RequestStatus::Failed, Some(DeviceState::Associated)));
}
