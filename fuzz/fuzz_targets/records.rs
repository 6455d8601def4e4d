//! Stored records: whatever stands in a store, opening it and working on it ends in an error or in
//! a sensible result, never in a panic, without an end, or in memory without a bound.
//!
//! The input starts from one of a few stores that the ledger itself has written, damages it row by
//! row, and runs some of the rules in between; then everything that the agent ever does is done to
//! what is left.

#![no_main]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::LazyLock,
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use offboard::{
    config,
    ledger::{self, Direction, Early, Group, Op, Order, Pick, Row, Rules, Store, StoreError, Tx},
    model::{
        Again, AssetId, CallToken, Change, ClientId, ClientToken, DeviceState, Fault, Lane, MonitorId, Mono, Now,
        Operation, RequestStatus, SyncCounts, Target, ThingName, Timestamp, Verdict, Window,
    },
    wire::messages,
};

/// Steps in which a rule that goes on over several transactions has to end, on stores of a few
/// hundred rows.
const MAX_STEPS: usize = 3000;

/// Rows that the work on a store may add to it.
const MAX_NEW_ROWS: usize = 2000;

/// Writes in one batch, which the ledger promises never to exceed.
const MAX_BATCH: usize = 256;

/// What a number in a record may have become.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740993",
    "1e300",
    "0.5",
    "null",
    "\"1\"",
    "[]",
    "{}",
];

#[derive(Clone, Default)]
struct MemStore {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Batches after which it fails, as at a crash.
    left: Option<usize>,
}

impl Store for MemStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.rows.range(from.to_vec()..to.to_vec()).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match direction {
            Direction::Up => rows.take(limit).collect(),
            Direction::Down => rows.rev().take(limit).collect(),
        })
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        assert!(ops.len() <= MAX_BATCH, "a batch of {} writes", ops.len());
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(StoreError::Full)?;
        }
        for (key, value) in ops {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let text = r#"{"coreThingName":"MyCore","region":"r","publishDevices":true,"guard":{"protected":["keep-*"]}}"#;
    Rules::from(&config::parse(text, |_| None).expect("a configuration").0)
});

static BASES: LazyLock<Vec<MemStore>> = LazyLock::new(|| vec![empty(), lively(), crowded(), half_applied()]);

struct Bench {
    store: MemStore,
    now: Now,
}

type Outcome<R = ()> = Result<R, StoreError>;

impl Bench {
    fn new(store: MemStore) -> Self {
        Self { store, now: Now { wall: Timestamp(1_800_000_000_000), mono: Mono(5000), boot: 1 } }
    }

