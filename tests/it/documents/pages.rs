//! The pages: links, headings, tables, the width of lines, and the standard terms.

use super::*;

/// Every Markdown file of the repository, relative to docs/.
fn markdown() -> Vec<String> {
    let mut all: Vec<String> =
        ["benches", "fuzz", "tests", "tests/sandbox"].iter().map(|dir| format!("../{dir}/README.md")).collect();
    for dir in ["..", "."] {
        let names = fs::read_dir(path(dir)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        all.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{dir}/{name}")));
    }
    all.sort();
    all
}

/// The lines outside of fenced blocks, with their numbers.
fn prose(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    (1..).zip(document.lines()).filter(move |(_, line)| {
        let mark = line.trim_start().get(..3).filter(|mark| ["```", "~~~"].contains(mark));
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return true,
            _ => {}
        }
        false
    })
}

/// The anchors that GitHub makes of a document's headings.
fn anchors(document: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(document).filter(|(_, line)| line.starts_with('#')) {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        // A heading that occurs again gets a number.
        let repeated = (1..).map(|n| format!("{anchor}-{n}"));
        let free = std::iter::once(anchor.clone()).chain(repeated).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

/// What a document links to, with the lines; inline links, images and definitions of references.
fn links(document: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(document) {
        let inline = line.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        let definition = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        found.extend(inline.chain(definition).map(|link| (number, link.to_owned())));
    }
    found
}

#[test]
fn each_relative_link_leads_to_a_file_and_each_anchor_to_a_heading() {
    let mut count = 0;
    for page in markdown() {
        for (number, link) in links(&text(&page)) {
            if link.starts_with("http") {
                continue;
            }
            let (file, wanted) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path(&page) } else { path(&page).parent().unwrap().join(file) };
            assert!(target.exists(), "{page}, line {number}: there is no {link}");
            if !wanted.is_empty() {
                let headings = anchors(&fs::read_to_string(&target).unwrap());
                assert!(headings.contains(wanted), "{page}, line {number}: {link} is not among {headings:?}");
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn the_table_of_contents_has_every_page() {
    let listed: BTreeSet<String> = links(&text("SUMMARY.md")).into_iter().map(|(_, link)| link).collect();
    for page in markdown() {
        let link = page.strip_prefix("./").unwrap_or(&page);
        assert!(listed.contains(link) || link == "SUMMARY.md", "docs/SUMMARY.md lacks {link}");
    }
}

/// The rows of the table below a heading of the interface page, cell by cell.
fn table_below(heading: &str) -> Vec<Vec<String>> {
    let page = text("interface.md");
    let section = page.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.skip(2).map(cells).collect()
}

/// The words of a cell that are set as code.
fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Every value below `value` that is no object, with its path.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(member, &path, found);
            }
        }
        leaf => found.push((path.to_owned(), leaf.clone())),
    }
}

#[test]
fn the_interface_has_every_key_with_its_default() {
    let recipe = fs::read_to_string(path("../recipe.yaml")).unwrap();
    let recipe: Value = serde_saphyr::from_str(&recipe).unwrap();
    let mut keys = Vec::new();
    leaves(&recipe["ComponentConfiguration"]["DefaultConfiguration"]["agent"], "", &mut keys);
    let rows = table_below("### Keys");
    let shown: BTreeSet<&str> = rows.iter().flat_map(|row| codes(&row[0])).collect();
    assert_eq!(shown, keys.iter().map(|(key, _)| key.as_str()).collect());
    for (key, default) in &keys {
        let row = rows.iter().find(|row| codes(&row[0]).contains(&key.as_str())).unwrap();
        let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        assert!(row[1].contains(&default), "{key}: {default} is not in {:?}", row[1]);
    }
}

#[test]
fn the_interface_has_every_operation_with_its_members() {
    let channels: Value = serde_json::from_str(&text("asyncapi.json")).unwrap();
    let addresses = channels["channels"].as_object().unwrap().values().map(|one| one["address"].as_str().unwrap());
    let operations: BTreeSet<&str> =
        addresses.filter_map(|one| Some(one.split_once("/commands/{client}/")?.1)).collect();
    let rows = table_below("### Operations");
    assert_eq!(rows.iter().flat_map(|row| codes(&row[0])).collect::<BTreeSet<_>>(), operations);
    for row in rows {
        let operation = codes(&row[0])[0];
        let schema: Value = serde_json::from_str(&text(&format!("schemas/{operation}.json"))).unwrap();
        let mut known: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        known.remove("clientToken");
        let shown: BTreeSet<&str> = codes(&row[1]).into_iter().map(|code| code.split(':').next().unwrap()).collect();
        assert_eq!(shown, known, "{operation}");
    }
}

#[test]
fn the_interface_has_every_word_of_the_messages() {
    /// The lists of words in a schema.
    fn words(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| words(item, found)),
            Value::Object(members) => {
                let list = members.get("enum").and_then(Value::as_array).into_iter().flatten();
                found.extend(list.filter_map(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| words(member, found));
            }
            _ => {}
        }
    }
    let page = text("interface.md");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(path("schemas")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // Metrics have a page of their own.
        if name != "metrics.json" {
            words(&serde_json::from_str(&text(&format!("schemas/{name}"))).unwrap(), &mut found);
        }
    }
    assert!(found.len() > 30, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Both runtimes give the deployed binary to the component's user.
#[test]
fn no_document_has_root_run_what_the_components_user_owns() {
    let documents = pages() + &text("../README.md");
    let mut runs = 0;
    for (_, block) in blocks(&documents, "sh") {
        for line in block.lines().filter(|line| line.contains("offboard-aarch64 ") && !line.contains("install ")) {
            assert!(line.starts_with("sudo -u gg"), "{line}");
            runs += 1;
        }
    }
    assert!(runs >= 3, "{runs}");
}

#[test]
fn the_pages_wrap_at_100_columns() {
    for page in markdown().into_iter().filter(|page| !page.contains("sandbox")) {
        let document = text(&page);
        for (number, line) in prose(&document) {
            // A link cannot be broken.
            let may = line.starts_with('|') || !line.trim().contains(' ') || line.chars().count() <= 100;
            assert!(may, "{page}, line {number}: {line}");
        }
    }
}

/// Words of the project's early dialect. docs/metrics.md quotes the agent's output.
#[test]
fn the_pages_use_the_standard_terms() {
    for page in markdown().into_iter().filter(|page| !page.contains("sandbox")) {
        let document = text(&page);
        for (number, line) in prose(&document) {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(str::to_lowercase);
            let found = words.find(|word| ["told", "aside", "doubt", "whoever"].contains(&word.as_str()));
            assert_eq!(found, None, "{page}, line {number}: {line}");
        }
    }
}
