//! What the planner makes of each kind of response.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::domain::{AssetId, ThingName};

fn plan() -> LanePlan {
    LanePlan::new(CallKind::Disassociate, Duration::from_secs(1), Duration::from_secs(300))
}

fn targets(n: usize) -> Vec<(Target, u32)> {
    (0..n).map(|n| (Target::Device(ThingName::new(&format!("d{n}")).unwrap()), 0)).collect()
}

fn error(fault: CallFault) -> CallError {
    CallError { fault, code: "Code".into(), message: "text".into(), retry_after: None }
}

fn entry(name: Option<&str>, code: &str) -> EntryError {
    EntryError { name: name.map(str::to_owned), code: code.into(), message: String::new() }
}

/// Runs a lane against a cloud that refuses each call that has any of the `bad` entries.
fn bisect(n: usize, bad: &BTreeSet<usize>) -> (u32, BTreeSet<String>, BTreeSet<String>) {
    let mut plan = plan();
    let (mut calls, mut done, mut failed) = (0, BTreeSet::new(), BTreeSet::new());
    let mut batch = targets(n);
    let is_bad = |target: &Target| bad.iter().any(|n| target.name() == format!("d{n}"));
    loop {
        calls += 1;
        let answer = match batch.iter().any(|(target, _)| is_bad(target)) {
            true => Err(error(CallFault::Invalid(vec![]))),
            false => Ok(vec![]),
        };
        for (target, verdict) in plan.answered(&batch, &answer, Mono(0), 0.5) {
            let name = target.name().to_owned();
            match verdict {
                Verdict::Done => assert!(done.insert(name)),
                Verdict::Failed(_) => assert!(failed.insert(name)),
                _ => {}
            }
        }
        match plan.next(Mono(0)) {
            Next::These(piece) => batch = piece.into_iter().map(|target| (target, 0)).collect(),
            Next::Queue { .. } | Next::Wait(_) => return (calls, done, failed),
        }
    }
}

proptest! {
    #[test]
    fn one_bad_entry_fails_alone_in_at_most_fifteen_calls(n in 1..=100_usize, at in 0..100_usize) {
        let bad = BTreeSet::from([at % n]);
        let (calls, done, failed) = bisect(n, &bad);
        prop_assert_eq!(done.len(), n - 1);
        prop_assert_eq!(failed, BTreeSet::from([format!("d{}", at % n)]));
        prop_assert!(calls <= 15, "{} calls", calls);
    }

    #[test]
    fn a_bisection_separates_the_good_entries_from_the_bad(n in 1..=60_usize, bad in proptest::collection::btree_set(0..60_usize, 0..6)) {
        let bad: BTreeSet<usize> = bad.into_iter().filter(|at| *at < n).collect();
        let (_, done, failed) = bisect(n, &bad);
        prop_assert_eq!(done.len(), n - bad.len());
        prop_assert_eq!(failed.len(), bad.len());
    }
}

#[test]
fn named_entries_fail_and_the_others_are_sent_at_once() {
    let mut plan = plan();
    let verdicts = plan.answered(&targets(3), &Err(error(CallFault::Invalid(vec![1]))), Mono(0), 0.5);
    assert_eq!(verdicts.len(), 1);
    assert_eq!(verdicts[0].0.name(), "d1");
    let Next::These(rest) = plan.next(Mono(0)) else { panic!() };
    assert_eq!(rest.iter().map(Target::name).collect::<Vec<_>>(), ["d0", "d2"]);
}

