//! Turns a command into a request: idempotency, guards, limits, and the objects that keep it.

use std::time::Duration;

use super::{
    object::{self, BYTES_A_MESSAGE, BYTES_A_REQUEST, BYTES_AN_ENTRY, ChangeNumber, Kept, Listed, Slot},
    tx::Tx,
    waiters,
    work::is_leaving,
};
use crate::{
    domain::{
        CallKind, Change, ClientId, ClientToken, Decided, Operation, Reason, Registered, Rejection, RejectionCode,
        Request, Tally, Target,
    },
    ledger::registry::store::StoreError,
};

/// Messages in the outbox above which no command is accepted: the broker has refused messages, or
/// been unreachable, for very long. Each takes some 100 bytes of memory.
const MAX_OUTGOING: u64 = 200_000;

/// Messages of one request above which a repetition of its command is refused: a sender that cannot
/// receive its results would fill the outbox with them.
const MAX_ANSWERS: u32 = 64;

/// The most open requests for a sync: one sync answers all of them, so that more make no sense.
const MAX_SYNCS: usize = 1000;

/// The most open requests for one device: each is examined when the device is sent.
const MAX_WAITERS: usize = 256;

/// Open entries of other requests that one command may end because it asks for the opposite: some
/// 50 ms, during which no other command is served.
const MAX_OPPOSED: usize = 10_000;

/// Names of each kind in a plan.
pub const PLAN_NAMES: usize = 100;

/// A command as it asks to be accepted.
#[derive(Clone, Debug)]
pub struct Order {
    /// The sender.
    pub client: ClientId,
    /// The sender's token, if it gave one.
    pub token: Option<ClientToken>,
    /// The agent's own, used where the sender gave none.
    pub fresh_token: ClientToken,
    /// What is asked.
    pub change: Change,
    /// A hash of topic and payload, and whether the transport says that it delivered them before.
    /// Where the sender gave no token, a repetition is recognised by this.
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
    /// Devices that the registry does not know: how many, and the first names.
    pub unknown: (usize, Vec<String>),
    /// Entries that a guard protects: how many, and the first of the protected names. The name of
    /// an entry on a child asset is that of its parent if the parent is protected.
    pub guarded: (usize, Vec<String>),
    /// Whether `guard.maxFraction` would refuse it without `force`.
    pub max_fraction_exceeded: bool,
}

/// What there is to do about the entries of a command.
struct Survey {
    plan: Plan,
    /// Devices that the cloud lists, and that the command disassociates.
    associated: u64,
    /// The registry's record of each target.
    known: Vec<Option<Listed>>,
    /// A target that too many requests wait for, or too many of this client.
    crowded: Option<Target>,
    /// Open entries of other requests that the command would end.
    opposed: usize,
}

fn survey(tx: &Tx<'_>, change: &Change, client: Option<&ClientId>) -> Result<Survey, StoreError> {
    let mut plan = Plan { entries: change.targets.len(), ..Plan::default() };
    let call_kind = change.operation.call_kind();
    let (mut associated, mut opposed, mut crowded) = (0, 0, None);
    let mut known = Vec::with_capacity(change.targets.len());
    let note = |(count, names): &mut (usize, Vec<String>), name: &str| {
        *count += 1;
        if names.len() < PLAN_NAMES {
            names.push(name.to_owned());
        }
    };
    for target in &change.targets {
        let work = tx.work_of(target);
        plan.new += usize::from(work.is_none_or(|work| Some(work.call_kind) != call_kind));
        let mut listed = None;
        if *target != Target::Registry {
            if let (Some(work), Some(client)) = (work, client) {
                if crowded.is_none() && waiters::is_crowded(tx, work, client, MAX_WAITERS) {
                    crowded = Some(target.clone());
                }
                opposed += waiters::superseded(work, call_kind).len();
            }
            if let Some(name) = call_kind.and_then(|call_kind| tx.rules.protected_name(call_kind, target)) {
                note(&mut plan.guarded, name);
            }
            if let Target::Device(thing) = target {
                listed = tx.listed(thing)?;
                match listed {
                    None => note(&mut plan.unknown, target.name()),
                    Some(listed) if listed.registered == Registered::Associated => {
                        associated += u64::from(!is_leaving(work));
                    }
                    Some(_) => {}
                }
            }
        }
        known.push(listed);
    }
    plan.max_fraction_exceeded = call_kind.is_some_and(CallKind::takes_off) && exceeds_fraction(tx, associated);
    Ok(Survey { plan, associated, known, crowded, opposed })
}

