//! The tables of the documents, the policies and the fuzzer's dictionary, as far as they follow
//! from the table of operations and from the keys of the configuration.

use std::{collections::BTreeSet, fmt::Write, fs, path::PathBuf};

use crate::{
    config::keys::table::{self, Group},
    domain::{
        CallKind, Operation,
        operations::{
            changes::CLIENT_TOKEN,
            spec::{Member, Rule},
        },
    },
};

/// Writes the files, in place of comparing them.
const WRITE: &str = "OFFBOARD_WRITE_DOCS";

/// Makes the new text of a file of its present one.
type Make = fn(&str) -> String;

/// Every file with the rule for it.
const FILES: &[(&str, Make)] = &[
    ("docs/interface.md", interface),
    ("README.md", readme),
    ("docs/greengrass.md", greengrass),
    (POLICY, |_| policy()),
    ("fuzz/payloads.dict", dictionary),
];

const POLICY: &str = "docs/examples/sitewise-role-policy.json";

#[test]
fn what_the_documents_say_of_operations_and_keys_is_current() {
    let write = std::env::var_os(WRITE).is_some();
    for (name, make) in FILES {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
        let text = fs::read_to_string(&path).unwrap();
        let made = make(&text);
        if write {
            fs::write(&path, &made).unwrap();
        }
        assert!(write || made == text, "{name} is not current: {WRITE}=1 cargo test --lib documents");
    }
}

/// The tables of keys, of operations, of problem codes and of subcommands.
fn interface(page: &str) -> String {
    let operations = Operation::ALL.iter().map(|operation| {
        let action = operation.call_kind().map_or("none", |kind| kind.traits().action);
        format!("| `{operation}` | {} | {action} |", members(*operation))
    });
    let groups = table::groups();
    let page = replaced(page, "### Keys", |_| true, groups.iter().flat_map(Group::rows));
    let page = replaced(&page, "### Operations", |row| Operation::parse(first_code(row)).is_some(), operations);
    let page = with_codes(&page, "ACCESS_DENIED", CallKind::ALL.into_iter());
    let page = with_codes(&page, "RESOURCE_BUSY", CallKind::ALL.into_iter().filter(|kind| kind.traits().scoped));
    let is_change = |row: &str| {
        let name = first_code(row).split(' ').next();
        subcommands().any(|(known, _)| Some(known.as_str()) == name)
    };
    replaced(&page, "### Subcommands", is_change, subcommands().map(|(_, row)| row))
}

/// The members of an operation: what is required, and what is optional.
fn members(operation: Operation) -> String {
    let shown = |member: &Member| {
        let form = match member.rule {
            Rule::Names(names) => match names.member {
                Some((name, _)) => format!("`{}: [{{\"{name}\"}}]`", member.name),
                None => format!("`{}: []`", member.name),
            },
            _ => format!("`{}`", member.name),
        };
        member.note.map_or(form.clone(), |note| format!("{form} ({note})"))
    };
    let of = |required: bool| {
        let all = operation.spec().members().filter(|member| member.required == required);
        all.map(shown).collect::<Vec<_>>().join(", ")
    };
    let (required, optional) = (of(true), of(false));
    match (required.as_str(), optional.as_str()) {
        (required, "") => required.to_owned(),
        ("", optional) => format!("optional {optional}"),
        (required, optional) => format!("{required}; optional {optional}"),
    }
}

/// The subcommands that are made of the table, each with its row.
fn subcommands() -> impl Iterator<Item = (String, String)> {
    CallKind::ALL.into_iter().filter_map(|kind| {
        let spec = &kind.carried().spec;
        let subcommand = kind.carried().subcommand?;
        let mut usage = subcommand.name.to_owned();
        for (member, argument) in spec.members().filter_map(|member| Some((member, member.argument?))) {
            let _ = match member.rule {
                Rule::Names(_) => write!(usage, " {}… [--from-file FILE]", argument.value),
                _ => write!(usage, " --{} {}", argument.long, argument.value),
            };
        }
        Some((subcommand.name.to_owned(), format!("| `{usage}` | {} |", subcommand.row)))
    })
}

