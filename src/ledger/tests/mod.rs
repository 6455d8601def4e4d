//! A bench for the rules, on a store in memory: after each transaction the totals and indexes are
//! counted again from the records.

mod damaged;
mod keeping;
mod layout;
mod opposites;
mod property;
mod rules;
mod story;
mod view;

use std::{collections::VecDeque, time::Duration};

use super::{
    testing::{self, MemStore},
    view::{Snapshot, View},
    *,
};
use crate::{
    config,
    model::{
        Again, AssetId, CallToken, Change, ClientId, ClientToken, DeviceState, Fault, Lane, Now, Operation,
        RejectionCode, Request, RequestStatus, SyncCounts, Target, ThingName, Timestamp, Verdict, Window,
    },
};

#[derive(Clone)]
struct Bench {
    store: MemStore,
    rules: Rules,
    now: Now,
    /// Leaves the counting away, where a test goes over the same steps too often for it.
    trusting: bool,
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

impl Bench {
    fn new() -> Self {
        Self::with(r#"{"coreThingName":"MyCore","region":"r"}"#)
    }

    fn with(text: &str) -> Self {
        let (config, _) = config::parse(text, |_| None).unwrap();
        let mut store = MemStore::default();
        open(&mut store).unwrap();
        let now = Now { wall: Timestamp(1_000_000), ..Now::default() };
        Self { store, rules: Rules::from(&config), now, trusting: false }
    }

    fn view(&self) -> &impl View {
        &self.store.rows
    }

    /// All that is stored, and how many bytes it takes: for what must leave nothing behind.
    fn contents(&mut self) -> (Snapshot, u64) {
        (Snapshot::of(self.view()), self.summary().live_bytes)
    }

    fn wait(&mut self, millis: u64) {
        self.now.wall.0 += i64::try_from(millis).unwrap();
        self.now.mono.0 += millis;
    }

    fn run<R>(&mut self, rule: impl FnOnce(&mut Tx<'_>) -> Result<R, StoreError>) -> R {
        let mut group = Group::default();
        let mut tx = Tx::begin(&self.store, &mut group, self.now, &self.rules).unwrap();
        let result = rule(&mut tx).unwrap();
        tx.end();
        group.apply(&mut self.store).unwrap();
        if !self.trusting {
            testing::recount(&self.store, &self.rules);
        }
        result
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
        let mut after = Vec::new();
        let listed = |name: &ThingName| devices.iter().any(|(listed, _)| *listed == name.as_str());
        while !self.run(|tx| remove_unlisted(tx, list, listed, &mut after, &mut counts)) {}
        for lane in Lane::ALL {
            let mut after = Vec::new();
            while !self.run(|tx| verify(tx, lane, list, true, &mut after)) {}
        }
        while !self.run(|tx| end_list(tx, list, counts)) {}
        counts
    }

    fn take(&mut self, limit: usize) -> Vec<String> {
        self.take_of(Lane::Disassociate, limit)
    }

    fn take_of(&mut self, lane: Lane, limit: usize) -> Vec<String> {
        let pick = Pick::Queue { limit, window: Window::OPEN, again: Some(Again::default()), shut: Vec::new() };
        let taken = self.run(|tx| take(tx, lane, &pick, true, &CallToken::from_bits(0)));
        taken.entries.into_iter().map(|(target, _)| target.name().to_owned()).collect()
    }

    fn settle(&mut self, names: &[&str], verdict: &Verdict) {
        self.settle_of(Lane::Disassociate, names, verdict);
    }

    fn settle_of(&mut self, lane: Lane, names: &[&str], verdict: &Verdict) {
        let mut verdicts: VecDeque<_> = names.iter().map(|name| (device(name), verdict.clone())).collect();
        while !verdicts.is_empty() {
            self.run(|tx| settle(tx, lane, &mut verdicts));
        }
    }

    fn expire(&mut self) {
        let mut after = Vec::new();
        while !self.run(|tx| expire(tx, &mut after)) {}
    }

    fn forget_devices(&mut self, before: Timestamp) {
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
        let (owed, _) = self.run(|tx| owed(tx, 0, 1000, 100));
        owed.into_iter().map(|owed| (owed.request.token.to_string(), owed.completed)).collect()
    }
}
