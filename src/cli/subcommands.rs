//! The subcommands of the operations that change something, made from the table of operations.

use std::path::PathBuf;

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, Subcommand, error::ErrorKind, value_parser,
};
use serde_json::{Map, Value, json};

use super::{
    agent::Common,
    change::{Options, change, names},
    everywhere::{Everywhere, Listed},
    failure::Failure,
};
use crate::domain::{
    CallKind,
    operations::spec::{Argument, Carried, Member, Rule},
};

/// The option that names a list.
const FROM_FILE: &str = "from_file";

/// One of these subcommands with its arguments.
#[derive(Debug)]
pub(super) struct Change {
    kind: CallKind,
    /// The texts that the arguments of each member have.
    texts: Vec<(&'static Member, Vec<String>)>,
    from_file: Option<PathBuf>,
    options: Options,
    /// Of an operation that may be broadcast.
    everywhere: Option<Everywhere>,
    common: Common,
}

/// The call kinds whose operations have a subcommand of this form.
fn kinds() -> impl Iterator<Item = (CallKind, &'static Carried, clap::builder::Str)> {
    CallKind::ALL.into_iter().filter_map(|kind| {
        let carried = kind.carried();
        Some((kind, carried, carried.subcommand?.name.into()))
    })
}

/// The members of the payload that have arguments.
fn arguments(carried: &'static Carried) -> impl Iterator<Item = (&'static Member, Argument)> {
    carried.spec.members().filter_map(|member| Some((member, member.argument?)))
}

fn argument(member: &'static Member, argument: Argument) -> Arg {
    let arg = Arg::new(member.name).value_name(argument.value).help(argument.help).value_parser(value_parser!(String));
    match member.rule {
        Rule::Names(_) => arg.action(ArgAction::Append).num_args(1..).required_unless_present(FROM_FILE),
        _ => arg.long(argument.long).action(ArgAction::Set).required(member.required),
    }
}

fn command(carried: &'static Carried) -> Option<Command> {
    let subcommand = carried.subcommand?;
    let mut command =
        Command::new(subcommand.name).args(arguments(carried).map(|(member, given)| argument(member, given)));
    if let Some((_, names)) = carried.spec.list() {
        let file = Arg::new(FROM_FILE).long("from-file").value_name("FILE").help(names.from_file);
        command = command.arg(file.value_parser(value_parser!(PathBuf)));
    }
    if carried.spec.broadcast {
        command = Everywhere::augment_args(command);
    }
    // The texts come last, since the shared options have descriptions of their own.
    let command = Common::augment_args(Options::augment_args(command));
    let command = command.about(subcommand.about).long_about(None);
    Some(match subcommand.examples {
        Some(examples) => command.long_about(format!("{}\n\n{examples}", subcommand.about)),
        None => command,
    })
}

impl Subcommand for Change {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommands(kinds().filter_map(|(_, carried, _)| self::command(carried)))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        kinds().any(|(_, _, known)| known == name)
    }
}

impl FromArgMatches for Change {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        let (name, mut matches) =
            matches.remove_subcommand().ok_or_else(|| Error::new(ErrorKind::MissingSubcommand))?;
        let (kind, carried, _) = kinds()
            .find(|(_, _, known)| *known == name.as_str())
            .ok_or_else(|| Error::new(ErrorKind::InvalidSubcommand))?;
        let mut texts = |member: &'static Member| matches.remove_many(member.name).into_iter().flatten().collect();
        let texts = arguments(carried).map(|(member, _)| (member, texts(member))).collect();
        let from_file = carried.spec.list().and_then(|_| matches.remove_one(FROM_FILE));
        let options = Options::from_arg_matches_mut(&mut matches)?;
        let is_broadcast = carried.spec.broadcast;
        let everywhere = is_broadcast.then(|| Everywhere::from_arg_matches_mut(&mut matches)).transpose()?;
        let common = Common::from_arg_matches_mut(&mut matches)?;
        Ok(Self { kind, texts, from_file, options, everywhere, common })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Change {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { kind, texts, from_file, options, everywhere, common } = self;
        let everywhere = everywhere.filter(|everywhere| everywhere.everywhere);
        let (mut payload, mut list) = (Map::new(), None);
        for (member, texts) in texts {
            let value = match member.rule {
                Rule::Names(form) => {
                    list = Some(member.name);
                    let names = names(texts, from_file.as_deref(), form)?;
                    if let Some(everywhere) = everywhere {
                        let element = form.member.map(|(member, _)| member);
                        let listed = Listed { member: member.name, element, names };
                        return everywhere.run(&common, kind.operation(), listed, &options).await;
                    }
                    let element = |name: String| match form.member {
                        Some((member, _)) => json!({member: name}),
                        None => Value::String(name),
                    };
                    names.into_iter().map(element).collect()
                }
                _ => texts.into_iter().next().map_or(Value::Null, Value::String),
            };
            payload.insert(member.name.to_owned(), value);
        }
        change(&common, kind, Value::Object(payload), list, &options).await
    }
}
