//! The health of the store, and what damage destroyed.

use std::path::PathBuf;

use super::registry::store::StoreError;
use crate::domain::Timestamp;

/// The store could not run the job, which has no effect. The text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is not available: {0}")]
pub struct Unavailable(pub String);

/// The health of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Why nothing can be stored now.
    pub failing: Option<StoreError>,
    /// Bytes of the next segment of the journal, if there is no room for it; else 0.
    pub segment: u64,
    /// What was damaged, in this run or in an earlier one of which something is kept.
    pub losses: Vec<Loss>,
    /// A rule found its own state inconsistent.
    pub defect: Option<String>,
}

impl StoreHealth {
    /// Adds a loss, which replaces an earlier one whose remains are kept in the same place.
    pub(super) fn lose(&mut self, loss: Loss) {
        self.losses.retain(|other| other.kept_as.is_none() || other.kept_as != loss.kept_as);
        self.losses.push(loss);
    }
}

/// What a damage destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Finished requests and history.
    Registry,
    /// A part of the journal.
    Journal,
    /// All of both.
    Both,
}

/// A damage of the store. As text it says what was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When it was found.
    pub at: Timestamp,
    /// Where what was damaged is kept; `None` if it could not be.
    pub kept_as: Option<PathBuf>,
    /// What was wrong.
    pub why: String,
    /// What was lost.
    pub lost: Lost,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at, kept_as, why, lost } = self;
        match lost {
            Lost::Journal => write!(f, "the journal of the store was damaged ({why}), found at {at}")?,
            Lost::Registry => write!(f, "the registry of the store was damaged ({why}) and replaced at {at}")?,
            Lost::Both => write!(f, "the store was damaged ({why}) and replaced at {at}")?,
        }
        match kept_as {
            Some(path) => write!(f, "; what it held is kept in {}. ", path.display())?,
            None => f.write_str("; no copy could be kept. ")?,
        }
        f.write_str(match lost {
            Lost::Journal => "Accepted commands and outcomes in the damaged part are lost: send them again",
            Lost::Registry => {
                "Finished requests and the history of devices are lost; accepted commands are carried out"
            }
            Lost::Both => {
                "Accepted commands that had not ended are lost, send them again; so are finished requests and the \
                 history of devices"
            }
        })?;
        f.write_str(match kept_as {
            Some(_) => ". Remove that directory to end this message",
            None => ". The next start ends this message",
        })
    }
}
