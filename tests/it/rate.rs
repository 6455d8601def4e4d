//! Which calls get the room that `rate` leaves: no call takes a permit without being made, and
//! lists leave most of them to commands.

use std::time::{Duration, Instant};

use crate::common::*;

/// After an outage the queued requests wait for the list, and must not take calls from it: with the
/// rate's calls for themselves the pages take as long as the rate says.
#[tokio::test]
async fn what_waits_for_a_list_takes_no_calls_from_it() {
    let _turn = groups::measured();
    let mut world = World::new(3000).await;
    let client = world.client("bench").await;
    world.set("rate", json!({"callsPerSecond": 10, "burst": 1}));
    world.cloud.offline(true);
    world.start_agent();
    client.status("it is out of reach", |status| status["cloud"] != "UNKNOWN").await;
    client.disassociate("t", &names(0..3));
    client.result("t", "accepted").await;
    client.send("associate-client-devices", &json!({"clientToken": "u", "entries": entries(&names(4000..4003))}));
    client.result("u", "accepted").await;
    // Both have had to wait once.
    world.cloud.offline(false);
    until("the list begins", || world.cloud.count(Operation::List) > 0).await;
    let start = Instant::now();
    client.status("the list is complete", |status| status["lastSyncAt"].is_string()).await;
    let took = start.elapsed();
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    // 30 pages; twice as long if each wakes somebody who takes a call for nothing.
    assert!(took < Duration::from_millis(4500), "30 pages at 10 calls a second took {took:?}");
}

/// A device whose entry fails each time needs a list to know what became of it; one after the other
/// does not keep the core listing.
#[tokio::test]
async fn a_device_that_keeps_failing_does_not_keep_the_core_listing() {
    let mut world = World::new(1000).await;
    let client = world.client("bench").await;
    world.set("rate", json!({"callsPerSecond": 20, "burst": 5}));
    world.start_agent();
    client.status("it is in sync", |status| status["lastSyncAt"].is_string()).await;
    let failing = Action::EntryErrors {
        things: vec!["d0000".into()],
        code: "ValidationException".into(),
        message: "never".into(),
        omit_name: false,
    };
    world.fault(failing, None);
    let before = world.cloud.count(Operation::List);
    let start = Instant::now();
    let mut n = 0;
    while start.elapsed() < Duration::from_secs(10) {
        client.disassociate(&format!("t{n}"), &names(0..1));
        n += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let pages = world.cloud.count(Operation::List) - before;
    // 10 pages take half a second of the rate; one list after the other would be 15 or more.
    assert!((10..=70).contains(&pages), "{pages} pages in 10 s");
    // Its request fails in the end, and other requests do not wait.
    client.send("sync", &json!({"clientToken": "s"}));
    client.result("s", "completed").await;
    assert_eq!(client.result("t0", "completed").await["status"], "FAILED");
}

/// The cloud's limit is for commands first: a list goes on where it was, however often it is
/// throttled.
#[tokio::test]
async fn a_throttled_page_is_asked_for_again_and_not_the_whole_list() {
    let mut world = World::new(1000).await;
    let client = world.client("bench").await;
    let throttled = Action::Status {
        status: 429,
        code: Some("ThrottlingException".into()),
        message: "Rate exceeded".into(),
        retry_after: None,
    };
    world.set("rate", json!({"callsPerSecond": 10, "burst": 1}));
    world.start_agent();
    client.status("it is in sync", |status| status["lastSyncAt"].is_string()).await;
    let before = world.cloud.count(Operation::List);
    client.send("sync", &json!({"clientToken": "s"}));
    until("half of it is read", || world.cloud.count(Operation::List) - before >= 5).await;
    world.cloud.inject(Fault { operation: Some(Operation::List), times: Some(7), action: throttled });
    assert_eq!(client.result("s", "completed").await["status"], "SUCCEEDED");
    assert_eq!(world.cloud.count(Operation::List) - before, 10 + 7, "pages, and what was throttled of them");
    client.status("it is over", |status| status["health"] == "OK").await;
}
