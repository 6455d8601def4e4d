//! What the tests of single parts share: a ledger in memory, the clock of the test, and the test in
//! the place of the broker. Time is tokio's, which the tests pause.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use rumqttc::{AsyncClient, Request};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{
    config::{self, Config},
    domain::{Change, ClientId, ClientToken, Decided, Operation, Request as Accepted, Target, ThingName},
    health::Health,
    ledger::{self, Ledger, Order, Rules, testing::MemDisk},
    local::broker::Publisher,
    protocol::Topics,
    runtime::clock::Clock,
};

/// What most parts need.
pub(crate) struct Rig {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) health: Arc<Health>,
    pub(crate) ledger: Ledger,
    pub(crate) disk: MemDisk,
}

impl Rig {
    /// `settings` are members of the configuration, as JSON text.
    pub(crate) fn new(settings: &str) -> Self {
        let comma = if settings.is_empty() { "" } else { "," };
        let text = format!(r#"{{"coreThingName":"MyCore","region":"r"{comma}{settings}}}"#);
        let (config, unknown) = config::parse(&text, |_| None).unwrap();
        assert_eq!(unknown, Vec::<String>::new());
        let clock = Clock::simulated(Instant::now(), Arc::new(AtomicI64::new(1_800_000_000_000)));
        let disk = MemDisk::default();
        let pause = || Duration::from_millis(1);
        let (ledger, committer) = Ledger::simulate(disk.clone(), Rules::from(&config), clock.clone(), pause);
        tokio::spawn(committer);
        Self { config, health: Health::new(clock.clone()), clock, ledger, disk }
    }

    pub(crate) fn topics(&self) -> Topics {
        self.config.topics()
    }

    /// A client's command for devices, as the inbox submits it.
    pub(crate) async fn command(
        &self,
        operation: Operation,
        client: &str,
        token: &str,
        targets: Vec<Target>,
        expires_in: Option<Duration>,
    ) -> Decided<Accepted> {
        let order = order(operation, client, token, targets, expires_in);
        self.ledger.run(move |tx| ledger::accept(tx, &order)).await.unwrap()
    }

    /// A client's request to disassociate devices.
    pub(crate) async fn disassociate(&self, client: &str, token: &str, names: &[&str]) {
        let targets = devices(names);
        self.command(Operation::DisassociateClientDevices, client, token, targets, None).await.unwrap();
    }

    /// A client's request, if the ledger has it.
    pub(crate) async fn find(&self, client: &str, token: &str) -> Option<Accepted> {
        let (client, token) = (ClientId::new(client).unwrap(), ClientToken::new(token).unwrap());
        self.ledger.run_unsynced(move |tx| ledger::find_request(tx, &client, &token)).await.unwrap()
    }

    /// The codes of the problems that `status` shows.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.health.snapshot().problems.keys().map(ToString::to_string).collect()
    }
}

/// A client's command for devices, as the rules take it.
pub(crate) fn order(
    operation: Operation,
    client: &str,
    token: &str,
    targets: Vec<Target>,
    expires_in: Option<Duration>,
) -> Order {
    Order {
        client: ClientId::new(client).unwrap(),
        token: Some(ClientToken::new(token).unwrap()),
        fresh_token: ClientToken::new("made").unwrap(),
        change: Change { operation, targets, force: false, dry_run: false, issued_at: None, expires_in, reason: None },
        delivery: None,
        clock_confirmed: true,
    }
}

pub(crate) fn devices(names: &[&str]) -> Vec<Target> {
    names.iter().map(|name| Target::Device(ThingName::new(name).unwrap())).collect()
}

/// The connection to the broker: what the agent sends arrives at the test.
pub(crate) struct Wire {
    pub(crate) publisher: Arc<Publisher>,
    requests: flume::Receiver<Request>,
    last_packet: u16,
}

/// What the agent sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Sent {
    /// A message: its packet id, its topic, and its content, which is null if there is none.
    Message(u16, String, Value),
    /// The acknowledgement of the packet with that id.
    Ack(u16),
}

impl Wire {
    /// A client for the agent, and the receiver of what it sends.
    pub(crate) fn client() -> (AsyncClient, flume::Receiver<Request>) {
        let (sender, requests) = flume::bounded(10_000);
        (AsyncClient::from_senders(sender), requests)
    }

    pub(crate) fn new(publisher: Arc<Publisher>, requests: flume::Receiver<Request>) -> Self {
        Self { publisher, requests, last_packet: 0 }
    }

    /// The connection is made. Without `has_session` the broker keeps nothing of an earlier one.
    pub(crate) fn up(&self, has_session: bool) -> u64 {
        self.publisher.up(has_session, "filter");
        self.publisher.connection_state().borrow().epoch
    }

    pub(crate) fn down(&self) {
        self.publisher.down(|| while self.requests.try_recv().is_ok() {});
    }

    /// What the agent sends next; `None` if it sends nothing for a second.
    pub(crate) async fn next(&mut self) -> Option<Sent> {
        loop {
            match timeout(Duration::from_secs(1), self.requests.recv_async()).await.ok()?.ok()? {
                Request::Publish(publish) => {
                    self.last_packet += 1;
                    self.publisher.on_wire(self.last_packet);
                    let is_empty = publish.payload.is_empty();
                    let content =
                        if is_empty { Value::Null } else { serde_json::from_slice(&publish.payload).unwrap() };
                    return Some(Sent::Message(self.last_packet, publish.topic, content));
                }
                Request::PubAck(ack) => return Some(Sent::Ack(ack.pkid)),
                _ => {}
            }
        }
    }

    /// What the agent sends until it sends nothing more for a second.
    pub(crate) async fn sent(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while let Some(next) = self.next().await {
            sent.push(next);
        }
        sent
    }

    /// The messages of [`Self::sent`].
    pub(crate) async fn messages(&mut self) -> Vec<(u16, String, Value)> {
        let message = |sent| match sent {
            Sent::Message(packet, topic, content) => Some((packet, topic, content)),
            Sent::Ack(_) => None,
        };
        self.sent().await.into_iter().filter_map(message).collect()
    }

    /// The broker acknowledges a message.
    pub(crate) fn acknowledge(&self, packet: u16) {
        self.publisher.on_delivered(packet);
    }
}

/// The ledger's own tests use rules that are written down there.
#[test]
fn the_rules_of_the_ledgers_tests_are_those_of_a_configuration() {
    let text = r#"{"coreThingName":"MyCore","region":"r","siteWise":{"enabled":true}}"#;
    let (config, unknown) = config::parse(text, |_| None).unwrap();
    assert_eq!(unknown, Vec::<String>::new());
    assert_eq!(format!("{:?}", Rules::from(&config)), format!("{:?}", ledger::testing::rules()));
}
