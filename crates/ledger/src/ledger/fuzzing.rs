//! What the fuzz targets `journal` and `records` run: see `fuzz/README.md`. In no other build.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    journal::{Files, Identity, Journal, Replay},
    pending::{Early, Group, State, Tx, read},
    testing::{MemStore, rules},
    *,
};
use crate::domain::{Again, CallToken, Now, Timestamp, Verdict, WallClock, Window};

/// Steps in which each rule has to end.
const MAX_STEPS: usize = 100;

/// Segments in memory; clones are the same.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<u32, Vec<u8>>>>);

impl Memory {
    fn files(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files for Memory {
    fn list(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        Ok(self.files().iter().map(|(number, bytes)| (*number, bytes.len() as u64)).collect())
    }

    fn create(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        let mut files = self.files();
        let bytes = files.entry(number).or_default();
        let length = bytes.len().max(length as usize);
        bytes.resize(length, 0);
        Ok(())
    }

    fn shorten(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        self.files().entry(number).or_default().truncate(length as usize);
        Ok(())
    }

    fn read(&self, number: u32, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let files = self.files();
        let rest = files.get(&number).and_then(|bytes| bytes.get(offset as usize..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write(&mut self, number: u32, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut files = self.files();
        let file = files.entry(number).or_default();
        let end = offset as usize + bytes.len();
        let length = file.len().max(end);
        file.resize(length, 0);
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: u32) -> Result<(), StoreError> {
        Ok(())
    }

    fn keep_copy(&self, _: &str) -> Result<PathBuf, StoreError> {
        Ok(PathBuf::new())
    }
}

fn identity() -> Identity {
    Identity { id: 7, schema: 1, owner: "MyCore r".into() }
}

/// A journal of a few groups and a checkpoint, damaged as `input` says: each five bytes are a
/// segment, a place in it, and what is done there.
///
/// # Panics
/// A payload is replayed that was never appended: a finding.
pub fn journal(input: &[u8]) {
    // The salts are random: the same input has to do the same.
    fastrand::seed(7);
    let segment = 64 << 10;
    let files = Memory::default();
    let mut appended = BTreeSet::new();
    let opened = Journal::open(files.clone(), identity(), segment, &mut |_| Ok(()));
    let Ok((mut journal, _)) = opened else { return };
    for n in 0..12_u8 {
        let payload = vec![n; 100 * usize::from(n)];
        if journal.append(&payload).is_ok() {
            appended.insert(payload);
        }
        let _ = journal.sync();
        if n == 5 {
            let _ = journal.switch(segment);
        }
        if n == 8 {
            let _ = journal.complete();
        }
    }
    drop(journal);
    for damage in input.chunks_exact(5) {
        let mut files = files.files();
        let Some(bytes) = files.get_mut(&u32::from(damage[0] % 4)) else { continue };
        let at = usize::from(u16::from_le_bytes([damage[1], damage[2]]));
        match damage[3] {
            0 => bytes.truncate(at),
            1 => bytes.clear(),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= damage[4];
                }
            }
        }
    }
    let mut again = Vec::new();
    for _ in 0..2 {
        again.clear();
        let opened = Journal::open(files.clone(), identity(), segment, &mut |replay| {
            if let Replay::Group { payload, .. } = replay {
                again.push(payload.to_vec());
            }
            Ok(())
        });
        for payload in &again {
            assert!(appended.contains(payload), "a payload that was never appended");
        }
        if let Ok((mut journal, _)) = opened {
            let _ = journal.append(b"later");
            let _ = journal.sync();
            appended.insert(b"later".to_vec());
        }
    }
}

/// All rules on a state that `input` describes: images of the journal, one a line; after a line of
/// `--` rows of the registry, key and value in turn, with `\x` and two digits for any byte.
///
/// # Panics
/// A rule does not end: a finding.
pub fn records(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (images, rows) = text.split_once("\n--\n").unwrap_or((text, ""));
    let mut state = State::default();
    for line in images.lines() {
        let _ = read(line.as_bytes(), |image| drop(state.replay(image)));
    }
    let mut registry = MemStore::default();
    let mut lines = rows.lines().map(unescaped);
    while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
        registry.rows.insert(key, value);
    }
    let now = Now { wall: Timestamp(1_800_000_000_000), boot: 1, ..Now::default() };
    state.lose_track();
    state.mend();
    state.begin_run(now);
    let mut bench = Bench { state, registry, rules: rules(), now };
    bench.rules();
}

fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let code = more.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, more.first(), code) {
            (b'\\', Some(b'x'), Some(code)) => {
                bytes.push(code);
                rest = &more[3..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    bytes
}

struct Bench {
    state: State,
    registry: MemStore,
    rules: Rules,
    now: Now,
}

impl Bench {
    /// Runs a rule to its end, or to its error.
    fn until(&mut self, mut rule: impl FnMut(&mut Tx<'_>) -> Result<bool, StoreError>) {
        for _ in 0..MAX_STEPS {
            let mut group = Group::default();
            let mut tx = Tx::begin(&mut self.state, &self.registry, &mut group, self.now, &self.rules);
            match rule(&mut tx) {
                Ok(done) => {
                    tx.end();
                    let _ = group.images(&self.state);
                    if done {
                        return;
                    }
                }
                Err(_) => return tx.abort(),
            }
        }
        unreachable!("a rule does not end");
    }

    fn rules(&mut self) {
        for call_kind in CallKind::ALL {
            let pick =
                Pick::Queue { limit: 100, window: Window::OPEN, again: Some(Again::default()), shut: Vec::new() };
            let mut taken = Vec::new();
            self.until(|tx| {
                taken = take(tx, call_kind, &pick, WallClock::Confirmed, &CallToken::from_bits(0))?.entries;
                Ok(true)
            });
            let mut verdicts: VecDeque<_> = taken.into_iter().map(|(target, _)| (target, Verdict::Done)).collect();
            self.until(|tx| settle(tx, call_kind, &mut verdicts).map(|()| verdicts.is_empty()));
            let (mut list, mut after) = (ListMark::default(), (0, 0));
            self.until(|tx| {
                list = begin_list(tx);
                Ok(true)
            });
            self.until(|tx| settle_by_list(tx, call_kind, list, WallClock::Confirmed, &mut after));
        }
        let mut from = 0;
        self.until(|tx| {
            let (_, last) = owed(tx, crate::domain::Via::Mqtt, from, 16, 100)?;
            from = last.map_or(from, |last| last.saturating_add(1));
            Ok(last.is_none_or(|last| last == u64::MAX))
        });
        let (mut next, mut after) = (0, None);
        self.until(|tx| requests(tx, None, None, None, 10).map(|_| true));
        self.until(|tx| {
            let page = devices(tx, None, after.as_deref(), 10)?;
            after = page.next;
            Ok(after.is_none())
        });
        self.until(|tx| expire(tx, WallClock::Confirmed, &mut next));
        next = 0;
        self.until(|tx| forget_requests(tx, u64::MAX, &mut next));
        let mut after = Vec::new();
        self.until(|tx| forget_devices(tx, u64::MAX, &mut after));
        let mut early = Early::new(u64::MAX, 0);
        self.until(|tx| early.step(tx));
    }
}
