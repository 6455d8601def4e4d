//! The database, and the thread that owns it. All waiting jobs are committed in one transaction;
//! their messages are published afterwards.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rumqttc::Publish;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::broker::Publisher;
use crate::{BATCH, Config, OPERATION, Result};

/// The tables of the Python peer. Times are milliseconds since the epoch, errors are lines of JSON.
const SCHEMA: &str = "
PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS devices (name TEXT PRIMARY KEY, since REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (id INTEGER PRIMARY KEY, client TEXT, token TEXT, content BLOB,
  entries INTEGER, open INTEGER, errors TEXT DEFAULT '', accepted INTEGER, completed INTEGER,
  acknowledged INTEGER DEFAULT 0, UNIQUE (client, token));
CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, thing TEXT, request INTEGER);
CREATE INDEX IF NOT EXISTS by_thing ON entries (thing);
CREATE INDEX IF NOT EXISTS by_completed ON requests (completed) WHERE completed IS NOT NULL;
CREATE INDEX IF NOT EXISTS unacknowledged ON requests (id)
  WHERE completed IS NOT NULL AND acknowledged = 0;
";

const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Maximum time that acknowledgements of the broker wait for a transaction of other jobs. If they
/// are lost, a result is published twice, which QoS 1 allows.
const PATIENCE: Duration = Duration::from_secs(1);
/// Number of acknowledgements that are committed without other jobs.
const MANY: usize = 500;

pub enum Job {
    Connected,
    Command(Publish),
    /// The broker has acknowledged the result of this request.
    Acknowledged(i64),
    NextBatch(SyncSender<Vec<String>>),
    /// A call has ended: its batch, and the error entries by their names.
    Settle(Vec<String>, HashMap<String, Value>),
    Page(Vec<(String, f64)>),
    /// All names of the list, and the time at which reading began.
    ListRead(HashSet<String>, Timestamp),
}

/// The effect of a job after its commit.
enum Effect {
    Answer { message: Publish, kind: &'static str, body: String },
    Completed(Box<Request>),
    Batch(Vec<String>, SyncSender<Vec<String>>),
    Status(String),
}

/// A row of `requests`.
struct Request {
    id: i64,
    client: String,
    token: String,
    content: Vec<u8>,
    entries: usize,
    errors: String,
    accepted: i64,
    completed: Option<i64>,
}

const COLUMNS: &str = "id, client, token, content, entries, errors, accepted, completed";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Command<'a> {
    #[serde(borrow)]
    client_token: Cow<'a, str>,
    #[serde(borrow)]
    entries: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow)]
    thing_name: Cow<'a, str>,
}

pub struct Ledger {
    config: &'static Config,
    db: Connection,
    publisher: Arc<Publisher>,
    wake: SyncSender<()>,
}

impl Ledger {
    pub fn open(config: &'static Config, publisher: Arc<Publisher>, wake: SyncSender<()>) -> Result<Self> {
        let db = Connection::open(format!("{}/peer.db", config.data_dir))?;
        db.execute_batch(SCHEMA)?;
        db.set_prepared_statement_cache_capacity(32);
        Ok(Self { config, db, publisher, wake })
    }

    pub fn run(mut self, inbox: Receiver<Job>) -> Result<()> {
        let (mut acknowledged, mut prune_at) = (Vec::new(), Instant::now());
        loop {
            let until_prune = prune_at.saturating_duration_since(Instant::now());
            let wait = if acknowledged.is_empty() { until_prune } else { PATIENCE.min(until_prune) };
            let first = match inbox.recv_timeout(wait) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let quiet = first.is_none();
            let mut jobs = Vec::new();
            for job in first.into_iter().chain(inbox.try_iter()).take(self.config.group) {
                match job {
                    Job::Acknowledged(request) => acknowledged.push(request),
                    job => jobs.push(job),
                }
            }
            if jobs.is_empty() && !quiet && acknowledged.len() < MANY {
                continue;
            }
            let open = jobs.iter().any(|job| matches!(job, Job::Command(_) | Job::Connected));

            let transaction = self.db.transaction()?;
            let mut effects = Vec::with_capacity(jobs.len());
            for request in acknowledged.drain(..) {
                let update = "UPDATE requests SET acknowledged = 1 WHERE id = ?";
                transaction.prepare_cached(update)?.execute([request])?;
            }
            for job in jobs {
                apply(&transaction, job, &mut effects)?;
            }
            if prune_at <= Instant::now() {
                let kept = Timestamp::now().as_millisecond() - (self.config.retention * 1e3) as i64;
                let delete = "DELETE FROM requests WHERE completed < ? AND acknowledged = 1";
                transaction.execute(delete, [kept])?;
                prune_at = Instant::now() + PRUNE_EVERY;
            }
            transaction.commit()?;

            for effect in effects {
                self.carry_out(effect)?;
            }
            if open {
                // A full channel means that the dispatcher has been woken already.
                let _ = self.wake.try_send(());
            }
        }
    }

