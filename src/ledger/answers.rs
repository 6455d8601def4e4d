//! Questions: what the ledger holds, page by page, without looking at what is not returned.

use super::{
    records::visible,
    schema::{self, Work},
    store::{Direction, StoreError},
    tx::Tx,
};
use crate::model::{
    ClientId, ClientToken, Device, DeviceState, DeviceView, EntryFailure, Registered, Request, RequestStatus, Target,
    ThingName,
};

/// Rows that a filtered page may pass over; beyond it ends early, and its token goes on from there.
const MAX_PASSED: usize = 1000;

/// A page of rows, each with the cursor to go on after it, and where to go on if that is not the
/// last row's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<T> {
    /// The rows.
    pub rows: Vec<(String, T)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// The first names of a request's devices that the registry did not know when the command arrived.
///
/// # Errors
/// The store failed.
pub fn unknown_names(tx: &Tx<'_>, request: &Request) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    if request.unknown.is_some_and(|count| count > 0) {
        let (from, to) = schema::all_unknown(request.seq);
        for (_, piece) in tx.scan(&from, &to, Direction::Up, usize::MAX)? {
            names.extend(schema::decode::<Vec<String>>(&piece, "names of unknown devices")?);
        }
    }
    Ok(names)
}

/// The request of that name.
///
/// # Errors
/// The store failed.
pub fn find_request(tx: &Tx<'_>, client: &ClientId, token: &ClientToken) -> Result<Option<Request>, StoreError> {
    match tx.get(&schema::token(client, token))?.and_then(|bytes| schema::read_seq(&bytes)) {
        Some(seq) => tx.request(seq),
        None => Ok(None),
    }
}

/// The request of that number.
///
/// # Errors
/// The store failed.
pub fn request(tx: &Tx<'_>, seq: u64) -> Result<Option<Request>, StoreError> {
    tx.request(seq)
}

/// A request's entries that did not succeed, after the cursor `after` (an entry's number).
///
/// # Errors
/// The store failed.
pub fn failures(tx: &Tx<'_>, seq: u64, after: Option<&str>, limit: usize) -> Result<Rows<EntryFailure>, StoreError> {
    let first = after.and_then(|after| after.parse::<u32>().ok()).map_or(0, |no| no.saturating_add(1));
    let (from, to) = schema::failures(seq, first);
    let mut rows = Vec::new();
    for (key, record) in tx.scan(&from, &to, Direction::Up, limit + 1)? {
        let (_, no) = schema::read_entry(&key)?;
        rows.push((no.to_string(), schema::decode(&record, "a failed entry")?));
    }
    Ok(cut(rows, limit))
}

/// A request's entries that have not ended, after the cursor `after` (an entry's number).
///
/// # Errors
/// The store failed.
pub fn open_entries(tx: &Tx<'_>, seq: u64, after: Option<&str>, limit: usize) -> Result<Rows<Target>, StoreError> {
    let first = after.and_then(|after| after.parse::<u32>().ok()).map_or(0, |no| no.saturating_add(1));
    let to = schema::entry(seq + 1, 0);
    let mut rows = Vec::new();
    for (key, target) in tx.scan(&schema::entry(seq, first), &to, Direction::Up, limit.saturating_add(1))? {
        let (_, no) = schema::read_entry(&key)?;
        rows.push((no.to_string(), schema::read_target(&target)?));
    }
    Ok(cut(rows, limit))
}

/// Why entries of a request wait: the last answer to each of those that were sent and have not
/// ended, among the first
/// `limit` that are open.
///
/// # Errors
/// The store failed.
pub fn waiting(tx: &Tx<'_>, seq: u64, limit: usize) -> Result<Vec<EntryFailure>, StoreError> {
    let mut waiting = Vec::new();
    for (_, target) in open_entries(tx, seq, None, limit)?.rows {
        if let Some(fault) = tx.work_of(&target)?.and_then(|work| work.error) {
            waiting.push(EntryFailure { target, fault });
        }
    }
    Ok(waiting)
}

/// Cuts to `limit` rows and says whether there were more.
fn cut<T>(mut rows: Vec<(String, T)>, limit: usize) -> Rows<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(|(cursor, _)| cursor.clone()) } else { None };
    Rows { rows, next }
}

