//! The responses to queries: converts what the ledger returns to `accepted`, cut to a page and to
//! the limit of bytes.

use serde::Serialize;

use crate::{
    domain::{
        ClientId, ClientToken, Decided, FieldFault, Operation, Page, Query, Rejection, RejectionCode, Request,
        RequestStatus, Timestamp,
    },
    ledger::{self, Canceled, Plan, Rows, StoreError, Tx},
    protocol::{
        messages::{
            self, Accepted, CancelResponse, DeviceResponse, DevicesResponse, PlanMessage, PlanResponse,
            RequestResponse, RequestsResponse,
        },
        page,
    },
};

/// How many open entries of a request are read to show why they wait.
const LOOKED_AT: usize = 100;

/// Answers a query. The inner result is the message, or the rejection if there is none.
///
/// # Errors
/// The store failed.
pub(crate) fn answer(
    tx: &Tx<'_>,
    client: &ClientId,
    operation: Operation,
    query: &Query,
    token: Option<&ClientToken>,
    synced_at: Option<Timestamp>,
    max_bytes: usize,
) -> Result<Decided<Vec<u8>>, StoreError> {
    let message = match query {
        Query::Request { client: other, token: target, page } => {
            let owner = match other.resolve(client) {
                Ok(other) => other.unwrap_or_else(|| client.clone()),
                Err(rejection) => return Ok(Err(rejection)),
            };
            let Some(request) = ledger::find_request(tx, &owner, target)? else { return Ok(Err(no_request(target))) };
            let scope = format!("{operation}/{owner}/{}", request.seq);
            let (after, limit) = match begin(page, &scope) {
                Ok(begin) => begin,
                Err(rejection) => return Ok(Err(rejection)),
            };
            let rows = ledger::failures(tx, request.seq, after, limit)?;
            let mut shown = shown(client, &request);
            // The waiting entries get a small share of the message: they are useful where no entry
            // has ended yet.
            let mut room = max_bytes / 4;
            if after.is_none() {
                let waiting = ledger::waiting(tx, request.seq, LOOKED_AT)?.into_iter().map(messages::ErrorEntry::from);
                let fits = |one: &messages::ErrorEntry| {
                    let bytes = messages::to_json(one).len() + 1;
                    let fits = bytes <= room;
                    room = room.saturating_sub(bytes);
                    fits
                };
                let waiting: Vec<_> = waiting.take_while(fits).take(messages::MAX_WAITING_ENTRIES).collect();
                shown.waiting_entries = (!waiting.is_empty()).then_some(waiting);
            }
            let left = max_bytes - max_bytes / 4 + room;
            let (entries, next_token) = fit(rows, &scope, left, messages::ErrorEntry::from);
            shown.error_entries = Some(entries);
            accepted(operation, token, RequestResponse { request: shown, next_token })
        }
        Query::Requests { client: other, status, page } => {
            let other = match other.resolve(client) {
                Ok(other) => other,
                Err(rejection) => return Ok(Err(rejection)),
            };
            if !client.is_local() && other.as_ref().is_some_and(|other| other != client) {
                let via = client.via();
                let text = format!("over {via} a client lists its own requests only; leave targetClient away");
                return Ok(Err(Rejection::new(RejectionCode::AccessDeniedException, text)));
            }
            // A user of this machine sees the requests of all clients.
            let whose = other.as_ref().or(Some(client).filter(|client| !client.is_local()));
            let name = whose.map_or("", ClientId::key);
            let scope = format!("{operation}/{name}/{}", status.map_or("", RequestStatus::as_str));
            let (after, limit) = match begin(page, &scope) {
                Ok(begin) => begin,
                Err(rejection) => return Ok(Err(rejection)),
            };
            let rows = ledger::requests(tx, whose, *status, after, limit)?;
            let (requests, next_token) = fit(rows, &scope, max_bytes, |request| shown(client, &request));
            accepted(operation, token, RequestsResponse { requests, next_token })
        }
        Query::Device { thing, history } => match ledger::device(tx, thing)? {
            Some(view) => {
                let events = if *history { Some(ledger::history(tx, thing)?) } else { None };
                let history = events.map(|events| {
                    // The newest events are kept if not all of them fit.
                    let mut newest: Vec<messages::EventMessage> = events.into_iter().rev().map(Into::into).collect();
                    newest.truncate(messages::fitting(&newest, max_bytes));
                    newest.reverse();
                    newest
                });
                let device = messages::device(view, synced_at);
                accepted(operation, token, DeviceResponse { device, history })
            }
            None => {
                let text = format!("the registry has no device {thing}; a sync would show what the cloud lists");
                return Ok(Err(Rejection::new(RejectionCode::ResourceNotFoundException, text)));
            }
        },
        Query::Devices { state, page } => {
            let scope = format!("{operation}/{}", state.map_or("", crate::domain::DeviceState::as_str));
            let (after, limit) = match begin(page, &scope) {
                Ok(begin) => begin,
                Err(rejection) => return Ok(Err(rejection)),
            };
            let rows = ledger::devices(tx, *state, after, limit)?;
            let (devices, next_token) = fit(rows, &scope, max_bytes, |view| messages::device(view, synced_at));
            accepted(operation, token, DevicesResponse { devices, next_token })
        }
    };
    Ok(Ok(message))
}

