//! A test bench for the rules, with a registry in memory. After each transaction the bench recounts
//! the totals and indexes, replays the images of the transaction, and undoes and redoes it. Every
//! few transactions a checkpoint moves finished objects to the registry.

mod access;
mod broadcasts;
mod committing;
mod failing;
mod guards;
mod history;
mod keeping;
mod limits;
mod lists;
mod mending;
mod opposites;
mod property;
mod recovering;
mod rules;
mod view;

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{
    pending::{Group, State, Tx, read},
    registry::{Binding, Checkpoint, Step},
    testing::{self, rules},
    view::{Image, Snapshot, View},
    *,
};
use crate::domain::{
    Again, AssetId, CallKind, CallToken, Change, ClientId, ClientToken, DeviceState, Fault, Guard, Limits, Now,
    Operation, Pattern, RejectionCode, Request, RequestStatus, SyncCounts, Target, ThingName, Timestamp, Verdict, Via,
    WallClock, Window,
};

/// Transactions between two checkpoints.
const CHECKPOINT_EVERY: u32 = 3;

#[derive(Clone)]
struct Bench {
    image: Image,
    rules: Rules,
    now: Now,
    /// Turns the recount off, for tests that repeat the same steps too often for it.
    trusting: bool,
    transactions: u32,
    /// The number of transactions between two checks, for tests with very many transactions.
    check_every: u32,
    /// What the journal would have got.
    written: Vec<u8>,
}

fn thing(name: &str) -> ThingName {
    ThingName::new(name).unwrap()
}

fn device(name: &str) -> Target {
    Target::Device(thing(name))
}

fn change(names: &[&str]) -> Change {
    Change {
        operation: Operation::DisassociateClientDevices,
        targets: names.iter().map(|name| device(name)).collect(),
        force: false,
        dry_run: false,
        issued_at: None,
        expires_in: None,
        reason: None,
    }
}

fn associate(names: &[&str]) -> Change {
    Change { operation: Operation::AssociateClientDevices, ..change(names) }
}

fn order(client: &str, token: Option<&str>, change: Change) -> Order {
    Order {
        client: ClientId::new(client).unwrap(),
        token: token.map(|token| ClientToken::new(token).unwrap()),
        fresh_token: ClientToken::new("made").unwrap(),
        change,
        delivery: None,
        clock_confirmed: true,
    }
}

fn fault(code: &str) -> Fault {
    Fault::new(code, "text")
}

/// Protects the names of the agent itself, and more names.
fn guard(more: &[&str], max_fraction: f64) -> Guard {
    let more = more.iter().map(|name| Pattern::new(name));
    Guard { protected: rules().guard.protected.into_iter().chain(more).collect(), max_fraction }
}

fn limited_to(max_pending_entries: u64) -> Rules {
    let rules = rules();
    Rules { limits: Limits { max_pending_entries, ..rules.limits }, ..rules }
}

impl Bench {
    fn new() -> Self {
        Self::with(rules())
    }

    fn with(rules: Rules) -> Self {
        let now = Now { wall: Timestamp(1_000_000), ..Now::default() };
        Self {
            image: Image::default(),
            rules,
            now,
            trusting: false,
            transactions: 0,
            check_every: 1,
            written: Vec::new(),
        }
    }

    fn view(&self) -> &impl View {
        &self.image
    }

    fn contents(&mut self) -> Snapshot {
        Snapshot::of(self.view())
    }

    fn wait(&mut self, millis: u64) {
        self.now.wall.0 += i64::try_from(millis).unwrap();
        self.now.mono.0 += millis;
    }

    /// The time that is known to have passed.
    fn elapsed(&self) -> u64 {
        self.now.mono.0
    }

