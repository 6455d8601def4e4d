//! Broadcasts: a core device responds only if one of the named devices is its own. Thousands of
//! core devices receive a broadcast, so that what one of them cannot read stays without a response,
//! too.

use super::{
    Broadcast, Inbox, answer_of, received, rejected,
    responder::{Answer, Pending},
    unavailable, with_unknown_names,
};
use crate::{
    domain::{Change, ClientId, ClientToken, Command, Decided, Operation, Query, Reason, Rejection, RejectionCode},
    ledger::{self, Replies, StoreError, Tx},
    local::queries,
};

/// What the ledger says about a broadcast; `None` if it does not concern this core device.
type Concerning<T> = Option<Decided<T>>;

impl Inbox {
    /// Whether this agent accepts a broadcast of that operation.
    pub(super) fn accepts_broadcast(&self, operation: Operation) -> Result<(), Rejection> {
        let text = if !self.accept_broadcast {
            "broadcasts are off on this core; set acceptBroadcast to true in its configuration".to_owned()
        } else if !operation.spec().broadcast {
            format!("{operation} cannot be broadcast; send it to one core device")
        } else {
            return Ok(());
        };
        Err(Rejection::invalid(Reason::UnknownOperation, text))
    }

    /// The response to a broadcast that is not carried out. Over the local socket the sender is a
    /// user of this machine, who gets a response to each line.
    pub(super) fn not_carried_out(client: &ClientId, token: Option<ClientToken>, why: Rejection) -> Pending {
        if client.is_local() { rejected(token, why) } else { Box::pin(std::future::ready(Answer::None(Some(why)))) }
    }

    pub(super) async fn broadcast(&self, broadcast: Broadcast) -> Pending {
        let Broadcast { client, operation, token, command, delivery, max_bytes } = broadcast;
        match command {
            Command::Change(change) if change.dry_run => {
                let limit = self.max_entries_of(operation);
                let echo = token.clone();
                let rule = move |tx: &mut Tx<'_>| {
                    let plan = ledger::plan_broadcast(tx, &change)?;
                    Ok(plan.map(|plan| Ok(queries::plan(operation, echo.as_ref(), plan, limit, max_bytes))))
                };
                self.ask_broadcast(client, token, max_bytes, rule).await
            }
            Command::Change(change) => self.accept_own(client, token, change, delivery).await,
            Command::Query(query @ Query::Device { .. }) => {
                let synced_at = self.health.snapshot().synced_at;
                let (asking, echo) = (client.clone(), token.clone());
                let rule = move |tx: &mut Tx<'_>| {
                    let Query::Device { thing, .. } = &query else { return Ok(None) };
                    if !ledger::is_own_device(tx, thing)? {
                        return Ok(None);
                    }
                    queries::answer(tx, &asking, operation, &query, echo.as_ref(), synced_at, max_bytes).map(Some)
                };
                self.ask_broadcast(client, token, max_bytes, rule).await
            }
            // `accepts_broadcast` lets no other operation pass.
            Command::Cancel(_) | Command::Query(_) => Box::pin(std::future::ready(Answer::None(None))),
        }
    }

    /// Submits a rule that reads, and responds if it has something to say.
    async fn ask_broadcast(
        &self,
        client: ClientId,
        token: Option<ClientToken>,
        max_bytes: usize,
        rule: impl FnMut(&mut Tx<'_>) -> Result<Concerning<Vec<u8>>, StoreError> + Send + 'static,
    ) -> Pending {
        let submitted = self.ledger.submit(Replies::AtOnce, rule).await;
        Box::pin(async move {
            match received(submitted).await {
                Ok(Some(decided)) => answer_of(token, Ok(decided), max_bytes),
                Ok(None) => of_others(&client, token),
                Err(error) => Self::not_carried_out(&client, token, unavailable(&error)).await,
            }
        })
    }

    async fn accept_own(
        &self,
        client: ClientId,
        token: Option<ClientToken>,
        change: Change,
        delivery: ([u8; 32], bool),
    ) -> Pending {
        let full = self.store_full();
        let order = self.order(client.clone(), token.clone(), change, delivery);
        let rule = move |tx: &mut Tx<'_>| {
            let accepted = match &full {
                Some(full) if !ledger::is_repeated(tx, &order)? => {
                    ledger::names_own_device(tx, &order.change)?.then(|| Err(full.clone()))
                }
                _ => match ledger::accept_broadcast(tx, &order)? {
                    None => None,
                    Some(accepted) => Some(with_unknown_names(tx, accepted)?),
                },
            };
            Ok(accepted)
        };
        let submitted = self.ledger.submit(Replies::Durable, rule).await;
        Box::pin(async move {
            match received(submitted).await {
                Ok(Some(Ok(accepted))) => Answer::Accepted(Box::new(accepted)),
                Ok(Some(Err(rejection))) => Answer::Rejected(token, rejection),
                Ok(None) => of_others(&client, token),
                // Whether it concerns this core device is not known.
                Err(error) => Self::not_carried_out(&client, token, unavailable(&error)).await,
            }
        })
    }
}

/// The response to a broadcast about devices of other core devices.
fn of_others(client: &ClientId, token: Option<ClientToken>) -> Answer {
    if client.is_local() {
        let text = "none of the named devices is associated with this core device";
        Answer::Rejected(token, Rejection::new(RejectionCode::ResourceNotFoundException, text))
    } else {
        Answer::None(None)
    }
}
