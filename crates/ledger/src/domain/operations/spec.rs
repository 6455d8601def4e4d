//! The form of what a family says about its operations.

use super::{call::Traits, target::Target, text_kind::TextKind};
use crate::domain::{Cancel, InvalidName, Query};

/// What all operations have.
#[derive(Debug)]
pub struct Spec {
    /// The name in topics and messages.
    pub name: &'static str,
    /// A short name for the columns of a screen, at most 12 characters.
    pub short: &'static str,
    /// What the operation does, for the schemas.
    pub about: &'static str,
    /// Whether it may be broadcast: it names devices, so that a core device that has none of them
    /// stays silent.
    pub broadcast: bool,
    /// The members of its payload beside `clientToken`, in the order in which their faults are
    /// reported; in groups, since operations share members.
    pub members: &'static [&'static [Member]],
    /// The members of the message `accepted` beside `clientToken` and `operation`, in each form
    /// that it may have; `?` where one may be missing.
    pub accepted: &'static [&'static [&'static str]],
    /// Its cell in the table of the README.
    pub readme: &'static str,
}

impl Spec {
    /// All members of the payload beside `clientToken`.
    pub fn members(&'static self) -> impl Iterator<Item = &'static Member> {
        self.members.iter().copied().flatten()
    }

    /// The member that lists names, if the operation has one.
    #[must_use]
    pub fn list(&'static self) -> Option<(&'static Member, &'static Names)> {
        self.members().find_map(|member| match member.rule {
            Rule::Names(names) => Some((member, names)),
            _ => None,
        })
    }
}

/// An operation that changes something: it becomes a request, whose entries calls carry.
#[derive(Debug)]
pub struct Carried {
    /// What all operations have.
    pub spec: Spec,
    /// Its calls.
    pub call: Traits,
    /// How its targets are made of the payload.
    pub targets: Targets,
    /// Its subcommand; `None` if the command line has one of its own form.
    pub subcommand: Option<Subcommand>,
}

/// An operation that the agent answers at once.
#[derive(Debug)]
pub struct Answered {
    /// What all operations have.
    pub spec: Spec,
    /// How it is read.
    pub read: Read,
}

/// Reads the members of a payload that is valid. `None` only for a payload that is not.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// It withdraws entries.
    Cancel(fn(&Given) -> Option<Cancel>),
    /// It asks the ledger.
    Query(fn(&Given) -> Option<Query>),
}

/// How the targets of a command are made of its payload.
#[derive(Clone, Copy, Debug)]
pub enum Targets {
    /// The registry.
    Registry,
    /// One target.
    One(fn(&Given) -> Option<Target>),
    /// One for each name of the list ([`Spec::list`]), which follows the members that they share.
    Each(fn(&Given) -> Option<MakeTarget>),
}

/// Makes the target that a name in a list stands for.
pub type MakeTarget = Box<dyn Fn(&str) -> Result<Target, InvalidName>>;

/// A member of a payload.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub rule: Rule,
    /// Whether it has to be there.
    pub required: bool,
    /// What it is for, for the schemas.
    pub about: &'static str,
    /// A remark on it in the documents, in parentheses.
    pub note: Option<&'static str>,
    /// An example, as JSON text.
    pub example: &'static str,
    /// Its argument on the command line, if it has one.
    pub argument: Option<Argument>,
}

impl Member {
    /// A member that has to be there.
    #[must_use]
    pub const fn required(name: &'static str, rule: Rule, about: &'static str, example: &'static str) -> Self {
        Self { required: true, ..Self::optional(name, rule, about, example) }
    }

    /// A member that may be missing.
    #[must_use]
    pub const fn optional(name: &'static str, rule: Rule, about: &'static str, example: &'static str) -> Self {
        Self { name, rule, required: false, about, note: None, example, argument: None }
    }

    /// The same with a remark.
    #[must_use]
    pub const fn note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    /// The same with an argument: `--long VALUE`, or the list of names after the options where
    /// `long` is empty.
    #[must_use]
    pub const fn argument(self, long: &'static str, value: &'static str, help: &'static str) -> Self {
        Self { argument: Some(Argument { long, value, help }), ..self }
    }
}

/// An argument of the command line.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// The name of the option; empty for names that are not options.
    pub long: &'static str,
    /// What stands for its value in the help.
    pub value: &'static str,
    /// The help, without a full stop.
    pub help: &'static str,
}

/// What the value of a member may be.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// A text of this kind.
    Text(&'static TextKind),
    /// The thing name of this core device.
    Core,
    /// A text of so many characters at most.
    Short(usize),
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds.
    Whole(u64, u64),
    /// A list of at least one name.
    Names(&'static Names),
}

/// A list of names in a payload, and its form in a file for the command line.
#[derive(Debug)]
pub struct Names {
    /// What each name has to be.
    pub kind: &'static TextKind,
    /// Where the elements are objects: the member that has the name, and what it is.
    pub member: Option<(&'static str, &'static str)>,
    /// What an element is, for a message that it is missing.
    pub what: &'static str,
    /// The header of the CSV column, and the member of an object in a JSON list.
    pub column: &'static str,
    /// The members of a JSON object that hold the list, as the AWS CLI prints and accepts it.
    pub lists: &'static [&'static str],
    /// The first word of each row in the AWS CLI's text output; the last word of the row is the
    /// name.
    pub row: Option<&'static str>,
    /// The help of `--from-file`.
    pub from_file: &'static str,
}

/// A subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Subcommand {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// What follows that line in its help.
    pub examples: Option<&'static str>,
    /// What it does, in the table of the interface.
    pub row: &'static str,
}

/// The members that a payload has, each checked by its rule.
#[derive(Debug, Default)]
pub struct Given(Vec<(&'static str, Value)>);

/// The value of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Whole(u64),
}

impl Given {
    /// Adds the value of a member.
    pub fn insert(&mut self, member: &'static Member, value: Value) {
        self.0.push((member.name, value));
    }

    fn value(&self, member: &Member) -> Option<&Value> {
        self.0.iter().find(|(name, _)| *name == member.name).map(|(_, value)| value)
    }

    /// The text of a member.
    #[must_use]
    pub fn text(&self, member: &Member) -> Option<&str> {
        match self.value(member) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A text as the value that it stands for.
    pub fn parsed<T, E>(&self, member: &Member, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        parse(self.text(member)?).ok()
    }

    /// Whether a flag is given and true.
    #[must_use]
    pub fn flag(&self, member: &Member) -> bool {
        matches!(self.value(member), Some(Value::Flag(true)))
    }

    /// A number.
    #[must_use]
    pub fn whole(&self, member: &Member) -> Option<u64> {
        match self.value(member) {
            Some(Value::Whole(number)) => Some(*number),
            _ => None,
        }
    }
}