/// Whether `more` devices would be above `guard.maxFraction` with those that are leaving.
fn exceeds_fraction(tx: &Tx<'_>, more: u64) -> bool {
    let (known, leaving) = (tx.state.counters.known, tx.state.counters.leaving + more);
    #[expect(clippy::cast_precision_loss, reason = "counts of devices are far below 2^52")]
    let exceeds = leaving as f64 > known as f64 * tx.rules.guard.max_fraction;
    known >= 10 && exceeds
}

/// Returns what a change would do, without doing it.
///
/// # Errors
/// The registry failed.
pub fn plan(tx: &Tx<'_>, change: &Change) -> Result<Plan, StoreError> {
    Ok(survey(tx, change, None)?.plan)
}

/// Accepts a command whole or not at all. The inner result is the request, new or the one that the
/// token names already; its `accepted` (and `completed`, if it has ended) is in the outbox.
///
/// # Errors
/// The registry failed.
pub fn accept(tx: &mut Tx<'_>, order: &Order) -> Result<Decided<Request>, StoreError> {
    let content = object::hash(order.change.content().as_bytes());
    if let Some(seq) = earlier(tx, order)?
        && let Some(request) = tx.request(seq)?
    {
        return Ok(repeated(tx, order, request, &content));
    }
    accept_new(tx, order, content, None)
}

/// Owes the results of `request` again, which the token of `order` names, if `content` is its own.
pub(super) fn repeated(tx: &mut Tx<'_>, order: &Order, request: Request, content: &str) -> Result<Request, Rejection> {
    if request.content != content {
        let message = format!("the token {} was used for another command; choose a new one", request.token);
        return Err(Rejection::new(RejectionCode::ConflictException, message));
    }
    if let Some(rejection) = outbox_full(tx, &order.client) {
        tx.state.refuse(&order.client);
        return Err(rejection);
    }
    if tx.state.owed_of(request.seq) >= MAX_ANSWERS {
        let message = format!(
            "{MAX_ANSWERS} answers to {} already wait for the broker; let this client read its results, and send again later",
            request.token
        );
        return Err(Rejection::throttled(message, Duration::from_secs(300)));
    }
    tx.owe(&request.client, request.seq, false);
    if request.completed_at.is_some() {
        tx.owe(&request.client, request.seq, true);
    }
    Ok(request)
}

/// Accepts a command that is no repetition. `others` are the devices of a broadcast that are not
/// among its targets.
///
/// # Errors
/// The registry failed.
pub(super) fn accept_new(
    tx: &mut Tx<'_>,
    order: &Order,
    content: String,
    others: Option<(usize, Vec<String>)>,
) -> Result<Decided<Request>, StoreError> {
    let survey = survey(tx, &order.change, Some(&order.client))?;
    if let Some(rejection) = refusal(tx, order, &survey) {
        if rejection.code == RejectionCode::ThrottlingException {
            tx.state.refuse(&order.client);
        }
        return Ok(Err(rejection));
    }
    let Survey { mut plan, known, .. } = survey;
    if let Some(others) = others {
        plan.unknown = others;
    }
    let request = open(tx, order, content, plan);
    // Only operations with a kind of call become requests.
    let call_kind = request.operation.call_kind().unwrap_or(CallKind::List);
    for ((index, target), known) in (0..).zip(&order.change.targets).zip(known) {
        waiters::enqueue(tx, target, call_kind, (request.seq, index), known)?;
    }
    Ok(Ok(request))
}

