//! A store in memory, for tests of the rules.

use super::{
    Group, Rules, Tx, devices,
    store::{Direction, Op, Row, Store, StoreError},
    view::Rows,
};
use crate::model::{ClientId, ClientToken, DeviceState, Now, Target, ThingName};

/// A map, which can record the batches that it is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemStore {
    pub(crate) rows: Rows,
    recording: Option<Vec<Vec<Op>>>,
}

impl MemStore {
    pub(crate) fn record(&mut self) {
        self.recording = Some(Vec::new());
    }

    pub(crate) fn recorded(&mut self) -> Vec<Vec<Op>> {
        self.recording.take().unwrap_or_default()
    }
}

impl Store for MemStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.rows.range(from.to_vec()..to.to_vec()).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match direction {
            Direction::Up => rows.take(limit).collect(),
            Direction::Down => rows.rev().take(limit).collect(),
        })
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        assert!(ops.len() <= super::journal::MAX_OPS, "a batch of {} writes", ops.len());
        for (key, value) in ops {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
        if let Some(batches) = &mut self.recording {
            batches.push(ops.to_vec());
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Accepts a command of `entries` devices in a transaction of its own.
pub(crate) fn accept_many(store: &dyn Store, group: &mut super::Group, entries: usize) {
    use crate::model::{Change, Operation};
    let (config, _) = crate::config::parse(r#"{"coreThingName":"MyCore","region":"r"}"#, |_| None).unwrap();
    let rules = super::Rules::from(&config);
    let mut tx = super::Tx::begin(store, group, Now::default(), &rules).unwrap();
    let name = |n| Target::Device(ThingName::new(&format!("device-{n:06}")).unwrap());
    let change = Change {
        operation: Operation::DisassociateClientDevices,
        targets: (0..entries).map(name).collect(),
        force: false,
        dry_run: false,
        issued_at: None,
        expires_in: None,
        reason: None,
    };
    let token = ClientToken::new("t").unwrap();
    let client = ClientId::new("bench").unwrap();
    let order = super::Order {
        client,
        token: Some(token.clone()),
        fresh_token: token,
        change,
        delivery: None,
        clock_confirmed: true,
    };
    super::accept(&mut tx, &order).unwrap().unwrap();
    tx.end();
}

/// Derived rows against what they are derived from, and the pages of the registry against the
/// totals.
pub(crate) fn recount(store: &MemStore, rules: &Rules) {
    let mut group = Group::default();
    let tx = Tx::begin(store, &mut group, Now::default(), rules).unwrap();
    assert_eq!(super::audit(&tx).unwrap(), Vec::<String>::new());
    super::count(store, &tx.counters).unwrap();
    for state in DeviceState::ALL {
        let rows = devices(&tx, Some(*state), None, 10_000).unwrap().rows;
        assert_eq!(rows.len() as u64, tx.summary().devices(*state), "{state:?}");
    }
    let all = devices(&tx, None, None, 10_000).unwrap().rows.len() as u64;
    assert_eq!(all, DeviceState::ALL.iter().map(|state| tx.summary().devices(*state)).sum::<u64>());
}
