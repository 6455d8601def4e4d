//! Opens what a power cut left, as the agent would, and checks it against what had been
//! acknowledged until then.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use offboard::{
    config,
    domain::{Change, ClientId, ClientToken, Command, DeviceState, Request, ThingName},
    ledger::{self, Ledger, Order, Rules, StoreError, Tx},
    protocol::{messages, parse_command},
    runtime::clock::Clock,
};

use super::mqtt::{Mark, What};
use crate::common::CORE;

/// The default of `limits.maxPayloadBytes`.
const MAX_BYTES: usize = 130_000;

/// A command that is not there is taken when it is sent again; so many entries are enough to show
/// it.
const SMALL: usize = 50;

/// A command that becomes a request, and what the agent said about it, each with its place in the
/// trace.
pub struct Promise {
    client: ClientId,
    token: ClientToken,
    pub change: Change,
    /// When the agent had it.
    pub arrived: usize,
    /// When a client learned that it is durable: its PUBACK or its `accepted`, whichever came
    /// first.
    pub acknowledged: Option<usize>,
    accepted: Option<(usize, Vec<u8>)>,
    pub completed: Option<(usize, Vec<u8>)>,
}

/// What the agent was asked, and what it promised.
pub fn promises(marks: &[Mark]) -> Vec<Promise> {
    let core = ThingName::new(CORE).unwrap();
    let mut promises: Vec<Promise> = Vec::new();
    // By the number of the delivery; queries and cancels are no requests.
    let mut deliveries: Vec<Option<usize>> = Vec::new();
    let earlier = |known: Option<usize>, at: usize| Some(known.map_or(at, |known| known.min(at)));
    for Mark { at, what } in marks {
        match what {
            What::Command { topic, payload } => {
                let levels: Vec<&str> = topic.split('/').collect();
                let (token, command) = parse_command(&core, levels[4], payload, 100_000);
                let client = ClientId::new(levels[3]).unwrap();
                let change = match command {
                    Ok((_, Command::Change(change))) if !change.dry_run => change,
                    Ok(_) => {
                        deliveries.push(None);
                        continue;
                    }
                    Err(error) => panic!("a command that is no command: {}", error.message),
                };
                let token = token.expect("every command here has a token");
                let known = promises.iter().position(|one| one.client == client && one.token == token);
                deliveries.push(known.or(Some(promises.len())));
                if known.is_none() {
                    let (acknowledged, accepted, completed) = (None, None, None);
                    promises.push(Promise { client, token, change, arrived: *at, acknowledged, accepted, completed });
                }
            }
            What::Acknowledged(delivery) => {
                if let Some(promise) = deliveries[*delivery] {
                    let promise = &mut promises[promise];
                    promise.acknowledged = earlier(promise.acknowledged, *at);
                }
            }
            What::Published { topic, payload } => {
                let levels: Vec<&str> = topic.split('/').collect();
                let ["offboard", _, "results", client, _, kind] = levels[..] else { continue };
                assert_ne!(kind, "rejected", "{}", String::from_utf8_lossy(payload));
                let body: serde_json::Value = serde_json::from_slice(payload).unwrap();
                let token = body["clientToken"].as_str().unwrap();
                let promise = promises.iter_mut().find(|p| p.client.key() == client && p.token.as_str() == token);
                // The answer to a query is no promise.
                let Some(promise) = promise else { continue };
                let known = if kind == "accepted" { &mut promise.accepted } else { &mut promise.completed };
                let (_, first) = known.get_or_insert_with(|| (*at, payload.clone()));
                assert_eq!(first, payload, "published twice, in two versions");
                promise.acknowledged = earlier(promise.acknowledged, *at);
            }
        }
    }
    promises
}

/// What was found, for the account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Acknowledged commands that were there.
    pub acknowledged: usize,
    /// Of those, the ones whose outcome had been published.
    pub completed: usize,
}

