//! A command becomes a request: idempotency, guards, limits, and the rows that make it durable.

use std::time::Duration;

use super::{
    records::is_leaving,
    schema::{self, Due},
    store::StoreError,
    turns,
    tx::Tx,
};
use crate::model::{
    Change, ClientId, ClientToken, Lane, Operation, Reason, Registered, Rejection, RejectionCode, Request, Tally,
    Target,
};

/// Bytes that an entry takes in the store, beside its target's name; measured, and rounded up. What stays of it in a story
/// takes less.
const BYTES_AN_ENTRY: u64 = 512;

/// Rows that have the name of an entry's target in them.
const ROWS_WITH_NAME: u64 = 4;

/// Messages in the outbox above which no command is taken: the broker has been refusing or away for very long.
const MAX_OUTGOING: u64 = 200_000;

/// Open requests for a sync: all of them are answered at once, so that more make no sense.
const MAX_SYNCS: u64 = 1000;

/// Open requests for one device: each is looked at when the device is sent.
const MAX_WAITERS: usize = 256;

/// Open entries of other requests that one command may end because it asks for the opposite. Each takes some 0.1 ms, in
/// which nobody else is served.
const MAX_OPPOSED: usize = 1000;

/// Names of unknown devices in one row, which has to stay below 4 KiB.
const UNKNOWN_IN_ROW: usize = 25;

/// Names of each kind in a plan.
pub(crate) const PLAN_NAMES: usize = 100;

/// Rows that hold the names of so many unknown devices.
pub(super) fn unknown_rows(count: u32) -> u32 {
    (count as usize).min(PLAN_NAMES).div_ceil(UNKNOWN_IN_ROW) as u32
}

/// A command as it asks to be accepted.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who asks.
    pub client: ClientId,
    /// The sender's token, if it gave one.
    pub token: Option<ClientToken>,
    /// The agent's own, used where it gave none.
    pub fresh_token: ClientToken,
    /// What is asked.
    pub change: Change,
    /// A hash of topic and payload, and whether the transport says that it delivered them before; where the sender
    /// gave no token, this is what a repetition is known by.
    pub delivery: Option<([u8; 32], bool)>,
    /// Whether the cloud has confirmed the wall clock in this run.
    pub clock_confirmed: bool,
}

/// What a dry run found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Distinct entries.
    pub entries: usize,
    /// Of those, the ones for which a call would have to be made.
    pub new: usize,
    /// Devices that the registry doesn't know: how many, and the first names.
    pub unknown: (usize, Vec<String>),
    /// Devices that a guard protects: how many, and the first names.
    pub guarded: (usize, Vec<String>),
    /// Whether `guard.maxFraction` would refuse it without `force`.
    pub max_fraction_exceeded: bool,
}

/// What there is to do about the entries of a command.
struct Survey {
    plan: Plan,
    /// Devices that the cloud lists, and that this takes off.
    associated: u64,
    /// Bytes that the entries take in the store.
    bytes: u64,
    /// A target that too many requests wait for.
    crowded: Option<Target>,
    /// Open entries of other requests that this would end, [`MAX_OPPOSED`] and one more at most.
    opposed: usize,
}

/// `waiters` says whether to look at the requests that wait for the targets.
fn survey(tx: &Tx<'_>, change: &Change, waiters: bool) -> Result<Survey, StoreError> {
    let mut plan = Plan { entries: change.targets.len(), ..Plan::default() };
    let lane = change.operation.lane();
    let mut associated = 0;
    let mut opposed = 0;
    let mut crowded = None;
    let mut bytes = 4 * BYTES_AN_ENTRY;
    let note = |(count, names): &mut (usize, Vec<String>), target: &Target| {
        *count += 1;
        if names.len() < PLAN_NAMES {
            names.push(target.name().to_owned());
        }
    };
    for target in &change.targets {
        let work = tx.work_of(target)?;
        let fresh = work.as_ref().is_none_or(|work| Some(work.lane) != lane);
        plan.new += usize::from(fresh);
        bytes += BYTES_AN_ENTRY + ROWS_WITH_NAME * target.key().len() as u64;
        if *target == Target::Registry {
            continue;
        }
        if waiters && let Some(work) = &work {
            if crowded.is_none() && tx.scan_prefix(&schema::waiters(target), MAX_WAITERS)?.len() >= MAX_WAITERS {
                crowded = Some(target.clone());
            }
            if opposed <= MAX_OPPOSED {
                opposed += turns::overtaken(tx, target, work, lane, MAX_OPPOSED + 1 - opposed)?.len();
            }
        }
        if lane.is_some_and(|lane| tx.rules.protects(lane, target)) {
            note(&mut plan.guarded, target);
        }
        let Target::Device(thing) = target else { continue };
        match tx.device(thing.as_str())? {
            None => note(&mut plan.unknown, target),
            Some(device) if !is_leaving(work.as_ref()) && device.registered == Registered::Associated => {
                associated += 1
            }
            _ => {}
        }
    }
    plan.max_fraction_exceeded = lane.is_some_and(Lane::takes_off) && exceeds_fraction(tx, associated);
    Ok(Survey { plan, associated, bytes, crowded, opposed })
}

