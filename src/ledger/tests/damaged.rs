//! Damaged rows, by their layout: each damage ends in an error that says so, and never in a panic,
//! in a rule without an end, or in a wrong answer. Most of these were found by `fuzz/`.

use super::*;

type Rows = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;
type Work = fn(&mut Bench) -> Result<(), StoreError>;
/// Its name, what it does to the rows, and what is then done with the store.
type Case = (&'static str, fn(&mut Rows), Work);

/// Steps in which each rule has to end here.
const MAX_STEPS: usize = 100;

impl Bench {
    /// As `run`, for a rule that may fail, and over as many transactions as it takes.
    fn until(&mut self, mut rule: impl FnMut(&mut Tx<'_>) -> Result<bool, StoreError>) -> Result<(), StoreError> {
        for _ in 0..MAX_STEPS {
            let mut group = Group::default();
            let mut tx = Tx::begin(&self.store, &mut group, self.now, &self.rules)?;
            let done = rule(&mut tx)?;
            tx.end();
            group.apply(&mut self.store)?;
            if done {
                return Ok(());
            }
        }
        panic!("the rule does not end")
    }
}

/// One request of a client `bench`, number 0, for 50 devices, the first of which was sent and
/// failed; and a sync.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..50).map(|n| format!("d{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut command = order("bench", Some("t"), change(&names));
    command.change.expires_in = Some(std::time::Duration::from_secs(60));
    bench.accept(&command);
    bench.take(1);
    bench.settle(&["d00"], &Verdict::Failed(fault("No")));
    bench
}

fn edit(rows: &mut Rows, key: &[u8], from: &str, to: &str) {
    let value = String::from_utf8(rows[key].clone()).unwrap();
    assert!(value.contains(from), "{value}");
    rows.insert(key.to_vec(), value.replacen(from, to, 1).into_bytes());
}

fn take_all(bench: &mut Bench) -> Result<(), StoreError> {
    let pick = Pick::Queue { limit: 100, window: Window::OPEN, again: Some(Again::default()), shut: Vec::new() };
    bench.until(|tx| take(tx, Lane::Disassociate, &pick, true, &CallToken::from_bits(0)).map(|taken| !taken.more))
}

fn settle_all(bench: &mut Bench) -> Result<(), StoreError> {
    take_all(bench)?;
    let mut verdicts: VecDeque<_> = (1..50).map(|n| (device(&format!("d{n:02}")), Verdict::Done)).collect();
    bench.until(|tx| settle(tx, Lane::Disassociate, &mut verdicts).map(|()| verdicts.is_empty()))
}

fn expire_all(bench: &mut Bench) -> Result<(), StoreError> {
    bench.wait(61_000);
    let mut after = Vec::new();
    bench.until(|tx| expire(tx, &mut after))
}

fn forget_all(bench: &mut Bench) -> Result<(), StoreError> {
    bench.until(|tx| forget_requests(tx, Timestamp(i64::MAX)))?;
    let mut after = Vec::new();
    bench.until(|tx| forget_devices(tx, Timestamp(i64::MAX), &mut after))?;
    bench.until(|tx| forget_stories(tx, Timestamp(i64::MAX)))
}

fn disown_all(bench: &mut Bench) -> Result<(), StoreError> {
    bench.until(|tx| disown(tx, 0))
}

fn owed_all(bench: &mut Bench) -> Result<(), StoreError> {
    let mut from = 0;
    bench.until(|tx| {
        let (_, last) = owed(tx, from, 1, 100)?;
        from = last.map_or(from, |last| last + 1);
        Ok(last.is_none())
    })
}

fn failures_all(bench: &mut Bench) -> Result<(), StoreError> {
    let mut cursor = None;
    bench.until(|tx| {
        cursor = failures(tx, 0, cursor.as_deref(), 1)?.next;
        Ok(cursor.is_none())
    })
}

fn request_0(bench: &mut Bench) -> Result<(), StoreError> {
    let (client, token) = (ClientId::new("bench").unwrap(), ClientToken::new("t").unwrap());
    bench.until(|tx| find_request(tx, &client, &token).map(|request| request.is_some()))
}

fn reopen(bench: &mut Bench) -> Result<(), StoreError> {
    open(&mut bench.store).map(drop)
}

/// Moves a row to a key that has a few bytes more.
fn lengthen(rows: &mut Rows, key: &[u8]) {
    let value = rows.remove(key).unwrap();
    rows.insert([key, b"xyz"].concat(), value);
}

#[test]
fn each_damage_is_told_and_ends_what_it_met() {
    let cases: &[Case] = &[
        ("a total beyond belief", |rows| edit(rows, b"mcounters", "\"run\":1", "\"run\":18446744073709551615"), reopen),
        (
            "a total beyond belief, later",
            |rows| edit(rows, b"mcounters", "\"mark\":", "\"mark\":1844674407370955161"),
            settle_all,
        ),
        ("a request by another number", |rows| edit(rows, &schema::request(0), "\"seq\":0", "\"seq\":7"), request_0),
        (
            "a request with more ends than entries",
            |rows| edit(rows, &schema::request(0), "\"succeeded\":0", "\"succeeded\":4294967295"),
            request_0,
        ),
        (
            "a request with fewer open entries than rows",
            |rows| edit(rows, &schema::request(0), "\"open\":49", "\"open\":3"),
            settle_all,
        ),
        ("a queue row without its work", |rows| drop(rows.remove(&schema::work(&device("d01")))), take_all),
        (
            "a queue row in another's place",
            |rows| drop(rows.insert(schema::queue(Lane::Disassociate, schema::Queue::Fresh, 0, 2), b"dd01".to_vec())),
            take_all,
        ),
        ("a waiter's key too long", |rows| lengthen(rows, &schema::waiter(&device("d01"), 0, 1)), settle_all),
        ("an entry without its waiter", |rows| drop(rows.remove(&schema::waiter(&device("d01"), 0, 1))), expire_all),
        ("a waiter without its entry", |rows| drop(rows.remove(&schema::entry(0, 1))), settle_all),
        ("an entry's key too long", |rows| lengthen(rows, &schema::entry(0, 1)), expire_all),
        ("an entry's key too long, disowned", |rows| lengthen(rows, &schema::entry(0, 1)), disown_all),
        ("entries without waiters, disowned", |rows| rows.retain(|key, _| key[0] != b'p'), disown_all),
        ("a failure's key too long", |rows| lengthen(rows, &schema::failure(0, 0)), failures_all),
        (
            "an end that is owed and was not",
            |rows| edit(rows, &schema::outgoing(0), "\"completed\":false", "\"completed\":true"),
            owed_all,
        ),
        ("an outbox key too long", |rows| lengthen(rows, &schema::outgoing(0)), owed_all),
        ("a deadline's key too short", |rows| drop(rows.insert(b"xE".to_vec(), Vec::new())), expire_all),
        ("a retention's key too short", |rows| drop(rows.insert(b"xR".to_vec(), Vec::new())), forget_all),
        ("a tombstone's key too short", |rows| drop(rows.insert(b"xT".to_vec(), Vec::new())), forget_all),
    ];
    for (name, damage, work) in cases {
        let mut bench = bench();
        damage(&mut bench.store.rows);
        assert!(matches!(work(&mut bench), Err(StoreError::Damaged(_))), "{name}");
    }
}

#[test]
fn the_last_of_all_numbers_is_a_number() {
    let mut bench = bench();
    let last = schema::due(schema::Due::Request, Timestamp(0), &u64::MAX.to_be_bytes());
    bench.store.rows.insert(last, Vec::new());
    forget_all(&mut bench).unwrap();
}
