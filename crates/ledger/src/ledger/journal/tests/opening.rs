//! What an opening checks, and what it leaves alone.

use super::*;
use crate::ledger::journal::format::PAGE;

#[test]
fn starts_without_a_group_use_up_no_segment() {
    let files = MemFiles::new(1);
    let mut rng = fastrand::Rng::with_seed(1);
    open(&files).journal.put("a");
    for _ in 0..200 {
        files.crash(&mut rng);
        assert_eq!(texts(&open(&files).replayed), "a");
    }
    for _ in 0..50 {
        open(&files).journal.switch(0).unwrap();
        assert_eq!(texts(&open(&files).replayed), "a");
    }
    assert!(files.list().unwrap().len() <= 4, "{:?}", files.list());
}

#[test]
fn another_cores_journal_is_identified_and_not_touched() {
    let files = MemFiles::new(1);
    open(&files).journal.put("a");
    let (writes, before) = (files.writes(), files.bytes(0));
    let found = Journal::identify(&files).unwrap().unwrap();
    assert_eq!(found, identity());
    // An error of the caller's replay, too, leaves all as it is.
    let error = recovery::open(files.clone(), identity(), UNIT, &mut |_| Err(StoreError::TooNew(9)));
    assert_eq!(error.err(), Some(StoreError::TooNew(9)));
    assert_eq!((files.writes(), files.bytes(0)), (writes, before));
}

#[test]
fn a_newer_schema_is_in_the_header_before_the_first_group_of_it() {
    let files = MemFiles::new(1);
    open(&files).journal.put("a");
    let newer = Identity { schema: 4, ..identity() };
    let (mut journal, recovered) = recovery::open(files.clone(), newer.clone(), UNIT, &mut |_| Ok(())).unwrap();
    assert_eq!(recovered.identity.schema, 3);
    assert_eq!(Journal::identify(&files).unwrap(), Some(newer));
    journal.put("b");
    assert_eq!(peek(&files), "a b");
}

#[test]
fn a_newer_format_is_refused_untouched() {
    use crate::ledger::journal::header::{Header, HeaderPage};
    let mut files = MemFiles::new(1);
    open(&files).journal.put("a");
    let mut page = files.bytes(0)[..PAGE as usize].to_vec();
    // Version and oldest reader, and the checksum over them.
    page[8..12].copy_from_slice(&9_u32.to_le_bytes());
    page[12..16].copy_from_slice(&9_u32.to_le_bytes());
    assert_eq!(Header::decode(0, &page), Ok(HeaderPage::Damaged));
    let length = u32::from_le_bytes(page[16..20].try_into().unwrap()) as usize;
    let crc = crc32fast::hash(&[&page[..20], &page[24..length]].concat());
    page[20..24].copy_from_slice(&crc.to_le_bytes());
    files.write(0, 0, &page).unwrap();
    let writes = files.writes();
    assert_eq!(Journal::identify(&files), Err(StoreError::TooNew(9)));
    assert_eq!(try_open(&files).err(), Some(StoreError::TooNew(9)));
    assert_eq!(files.writes(), writes);
}

#[test]
fn a_header_with_the_longest_owner_fits_into_one_sector() {
    let files = MemFiles::new(1);
    let longest = Identity { owner: "x".repeat(300), ..identity() };
    recovery::open(files.clone(), longest.clone(), UNIT, &mut |_| Ok(())).unwrap();
    assert_eq!(Journal::identify(&files).unwrap(), Some(longest));
    assert!(files.bytes(0)[512..PAGE as usize].iter().all(|byte| *byte == 0));
    let longer = Identity { owner: "x".repeat(301), ..identity() };
    assert!(recovery::open(MemFiles::new(1), longer, UNIT, &mut |_| Ok(())).is_err());
}

#[test]
fn a_journal_whose_making_was_interrupted_is_made_anew() {
    for seed in 0..20 {
        let files = MemFiles::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        if rng.bool() {
            files.fail_syncs(1)
        } else {
            files.fail_writes(1)
        }
        assert!(try_open(&files).is_err());
        files.crash(&mut rng);
        assert!(open(&files).replayed.is_empty());
    }
}

#[test]
fn an_opening_that_fails_half_way_loses_nothing() {
    for seed in 0..100 {
        let files = MemFiles::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut journal = open(&files).journal;
        journal.put("a");
        // Durable, but no later frame says so.
        journal.put(&format!("{:.<10000}", "b"));
        for _ in 0..3 {
            files.fail_syncs(9);
            assert!(try_open(&files).is_err());
            files.crash(&mut rng);
        }
        let Opened { recovered, replayed, .. } = open(&files);
        assert!(recovered.damage.is_none(), "seed {seed}: {:?}", recovered.damage);
        assert_eq!(texts(&replayed), "a b", "seed {seed}");
    }
}

#[test]
fn an_opening_writes_to_no_segment_that_a_mark_frees_which_may_not_be_durable() {
    for seed in 0..100 {
        let files = MemFiles::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut journal = open(&files).journal;
        journal.put("a");
        journal.switch(0).unwrap();
        journal.put("b");
        // Too large to be written twice into this segment.
        journal.append(&vec![b'.'; journal.room() as usize - 100]).unwrap();
        files.fail_syncs(9);
        journal.sync().unwrap_err();
        journal.must_cut = false;
        journal.complete().unwrap_err();
        assert!(try_open(&files).is_err(), "no segment could be begun");
        files.crash(&mut rng);
        let text = peek(&files);
        assert!(text.starts_with("a b"), "seed {seed}: {text}");
    }
}

/// The header of a segment that an opening begins is written last, so that frames behind it do not
/// show that it is durable. And its frame is needed as long as the disk may have it.
#[test]
fn a_header_whose_sync_failed_is_not_built_on_and_keeps_its_frame() {
    for seed in 0..200 {
        let files = MemFiles::new(seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        open(&files).journal.put("a");
        let newer = Identity { schema: 4, ..identity() };
        // The sync of the frame that repeats "a" succeeds, that of the header fails.
        files.fail_later_syncs(1, 1 + rng.u32(..6));
        let _ = recovery::open(files.clone(), newer, UNIT, &mut |_| Ok(()));
        files.fail_later_syncs(rng.u32(..3), rng.u32(..2));
        let _ = try_open(&files);
        files.fail_syncs(0);
        open(&files).journal.put("b");
        files.crash(&mut rng);
        assert_eq!(texts(&open(&files).replayed), "a b", "seed {seed}");
    }
}

#[test]
fn a_header_that_was_never_whole_is_no_damage() {
    for part in [1, 30, 300, 4096, 4200] {
        let files = MemFiles::new(1);
        open(&files).journal.put("a");
        let before = [files.bytes(1), files.bytes(2)];
        let newer = Identity { schema: 4, ..identity() };
        recovery::open(files.clone(), newer, UNIT, &mut |_| Ok(())).unwrap();
        let number = if files.bytes(1) == before[0] { 2 } else { 1 };
        let header = files.bytes(number)[..2 * PAGE as usize].to_vec();
        let torn: Vec<u8> = (0..).zip(&header).map(|(at, byte)| if at < part { *byte } else { 0 }).collect();
        let mut files = files;
        files.write(number, 0, &torn).unwrap();
        let Opened { recovered, replayed, .. } = open(&files);
        assert!(recovered.damage.is_none(), "{part} bytes: {:?}", recovered.damage);
        assert_eq!(texts(&replayed), "a", "{part} bytes");
    }
}
