//! The simulated disk. Reads return all written data. After a power cut, synced data survives. Of
//! the unsynced data, any sectors of the journal and a prefix of the writes to the registry may
//! survive.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{
    disk_files::{SimFiles, SimStore},
    world::{Millis, World},
};
use crate::{
    domain::{Registered, Request},
    ledger::{
        Disk, MemFiles, Rules, State, StoreError,
        store::Op,
        testing::{self, Rows},
        view::{Image, View},
    },
};

#[derive(Default)]
pub(super) struct DiskState {
    /// What the agent sees. The oracle looks at this and at the next only by their [`View`].
    pub(super) live: Image,
    /// What a power cut would leave.
    pub(super) durable: Image,
    journal: MemFiles,
    /// The rows of the registry, as they are seen.
    pub(super) rows: Rows,
    pub(super) durable_rows: Rows,
    pub(super) unsynced: Vec<Vec<Op>>,
    pub(super) full: bool,
    /// Each access fails, more often than not.
    pub(super) broken: bool,
    /// The registry cannot be read.
    pub(super) is_damaged: bool,
    /// Rows that the next crash leaves in the place of the registry's.
    leaves: Option<Rows>,
    /// The registry was damaged, and the agent may find that.
    pub(super) may_quarantine: bool,
    /// It was replaced: until the new one is open, the totals may be wrong.
    pub(super) was_replaced: bool,
    replaced_at: Millis,
    /// The rows of the registry at an earlier checkpoint.
    pub(super) earlier: Rows,
    /// A rewritten registry, which the next opening takes.
    pub(super) copy: Option<Rows>,
    /// When a request was first seen on disk, by number.
    pub(super) accepted_at: BTreeMap<u64, Millis>,
    /// When a request was first seen to have ended.
    completed_at: BTreeMap<u64, Millis>,
    /// When the agent's state was last looked at.
    watched_at: Millis,
    /// When a device's record was last written as disassociated by an outcome.
    ended_at: BTreeMap<String, Millis>,
    /// When it was last written as associated.
    associated_at: BTreeMap<String, Millis>,
    /// The first number that this incarnation gives.
    pub(super) first_seq: u64,
    /// The incarnation that it is of.
    begun: u64,
}

impl DiskState {
    /// What a crash leaves: everything after a kill; after a power cut what was synced, and a part
    /// of the rest.
    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let is_kill = rng.bool();
        let kept = if is_kill { unsynced.len() } else { rng.usize(0..=unsynced.len()) };
        for ops in &unsynced[..kept] {
            put(&mut self.durable_rows, ops);
        }
        if let Some(rows) = self.leaves.take() {
            self.durable_rows = rows;
        }
        self.rows = self.durable_rows.clone();
        if !is_kill {
            self.journal.crash(rng);
        }
        self.live = self.durable.clone();
    }

    /// The rows of the registry are gone: what is not in memory is lost. Returns the requests.
    fn lose_rows(&mut self, rows: &Rows) -> Vec<(String, String)> {
        // A kill may leave a complete checkpoint on the disk before the agent has noted it.
        let stored = Image::of_rows(self.durable_rows.clone());
        let may_be_moved = |seq| stored.request(seq).is_some_and(|request| request.completed_at.is_some());
        let only_there = |seq| self.durable.is_only_stored(seq) || may_be_moved(seq);
        let all = self.durable.requests().into_iter().filter(|request| only_there(request.seq));
        let lost = all.map(|request| (request.client.to_string(), request.token.to_string())).collect();
        for image in [&mut self.live, &mut self.durable] {
            image.replace_rows(rows);
        }
        // The next list may be as old as the cloud's lists are.
        self.ended_at.clear();
        lost
    }
}

/// Damages the registry: it cannot be read from now on, or the next crash leaves no rows of it, or
/// those of an earlier checkpoint.
pub(super) fn damage_registry(world: &World) {
    let mut guard = world.state();
    let state = &mut *guard;
    let kind = state.rng.u8(0..3);
    state.disk.may_quarantine = true;
    if kind == 0 {
        state.disk.is_damaged = true;
    } else {
        let rows = if kind == 1 { Rows::new() } else { state.disk.earlier.clone() };
        state.seen.lost.extend(state.disk.lose_rows(&rows));
        state.plugin.lose_registry(&state.disk.durable, state.crashed);
        if state.crashed {
            (state.disk.durable_rows, state.disk.rows) = (rows.clone(), rows);
        } else {
            state.disk.leaves = Some(rows);
            state.crashed = true;
        }
    }
    drop(guard);
    world.note(|| format!("the registry is damaged: {kind}"));
    world.changed.notify_waiters();
}