/// Whether this command was accepted before.
///
/// # Errors
/// The registry failed.
pub fn is_repeated(tx: &Tx<'_>, order: &Order) -> Result<bool, StoreError> {
    Ok(earlier(tx, order)?.is_some())
}

/// The request that this command was before, by its token, or by its redelivery where it has none.
pub(super) fn earlier(tx: &Tx<'_>, order: &Order) -> Result<Option<u64>, StoreError> {
    match (&order.token, &order.delivery) {
        (Some(token), _) => tx.find(&order.client, token),
        (None, Some((hash, true))) => Ok(tx.state.unacknowledged().get(hash).copied()),
        (None, _) => Ok(None),
    }
}

fn refusal(tx: &Tx<'_>, order: &Order, survey: &Survey) -> Option<Rejection> {
    let Order { client, change, .. } = order;
    let Survey { plan, associated, crowded, opposed, .. } = survey;
    let denied = |message| Some(Rejection::new(RejectionCode::AccessDeniedException, message));
    let throttled = |seconds, message| Some(Rejection::throttled(message, Duration::from_secs(seconds)));
    let (guarded, names) = &plan.guarded;
    if *guarded > 0 {
        let named = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if *guarded > 5 { ", ..." } else { "" };
        return denied(format!("{guarded} protected by guard.protected, never disassociated: {named}{more}"));
    }
    let limits = &tx.rules.limits;
    let counters = &tx.state.counters;
    if change.operation.call_kind().is_some_and(CallKind::takes_off) && !change.force {
        if tx.rules.guard.max_fraction < 1.0 && !counters.synced {
            return denied(
                "the registry was never read from the cloud, so guard.maxFraction cannot be kept; \
                           wait for a sync, or say \"force\": true"
                    .into(),
            );
        }
        if plan.max_fraction_exceeded {
            let (known, leaving) = (counters.known, counters.leaving + associated);
            let share = tx.rules.guard.max_fraction;
            return denied(format!(
                "would disassociate {leaving} of {known} devices, open requests included, above guard.maxFraction {share}; \
                 say \"force\": true if that is meant"
            ));
        }
    }
    if let Some(target) = crowded {
        let name = target.name();
        return throttled(
            60,
            format!(
                "{MAX_WAITERS} requests for {name} are open, or half as many of this client while others ask; send again \
                 later"
            ),
        );
    }
    if *opposed > MAX_OPPOSED {
        return throttled(
            60,
            format!(
                "would end more than {MAX_OPPOSED} open entries of requests for the opposite; split the command, or cancel \
                 those requests"
            ),
        );
    }
    let (entries, max) = (plan.entries as u64, limits.max_pending_entries);
    if entries > max {
        let message = format!("{entries} entries are more than limits.maxPendingEntries, {max}; split the command");
        return Some(Rejection::invalid(Reason::Other, message));
    }
    if counters.open_entries + entries > max {
        let open = counters.open_entries;
        return throttled(
            60,
            format!("{open} entries are pending, limits.maxPendingEntries is {max}; send again later"),
        );
    }
    let others_ask = tx.state.has_others(client);
    let own = tx.state.client(client);
    // A larger command alone would be refused as long as there are others.
    if others_ask && own.entries > 0 && own.entries + entries > max.div_ceil(2) {
        let open = own.entries;
        return throttled(
            60,
            format!(
                "{open} entries of {client} are pending; while other clients ask, one client has at most half of \
                 limits.maxPendingEntries, {max}; send again later"
            ),
        );
    }
    let max = limits.max_database_bytes;
    let needed = BYTES_A_REQUEST + 2 * BYTES_A_MESSAGE + entries * BYTES_AN_ENTRY;
    if tx.live_bytes() + needed > max {
        return throttled(
            300,
            format!("the store is at limits.maxDatabaseBytes, {max}; send again later, or raise it"),
        );
    }
    // Maintenance makes room down to a half, as far as the requests have ended for an hour.
    let own = tx.state.bytes_of(client).min(tx.live_bytes());
    if others_ask && own > max / 2 {
        return throttled(
            300,
            format!(
                "the requests of {client} take {own} bytes; while other clients ask, one client has at most half of \
                 limits.maxDatabaseBytes, {max}; send again later"
            ),
        );
    }
    if tx.state.is_short_of_room {
        let message = "the journal has no room for more commands; check the disk of the data directory, and send again \
                       later";
        return throttled(60, message.to_owned());
    }
    if change.operation == Operation::Sync
        && let Some(work) = tx.work_of(&Target::Registry)
        && waiters::is_crowded(tx, work, client, MAX_SYNCS)
    {
        return throttled(
            60,
            format!(
                "{MAX_SYNCS} requests for a sync are open, or half as many of this client while others ask; send again later"
            ),
        );
    }
    outbox_full(tx, client)
}

