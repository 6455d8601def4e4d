//! The outbox between a ledger in memory and a test, which is the broker.

use flume::Receiver;
use rumqttc::{AsyncClient, Request};

use super::*;
use crate::{
    config,
    domain::{Change, ClientToken, Operation, Target, ThingName},
    ledger::{Order, Rules, testing},
    runtime::stop,
};

/// An outbox between a ledger in memory and the test, which is the broker.
struct Rig {
    ledger: Ledger,
    publisher: Arc<Publisher>,
    wire: Receiver<Request>,
    last_packet: u16,
    _stop: stop::Stopper,
}

impl Rig {
    fn new() -> Self {
        let (config, _) = config::parse(r#"{"coreThingName":"MyCore","region":"r"}"#, |_| None).unwrap();
        let (ledger, _) = testing::start(&testing::MemDisk::default(), &Rules::from(&config));
        let (requests, wire) = flume::bounded(1000);
        let (publisher, deliveries) = Publisher::new(AsyncClient::from_senders(requests));
        let publisher = Arc::new(publisher);
        let topics = Topics::new("offboard", &ThingName::new("MyCore").unwrap());
        let outbox = Outbox::new(ledger.clone(), Via::Mqtt, Arc::clone(&publisher), topics, 100_000);
        let (stopper, stop) = stop::channel();
        tokio::spawn(outbox.run(deliveries.owed, stop));
        Self { ledger, publisher, wire, last_packet: 0, _stop: stopper }
    }

    async fn accept(&self, client: &str, token: &str) {
        let order = Order {
            client: ClientId::new(client).unwrap(),
            token: Some(ClientToken::new(token).unwrap()),
            fresh_token: ClientToken::new("made").unwrap(),
            change: Change {
                operation: Operation::DisassociateClientDevices,
                targets: vec![Target::Device(ThingName::new(token).unwrap())],
                force: false,
                dry_run: false,
                issued_at: None,
                expires_in: None,
                reason: None,
            },
            delivery: None,
            clock_confirmed: true,
        };
        let accepted = self.ledger.run(move |tx| ledger::accept(tx, &order)).await;
        accepted.unwrap().unwrap();
    }

    /// What arrives at the broker until nothing more does: packet id, client and token.
    async fn published(&mut self) -> Vec<(u16, String)> {
        let mut found = Vec::new();
        while let Ok(Ok(request)) = tokio::time::timeout(Duration::from_secs(1), self.wire.recv_async()).await {
            let Request::Publish(publish) = request else { continue };
            self.last_packet += 1;
            self.publisher.on_wire(self.last_packet);
            let message: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
            found.push((self.last_packet, message["clientToken"].as_str().unwrap().to_owned()));
        }
        found
    }

    async fn owed(&self) -> usize {
        let owed = self.ledger.run(|tx| ledger::owed(tx, Via::Mqtt, 0, 1000, 1000)).await.unwrap();
        owed.0.len()
    }
}

fn tokens(published: &[(u16, String)]) -> Vec<&str> {
    published.iter().map(|(_, token)| &**token).collect()
}

#[tokio::test(start_paused = true)]
async fn messages_are_published_in_order_and_forgotten_when_they_are_acknowledged() {
    let mut rig = Rig::new();
    for token in ["t1", "t2", "t3"] {
        rig.accept("bench", token).await;
    }
    assert_eq!(rig.published().await, [], "there is no connection");
    rig.publisher.up(false, "filter");
    let published = rig.published().await;
    assert_eq!(tokens(&published), ["t1", "t2", "t3"]);
    assert_eq!(rig.owed().await, 3, "the broker has acknowledged none");
    for (packet, _) in &published[..2] {
        rig.publisher.on_delivered(*packet);
    }
    assert_eq!(rig.published().await, []);
    assert_eq!(rig.owed().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_gets_what_the_last_one_did_not_acknowledge() {
    let mut rig = Rig::new();
    rig.publisher.up(false, "filter");
    rig.accept("bench", "t1").await;
    rig.accept("bench", "t2").await;
    let published = rig.published().await;
    rig.publisher.on_delivered(published[0].0);
    assert_eq!(rig.published().await, []);
    rig.publisher.down(|| ());
    rig.publisher.up(false, "filter");
    assert_eq!(tokens(&rig.published().await), ["t2"]);
}

/// The client library's table is half empty at any time.
#[tokio::test(start_paused = true)]
async fn the_window_is_kept_and_moves_on_with_the_acknowledgements() {
    let mut rig = Rig::new();
    for n in 0..120 {
        rig.accept("bench", &format!("t{n}")).await;
    }
    rig.publisher.up(false, "filter");
    let mut all = Vec::new();
    for expected in [WINDOW, WINDOW, 120 - 2 * WINDOW] {
        let published = rig.published().await;
        assert_eq!(published.len(), expected);
        published.iter().for_each(|(packet, _)| rig.publisher.on_delivered(*packet));
        all.extend(published.into_iter().map(|(_, token)| token));
    }
    assert_eq!(all, (0..120).map(|n| format!("t{n}")).collect::<Vec<_>>());
    assert_eq!((rig.published().await, rig.owed().await), (vec![], 0));
}

/// A broker that denies a client's topic never acknowledges its messages.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_acknowledged_holds_up_its_client_only_and_is_tried_again() {
    let mut rig = Rig::new();
    rig.publisher.up(false, "filter");
    rig.accept("denied", "t1").await;
    assert_eq!(tokens(&rig.published().await), ["t1"]);
    tokio::time::advance(PATIENCE / 2).await;
    rig.accept("bench", "t2").await;
    let others = rig.published().await;
    rig.publisher.on_delivered(others[0].0);
    tokio::time::advance(PATIENCE).await;
    assert_eq!(rig.published().await, [], "it is on hold");
    rig.accept("denied", "t3").await;
    rig.accept("bench", "t4").await;
    let others = rig.published().await;
    assert_eq!(tokens(&others), ["t4"]);
    rig.publisher.on_delivered(others[0].0);
    tokio::time::advance(HOLD.0).await;
    for expected in ["t1", "t3"] {
        let again = rig.published().await;
        assert_eq!(tokens(&again), [expected], "the next one waits until the broker takes this one");
        rig.publisher.on_delivered(again[0].0);
    }
    assert_eq!((rig.published().await, rig.owed().await), (vec![], 0));
}