/// A client's requests, or everybody's, newest first, before the cursor (a request's number).
///
/// # Errors
/// The store failed.
pub fn requests(
    tx: &Tx<'_>,
    client: Option<&ClientId>,
    status: Option<RequestStatus>,
    before: Option<&str>,
    limit: usize,
) -> Result<Rows<Request>, StoreError> {
    let key = |seq| client.map_or_else(|| schema::request(seq), |client| schema::by_client(client, seq));
    let before = before.and_then(|before| before.parse().ok()).unwrap_or(u64::MAX);
    let (from, mut to) = (key(0), key(before));
    let mut rows = Vec::new();
    let mut passed = 0;
    loop {
        let page = tx.scan(&from, &to, Direction::Down, limit + 1)?;
        let ended = page.len() <= limit;
        for (key, _) in page {
            let seq = key.last_chunk::<8>().map_or(0, |seq| u64::from_be_bytes(*seq));
            to = key;
            let Some(request) = tx.request(seq)? else { continue };
            if status.is_some_and(|status| status != request.tally.status()) {
                passed += 1;
                if passed == MAX_PASSED {
                    return Ok(Rows { rows, next: Some(seq.to_string()) });
                }
                continue;
            }
            rows.push((seq.to_string(), request));
            if rows.len() > limit {
                return Ok(cut(rows, limit));
            }
        }
        if ended {
            return Ok(cut(rows, limit));
        }
    }
}

/// A device, if the registry knows it or a request names it.
///
/// # Errors
/// The store failed.
pub fn device(tx: &Tx<'_>, thing: &ThingName) -> Result<Option<DeviceView>, StoreError> {
    let target = Target::Device(thing.clone());
    let record = tx.device(thing.as_str())?;
    let work = tx.work_of(&target)?;
    let Some(state) = visible(record.as_ref(), work.as_ref()) else { return Ok(None) };
    let device = match (record, work) {
        (record, Some(work)) => under_way(tx, record, work)?,
        (Some(record), None) => record,
        (None, None) => return Ok(None),
    };
    Ok(Some(DeviceView { thing: thing.clone(), state, device }))
}

/// A record with what is under way in place of what was.
fn under_way(tx: &Tx<'_>, record: Option<Device>, work: Work) -> Result<Device, StoreError> {
    let request = tx.request(work.seq)?;
    let accepted_at = request.as_ref().map(|request| request.accepted_at);
    let changed_at = accepted_at.max(record.as_ref().map(|device| device.changed_at)).unwrap_or_default();
    Ok(Device {
        registered: record.as_ref().map_or(Registered::Disassociated, |device| device.registered),
        association: record.as_ref().and_then(|device| device.association),
        ours: record.as_ref().and_then(|device| device.ours),
        requested: request.map(|request| (request.client, request.token, request.accepted_at)),
        attempts: work.attempts,
        error: work.error,
        changed_at,
        mark: record.map_or(0, |device| device.mark),
    })
}

/// The devices by name, after the cursor (a name).
///
/// # Errors
/// The store failed.
pub fn devices(
    tx: &Tx<'_>,
    state: Option<DeviceState>,
    after: Option<&str>,
    limit: usize,
) -> Result<Rows<DeviceView>, StoreError> {
    let mut cursor = after.map(str::to_owned);
    let mut rows = Vec::new();
    let mut passed = 0;
    loop {
        let names = names_after(tx, state, cursor.as_deref(), limit + 1)?;
        let ended = names.len() <= limit;
        for name in names {
            cursor = Some(name.to_string());
            match device(tx, &name)? {
                Some(view) if state.is_none_or(|state| state == view.state) => rows.push((name.to_string(), view)),
                _ => passed += 1,
            }
            if rows.len() > limit {
                return Ok(cut(rows, limit));
            }
            if passed == MAX_PASSED {
                return Ok(Rows { rows, next: cursor });
            }
        }
        if ended {
            return Ok(cut(rows, limit));
        }
    }
}

/// Names that may be in a state, sorted: from the registry, and from the work where a device is not
/// in it.
fn names_after(
    tx: &Tx<'_>,
    state: Option<DeviceState>,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<ThingName>, StoreError> {
    let by_work = schema::work(&Target::Registry);
    let by_work = [&by_work[..1], b"d"].concat();
    let [listed, removed] =
        [Registered::Associated, Registered::Disassociated].map(|registered| schema::device(registered, ""));
    let prefixes: Vec<Vec<u8>> = match state {
        None => vec![listed, removed, by_work],
        Some(DeviceState::Associated) => vec![listed],
        Some(DeviceState::Disassociated) => vec![removed],
        Some(DeviceState::Associating | DeviceState::Disassociating) => vec![by_work],
    };
    let mut names = std::collections::BTreeSet::new();
    for prefix in prefixes {
        let (mut from, to) = schema::range(&prefix);
        if let Some(after) = after {
            from = [prefix.as_slice(), after.as_bytes(), &[0]].concat();
        }
        for (key, _) in tx.scan(&from, &to, Direction::Up, limit)? {
            names.insert(schema::read_thing(&key[prefix.len()..])?);
        }
    }
    Ok(names.into_iter().take(limit).collect())
}
