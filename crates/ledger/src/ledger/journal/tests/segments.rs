//! Segments: their use in turn, checkpoints, what an earlier use leaves.

use super::*;
use crate::ledger::journal::{
    DEFAULT_SEGMENT,
    format::{FIRST, PAGE},
};

#[test]
fn the_public_opening_makes_segments_of_the_default_size() {
    let files = MemFiles::new(1);
    let (journal, _) = Journal::open(files.clone(), identity(), DEFAULT_SEGMENT, &mut |_| Ok(())).unwrap();
    assert_eq!(journal.room(), DEFAULT_SEGMENT - 4 * PAGE);
    assert_eq!(files.list().unwrap(), [(0, DEFAULT_SEGMENT), (1, DEFAULT_SEGMENT), (2, DEFAULT_SEGMENT)]);
}

#[test]
fn a_segment_is_free_only_after_the_complete_mark() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    journal.put("a");
    assert_eq!(journal.switch(0).unwrap(), 1);
    assert!(journal.is_switching());
    journal.put("b");
    // Cuts in between take other segments than that of "a".
    for text in ["c", "d", "e"] {
        journal.append(b"cut").unwrap();
        files.fail_syncs(1);
        journal.sync().unwrap_err();
        journal.cut().unwrap();
        journal.put(text);
        assert_eq!(peek(&files), "a b c d e".split(text).next().unwrap().to_owned() + text);
    }
    journal.complete().unwrap();
    assert!(!journal.is_switching() && journal.complete().is_err());
    let Opened { mut journal, recovered, replayed } = open(&files);
    assert_eq!((texts(&replayed).as_str(), recovered.checkpoint), ("b c d e", 1));
    assert_eq!(journal.switch(0).unwrap(), 2);
}

#[test]
fn a_complete_mark_that_is_not_durable_frees_nothing() {
    for seed in 0..100 {
        let files = MemFiles::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut journal = open(&files).journal;
        journal.put("a");
        journal.switch(0).unwrap();
        journal.put("b");
        files.fail_syncs(1);
        journal.complete().unwrap_err();
        assert!(journal.is_switching());
        if rng.bool() {
            journal.cut().unwrap();
        } else {
            // Killed: the `Complete` frame may be in the page cache only.
            files.fail_syncs(rng.u32(..2));
            drop(journal);
            let _ = try_open(&files);
        }
        files.crash(&mut rng);
        let Opened { mut journal, recovered, replayed } = open(&files);
        assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
        let expected = if recovered.checkpoint == 1 { "b" } else { "a b" };
        assert_eq!(texts(&replayed), expected, "seed {seed}");
        journal.switch(0).unwrap();
        journal.put("c");
        journal.complete().unwrap();
        assert_eq!(peek(&files), "c");
    }
}

#[test]
fn a_checkpoint_that_was_not_completed_begins_anew_with_its_number() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    journal.put("a");
    assert_eq!(journal.switch(0).unwrap(), 1);
    journal.put("b");
    let Opened { mut journal, recovered, replayed } = open(&files);
    assert_eq!((texts(&replayed).as_str(), recovered.checkpoint, journal.is_switching()), ("a b", 0, false));
    assert_eq!(journal.switch(0).unwrap(), 1);
    journal.put("c");
    journal.complete().unwrap();
    let opened = open(&files);
    assert_eq!((texts(&opened.replayed).as_str(), opened.recovered.checkpoint), ("c", 1));
    assert_eq!(opened.recovered.sequence, 3);
}

#[test]
fn the_sequence_is_kept_over_a_checkpoint_without_a_group() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    for _ in 0..5 {
        journal.put("a");
    }
    journal.switch(0).unwrap();
    journal.complete().unwrap();
    let Opened { mut journal, recovered, replayed } = open(&files);
    assert_eq!((recovered.sequence, replayed.len()), (5, 0));
    assert_eq!(journal.put("b"), 6);
}

#[test]
fn a_switch_needs_a_synced_segment_and_makes_one_of_that_length() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    journal.append(b"a").unwrap();
    assert!(matches!(journal.switch(0), Err(StoreError::Io(_))));
    journal.sync().unwrap();
    files.set_full(true);
    assert_eq!(journal.switch(3 * UNIT), Err(StoreError::Full));
    // Nothing was begun.
    journal.put("b");
    files.set_full(false);
    journal.switch(3 * UNIT).unwrap();
    assert_eq!(journal.room(), 3 * UNIT - 4 * PAGE);
    journal.put(&long("c"));
    assert_eq!(peek(&files), "a b c");
}

#[test]
fn a_failed_switch_asks_for_a_cut() {
    for seed in 0..40 {
        let files = MemFiles::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut journal = open(&files).journal;
        journal.put("a");
        if rng.bool() {
            files.fail_syncs(1)
        } else {
            files.fail_writes(1)
        }
        journal.switch(0).unwrap_err();
        // The disk may have the header, by which nothing counts that is appended here.
        assert!(journal.append(b"b").is_err() && !journal.is_switching());
        if rng.bool() {
            files.crash(&mut rng);
            journal = open(&files).journal;
        } else {
            journal.cut().unwrap();
        }
        journal.put("c");
        files.crash(&mut rng);
        assert_eq!(peek(&files), "a c");
    }
}

#[test]
fn frames_of_an_earlier_use_of_a_file_do_not_count() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    for round in 0..8 {
        for _ in 0..5 {
            journal.put(&format!("old{round}"));
        }
        journal.switch(0).unwrap();
        journal.put(&format!("new{round}"));
        journal.complete().unwrap();
        files.crash_keeping(|_, _| false);
        let opened = open(&files);
        assert_eq!(texts(&opened.replayed), format!("new{round}"));
        assert!(opened.recovered.damage.is_none());
        journal = opened.journal;
    }
    assert_eq!(files.list().unwrap().len(), 3);
}

#[test]
fn a_header_that_is_torn_at_a_switch_falls_back_to_the_predecessor() {
    for kept in [0, 4096] {
        let files = MemFiles::new(1);
        let mut journal = open(&files).journal;
        for text in ["a", "b", "c", "d"] {
            journal.put(text);
            journal.switch(0).unwrap();
            journal.complete().unwrap();
        }
        journal.put("e");
        let before = files.snapshot();
        journal.switch(0).unwrap();
        // As if the sync had not come: one copy of the header, then none, is torn.
        let number = journal.current.number;
        let torn = files.snapshot();
        for (at, byte) in before.bytes(number).iter().enumerate().skip(kept).take(100) {
            let now = torn.bytes(number)[at];
            (0..8).filter(|bit| (now ^ byte) >> bit & 1 == 1).for_each(|bit| torn.flip(number, at as u64, bit));
        }
        assert_eq!(peek(&torn), "e");
        (0..2).for_each(|copy| torn.flip(number, copy * PAGE + 60, 3));
        let opened = open(&torn);
        assert!(opened.recovered.damage.is_none(), "{:?}", opened.recovered.damage);
        assert_eq!(texts(&opened.replayed), "e");
    }
}

#[test]
fn what_is_left_of_another_journal_in_the_files_does_not_count() {
    let mut files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    for text in ["a", "b", "c", "d"] {
        journal.put(text);
    }
    // Same epoch, and larger numbers than the new one begins with.
    files.write(0, 0, &[0; FIRST as usize]).unwrap();
    let Opened { mut journal, recovered, .. } = open(&files);
    assert!(recovered.is_new);
    journal.put("x");
    let Opened { recovered, replayed, .. } = open(&files);
    assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
    assert_eq!(texts(&replayed), "x");
}
