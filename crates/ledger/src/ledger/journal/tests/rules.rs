//! Each test checks one rule of the journal.

use super::*;
use crate::ledger::journal::format::{FIRST, PAGE};

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
    // The control frames have their reserved room.
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
fn a_frame_that_does_not_continue_the_one_before_shows_that_one_is_missing() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    journal.put("a");
    journal.last.crc ^= 1;
    journal.put("b");
    assert_eq!(peek(&files), "a");
    journal.put("c");
    let Opened { recovered, replayed, .. } = open(&files);
    assert_eq!(texts(&replayed), "a - b c");
    assert_eq!(recovered.damage.unwrap().intact_through, 1);
}

#[test]
fn a_left_over_group_that_knows_of_a_clean_stop_makes_no_damage() {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    journal.put("a");
    journal.close().unwrap();
    journal.append(b"torn").unwrap();
    journal.append(b"left over").unwrap();
    files.crash_keeping(|_, offset| offset != FIRST + 2 * PAGE);
    let Opened { mut journal, replayed, .. } = open(&files);
    assert_eq!(texts(&replayed), "a");
    journal.append(b"b").unwrap();
    for keeps in [true, false] {
        let files = files.snapshot();
        files.crash_keeping(|_, _| keeps);
        let Opened { recovered, replayed, .. } = open(&files);
        assert!(recovered.damage.is_none(), "{:?}", recovered.damage);
        assert_eq!(texts(&replayed), if keeps { "a b" } else { "a" });
    }
}