fn outbox_full(tx: &Tx<'_>, client: &ClientId) -> Option<Rejection> {
    let own = tx.state.client(client).owed;
    let message = if tx.state.counters.outgoing >= MAX_OUTGOING {
        format!("{MAX_OUTGOING} messages wait for the broker; send again later")
    } else if own >= MAX_OUTGOING / 2 && tx.state.has_others(client) {
        format!(
            "{own} messages to {client} wait for the broker; while other clients ask, one client has at most half of \
             {MAX_OUTGOING}; send again later"
        )
    } else {
        return None;
    };
    Some(Rejection::throttled(message, Duration::from_secs(300)))
}

/// Makes the request with its entries, and owes its `accepted`.
fn open(tx: &mut Tx<'_>, order: &Order, content: String, plan: Plan) -> Request {
    let Order { client, token, fresh_token, change, delivery, clock_confirmed } = order;
    let seq = tx.state.counters.next_seq;
    tx.state.counters.next_seq += 1;
    let entries = u32::try_from(change.targets.len()).unwrap_or(u32::MAX);
    // A time in the future counts as the acceptance, as for `Request::asked_at`.
    let issued = change.issued_at.unwrap_or(tx.now.wall).min(tx.now.wall);
    let request = Request {
        seq,
        client: client.clone(),
        token: token.clone().unwrap_or_else(|| fresh_token.clone()),
        operation: change.operation,
        content,
        tally: Tally::open(entries),
        accepted_at: tx.now.wall,
        issued_at: change.issued_at,
        expires_at: change.expires_in.map(|time| issued.after(time)),
        lifetime_ms: change.expires_in.and_then(|time| u64::try_from(time.as_millis()).ok()),
        completed_at: None,
        reason: change.reason.clone(),
        delivery: delivery.filter(|_| token.is_none()).map(|(hash, _)| hash),
        boot: tx.now.boot,
        accepted_mono: tx.now.mono.0,
        accepted_elapsed: tx.elapsed(),
        completed_elapsed: 0,
        clock_confirmed: *clock_confirmed,
        sync: None,
        unknown: change.operation.is_on_devices().then_some(u32::try_from(plan.unknown.0).unwrap_or(u32::MAX)),
    };
    tx.state.counters.open_requests += 1;
    if change.operation != Operation::Sync {
        tx.state.counters.open_entries += u64::from(entries);
    }
    let slots = change.targets.iter().cloned().map(Slot::Open).collect();
    let unknown = if request.unknown.is_some() { plan.unknown.1 } else { Vec::new() };
    tx.put_request(
        seq,
        Some(Kept { request: request.clone(), slots, unknown, stored: false, change: ChangeNumber::default() }),
    );
    if let Some(hash) = request.delivery {
        tx.put_unacknowledged(hash, Some(seq));
    }
    tx.owe(&request.client, seq, false);
    request
}

/// Forgets the delivery of request `seq`, whose PUBACK was sent: nothing will repeat it.
///
/// # Errors
/// None yet.
pub fn acknowledged(tx: &mut Tx<'_>, hash: &[u8; 32], seq: u64) -> Result<(), StoreError> {
    // A later command of the same content may be waiting for its own.
    if tx.state.unacknowledged().get(hash) == Some(&seq) {
        tx.put_unacknowledged(*hash, None);
    }
    Ok(())
}