    fn carry_out(&self, effect: Effect) -> Result<()> {
        match effect {
            Effect::Answer { message, kind, body } => {
                self.publisher.publish_result(sender(&message.topic).0, kind, body, None);
                self.publisher.acknowledge(&message);
            }
            Effect::Completed(request) => {
                let body = request.completed_body()?;
                self.publisher.publish_result(&request.client, "completed", body, Some(request.id));
            }
            Effect::Batch(names, reply) => reply.send(names)?,
            Effect::Status(body) => self.publisher.publish_status(body),
        }
        Ok(())
    }
}

fn apply(db: &Transaction<'_>, job: Job, effects: &mut Vec<Effect>) -> Result<()> {
    match job {
        Job::Connected => {
            effects.push(Effect::Status(status(db, None)?));
            let select = format!("SELECT {COLUMNS} FROM requests WHERE completed IS NOT NULL AND acknowledged = 0");
            for request in db.prepare_cached(&select)?.query_map([], Request::read)? {
                effects.push(Effect::Completed(Box::new(request?)));
            }
        }
        Job::Command(message) => {
            let (kind, body, completed) = take(db, &message)?;
            effects.push(Effect::Answer { message, kind, body });
            effects.extend(completed.map(|request| Effect::Completed(Box::new(request))));
        }
        Job::Acknowledged(_) => {}
        Job::NextBatch(reply) => {
            let select = "SELECT thing FROM entries ORDER BY id LIMIT ?";
            let (mut names, mut known) = (Vec::new(), HashSet::new());
            for name in db.prepare_cached(select)?.query_map([BATCH as i64], |row| row.get(0))? {
                let name: String = name?;
                if known.insert(name.clone()) {
                    names.push(name);
                }
            }
            effects.push(Effect::Batch(names, reply));
        }
        Job::Settle(batch, errors) => settle(db, &batch, &errors, effects)?,
        Job::Page(devices) => {
            let mut upsert = db.prepare_cached(
                "INSERT INTO devices VALUES (?, ?) ON CONFLICT (name) DO UPDATE \
                 SET since = excluded.since WHERE since <> excluded.since",
            )?;
            for device in devices {
                upsert.execute(device)?;
            }
        }
        Job::ListRead(seen, began) => {
            let mut select = db.prepare("SELECT name FROM devices")?;
            let names: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            for name in names.iter().filter(|name| !seen.contains(*name)) {
                db.prepare_cached("DELETE FROM devices WHERE name = ?")?.execute([name])?;
            }
            effects.push(Effect::Status(status(db, Some(began))?));
        }
    }
    Ok(())
}

/// Accepts one command, and returns the kind and the body of its answer, and its request if that is
/// completed.
fn take(db: &Transaction<'_>, message: &Publish) -> Result<(&'static str, String, Option<Request>)> {
    let (client, operation) = sender(&message.topic);
    let rejected = |token: Option<&str>, code, text: &str| {
        let body = json!({"clientToken": token, "code": code, "message": text}).to_string();
        Ok(("rejected", body, None))
    };
    let command: Command<'_> = match serde_json::from_slice(&message.payload) {
        Ok(command) => command,
        Err(error) => {
            let value: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
            let token = value["clientToken"].as_str();
            return rejected(token, "ValidationException", &error.to_string());
        }
    };
    let token = command.client_token.as_ref();
    let mut known = HashSet::new();
    let names = command.entries.iter().map(|entry| entry.thing_name.as_ref());
    let things: Vec<&str> = names.filter(|name| known.insert(*name)).collect();
    let wrong = operation != OPERATION || token.is_empty() || things.is_empty();
    if wrong || things.contains(&"") {
        return rejected(Some(token), "ValidationException", "not a command that is known");
    }
    let mut sorted = things.clone();
    sorted.sort_unstable();
    let content = Sha256::digest(sorted.join("\n"));
    let select = format!("SELECT {COLUMNS} FROM requests WHERE client = ? AND token = ?");
    let mut select = db.prepare_cached(&select)?;
    let known = select.query_row([client, token], Request::read).optional()?;
    if known.as_ref().is_some_and(|request| request.content != content.as_slice()) {
        return rejected(Some(token), "ConflictException", "used before");
    }
    let accepted = match &known {
        Some(request) => request.accepted,
        None => {
            let (now, count) = (Timestamp::now().as_millisecond(), things.len() as i64);
            db.prepare_cached(
                "INSERT INTO requests (client, token, content, entries, open, accepted) \
                 VALUES (?, ?, ?, ?4, ?4, ?)",
            )?
            .execute(params![client, token, content.as_slice(), count, now])?;
            let request = db.last_insert_rowid();
            let mut insert = db.prepare_cached("INSERT INTO entries (thing, request) VALUES (?, ?)")?;
            for thing in &things {
                insert.execute(params![thing, request])?;
            }
            now
        }
    };
    let body = json!({"clientToken": token, "operation": OPERATION, "entryCount": things.len(),
        "acceptedAt": iso(accepted)?});
    Ok(("accepted", body.to_string(), known.filter(|request| request.completed.is_some())))
}

