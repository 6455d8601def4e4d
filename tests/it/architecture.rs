//! The layout of the agent's sources, which are those of `src` and of its ledger's crate: which
//! module may use which, and that no import leads back to where it came from.
//!
//! The sources are read as text: `use` declarations and the paths that begin with `crate`, `self`,
//! `super` or an imported name. What is compiled for tests only does not count, and a re-export
//! (`pub use`) is followed to the file that has the item.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Each part of the tree with what it may use, from the bottom up: a part may use earlier ones
/// only. The longest prefix of a file's path counts.
const MAY_USE: &[(&str, &[&str])] = &[
    ("lib", &[]),
    ("domain", &[]),
    ("runtime", &["domain"]),
    ("protocol", &["domain"]),
    ("config", &["domain", "protocol"]),
    ("health", &["domain", "runtime"]),
    ("mqtt", &["config", "runtime"]),
    ("ledger", &["domain", "runtime"]),
    ("local", &["lib", "domain", "runtime", "protocol", "config", "health", "mqtt", "ledger"]),
    ("cloud", &["domain", "runtime", "config", "health", "ledger"]),
    ("cloud/planner", &["domain"]),
    ("agent", &["lib", "domain", "runtime", "protocol", "config", "health", "mqtt", "ledger", "local", "cloud"]),
    ("cli", &["lib", "domain", "runtime", "protocol", "config", "mqtt"]),
    ("cli/run", &["lib", "domain", "runtime", "config", "agent"]),
    // They look at the data directory where no agent runs.
    ("cli/data_directory", &["ledger"]),
    // It copies the store.
    ("cli/recording", &["ledger"]),
    ("cli/check", &["domain", "runtime", "protocol", "config", "mqtt", "ledger", "agent"]),
];

/// Modules that still have import cycles within them.
const WITH_CYCLES: &[&str] = &[];