pub(super) fn put(rows: &mut Rows, ops: &[Op]) {
    for (key, value) in ops {
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
}

/// The disk as an incarnation of the agent sees it.
#[derive(Clone)]
pub(super) struct SimDisk {
    pub(super) world: World,
    pub(super) rules: Arc<Rules>,
    pub(super) run: u64,
}

impl std::fmt::Display for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the simulated disk")
    }
}

impl SimDisk {
    pub(super) fn lives(&self) -> Result<(), StoreError> {
        if self.world.lives(self.run) { Ok(()) } else { Err(StoreError::Io("the agent is dead".into())) }
    }

    /// Each access may be the last thing that the agent does, before it or after it.
    pub(super) fn access(&self) -> Result<(), StoreError> {
        self.lives()?;
        if !self.world.fine() && self.world.chance(self.world.plan.crash) {
            self.world.note(|| "crash".into());
            self.world.state().crashed = true;
            self.world.changed.notify_waiters();
            return Err(StoreError::Io("crash".into()));
        }
        Ok(())
    }

    pub(super) fn errs(&self) -> bool {
        self.errs_with(0.7)
    }

    /// Whether it fails, with the chance that a broken disk gives it.
    pub(super) fn errs_with(&self, broken: f64) -> bool {
        let chance = if self.world.state().disk.broken { broken } else { self.world.plan.disk_error };
        let errs = !self.world.fine() && self.world.chance(chance);
        if errs {
            self.world.note(|| "disk error".into());
        }
        errs
    }

    /// Checks that each change of a record was reported by the cloud.
    fn watch(&self, new: &Image) {
        let now = self.world.now();
        let mut wrong = None;
        {
            let mut guard = self.world.state();
            let state = &mut *guard;
            let (disk, cloud, seen) = (&mut state.disk, &state.cloud, &state.seen);
            // What a run reads at its start may have ended at any time since the last look.
            let begins = disk.begun != self.run;
            let since = if begins { disk.watched_at } else { now };
            disk.watched_at = now;
            for request in new.requests_in_memory() {
                if request.completed_at.is_some() {
                    disk.completed_at.entry(request.seq).or_insert(since);
                }
                if disk.live.request(request.seq).is_none() {
                    disk.accepted_at.insert(request.seq, now);
                    let key = (request.client.to_string(), request.token.to_string());
                    if seen.gone.contains(&key) {
                        wrong = Some((12, format!("{key:?} was rejected, and is here")));
                    }
                }
            }
            // The simulation sees the end of a request some time after the agent notes it.
            let retention = (self.world.plan.retention_days * 86_400_000.0) as Millis - 60_000;
            for seq in new.forgotten().filter(|seq| !disk.live.is_forgotten(*seq)) {
                if disk.completed_at.get(&seq).is_none_or(|ended| now - ended < retention) {
                    let since = disk.completed_at.get(&seq).map(|ended| now - ended);
                    wrong = Some((2, format!("request {seq} is forgotten {since:?} ms after its end")));
                }
            }
            // What a crash left of the last groups is nothing that the agent did now.
            let is_read = new.totals().synced && !disk.live.totals().synced;
            let is_later = |(begun, _): &(Millis, _)| *begun >= disk.replaced_at;
            if is_read && !begins && !cloud.complete.as_ref().is_some_and(is_later) {
                wrong = Some((6, "a registry is taken for whole that no list since its begin was read into".into()));
            }
            for (thing, new) in new.devices_in_memory().filter(|_| !begins) {
                let (old, name) = (disk.live.device(thing), thing.as_str());
                // When the registry or the journal fails, the agent undoes its unsynced changes. The
                // record is the durable one then, and no client got a response for the change.
                if old.as_ref() == Some(new) || disk.durable.device(thing).as_ref() == Some(new) {
                    continue;
                }
                let was = old.as_ref().map(|old| old.registered);
                match new.registered {
                    Registered::Associated => {
                        if was != Some(Registered::Associated) {
                            let ended = disk.ended_at.get(name).copied().unwrap_or(Millis::MIN);
                            let answered = cloud.joined.get(name).copied().filter(|joined| *joined >= ended);
                            if answered.is_none() && cloud.list_begun.is_none_or(|begun| begun < ended) {
                                wrong =
                                    Some((6, format!("{name} is associated again by a list older than its outcome")));
                            }
                            // When the cloud said it, and not when it is written: both may be in
                            // one group with the next outcome.
                            let said = answered.or(cloud.list_begun).unwrap_or(now);
                            disk.associated_at.insert(name.to_owned(), said);
                        }
                    }
                    Registered::Disassociated => {
                        let since = disk.associated_at.get(name).copied().unwrap_or(Millis::MIN);
                        if was == Some(Registered::Associated) && cloud.gone.get(name).is_none_or(|gone| *gone < since)
                        {
                            wrong = Some((6, format!("{name} is removed, and no complete list or answer said so")));
                        }
                        if old.is_none_or(|old| old.outcome_seq != new.outcome_seq) {
                            disk.ended_at.insert(name.to_owned(), now);
                        }
                    }
                }
            }
        }
        if let Some((invariant, text)) = wrong {
            self.world.violate(invariant, text);
        }
    }