    /// One transaction, as the ledger's thread runs it.
    fn run<R>(&mut self, rule: impl FnOnce(&mut Tx<'_>) -> Outcome<R>) -> Outcome<R> {
        let mut group = Group::default();
        let mut tx = Tx::begin(&self.store, &mut group, self.now, &RULES)?;
        let result = rule(&mut tx)?;
        let _ = tx.summary();
        tx.end();
        group.apply(&mut self.store)?;
        Ok(result)
    }

    fn until(&mut self, what: &str, mut rule: impl FnMut(&mut Tx<'_>) -> Outcome<bool>) -> Outcome {
        for _ in 0..MAX_STEPS {
            if self.run(&mut rule)? {
                return Ok(());
            }
        }
        panic!("{what} does not end")
    }

    fn accept(&mut self, client: &str, token: Option<&str>, operation: Operation, names: &[String]) -> Outcome {
        let targets = match operation {
            Operation::Sync => vec![Target::Registry],
            Operation::DisassociateAssets => names.iter().map(|name| child(name)).take(1).collect(),
            Operation::DisassociateProjectAssets => (0..names.len()).map(project_asset).collect(),
            _ => names.iter().map(|name| device(name)).collect(),
        };
        let change = Change {
            operation,
            targets,
            force: true,
            dry_run: false,
            issued_at: None,
            expires_in: token.is_some_and(|token| token.starts_with('x')).then_some(Duration::from_secs(600)),
            reason: Some("why".into()),
        };
        let order = Order {
            client: self::client(client),
            token: token.map(self::token),
            fresh_token: self::token("made"),
            change,
            delivery: token.is_none().then_some(([7; 32], true)),
            clock_confirmed: true,
        };
        self.run(|tx| {
            let _ = ledger::plan(tx, &order.change)?;
            ledger::accept(tx, &order).map(drop)
        })
    }

    /// Takes a call's entries, and settles them with each kind of answer in turn, from kind `first`
    /// on.
    fn call(&mut self, limit: usize, window: Window, first: usize) -> Outcome {
        for lane in Lane::ALL.into_iter().filter(|lane| lane.traits().max_entries > 0) {
            self.call_of(lane, limit.min(lane.traits().max_entries), window, first)?;
        }
        Ok(())
    }

    fn call_of(&mut self, lane: Lane, limit: usize, window: Window, first: usize) -> Outcome {
        let shut =
            if first % 3 == 1 { vec![project_asset(0).scope().unwrap_or_default().to_owned()] } else { Vec::new() };
        let again = Again { entry: (first as u64 / 4, 0), resource: (first as u64) << 56 };
        let pick = Pick::Queue { limit, window, again: Some(again), shut };
        let fresh = CallToken::from_bits(first as u128);
        let taken = self.run(|tx| ledger::take(tx, lane, &pick, first.is_multiple_of(2), &fresh))?;
        assert!(taken.entries.len() <= 2 * limit, "a call of {} entries", taken.entries.len());
        let targets: Vec<Target> = taken.entries.into_iter().map(|(target, _)| target).collect();
        let again = Pick::These(targets.iter().take(3).cloned().collect());
        self.run(|tx| ledger::take(tx, lane, &again, true, &fresh).map(drop))?;
        let fault = || Fault::new("Code", "why");
        let verdict = |n: usize| match n % 7 {
            0 => Verdict::Done,
            1 => Verdict::Failed(fault()),
            2 => Verdict::Again(fault()),
            3 => Verdict::Unsent(fault()),
            4 => Verdict::Unknown(fault()),
            5 => Verdict::Aside(fault()),
            _ => Verdict::Verify(fault()),
        };
        let mut verdicts: VecDeque<_> =
            targets.into_iter().enumerate().map(|(n, target)| (target, verdict(first + n))).collect();
        self.until("settle", |tx| {
            ledger::settle(tx, lane, &mut verdicts)?;
            Ok(verdicts.is_empty())
        })
    }

    /// The cloud's list, which names the devices that `listed` takes.
    fn list(&mut self, listed: impl Fn(&str) -> bool) -> Outcome {
        self.run(|tx| ledger::sync_wanted(tx).map(drop))?;
        let mark = self.run(|tx| Ok(ledger::begin_list(tx)))?;
        let page: Vec<_> = (0..24)
            .map(|n| (thing(&format!("d{n:02}")), (n % 7 != 0).then_some(Timestamp(1_700_000_000_000 + n))))
            .filter(|(thing, _)| listed(thing.as_str()))
            .collect();
        let (mut done, mut counts, mut after) = (0, SyncCounts::default(), Vec::new());
        self.until("apply_page", |tx| ledger::apply_page(tx, mark, &page, &mut done, &mut counts))?;
        let is_listed = |thing: &ThingName| listed(thing.as_str());
        self.until("remove_unlisted", |tx| ledger::remove_unlisted(tx, mark, is_listed, &mut after, &mut counts))?;
        after.clear();
        for lane in Lane::ALL {
            after.clear();
            self.until("verify", |tx| ledger::verify(tx, lane, mark, true, &mut after))?;
        }
        self.until("end_list", |tx| ledger::end_list(tx, mark, counts))
    }

    fn upkeep(&mut self, keep: Duration) -> Outcome {
        let mut after = Vec::new();
        self.until("expire", |tx| ledger::expire(tx, &mut after))?;
        let before = self.now.wall.before(keep);
        self.until("forget_requests", |tx| ledger::forget_requests(tx, before))?;
        after.clear();
        self.until("forget_devices", |tx| ledger::forget_devices(tx, before, &mut after))?;
        self.until("forget_stories", |tx| ledger::forget_stories(tx, before))?;
        let mut early = Early::new(before, 0);
        self.until("forgetting early", |tx| early.step(tx))
    }

    /// Publishes what is owed, and acknowledges every second message.
    fn publish(&mut self) -> Outcome {
        let mut from = 0;
        for step in 0.. {
            assert!(step < MAX_STEPS, "the outbox does not end");
            let (owed, last) = self.run(|tx| ledger::owed(tx, from, 16, messages::MAX_ERROR_ENTRIES))?;
            let Some(last) = last else { break };
            let mut even = Vec::new();
            for message in owed {
                let bytes = match message.completed {
                    true => messages::completed(&message.request, message.failures, 16_384),
                    false => messages::accepted(&message.request, message.unknown, 16_384),
                };
                assert!(!bytes.is_empty());
                if message.n.is_multiple_of(2) {
                    even.push(message.n);
                }
            }
            self.run(|tx| even.iter().try_for_each(|n| ledger::delivered(tx, *n)))?;
            let Some(next) = last.checked_add(1) else { break };
            from = next;
        }
        let mut name = None;
        for step in 0.. {
            assert!(step < MAX_STEPS, "the devices do not end");
            let outdated = self.run(|tx| ledger::outdated(tx, name.as_ref(), 20))?;
            let Some(last) = outdated.last() else { break };
            name = Some(last.thing.clone());
            self.run(|tx| {
                outdated.into_iter().try_for_each(|one| {
                    let _ = one.view.map(|view| messages::to_json(&messages::device(view, None)));
                    ledger::published(tx, &one.thing, one.change)
                })
            })?;
        }
        Ok(())
    }

    /// Every question, page by page.
    fn ask(&mut self) -> Outcome {
        for state in [None].into_iter().chain(DeviceState::ALL.iter().copied().map(Some)) {
            self.pages(|tx, after| {
                let rows = ledger::devices(tx, state, after, 20)?;
                for (_, view) in rows.rows {
                    let _ = messages::to_json(&messages::device(view, None));
                }
                Ok(rows.next)
            })?;
        }
        for name in ["bench", "other", "nobody"] {
            let client = client(name);
            let mut found = Vec::new();
            for status in [None, Some(RequestStatus::InProgress), Some(RequestStatus::Succeeded)] {
                self.pages(|tx, before| {
                    let rows = ledger::requests(tx, Some(&client), status, before, 20)?;
                    for (_, request) in rows.rows {
                        assert!(!messages::to_json(&messages::request_summary(&request)).is_empty());
                        found.push(request);
                    }
                    Ok(rows.next)
                })?;
            }
            found.truncate(5);
            for request in found {
                self.run(|tx| ledger::find_request(tx, &request.client, &request.token).map(drop))?;
                self.pages(|tx, after| Ok(ledger::failures(tx, request.seq, after, 20)?.next))?;
            }
        }
        self.run(|tx| ledger::device(tx, &thing("d00")).map(drop))
    }

    fn pages(&mut self, mut page: impl FnMut(&Tx<'_>, Option<&str>) -> Outcome<Option<String>>) -> Outcome {
        // In one transaction: beginning one costs more than a page.
        self.run(|tx| {
            let mut cursor: Option<String> = None;
            for _ in 0..MAX_STEPS {
                cursor = page(tx, cursor.as_deref())?;
                if cursor.is_none() {
                    return Ok(());
                }
            }
            panic!("a list does not end")
        })
    }

    fn step(&mut self, rule: u8, argument: u8) -> Outcome {
        let number = u64::from(argument);
        match rule % 12 {
            0 => self.call(usize::from(argument) % 100 + 1, Window::OPEN, usize::from(argument)),
            1 => self.call(40, Window { cleared: number % 16, fresh: number / 16 }, 0),
            2 => self.list(|name| name.as_bytes().last().is_some_and(|last| argument >> (last % 8) & 1 == 1)),
            3 => self.upkeep(Duration::from_secs(number * 60)),
            4 => self.publish(),
            5 => self.ask(),
            6 => self.cancel(number),
            7 => self.until("disown", |tx| ledger::disown(tx, number)),
            8 => {
                let names: Vec<_> = (0..u64::from(argument % 32)).map(|n| format!("d{n:02}")).collect();
                let operations = [
                    Operation::DisassociateClientDevices,
                    Operation::AssociateClientDevices,
                    Operation::DisassociateProjectAssets,
                    Operation::DisassociateAssets,
                ];
                let operation = operations[usize::from(argument / 64)];
                if names.is_empty() {
                    return Ok(());
                }
                self.accept("other", Some(&format!("x{argument}")), operation, &names)
            }
            9 => self.accept("bench", Some(&format!("s{argument}")), Operation::Sync, &[]),
            10 => {
                let wall = [0, -1, i64::MAX, i64::MIN, 1_700_000_000_000, 4_000_000_000_000][usize::from(argument) % 6];
                self.now =
                    Now { wall: Timestamp(wall), mono: Mono(self.now.mono.0.saturating_add(number << 16)), boot: 1 };
                Ok(())
            }
            _ => {
                let hash = [argument; 32];
                self.run(|tx| ledger::acknowledged(tx, &hash, number))?;
                ledger::open(&mut self.store).map(drop)
            }
        }
    }

    fn cancel(&mut self, seq: u64) -> Outcome {
        let mut so_far = ledger::Canceled::default();
        self.until("cancel", |tx| ledger::cancel(tx, seq, &mut so_far))
    }

    fn everything(&mut self) -> Outcome {
        self.ask()?;
        for n in [0, 3] {
            self.call(30, Window::OPEN, n)?;
        }
        self.publish()?;
        self.list(|name| !name.ends_with('3'))?;
        self.cancel(2)?;
        self.now.wall = self.now.wall.after(Duration::from_secs(7200));
        self.now.mono = self.now.mono.after(Duration::from_secs(7200));
        self.upkeep(Duration::from_secs(3600))?;
        self.call(100, Window::OPEN, 0)?;
        self.list(|_| false)?;
        self.until("disown", |tx| ledger::disown(tx, 5))?;
        let names: Vec<_> = (0..5).map(|n| format!("d{n:02}")).collect();
        self.accept("bench", None, Operation::DisassociateClientDevices, &names)?;
        self.ask()?;
        self.publish()?;
        self.upkeep(Duration::ZERO)
    }
}

fn thing(name: &str) -> ThingName {
    ThingName::new(name).expect("a thing name")
}

fn device(name: &str) -> Target {
    Target::Device(thing(name))
}

fn child(name: &str) -> Target {
    let id = |text: &str| AssetId::new(&format!("externalId:{text}")).expect("an asset's id");
    Target::Child { asset: id("parent"), hierarchy: id("line"), child: id(name) }
}

fn project_asset(n: usize) -> Target {
    let id = |text: &str| MonitorId::new(text).expect("an id");
    Target::ProjectAsset {
        project: id("c1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f"),
        asset: id(&format!("a1b2c3d4-5678-90ab-cdef-{n:012}")),
    }
}

fn client(name: &str) -> ClientId {
    ClientId::new(name).expect("a client")
}

fn token(text: &str) -> ClientToken {
    ClientToken::new(text).expect("a token")
}

fn empty() -> MemStore {
    let mut store = MemStore::default();
    ledger::open(&mut store).expect("opens");
    store
}

/// Some of everything, in every state.
fn lively() -> MemStore {
    let mut bench = Bench::new(empty());
    let build = |bench: &mut Bench| -> Outcome {
        let range = |from: u32, to: u32| (from..to).map(|n| format!("d{n:02}")).collect::<Vec<_>>();
        let off = Operation::DisassociateClientDevices;
        bench.list(|_| true)?;
        bench.accept("bench", Some("t0"), off, &range(0, 6))?;
        bench.call(6, Window::OPEN, 0)?;
        bench.accept("bench", Some("t1"), off, &range(8, 14))?;
        bench.accept("other", Some("x1"), off, &range(12, 16))?;
        bench.accept("other", None, off, &range(20, 22))?;
        bench.accept("bench", Some("s1"), Operation::Sync, &[])?;
        bench.accept("bench", Some("t2"), off, &["unknown".into()])?;
        let pick = Pick::Queue { limit: 3, window: Window::OPEN, again: None, shut: Vec::new() };
        let fresh = CallToken::from_bits(1);
        bench.run(|tx| ledger::take(tx, Lane::Disassociate, &pick, true, &fresh).map(drop))?;
        // Behind what is in flight, and before what is not.
        bench.accept("bench", Some("t3"), Operation::AssociateClientDevices, &range(6, 12))?;
        bench.accept("bench", Some("p1"), Operation::DisassociateProjectAssets, &range(0, 5))?;
        bench.accept("bench", Some("c1"), Operation::DisassociateAssets, &range(0, 1))?;
        bench.run(|tx| ledger::take(tx, Lane::ProjectAssets, &pick, true, &fresh).map(drop))
    };
    build(&mut bench).expect("a sound store");
    bench.store
}

/// More requests for one device than are settled in one step.
fn crowded() -> MemStore {
    let mut bench = Bench::new(empty());
    for n in 0..42 {
        let accepted =
            bench.accept("bench", Some(&format!("t{n}")), Operation::DisassociateClientDevices, &["d00".into()]);
        accepted.expect("a sound store");
    }
    bench.store
}

/// A crash between the journal and what stands in it.
fn half_applied() -> MemStore {
    let mut bench = Bench::new(empty());
    bench.store.left = Some(3);
    let names: Vec<_> = (0..54).map(|n| format!("d{n:02}")).collect();
    let failed = bench.accept("bench", Some("t0"), Operation::DisassociateClientDevices, &names);
    assert_eq!(failed, Err(StoreError::Full));
    bench.store.left = None;
    bench.store
}

/// Reads the input byte by byte; what is missing is zero.
struct Input<'i>(&'i [u8]);

impl<'i> Input<'i> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> &'i [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

fn damage(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, kind: u8, input: &mut Input<'_>) {
    if kind == 0 {
        let (key, value) = (input.bytes().to_vec(), input.bytes().to_vec());
        rows.insert(key, value);
        return;
    }
    let chosen = usize::from(input.byte());
    let Some(count) = rows.len().checked_sub(1) else { return };
    let Some((key, value)) = rows.iter().nth(chosen.min(count)).map(|(key, value)| (key.clone(), value.clone())) else {
        return;
    };
    match kind {
        1 => {
            let (at, byte) = (usize::from(input.byte()), input.byte());
            if let Some(old) = rows.get_mut(&key).and_then(|value| value.get_mut(at)) {
                *old = byte;
            }
        }
        2 => {
            let (nth, number) = (usize::from(input.byte()), usize::from(input.byte()));
            rows.insert(key, with_number(&value, nth, NUMBERS[number % NUMBERS.len()]));
        }
        3 => drop(rows.remove(&key)),
        4 => {
            let other = usize::from(input.byte()).min(count);
            if let Some((_, target)) = rows.iter_mut().nth(other) {
                *target = value;
            }
        }
        5 => {
            let tail = input.bytes();
            let mut key = key;
            key.truncate(key.len().saturating_sub(tail.len()).max(1));
            key.extend_from_slice(tail);
            rows.insert(key, value);
        }
        _ => {
            let length = usize::from(input.byte());
            rows.insert(key, value.into_iter().take(length).collect());
        }
    }
}

/// The value with its `nth` run of digits replaced.
fn with_number(value: &[u8], nth: usize, number: &str) -> Vec<u8> {
    let is_number = |at: usize| value[at].is_ascii_digit() && (at == 0 || !value[at - 1].is_ascii_digit());
    let Some(start) = (0..value.len()).filter(|at| is_number(*at)).nth(nth) else { return value.to_vec() };
    let length = value[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    [&value[..start], number.as_bytes(), &value[start + length..]].concat()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let base = &BASES[usize::from(input.byte()) % BASES.len()];
    let mut bench = Bench::new(base.clone());
    let work = |bench: &mut Bench, input: &mut Input<'_>| -> Outcome {
        while !input.0.is_empty() {
            match input.byte() % 10 {
                kind @ 0..7 => damage(&mut bench.store.rows, kind, input),
                _ => {
                    let (rule, argument) = (input.byte(), input.byte());
                    bench.step(rule, argument)?;
                }
            }
        }
        ledger::open(&mut bench.store)?;
        bench.everything()?;
        ledger::open(&mut bench.store).map(drop)
    };
    match work(&mut bench, &mut input) {
        Ok(()) | Err(StoreError::Damaged(_) | StoreError::TooNew(_)) => {}
        Err(error @ (StoreError::Full | StoreError::Io(_) | StoreError::OfAnother(_))) => {
            panic!("a store in memory fails: {error}")
        }
    }
    let rows = base.rows.len() + data.len() + MAX_NEW_ROWS;
    assert!(bench.store.rows.len() <= rows, "{} rows", bench.store.rows.len());
});
