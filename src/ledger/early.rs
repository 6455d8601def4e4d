//! Forgets finished requests before their retention is over, where room is short: those of the
//! client that takes most room first, so that nobody's flood makes the agent forget the tokens of
//! others.

use std::collections::HashMap;

use super::{
    ending::forget_request,
    schema::{self, Due},
    store::{Direction, StoreError},
    tx::Tx,
};
use crate::model::Timestamp;

/// Requests that one step counts.
const COUNT_STEP: usize = 1000;

/// Requests that one step looks at, to forget them.
const STEP: usize = 20;

/// Clients whose requests are counted; those beyond it are left alone in this run.
const MAX_CLIENTS: usize = 10_000;

/// How far it has come.
#[derive(Clone, Debug)]
pub struct Early {
    /// Requests that ended since are kept.
    before: Timestamp,
    /// Bytes of records down to which requests are forgotten.
    goal: u64,
    /// The next row to count, until all are counted.
    counting: Option<Vec<u8>>,
    /// By the beginning of their rows' keys: how many requests each client has, and which row is
    /// next.
    clients: HashMap<Vec<u8>, (u64, Vec<u8>)>,
}

impl Early {
    /// Keeps what ended since `before`, and stops when `goal` bytes of records are left.
    #[must_use]
    pub fn new(before: Timestamp, goal: u64) -> Self {
        Self { before, goal, counting: Some(Vec::new()), clients: HashMap::new() }
    }

    /// Goes on, as much as one transaction takes; `true` when there is room enough, or nothing more
    /// to forget.
    ///
    /// # Errors
    /// The store failed.
    pub fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        if tx.counters.live_bytes <= self.goal {
            return Ok(true);
        }
        match self.counting.take() {
            Some(from) => self.count(tx, from),
            None => self.forget(tx),
        }
    }

    fn count(&mut self, tx: &Tx<'_>, mut from: Vec<u8>) -> Result<bool, StoreError> {
        let (first, to) = schema::all_of(b'l');
        if from.is_empty() {
            let (oldest, _) = schema::range(&[b'x', Due::Request as u8]);
            if tx.scan(&oldest, &schema::due(Due::Request, self.before, b""), Direction::Up, 1)?.is_empty() {
                return Ok(true);
            }
            from = first;
        }
        let rows = tx.scan(&from, &to, Direction::Up, COUNT_STEP)?;
        for (key, _) in &rows {
            let client = &key[..schema::client_of(key)?.len()];
            if let Some((count, _)) = self.clients.get_mut(client) {
                *count += 1;
            } else if self.clients.len() < MAX_CLIENTS {
                self.clients.insert(client.to_vec(), (1, client.to_vec()));
            }
        }
        if let Some((last, _)) = rows.last().filter(|_| rows.len() == COUNT_STEP) {
            self.counting = Some([last.as_slice(), &[0]].concat());
        }
        Ok(false)
    }

    /// Forgets the oldest requests of the client that has most.
    fn forget(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let largest = self.clients.iter_mut().max_by_key(|(client, (count, _))| (*count, (*client).clone()));
        let Some((client, (count, next))) = largest.filter(|(_, (count, _))| *count > 0) else { return Ok(true) };
        let (_, to) = schema::range(client);
        let rows = tx.scan(next, &to, Direction::Up, STEP)?;
        if rows.is_empty() {
            *count = 0;
        }
        for (key, _) in rows {
            if tx.is_full() {
                return Ok(false);
            }
            let seq = schema::seq_of(&key)?;
            match tx.request(seq)?.and_then(|request| request.completed_at) {
                // Those that were accepted later ended later, as a rule.
                Some(at) if at >= self.before => {
                    *count = 0;
                    return Ok(false);
                }
                Some(at) if !forget_request(tx, seq, at)? => return Ok(false),
                _ => {}
            }
            *count = count.saturating_sub(1);
            *next = [key.as_slice(), &[0]].concat();
        }
        Ok(false)
    }
}
