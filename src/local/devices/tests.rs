//! The device messages between a ledger in memory and a test, which is the broker.

use std::collections::BTreeSet;

use super::*;
use crate::{
    domain::{Again, CallKind, CallToken, Verdict, Window},
    ledger::{Pick, Step},
    runtime::stop,
    testing::parts::{self, Wire},
};

struct Rig {
    parts: parts::Rig,
    wire: Wire,
    _stop: stop::Stopper,
}

impl Rig {
    /// With devices `d0` and so on that a list showed.
    async fn new(devices: usize) -> Self {
        let parts = parts::Rig::new(r#""publishDevices":true"#);
        let page: Vec<_> = (0..devices).map(|n| (ThingName::new(&format!("d{n}")).unwrap(), None)).collect();
        let (mut done, mut counts, mut mark) = (0, Default::default(), None);
        let listed = parts.ledger.run_steps(move |tx| {
            let mark = *mark.get_or_insert_with(|| ledger::begin_list(tx));
            let all = ledger::apply_page(tx, mark, &page, &mut done, &mut counts)?;
            Ok(Step::when(all && ledger::end_list(tx, mark, counts)?, ()))
        });
        listed.await.unwrap();
        let (client, requests) = Wire::client();
        let (publisher, deliveries) = Publisher::new(client);
        let publisher = Arc::new(publisher);
        let (stopper, stop) = stop::channel();
        let part = Devices {
            ledger: parts.ledger.clone(),
            publisher: Arc::clone(&publisher),
            topics: parts.topics(),
            health: Arc::clone(&parts.health),
            stop,
        };
        tokio::spawn(part.run(deliveries.devices));
        Self { parts, wire: Wire::new(publisher, requests), _stop: stopper }
    }

    /// The devices that are published until nothing more is, each with its state; a message without
    /// content clears the retained one. The broker acknowledges them if `acknowledges` is set.
    async fn published(&mut self, acknowledges: bool) -> Vec<(String, String)> {
        let mut published = Vec::new();
        loop {
            let messages = self.wire.messages().await;
            if messages.is_empty() {
                return published;
            }
            for (packet, topic, content) in messages {
                let name = topic.strip_prefix("offboard/MyCore/devices/").unwrap().to_owned();
                published.push((name, content["state"].as_str().unwrap_or_default().to_owned()));
                if acknowledges {
                    self.wire.acknowledge(packet);
                }
            }
        }
    }

    /// The cloud carries out what is asked for.
    async fn carry_out(&self, call_kind: CallKind) {
        let take = move |tx: &mut ledger::Tx<'_>| {
            let pick =
                Pick::Queue { limit: 100, window: Window::OPEN, again: Some(Again::default()), shut: Vec::new() };
            let taken = ledger::take(tx, call_kind, &pick, true, &CallToken::from_bits(0))?;
            let mut done = taken.entries.into_iter().map(|(target, _)| (target, Verdict::Done)).collect();
            ledger::settle(tx, call_kind, &mut done)
        };
        self.parts.ledger.run(take).await.unwrap();
    }
}

/// A broker without the session may have lost the retained messages, too.
#[tokio::test(start_paused = true)]
async fn a_broker_without_a_session_gets_all_devices() {
    let mut rig = Rig::new(40).await;
    assert_eq!(rig.published(true).await, [], "there is no connection");
    rig.wire.up(false);
    let published = rig.published(true).await;
    let names: BTreeSet<&str> = published.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names.len(), 40);
    assert!(published.iter().all(|(_, state)| state == "ASSOCIATED"), "{published:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_with_the_session_gets_what_changed() {
    let mut rig = Rig::new(3).await;
    rig.wire.up(false);
    rig.published(true).await;
    rig.wire.down();
    rig.parts.disassociate("bench", "t1", &["d1"]).await;
    rig.wire.up(true);
    assert_eq!(rig.published(true).await, [("d1".to_owned(), "DISASSOCIATING".to_owned())]);
    rig.carry_out(CallKind::Disassociate).await;
    assert_eq!(rig.published(true).await, [("d1".to_owned(), String::new())], "the retained message is cleared");
}

/// The agent cannot see a denial: a broker acknowledges what it denies, or says nothing.
#[tokio::test(start_paused = true)]
async fn a_broker_that_acknowledges_none_is_reported_and_left_alone_for_an_hour() {
    let mut rig = Rig::new(100).await;
    rig.wire.up(false);
    assert_eq!(rig.published(false).await.len(), WINDOW);
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(rig.parts.problems(), ["DEVICES_NOT_PUBLISHED"]);
    assert_eq!(rig.published(false).await, []);
    tokio::time::sleep(REST).await;
    assert!(!rig.published(true).await.is_empty());
    assert_eq!(rig.parts.problems(), Vec::<String>::new());
}
