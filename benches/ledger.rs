//! The time of the ledger alone for 1,000 and 10,000 entries, on a real disk: accepting, taking and
//! settling.
//!
//! `cargo bench --bench ledger [-- DIRECTORY]`. Prints the fastest of several rounds, and the
//! ratio, which is 10 if the time is proportional to the number of entries.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use offboard::{
    config,
    domain::{
        Again, CallKind, CallToken, Change, ClientId, ClientToken, Operation, Target, ThingName, Verdict, WallClock,
        Window,
    },
    ledger::{self, Ledger, Order, Pick, Rules},
    runtime::clock::Clock,
};

const ROUNDS: usize = 5;

/// Number of entries in one command: about the maximum for `limits.maxPayloadBytes`.
const COMMAND: u32 = 2500;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let dir = dir.map_or_else(std::env::temp_dir, Into::into);
    let mut whole = Vec::new();
    println!("| entries | accept, ms | take and settle, ms | both, ms | µs an entry |");
    println!("| --- | --- | --- | --- | --- |");
    for entries in [1_000, 10_000] {
        let rounds = (0..ROUNDS).map(|_| runtime.block_on(round(&dir, entries)));
        let (accept, settle) = rounds.min_by_key(|(accept, settle)| *accept + *settle).unwrap();
        let both = accept + settle;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let each = both.as_secs_f64() * 1e6 / f64::from(entries);
        println!("| {entries} | {:.1} | {:.1} | {:.1} | {each:.1} |", ms(accept), ms(settle), ms(both));
        whole.push(both);
    }
    println!("ratio {:.1} for ten times the entries", whole[1].as_secs_f64() / whole[0].as_secs_f64());
}

/// Processes a number of entries on a fresh store, from acceptance to completion; each step is
/// durable.
async fn round(dir: &std::path::Path, entries: u32) -> (Duration, Duration) {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let (config, _) = config::parse(r#"{"coreThingName":"Core","region":"r"}"#, |_| None).unwrap();
    let (ledger, closed) = Ledger::start(dir.path(), Rules::from(&config), Clock::start()).unwrap();
    let order = |first: u32| {
        let name = |n: u32| Target::Device(ThingName::new(&format!("sensor-{n:06}")).unwrap());
        let change = Change {
            operation: Operation::DisassociateClientDevices,
            targets: (first..entries.min(first + COMMAND)).map(name).collect(),
            force: false,
            dry_run: false,
            issued_at: None,
            expires_in: None,
            reason: None,
        };
        let token = ClientToken::new(&format!("t{first}")).unwrap();
        let client = ClientId::new("bench").unwrap();
        Order { client, token: Some(token.clone()), fresh_token: token, change, delivery: None, clock_confirmed: true }
    };
    let orders: Vec<Order> = (0..entries).step_by(COMMAND as usize).map(order).collect();
    let start = Instant::now();
    for order in orders {
        ledger.run(move |tx| ledger::accept(tx, &order)).await.unwrap().unwrap();
    }
    let accept = start.elapsed();
    let start = Instant::now();
    loop {
        let pick = Pick::Queue { limit: 100, window: Window::OPEN, again: Some(Again::default()), shut: Vec::new() };
        let take = ledger.run(move |tx| {
            ledger::take(tx, CallKind::Disassociate, &pick, WallClock::Confirmed, &CallToken::from_bits(0))
        });
        let taken = take.await.unwrap();
        if taken.entries.is_empty() {
            break;
        }
        let mut verdicts: VecDeque<_> = taken.entries.into_iter().map(|(target, _)| (target, Verdict::Done)).collect();
        let settle = ledger.run_steps(move |tx| {
            ledger::settle(tx, CallKind::Disassociate, &mut verdicts)?;
            Ok(ledger::Step::when(verdicts.is_empty(), ()))
        });
        settle.await.unwrap();
    }
    let settle = start.elapsed();
    drop(ledger);
    closed.await.unwrap();
    (accept, settle)
}