/// Whether `more` devices would be above `guard.maxFraction` with those that are on their way out.
fn exceeds_fraction(tx: &Tx<'_>, more: u64) -> bool {
    let (known, going) = (tx.counters.known, tx.counters.leaving + more);
    #[expect(clippy::cast_precision_loss, reason = "counts of devices are far below 2^52")]
    let exceeds = going as f64 > known as f64 * tx.rules.guard.max_fraction;
    known >= 10 && exceeds
}

/// What a change would do; does nothing.
///
/// # Errors
/// The store failed.
pub fn plan(tx: &Tx<'_>, change: &Change) -> Result<Plan, StoreError> {
    Ok(survey(tx, change, false)?.plan)
}

/// Takes a command whole or not at all. The inner result is the request, new or the one that the token names already;
/// its `accepted` (and `completed`, if it has ended) is in the outbox.
///
/// # Errors
/// The store failed.
pub fn accept(tx: &mut Tx<'_>, order: &Order) -> Result<Result<Request, Rejection>, StoreError> {
    let content = schema::hash(order.change.content().as_bytes());
    if let Some(seq) = earlier(tx, order)?
        && let Some(request) = tx.request(seq)?
    {
        if request.content != content {
            let message = format!("the token {} was used for another command; choose a new one", request.token);
            return Ok(Err(Rejection::new(RejectionCode::ConflictException, message)));
        }
        if let Some(rejection) = outbox_full(tx) {
            return Ok(Err(rejection));
        }
        tx.owe(&request, false)?;
        if request.completed_at.is_some() {
            tx.owe(&request, true)?;
        }
        return Ok(Ok(request));
    }
    let survey = survey(tx, &order.change, true)?;
    if let Some(rejection) = refusal(tx, &order.change, &survey) {
        return Ok(Err(rejection));
    }
    let request = open(tx, order, content, &survey.plan)?;
    for (n, target) in order.change.targets.iter().enumerate() {
        // Fits: `limits.maxPendingEntries` is far below 2^32.
        add_entry(tx, &request, u32::try_from(n).unwrap_or(u32::MAX), target)?;
    }
    Ok(Ok(request))
}

/// The request that this command was before, by its token, or by its redelivery where it has none.
fn earlier(tx: &Tx<'_>, order: &Order) -> Result<Option<u64>, StoreError> {
    let bytes = match (&order.token, &order.delivery) {
        (Some(token), _) => tx.get(&schema::token(&order.client, token))?,
        (None, Some((hash, true))) => tx.get(&schema::redelivery(hash))?,
        (None, _) => None,
    };
    Ok(bytes.and_then(|bytes| schema::read_seq(&bytes)))
}

fn refusal(tx: &Tx<'_>, change: &Change, survey: &Survey) -> Option<Rejection> {
    let Survey { plan, associated, bytes, crowded, opposed } = survey;
    let denied = |message| Some(Rejection::new(RejectionCode::AccessDeniedException, message));
    let (guarded, names) = &plan.guarded;
    if *guarded > 0 {
        let named = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if *guarded > 5 { ", ..." } else { "" };
        return denied(format!("{guarded} protected by guard.protected, never disassociated: {named}{more}"));
    }
    let limits = &tx.rules.limits;
    if change.operation.lane().is_some_and(Lane::takes_off) && !change.force {
        if tx.rules.guard.max_fraction < 1.0 && !tx.counters.synced {
            return denied(
                "the registry was never read from the cloud, so guard.maxFraction cannot be kept; \
                           wait for a sync, or say \"force\": true"
                    .into(),
            );
        }
        if plan.max_fraction_exceeded {
            let (known, going) = (tx.counters.known, tx.counters.leaving + associated);
            let share = tx.rules.guard.max_fraction;
            return denied(format!(
                "would take {going} of {known} devices with what is open, above guard.maxFraction {share}; \
                 say \"force\": true if that is meant"
            ));
        }
    }
    if let Some(target) = crowded {
        let message = format!("{MAX_WAITERS} requests for {} are open; send again later", target.name());
        return Some(Rejection::throttled(message, Duration::from_secs(60)));
    }
    if *opposed > MAX_OPPOSED {
        let message = format!(
            "would end more than {MAX_OPPOSED} open entries of requests for the opposite; split the command, or cancel \
             those requests"
        );
        return Some(Rejection::throttled(message, Duration::from_secs(60)));
    }
    if plan.entries as u64 > limits.max_pending_entries {
        let (entries, max) = (plan.entries, limits.max_pending_entries);
        let message = format!("{entries} entries are more than limits.maxPendingEntries, {max}; split the command");
        return Some(Rejection::invalid(Reason::Other, message));
    }
    if tx.counters.open_entries + plan.entries as u64 > limits.max_pending_entries {
        let (open, max) = (tx.counters.open_entries, limits.max_pending_entries);
        let message = format!("{open} entries are pending, limits.maxPendingEntries is {max}; send again later");
        return Some(Rejection::throttled(message, Duration::from_secs(60)));
    }
    if tx.counters.live_bytes + bytes > limits.max_database_bytes {
        let max = limits.max_database_bytes;
        let message = format!("the store is at limits.maxDatabaseBytes, {max}; send again later, or raise it");
        return Some(Rejection::throttled(message, Duration::from_secs(300)));
    }
    if change.operation == Operation::Sync && tx.counters.open_syncs >= MAX_SYNCS {
        let message = format!("{MAX_SYNCS} requests for a sync are open; send again later");
        return Some(Rejection::throttled(message, Duration::from_secs(60)));
    }
    outbox_full(tx)
}