/// Opens the store below `data_dir`, and fails with all that is not as it was promised before line
/// `cut`.
pub async fn check(data_dir: &Path, promises: &Arc<Vec<Promise>>, cut: usize) -> Result<Found, Vec<String>> {
    let (config, _) = config::parse(&format!(r#"{{"coreThingName":"{CORE}","region":"r"}}"#), |_| None).unwrap();
    let (ledger, closed) = Ledger::start(data_dir, Rules::from(&config), Clock::start()).unwrap();
    let health = ledger.health();
    let (first, second) = (Arc::clone(promises), Arc::clone(promises));
    let looked = ledger.run_unsynced(move |tx| look(tx, &first, cut)).await;
    let asked = ledger.run(move |tx| ask_again(tx, &second, cut)).await;
    let counted = ledger.run_unsynced(|tx| count(tx)).await;
    let mut wrong = Vec::new();
    for loss in &health.borrow().losses {
        wrong.push(format!("the store was taken for damaged: {}", loss.why));
    }
    if let Some(error) = &health.borrow().failing {
        wrong.push(format!("the store fails: {error}"));
    }
    let mut found = Found::default();
    match looked {
        Ok((counted, more)) => {
            found = counted;
            wrong.extend(more);
        }
        Err(error) => wrong.push(error.to_string()),
    }
    for result in [asked, counted] {
        match result {
            Ok(more) => wrong.extend(more),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    drop(ledger);
    let _ = closed.await;
    if wrong.is_empty() { Ok(found) } else { Err(wrong) }
}

fn look(tx: &Tx<'_>, promises: &[Promise], cut: usize) -> Result<(Found, Vec<String>), StoreError> {
    let (mut found, mut wrong) = (Found::default(), Vec::new());
    let published =
        |result: &Option<(usize, Vec<u8>)>| result.as_ref().filter(|(at, _)| *at < cut).map(|(_, text)| text.clone());
    let mut there = 0;
    for promise in promises {
        let token = &promise.token;
        let acknowledged = promise.acknowledged.is_some_and(|at| at < cut);
        let Some(request) = ledger::find_request(tx, &promise.client, token)? else {
            if acknowledged {
                wrong.push(format!("{token} was acknowledged and is gone"));
            }
            continue;
        };
        there += 1;
        found.acknowledged += usize::from(acknowledged);
        if promise.arrived >= cut {
            wrong.push(format!("{token} is there before it came"));
        }
        wrong.extend(content(tx, promise, &request)?);
        let unknown = ledger::unknown_names(tx, &request)?;
        if published(&promise.accepted).is_some_and(|text| text != messages::accepted(&request, unknown, 130_000)) {
            wrong.push(format!("{token}: accepted is not what was published"));
        }
        if let Some(text) = published(&promise.completed) {
            let failures = ledger::failures(tx, request.seq, None, messages::MAX_ERROR_ENTRIES)?.rows;
            let failures = failures.into_iter().map(|(_, failure)| failure).collect();
            found.completed += 1;
            if request.completed_at.is_none() {
                wrong.push(format!("{token}: completed was published, and it has not ended"));
            } else if text != messages::completed(&request, failures, MAX_BYTES) {
                wrong.push(format!("{token}: completed is not what was published"));
            }
        }
    }
    let clients: BTreeSet<&ClientId> = promises.iter().map(|promise| &promise.client).collect();
    let mut all = 0;
    for client in clients {
        all += ledger::requests(tx, Some(client), None, None, 10_000)?.rows.len();
    }
    if all != there {
        wrong.push(format!("{all} requests, of which {there} were asked for"));
    }
    Ok((found, wrong))
}

/// The totals are those of what is there.
fn count(tx: &Tx<'_>) -> Result<Vec<String>, StoreError> {
    let mut wrong = Vec::new();
    let summary = tx.summary();
    for state in DeviceState::ALL {
        let (mut found, mut next) = (0, None);
        loop {
            let page = ledger::devices(tx, Some(*state), next.as_deref(), 500)?;
            found += page.rows.len() as u64;
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        let total = summary.devices(*state);
        if total != found {
            wrong.push(format!("{total} devices are {state:?} by the totals, and {found} in the store"));
        }
    }
    let requests = ledger::requests(tx, None, None, None, 10_000)?.rows;
    let open = requests.iter().filter(|(_, request)| request.completed_at.is_none()).count() as u64;
    if summary.open_requests != open {
        wrong.push(format!("{} requests are open by the totals, and {open} in the store", summary.open_requests));
    }
    Ok(wrong)
}

/// A request has all the entries of its command, each open, failed or done, and no others.
fn content(tx: &Tx<'_>, promise: &Promise, request: &Request) -> Result<Vec<String>, StoreError> {
    let mut wrong = Vec::new();
    let (token, tally) = (&promise.token, request.tally);
    let mut hold = |what: &str, holds: bool| {
        if !holds {
            wrong.push(format!("{token}: {what}, {tally:?}"));
        }
    };
    let asked: BTreeSet<_> = promise.change.targets.iter().collect();
    let open = ledger::open_entries(tx, request.seq, None, usize::MAX)?.rows;
    let failed = ledger::failures(tx, request.seq, None, 10_000)?.rows;
    let left: BTreeSet<_> =
        open.iter().map(|(_, target)| target).chain(failed.iter().map(|(_, f)| &f.target)).collect();
    hold("the number of its entries", tally.entries as usize == asked.len());
    hold("the number of its open entries", tally.open as usize == open.len());
    hold("the number of its failed entries", tally.failed() as usize == failed.len());
    hold("an entry counts twice", left.len() == open.len() + failed.len());
    hold("an entry that was not asked for", left.is_subset(&asked));
    Ok(wrong)
}

/// All senders ask again: a command that is there is known, with its content, and one that is not
/// is taken.
fn ask_again(tx: &mut Tx<'_>, promises: &[Promise], cut: usize) -> Result<Vec<String>, StoreError> {
    let mut wrong = Vec::new();
    for Promise { client, token, change, .. } in promises.iter().filter(|promise| promise.arrived < cut) {
        let before = ledger::find_request(tx, client, token)?;
        if before.is_none() && change.targets.len() > SMALL {
            continue;
        }
        let (client, change) = (client.clone(), change.clone());
        let order = Order {
            client,
            token: Some(token.clone()),
            fresh_token: token.clone(),
            change,
            delivery: None,
            clock_confirmed: true,
        };
        match (ledger::accept(tx, &order)?, before) {
            (Err(rejection), _) => wrong.push(format!("{token} is rejected when sent again: {}", rejection.message)),
            (Ok(request), Some(before)) if request != before => wrong.push(format!("{token} is another request")),
            (Ok(_), _) => {}
        }
    }
    Ok(wrong)
}
