//! A torn group is no damage. Damage is reported, and the groups after it count.

use super::*;
use crate::ledger::journal::format::{FIRST, PAGE};

/// Groups "a" to "f", one a page.
fn six() -> (MemFiles, Journal<MemFiles>) {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    for text in ["a", "b", "c", "d", "e", "f"] {
        journal.put(text);
    }
    (files, journal)
}

fn page(number: u64) -> u64 {
    FIRST + number * PAGE
}

#[test]
fn a_flipped_bit_in_the_middle_is_damage_and_later_groups_count() {
    let (files, journal) = six();
    files.flip(0, page(2) + 58, 3);
    drop(journal);
    let Opened { mut journal, recovered, replayed } = open(&files);
    assert_eq!(texts(&replayed), "a b - d e f");
    let damage = recovered.damage.unwrap();
    assert_eq!(damage.intact_through, 2);
    assert!(damage.text.contains("segment-0 at byte 16384"), "{}", damage.text);
    assert!(damage.kept_as.is_some());
    // No number of a lost group is met again.
    assert!(journal.put("g") > 6 + (1 << 20));
    // Reported until a checkpoint, and copied once.
    let Opened { mut journal, recovered, replayed } = open(&files);
    assert_eq!(texts(&replayed), "a b - d e f g");
    assert!(recovered.damage.is_some());
    assert_eq!(files.copies().len(), 1);
    journal.switch(0).unwrap();
    journal.put("h");
    journal.complete().unwrap();
    let opened = open(&files);
    assert!(opened.recovered.damage.is_none());
    assert_eq!(texts(&opened.replayed), "h");
}

#[test]
fn the_opening_does_not_depend_on_the_copy() {
    let (files, _) = six();
    files.flip(0, page(2), 3);
    files.fail_copies(true);
    let opened = open(&files);
    assert_eq!(texts(&opened.replayed), "a b - d e f");
    assert!(opened.recovered.damage.unwrap().kept_as.is_none());
}

#[test]
fn a_damaged_last_group_is_damage_only_after_a_clean_stop() {
    let (files, mut journal) = six();
    let torn = files.snapshot();
    torn.flip(0, page(5) + 20, 1);
    let opened = open(&torn);
    assert_eq!(texts(&opened.replayed), "a b c d e");
    assert!(opened.recovered.damage.is_none());
    journal.close().unwrap();
    files.flip(0, page(5) + 20, 1);
    let opened = open(&files);
    assert_eq!(texts(&opened.replayed), "a b c d e -");
    assert_eq!(opened.recovered.damage.unwrap().intact_through, 5);
}

#[test]
fn a_clean_stop_can_be_followed_by_anything() {
    let (files, mut journal) = six();
    for round in 0..3 {
        journal.close().unwrap();
        let opened = open(&files);
        assert!(opened.recovered.damage.is_none());
        assert_eq!(opened.replayed.len(), 6 + round);
        journal = opened.journal;
        journal.put("x");
    }
}

#[test]
fn an_unreadable_sector_is_damage_even_at_the_end() {
    let (files, _) = six();
    files.break_page(0, page(3));
    files.break_page(0, page(5));
    let Opened { mut journal, recovered, replayed } = open(&files);
    assert_eq!(texts(&replayed), "a b c - e -");
    assert_eq!(recovered.damage.unwrap().intact_through, 3);
    journal.put("g");
    assert_eq!(peek(&files), "a b c - e - g");
}

#[test]
fn a_file_that_was_cut_is_damage() {
    let (files, _) = six();
    files.cut(0, page(3) + 100);
    let Opened { mut journal, recovered, replayed } = open(&files);
    assert_eq!(texts(&replayed), "a b c -");
    assert!(recovered.damage.unwrap().text.contains("shorter"));
    journal.put("g");
    assert_eq!(peek(&files), "a b c - g");
}

#[test]
fn one_copy_of_a_header_is_enough() {
    for copy in [0, PAGE] {
        let (files, _) = six();
        files.break_page(0, copy);
        let opened = open(&files);
        assert!(opened.recovered.damage.is_none());
        assert_eq!(opened.replayed.len(), 6);
        let (files, _) = six();
        files.flip(0, copy + 50, 1);
        assert!(open(&files).recovered.damage.is_none());
    }
}

