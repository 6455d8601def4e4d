//! Parses the payload of a command: JSON in, a [`Command`] or the wrong members out. An unknown
//! member is never ignored.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::payload;
use crate::{
    domain::{
        Change, ClientToken, Command, Effect, InvalidName, Operation, Reason, Rejection, Target, ThingName,
        operations::{
            changes::{CLIENT_TOKEN, Options},
            spec::{Given, MakeTarget, Member, Names, Read, Rule, Targets, Value},
            text_kind::TextKind,
        },
    },
    protocol::json::{Faults, Fields, MAX_FAULTS, Style, each},
};

/// Parses the payload of a command whose topic names `operation`, on the core device `core`. The
/// command may name `max_entries` distinct things.
///
/// The token is returned separately, since a rejection echoes it, too. In addition to the payload
/// this takes memory for the entries, about 120 bytes for each, and for nothing else.
///
/// # Errors
/// A `ValidationException` that names the members that are missing, unknown, wrong or duplicate, at
/// most 20.
pub fn parse_command(
    core: &ThingName,
    operation: &str,
    payload: &[u8],
    max_entries: u64,
) -> (Option<ClientToken>, Result<(Operation, Command), Rejection>) {
    let value = match payload::json(payload) {
        Ok(value) => value,
        Err(rejection) => return (payload::token_of(payload), Err(rejection)),
    };
    let mut faults = Faults::limited(MAX_FAULTS);
    let mut fields = Fields::of(value, Style::Message, &mut faults);
    let token = fields.parsed(CLIENT_TOKEN.name, ClientToken::new);
    let Some(operation) = Operation::parse(operation) else {
        let named = operation.chars().take(64).collect::<String>();
        let known: Vec<&str> = Operation::ALL.iter().map(|operation| operation.as_str()).collect();
        let message = format!("there is no operation {named:?}; there are {}", known.join(", "));
        return (token, Err(Rejection::invalid(Reason::UnknownOperation, message)));
    };
    let mut given = Given::default();
    let mut targets = Vec::new();
    for member in operation.spec().members() {
        match member.rule {
            Rule::Names(names) => targets = listed(operation, member, names, &given, max_entries, &mut fields),
            _ => {
                if let Some(value) = value_of(core, member, &mut fields) {
                    given.insert(member, value);
                }
            }
        }
    }
    fields.close();
    if !faults.is_empty() {
        return (token, Err(rejection(faults)));
    }
    let command = command(operation, targets, &given).ok_or_else(|| rejection(faults));
    (token, command.map(|command| (operation, command)))
}

/// The command of a payload without faults.
fn command(operation: Operation, listed: Vec<Target>, given: &Given) -> Option<Command> {
    let kind = match operation.effect() {
        Effect::Calls(kind) => kind,
        Effect::Answers(answered) => {
            return match answered.read {
                Read::Cancel(read) => read(given).map(Command::Cancel),
                Read::Query(read) => read(given).map(Command::Query),
            };
        }
    };
    let targets = match kind.carried().targets {
        Targets::Registry => vec![Target::Registry],
        Targets::One(target) => vec![target(given)?],
        Targets::Each(_) => listed,
    };
    let Options { force, dry_run, issued_at, expires_in, reason } = Options::of(given);
    Some(Command::Change(Change { operation, targets, force, dry_run, issued_at, expires_in, reason }))
}

/// Reads a member that is not a list, by its rule.
fn value_of(core: &ThingName, member: &'static Member, fields: &mut Fields<'_, '_>) -> Option<Value> {
    let text = |fields: &mut Fields<'_, '_>, check: &dyn Fn(&str) -> Result<(), String>| {
        let parse = |text: &str| check(text).map(|()| Value::Text(text.to_owned()));
        match member.required {
            true => fields.required(member.name, parse),
            false => fields.parsed(member.name, parse),
        }
    };
    match member.rule {
        Rule::Text(TextKind { check, .. }) => text(fields, check),
        Rule::Core => text(fields, &|named| match named == core.as_str() {
            true => Ok(()),
            false => Err(format!("must be this core device, {core}, or left away")),
        }),
        Rule::Short(max) => fields.short(member.name, max).map(Value::Text),
        Rule::Flag => fields.flag(member.name).map(Value::Flag),
        Rule::Whole(min, max) => fields.whole(member.name, min, max).map(Value::Whole),
        Rule::Names(_) => None,
    }
}

fn rejection(faults: Faults) -> Rejection {
    let (faults, count) = faults.into_parts();
    let mut rejection = Rejection::fields(faults);
    if count > MAX_FAULTS {
        rejection.message = format!("{count} members are not valid; the first {MAX_FAULTS} are named");
    }
    rejection
}

/// The distinct targets of the names in a list, at most one more than a command may name. `given`
/// has the members that the targets share.
fn listed(
    operation: Operation,
    member: &'static Member,
    names: &'static Names,
    given: &Given,
    max: u64,
    fields: &mut Fields<'_, '_>,
) -> Vec<Target> {
    let key = member.name;
    let make: Option<MakeTarget> = match operation.call_kind().map(|kind| kind.carried().targets) {
        Some(Targets::Each(make)) => make(given),
        _ => None,
    };
    // Without the members that the targets share, the names are checked all the same.
    let parse = |name: &str| match &make {
        Some(make) => make(name).map(Some).map_err(|error: InvalidName| error.to_string()),
        None => (names.kind.check)(name).map(|()| None),
    };
    let (mut seen, mut targets) = (HashSet::new(), Vec::new());
    if let Some(list) = fields.filled(key, names.what) {
        each(list, |n, item: &RawValue| {
            let target = match names.member {
                Some((name, _)) => {
                    let mut entry = fields.item(key, n, item);
                    let target = entry.required(name, parse);
                    entry.close();
                    target
                }
                None => fields.element(key, n, item, parse),
            };
            if let Some(Some(target)) = target
                && seen.len() as u64 <= max
                && seen.insert(target.clone())
            {
                targets.push(target);
            }
        });
    }
    // A command with more than the maximum can never be accepted.
    if targets.len() as u64 > max {
        fields.fault(key, format!("has more than limits.maxPendingEntries, {max}; split the command"));
    }
    targets
}

#[cfg(test)]
mod tests;
