//! A broker with Greengrass's ways (Moquette's): it never acknowledges a publish that its policies deny.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod common;

use common::{
    odd::{Odd, Way},
    *,
};

#[tokio::test]
async fn a_result_that_is_never_acknowledged_stalls_nobody_else() {
    let broker = Odd::start(Way::Well, "/results/denied/", 10);
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