#[test]
fn each_module_uses_only_what_is_below_it() {
    let faults = forbidden(&Tree::read());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_import_leads_back_to_its_file() {
    let faults = cycles(&Tree::read());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_rules_themselves_have_a_direction() {
    for (n, (part, used)) in MAY_USE.iter().enumerate() {
        for other in *used {
            let below = MAY_USE[..n].iter().any(|(earlier, _)| earlier == other);
            assert!(below, "{part} may use {other}, which is not below it");
        }
    }
    let without = |part: &str, other: &str| {
        let rules = MAY_USE.iter().filter(|(prefix, _)| top(prefix) == part);
        rules.flat_map(|(_, used)| used.iter()).all(|used| *used != other)
    };
    assert!(without("local", "cloud") && without("cloud", "local"), "local and cloud never use each other");
}

#[test]
fn a_seeded_fault_is_found() {
    let mut tree = Tree::read();
    assert!(tree.files.len() > 100, "{} files are read", tree.files.len());
    tree.files.insert("local/seeded".into(), "use crate::{domain::Mono, cloud::{Aws as Theirs}};".into());
    tree.files.insert("domain/seeded".into(), "fn now() -> crate::runtime::clock::Clock { todo!() }".into());
    let faults = forbidden(&tree);
    assert_eq!(
        faults,
        ["domain/seeded uses runtime/clock, and may not", "local/seeded uses cloud/aws/mod, and may not"]
    );

    let mut tree = Tree::read();
    tree.files.insert("protocol/seeded".into(), "use offboard_ledger::ledger::Ledger;".into());
    assert_eq!(forbidden(&tree), ["protocol/seeded uses ledger/handle, and may not"]);

    let mut tree = Tree::read();
    let clock = tree.files.get_mut("runtime/clock").unwrap();
    clock.push_str("mod seeded { use super::super::first::A; }");
    tree.files
        .insert("runtime/first".into(), "pub use super::second::B; use super::second;\nfn a() { second::b() }".into());
    tree.files.insert("runtime/second".into(), "fn b(_: super::clock::Clock) {}".into());
    assert_eq!(cycles(&tree), ["runtime/clock -> runtime/first -> runtime/second -> runtime/clock"]);

    let mut tree = Tree::read();
    tree.files.insert("runtime/first".into(), "#[cfg(test)]\nmod tests { use crate::cli::Arguments; }\n".into());
    tree.files.insert("runtime/second".into(), "// use crate::cli;\nconst A: &str = \"crate::cli::x\";".into());
    assert!(forbidden(&tree).is_empty() && cycles(&tree).is_empty(), "tests, comments and texts do not count");
}

/// The uses that [`MAY_USE`] does not have.
fn forbidden(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, used) in tree.uses() {
        let rule = MAY_USE.iter().filter(|(prefix, _)| is_in(&file, prefix)).max_by_key(|(prefix, _)| prefix.len());
        let Some((_, may)) = rule else {
            faults.push(format!("{file} belongs to no part of the tree"));
            continue;
        };
        for other in used {
            if top(&other) != top(&file) && !may.iter().any(|part| is_in(&other, part)) {
                faults.push(format!("{file} uses {other}, and may not"));
            }
        }
    }
    faults
}

/// One import cycle for each group of files that has any.
fn cycles(tree: &Tree) -> Vec<String> {
    let uses = tree.uses();
    let mut done = BTreeSet::new();
    let mut faults = Vec::new();
    for file in uses.keys() {
        if let Some(cycle) = way_back(&uses, file)
            && !cycle.iter().any(|file| done.contains(file))
        {
            done.extend(cycle.iter().cloned());
            if !cycle.iter().all(|file| WITH_CYCLES.contains(&top(file))) {
                faults.push(cycle.join(" -> "));
            }
        }
    }
    faults
}

/// The shortest way from a file by its uses to itself.
fn way_back(uses: &BTreeMap<String, BTreeSet<String>>, file: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![file.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in &uses[way.last().unwrap()] {
                let way = [way.as_slice(), std::slice::from_ref(next)].concat();
                if next == file {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

fn is_in(file: &str, part: &str) -> bool {
    file.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn top(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

/// The sources, by path in their crate's `src` without `.rs`: `local/inbox`, `local/socket/mod`.
struct Tree {
    files: BTreeMap<String, String>,
}

/// What a file says of others.
#[derive(Default)]
struct Named {
    /// Full paths of what it imports or names.
    paths: BTreeSet<Vec<String>>,
    /// What it re-exports: the name here, and the full path there.
    exports: BTreeMap<String, Vec<String>>,
    /// Modules that are compiled for tests only.
    of_tests: BTreeSet<Vec<String>>,
}

impl Tree {
    fn read() -> Self {
        let mut files = BTreeMap::new();
        // `src/lib.rs` comes last, and takes the place of the other crate's.
        for root in ["crates/ledger/src", "src"] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
            let mut dirs = vec![root.clone()];
            while let Some(dir) = dirs.pop() {
                for entry in fs::read_dir(dir).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        dirs.push(path);
                    } else if path.extension().is_some_and(|extension| extension == "rs") {
                        let name = path.strip_prefix(&root).unwrap().with_extension("");
                        let text = fs::read_to_string(path).unwrap();
                        let features = text.split("cfg(any(test, feature = ").skip(1);
                        assert!(features.clone().all(|rest| rest.starts_with("\"testing\"")), "{name:?}");
                        files.insert(name.to_str().unwrap().to_owned(), text);
                    }
                }
            }
        }
        // The binary is a crate of its own.
        files.remove("main");
        Self { files }
    }

    /// Which files each file uses.
    fn uses(&self) -> BTreeMap<String, BTreeSet<String>> {
        let module = |file: &str| -> Vec<String> {
            let names = file.split('/').filter(|name| *name != "mod" && *name != "lib");
            names.map(str::to_owned).collect()
        };
        let modules: BTreeMap<Vec<String>, &str> =
            self.files.keys().map(|file| (module(file), file.as_str())).collect();
        let named: BTreeMap<Vec<String>, Named> =
            self.files.iter().map(|(file, text)| (module(file), read(text, &module(file)))).collect();
        let of_tests: BTreeSet<&Vec<String>> = named.values().flat_map(|named| &named.of_tests).collect();
        let is_of_tests = |module: &[String]| (1..=module.len()).any(|n| of_tests.contains(&module[..n].to_vec()));
        let mut uses = BTreeMap::new();
        for (module, file) in &modules {
            if is_of_tests(module) {
                continue;
            }
            let found = named[module]
                .paths
                .iter()
                .filter_map(|path| place(path, &named, 0))
                .filter(|place| !is_of_tests(place));
            let found = found.map(|place| modules[&place].to_owned());
            uses.insert((*file).to_owned(), found.filter(|other| other != file).collect());
        }
        uses
    }
}

/// The module that has what `path` names.
fn place(path: &[String], named: &BTreeMap<Vec<String>, Named>, depth: usize) -> Option<Vec<String>> {
    assert!(depth < 20, "re-exports go in a circle: {path:?}");
    let length = (0..=path.len()).rev().find(|length| named.contains_key(&path[..*length]))?;
    let (module, rest) = path.split_at(length);
    match rest.first().and_then(|name| named[module].exports.get(name)) {
        Some(there) => place(&[there.as_slice(), &rest[1..]].concat(), named, depth + 1),
        None => Some(module.to_vec()),
    }
}

/// What the file of a module says of others.
fn read(text: &str, module: &[String]) -> Named {
    let tokens = without_tests(&tokens(text), module);
    let mut named = Named { of_tests: tokens.1, ..Named::default() };
    let tokens = tokens.0;
    // A module's own children have their names in it without an import.
    let children = tokens.windows(3).filter(|window| window[0] == "mod" && window[2] == ";");
    let mut imported: BTreeMap<String, Vec<String>> =
        children.map(|window| (window[1].clone(), [module, &window[1..2]].concat())).collect();
    // Modules within the file, each with the braces that were open when it began.
    let mut inner: Vec<(String, usize)> = Vec::new();
    let mut braces = 0;
    let mut at = 0;
    while at < tokens.len() {
        let here = || [module, &inner.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()].concat();
        match tokens[at].as_str() {
            "{" => braces += 1,
            "}" => {
                braces -= 1;
                inner.pop_if(|(_, open)| *open == braces);
            }
            "mod" if tokens.get(at + 2).is_some_and(|token| token == "{") => {
                inner.push((tokens[at + 1].clone(), braces))
            }
            "use" => {
                let end = at + tokens[at..].iter().position(|token| token == ";").unwrap();
                let is_export = at > 0 && tokens[at - 1] == "pub";
                for (path, name) in expand(&tokens[at + 1..end]) {
                    let Some(path) = full(&path, &here(), &imported) else { continue };
                    if is_export && inner.is_empty() {
                        named.exports.insert(name, path);
                    } else {
                        imported.insert(name, path.clone());
                        named.paths.insert(path);
                    }
                }
                at = end;
            }
            word if is_word(word) && (at == 0 || tokens[at - 1] != "::" && tokens[at - 1] != ".") => {
                let mut path = vec![word.to_owned()];
                while tokens.get(at + 1).is_some_and(|token| token == "::")
                    && tokens.get(at + 2).is_some_and(|token| is_word(token))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                if path.len() > 1
                    && let Some(path) = full(&path, &here(), &imported)
                {
                    named.paths.insert(path);
                }
            }
            _ => {}
        }
        at += 1;
    }
    named
}

/// A path from the crate's root; nothing if it is not of this crate.
fn full(path: &[String], module: &[String], imported: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" | "offboard_ledger" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let above = rest.iter().take_while(|name| *name == "super").count();
            let length = module.len().checked_sub(above + 1)?;
            Some([&module[..length], &rest[above..]].concat())
        }
        name => imported.get(name).map(|path| [path.as_slice(), rest].concat()),
    }
}

/// The paths of a tree of imports, each with the name that it gets.
fn expand(tree: &[String]) -> Vec<(Vec<String>, String)> {
    let Some(open) = tree.iter().position(|token| token == "{") else {
        let mut words: Vec<String> = tree.iter().filter(|token| *token != "::").cloned().collect();
        let mut name = words.last().cloned().unwrap_or_default();
        if words.len() > 2 && words[words.len() - 2] == "as" {
            words.truncate(words.len() - 2);
        }
        if words.last().is_some_and(|word| word == "self") && words.len() > 1 {
            words.pop();
            name = words.last().cloned().unwrap_or_default();
        }
        words.retain(|word| word != "*");
        return vec![(words, name)];
    };
    let before: Vec<String> = tree[..open].iter().filter(|token| *token != "::").cloned().collect();
    let mut paths = Vec::new();
    let mut depth = 0;
    for part in tree[open + 1..tree.len() - 1].split(|token| {
        depth += i32::from(token == "{") - i32::from(token == "}");
        token == "," && depth == 0
    }) {
        if part.is_empty() {
            continue;
        }
        let whole: Vec<String> =
            before.iter().flat_map(|word| [word.clone(), "::".into()]).chain(part.iter().cloned()).collect();
        paths.extend(expand(&whole));
    }
    paths
}

const VISIBILITY: [&str; 4] = ["crate", "super", "self", "in"];

/// Attributes of what is compiled for tests only, without their texts.
const OF_TESTS: [&str; 4] =
    ["#[cfg(test)]", "#[cfg(any(test,feature=))]", "#[cfg(fuzzing)]", "#[cfg(all(fuzzing,feature=))]"];

/// Leaves out what is marked as [`OF_TESTS`], and all other attributes; names the modules that are.
fn without_tests(tokens: &[String], module: &[String]) -> (Vec<String>, BTreeSet<Vec<String>>) {
    let (mut kept, mut of_tests) = (Vec::new(), BTreeSet::new());
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] != "#" {
            kept.push(tokens[at].clone());
            at += 1;
            // `pub(in crate::cli)` names a module, and uses nothing of it.
            if kept[kept.len() - 1] == "pub" && tokens[at] == "(" && VISIBILITY.contains(&tokens[at + 1].as_str()) {
                at = closing(tokens, at) + 1;
            }
            continue;
        }
        let end = closing(tokens, at + 1 + usize::from(tokens[at + 1] == "!"));
        let attribute = tokens[at..=end].concat();
        at = end + 1;
        if !OF_TESTS.contains(&attribute.as_str()) {
            continue;
        }
        while tokens[at] == "#" {
            at = closing(tokens, at + 1) + 1;
        }
        let begin = at;
        const ITEMS: [&str; 10] = ["pub", "fn", "impl", "struct", "enum", "mod", "use", "const", "async", "type"];
        let is_item = ITEMS.contains(&tokens[at].as_str());
        loop {
            match tokens.get(at).map(String::as_str) {
                Some("{") => {
                    at = closing(tokens, at) + 1;
                    // The braces of a tree of imports are not the end.
                    if tokens.get(at).is_none_or(|token| token != ";") {
                        break;
                    }
                }
                Some("(" | "[") => at = closing(tokens, at) + 1,
                Some(";") => {
                    at += 1;
                    break;
                }
                Some(",") if !is_item => {
                    at += 1;
                    break;
                }
                None | Some("}" | ")" | "]") => break,
                Some(_) => at += 1,
            }
        }
        if let Some(name) =
            tokens[begin..at].iter().position(|token| token == "mod").map(|mark| &tokens[begin + mark + 1])
        {
            of_tests.insert([module, std::slice::from_ref(name)].concat());
        }
    }
    (kept, of_tests)
}