#[test]
fn transient_and_other_entry_errors_differ() {
    let mut plan = plan();
    let mut sent = targets(4);
    sent[2].1 = ENTRY_BUDGET;
    let errors = [
        entry(Some("d0"), "ResourceNotFoundException"),
        entry(Some("d1"), "ThrottlingException"),
        entry(Some("d2"), "InternalServerException"),
    ];
    let verdicts = plan.answered(&sent, &Ok(errors.to_vec()), Mono(0), 0.5);
    assert!(matches!(verdicts[0].1, Verdict::AwaitList(_)));
    assert!(matches!(verdicts[1].1, Verdict::Again(_)));
    assert!(matches!(verdicts[2].1, Verdict::AwaitList(_)), "the budget is spent");
    assert_eq!(verdicts[3].1, Verdict::Done);
    let look = |again| Next::Queue { again, shut: Vec::new() };
    assert_eq!(plan.next(Mono(0)), look(None));
    assert_eq!(plan.retries_at(), Some(Mono(500)));
    assert_eq!(plan.next(Mono(500)), look(Some(Again::default())));
    assert_eq!(plan.retries_at(), None, "the look was for them");
    let on = Again { entry: (7, 2), resource: 0 };
    plan.looked(on, false);
    assert_eq!(plan.next(Mono(501)), look(Some(on)), "as long as there are any");
}

/// A part of invariant 3: an error that cannot be attributed makes no entry succeed.
#[test]
fn an_error_without_a_name_leaves_every_entry_to_the_list() {
    for name in [None, Some("somebody-else")] {
        let verdicts = plan().answered(&targets(2), &Ok(vec![entry(name, "X")]), Mono(0), 0.5);
        assert!(verdicts.iter().all(|(_, verdict)| matches!(verdict, Verdict::AwaitList(_))));
    }
}

#[test]
fn a_failure_of_the_whole_call_fails_no_entry() {
    for fault in [
        CallFault::Unreachable,
        CallFault::NoResponse,
        CallFault::NotAws,
        CallFault::Throttled,
        CallFault::Server,
        CallFault::Busy,
        CallFault::Clock,
        CallFault::Credentials,
        CallFault::Denied,
        CallFault::UnknownCoreDevice,
        CallFault::NotUnderstood,
    ] {
        let mut plan = plan();
        let uncertain = matches!(fault, CallFault::NoResponse | CallFault::Server | CallFault::NotAws);
        let verdicts = plan.answered(&targets(2), &Err(error(fault.clone())), Mono(0), 0.5);
        assert_eq!(verdicts.len(), 2);
        for (_, verdict) in verdicts {
            assert!(
                matches!((&verdict, uncertain), (Verdict::Unknown(_), true) | (Verdict::Unsent(_), false)),
                "{fault:?}: {verdict:?}"
            );
        }
        assert!(matches!(plan.next(Mono(0)), Next::Wait(_)), "{fault:?}");
    }
}

fn child(parent: &str, child: usize) -> (Target, u32) {
    let id = |text: &str| AssetId::new(text).unwrap();
    let (asset, hierarchy) = (id(&format!("externalId:{parent}")), id("externalId:line"));
    (Target::child(asset, hierarchy, id(&format!("externalId:child-{child}"))), 0)
}

fn shut(plan: &mut LanePlan, now: Mono) -> Vec<String> {
    let Next::Queue { shut, .. } = plan.next(now) else { panic!("the lane waits") };
    shut
}

/// SiteWise's permissions and conflicts are those of single resources.
#[test]
fn a_resource_that_refuses_is_parked_and_the_lane_continues() {
    let mut plan = LanePlan::new(CallKind::Assets, Duration::from_secs(1), Duration::from_secs(300));
    let answer = |plan: &mut LanePlan, parent: &str, fault: Option<CallFault>, now: u64| {
        let answer = fault.map_or(Ok(Vec::new()), |fault| Err(error(fault)));
        plan.answered(&[child(parent, 1)], &answer, Mono(now), 0.5).remove(0).1
    };
    assert!(matches!(answer(&mut plan, "denied", Some(CallFault::Denied), 0), Verdict::Parked(_)));
    assert!(matches!(answer(&mut plan, "busy", Some(CallFault::Busy), 0), Verdict::Parked(_)));
    assert_eq!(shut(&mut plan, Mono(0)), ["externalId:denied", "externalId:busy"]);
    assert_eq!(plan.retries_at(), Some(Mono(500)), "the lane itself does not wait, and each has its own time");
    assert_eq!(shut(&mut plan, Mono(500)), ["externalId:denied"]);
    assert_eq!(plan.retries_at(), Some(Mono(450_000)));
    answer(&mut plan, "busy", Some(CallFault::Busy), 500);
    shut(&mut plan, Mono(500));
    assert_eq!(plan.retries_at(), Some(Mono(1500)), "twice as long");
    answer(&mut plan, "another", None, 500);
    assert!(plan.is_refused(), "another's success is not its own");
    // A resource that does not exist takes calls, too.
    answer(&mut plan, "denied", Some(CallFault::Invalid(vec![0])), 500);
    assert!(!plan.is_refused() && shut(&mut plan, Mono(500)) == ["externalId:busy"]);
}

