//! The clients of the broker follow the registry, also if the registry is lost.

use super::*;
use crate::domain::{Access, AccessAnswer, AccessCommand, AccessError, AccessStep};

fn on() -> Rules {
    Rules { publish_devices: true, local_access: true, guard: guard(&["kept*"], 1.0), ..rules() }
}

impl Bench {
    fn due(&mut self) -> Vec<(String, AccessCommand)> {
        let (due, _) = self.run(|tx| due_access(tx, false, None, 100));
        due.into_iter().map(|due| (due.thing.to_string(), due.command)).collect()
    }

    fn answer(&mut self, name: &str, command: AccessCommand, answer: AccessAnswer) {
        let answers = [(thing(name), command, answer)];
        self.run(|tx| access_answered(tx, &answers));
    }

    /// Carries out all that is due, on clients that are enabled or disabled as asked.
    fn carry_out(&mut self, disabled: &[&str]) {
        for _ in 0..3 {
            for (name, command) in self.due() {
                let answer = match command {
                    AccessCommand::Read if disabled.contains(&name.as_str()) => AccessAnswer::Disabled,
                    AccessCommand::Read => AccessAnswer::Enabled,
                    _ => AccessAnswer::Done,
                };
                self.answer(&name, command, answer);
            }
        }
        assert_eq!(self.due(), []);
    }

    fn step_of(&self, name: &str) -> Option<AccessStep> {
        self.view().access().get(&thing(name)).map(|access| access.step)
    }

    fn local_access(&mut self, name: &str) -> Option<&'static str> {
        let name = thing(name);
        self.run(|tx| super::super::device(tx, &name))?.access.map(|access| access.as_str())
    }

    fn events(&mut self, name: &str) -> Vec<&'static str> {
        let name = thing(name);
        self.run(|tx| history(tx, &name)).iter().map(|event| event.kind.as_str()).collect()
    }

    fn disassociate(&mut self, token: &str, names: &[&str]) {
        self.accept(&order("x", Some(token), change(names)));
        self.take(100);
        self.settle(names, &Verdict::Done);
    }

    fn associate(&mut self, token: &str, names: &[&str]) {
        self.accept(&order("x", Some(token), associate(names)));
        self.take_of(CallKind::Associate, 100);
        self.settle_of(CallKind::Associate, names, &Verdict::Done);
    }
}

#[test]
fn a_device_is_disabled_by_an_outcome_or_by_a_list_and_enabled_when_it_is_associated_again() {
    let mut bench = Bench::with(on());
    bench.list(&[("a", 1), ("b", 1), ("c", 1)]);
    assert_eq!(bench.due(), [], "nobody was disassociated");
    bench.disassociate("t", &["a"]);
    bench.list(&[("c", 1)]);
    assert_eq!(bench.due(), [("a".into(), AccessCommand::Read), ("b".into(), AccessCommand::Read)]);
    assert_eq!((bench.local_access("a"), bench.local_access("c")), (Some("PENDING"), None));
    bench.carry_out(&[]);
    assert_eq!((bench.local_access("a"), bench.local_access("b")), (Some("REVOKED"), Some("REVOKED")));
    assert_eq!(bench.summary().access.revoked, 2);
    assert_eq!(bench.events("b"), ["UNLISTED", "LOCAL_ACCESS_REVOKED"]);
    bench.wait(1_000_000);
    bench.associate("u", &["a"]);
    bench.list(&[("a", 2), ("b", 2), ("c", 1)]);
    assert_eq!(bench.due(), [("a".into(), AccessCommand::Enable), ("b".into(), AccessCommand::Enable)]);
    bench.carry_out(&[]);
    assert_eq!((bench.local_access("a"), bench.view().access().len()), (None, 0));
    assert_eq!(bench.events("b").last(), Some(&"LOCAL_ACCESS_RESTORED"));
}

#[test]
fn who_was_disabled_by_somebody_else_stays_so() {
    let mut bench = Bench::with(on());
    bench.list(&[("a", 1)]);
    bench.disassociate("t", &["a"]);
    bench.carry_out(&["a"]);
    assert_eq!((bench.step_of("a"), bench.local_access("a")), (Some(AccessStep::LeftAlone), None));
    bench.wait(1_000_000);
    bench.associate("u", &["a"]);
    assert_eq!((bench.due(), bench.step_of("a")), (vec![], None));
}

