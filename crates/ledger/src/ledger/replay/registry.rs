//! The registry of a recording: its rows, and whether they are those that the journal leads to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    path::Path,
};

use crate::{
    domain::{EntryFailure, Registered, Request, ThingName},
    ledger::{
        StoreError,
        journal::About,
        pending::{DeviceRow, Image, Kept, Slot, State},
        registry::{
            Binding, SledStore, rows,
            store::{Direction, Store},
        },
    },
};

/// Rows that are read at a time.
const STEP: usize = 1000;

/// What the journal says that the registry has.
#[derive(Default)]
pub(super) struct Expected {
    /// Set when the frames of before the last checkpoint were read.
    has_begun: bool,
    /// The rows that a device may have, each with its group: the last one before the checkpoint, or
    /// one of those since.
    devices: BTreeMap<ThingName, Vec<(u64, DeviceRow)>>,
    /// The devices of which a row from before the checkpoint is known.
    before: BTreeSet<ThingName>,
    /// The requests that had ended when the checkpoint began.
    requests: BTreeMap<u64, Kept>,
    /// Requests that were forgotten at any time.
    forgotten: BTreeSet<u64>,
}

impl Expected {
    /// Notes an image.
    pub(super) fn note(&mut self, sequence: u64, image: &Image<'_>) {
        match image {
            Image::Device(thing, Some(changed)) => {
                let rows = self.devices.entry(thing.clone().into_owned()).or_default();
                if !self.has_begun {
                    rows.clear();
                }
                rows.push((sequence, (*changed.row).clone()));
            }
            Image::Forgotten(seq, _) => drop(self.forgotten.insert(*seq)),
            _ => {}
        }
    }

    /// Notes that the last checkpoint begins.
    pub(super) fn begin(&mut self, seen: &State) {
        self.has_begun = true;
        self.before = self.devices.keys().cloned().collect();
        let ended = seen.requests().iter().filter(|(_, kept)| kept.request.completed_at.is_some());
        self.requests = ended.map(|(seq, kept)| (*seq, kept.clone())).collect();
        // What came before the first frame that is there is not known.
        self.requests.retain(|_, kept| kept.slots.len() == kept.request.tally.entries as usize);
    }

    /// Forgets what was noted: groups are missing, or the registry was replaced.
    pub(super) fn forget_all(&mut self) {
        self.devices.clear();
        self.before.clear();
        self.requests.clear();
    }
}

/// The rows of a registry.
#[derive(Default)]
pub(super) struct Stored {
    binding: Option<Binding>,
    devices: BTreeMap<ThingName, DeviceRow>,
    pub(super) requests: BTreeMap<u64, Request>,
    failures: BTreeMap<u64, BTreeMap<u32, EntryFailure>>,
    /// By the whole key.
    tokens: BTreeMap<Vec<u8>, u64>,
}

impl Stored {
    /// Reads the registry in the data directory `dir`; also returns which rows cannot be read.
    ///
    /// # Errors
    /// The registry cannot be opened.
    pub(super) fn read(dir: &Path) -> Result<(Self, Vec<String>), StoreError> {
        let registry = SledStore::open(dir)?;
        let mut stored = Self { binding: Binding::read(&registry)?, ..Self::default() };
        let mut faults = Vec::new();
        let (mut from, end) = (vec![0], vec![u8::MAX]);
        loop {
            let found = registry.scan(&from, &end, Direction::Up, STEP)?;
            let Some((last, _)) = found.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (key, row) in found {
                if let Err(error) = stored.take(&key, &row) {
                    faults.push(format!("registry, key {}: {error}", key.escape_ascii()));
                }
            }
        }
        Ok((stored, faults))
    }

    fn take(&mut self, key: &[u8], row: &[u8]) -> Result<(), StoreError> {
        match key.first() {
            Some(b'd') => drop(self.devices.insert(rows::read_thing(key)?, rows::decode_device(row)?)),
            Some(b'r') => {
                let seq = rows::read_seq(key)?;
                self.requests.insert(seq, rows::decode_request(seq, row)?);
            }
            Some(b'f') => {
                let seq = rows::read_seq(key.get(..9).unwrap_or_default())?;
                let failure = rows::decode(row, "a failed entry")?;
                self.failures.entry(seq).or_default().insert(rows::read_index(key)?, failure);
            }
            Some(b't') => drop(self.tokens.insert(key.to_vec(), rows::read_seq(row)?)),
            _ => {}
        }
        Ok(())
    }

