//! Tests of a journal that lost groups in the middle: the repaired state is consistent, the ledger
//! reports no unknown outcome as a success or a failure, and every open request ends.

use super::*;

/// A history of transactions, as the journal has it.
fn history() -> (Bench, Vec<Vec<u8>>) {
    let mut bench = Bench::with(Rules { publish_devices: true, ..rules() });
    // One journal from the beginning, without a checkpoint.
    bench.trusting = true;
    let mut groups = Vec::new();
    let mut note = |bench: &Bench| groups.push(bench.written.clone());
    bench.list(&[("a", 5), ("b", 5), ("c", 5), ("d", 5)]);
    note(&bench);
    for (token, command) in [
        ("t1", change(&["a", "b", "x"])),
        ("t2", change(&["a", "c"])),
        ("t3", associate(&["b", "y"])),
        ("t4", associate(&["a"])),
        ("t5", change(&["d"])),
    ] {
        bench.accept(&order("bench", Some(token), command));
        note(&bench);
        bench.take(2);
        note(&bench);
    }
    bench.settle(&["a"], &Verdict::Done);
    note(&bench);
    bench.settle(&["b"], &Verdict::AwaitList(fault("Perhaps")));
    note(&bench);
    let seq = bench.request("bench", "t5").seq;
    bench.run(|tx| cancel(tx, seq, &mut Canceled::default()));
    note(&bench);
    bench.take_of(CallKind::Associate, 9);
    note(&bench);
    bench.settle_of(CallKind::Associate, &["y"], &Verdict::Failed(fault("No")));
    note(&bench);
    bench.run(|tx| delivered(tx, 0));
    note(&bench);
    (bench, groups)
}

#[test]
fn whatever_part_of_the_journal_is_missing_the_rest_is_whole_and_comes_to_its_end() {
    let (origin, groups) = history();
    // Renews the beginning of the corpus of the fuzz target `records`.
    if let Some(file) = std::env::var_os("OFFBOARD_WRITE_CORPUS") {
        std::fs::write(file, groups.concat()).unwrap();
    }
    for from in 0..groups.len() {
        for to in from + 1..=groups.len() {
            let mut bench = Bench { image: Image::default(), ..origin.clone() };
            let state = &mut bench.image.state;
            for (n, group) in groups.iter().enumerate() {
                if n == to {
                    state.lose_track();
                }
                if !(from..to).contains(&n) {
                    read(group, |image| drop(state.replay(image))).unwrap();
                }
            }
            if to == groups.len() {
                state.lose_track();
            }
            state.pass_over(1 << 20);
            state.mend();
            state.begin_run(origin.now);
            state.recount_devices([]);
            testing::recount(&bench.image, &bench.rules);
            let open = bench.view().requests().into_iter().filter(|request| request.completed_at.is_none()).count();
            // What was lost is shown by lists, and the rest is sent.
            for _ in 0..3 {
                bench.wait(400_000);
                bench.list(&[("b", 5), ("d", 5)]);
                for call_kind in [CallKind::Disassociate, CallKind::Associate] {
                    let names = bench.take_of(call_kind, 100);
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    bench.settle_of(call_kind, &names, &Verdict::Done);
                }
            }
            let is_open = |request: &Request| request.completed_at.is_none();
            let left: Vec<_> = bench.view().requests().into_iter().filter(is_open).collect();
            assert_eq!(left, [], "of {open} open ones, without {from}..{to}");
            let owed: Vec<_> = bench.view().owed().into_iter().filter(|owed| owed.completed).collect();
            assert!(owed.len() >= open, "each end is reported");
        }
    }
}
