//! The maintenance of a ledger in memory.

use super::*;
use crate::{
    domain::{MonitorId, Operation, RequestStatus, Target, Via},
    runtime::stop,
    testing::parts,
};

fn start(parts: &parts::Rig, off: Vec<CallKind>) -> stop::Stopper {
    let (stopper, stop) = stop::channel();
    let maintenance = Maintenance {
        ledger: parts.ledger.clone(),
        health: Arc::clone(&parts.health),
        gate: ListGate::new(Arc::clone(&parts.health), parts.ledger.summary(), parts.clock.clone()),
        clock: parts.clock.clone(),
        limits: parts.config.limits,
        retention: parts.config.retention,
        off,
        stop,
    };
    tokio::spawn(maintenance.run());
    stopper
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// A request that expires in an hour.
async fn request(parts: &parts::Rig) {
    let (operation, hour) = (Operation::DisassociateClientDevices, Duration::from_secs(3600));
    parts.command(operation, "bench", "t1", parts::devices(&["a"]), Some(hour)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_within_seconds_of_its_deadline() {
    let parts = parts::Rig::new("");
    let _stop = start(&parts, Vec::new());
    request(&parts).await;
    let status = async || parts.find("bench", "t1").await.unwrap().tally.status();
    pass(3590).await;
    assert_eq!(status().await, RequestStatus::InProgress);
    pass(15).await;
    assert_eq!(status().await, RequestStatus::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_finished_request_is_forgotten_after_its_retention_and_not_before() {
    let parts = parts::Rig::new(r#""retention":{"requestsDays":2}"#);
    let _stop = start(&parts, Vec::new());
    request(&parts).await;
    pass(3700).await;
    // The broker has `completed`; a request is kept as long as a message of it is owed.
    let delivered = parts.ledger.run(|tx| {
        let (owed, _) = ledger::owed(tx, Via::Mqtt, 0, 10, 10)?;
        owed.iter().try_for_each(|owed| ledger::delivered(tx, owed.n).map(drop))
    });
    delivered.await.unwrap();
    pass(2 * 24 * 3600 - 300).await;
    assert!(parts.find("bench", "t1").await.is_some());
    pass(600).await;
    assert!(parts.find("bench", "t1").await.is_none());
}

/// An earlier configuration accepted what this one does not serve.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_service_that_is_off_is_reported_and_passes() {
    let parts = parts::Rig::new("");
    let id = |text| MonitorId::new(text).unwrap();
    let asset = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
    let targets = vec![Target::project_asset(id(asset), id(asset))];
    parts.command(Operation::DisassociateProjectAssets, "bench", "t1", targets, None).await.unwrap();
    let seq = parts.find("bench", "t1").await.unwrap().seq;
    let _stop = start(&parts, vec![CallKind::ProjectAssets]);
    pass(5).await;
    assert_eq!(parts.problems(), ["SITEWISE_OFF"]);
    let mut so_far = ledger::Canceled::default();
    parts.ledger.run_steps(move |tx| Ok(Step::when(ledger::cancel(tx, seq, &mut so_far)?, ()))).await.unwrap();
    pass(300).await;
    assert_eq!(parts.problems(), Vec::<String>::new());
}
