//! The view of today's ledger: rows by their keys, in a map, which may be a durable image as well.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::{Owed, Queue, Totals, View, Waiter, Work, Written};
use crate::{domain::{ClientId, ClientToken, Device, DeviceState, EntryFailure, Event, Registered, Request, Target, ThingName}, ledger::{schema::{Counters, self}, store::Op, story::Story}};

/// Keys and values.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

type Range = (Vec<u8>, Vec<u8>);

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> T {
    schema::decode(bytes, "a view").unwrap()
}

fn number(bytes: &[u8]) -> u64 {
    schema::read_seq(bytes).unwrap()
}

fn in_range(rows: &Rows, (from, to): Range) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
    rows.range(from..to)
}

fn of(rows: &Rows, prefix: u8) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
    in_range(rows, schema::all_of(prefix))
}

fn counters(rows: &Rows) -> Counters {
    rows.get(&schema::meta("counters")).map(|bytes| decode(bytes)).unwrap_or_default()
}

/// The objects that a batch of writes gives new values.
pub(crate) fn written(ops: &[Op]) -> impl Iterator<Item = Written> {
    ops.iter().filter_map(|(key, value)| {
        let value = value.as_ref()?;
        match key.first()? {
            b'r' => Some(Written::Request(schema::read_number(key).unwrap())),
            b'd' => Some(Written::Device(schema::read_thing(&key[2..]).unwrap(), decode(value))),
            _ => None,
        }
    })
}

impl View for Rows {
    fn sequence(&self) -> u64 {
        counters(self).next_seq
    }

    fn find(&self, client: &ClientId, token: &ClientToken) -> Option<u64> {
        self.get(&schema::token(client, token)).map(|seq| number(seq))
    }

    fn request(&self, seq: u64) -> Option<Request> {
        self.get(&schema::request(seq)).map(|bytes| decode(bytes))
    }

    fn requests(&self) -> Vec<Request> {
        of(self, b'r').map(|(_, bytes)| decode(bytes)).collect()
    }

    fn unknown_names(&self, seq: u64) -> Vec<String> {
        in_range(self, schema::all_unknown(seq)).flat_map(|(_, names)| decode::<Vec<String>>(names)).collect()
    }

    fn open_entries(&self, seq: u64) -> Vec<(u32, Target)> {
        let entry = |(key, target): (&Vec<u8>, &Vec<u8>)| {
            (schema::read_entry(key).unwrap().1, schema::read_target(target).unwrap())
        };
        in_range(self, schema::entries(seq, 0)).map(entry).collect()
    }

    fn failed_entries(&self, seq: u64) -> Vec<(u32, EntryFailure)> {
        let entry = |(key, failure): (&Vec<u8>, &Vec<u8>)| (schema::read_entry(key).unwrap().1, decode(failure));
        in_range(self, schema::failures(seq, 0)).map(entry).collect()
    }

    fn unacknowledged(&self) -> Vec<([u8; 32], u64)> {
        of(self, b'u').map(|(key, seq)| (key[1..].try_into().unwrap(), number(seq))).collect()
    }

    fn targets(&self) -> Vec<Target> {
        of(self, b'k').map(|(key, _)| schema::read_target(&key[1..]).unwrap()).collect()
    }

    fn work(&self, target: &Target) -> Option<Work> {
        let schema::Work {
            lane,
            queue,
            seq,
            no,
            sent,
            attempts,
            charged,
            error,
            doubt,
            mark,
            joined_before,
            behind,
            call,
            resource: _,
        } = decode(self.get(&schema::work(target))?);
        Some(Work {
            call_kind: lane,
            queue: match queue {
                schema::Queue::Fresh => Queue::Fresh,
                schema::Queue::Retry => Queue::Retry,
                schema::Queue::Aside => Queue::Parked,
                schema::Queue::Verify => Queue::AwaitList,
            },
            place: (seq, no),
            sent,
            outcome_unknown: doubt,
            attempts,
            entry_errors: charged,
            error,
            outcome_seq: mark,
            joined_before,
            queued_opposite: behind,
            call: call.map(|call| call.token),
        })
    }

    fn waiters(&self, target: &Target) -> Vec<Waiter> {
        let prefix = schema::waiters(target);
        let waiter = |(key, held): (&Vec<u8>, &Vec<u8>)| Waiter {
            place: schema::read_place(key, prefix.len()).unwrap(),
            known_association: schema::read_held(held),
        };
        in_range(self, schema::range(&prefix)).map(waiter).collect()
    }

    fn device(&self, thing: &ThingName) -> Option<Device> {
        let record = |registered| self.get(&schema::device(registered, thing.as_str()));
        record(Registered::Associated).or_else(|| record(Registered::Disassociated)).map(|bytes| decode(bytes))
    }

    fn devices(&self) -> BTreeMap<ThingName, Device> {
        of(self, b'd').map(|(key, device)| (schema::read_thing(&key[2..]).unwrap(), decode(device))).collect()
    }

    fn owed(&self) -> Vec<Owed> {
        let owed = |(key, message): (&Vec<u8>, &Vec<u8>)| {
            let schema::Outgoing { seq, completed } = decode(message);
            Owed { n: schema::read_number(key).unwrap(), seq, completed }
        };
        of(self, b'o').map(owed).collect()
    }

    fn outdated(&self) -> BTreeMap<ThingName, u64> {
        of(self, b'q').map(|(key, change)| (schema::read_thing(&key[1..]).unwrap(), number(change))).collect()
    }

    fn history(&self) -> BTreeMap<ThingName, Vec<Event>> {
        let history = |(key, story): (&Vec<u8>, &Vec<u8>)| {
            (schema::read_thing(&key[1..]).unwrap(), decode::<Story>(story).events)
        };
        of(self, b'h').map(history).collect()
    }

    fn totals(&self) -> Totals {
        let mut counters = counters(self);
        Totals {
            open_requests: counters.open_requests,
            open_entries: counters.open_entries,
            open_syncs: counters.open_syncs,
            owed: counters.outgoing,
            devices: DeviceState::ALL.iter().map(|state| (*state, *counters.devices(*state))).collect(),
            work: counters.loads,
            synced: counters.synced,
        }
    }
}