    fn run<R>(&mut self, rule: impl FnOnce(&mut Tx<'_>) -> Result<R, StoreError>) -> R {
        let is_checked = !self.trusting && self.transactions.is_multiple_of(self.check_every);
        let before = is_checked.then(|| self.image.clone());
        let Image { state, registry } = &mut self.image;
        let mut group = Group::default();
        let mut tx = Tx::begin(state, registry, &mut group, self.now, &self.rules);
        let result = rule(&mut tx).unwrap();
        tx.end();
        self.written.clear();
        if !group.is_empty() {
            self.written = group.images(state);
        }
        if let Some(before) = before {
            self.check(&before, group);
        }
        if !self.trusting {
            self.transactions += 1;
            if self.transactions.is_multiple_of(CHECKPOINT_EVERY) {
                self.checkpoint();
            }
        }
        result
    }

    /// The images of a transaction say all that it changed, and the old values undo it.
    fn check(&self, before: &Image, mut group: Group) {
        testing::recount(&self.image, &self.rules);
        testing::recount_bytes(&self.image);
        let (old, new) = (Snapshot::of(before), Snapshot::of(&self.image));
        let mut replayed = before.clone();
        // Twice: setting an image again changes nothing.
        for _ in 0..2 {
            read(&self.written, |image| drop(replayed.state.replay(image))).unwrap();
            assert_eq!(Snapshot::of(&replayed), new, "the journal says what changed");
        }
        replayed.state.index();
        testing::recount(&replayed, &self.rules);
        let mut undone = self.image.clone();
        group.undo(&mut undone.state);
        assert_eq!(Snapshot::of(&undone), old, "the old values undo it");
        testing::recount(&undone, &self.rules);
        testing::recount_bytes(&undone);
        group.redo(&mut undone.state, &mut self.written.clone(), &HashMap::new()).unwrap();
        assert_eq!(Snapshot::of(&undone), new);
        testing::recount_bytes(&undone);
    }

    /// Moves what is settled to the registry. Nothing that can be seen changes, and what was logged
    /// again is all that the journal needs.
    fn checkpoint(&mut self) {
        let before = Snapshot::of(&self.image);
        let Image { state, registry } = &mut self.image;
        let mut checkpoint = Checkpoint::begin(state, Binding::default(), registry);
        let mut carried = State::default();
        loop {
            match checkpoint.step(state, registry, Duration::ZERO).unwrap() {
                Step::Log(images) => read(&images, |image| drop(carried.replay(image))).unwrap(),
                Step::More | Step::Busy => {}
                Step::Done => break,
            }
        }
        checkpoint.complete(state);
        carried.counters = state.counters;
        carried.index();
        assert_eq!(Snapshot::of(&self.image), before, "a checkpoint changes nothing that can be seen");
        testing::recount(&self.image, &self.rules);
        testing::recount_bytes(&self.image);
        let carried = Image { state: carried, registry: self.image.registry.clone() };
        assert_eq!(Snapshot::of(&carried), before, "what is open is logged again");
        testing::recount(&carried, &self.rules);
    }

    fn accept(&mut self, order: &Order) -> Request {
        self.run(|tx| accept(tx, order)).unwrap()
    }

    fn refuse(&mut self, order: &Order) -> RejectionCode {
        let before = (self.contents(), self.view().totals(), self.view().sequence());
        let code = self.run(|tx| accept(tx, order)).unwrap_err().code;
        let after = (self.contents(), self.view().totals(), self.view().sequence());
        assert_eq!(before, after, "a refusal changes nothing");
        code
    }

    fn list(&mut self, devices: &[(&str, i64)]) -> SyncCounts {
        let list = self.run(|tx| Ok(begin_list(tx)));
        self.finish_list(list, devices)
    }

    fn finish_list(&mut self, list: ListMark, devices: &[(&str, i64)]) -> SyncCounts {
        let mut counts = SyncCounts { associated: u32::try_from(devices.len()).unwrap(), ..SyncCounts::default() };
        let page: Vec<_> = devices.iter().map(|(name, at)| (thing(name), Some(Timestamp(*at)))).collect();
        let mut done = 0;
        while !self.run(|tx| apply_page(tx, list, &page, &mut done, &mut counts)) {}
        let mut after = None;
        let listed = |name: &ThingName| devices.iter().any(|(listed, _)| *listed == name.as_str());
        while !self.run(|tx| remove_unlisted(tx, list, listed, &mut after, &mut counts)) {}
        for call_kind in CallKind::ALL {
            let mut after = (0, 0);
            while !self.run(|tx| settle_by_list(tx, call_kind, list, WallClock::Confirmed, &mut after)) {}
        }
        while !self.run(|tx| end_list(tx, list, counts)) {}
        counts
    }

    fn take(&mut self, limit: usize) -> Vec<String> {
        self.take_of(CallKind::Disassociate, limit)
    }

    fn take_of(&mut self, call_kind: CallKind, limit: usize) -> Vec<String> {
        let pick = Pick::Queue { limit, window: Window::OPEN, again: Some(Again::default()), shut: Vec::new() };
        let taken = self.run(|tx| take(tx, call_kind, &pick, WallClock::Confirmed, &CallToken::from_bits(0)));
        taken.entries.into_iter().map(|(target, _)| target.name().to_owned()).collect()
    }

    fn settle(&mut self, names: &[&str], verdict: &Verdict) {
        self.settle_of(CallKind::Disassociate, names, verdict);
    }

    fn settle_of(&mut self, call_kind: CallKind, names: &[&str], verdict: &Verdict) {
        let mut verdicts: VecDeque<_> = names.iter().map(|name| (device(name), verdict.clone())).collect();
        while !verdicts.is_empty() {
            self.run(|tx| settle(tx, call_kind, &mut verdicts));
        }
    }

    fn expire(&mut self) {
        let mut next = 0;
        while !self.run(|tx| expire(tx, WallClock::Confirmed, &mut next)) {}
    }

    fn forget_requests(&mut self, before: u64) {
        let mut next = 0;
        while !self.run(|tx| forget_requests(tx, before, &mut next)) {}
    }

    fn forget_devices(&mut self, before: u64) {
        let mut after = Vec::new();
        while !self.run(|tx| forget_devices(tx, before, &mut after)) {}
    }

    fn request(&mut self, client: &str, token: &str) -> Request {
        let (client, token) = (ClientId::new(client).unwrap(), ClientToken::new(token).unwrap());
        self.run(|tx| find_request(tx, &client, &token)).unwrap()
    }

    fn status(&mut self, client: &str, token: &str) -> RequestStatus {
        self.request(client, token).tally.status()
    }

    fn state(&mut self, name: &str) -> Option<DeviceState> {
        let name = thing(name);
        self.run(|tx| super::device(tx, &name)).map(|view| view.state)
    }

    fn summary(&mut self) -> Summary {
        self.run(|tx| Ok(tx.summary()))
    }

    fn owed(&mut self) -> Vec<(String, bool)> {
        let (owed, _) = self.run(|tx| owed(tx, Via::Mqtt, 0, 1000, 100));
        owed.into_iter().map(|owed| (owed.request.token.to_string(), owed.completed)).collect()
    }
}