/// The first word of a row that is set as code.
fn first_code(row: &str) -> &str {
    row.split('`').nth(1).unwrap_or_default()
}

/// The page with `rows` in place of those rows below `heading` to which `is_made` applies.
fn replaced(page: &str, heading: &str, is_made: impl Fn(&str) -> bool, rows: impl Iterator<Item = String>) -> String {
    let mut rows = Some(rows);
    let (mut is_below, mut made) = (false, String::new());
    for line in page.lines() {
        is_below = line == heading || is_below && !line.starts_with('#');
        if is_below && line.starts_with("| `") && is_made(line) {
            for row in rows.take().into_iter().flatten() {
                made.push_str(&row);
                made.push('\n');
            }
            continue;
        }
        made.push_str(line);
        made.push('\n');
    }
    assert!(rows.is_none(), "no row below {heading}");
    made
}

/// The page with the codes of these kinds in the row of the problem `code`.
fn with_codes(page: &str, code: &str, kinds: impl Iterator<Item = CallKind>) -> String {
    let codes: Vec<String> = kinds.map(|kind| format!("`{code}{}`", kind.traits().suffix)).collect();
    let is_row =
        |row: &str| first_code(row).strip_prefix(code).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    let row = page.lines().find(|line| line.starts_with("| `") && is_row(line)).unwrap();
    let (_, meaning) = row[2..].split_once(" | ").unwrap();
    page.replace(row, &format!("| {} | {meaning}", codes.join(" ")))
}

fn readme(page: &str) -> String {
    let rows = Operation::ALL.iter().map(|operation| format!("| `{operation}` | {} |", operation.spec().readme));
    let heading = page.lines().filter(|line| line.starts_with('#')).take_while(|line| {
        let from = page.find(&format!("\n{line}\n")).unwrap_or_default();
        from < page.find("| operation | payload").unwrap()
    });
    let heading = heading.last().unwrap();
    let page = replaced(page, heading, |row| Operation::parse(first_code(row)).is_some(), rows);
    replaced(&page, "## Configuration", |_| true, table::groups().iter().map(Group::overview))
}

/// The policy for the operations that have a switch.
fn policy() -> String {
    let statements: Vec<String> = CallKind::ALL
        .into_iter()
        .filter_map(|kind| {
            let traits = kind.traits();
            let resource = traits.resource?;
            let mut statement = format!(
                "    {{\n      \"Sid\": \"{}\",\n      \"Effect\": \"Allow\",\n      \"Action\": \"{}\",\n      \"Resource\": \
                 \"arn:aws:iotsitewise:eu-central-1:123456789012:{}\"",
                resource.sid, traits.action, resource.resource
            );
            if resource.tagged {
                statement.push_str(
                    ",\n      \"Condition\": { \"StringEquals\": { \"aws:ResourceTag/offboard\": \"allowed\" } }",
                );
            }
            Some(format!("{statement}\n    }}"))
        })
        .collect();
    format!("{{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n{}\n  ]\n}}\n", statements.join(",\n"))
}

/// The page with the policy in the block that shows it.
fn greengrass(page: &str) -> String {
    let (before, rest) = page.split_once(&format!("`{POLICY}`:\n\n```json\n")).unwrap();
    let (_, after) = rest.split_once("```\n").unwrap();
    format!("{before}`{POLICY}`:\n\n```json\n{}```\n{after}", policy())
}

/// The names of operations and members come first, then what is not made.
fn dictionary(text: &str) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut made: Vec<String> = Operation::ALL.iter().map(|operation| quoted(operation.as_str())).collect();
    let members = Operation::ALL.iter().flat_map(|operation| operation.spec().members());
    let members: BTreeSet<(&str, &str)> =
        members.chain([&CLIENT_TOKEN]).map(|member| (member.name, member.example)).collect();
    made.extend(members.iter().map(|(name, example)| quoted(&format!("\"{name}\":{example}"))));
    let is_made = |line: &&str| line.starts_with("\"\\\"") || Operation::parse(line.trim_matches('"')).is_some();
    made.extend(text.lines().filter(|line| !is_made(line)).map(str::to_owned));
    made.join("\n") + "\n"
}
