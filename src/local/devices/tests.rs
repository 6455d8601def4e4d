//! The device messages between a ledger in memory and a test, which is the broker.

use std::collections::BTreeSet;

use super::*;
use crate::{
    domain::{Again, CallKind, CallToken, Verdict, WallClock, Window},
    ledger::{Pick, Step},
    runtime::stop,
    testing::parts::{self, Sent, Wire},
};

struct Rig {
    parts: parts::Rig,
    wire: Wire,
    stop: stop::Stopper,
}

/// The part, and the broker that it publishes to.
fn start(parts: &parts::Rig) -> (Wire, stop::Stopper) {
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
    (Wire::new(publisher, requests), stopper)
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
        let (wire, stop) = start(&parts);
        Self { parts, wire, stop }
    }

    /// Publishes what changed, and begins a full round on another connection.
    async fn begin_round(&mut self) {
        self.wire.up(false);
        self.published(true).await;
        self.wire.down();
        self.wire.up(false);
    }

    /// Another process begins on the same ledger.
    fn restart(&mut self) {
        (self.wire, self.stop) = start(&self.parts);
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

    /// The next message, which the broker acknowledges at once, as [`Self::published`] has it.
    async fn next(&mut self) -> Option<(String, String)> {
        let Sent::Message(packet, topic, content) = self.wire.next().await? else { return None };
        self.wire.acknowledge(packet);
        let name = topic.strip_prefix("offboard/MyCore/devices/").unwrap().to_owned();
        Some((name, content["state"].as_str().unwrap_or_default().to_owned()))
    }

    /// The cloud carries out what is asked for.
    async fn carry_out(&self, call_kind: CallKind) {
        let take = move |tx: &mut ledger::Tx<'_>| {
            let pick =
                Pick::Queue { limit: 100, window: Window::OPEN, again: Some(Again::default()), shut: Vec::new() };
            let taken = ledger::take(tx, call_kind, &pick, WallClock::Confirmed, &CallToken::from_bits(0))?;
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

/// A device changes after its message was published, while those of later devices are.
#[tokio::test(start_paused = true)]
async fn a_device_that_changes_behind_the_others_is_published_again() {
    let mut rig = Rig::new(3).await;
    rig.wire.up(false);
    rig.published(true).await;
    rig.parts.disassociate("bench", "t1", &["d0", "d1", "d2"]).await;
    let mut last = BTreeMap::new();
    let mut count = 0;
    while let Some((name, state)) = rig.next().await {
        last.insert(name, state);
        count += 1;
        if count == 2 {
            rig.carry_out(CallKind::Disassociate).await;
        }
    }
    assert_eq!(last, BTreeMap::from(["d0", "d1", "d2"].map(|name| (name.to_owned(), String::new()))));
}

#[tokio::test(start_paused = true)]
async fn a_device_waits_for_room_among_other_messages() {
    let mut rig = Rig::new(3).await;
    rig.wire.up(false);
    rig.published(true).await;
    let mut others = 0;
    while rig.wire.publisher.publish(None, "others", Vec::new(), false, Tag::Owed(others)) {
        others += 1;
    }
    rig.parts.disassociate("bench", "t1", &["d0", "d1"]).await;
    let sent = rig.wire.messages().await;
    assert_eq!(sent.len() as u64, others, "there is no room for a device's message");
    sent.iter().for_each(|(packet, ..)| rig.wire.acknowledge(*packet));
    let names: BTreeSet<String> = rig.published(true).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, BTreeSet::from(["d0".to_owned(), "d1".to_owned()]));
}

/// The session is there at the next connection because the first one made it.
#[tokio::test(start_paused = true)]
async fn a_full_round_that_a_lost_connection_interrupts_continues() {
    let mut rig = Rig::new(100).await;
    rig.begin_round().await;
    let mut names = BTreeSet::new();
    for _ in 0..10 {
        names.insert(rig.next().await.unwrap().0);
    }
    // The broker loses these.
    assert_eq!(rig.wire.messages().await.len(), WINDOW);
    rig.wire.down();
    rig.wire.up(true);
    let rest = rig.published(true).await;
    assert_eq!(rest.len(), 90, "those that the broker has are not published again");
    names.extend(rest.into_iter().map(|(name, _)| name));
    assert_eq!(names.len(), 100);
}

/// What a broker with a session has may be from an earlier configuration.
#[tokio::test(start_paused = true)]
async fn a_process_begins_with_a_full_round() {
    let mut rig = Rig::new(40).await;
    rig.wire.up(false);
    rig.published(true).await;
    rig.restart();
    rig.wire.up(true);
    assert_eq!(rig.published(true).await.len(), 40);
}

/// The round does not begin again, hour after hour, for one topic that the broker denies.
#[tokio::test(start_paused = true)]
async fn one_topic_that_is_never_acknowledged_does_not_repeat_the_others() {
    let mut rig = Rig::new(40).await;
    rig.begin_round().await;
    let mut published = 0;
    let denied = "offboard/MyCore/devices/d0";
    while let Some(Sent::Message(packet, topic, _)) = rig.wire.next().await {
        published += 1;
        if topic != denied {
            rig.wire.acknowledge(packet);
        }
    }
    assert_eq!(published, 40);
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(rig.parts.problems(), ["DEVICES_NOT_PUBLISHED"]);
    tokio::time::sleep(2 * REST).await;
    assert_eq!(rig.published(true).await, []);
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
