//! The outbox between a ledger in memory and a test, which is the broker.

use super::*;
use crate::{
    domain::Operation,
    runtime::stop,
    testing::parts::{self, Wire, devices, order},
};

/// An outbox between a ledger in memory and the test, which is the broker.
struct Rig {
    parts: parts::Rig,
    wire: Wire,
    _stop: stop::Stopper,
}

impl Rig {
    fn new() -> Self {
        let parts = parts::Rig::new("");
        let (client, requests) = Wire::client();
        let (publisher, deliveries) = Publisher::new(client);
        let publisher = Arc::new(publisher);
        let outbox = Outbox::new(parts.ledger.clone(), Via::Mqtt, Arc::clone(&publisher), parts.topics(), 100_000);
        let (stopper, stop) = stop::channel();
        tokio::spawn(outbox.run(deliveries.owed, stop));
        Self { parts, wire: Wire::new(publisher, requests), _stop: stopper }
    }

    async fn accept(&self, client: &str, token: &str) {
        self.parts.disassociate(client, token, &[token]).await;
    }

    /// What arrives at the broker until nothing more does: packet id and token.
    async fn published(&mut self) -> Vec<(u16, String)> {
        let messages = self.wire.messages().await.into_iter();
        messages.map(|(packet, _, message)| (packet, message["clientToken"].as_str().unwrap().to_owned())).collect()
    }

    async fn owed(&self) -> usize {
        let owed = self.parts.ledger.run(|tx| ledger::owed(tx, Via::Mqtt, 0, 1000, 1000)).await.unwrap();
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
    rig.wire.up(false);
    let published = rig.published().await;
    assert_eq!(tokens(&published), ["t1", "t2", "t3"]);
    assert_eq!(rig.owed().await, 3, "the broker has acknowledged none");
    for (packet, _) in &published[..2] {
        rig.wire.acknowledge(*packet);
    }
    assert_eq!(rig.published().await, []);
    assert_eq!(rig.owed().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_gets_what_the_last_one_did_not_acknowledge() {
    let mut rig = Rig::new();
    rig.wire.up(false);
    rig.accept("bench", "t1").await;
    rig.accept("bench", "t2").await;
    let published = rig.published().await;
    rig.wire.acknowledge(published[0].0);
    assert_eq!(rig.published().await, []);
    rig.wire.down();
    rig.wire.up(false);
    assert_eq!(tokens(&rig.published().await), ["t2"]);
}

/// The client library's table is half empty at any time.
#[tokio::test(start_paused = true)]
async fn the_window_is_kept_and_moves_on_with_the_acknowledgements() {
    let mut rig = Rig::new();
    for n in 0..120 {
        rig.accept("bench", &format!("t{n}")).await;
    }
    rig.wire.up(false);
    let mut all = Vec::new();
    for expected in [WINDOW, WINDOW, 120 - 2 * WINDOW] {
        let published = rig.published().await;
        assert_eq!(published.len(), expected);
        published.iter().for_each(|(packet, _)| rig.wire.acknowledge(*packet));
        all.extend(published.into_iter().map(|(_, token)| token));
    }
    assert_eq!(all, (0..120).map(|n| format!("t{n}")).collect::<Vec<_>>());
    assert_eq!((rig.published().await, rig.owed().await), (vec![], 0));
}

/// A broker that denies a client's topic never acknowledges its messages.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_acknowledged_holds_up_its_client_only_and_is_tried_again() {
    let mut rig = Rig::new();
    rig.wire.up(false);
    rig.accept("denied", "t1").await;
    assert_eq!(tokens(&rig.published().await), ["t1"]);
    tokio::time::advance(PATIENCE / 2).await;
    rig.accept("bench", "t2").await;
    let others = rig.published().await;
    rig.wire.acknowledge(others[0].0);
    tokio::time::advance(PATIENCE).await;
    assert_eq!(rig.published().await, [], "it is on hold");
    rig.accept("denied", "t3").await;
    rig.accept("bench", "t4").await;
    let others = rig.published().await;
    assert_eq!(tokens(&others), ["t4"]);
    rig.wire.acknowledge(others[0].0);
    tokio::time::advance(HOLD.0).await;
    for expected in ["t1", "t3"] {
        let again = rig.published().await;
        assert_eq!(tokens(&again), [expected], "the next one waits until the broker takes this one");
        rig.wire.acknowledge(again[0].0);
    }
    assert_eq!((rig.published().await, rig.owed().await), (vec![], 0));
}

/// The ledger may wake the outbox before the outbox sees that its read failed.
#[tokio::test(start_paused = true)]
async fn what_a_failed_disk_gave_back_is_published_again() {
    let mut rig = Rig::new();
    rig.wire.up(false);
    rig.accept("bench", "t1").await;
    let published = rig.published().await;
    assert_eq!(tokens(&published), ["t1"]);
    rig.parts.disk.files.fail_syncs(1);
    rig.wire.acknowledge(published[0].0);
    let next = order(Operation::DisassociateClientDevices, "bench", "t2", devices(&["t2"]), None);
    rig.parts.ledger.run(move |tx| ledger::accept(tx, &next)).await.unwrap_err();
    tokio::time::sleep(2 * READ_AGAIN).await;
    assert_eq!(tokens(&rig.published().await), ["t1"]);
}