    /// The devices, and whether the cloud lists them.
    pub(super) fn registered(&self) -> BTreeMap<ThingName, Registered> {
        let registered =
            |(thing, row): (&ThingName, &DeviceRow)| Some((thing.clone(), row.device.as_ref()?.registered));
        self.devices.iter().filter_map(registered).collect()
    }

    /// What in the rows does not fit together, or to the journal.
    pub(super) fn check(&self, about: &About, state: &State, expected: &Expected) -> Vec<String> {
        let mut faults = Vec::new();
        self.check_binding(about, state, &mut faults);
        for (seq, request) in &self.requests {
            let Request { client, token, tally, .. } = request;
            match self.tokens.get(&rows::token(client, token)) {
                None => {
                    faults.push(format!("registry, request {seq} of {client}: there is no row of its token {token}"))
                }
                // A token may name a later request once this one is being forgotten.
                Some(other) if other < seq => {
                    faults
                        .push(format!("registry, request {seq} of {client}: its token {token} names request {other}"));
                }
                Some(_) => {}
            }
            let failed = self.failures.get(seq).map_or(0, BTreeMap::len);
            if u64::from(tally.failed()) != failed as u64 {
                let total = tally.failed();
                faults
                    .push(format!("registry, request {seq}: {total} failed entries by its row, {failed} rows of them"));
            }
        }
        let is_known = |seq: &u64| self.requests.contains_key(seq) || state.request(*seq).is_some();
        for (key, seq) in self.tokens.iter().filter(|(_, seq)| !is_known(seq)) {
            faults.push(format!("registry, key {}: it names request {seq}, which has no row", key.escape_ascii()));
        }
        for seq in self.failures.keys().filter(|seq| !is_known(seq)) {
            faults.push(format!("registry: there are failed entries of request {seq}, which has no row"));
        }
        self.check_devices(expected, &mut faults);
        self.check_requests(expected, &mut faults);
        faults
    }

    fn check_binding(&self, about: &About, state: &State, faults: &mut Vec<String>) {
        let counters = &state.counters;
        let Some(binding) = self.binding else {
            if counters.is_bound {
                faults.push("registry: all of its rows are gone, or it was not recorded".into());
            }
            return;
        };
        if binding.journal != about.identity.id || binding.generation != counters.generation {
            faults.push("registry: it belongs to another journal".into());
        }
        let (has, of) = (binding.checkpoint, about.checkpoint);
        if has < of || has > of + u64::from(about.has_begun) {
            faults.push(format!("registry: it has checkpoint {has}, and the journal {of}"));
        }
    }

    fn check_devices(&self, expected: &Expected, faults: &mut Vec<String>) {
        let gone = DeviceRow::default();
        for (thing, rows) in &expected.devices {
            let row = self.devices.get(thing).unwrap_or(&gone);
            // A device that changed first since the checkpoint may have any row.
            let Some((sequence, last)) = rows.first() else { continue };
            if expected.before.contains(thing) && rows.iter().all(|(_, one)| one != row) {
                let what = difference(row, last);
                faults.push(format!("registry, device {thing}: {what}, by group {sequence} of the journal"));
            }
        }
    }

    fn check_requests(&self, expected: &Expected, faults: &mut Vec<String>) {
        let kept = expected.requests.iter().filter(|(seq, _)| !expected.forgotten.contains(seq));
        for (seq, kept) in kept {
            let token = &kept.request.token;
            let Some(row) = self.requests.get(seq) else {
                faults.push(format!("registry, request {seq} ({token}): it ended by the journal, and has no row"));
                continue;
            };
            if *row != kept.request {
                let what = difference(row, &kept.request);
                faults.push(format!("registry, request {seq} ({token}): {what}, by the journal"));
            }
            let failed = (0_u32..).zip(&kept.slots).filter_map(|(index, slot)| match slot {
                Slot::Failed(target, fault) => {
                    Some((index, EntryFailure { target: target.clone(), fault: (**fault).clone() }))
                }
                _ => None,
            });
            if self.failures.get(seq).cloned().unwrap_or_default() != failed.collect() {
                faults.push(format!(
                    "registry, request {seq} ({token}): its failed entries are not those of the journal"
                ));
            }
        }
    }
}

