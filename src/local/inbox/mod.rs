//! The inbox: converts each inbound message to a command for the ledger. Commands are submitted in
//! the order of their arrival without waiting for each other, so that the ledger can make many of
//! them durable at once. Their responses and acknowledgements are sent in the same order.

mod broadcast;
mod responder;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use self::responder::{Answer, Pending, Responder, UnderWay};
use crate::{
    domain::{
        Cancel, Change, ClientId, ClientToken, Command, Decided, Operation, Reason, Rejection, RejectionCode, Request,
        Service, ThingName, WallClock,
    },
    health::Health,
    ledger::{self, Ledger, Order, Replies, Step, StoreError, Tx, Unavailable},
    local::{
        inbound::{Body, Inbound},
        queries,
        rejection_log::RejectionLog,
    },
    protocol,
    runtime::{clock::Clock, stop::Stop},
};

/// The most commands that are in the ledger and have no response yet: twice as many as one group of
/// the ledger takes.
const MAX_PENDING: usize = 512;

/// How long a sender has to wait while the store's file is too large.
const STORE_FULL_WAIT: Duration = Duration::from_secs(300);

/// A broadcast that can be carried out, and who sent it.
struct Broadcast {
    client: ClientId,
    operation: Operation,
    token: Option<ClientToken>,
    command: Command,
    delivery: ([u8; 32], bool),
    /// The longest response, in bytes.
    max_bytes: usize,
}

pub(crate) struct Inbox {
    pub(crate) core: ThingName,
    pub(crate) max_payload: usize,
    /// The configuration key of `max_payload`.
    pub(crate) max_payload_key: &'static str,
    /// The most entries of a call.
    pub(crate) max_entries: usize,
    /// The most entries that may be pending.
    pub(crate) max_pending: u64,
    /// No command is accepted above this many bytes of records in the store.
    pub(crate) max_database: u64,
    /// The services whose operations are not accepted.
    pub(crate) off: Vec<Service>,
    /// Whether broadcasts are accepted.
    pub(crate) accept_broadcast: bool,
    pub(crate) ledger: Ledger,
    pub(crate) health: Arc<Health>,
    pub(crate) clock: Clock,
    /// The bytes of the payloads that wait, if the transport counts them.
    pub(crate) waiting: Option<Arc<AtomicUsize>>,
    pub(crate) stop: Stop,
}

impl Inbox {
    /// Takes commands until the stop. Commands that were taken before the stop still get their
    /// responses.
    pub(crate) async fn run(self, mut inbound: mpsc::Receiver<Inbound>) {
        let (under_way, answers) = mpsc::channel::<UnderWay>(MAX_PENDING);
        let responder = Responder {
            ledger: self.ledger.clone(),
            health: Arc::clone(&self.health),
            clock: self.clock.clone(),
            waiting: self.waiting.clone(),
            max_payload: self.max_payload,
            log: RejectionLog::default(),
        };
        let taking = async move {
            while !self.stop.is_requested() {
                let inbound = tokio::select! {
                    biased;
                    inbound = inbound.recv() => inbound,
                    () = self.stop.requested() => break,
                };
                let Some(inbound) = inbound else { break };
                if under_way.send(self.handle(inbound).await).await.is_err() {
                    break;
                }
            }
        };
        // The responses are sent in the same task, so that they end together with the taking of
        // commands, however that ends.
        tokio::join!(taking, responder.run(answers));
    }