/// Where the bracket at `open` is closed.
fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("a bracket is not closed");
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single signs; neither comments nor the contents of texts.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if word > 0 {
            tokens.push(rest[..word].to_owned());
            word
        } else if rest.starts_with("::") {
            tokens.push("::".into());
            2
        } else {
            if !c.is_whitespace() {
                tokens.push(c.into());
            }
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a text or character that begins here.
fn literal(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c: char| !matches!(c, 'b' | 'r' | 'c'))?;
    if prefix > 2 {
        return None;
    }
    let after = &rest[prefix..];
    let hashes = if rest[..prefix].contains('r') { after.len() - after.trim_start_matches('#').len() } else { 0 };
    let body = &after[hashes..];
    if rest[..prefix].contains('r') && body.starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(prefix + hashes + 1 + body[1..].find(&end)? + end.len());
    }
    let quote = body.chars().next().filter(|c| matches!(c, '"' | '\'')).filter(|_| hashes == 0)?;
    let mut chars = body.char_indices().skip(1);
    let mut count = 0;
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(prefix + at + 1);
        }
        count += 1;
        if c == '\\' {
            chars.next();
        } else if quote == '\'' && !body[at + c.len_utf8()..].starts_with('\'') && count == 1 {
            // A lifetime.
            return None;
        }
    }
    None
}
