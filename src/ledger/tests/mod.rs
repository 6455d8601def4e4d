//! A bench for the rules, on a store in memory: after each transaction the totals and indexes are counted again from
//! the records.

mod damaged;
mod property;
mod rules;

use std::collections::{BTreeSet, VecDeque};

use super::{
    testing::{self, MemStore},
    *,
};
use crate::{
    config,
    model::{
        Change, ClientId, ClientToken, DeviceState, Fault, Lane, Now, Operation, RejectionCode, Request, RequestStatus,
        SyncCounts, Target, ThingName, Timestamp, Verdict, Window,
    },
};

struct Bench {
    store: MemStore,
    rules: Rules,
    now: Now,
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

fn order(client: &str, token: Option<&str>, change: Change) -> Order {
    Order {
        client: ClientId::new(client).unwrap(),
        token: token.map(|token| ClientToken::new(token).unwrap()),
        fresh_token: ClientToken::new("made").unwrap(),
        change,
        delivery: None,
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
        Self { store, rules: Rules::from(&config), now: Now { wall: Timestamp(1_000_000), ..Now::default() } }
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
        self.recount();
        result
    }

    /// Derived rows against what they are derived from.
    fn recount(&self) {
        let mut group = Group::default();
        let tx = Tx::begin(&self.store, &mut group, self.now, &self.rules).unwrap();
        let counters = &tx.counters;
        let of = |prefix: u8| self.store.rows.iter().filter(move |(key, _)| key[0] == prefix);
        let bytes: usize =
            self.store.rows.iter().filter(|(key, _)| key[0] != b'm').map(|(k, v)| k.len() + v.len()).sum();
        assert_eq!(counters.live_bytes, bytes as u64, "live bytes");
        let pending = of(b'e').filter(|(_, target)| **target != schema::target_bytes(&Target::Registry));
        assert_eq!(counters.open_entries, pending.count() as u64, "open entries");
        assert_eq!(of(b'e').count(), of(b'p').count(), "entries and waiters");
        assert_eq!(of(b'k').count(), of(b'w').count(), "work and queue");
        assert_eq!(of(b'd').count(), of(b's').count(), "devices and states");
        assert_eq!(counters.outgoing, of(b'o').count() as u64, "outbox");
        let requests: Vec<Request> = of(b'r').map(|(_, v)| schema::decode(v, "r").unwrap()).collect();
        let open = requests.iter().filter(|r| r.tally.status() == RequestStatus::InProgress).count();
        assert_eq!(counters.open_requests, open as u64, "open requests");
        for request in &requests {
            assert_eq!(request.completed_at.is_some(), request.tally.open == 0);
            let entries = of(b'e').filter(|(key, _)| key[1..9] == request.seq.to_be_bytes()).count();
            assert_eq!(entries, request.tally.open as usize);
            let failures = of(b'f').filter(|(key, _)| key[1..9] == request.seq.to_be_bytes()).count();
            assert_eq!(failures, request.tally.failed() as usize);
        }
        for state in DeviceState::ALL {
            let rows = devices(&tx, Some(*state), None, 10_000).unwrap().rows;
            assert_eq!(rows.len() as u64, tx.summary().devices(*state), "{state:?}");
        }
        let all = devices(&tx, None, None, 10_000).unwrap().rows.len() as u64;
        assert_eq!(all, DeviceState::ALL.iter().map(|state| tx.summary().devices(*state)).sum::<u64>());
        // Nobody waits for a target without work, and what nobody waits for was sent.
        let waited: BTreeSet<&[u8]> = of(b'p').map(|(key, _)| &key[3..key.len() - 12]).collect();
        for (key, value) in of(b'k') {
            let work: schema::Work = schema::decode(value, "k").unwrap();
            assert!(work.sent || waited.contains(&key[1..]), "work that nobody asked for");
        }
        assert!(waited.iter().all(|target| self.store.rows.contains_key(&[b"k", *target].concat())));
    }

    fn accept(&mut self, order: &Order) -> Request {
        self.run(|tx| accept(tx, order)).unwrap()
    }

    fn refuse(&mut self, order: &Order) -> RejectionCode {
        let before = self.store.rows.clone();
        let code = self.run(|tx| accept(tx, order)).unwrap_err().code;
        assert_eq!(before, self.store.rows, "a refusal writes nothing");
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
        let mut after = Vec::new();
        while !self.run(|tx| verify(tx, Lane::Disassociate, list.mark, true, &mut after)) {}
        while !self.run(|tx| end_list(tx, list, counts)) {}
        counts
    }

    fn take(&mut self, limit: usize) -> Vec<String> {
        let pick = Pick::Queue { limit, window: Window::OPEN, retries: true };
        let taken = self.run(|tx| take(tx, Lane::Disassociate, &pick, true));
        taken.entries.into_iter().map(|(target, _)| target.name().to_owned()).collect()
    }

    fn settle(&mut self, names: &[&str], verdict: &Verdict) {
        let mut verdicts: VecDeque<_> = names.iter().map(|name| (device(name), verdict.clone())).collect();
        while !verdicts.is_empty() {
            self.run(|tx| settle(tx, &mut verdicts));
        }
    }

    fn expire(&mut self) {
        let mut after = Vec::new();
        while !self.run(|tx| expire(tx, &mut after)) {}
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

    fn owed(&mut self) -> Vec<(String, bool)> {
        let (owed, _) = self.run(|tx| owed(tx, 0, 1000, 100));
        owed.into_iter().map(|owed| (owed.request.token.to_string(), owed.completed)).collect()
    }
}