    /// The totals and indexes, counted again from the objects, now and then; and at a start, that
    /// nothing durable is missing.
    fn check(&self, new: &Image) {
        let begins = {
            let mut guard = self.world.state();
            let disk = &mut guard.disk;
            let begins = disk.begun != self.run;
            if begins {
                disk.begun = self.run;
                disk.first_seq = new.first_sequence();
            }
            begins
        };
        let open_entries = new.totals().open_entries;
        if open_entries > self.world.plan.max_pending {
            self.world.violate(9, format!("{open_entries} entries are pending"));
        }
        if begins {
            let lost = {
                let state = self.world.state();
                let durable = &state.disk.durable;
                let key = |one: &Request| (one.client.to_string(), one.token.to_string());
                // A group that a crash kept may have forgotten it.
                let is_forgotten = |one: &Request| new.is_forgotten(one.seq);
                let is_lost = |one: &Request| {
                    new.request(one.seq).is_none() && !is_forgotten(one) && !state.seen.lost.contains(&key(one))
                };
                let all = durable.requests();
                let lost: Vec<u64> = all.iter().filter(|one| is_lost(one)).map(|one| one.seq).collect();
                lost
            };
            if !lost.is_empty() {
                self.world.violate(7, format!("requests {lost:?} were durable, and are gone"));
            }
        }
        let is_unsure = {
            let disk = &self.world.state().disk;
            disk.may_quarantine || begins && disk.was_replaced
        };
        if !is_unsure && (begins || self.world.chance(0.02)) {
            let counted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                testing::recount(new, &self.rules);
            }));
            if let Err(panic) = counted {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                self.world.violate(7, format!("totals and objects differ: {text}"));
            }
        }
    }
}

impl Disk for SimDisk {
    type Files = SimFiles;
    type Registry = SimStore;

    fn open_journal(&self) -> Result<SimFiles, StoreError> {
        self.access()?;
        let files = self.world.state().disk.journal.clone();
        Ok(SimFiles { disk: self.clone(), files })
    }

    fn open_registry(&self) -> Result<SimStore, StoreError> {
        self.access()?;
        if self.errs() {
            return Err(StoreError::Io("input/output error".into()));
        }
        let disk = &mut self.world.state().disk;
        if disk.full {
            return Err(StoreError::Full);
        }
        if let Some(copy) = disk.copy.take() {
            disk.unsynced.clear();
            disk.rows.clone_from(&copy);
            disk.durable_rows = copy;
        }
        Ok(SimStore { disk: self.clone(), failed: false })
    }

    fn quarantine_registry(&self, _: i64) -> std::io::Result<PathBuf> {
        self.access().map_err(std::io::Error::other)?;
        self.world.note(|| "the registry is replaced".into());
        if !self.world.state().disk.may_quarantine {
            self.world.violate(7, "the registry is taken for damaged");
        }
        {
            let now = self.world.now();
            let mut guard = self.world.state();
            let state = &mut *guard;
            let none = Rows::new();
            state.seen.lost.extend(state.disk.lose_rows(&none));
            state.plugin.lose_registry(&state.disk.durable, false);
            let disk = &mut state.disk;
            (disk.rows, disk.durable_rows, disk.copy, disk.earlier) = (none.clone(), none.clone(), None, none);
            disk.unsynced.clear();
            (disk.may_quarantine, disk.is_damaged, disk.was_replaced) = (false, false, true);
            disk.replaced_at = now;
        }
        self.access().map_err(std::io::Error::other)?;
        Ok(PathBuf::new())
    }

    fn discard_registry(&self) -> std::io::Result<()> {
        self.quarantine_registry(0).map(drop)
    }

    fn quarantine_all(&self, _: i64) -> std::io::Result<PathBuf> {
        self.world.violate(7, "the journal is taken for damaged");
        Ok(PathBuf::new())
    }

    fn owner(&self) -> String {
        "MyCore eu-central-1".into()
    }

    /// Small, so that there are checkpoints.
    fn segment(&self) -> u64 {
        96 << 10
    }

    fn observe(&self, state: &State, durable: bool) {
        if !self.world.lives(self.run) {
            return;
        }
        let rows = self.world.state().disk.rows.clone();
        let image = Image::of(state, rows);
        self.watch(&image);
        if durable {
            self.check(&image);
            let mut state = self.world.state();
            let is_listing = state.cloud.list_begun.is_some();
            state.plugin.observe(&image, is_listing);
            state.disk.durable = image.clone();
        }
        self.world.state().disk.live = image;
    }
}
