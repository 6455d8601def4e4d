//! Any order of events keeps the ledger whole.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::{AccessAnswer, AccessCommand, AccessError};

#[derive(Clone, Debug)]
enum Step {
    Accept(u8, Vec<u8>, bool, bool),
    Take(bool, u8),
    Settle(bool, u8),
    Cancel(u8),
    Wait(u16),
    List(Vec<u8>),
    Forget,
    Access(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let names = || proptest::collection::vec(0..12_u8, 1..6);
    prop_oneof![
        4 => (0..6_u8, names(), any::<bool>(), any::<bool>()).prop_map(|(t, n, e, a)| Step::Accept(t, n, e, a)),
        3 => (any::<bool>(), 1..8_u8).prop_map(|(call_kind, limit)| Step::Take(call_kind, limit)),
        3 => (any::<bool>(), 0..7_u8).prop_map(|(call_kind, kind)| Step::Settle(call_kind, kind)),
        1 => (0..6_u8).prop_map(Step::Cancel),
        1 => any::<u16>().prop_map(Step::Wait),
        2 => names().prop_map(Step::List),
        1 => Just(Step::Forget),
        2 => any::<bool>().prop_map(Step::Access),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: totals and indexes fit the records (checked after each
    /// transaction), no device is in two calls, and once the cloud answers, every request has
    /// ended.
    #[test]
    fn any_order_of_events_keeps_the_ledger_whole(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = Bench::with(Rules { publish_devices: true, local_access: true, ..rules() });
        bench.check_every = 3;
        let mut in_flight: [Vec<String>; 2] = Default::default();
        let call_kinds = [CallKind::Disassociate, CallKind::Associate];
        for step in steps {
            bench.wait(1);
            match step {
                Step::Accept(token, names, expires, associates) => {
                    let names: BTreeSet<String> = names.iter().map(|n| format!("d{n}")).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let expires_in = expires.then_some(std::time::Duration::from_secs(20));
                    let change = if associates { associate(&names) } else { change(&names) };
                    let change = Change { expires_in, ..change };
                    let _ = bench.run(|tx| accept(tx, &order("x", Some(&format!("t{token}")), change.clone())));
                }
                Step::Take(call_kind, limit) if in_flight[usize::from(call_kind)].is_empty() => {
                    let taken = bench.take_of(call_kinds[usize::from(call_kind)], limit.into());
                    let others = &in_flight[usize::from(!call_kind)];
                    prop_assert!(taken.iter().all(|name| !others.contains(name)), "in two calls at a time");
                    in_flight[usize::from(call_kind)] = taken;
                }
                Step::Take(..) => {}
                Step::Settle(call_kind, kind) => {
                    let names = std::mem::take(&mut in_flight[usize::from(call_kind)]);
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let verdict = match kind {
                        0 => Verdict::Done,
                        1 => Verdict::Failed(fault("No")),
                        2 => Verdict::Again(fault("Later")),
                        3 => Verdict::Unsent(fault("Busy")),
                        4 => Verdict::Unknown(fault("Lost")),
                        5 => Verdict::Parked(fault("Denied")),
                        _ => Verdict::AwaitList(fault("Perhaps")),
                    };
                    bench.settle_of(call_kinds[usize::from(call_kind)], &names, &verdict);
                }
                Step::Cancel(token) => {
                    let token = ClientToken::new(&format!("t{token}")).unwrap();
                    let client = ClientId::new("x").unwrap();
                    if let Some(request) = bench.run(|tx| find_request(tx, &client, &token)) {
                        let mut canceled = Canceled::default();
                        while !bench.run(|tx| cancel(tx, request.seq, &mut canceled)) {}
                    }
                }
                Step::Wait(millis) => {
                    bench.wait(millis.into());
                    bench.expire();
                }
                Step::List(names) => {
                    let names: BTreeSet<String> = names.iter().map(|n| format!("d{n}")).collect();
                    let listed: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 5)).collect();
                    bench.list(&listed);
                }
                Step::Access(is_known) => {
                    let (due, _) = bench.run(|tx| due_access(tx, false, None, 3));
                    let answer = |command| match command {
                        _ if !is_known => AccessAnswer::Failed(AccessError::new("Client not found", true)),
                        AccessCommand::Read => AccessAnswer::Enabled,
                        _ => AccessAnswer::Done,
                    };
                    let answers: Vec<_> = due.into_iter().map(|due| (due.thing, due.command, answer(due.command))).collect();
                    bench.run(|tx| access_answered(tx, &answers));
                }
                Step::Forget => {
                    let before = bench.elapsed();
                    bench.forget_requests(before);
                    bench.forget_devices(before);
                }
            }
        }
        let mut idle = 0;
        while idle < 2 {
            for call_kind in call_kinds {
                let names = bench.take_of(call_kind, 100);
                idle = if names.is_empty() { idle + 1 } else { 0 };
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                bench.settle_of(call_kind, &names, &Verdict::Done);
            }
            // Those who wait behind what a list settles come after it.
            if idle >= 2 && bench.summary().awaiting_list() > 0 {
                bench.wait(1000);
                bench.list(&[]);
                idle = 0;
            }
        }
        bench.list(&[]);
        let view = bench.view();
        prop_assert_eq!(view.targets(), [], "everything has ended");
        prop_assert!(view.requests().iter().all(|request| view.open_entries(request.seq).is_empty()));
    }
}
