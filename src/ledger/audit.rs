//! Totals and indexes counted again from the records: what should never differ. For tests, and for
//! whoever looks at a store by hand.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    accept::unknown_rows,
    records::{has_tombstone, is_known, is_leaving, visible},
    schema::{self, Counters, Due, Load, Work},
    store::{Direction, StoreError},
    story::Story,
    tx::Tx,
};
use crate::model::{Device, DeviceState, Lane, Registered, Request, RequestStatus, Target};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What does not fit together, in words; empty for a store that is whole.
///
/// # Errors
/// The store failed, or a record cannot be read.
pub fn audit(tx: &Tx<'_>) -> Result<Vec<String>, StoreError> {
    let rows: Rows = tx.scan(&[0], &[u8::MAX], Direction::Up, usize::MAX)?.into_iter().collect();
    let mut audit = Audit { rows: &rows, wrong: Vec::new() };
    let requests = audit.requests(&tx.counters)?;
    audit.indexes(&requests);
    audit.work(&tx.counters)?;
    audit.devices(&tx.counters)?;
    audit.stories()?;
    Ok(audit.wrong)
}

struct Audit<'r> {
    rows: &'r Rows,
    wrong: Vec<String>,
}

impl<'r> Audit<'r> {
    fn of(&self, prefix: u8) -> impl Iterator<Item = (&'r Vec<u8>, &'r Vec<u8>)> + use<'r> {
        let (from, to) = schema::all_of(prefix);
        self.rows.range(from..to)
    }

    fn equal(&mut self, what: &str, told: u64, found: usize) {
        if told != found as u64 {
            self.wrong.push(format!("{what}: {told} by the totals, {found} by the records"));
        }
    }

    fn hold(&mut self, what: &str, holds: bool) {
        if !holds {
            self.wrong.push(what.to_owned());
        }
    }

    fn requests(&mut self, counters: &Counters) -> Result<BTreeMap<u64, Request>, StoreError> {
        let requests = self.of(b'r').map(|(_, record)| schema::decode::<Request>(record, "a request"));
        let requests: Vec<Request> = requests.collect::<Result<_, _>>()?;
        let requests: BTreeMap<u64, Request> = requests.into_iter().map(|request| (request.seq, request)).collect();
        let open = requests.values().filter(|r| r.tally.status() == RequestStatus::InProgress).count();
        self.equal("open requests", counters.open_requests, open);
        let in_rows = |prefix: u8| {
            let mut count: BTreeMap<u64, u32> = BTreeMap::new();
            for (seq, _) in self.of(prefix).filter_map(|(key, _)| schema::read_entry(key).ok()) {
                *count.entry(seq).or_default() += 1;
            }
            count
        };
        let (entries, failures, unknown) = (in_rows(b'e'), in_rows(b'f'), in_rows(b'n'));
        for (seq, request) in &requests {
            let count = |rows: &BTreeMap<u64, u32>| rows.get(seq).copied().unwrap_or_default();
            let tally = &request.tally;
            self.hold(&format!("request {seq} has a number to come"), *seq < counters.next_seq);
            self.hold(&format!("request {seq} has ended or not"), request.completed_at.is_some() == (tally.open == 0));
            self.hold(&format!("request {seq}: open entries"), tally.open == count(&entries));
            self.hold(&format!("request {seq}: failed entries"), tally.failed() == count(&failures));
            let pieces = unknown_rows(request.unknown.unwrap_or_default());
            self.hold(&format!("request {seq}: names of unknown devices"), pieces == count(&unknown));
        }
        for seq in entries.keys().chain(failures.keys()).chain(unknown.keys()).filter(|seq| !requests.contains_key(seq))
        {
            self.wrong.push(format!("entries of request {seq}, which is not there"));
        }
        let bytes: usize =
            self.rows.iter().filter(|(key, _)| key[0] != schema::META).map(|(k, v)| k.len() + v.len()).sum();
        self.equal("live bytes", counters.live_bytes, bytes);
        let outgoing = self.of(b'o').count();
        self.equal("outbox", counters.outgoing, outgoing);
        let journal = self.of(schema::JOURNAL).count();
        self.equal("journal", 0, journal);
        Ok(requests)
    }

    /// Each request is found by its token and by its client, and nothing else is.
    fn indexes(&mut self, requests: &BTreeMap<u64, Request>) {
        for (seq, request) in requests {
            let token = self.rows.get(&schema::token(&request.client, &request.token));
            self.hold(&format!("request {seq} by its token"), token.and_then(|at| schema::read_seq(at)) == Some(*seq));
            let by_client = self.rows.contains_key(&schema::by_client(&request.client, *seq));
            self.hold(&format!("request {seq} by its client"), by_client);
        }
        for prefix in [b't', b'l'] {
            let count = self.of(prefix).count();
            self.equal("tokens or clients", requests.len() as u64, count);
        }
    }

    fn work(&mut self, counters: &Counters) -> Result<(), StoreError> {
        let registry = schema::target_bytes(&Target::Registry);
        let of_registry = self.of(b'e').filter(|(_, target)| **target == registry).count();
        let entries = self.of(b'e').count();
        self.equal("open entries", counters.open_entries, entries - of_registry);
        self.equal("open syncs", counters.open_syncs, of_registry);
        let waiters = self.of(b'p').count();
        self.equal("waiters", entries as u64, waiters);
        for (key, target) in self.of(b'e') {
            let (seq, no) = schema::read_entry(key)?;
            let waits = self.rows.contains_key(&schema::waiter(&schema::read_target(target)?, seq, no));
            self.hold(&format!("entry {no} of request {seq} does not wait for its target"), waits);
        }
        let waited: BTreeSet<&[u8]> = self.of(b'p').map(|(key, _)| &key[3..key.len() - 12]).collect();
        let mut loads: BTreeMap<Lane, Load> = BTreeMap::new();
        for (key, record) in self.of(b'k') {
            let work: Work = schema::decode(record, "work")?;
            loads.entry(work.lane).or_default().count(work.queue, 1);
            let at_place = self.rows.get(&work.key()).is_some_and(|target| *target == key[1..]);
            self.hold("work that is not in its queue", at_place);
            self.turns(&key[1..], &work)?;
            self.hold("work that nobody asked for", work.sent || waited.contains(&key[1..]));
        }
        let idle = waited.iter().filter(|target| !self.rows.contains_key(&[b"k", **target].concat())).count();
        self.equal("targets that are waited for and not worked on", 0, idle);
        let queued = self.of(b'w').count();
        self.equal("queue", loads.values().map(|load| load.work).sum(), queued);
        for lane in Lane::ALL {
            let load = |loads: &BTreeMap<Lane, Load>| loads.get(&lane).copied().unwrap_or_default();
            let (told, found) = (load(&counters.loads), load(&loads));
            self.hold(&format!("{lane:?}: {told:?} by the totals, {found:?} by the records"), told == found);
        }
        Ok(())
    }

    /// Those for whom the work is done ask for it, and those behind it for the opposite.
    fn turns(&mut self, target: &[u8], work: &Work) -> Result<(), StoreError> {
        let target = schema::read_target(target)?;
        let prefix = schema::waiters(&target);
        let (from, to) = schema::range(&prefix);
        let opposite = work.lane.traits().devices.and_then(|devices| devices.opposite);
        let mut behind = 0;
        for (key, _) in self.rows.range(from..to) {
            let place = schema::read_place(key, prefix.len())?;
            let request = self.rows.get(&schema::request(place.0));
            let request = request.map(|record| schema::decode::<Request>(record, "a request")).transpose()?;
            let lane = if work.is_for(place) { Some(work.lane) } else { opposite };
            behind += usize::from(!work.is_for(place));
            let asked = request.and_then(|request| request.operation.lane());
            self.hold(&format!("request {} waits in another's turn", place.0), asked == lane);
        }
        self.hold("nobody waits behind the work", work.behind.is_none() || (behind > 0 && work.sent));
        Ok(())
    }

    fn devices(&mut self, counters: &Counters) -> Result<(), StoreError> {
        let mut tombstones = 0;
        // A device is visible by its record, by its work, or by both.
        let mut states: BTreeMap<&[u8], (Option<Device>, Option<Work>)> = BTreeMap::new();
        for (key, record) in self.of(b'd') {
            let device: Device = schema::decode(record, "a device")?;
            let thing = String::from_utf8_lossy(&key[2..]);
            self.hold(&format!("device {thing} by its state"), *key == schema::device(device.registered, &thing));
            let due = self.rows.contains_key(&schema::due(Due::Tombstone, device.changed_at, &key[2..]));
            self.hold(&format!("device {thing} goes in time"), due == has_tombstone(Some(&device)));
            tombstones += usize::from(due);
            let other = states.entry(&key[2..]).or_default().0.replace(device);
            self.hold(&format!("device {thing} twice"), other.is_none());
        }
        self.equal("tombstones", tombstones as u64, self.due(Due::Tombstone));
        for (key, record) in self.of(b'k').filter(|(key, _)| key.get(1) == Some(&b'd')) {
            let work: Work = schema::decode(record, "work")?;
            states.entry(&key[2..]).or_default().1 = Some(work);
        }
        let count = |counts: fn(Option<&Device>, Option<&Work>) -> bool| {
            states.values().filter(|(device, work)| counts(device.as_ref(), work.as_ref())).count()
        };
        let (known, leaving) = (count(is_known), count(|_, work| is_leaving(work)));
        self.equal("known devices", counters.known, known);
        self.equal("leaving devices", counters.leaving, leaving);
        let states: Vec<_> =
            states.values().filter_map(|(device, work)| visible(device.as_ref(), work.as_ref())).collect();
        for state in DeviceState::ALL {
            let told = *counters.clone().devices(*state);
            let found = states.iter().filter(|one| *one == state).count();
            self.equal(state.as_str(), told, found);
        }
        Ok(())
    }

    /// Each story goes at some time, with its device or by itself, and nothing waits for the end of
    /// one that is not there.
    fn stories(&mut self) -> Result<(), StoreError> {
        let mut by_themselves = 0;
        for (key, record) in self.of(b'h') {
            let story: Story = schema::decode(record, "a story")?;
            let thing = String::from_utf8_lossy(&key[1..]);
            let due = self.rows.contains_key(&schema::due(Due::Story, story.since, &key[1..]));
            let with_device = self.rows.contains_key(&schema::device(Registered::Disassociated, &thing));
            self.hold("a story that never goes", due != with_device && !story.events.is_empty());
            by_themselves += u64::from(due);
        }
        self.equal("stories", by_themselves, self.due(Due::Story));
        Ok(())
    }

    fn due(&self, kind: Due) -> usize {
        let (from, to) = schema::range(&[b'x', kind as u8]);
        self.rows.range(from..to).count()
    }
}