/// A request without its failures. Its own client sees its reason. A user of this machine sees the
/// reason, too, and the client of the request.
fn shown(client: &ClientId, request: &Request) -> messages::RequestMessage {
    let mut shown = messages::request_summary(request);
    if !client.is_local() && *client != request.client {
        shown.reason = None;
    }
    shown.requested_by = client.is_local().then(|| request.client.to_string());
    shown.via = Some(request.client.via().as_str().into());
    shown
}

fn accepted<R: Serialize>(operation: Operation, token: Option<&ClientToken>, response: R) -> Vec<u8> {
    messages::to_json(&Accepted::new(operation, token, response))
}

/// Where a page begins, and how many rows it has at most.
fn begin<'p>(page: &'p Page, scope: &str) -> Result<(Option<&'p str>, usize), Rejection> {
    let after = page.next_token.as_deref().map(|token| page::cursor(scope, token)).transpose()?;
    Ok((after, page.max_results.unwrap_or(Page::MAX_ROWS).min(Page::MAX_ROWS)))
}

/// The rows that fit into the message, and the token that continues after them.
fn fit<R, M: Serialize>(
    rows: Rows<R>,
    scope: &str,
    max_bytes: usize,
    show: impl Fn(R) -> M,
) -> (Vec<M>, Option<String>) {
    let Rows { rows, next } = rows;
    let (cursors, mut shown): (Vec<String>, Vec<M>) = rows.into_iter().map(|(cursor, row)| (cursor, show(row))).unzip();
    let count = messages::fitting(&shown, max_bytes);
    let next = if count < shown.len() { cursors.into_iter().nth(count - 1) } else { next };
    shown.truncate(count);
    (shown, next.map(|cursor| page::next_token(scope, &cursor)))
}

/// A plan as a message.
pub(crate) fn plan(
    operation: Operation,
    token: Option<&ClientToken>,
    plan: Plan,
    max_entries: usize,
    max_bytes: usize,
) -> Vec<u8> {
    let Plan { entries, new, unknown, guarded, max_fraction_exceeded } = plan;
    let ((unknown_count, mut unknown), (guarded_count, mut guarded)) = (unknown, guarded);
    for names in [&mut unknown, &mut guarded] {
        let fit = messages::fitting(names, max_bytes / 2 + 1024);
        names.truncate(fit);
    }
    let plan = PlanMessage {
        entry_count: entries,
        cloud_call_count: new.div_ceil(max_entries),
        unknown_count,
        unknown,
        guarded_count,
        guarded,
        max_fraction_exceeded,
    };
    accepted(operation, token, PlanResponse { plan })
}

/// The response to a cancel.
pub(crate) fn canceled(operation: Operation, token: Option<&ClientToken>, canceled: Canceled) -> Vec<u8> {
    let response = CancelResponse { canceled_count: canceled.canceled, in_flight_count: canceled.in_flight };
    accepted(operation, token, response)
}

/// The rejection of a query or a cancel whose target does not exist.
pub(crate) fn no_request(token: &ClientToken) -> Rejection {
    Rejection {
        fields: vec![FieldFault { name: "targetClientToken".into(), message: "is not known".into() }],
        ..Rejection::new(
            RejectionCode::ResourceNotFoundException,
            format!(
                "there is no request {token} of this client on this transport (targetVia); it may have been forgotten \
                 (retention.requestsDays)"
            ),
        )
    }
}

#[cfg(test)]
mod tests;
