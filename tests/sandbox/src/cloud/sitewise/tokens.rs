//! The client tokens of SiteWise: a repeated call gets the first response again, without another
//! effect.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::cloud::calls::{Content, Operation};
use crate::cloud::errors::ApiError;
use crate::cloud::target::Target;

/// Maximum number of tokens that are remembered; AWS does not document how long it remembers them.
const TOKENS_KEPT: usize = 100_000;

/// An operation and the token of one of its calls.
type Key = (Operation, String);

/// The tokens of the calls that succeeded, even if a fault replaced the response.
#[derive(Debug, Default)]
pub(in crate::cloud) struct Tokens {
    bound: BTreeMap<Key, Bound>,
    /// The keys, oldest first.
    order: VecDeque<Key>,
}

#[derive(Debug)]
struct Bound {
    about: String,
    content: Content,
    answer: Option<Value>,
}

impl Tokens {
    /// The response to the previous call with this token, if there was one; the inner option is the
    /// response's body.
    ///
    /// # Errors
    /// InvalidRequestException if that call had another content.
    pub(super) fn answer(&self, target: &Target, content: &Content) -> Result<Option<Option<Value>>, ApiError> {
        let Some(bound) = key(target, content).and_then(|key| self.bound.get(&key)) else { return Ok(None) };
        if bound.about != target.about || bound.content != *content {
            return Err(ApiError::invalid_request("the client token was used for another request"));
        }
        Ok(Some(bound.answer.clone()))
    }

    /// Remembers the response to a call that has a token.
    pub(super) fn bind(&mut self, target: &Target, content: Content, answer: Option<Value>) {
        let Some(key) = key(target, &content) else { return };
        if self.order.len() == TOKENS_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.bound.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.bound.insert(key, Bound { about: target.about.clone(), content, answer });
    }
}

fn key(target: &Target, content: &Content) -> Option<Key> {
    Some((target.operation, content.client_token.clone()?))
}