/// In which members two values differ: as the first has them, and as the second does.
fn difference(one: &impl Debug, other: &impl Debug) -> String {
    let (one, other) = (members(one), members(other));
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let value = |of: &BTreeMap<String, String>, name| of.get(name).map_or("missing".to_owned(), String::clone);
    let differ = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    let texts = differ.map(|name| format!("{name} is {} in its row and {}", value(&one, name), value(&other, name)));
    let texts = texts.take(5).collect::<Vec<_>>().join("; ");
    if texts.is_empty() { "the order of its members is another in its row".into() } else { texts }
}

/// The members of a value by their paths. They are read from the value's text for debugging, since
/// its record has members of one letter.
fn members(value: &impl Debug) -> BTreeMap<String, String> {
    let (mut found, mut path) = (BTreeMap::new(), Vec::new());
    // The members of a list, and of one without names, have one path.
    let mut add = |path: &[&str], value: &str| {
        let names = path.iter().copied().filter(|name| !name.is_empty());
        let all: &mut String = found.entry(names.collect::<Vec<_>>().join(".")).or_default();
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(value);
    };
    for line in format!("{value:#?}").lines().skip(1).map(|line| line.trim().trim_end_matches(',')) {
        let (name, value) = line.split_once(": ").filter(|(name, _)| is_name(name)).unwrap_or(("", line));
        if let Some(kind) = value.strip_suffix(['{', '[', '(']) {
            path.push(name);
            if !name.is_empty() && !kind.is_empty() {
                add(&path, kind.trim_end());
            }
        } else if value.starts_with(['}', ']', ')']) {
            path.pop();
        } else {
            path.push(name);
            add(&path, value);
            path.pop();
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Asked, ClientId, ClientToken, Device, Event, EventKind, Fault, Operation, Timestamp};

    fn ended(fault: Option<Fault>) -> (u64, Event) {
        let asked = Asked {
            seq: 1,
            client: ClientId::new("bench").unwrap(),
            token: ClientToken::new("t").unwrap(),
            operation: Operation::DisassociateClientDevices,
            at: Timestamp(5),
            elapsed: 0,
        };
        (7, Event { at: Timestamp(6), kind: EventKind::Ended { asked, fault } })
    }

    #[test]
    fn a_difference_names_the_members() {
        let device = Device {
            registered: Registered::Associated,
            association: Some(Timestamp(5)),
            associated_by_agent_at: None,
            requested: None,
            attempts: 0,
            error: None,
            changed_at: Timestamp(6),
            outcome_seq: 0,
        };
        let row = DeviceRow { device: Some(device.clone()), ..DeviceRow::default() };
        let gone = Device { registered: Registered::Disassociated, association: None, ..device };
        let other = DeviceRow { device: Some(gone), ..DeviceRow::default() };
        assert_eq!(
            difference(&row, &other),
            "device.association is Some 5 in its row and None; device.registered is Associated in its row and \
             Disassociated"
        );
        let lost = difference(&DeviceRow::default(), &row);
        assert!(lost.starts_with("device is None in its row and Some; "), "{lost}");
    }

    #[test]
    fn events_that_differ_in_their_kind_or_their_order_do_so_in_the_text() {
        let fault = Fault::new("Code", "a text: with {");
        let with = |events: Vec<(u64, Event)>| DeviceRow { events, ..DeviceRow::default() };
        let listed = (7, Event { at: Timestamp(6), kind: EventKind::Listed });
        let pairs = [
            (with(vec![ended(Some(fault.clone())), ended(None)]), with(vec![ended(None), ended(Some(fault))])),
            (with(vec![listed.clone(), ended(None)]), with(vec![ended(None), listed])),
        ];
        for (one, other) in pairs {
            assert_ne!(one, other);
            let text = difference(&one, &other);
            assert!(text.contains(" in its row and "), "{text}");
        }
    }
}