fn outbox_full(tx: &Tx<'_>) -> Option<Rejection> {
    let message = || format!("{MAX_OUTGOING} messages wait for the broker; send again later");
    (tx.counters.outgoing >= MAX_OUTGOING).then(|| Rejection::throttled(message(), Duration::from_secs(300)))
}

/// Writes the request's header with its names, and owes its `accepted`.
fn open(tx: &mut Tx<'_>, order: &Order, content: String, plan: &Plan) -> Result<Request, StoreError> {
    let seq = tx.counters.next_seq;
    tx.counters.next_seq += 1;
    let entries = u32::try_from(order.change.targets.len()).unwrap_or(u32::MAX);
    let request = Request {
        seq,
        client: order.client.clone(),
        token: order.token.clone().unwrap_or_else(|| order.fresh_token.clone()),
        operation: order.change.operation,
        content,
        tally: Tally::open(entries),
        accepted_at: tx.now.wall,
        issued_at: order.change.issued_at,
        expires_at: order.change.expires_in.map(|time| order.change.issued_at.unwrap_or(tx.now.wall).after(time)),
        lifetime_ms: order.change.expires_in.and_then(|time| u64::try_from(time.as_millis()).ok()),
        completed_at: None,
        reason: order.change.reason.clone(),
        delivery: order.delivery.filter(|_| order.token.is_none()).map(|(hash, _)| hash),
        boot: tx.now.boot,
        accepted_mono: tx.now.mono.0,
        clock_confirmed: order.clock_confirmed,
        sync: None,
        unknown: order.change.operation.is_on_devices().then_some(u32::try_from(plan.unknown.0).unwrap_or(u32::MAX)),
    };
    for (piece, names) in (0..).zip(plan.unknown.1.chunks(UNKNOWN_IN_ROW)) {
        tx.write(schema::unknown(seq, piece), &names)?;
    }
    tx.counters.open_requests += 1;
    match order.change.operation {
        Operation::Sync => tx.counters.open_syncs += 1,
        _ => tx.counters.open_entries += u64::from(entries),
    }
    tx.write(schema::request(seq), &request)?;
    tx.put(schema::token(&request.client, &request.token), seq.to_be_bytes().to_vec())?;
    tx.put(schema::by_client(&request.client, seq), Vec::new())?;
    if let Some(at) = request.expires_at {
        tx.put(schema::due(Due::Expiry, at, &seq.to_be_bytes()), Vec::new())?;
    }
    if let (None, Some((hash, _))) = (&order.token, &order.delivery) {
        tx.put(schema::redelivery(hash), seq.to_be_bytes().to_vec())?;
    }
    tx.owe(&request, false)?;
    Ok(request)
}

fn add_entry(tx: &mut Tx<'_>, request: &Request, no: u32, target: &Target) -> Result<(), StoreError> {
    let device = match target {
        Target::Device(thing) => tx.device(thing.as_str())?,
        _ => None,
    };
    let held = device.filter(|device| device.registered == Registered::Associated).and_then(|d| d.association);
    // Only operations with a lane become requests.
    let lane = request.operation.lane().unwrap_or(Lane::List);
    turns::join(tx, target, lane, (request.seq, no))?;
    tx.put(schema::entry(request.seq, no), schema::target_bytes(target))?;
    tx.put(schema::waiter(target, request.seq, no), schema::held_bytes(held))
}

/// Forgets the delivery of request `seq`, whose PUBACK went out: nothing will repeat it.
///
/// # Errors
/// The store failed.
pub fn acknowledged(tx: &mut Tx<'_>, hash: &[u8; 32], seq: u64) -> Result<(), StoreError> {
    let key = schema::redelivery(hash);
    // A later command of the same words may be waiting for its own.
    if tx.get(&key)?.and_then(|bytes| schema::read_seq(&bytes)) == Some(seq) {
        tx.delete(key)?;
    }
    Ok(())
}
