//! The layout of the rows themselves: how many are written, how large they are, and that none is
//! left behind or missed.

use std::collections::BTreeSet;

use super::*;

/// Each row costs time and flash: those of a command of one listed device, over its life.
#[test]
fn a_command_is_few_writes() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1)]);
    bench.store.record();
    bench.accept(&order("x", Some("t"), change(&["a"])));
    bench.run(|tx| delivered(tx, 0));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    bench.run(|tx| delivered(tx, 1));
    bench.wait(1000);
    let before = bench.now.wall;
    while !bench.run(|tx| forget_requests(tx, before)) {}
    bench.forget_devices(before);
    while !bench.run(|tx| forget_stories(tx, before)) {}
    let mut writes = std::collections::BTreeMap::new();
    for (key, value) in bench.store.recorded().into_iter().flatten().filter(|(key, _)| key[0] != b'm') {
        *writes.entry((char::from(key[0]), value.is_some())).or_insert(0) += 1;
    }
    assert!(writes.values().sum::<i32>() <= 29, "{writes:?}");
}

#[test]
fn a_large_command_is_one_commit_of_many_small_batches() {
    let mut bench = Bench::new();
    let mut group = Group::default();
    testing::accept_many(&bench.store, &mut group, 3000);
    group.apply(&mut bench.store).unwrap();
    assert_eq!(bench.store.rows.iter().filter(|(key, _)| key[0] == b'j').count(), 0, "the journal is struck off");
    assert_eq!(bench.store.rows.iter().filter(|(key, _)| key[0] == b'e').count(), 3000);
    assert!(bench.store.rows.values().all(|value| value.len() <= 4096));
}

#[test]
fn an_audit_misses_no_row() {
    let mut bench = Bench::with(r#"{"coreThingName":"MyCore","region":"r","publishDevices":true}"#);
    bench.list(&[("a", 5), ("b", 5), ("c", 5)]);
    bench.accept(&order("bench", Some("t"), change(&["a", "b", "x"])));
    bench.take(2);
    bench.settle(&["a"], &Verdict::Failed(fault("No")));
    bench.settle(&["b"], &Verdict::Done);
    let whole = bench.store.rows.clone();
    let wrong = |bench: &Bench| {
        let mut group = Group::default();
        let tx = Tx::begin(&bench.store, &mut group, bench.now, &bench.rules).unwrap();
        audit(&tx).unwrap()
    };
    assert_eq!(wrong(&bench), Vec::<String>::new());
    let mut prefixes = BTreeSet::new();
    for key in whole.keys().filter(|key| !matches!(key[..], [b'm', ..])) {
        bench.store.rows.remove(key);
        let wrong = wrong(&bench);
        // Deadlines, retained messages and stories are found by their bytes alone.
        let least = if matches!(key[0], b'x' | b'q' | b'h') { 1 } else { 2 };
        assert!(wrong.len() >= least, "{:?} is missed: {wrong:?}", String::from_utf8_lossy(key));
        prefixes.insert(key[0]);
        bench.store.rows.clone_from(&whole);
    }
    assert_eq!(prefixes, b"defhklnoprtwxq".iter().copied().collect());
}
