//! Batches of any size, all or nothing, on a store that takes small ones only.
//!
//! sled keeps the old version of every page that a batch touches until the batch ends, so that large ones cost memory
//! out of all proportion (measured: 8,000 inserts 89 MB, 16,000 539 MB, in batches of 256 17 MB). A larger one is
//! written down first, in pieces; a marker makes it valid; then it is carried out in small batches and struck off.
//! Since a crash leaves a prefix of the batches, what is found at the next opening is either without a marker, and
//! never happened, or with one, and is carried out (again: writing the same twice does no harm).

use super::{
    schema,
    store::{Direction, Op, Store, StoreError},
};
use crate::failpoint;

/// Writes in one batch of the store; see above for the reason.
pub(super) const MAX_OPS: usize = 256;

/// Bytes of one journal row: far below the 4 KiB above which sled may put values into files that it never syncs.
const CHUNK: usize = 2048;

/// Journal rows in one batch: 64 KiB, as far as was measured to stay out of such files.
const CHUNKS_A_BATCH: usize = 32;

/// Applies `ops` atomically, whatever their number. Not durable before the store's next sync.
pub(super) fn apply(store: &mut dyn Store, ops: &[Op]) -> Result<(), StoreError> {
    if ops.len() <= MAX_OPS {
        return store.apply(ops);
    }
    let rows: Vec<Op> = chunks(ops)
        .into_iter()
        .enumerate()
        .map(|(n, chunk)| (schema::journal(u32::try_from(n).unwrap_or(u32::MAX - 1)), Some(chunk)))
        .collect();
    // Synced before they kill: a power cut may find any prefix of this.
    for batch in rows.chunks(CHUNKS_A_BATCH) {
        store.apply(batch)?;
        failpoint::pass_with("journal-half-written", || store.sync());
    }
    store.apply(&[(schema::journal(u32::MAX), Some(Vec::new()))])?;
    failpoint::pass_with("journal-marked", || store.sync());
    for batch in ops.chunks(MAX_OPS) {
        store.apply(batch)?;
        failpoint::pass_with("journal-half-done", || store.sync());
    }
    failpoint::pass_with("journal-done", || store.sync());
    strike(store, rows.into_iter().map(|(key, _)| key).collect())
}

/// Finishes or forgets what a crash left in the journal. The caller syncs.
pub(super) fn recover(store: &mut dyn Store) -> Result<(), StoreError> {
    let (from, to) = schema::all_of(schema::JOURNAL);
    let rows = store.scan(&from, &to, Direction::Up, usize::MAX)?;
    let marker = schema::journal(u32::MAX);
    if rows.last().is_some_and(|(key, _)| *key == marker) {
        let mut ops = Vec::new();
        for (key, chunk) in &rows {
            if *key != marker {
                read_chunk(chunk, &mut ops)?;
            }
        }
        for batch in ops.chunks(MAX_OPS) {
            store.apply(batch)?;
            failpoint::pass_with("open-recovering", || store.sync());
        }
    }
    strike(store, rows.into_iter().map(|(key, _)| key).filter(|key| *key != marker).collect())
}

/// The marker goes first: without it the rest is nothing, whatever of it a crash leaves.
fn strike(store: &mut dyn Store, keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
    if store.get(&schema::journal(u32::MAX))?.is_some() {
        store.apply(&[(schema::journal(u32::MAX), None)])?;
        failpoint::pass_with("journal-struck", || store.sync());
    }
    for batch in keys.chunks(MAX_OPS) {
        let ops: Vec<Op> = batch.iter().map(|key| (key.clone(), None)).collect();
        store.apply(&ops)?;
    }
    Ok(())
}

fn chunks(ops: &[Op]) -> Vec<Vec<u8>> {
    let mut chunks = vec![Vec::new()];
    for (key, value) in ops {
        let mut row = Vec::with_capacity(key.len() + 8 + value.as_ref().map_or(0, Vec::len));
        put(&mut row, key);
        row.push(u8::from(value.is_some()));
        put(&mut row, value.as_deref().unwrap_or_default());
        match chunks.last_mut() {
            Some(last) if last.is_empty() || last.len() + row.len() <= CHUNK => last.extend(row),
            _ => chunks.push(row),
        }
    }
    chunks
}

fn put(row: &mut Vec<u8>, bytes: &[u8]) {
    // Keys and values are at most 4 KiB.
    row.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    row.extend(bytes);
}

fn read_chunk(mut chunk: &[u8], ops: &mut Vec<Op>) -> Result<(), StoreError> {
    let damaged = || StoreError::Damaged("a journal row is cut".into());
    while !chunk.is_empty() {
        let key = take(&mut chunk).ok_or_else(damaged)?;
        let (flag, rest) = chunk.split_first().ok_or_else(damaged)?;
        chunk = rest;
        let value = take(&mut chunk).ok_or_else(damaged)?;
        ops.push((key, (*flag == 1).then_some(value)));
    }
    Ok(())
}

fn take(chunk: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = chunk.split_first_chunk::<4>()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *chunk = rest;
    Some(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::MemStore;

    fn ops(n: u32, flag: u8) -> Vec<Op> {
        (0..n).map(|i| ([b"e", &i.to_be_bytes()[..]].concat(), Some(vec![flag; 50]))).collect()
    }

    /// Part of invariant 7: whatever prefix of the batches a crash leaves, the opening makes it all or nothing.
    #[test]
    fn every_prefix_of_a_large_batch_recovers_to_all_or_nothing() {
        let before = {
            let mut store = MemStore::default();
            apply(&mut store, &ops(1000, 1)).unwrap();
            store
        };
        let mut store = before.clone();
        store.record();
        let mut change = ops(900, 2);
        change.extend((900..1000_u32).map(|i| ([b"e", &i.to_be_bytes()[..]].concat(), None)));
        apply(&mut store, &change).unwrap();
        let batches = store.recorded();
        assert!(batches.len() > 6);
        let mut seen = std::collections::BTreeSet::new();
        for cut in 0..=batches.len() {
            let mut crashed = before.clone();
            for batch in &batches[..cut] {
                crashed.apply(batch).unwrap();
            }
            recover(&mut crashed).unwrap();
            assert!(crashed.rows == before.rows || crashed.rows == store.rows, "after {cut} batches");
            seen.insert(crashed.rows == store.rows);
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_cut_row_is_damage_not_a_guess() {
        let chunk = chunks(&ops(3, 1)).remove(0);
        for cut in 1..chunk.len() {
            let mut ops = Vec::new();
            let result = read_chunk(&chunk[..cut], &mut ops);
            assert!(result.is_err() || ops.len() < 3, "{cut}");
        }
    }
}