/// Ends the entries of a batch; those with an error of the cloud have failed.
fn settle(
    db: &Transaction<'_>,
    batch: &[String],
    errors: &HashMap<String, Value>,
    effects: &mut Vec<Effect>,
) -> Result<()> {
    // By request: the number of its ended entries, and the errors of those that failed.
    let mut ended: BTreeMap<i64, (i64, String)> = BTreeMap::new();
    let mut delete = db.prepare_cached("DELETE FROM entries WHERE thing = ? RETURNING request")?;
    let mut forget = db.prepare_cached("DELETE FROM devices WHERE name = ?")?;
    for name in batch {
        for request in delete.query_map([name], |row| row.get(0))? {
            let (count, failed) = ended.entry(request?).or_default();
            *count += 1;
            failed.extend(errors.get(name).map(|error| format!("{error}\n")));
        }
        if !errors.contains_key(name) {
            forget.execute([name])?;
        }
    }
    let mut update = db.prepare_cached(&format!(
        "UPDATE requests SET open = open - ?1, completed = iif(open = ?1, ?2, NULL), errors = errors || ?3 \
         WHERE id = ?4 RETURNING {COLUMNS}"
    ))?;
    let now = Timestamp::now().as_millisecond();
    for (id, (count, failed)) in ended {
        let request = update.query_row(params![count, now, failed, id], Request::read)?;
        effects.extend(request.completed.is_some().then(|| Effect::Completed(Box::new(request))));
    }
    Ok(())
}

impl Request {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            client: row.get(1)?,
            token: row.get(2)?,
            content: row.get(3)?,
            entries: row.get::<_, u32>(4)? as usize,
            errors: row.get(5)?,
            accepted: row.get(6)?,
            completed: row.get(7)?,
        })
    }

    fn completed_body(&self) -> Result<String> {
        let errors = self.errors.lines().map(serde_json::from_str).collect::<std::result::Result<Vec<Value>, _>>()?;
        let status = match errors.len() {
            0 => "SUCCEEDED",
            failed if failed == self.entries => "FAILED",
            _ => "PARTIALLY_SUCCEEDED",
        };
        let body = json!({
            "clientToken": self.token, "operation": OPERATION, "status": status,
            "entryCount": self.entries, "succeededCount": self.entries - errors.len(),
            "failedCount": errors.len(), "errorEntries": errors[..errors.len().min(100)],
            "acceptedAt": iso(self.accepted)?, "completedAt": iso(self.completed.unwrap_or(0))?,
        });
        Ok(body.to_string())
    }
}

fn status(db: &Transaction<'_>, synced: Option<Timestamp>) -> Result<String> {
    let devices: i64 = db.query_row("SELECT count(*) FROM devices", [], |row| row.get(0))?;
    let mut body = json!({"state": "ONLINE", "devices": {"ASSOCIATED": devices}});
    if let Some(synced) = synced {
        body["lastSyncAt"] = json!(iso(synced.as_millisecond())?);
    }
    Ok(body.to_string())
}

/// The client and the operation, the last two levels of a command's topic.
fn sender(topic: &str) -> (&str, &str) {
    let (rest, operation) = topic.rsplit_once('/').unwrap_or(("", topic));
    (rest.rsplit_once('/').map_or(rest, |(_, client)| client), operation)
}

fn iso(milliseconds: i64) -> Result<String> {
    Ok(format!("{:.3}", Timestamp::from_millisecond(milliseconds)?))
}
