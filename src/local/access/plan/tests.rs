use super::*;

fn thing(n: usize) -> ThingName {
    ThingName::new(&format!("d{n}")).unwrap()
}

fn due(count: usize, command: AccessCommand) -> Vec<DueAccess> {
    (0..count).map(|n| DueAccess { thing: thing(n), command }).collect()
}

fn open(now: Instant) -> Flow {
    let mut flow = Flow::new(now);
    flow.failed(0, false, now);
    flow.connection(true);
    assert_eq!(flow.next(now), Next::Subscribe);
    flow.subscribing(now);
    assert_eq!(flow.subscribed(true, now), None);
    flow
}

fn done(number: u64, count: usize) -> Vec<u8> {
    let answer = |index| serde_json::json!({"command": "disableClient", "correlationData": format!("offboard-{number:016x}-{index}")});
    serde_json::json!({"responses": (0..count).map(answer).collect::<Vec<_>>()}).to_string().into_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_as_large_as_the_broker_is_quick_and_the_broker_rests_as_long() {
    let mut now = Instant::now();
    let mut flow = open(now);
    // The broker takes `each` for a change.
    let mut run = |flow: &mut Flow, each: Duration| {
        let mut sizes = Vec::new();
        for number in 0..6 {
            assert!(matches!(flow.next(now), Next::Send { failed: false, .. }));
            let commands = flow.select(false, due(1000, AccessCommand::Disable));
            sizes.push(commands.len());
            let count = commands.len();
            flow.sent(Batch { number, commands, sent_at: now });
            assert_eq!(flow.next(now), Next::Wait, "one at a time");
            let took = each * u32::try_from(count).unwrap();
            now += took;
            assert_eq!(flow.response(&done(number, count), now).unwrap().len(), count);
            assert_eq!(flow.next(now), Next::Wait);
            now += took;
        }
        sizes
    };
    assert_eq!(run(&mut flow, Duration::from_millis(5)), [4, 8, 16, 16, 16, 16]);
    assert_eq!(run(&mut flow, Duration::from_millis(90)), [16, 8, 4, 2, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_not_allowed_tries_slowly() {
    let mut now = Instant::now();
    let mut flow = open(now);
    let (mut sent, mut reports) = (0, 0);
    let end = now + Duration::from_secs(24 * 3600);
    while now < end {
        if let Some(denied) = flow.expired(now) {
            reports += u32::from(denied.is_some());
        }
        if let Next::Send { .. } = flow.next(now) {
            let commands = flow.select(false, due(3, AccessCommand::Read));
            flow.sent(Batch { number: 1, commands, sent_at: now });
            sent += 1;
        }
        now = flow.wakes_at().unwrap();
    }
    assert!((100..160).contains(&sent) && reports == sent - 1, "{sent} {reports}");
    // The agent continues as soon as it gets a response.
    let commands = flow.select(false, due(3, AccessCommand::Disable));
    flow.sent(Batch { number: 2, commands, sent_at: now });
    assert!(flow.response(&done(1, 1), now).is_none(), "the answer to what was given up");
    assert_eq!(flow.response(&done(2, 3), now).unwrap().len(), 1);
    assert!(matches!(flow.next(now), Next::Send { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_denied_subscription_is_reported_at_once_and_tried_again() {
    let now = Instant::now();
    let mut flow = Flow::new(now);
    flow.connection(true);
    flow.subscribing(now);
    assert_eq!(flow.subscribed(false, now), Some(Denied::Subscription));
    assert_eq!(flow.next(now), Next::Wait);
    assert_eq!(flow.next(flow.wakes_at().unwrap()), Next::Subscribe);
}

#[tokio::test(start_paused = true)]
async fn what_is_idle_does_not_wake_and_what_failed_is_tried_less_and_less_often() {
    let mut now = Instant::now();
    let mut flow = open(now);
    let commands = flow.select(false, Vec::new());
    assert_eq!(commands, [(None, AccessCommand::Read)], "whether it is allowed is tried once");
    flow.sent(Batch { number: 1, commands, sent_at: now });
    assert_eq!(flow.response(&done(1, 1), now), Some(Vec::new()));
    assert_eq!(flow.select(false, Vec::new()), []);
    assert_eq!((flow.next(now), flow.wakes_at()), (Next::Wait, None));
    flow.failed(3, false, now);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let at = flow.wakes_at().unwrap();
        waits.push(at.duration_since(now).as_secs());
        now = at;
        assert!(matches!(flow.next(now), Next::Send { failed: true, after: None, .. }));
        let commands = flow.select(true, due(3, AccessCommand::Read));
        flow.sent(Batch { number: 2, commands, sent_at: now });
        flow.response(&done(2, 3), now);
        assert_eq!(flow.select(false, Vec::new()), []);
        assert!(matches!(flow.next(now), Next::Send { failed: true, after: Some(_), .. }));
        assert_eq!(flow.select(true, Vec::new()), []);
        flow.failed(3, true, now);
    }
    assert_eq!(waits, [60, 60, 120, 240, 480, 960, 1920, 3600]);
    flow.failed(0, false, now);
    assert_eq!(flow.wakes_at(), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_when_the_connection_ended_is_not_waited_for() {
    let now = Instant::now();
    let mut flow = open(now);
    let commands = flow.select(false, due(1, AccessCommand::Read));
    flow.sent(Batch { number: 1, commands, sent_at: now });
    flow.connection(false);
    assert_eq!((flow.next(now), flow.wakes_at()), (Next::Wait, None));
    flow.connection(true);
    assert!(flow.response(&done(1, 1), now).is_none());
    assert_eq!(flow.next(now), Next::Subscribe);
}
