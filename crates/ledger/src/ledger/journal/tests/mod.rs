//! Tests of the journal over a disk in memory.

mod damage;
mod directory;
mod opening;
mod property;
mod rules;
mod segments;

use super::{Files, Identity, Journal, Recovered, Replay, recovery, testing::MemFiles};
use crate::ledger::StoreError;

/// Bytes of a segment in tests.
const UNIT: u64 = 64 << 10;

fn identity() -> Identity {
    Identity { id: 7, schema: 3, owner: "core eu-central-1".into() }
}

/// What an opening replayed: groups, and `None` for a hole.
type Replayed = Vec<Option<(u64, Vec<u8>)>>;

/// A group of several pages.
fn long(text: &str) -> String {
    format!("{text:.<10000}")
}

struct Opened {
    journal: Journal<MemFiles>,
    recovered: Recovered,
    replayed: Replayed,
}

fn try_open(files: &MemFiles) -> Result<Opened, StoreError> {
    let mut replayed = Vec::new();
    let (journal, recovered) = recovery::open(files.clone(), identity(), UNIT, &mut |replay| {
        replayed.push(match replay {
            Replay::Group { sequence, payload } => Some((sequence, payload.to_vec())),
            Replay::Hole => None,
        });
        Ok(())
    })?;
    Ok(Opened { journal, recovered, replayed })
}

fn open(files: &MemFiles) -> Opened {
    let opened = try_open(files).unwrap();
    let last = opened.replayed.iter().flatten().last().map_or(0, |(sequence, _)| *sequence);
    assert!(opened.recovered.sequence >= last, "{} is after {last}", opened.recovered.sequence);
    assert_eq!(opened.journal.appended(), opened.recovered.sequence);
    assert_eq!(opened.journal.synced(), opened.recovered.sequence, "all that was replayed is durable");
    opened
}

/// Payloads of the groups that are there, as text, `-` for a hole.
fn texts(replayed: &Replayed) -> String {
    let text = |group: &Option<(u64, Vec<u8>)>| match group {
        Some((_, payload)) => String::from_utf8_lossy(payload).trim_end_matches('.').to_owned(),
        None => "-".into(),
    };
    replayed.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// What is in the journal now; leaves the journal unchanged.
fn peek(files: &MemFiles) -> String {
    let opened = open(&files.snapshot());
    texts(&opened.replayed)
}

impl Journal<MemFiles> {
    /// Appends a group and syncs it.
    fn put(&mut self, text: &str) -> u64 {
        let sequence = self.append(text.as_bytes()).unwrap();
        self.sync().unwrap();
        sequence
    }
}