#[test]
fn only_a_device_that_was_known_as_associated_becomes_due() {
    let mut bench = Bench::with(on());
    // The registry does not know it.
    bench.disassociate("t", &["stranger"]);
    bench.list(&[("a", 1), ("b", 1), ("kept1", 1), ("MyCore", 1)]);
    // The registry is lost, and the new one does not have it.
    bench.checkpoint();
    bench.image.registry.rows.clear();
    bench.image.state.lose_registry();
    bench.list(&[("b", 1), ("kept1", 1), ("MyCore", 1)]);
    assert_eq!(bench.due(), []);
    // Protected devices are never disabled.
    bench.list(&[("b", 1)]);
    assert_eq!(bench.due(), []);
    bench.disassociate("u", &["b"]);
    bench.rules.guard.protected.push(crate::domain::Pattern::new("b"));
    assert_eq!((bench.due(), bench.step_of("b")), (vec![], None), "protected meanwhile");
}

#[test]
fn a_lost_registry_and_retention_take_no_client_that_the_agent_disabled() {
    let mut bench = Bench::with(on());
    bench.list(&[("a", 1), ("b", 1), ("c", 1)]);
    bench.disassociate("t", &["a", "b"]);
    bench.carry_out(&["b"]);
    bench.wait(1000);
    let now = bench.elapsed() + 1;
    bench.forget_devices(now);
    assert_eq!((bench.local_access("a"), bench.state("b")), (Some("REVOKED"), None), "kept as long as it is disabled");
    assert_eq!(bench.view().access().len(), 1);
    bench.checkpoint();
    bench.image.registry.rows.clear();
    bench.image.state.lose_registry();
    bench.list(&[("c", 1)]);
    assert_eq!((bench.due(), bench.step_of("a")), (vec![], Some(AccessStep::Revoked)));
    bench.list(&[("a", 2), ("c", 1)]);
    assert_eq!(bench.due(), [("a".into(), AccessCommand::Enable)]);
}

#[test]
fn while_it_is_off_nothing_begins_and_what_it_disabled_is_noted_to_be_enabled() {
    let mut bench = Bench::with(on());
    bench.list(&[("a", 1), ("b", 1)]);
    bench.disassociate("t", &["a"]);
    bench.carry_out(&[]);
    bench.rules.local_access = false;
    bench.disassociate("u", &["b"]);
    assert_eq!(bench.step_of("b"), None);
    bench.wait(1_000_000);
    bench.list(&[("a", 2)]);
    assert_eq!(bench.step_of("a"), Some(AccessStep::Restoring));
}

#[test]
fn a_client_that_the_broker_does_not_know_is_counted_and_tried_by_itself() {
    let mut bench = Bench::with(on());
    bench.list(&[("a", 1), ("b", 1), ("c", 1)]);
    bench.disassociate("t", &["a", "b", "c"]);
    let unknown = AccessAnswer::Failed(AccessError::new("Client not found", true));
    for name in ["a", "c"] {
        bench.answer(name, AccessCommand::Read, unknown.clone());
    }
    bench.answer("b", AccessCommand::Read, AccessAnswer::Failed(AccessError::new("Internal error", false)));
    assert_eq!(bench.due(), []);
    let (failed, clients) = bench.run(|tx| due_access(tx, true, None, 2));
    assert_eq!(failed.iter().map(|due| due.thing.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(clients, Some(UnknownClients { first: thing("a"), count: 2 }));
    let after = thing("b");
    let (rest, _) = bench.run(|tx| due_access(tx, true, Some(&after), 2));
    assert_eq!(rest.len(), 1);
    assert_eq!(bench.local_access("a"), Some("FAILED"));
    assert_eq!(bench.events("a").last(), Some(&"LOCAL_ACCESS_FAILED"));
    let events = bench.events("a").len();
    bench.answer("a", AccessCommand::Read, unknown);
    assert_eq!(bench.events("a").len(), events, "reported once");
    bench.answer("a", AccessCommand::Read, AccessAnswer::Enabled);
    assert_eq!(bench.due(), [("a".into(), AccessCommand::Disable)]);
    assert_eq!(bench.summary().access, AccessLoad { pending: 1, failed: 2, unknown: 1, ..AccessLoad::default() });
}

/// Many of them are logged again in a checkpoint of several steps.
#[test]
fn a_thousand_clients_survive_a_checkpoint() {
    let mut bench = Bench::with(on());
    let names: Vec<String> = (0..1200).map(|n| format!("{n:0>60}")).collect();
    let listed: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    bench.trusting = true;
    bench.list(&listed);
    bench.list(&[]);
    bench.checkpoint();
    assert_eq!(bench.view().access().len(), 1200);
    assert!(bench.view().access().values().all(|access| *access == Access::at(AccessStep::Due)));
}