/// Segments of "a" and "b", of "c" and "d", and of "e" and "f".
fn three() -> (MemFiles, Journal<MemFiles>) {
    let files = MemFiles::new(1);
    let mut journal = open(&files).journal;
    for (at, text) in ["a", "b", "c", "d", "e", "f"].iter().enumerate() {
        if at == 2 || at == 4 {
            journal.switch(0).unwrap();
        }
        journal.put(text);
    }
    (files, journal)
}

#[test]
fn a_segment_whose_header_is_gone_is_damage_and_its_groups_count() {
    for number in 0..3_u32 {
        let (files, _) = three();
        [0, PAGE].iter().for_each(|copy| files.flip(number, copy + 50, 1));
        let Opened { mut journal, recovered, replayed } = open(&files);
        let expected = ["- a b c d e f", "a b - c d e f", "a b c d - e f"][number as usize];
        assert_eq!(texts(&replayed), expected);
        assert!(recovered.damage.unwrap().text.contains(&format!("the header of segment-{number}")));
        journal.put("g");
        let opened = open(&files);
        assert_eq!(texts(&opened.replayed), format!("{expected} g"));
    }
}

#[test]
fn a_segment_that_is_gone_is_damage() {
    for (number, expected) in [(0, "- c d e f"), (1, "a b - e f")] {
        let (files, _) = three();
        files.remove(number);
        let Opened { recovered, replayed, .. } = open(&files);
        assert_eq!(texts(&replayed), expected);
        assert!(recovered.damage.unwrap().text.contains("is missing"));
    }
}

#[test]
fn the_last_group_of_an_older_segment_is_known_to_be_missing() {
    let (files, _) = three();
    files.flip(0, page(1) + 57, 1);
    let Opened { recovered, replayed, .. } = open(&files);
    assert_eq!(texts(&replayed), "a - c d e f");
    assert_eq!(recovered.damage.unwrap().intact_through, 1);
}

#[test]
fn without_any_header_the_journal_is_damaged_and_not_new() {
    let (files, _) = six();
    [0, PAGE].iter().for_each(|copy| files.flip(0, copy + 50, 1));
    let writes = files.writes();
    assert!(matches!(Journal::identify(&files), Err(StoreError::Damaged(_))));
    assert!(matches!(try_open(&files), Err(StoreError::Damaged(_))));
    assert_eq!(files.writes(), writes);
    let (files, _) = six();
    [0, PAGE].iter().for_each(|copy| files.break_page(0, *copy));
    assert!(matches!(Journal::identify(&files), Err(StoreError::Io(_))));
}

#[test]
fn whatever_is_flipped_or_cut_no_other_payload_comes_back_and_nothing_panics() {
    for seed in 0..1500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (files, mut journal) = three();
        if rng.bool() {
            journal.complete().unwrap();
        }
        for _ in 0..rng.u8(1..8) {
            let (number, length) = (rng.u32(..3), if rng.bool() { page(3) } else { UNIT });
            match rng.u8(..10) {
                0 => files.cut(number, rng.u64(..length)),
                1 => files.remove(number),
                2 => files.break_page(number, rng.u64(..length)),
                _ => files.flip(number, rng.u64(..length), rng.u8(..8)),
            }
        }
        let mut before = String::new();
        for round in 0..3 {
            let Ok(Opened { mut journal, replayed, .. }) = try_open(&files) else { break };
            let text: String = texts(&replayed).split(' ').filter(|text| *text != "-").collect();
            let all = "abcdefgg";
            assert!(text.chars().all(|text| all.contains(text)), "seed {seed}: {text}");
            assert!(text.as_bytes().is_sorted(), "seed {seed}: {text}");
            assert!(round == 0 || text == before, "seed {seed}: {before:?} became {text:?}");
            before = text;
            if journal.append(b"g").is_ok() && journal.sync().is_ok() {
                before.push('g');
            }
            if rng.bool() {
                files.crash(&mut rng);
            }
        }
    }
}