    async fn handle(&self, inbound: Inbound) -> UnderWay {
        let Inbound { client, operation, is_broadcast, body, delivery, reply } = inbound;
        let mut size = 0;
        let (token, command) = match &body {
            Body::NotTaken(why, token) => (token.clone(), Err(why.clone())),
            Body::Payload(payload) => {
                size = payload.len();
                protocol::parse_command(&self.core, &operation, payload, self.max_pending)
            }
            Body::TooLarge(size, token) => (token.clone(), Err(self.too_large(*size))),
            Body::Busy(token) => {
                let text = "too many commands wait to be read; send again later";
                (token.clone(), Err(Rejection::throttled(text, Duration::from_secs(1))))
            }
            Body::Retained(token) => {
                let text = "a retained command is not carried out; publish it without the retain flag";
                (token.clone(), Err(Rejection::invalid(Reason::Other, text)))
            }
            Body::NoSender(why, token) => (token.clone(), Err(Rejection::invalid(Reason::Other, why.as_str()))),
        };
        drop(body);
        let command = command.and_then(|(operation, command)| self.served(operation).map(|()| (operation, command)));
        let mut keep_delivery = None;
        let (sender, name) = (client.clone(), operation.clone());
        let command = command.and_then(|(operation, command)| {
            if is_broadcast { self.accepts_broadcast(operation) } else { Ok(()) }.map(|()| (operation, command))
        });
        let answer: Pending = match command {
            Err(rejection) if is_broadcast => Self::not_carried_out(&client, token, rejection),
            Ok((operation, command)) if is_broadcast => {
                keep_delivery = token.is_none().then_some(delivery.0);
                let max_bytes = reply.max_payload(self.max_payload);
                self.broadcast(Broadcast { client, operation, token, command, delivery, max_bytes }).await
            }
            Err(rejection) => rejected(token, rejection),
            Ok((operation, Command::Change(change))) if change.dry_run => {
                self.plan(operation, token, change, reply.max_payload(self.max_payload)).await
            }
            Ok((_, Command::Change(change))) => {
                keep_delivery = token.is_none().then_some(delivery.0);
                self.accept(client, token, change, delivery).await
            }
            Ok((operation, Command::Cancel(cancel))) => {
                self.cancel(operation, client, token, cancel, reply.max_payload(self.max_payload)).await
            }
            Ok((operation, Command::Query(query))) => {
                let synced_at = self.health.snapshot().synced_at;
                let max_bytes = reply.max_payload(self.max_payload);
                let echo = token.clone();
                let rule = move |tx: &mut Tx<'_>| {
                    queries::answer(tx, &client, operation, &query, echo.as_ref(), synced_at, max_bytes)
                };
                self.ask(token, rule, max_bytes).await
            }
        };
        UnderWay { client: sender, operation: name, reply, answer, delivery: keep_delivery, size }
    }

    fn too_large(&self, size: usize) -> Rejection {
        let (key, max) = (self.max_payload_key, self.max_payload);
        let message = format!("the payload has {size} bytes, {key} is {max}; split it into several commands");
        Rejection::invalid(Reason::Other, message)
    }

    fn served(&self, operation: Operation) -> Result<(), Rejection> {
        let service = operation
            .call_kind()
            .map(|call_kind| call_kind.traits().service)
            .filter(|service| self.off.contains(service));
        if let Some(switch) = service.and_then(|service| service.hosts().switch) {
            return Err(Rejection::invalid(Reason::UnknownOperation, switch.rejection(operation.as_str())));
        }
        Ok(())
    }

    /// Submits a rule that reads, and whose result is a message or a rejection.
    async fn ask(
        &self,
        token: Option<ClientToken>,
        rule: impl FnMut(&mut Tx<'_>) -> Result<Decided<Vec<u8>>, StoreError> + Send + 'static,
        max_bytes: usize,
    ) -> Pending {
        let submitted = self.ledger.submit(Replies::AtOnce, rule).await;
        Box::pin(async move { answer_of(token, received(submitted).await, max_bytes) })
    }

    async fn accept(
        &self,
        client: ClientId,
        token: Option<ClientToken>,
        change: Change,
        delivery: ([u8; 32], bool),
    ) -> Pending {
        let full = self.store_full();
        let order = self.order(client, token.clone(), change, delivery);
        let rule = move |tx: &mut Tx<'_>| {
            if let Some(full) = &full
                && !ledger::is_repeated(tx, &order)?
            {
                return Ok(Err(full.clone()));
            }
            let accepted = ledger::accept(tx, &order)?;
            with_unknown_names(tx, accepted)
        };
        let submitted = self.ledger.submit(Replies::Durable, rule).await;
        Box::pin(async move {
            match received(submitted).await {
                Ok(Ok(accepted)) => Answer::Accepted(Box::new(accepted)),
                Ok(Err(rejection)) => Answer::Rejected(token, rejection),
                Err(error) => Answer::Rejected(token, unavailable(&error)),
            }
        })
    }

    /// The rejection of commands while the store's file is too large.
    fn store_full(&self) -> Option<Rejection> {
        // The ledger counts what is in the store. The store's file is several times as large until
        // it is rewritten, and a small file is not rewritten. Commands that are rejected here must
        // become possible by such a rewrite.
        let stored = self.ledger.summary().borrow().store_bytes;
        let max = ledger::max_file_bytes(self.max_database);
        (stored > max).then(|| {
            let text = format!(
                "the store's file has {stored} bytes, more than {max} (of limits.maxDatabaseBytes, {}); send again later, \
                 when it was rewritten",
                self.max_database
            );
            Rejection::throttled(text, STORE_FULL_WAIT)
        })
    }

    fn order(&self, client: ClientId, token: Option<ClientToken>, change: Change, delivery: ([u8; 32], bool)) -> Order {
        Order {
            client,
            token,
            fresh_token: fresh_token(),
            change,
            delivery: Some(delivery),
            clock_confirmed: self.health.wall_clock() == WallClock::Confirmed,
        }
    }

    /// The most entries of a call of that operation.
    fn max_entries_of(&self, operation: Operation) -> usize {
        self.max_entries.min(operation.call_kind().map_or(1, |call_kind| call_kind.traits().max_entries.max(1)))
    }

    async fn plan(
        &self,
        operation: Operation,
        token: Option<ClientToken>,
        change: Change,
        max_bytes: usize,
    ) -> Pending {
        let (echo, max_entries) = (token.clone(), self.max_entries_of(operation));
        let rule = move |tx: &mut Tx<'_>| {
            let plan = ledger::plan(tx, &change)?;
            Ok(Ok(queries::plan(operation, echo.as_ref(), plan, max_entries, max_bytes)))
        };
        self.ask(token, rule, max_bytes).await
    }

    async fn cancel(
        &self,
        operation: Operation,
        client: ClientId,
        token: Option<ClientToken>,
        cancel: Cancel,
        max_bytes: usize,
    ) -> Pending {
        let target = match cancel.client.resolve(&client) {
            Ok(target) if client.is_local() || target.as_ref().is_none_or(|target| *target == client) => target,
            Ok(_) => {
                let text =
                    format!("over {} a client cancels its own requests only; leave targetClient away", client.via());
                return rejected(token, Rejection::new(RejectionCode::AccessDeniedException, text));
            }
            Err(rejection) => return rejected(token, rejection),
        };
        let (echo, client) = (token.clone(), target.unwrap_or(client));
        let mut seq = None;
        let mut so_far = ledger::Canceled::default();
        let rule = move |tx: &mut Tx<'_>| {
            let found = match seq {
                Some(seq) => seq,
                None => match ledger::find_request(tx, &client, &cancel.token)? {
                    Some(request) => *seq.insert(request.seq),
                    None => return Ok(Step::Done(Err(queries::no_request(&cancel.token)))),
                },
            };
            if !ledger::cancel(tx, found, &mut so_far)? {
                return Ok(Step::Again);
            }
            Ok(Step::Done(Ok(queries::canceled(operation, echo.as_ref(), so_far))))
        };
        let submitted = self.ledger.submit_steps(Replies::Durable, rule).await;
        Box::pin(async move {
            // Several steps become durable one after the other.
            let half_way = |Unavailable(error)| {
                Unavailable(format!("{error}; what was withdrawn before that stays so, send the cancel again"))
            };
            answer_of(token, received(submitted).await.map_err(half_way), max_bytes)
        })
    }
}