#[test]
fn a_lane_waits_if_all_its_resources_refuse() {
    let mut plan = LanePlan::new(CallKind::Assets, Duration::from_secs(1), Duration::from_secs(300));
    let denied = |plan: &mut LanePlan, parent: u32, now| {
        plan.answered(&[child(&format!("parent-{parent}"), 1)], &Err(error(CallFault::Denied)), now, 0.5);
    };
    for _ in 0..3 * DENIED_ALL {
        denied(&mut plan, 0, Mono(0));
    }
    for n in 0..DENIED_ALL {
        assert!(matches!(plan.next(Mono(0)), Next::Queue { .. }), "the same one again and again, and {n} more");
        denied(&mut plan, n, Mono(0));
    }
    assert!(matches!(plan.next(Mono(0)), Next::Wait(_)));
    let later = Mono(450_000);
    assert!(matches!(plan.next(later), Next::Queue { .. }));
    (0..40).for_each(|n| denied(&mut plan, n, later));
    assert_eq!(plan.shut.len(), MAX_SHUT);
}

/// An entry that waits does not take the place of another call.
#[test]
fn a_look_that_found_nothing_is_not_repeated_before_an_entry_is_due() {
    let mut plan = LanePlan::new(CallKind::Assets, Duration::from_secs(1), Duration::from_secs(300));
    plan.answered(&[child("one", 1)], &Err(error(CallFault::Denied)), Mono(0), 0.5);
    shut(&mut plan, Mono(0));
    plan.looked(Again::default(), true);
    shut(&mut plan, Mono(1000));
    assert!(plan.found_nothing());
    assert_eq!(shut(&mut plan, Mono(450_000)), Vec::<String>::new());
    assert!(!plan.found_nothing());
}

/// The service refuses the resource with a message that does not name it.
#[test]
fn a_resource_that_is_refused_is_not_taken_apart_for_hours() {
    let mut plan = LanePlan::new(CallKind::ProjectAssets, Duration::from_secs(1), Duration::from_secs(300));
    let (mut calls, mut failed, mut piece) = (0, 0, targets(100));
    loop {
        calls += 1;
        failed += plan.answered(&piece, &Err(error(CallFault::Invalid(vec![]))), Mono(0), 0.5).len();
        let Next::These(next) = plan.next(Mono(0)) else { break };
        piece = next.into_iter().map(|target| (target, 0)).collect();
    }
    assert_eq!(failed, 100);
    assert!(calls <= HOPELESS + 8, "{calls} calls");
}

/// The agent reads no list that shows assets.
#[test]
fn an_asset_that_fails_for_long_has_failed() {
    let mut plan = LanePlan::new(CallKind::ProjectAssets, Duration::from_secs(1), Duration::from_secs(300));
    let (target, _) = child("one", 1);
    let errors = [entry(Some(target.name()), "INTERNAL_FAILURE")];
    for (charged, again) in [(ENTRY_BUDGET - 1, true), (ENTRY_BUDGET, false)] {
        let verdicts = plan.answered(&[(target.clone(), charged)], &Ok(errors.to_vec()), Mono(0), 0.5);
        assert_eq!(matches!(verdicts[0].1, Verdict::Again(_)), again);
        assert_eq!(matches!(verdicts[0].1, Verdict::Failed(_)), !again);
    }
}

#[test]
fn a_refusal_of_every_call_fails_no_entry() {
    let bad: BTreeSet<usize> = (0..100).collect();
    let (calls, _, failed) = bisect(100, &bad);
    assert!(calls <= HOPELESS + 8, "{calls} calls");
    assert!(failed.len() < 20, "{} failed", failed.len());
}
