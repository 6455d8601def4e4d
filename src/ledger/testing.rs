//! A registry in memory, for tests of the rules.

use std::collections::BTreeMap;

use super::{
    Rules, devices,
    pending::{Group, Tx, audit},
    registry::store::{Direction, Op, Row, Store, StoreError},
    view::Image,
};
use crate::domain::{DeviceState, Now};

/// Keys and values.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A registry that is a map in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemStore {
    pub(crate) rows: Rows,
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
        for (key, value) in ops {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Totals and indexes against what they are derived from, and the pages of the registry against the
/// totals.
pub(crate) fn recount(image: &Image, rules: &Rules) {
    let stored = image.stored().into_iter().map(|(thing, device)| (thing, device.registered)).collect();
    assert_eq!(audit(&image.state, &stored), Vec::<String>::new());
    let mut state = image.state.clone();
    let mut group = Group::default();
    let tx = Tx::begin(&mut state, &image.registry, &mut group, Now::default(), rules);
    for state in DeviceState::ALL {
        let rows = devices(&tx, Some(*state), None, 10_000).unwrap().rows;
        assert_eq!(rows.len() as u64, tx.summary().devices(*state), "{state:?}");
    }
    let all = devices(&tx, None, None, 10_000).unwrap().rows.len() as u64;
    assert_eq!(all, DeviceState::ALL.iter().map(|state| tx.summary().devices(*state)).sum::<u64>());
}