/// Adds the first names that the registry does not know to a request that was accepted.
fn with_unknown_names(tx: &Tx<'_>, accepted: Decided<Request>) -> Result<Decided<(Request, Vec<String>)>, StoreError> {
    match accepted {
        Ok(request) => {
            let unknown = ledger::unknown_names(tx, &request)?;
            Ok(Ok((request, unknown)))
        }
        Err(rejection) => Ok(Err(rejection)),
    }
}

/// Waits for a result. If the ledger ended without one, what the command changed may be durable: its
/// sender gets no response and no PUBACK, and repeats it with its token. The agent is stopping then,
/// which ends this wait.
async fn received<R>(
    submitted: Result<oneshot::Receiver<Result<R, Unavailable>>, Unavailable>,
) -> Result<R, Unavailable> {
    if let Ok(submitted) = submitted
        && let Ok(result) = submitted.await
    {
        return result;
    }
    std::future::pending().await
}

/// The answer whose result is a message, if it is not too large.
fn answer_of(token: Option<ClientToken>, result: Result<Decided<Vec<u8>>, Unavailable>, max_bytes: usize) -> Answer {
    match result {
        Ok(Ok(message)) if message.len() > max_bytes => {
            Answer::Rejected(token, response_too_large(message.len(), max_bytes))
        }
        Ok(Ok(message)) => Answer::Message(message),
        Ok(Err(rejection)) => Answer::Rejected(token, rejection),
        Err(error) => Answer::Rejected(token, unavailable(&error)),
    }
}

fn rejected(token: Option<ClientToken>, rejection: Rejection) -> Pending {
    Box::pin(std::future::ready(Answer::Rejected(token, rejection)))
}

/// The rejection of a query whose response is too large and cannot be cut into pages.
fn response_too_large(size: usize, max: usize) -> Rejection {
    let message = format!(
        "the response has {size} bytes, and this transport takes {max}; ask for less (maxResults, no history), or over \
         the local socket"
    );
    Rejection::invalid(Reason::Other, message)
}

fn unavailable(error: &Unavailable) -> Rejection {
    Rejection::new(RejectionCode::InternalServerException, error.to_string())
}

/// A token for a command that came without one.
fn fresh_token() -> ClientToken {
    let text = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    #[expect(clippy::expect_used, reason = "32 hexadecimal digits follow the rule of tokens")]
    ClientToken::new(&text).expect("hexadecimal digits are a token")
}

#[cfg(test)]
mod tests;
