//! Tests that a view contains the whole state of the ledger. Other tests compare views, and would
//! not notice the loss of an object that the view omits.

use super::*;
use crate::ledger::view::{Owed, Queue, Waiter};

#[test]
fn a_view_shows_requests_entries_work_waiters_devices_messages_and_history() {
    let mut bench = Bench::with(Rules { publish_devices: true, ..rules() });
    bench.list(&[("a", 5), ("b", 6), ("c", 7)]);
    let request = bench.accept(&order("x", Some("t"), change(&["a", "b", "new"])));
    assert_eq!(bench.take(2), ["a", "b"]);
    bench.settle(&["a"], &Verdict::Failed(fault("No")));
    let back = bench.accept(&order("y", Some("u"), associate(&["b"])));
    bench.settle(&["b"], &Verdict::Unknown(fault("NoResponse")));
    let view = bench.view();

    let (x, t) = (ClientId::new("x").unwrap(), ClientToken::new("t").unwrap());
    assert_eq!((view.sequence(), view.find(&x, &t)), (2, Some(request.seq)));
    assert_eq!(view.find(&ClientId::new("y").unwrap(), &t), None);
    let tallies: Vec<_> = view.requests().iter().map(|one| (one.seq, one.tally.open, one.tally.failed())).collect();
    assert_eq!(tallies, [(request.seq, 2, 1), (back.seq, 1, 0)]);
    assert_eq!(view.request(back.seq), Some(back.clone()));
    assert_eq!(view.unknown_names(request.seq), ["new"]);
    assert_eq!(view.open_entries(request.seq), [(1, device("b")), (2, device("new"))]);
    let failed = view.failed_entries(request.seq);
    assert_eq!(failed.iter().map(|(index, one)| (*index, one.target.name())).collect::<Vec<_>>(), [(0, "a")]);

    assert_eq!(view.targets(), [device("b"), device("new")]);
    let sent = view.work(&device("b")).unwrap();
    assert_eq!((sent.call_kind, sent.queue, sent.place), (CallKind::Disassociate, Queue::Fresh, (request.seq, 1)));
    assert!(sent.sent && sent.outcome_unknown);
    assert_eq!((sent.attempts, sent.queued_opposite), (1, Some((back.seq, 0))));
    let unsent = view.work(&device("new")).unwrap();
    assert!(!unsent.sent && !unsent.outcome_unknown);
    assert_eq!((unsent.attempts, unsent.queued_opposite), (0, None));
    let waiter = |place, at: Option<i64>| Waiter { place, known_association: at.map(Timestamp) };
    assert_eq!(view.waiters(&device("b")), [waiter((request.seq, 1), Some(6)), waiter((back.seq, 0), Some(6))]);
    assert_eq!(view.waiters(&device("new")), [waiter((request.seq, 2), None)]);
    assert_eq!((view.work(&device("a")), view.waiters(&device("a"))), (None, vec![]));

    assert_eq!(view.devices().keys().map(ThingName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(view.device(&thing("a")).and_then(|one| one.association), Some(Timestamp(5)));
    assert_eq!(view.device(&thing("new")), None);
    let owed: Vec<_> = view.owed().into_iter().map(|Owed { seq, completed, .. }| (seq, completed)).collect();
    assert_eq!(owed, [(request.seq, false), (back.seq, false)]);
    assert_eq!(view.outdated().keys().map(ThingName::as_str).collect::<Vec<_>>(), ["a", "b", "c", "new"]);
    let history: Vec<_> = view.history().into_iter().map(|(thing, events)| (thing.to_string(), events.len())).collect();
    assert_eq!(history, [("a".to_owned(), 1)], "its end");
    let totals = view.totals();
    assert_eq!((totals.open_requests, totals.open_entries, totals.owed), (2, 3, 2));
    assert!(totals.synced && totals.work[&CallKind::Disassociate].work == 2);

    bench.settle(&["b"], &Verdict::AwaitList(fault("Perhaps")));
    assert_eq!(bench.view().work(&device("b")).map(|work| work.queue), Some(Queue::AwaitList));
    let mut command = order("x", None, change(&["c"]));
    command.delivery = Some(([7; 32], false));
    let delivered = bench.accept(&command);
    assert_eq!(bench.view().unacknowledged(), [([7; 32], delivered.seq)]);
}
