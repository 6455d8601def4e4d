//! A broker that behaves like Greengrass's (Moquette): it never acknowledges a publish that its
//! policies deny.

use std::time::{Duration, Instant};

use crate::common::{
    fault_broker::{Behavior, FaultBroker},
    *,
};

#[tokio::test]
async fn a_result_that_is_never_acknowledged_stalls_nobody_else() {
    let broker = FaultBroker::start(Behavior::Well, "/results/denied/", 10);
    let send = |client: &str, n: usize| {
        let body = json!({"clientToken": format!("t{n}"), "entries": [{"thingName": format!("d{n:04}")}]});
        broker.command(client, "disassociate-client-devices", &body);
    };
    // More results than the agent has under way at a time.
    (0..10).for_each(|n| send("denied", n));
    // Several times the client library's table of packet ids.
    (0..300).for_each(|n| send("bench", n));
    let mut world = broker.world(300).await;
    world.start_agent();
    let results = |kind: &str| broker.tokens("bench", kind);
    // Those that are denied are in the way for 30 s, and no longer.
    until("everybody else is answered", || results("completed").len() >= 300).await;
    let expected: Vec<Value> = (0..300).map(|n| json!(format!("t{n}"))).collect();
    assert_eq!(results("accepted"), expected, "once each, in order");
    assert_eq!(results("completed").len(), 300);
    until("every command is acknowledged", || broker.look(|seen| seen.acknowledged == 310)).await;
    let denied = broker.tokens("denied", "accepted").len() + broker.tokens("denied", "completed").len();
    assert!((1..=20).contains(&denied), "{denied} messages to the denied topic");
}

/// Rejections are not guaranteed: other results do not wait for one that is never acknowledged.
#[tokio::test]
async fn rejections_that_are_never_acknowledged_hold_others_up_for_seconds_only() {
    let _turn = groups::measured();
    let broker = FaultBroker::start(Behavior::Well, "/results/denied/", 10);
    let mut world = broker.world(10).await;
    world.start_agent();
    until("the agent is in sync", || broker.status()["lastSyncAt"].is_string()).await;
    let start = Instant::now();
    for _ in 0..160 {
        broker.command("denied", "disassociate-client-devices", &json!({"clientToken": "x"}));
    }
    let body = json!({"clientToken": "t", "entries": entries(&names(0..1))});
    broker.command("bench", "disassociate-client-devices", &body);
    until("the other one is answered", || broker.tokens("bench", "completed") == ["t"]).await;
    until("every command is acknowledged", || broker.look(|seen| seen.acknowledged == 161)).await;
    println!("others waited {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let rejections = broker.tokens("denied", "rejected").len();
    assert!((1..=50).contains(&rejections), "{rejections} rejections");
    assert_eq!(broker.look(|seen| seen.connections.len()), 1);
}
