//! A store in memory, for tests of the rules.

use std::collections::BTreeMap;

use super::store::{Direction, Op, Row, Store, StoreError};

/// A map, which can record the batches that it is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemStore {
    pub(crate) rows: BTreeMap<Vec<u8>, Vec<u8>>,
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
    use crate::model::{Change, ClientId, ClientToken, Now, Operation, Target, ThingName};
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
    let order = super::Order { client, token: Some(token.clone()), fresh_token: token, change, delivery: None };
    super::accept(&mut tx, &order).unwrap().unwrap();
    tx.end();
}
