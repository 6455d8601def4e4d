//! The journal over real files.

use std::os::unix::fs::{MetadataExt, symlink};

use super::*;
use crate::ledger::journal::{DEFAULT_SEGMENT, Directory};

fn opened(path: &std::path::Path) -> (Journal<Directory>, Recovered, Vec<String>) {
    let mut texts = Vec::new();
    let files = Directory::open(path).unwrap();
    let (journal, recovered) = Journal::open(files, identity(), DEFAULT_SEGMENT, &mut |replay| {
        texts.push(match replay {
            Replay::Group { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
            Replay::Hole => "-".into(),
        });
        Ok(())
    })
    .unwrap();
    (journal, recovered, texts)
}

#[test]
fn groups_come_back_from_files_that_only_their_owner_can_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("journal");
    let (mut journal, recovered, _) = opened(&path);
    assert!(recovered.is_new);
    for number in 0..2000 {
        if journal.room() < Journal::<Directory>::footprint(100) {
            journal.sync().unwrap();
            journal.switch(DEFAULT_SEGMENT).unwrap();
            journal.complete().unwrap();
        }
        journal.append(format!("group {number}").as_bytes()).unwrap();
    }
    journal.sync().unwrap();
    journal.close().unwrap();
    let (_, recovered, texts) = opened(&path);
    assert!(recovered.damage.is_none() && recovered.checkpoint > 0);
    assert_eq!(texts.last().unwrap(), "group 1999");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    let files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().metadata().unwrap()).collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| file.mode() & 0o7777 == 0o600 && file.len() == DEFAULT_SEGMENT));
}

#[test]
fn a_segment_that_is_a_link_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("journal");
    drop(opened(&path));
    std::fs::remove_file(path.join("segment-1")).unwrap();
    symlink("/dev/null", path.join("segment-1")).unwrap();
    assert!(matches!(Directory::open(&path), Err(StoreError::Io(text)) if text.contains("link")));
    let link = place.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(Directory::open(&link).is_err());
}

#[test]
fn a_damaged_journal_is_copied_beside_once() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("journal");
    let (mut journal, ..) = opened(&path);
    for text in ["a", "b", "c"] {
        journal.append(text.as_bytes()).unwrap();
        journal.sync().unwrap();
    }
    journal.close().unwrap();
    let mut bytes = std::fs::read(path.join("segment-0")).unwrap();
    bytes[3 * 4096 + 56] ^= 1;
    std::fs::write(path.join("segment-0"), &bytes).unwrap();
    let (_, recovered, texts) = opened(&path);
    assert_eq!(texts, ["a", "-", "c"]);
    let kept = recovered.damage.unwrap().kept_as.unwrap();
    assert_eq!(kept.parent(), path.parent());
    assert_eq!(std::fs::read(kept.join("segment-0")).unwrap(), bytes);
    let (_, recovered, _) = opened(&path);
    assert_eq!(recovered.damage.unwrap().kept_as.unwrap(), kept);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 2);
}

#[test]
fn a_missing_or_shorter_file_is_made_and_never_panics() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("journal");
    let (mut journal, ..) = opened(&path);
    journal.append(b"a").unwrap();
    journal.sync().unwrap();
    std::fs::remove_file(path.join("segment-2")).unwrap();
    std::fs::OpenOptions::new().write(true).open(path.join("segment-1")).unwrap().set_len(5000).unwrap();
    let (mut journal, recovered, texts) = opened(&path);
    assert!(recovered.damage.is_none());
    assert_eq!(texts, ["a"]);
    for _ in 0..3 {
        journal.switch(0).unwrap();
        journal.complete().unwrap();
    }
    let files = Directory::open(&path).unwrap();
    assert!(files.list().unwrap().iter().all(|(_, length)| *length == DEFAULT_SEGMENT));
    let mut buffer = [0; 10];
    assert_eq!(files.read(9, 0, &mut buffer), Ok(0));
    assert_eq!(files.read(0, DEFAULT_SEGMENT - 4, &mut buffer), Ok(4));
}

#[test]
fn what_is_reserved_beyond_the_default_size_has_its_room_on_the_disk() {
    let place = tempfile::tempdir().unwrap();
    let (mut journal, ..) = opened(place.path());
    let (before, length) = (written_bytes(), 64 * DEFAULT_SEGMENT);
    journal.reserve(length).unwrap();
    let all = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    let longest = all.max_by_key(std::fs::Metadata::len).unwrap();
    assert!(longest.len() == length && longest.blocks() * 512 >= length);
    assert_eq!(written_bytes() - before, 0);
    journal.switch(length).unwrap();
    journal.append(&vec![b'x'; 3 << 20]).unwrap();
    journal.close().unwrap();
    let (_, recovered, texts) = opened(place.path());
    assert!(recovered.damage.is_none() && texts.len() == 1 && texts[0].len() == 3 << 20);
}

/// Bytes that this thread handed to write calls.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}
