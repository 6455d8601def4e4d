//! One rule a test, as the ledger's reference lists them.

use super::*;
use crate::ledger::journal::{
    DEFAULT_SEGMENT,
    format::{FIRST, PAGE},
};

/// A group of several pages.
fn long(text: &str) -> String {
    format!("{text:.<10000}")
}

#[test]
fn a_new_journal_is_empty_and_says_so() {
    let files = MemFiles::new(1);
    assert_eq!(Journal::identify(&files).unwrap(), None);
    let Opened { journal, recovered, replayed } = open(&files);
    assert!(recovered.is_new && replayed.is_empty() && recovered.damage.is_none());
    assert_eq!((recovered.sequence, recovered.checkpoint), (0, 0));
    assert_eq!(journal.room(), UNIT - 4 * PAGE);
    let again = open(&files);
    assert!(!again.recovered.is_new);
    assert_eq!(Journal::identify(&files).unwrap(), Some(identity()));
}

#[test]
fn the_public_opening_makes_segments_of_the_default_size() {
    let files = MemFiles::new(1);
    let (journal, _) = Journal::open(files.clone(), identity(), DEFAULT_SEGMENT, &mut |_| Ok(())).unwrap();
    assert_eq!(journal.room(), DEFAULT_SEGMENT - 4 * PAGE);
    assert_eq!(files.list().unwrap(), [(0, DEFAULT_SEGMENT), (1, DEFAULT_SEGMENT), (2, DEFAULT_SEGMENT)]);
}

#[test]
fn groups_come_back_in_order_after_a_kill_and_after_a_crash() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    assert_eq!((journal.put("a"), journal.put(&long("b"))), (1, 2));
    journal.append(b"c").unwrap();
    assert_eq!((journal.appended(), journal.synced()), (3, 2));
    // The page cache keeps an unsynced group.
    assert_eq!(peek(&files), "a b c");
    files.crash_keeping(|_, _| false);
    assert_eq!(peek(&files), "a b");
}

#[test]
fn a_group_takes_what_its_footprint_says() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    for length in [0, 1, 4036, 4037, 9000] {
        let before = journal.room();
        journal.append(&vec![7; length]).unwrap();
        assert_eq!(before - journal.room(), Journal::<MemFiles>::footprint(length as u64));
    }
    assert_eq!(Journal::<MemFiles>::footprint(4036), PAGE);
    assert_eq!(Journal::<MemFiles>::footprint(4037), 2 * PAGE);
}

#[test]
fn a_group_that_does_not_fit_is_refused_and_changes_nothing() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    assert!(matches!(journal.append(&vec![1; UNIT as usize]), Err(StoreError::Io(_))));
    while journal.room() > 0 {
        journal.put("x");
    }
    assert!(journal.append(b"y").is_err());
    // The marks have their room.
    journal.switch(0).unwrap();
    while journal.room() > 0 {
        journal.put("z");
    }
    journal.complete().unwrap();
    journal.close().unwrap();
    assert!(!peek(&files).contains('x'));
}

#[test]
fn a_torn_last_group_ends_the_journal_and_is_no_damage() {
    for kept in 0..20 {
        let files = MemFiles::new(1);
        let mut journal = open(&files).journal;
        journal.put("a");
        journal.append(long("b").as_bytes()).unwrap();
        journal.append(b"c").unwrap();
        // One sector of the first group is missing; the group behind it is whole.
        files.crash_keeping(|_, offset| offset != FIRST + PAGE + kept * 512);
        let Opened { mut journal, recovered, replayed } = open(&files);
        assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
        assert_eq!(texts(&replayed), "a");
        // What is left over of the torn ones never comes back.
        journal.put("d");
        drop(journal);
        let Opened { mut journal, recovered, replayed } = open(&files);
        assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
        assert_eq!(texts(&replayed), "a d");
        for _ in 0..3 {
            journal.put("e");
        }
        assert_eq!(peek(&files), "a d e e e");
    }
}

#[test]
fn a_number_of_a_left_over_group_is_not_used_again() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    journal.put("a");
    for text in ["b", "c", "d"] {
        journal.append(text.as_bytes()).unwrap();
    }
    files.crash_keeping(|_, offset| offset >= FIRST + 2 * PAGE);
    let mut journal = open(&files).journal;
    assert!(journal.put("e") > 4);
}

#[test]
fn a_failed_write_leaves_the_journal_as_it_was() {
    for seed in 0..50 {
        let files = MemFiles::new(seed);
        let mut journal = open(&files).journal;
        journal.put("a");
        let room = journal.room();
        files.fail_writes(1);
        // Zeros at the end: what the file holds there already.
        let mut payload = long("b").into_bytes();
        payload.extend([0; 9000]);
        journal.append(&payload).unwrap_err();
        assert_eq!((journal.room(), journal.appended(), journal.synced()), (room, 1, 1));
        assert_eq!(peek(&files), "a");
        assert_eq!(journal.put("c"), 3);
        assert_eq!(peek(&files), "a c");
    }
}

#[test]
fn after_a_failed_sync_nothing_is_appended_before_the_cut() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    journal.put("a");
    journal.append(b"b").unwrap();
    files.fail_syncs(1);
    journal.sync().unwrap_err();
    assert!(journal.append(b"c").is_err() && journal.sync().is_err() && journal.close().is_err());
    journal.cut().unwrap();
    assert_eq!((journal.appended(), journal.synced()), (1, 1));
    assert_eq!(journal.put("d"), 3);
    assert_eq!(peek(&files), "a d");
}

#[test]
fn what_was_cut_away_never_comes_back() {
    for seed in 0..100 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let files = MemFiles::new(seed);
        let mut journal = open(&files).journal;
        if rng.bool() {
            journal.put("a");
        }
        journal.append(b"cut").unwrap();
        files.fail_syncs(1 + rng.u32(..4));
        journal.sync().unwrap_err();
        while journal.cut().is_err() {}
        for _ in 0..6 {
            if rng.bool() {
                files.crash(&mut rng);
            }
            let Opened { mut journal, recovered, replayed } = open(&files);
            assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
            assert!(!texts(&replayed).contains("cut"), "seed {seed}");
            if rng.bool() {
                journal.put("b");
            }
        }
    }
}

#[test]
fn the_number_of_a_group_that_was_cut_away_is_not_used_again() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    journal.put("a");
    assert_eq!(journal.append(b"cut").unwrap(), 2);
    files.fail_syncs(1);
    journal.sync().unwrap_err();
    journal.cut().unwrap();
    files.crash_keeping(|_, _| false);
    assert_eq!(open(&files).journal.put("b"), 3);
}

#[test]
fn a_group_that_only_the_page_cache_has_does_not_take_later_ones_with_it() {
    let files = MemFiles::new(3);
    for seed in 0..100 {
        let files = MemFiles::new(seed);
        let mut journal = open(&files).journal;
        journal.put("a");
        journal.append(b"b").unwrap();
        files.fail_syncs(1);
        journal.sync().unwrap_err();
        // Killed before a cut: the page cache shows the group.
        let Opened { mut journal, replayed, .. } = open(&files);
        assert_eq!(texts(&replayed), "a b");
        journal.put("c");
        files.crash_keeping(|_, _| false);
        let Opened { recovered, replayed, .. } = open(&files);
        assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
        assert_eq!(texts(&replayed), "a b c");
    }
    drop(files);
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
            // Killed: the mark may be in the page cache only.
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
