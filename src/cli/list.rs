//! Lists of names (contract, "Lists of names"): bytes in, names or every faulty line out. No I/O.
//!
//! People make lists with editors, spreadsheets and the AWS CLI. Each form is recognised by its
//! first significant line, and a line that does not fit that form is a fault: a guess could
//! disassociate the wrong device.

use std::{borrow::Cow, collections::HashSet, fmt, ops::ControlFlow};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::domain::{InvalidName, MonitorId, ThingName};

/// Faults that are told; the rest is counted.
const TOLD: usize = 5;

/// Characters of a faulty value that are shown.
const SHOWN: usize = 80;

/// What the names of a list are.
pub(super) struct Kind {
    /// The column of a CSV file, and the member of an object in a JSON list.
    column: &'static str,
    /// Members of a JSON object that hold the list, as the AWS CLI prints and takes it.
    lists: &'static [&'static str],
    /// The word before each row of the AWS CLI's text output, which ends in the name.
    row: Option<&'static str>,
    check: fn(&str) -> Result<(), InvalidName>,
}

/// Client devices.
pub(super) const THINGS: Kind = Kind {
    column: "thingName",
    lists: &["associatedClientDevices", "entries"],
    row: Some("ASSOCIATEDCLIENTDEVICES"),
    check: |name| ThingName::new(name).map(|_| ()),
};

/// Assets in a project of SiteWise Monitor.
pub(super) const ASSETS: Kind =
    Kind { column: "assetId", lists: &["assetIds"], row: None, check: |name| MonitorId::new(name).map(|_| ()) };

impl Kind {
    /// Checks a name by itself.
    ///
    /// # Errors
    /// The value, and the rule that it breaks.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        (self.check)(name).map_err(|rule| format!("{} {rule}", quoted(name)))
    }
}

/// What is wrong with one line, or with all of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: Option<usize>,
    pub(super) text: String,
}

/// What is wrong with a list; at least one fault.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) first: Vec<Fault>,
    pub(super) count: usize,
}

impl Faults {
    fn add(&mut self, line: Option<usize>, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(Fault { line, text: text() });
        }
    }

    fn one(line: Option<usize>, text: impl Into<String>) -> Self {
        Self { first: vec![Fault { line, text: text.into() }], count: 1 }
    }

    /// The faults in lines of their own, each with the name of the list.
    pub(super) fn told(&self, list: &str) -> String {
        let mut lines: Vec<String> = self.first.iter().map(|fault| format!("{list}{fault}")).collect();
        if self.count > self.first.len() {
            lines.push(format!("{list}: {} more lines are wrong", self.count - self.first.len()));
        }
        lines.join("\n")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, ", line {line}: {}", self.text),
            None => write!(f, ": {}", self.text),
        }
    }
}

/// The names of a list, each once, in their order.
///
/// # Errors
/// What is wrong, by line; no name at all.
pub(super) fn names(bytes: &[u8], kind: &Kind) -> Result<Vec<String>, Faults> {
    let text = decoded(bytes)?;
    let mut found = Found { kind, names: Vec::new(), seen: HashSet::new(), faults: Faults::default() };
    if text.trim_start().starts_with(['{', '[']) {
        json(&text, &mut found)?;
    } else if let Some(table) = Table::of(&text, kind)? {
        table.read(&mut found)?;
    } else {
        plain(&text, &mut found);
    }
    let Found { names, faults, .. } = found;
    if faults.count > 0 {
        return Err(faults);
    }
    if names.is_empty() {
        return Err(Faults::one(None, "there are no names in it"));
    }
    Ok(names)
}

/// What was found so far.
struct Found<'k> {
    kind: &'k Kind,
    names: Vec<String>,
    seen: HashSet<String>,
    faults: Faults,
}

impl Found<'_> {
    fn name(&mut self, line: impl FnOnce() -> usize, name: &str) {
        match self.kind.check(name) {
            Ok(()) => {
                if self.seen.insert(name.to_owned()) {
                    self.names.push(name.to_owned());
                }
            }
            Err(text) => self.fault(line, || text),
        }
    }

    fn fault(&mut self, line: impl FnOnce() -> usize, text: impl FnOnce() -> String) {
        // Lines are counted for those that are told alone.
        let line = (self.faults.first.len() < TOLD).then(line);
        self.faults.add(line, text);
    }
}

fn quoted(value: &str) -> String {
    let cut: String = value.chars().take(SHOWN).collect();
    format!("{cut:?}{}", if cut.len() < value.len() { "..." } else { "" })
}

/// The text, without a byte order mark and with `\n` at the end of each line.
fn decoded(bytes: &[u8]) -> Result<String, Faults> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(encoding) = wide(bytes) {
        return Err(Faults::one(None, format!("it is {encoding}; save it as UTF-8")));
    }
    let line = |at: usize| Some(bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1);
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Faults::one(line(at), "there is a NUL byte; a list of names is a text in UTF-8"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.replace("\r\n", "\n").replace('\r', "\n")),
        Err(error) => {
            let at = error.valid_up_to();
            Err(Faults::one(line(at), format!("the byte 0x{:02x} is not UTF-8; save the list as UTF-8", bytes[at])))
        }
    }
}

/// The encoding of a text in units of more than a byte, by its byte order mark or by where its
/// first characters have zeros.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    const LITTLE: &str = "UTF-16 (little-endian), as spreadsheets' \"Unicode text\" and PowerShell write it";
    const BIG: &str = "UTF-16 (big-endian)";
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some("UTF-32"),
        [0xff, 0xfe, ..] => return Some(LITTLE),
        [0xfe, 0xff, ..] => return Some(BIG),
        _ => {}
    }
    let begin = &bytes[..bytes.len().min(64) & !1];
    let zeros = |odd: usize| begin.iter().skip(odd).step_by(2).all(|byte| *byte == 0);
    let texts = |odd: usize| begin.iter().skip(odd).step_by(2).all(|byte| *byte != 0);
    match () {
        () if begin.is_empty() => None,
        () if texts(0) && zeros(1) => Some(LITTLE),
        () if zeros(0) && texts(1) => Some(BIG),
        () => None,
    }
}

/// The lines that count, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // A byte order mark stands within a list, too, if that was put together from several.
    let trimmed = text.lines().map(|line| line.trim_start_matches('\u{feff}').trim());
    (1..).zip(trimmed).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// One name on each line, or names separated by white space, as the first line has it.
fn plain(text: &str, found: &mut Found<'_>) {
    let mut first = None;
    for (number, line) in lines(text) {
        let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
        match words.as_slice() {
            [row, .., name] if found.kind.row == Some(*row) => {
                found.name(|| number, name);
                continue;
            }
            ["NEXTTOKEN", ..] if found.kind.row.is_some() => {
                found.fault(|| number, || MORE_PAGES.into());
                continue;
            }
            _ => {}
        }
        let (first_number, is_single) = *first.get_or_insert((number, words.len() == 1));
        if is_single && words.len() > 1 {
            let text = || {
                format!(
                    "{} is {} names, and line {first_number} has one; a name has no white space",
                    quoted(line),
                    words.len()
                )
            };
            found.fault(|| number, text);
            continue;
        }
        if number == first_number && line.contains([',', ';']) {
            let column = found.kind.column;
            let text = || format!("{} is no name; a CSV file needs a header with a column {column}", quoted(line));
            found.fault(|| number, text);
            // Every further line would be as wrong.
            return;
        }
        for word in words {
            found.name(|| number, word);
        }
    }
}

const MORE_PAGES: &str = "the list is not complete: there is a token for its next page; call the AWS CLI without --max-items and --no-paginate";

/// A CSV file.
struct Table<'t> {
    records: Records<'t>,
    /// Which of the columns has the names.
    column: usize,
}

impl<'t> Table<'t> {
    /// Recognises the header; nothing if there is none.
    fn of(text: &'t str, kind: &Kind) -> Result<Option<Self>, Faults> {
        // Some spreadsheets begin with a line that names the separator.
        let Some((number, header)) = lines(text).find(|(_, line)| !line.starts_with("sep=")) else { return Ok(None) };
        let start = header.as_ptr().addr() - text.as_ptr().addr();
        for separator in [',', ';', '\t'] {
            let mut records = Records { rest: &text[start..], line: number, separator };
            let Some(Ok((_, cells))) = records.next() else { continue };
            let is_named = |cell: &String| cell.trim().eq_ignore_ascii_case(kind.column);
            let columns: Vec<usize> = (0..).zip(&cells).filter(|(_, cell)| is_named(cell)).map(|(at, _)| at).collect();
            match columns.as_slice() {
                [] => {}
                [column] => return Ok(Some(Self { records, column: *column })),
                _ => {
                    let text = format!("{} columns are named {}; keep one", columns.len(), kind.column);
                    return Err(Faults::one(Some(number), text));
                }
            }
        }
        Ok(None)
    }

    fn read(self, found: &mut Found<'_>) -> Result<(), Faults> {
        for record in self.records {
            let (line, cells) = record?;
            if cells.iter().all(|cell| cell.trim().is_empty()) {
                continue;
            }
            match cells.get(self.column).map(|cell| cell.trim()) {
                Some("") | None => {
                    let column = found.kind.column;
                    found.fault(|| line, || format!("{} has nothing in the column {column}", quoted(&cells.join(","))));
                }
                Some(name) => found.name(|| line, name),
            }
        }
        Ok(())
    }
}

/// The records of a CSV file (RFC 4180), with the number of the line that each begins on. Comments
/// are left out.
struct Records<'t> {
    rest: &'t str,
    line: usize,
    separator: char,
}

impl Iterator for Records<'_> {
    type Item = Result<(usize, Vec<String>), Faults>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.rest.starts_with('#') {
            let (_, rest) = self.rest.split_once('\n').unwrap_or_default();
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let mut cells = Vec::new();
        loop {
            match self.cell() {
                Ok(ControlFlow::Continue(cell)) => cells.push(cell),
                Ok(ControlFlow::Break(cell)) => {
                    cells.push(cell);
                    self.line += 1;
                    return Some(Ok((line, cells)));
                }
                Err(text) => {
                    self.rest = "";
                    return Some(Err(Faults::one(Some(line), text)));
                }
            }
        }
    }
}

impl Records<'_> {
    /// The next cell; a break if it is the last of its record.
    fn cell(&mut self) -> Result<ControlFlow<String, String>, String> {
        let separator = self.separator;
        let cell = match self.rest.strip_prefix('"') {
            Some(mut rest) => {
                let mut cell = String::new();
                loop {
                    let Some((part, after)) = rest.split_once('"') else {
                        return Err("a quote is not closed".into());
                    };
                    self.line += part.matches('\n').count();
                    cell.push_str(part);
                    rest = after;
                    match rest.strip_prefix('"') {
                        Some(after) => {
                            cell.push('"');
                            rest = after;
                        }
                        None => break,
                    }
                }
                self.rest = rest;
                if !rest.is_empty() && !rest.starts_with([separator, '\n']) {
                    return Err(format!("something stands behind the quoted {}", quoted(&cell)));
                }
                cell
            }
            None => {
                let end = self.rest.find([separator, '\n']).unwrap_or(self.rest.len());
                let (cell, rest) = self.rest.split_at(end);
                self.rest = rest;
                cell.to_owned()
            }
        };
        let mut chars = self.rest.chars();
        let has_more = chars.next() == Some(separator);
        self.rest = chars.as_str();
        Ok(if has_more { ControlFlow::Continue(cell) } else { ControlFlow::Break(cell) })
    }
}

/// A JSON object's members in their order, each as it stands there.
struct Members<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

impl<'t> Deserialize<'t> for Members<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'t> Visitor<'t> for Collect {
            type Value = Members<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Members<'t>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((Cow::Owned(name), value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl<'t> Members<'t> {
    /// The member of one of these names.
    ///
    /// # Errors
    /// There is none, or more than one.
    fn only(&self, names: &[&str]) -> Result<&'t RawValue, String> {
        let mut found = self.0.iter().filter(|(name, _)| names.contains(&name.as_ref()));
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(value),
            (None, _) => Err(format!("the JSON object has no member {}", names.join(" nor "))),
            (Some((name, _)), Some((other, _))) => {
                Err(format!("the JSON object has the members {name} and {other}; keep one"))
            }
        }
    }
}

/// What the AWS CLI prints as JSON: an object with a list of objects, or what `--query` leaves of
/// that.
fn json(text: &str, found: &mut Found<'_>) -> Result<(), Faults> {
    let kind = found.kind;
    let unreadable = |error: serde_json::Error| {
        Faults::one(Some(error.line()), format!("this looks like JSON and cannot be read: {error}"))
    };
    // Borrowed values are parts of the text, so that their place in it is known.
    let line = |value: &RawValue| {
        let at = value.get().as_ptr().addr() - text.as_ptr().addr();
        text[..at].matches('\n').count() + 1
    };
    let whole: &RawValue = serde_json::from_str(text).map_err(unreadable)?;
    let list = if whole.get().starts_with('{') {
        let members: Members<'_> = serde_json::from_str(whole.get()).map_err(unreadable)?;
        let token = members.0.iter().find(|(name, _)| name.eq_ignore_ascii_case("nextToken"));
        if let Some((_, token)) = token.filter(|(_, token)| token.get() != "null") {
            return Err(Faults::one(Some(line(token)), MORE_PAGES));
        }
        members.only(kind.lists).map_err(|text| Faults::one(Some(line(whole)), text))?
    } else {
        whole
    };
    let items: Vec<&RawValue> = serde_json::from_str(list.get())
        .map_err(|_| Faults::one(Some(line(list)), format!("{} is no list", quoted(list.get()))))?;
    for item in items {
        let value = match serde_json::from_str::<Members<'_>>(item.get()) {
            Ok(members) => members.only(&[kind.column]),
            Err(_) => Ok(item),
        };
        let name = value.and_then(|value| {
            let name = serde_json::from_str::<String>(value.get());
            name.map_err(|_| format!("{} is no name, nor an object with {}", quoted(value.get()), kind.column))
        });
        match name {
            Ok(name) => found.name(|| line(item), &name),
            Err(text) => found.fault(|| line(item), || text),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: impl AsRef<[u8]>) -> Vec<String> {
        names(text.as_ref(), &THINGS).unwrap_or_else(|faults| panic!("{}", faults.told("list")))
    }

    #[track_caller]
    fn fault(text: impl AsRef<[u8]>) -> String {
        names(text.as_ref(), &THINGS).unwrap_err().told("list")
    }

    #[test]
    fn names_stand_on_lines_or_between_white_space() {
        assert_eq!(read("a\nb\nc"), ["a", "b", "c"]);
        assert_eq!(read("\u{feff}# retired\r\n\r\na  \r\nb # sold\r\n\r\na\r\n"), ["a", "b"]);
        assert_eq!(read("a\tb\tc\nd\n"), ["a", "b", "c", "d"]);
        assert_eq!(read("a b\u{a0}c\n  # none\n"), ["a", "b", "c"]);
        assert_eq!(read("a\rb\r"), ["a", "b"], "line ends of old");
        assert_eq!(read("a\n\u{feff}b\n"), ["a", "b"], "two files in one");
    }

    #[test]
    fn a_faulty_line_is_named_with_its_value() {
        let list =
            (1..=20_000).map(|n| if n == 15_000 { "sensor 015000\n".into() } else { format!("sensor-{n:06}\n") });
        assert_eq!(
            fault(list.collect::<String>()),
            "list, line 15000: \"sensor 015000\" is 2 names, and line 1 has one; a name has no white space"
        );
        assert_eq!(fault("a\n\nü\n"), "list, line 3: \"ü\" must be 1 to 128 characters of a-z A-Z 0-9 : _ -");
        assert!(fault("a\n\u{202e}b\n").starts_with("list, line 2: \"\\u{202e}b\" must"));
        let many = fault("a.\n".repeat(7));
        assert!(many.contains("list, line 5: ") && many.ends_with("list: 2 more lines are wrong"), "{many}");
        let long = fault(format!("a\n{}", "x".repeat(1000)));
        assert!(long.contains("xxx\"... must be") && long.len() < 200, "{long}");
    }

    #[test]
    fn what_is_no_text_is_told() {
        for (prefix, big) in [(&b"\xff\xfe"[..], false), (b"", false), (b"\xfe\xff", true), (b"", true)] {
            let units = "sensor-1\r\n".encode_utf16();
            let bytes: Vec<u8> =
                units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect();
            let expected = if big { "UTF-16 (big-endian)" } else { "UTF-16 (little-endian)" };
            let told = fault([prefix, &bytes].concat());
            assert!(told.contains(expected) && told.ends_with("save it as UTF-8"), "{told}");
        }
        assert!(fault(b"\xff\xfe\0\0a\0\0\0").contains("UTF-32"));
        assert_eq!(fault("a\nb\0\n"), "list, line 2: there is a NUL byte; a list of names is a text in UTF-8");
        assert_eq!(fault(b"a\nb\xe9\n"), "list, line 2: the byte 0xe9 is not UTF-8; save the list as UTF-8");
        for empty in ["", "\n\n", "# nothing\n", "\u{feff}", "thingName\n", "{\"associatedClientDevices\":[]}", "[]"] {
            assert_eq!(fault(empty), "list: there are no names in it", "{empty:?}");
        }
    }

    #[test]
    fn a_csv_file_has_a_column() {
        assert_eq!(read("thingName\na\nb\n"), ["a", "b"]);
        assert_eq!(
            read("\u{feff}site,thingName,note\r\nX,a,\"sold, \"\"as is\"\"\nsoon\"\r\n,,\r\nX,b,\r\n"),
            ["a", "b"]
        );
        assert_eq!(read("sep=;\nid;\"ThingName\"\n1;a\n# 2;x\n3;\"b\"\n"), ["a", "b"]);
        assert_eq!(read("thingName\tassociationTimestamp\na\t2021-07-12T16:33:55.843000-07:00\n"), ["a"]);
        assert_eq!(read("# of line 3\n\nthingName,n\na,1"), ["a"]);
        assert_eq!(
            fault("n,thingName\n1,\"x\ny\"\n2,a b\n3\n"),
            "list, line 2: \"x\\ny\" must be 1 to 128 characters of a-z A-Z 0-9 : _ -\n\
             list, line 4: \"a b\" must be 1 to 128 characters of a-z A-Z 0-9 : _ -\n\
             list, line 5: \"3\" has nothing in the column thingName"
        );
        assert_eq!(fault("thingName,n\na,\"1\n"), "list, line 2: a quote is not closed");
        assert_eq!(fault("thingName,n\n\"a\"b,1\n"), "list, line 2: something stands behind the quoted \"a\"");
        assert_eq!(fault("thingName,thingname\na,b\n"), "list, line 1: 2 columns are named thingName; keep one");
        assert_eq!(
            fault("name;serial\na;1\nb;2\n"),
            "list, line 1: \"name;serial\" is no name; a CSV file needs a header with a column thingName"
        );
    }

    #[test]
    fn what_the_aws_cli_prints_is_a_list() {
        let listed = r#"{
    "associatedClientDevices": [
        {
            "thingName": "a",
            "associationTimestamp": "2021-07-12T16:33:55.843000-07:00"
        },
        {"associationTimestamp": 1626132835.843, "thingName": "b"}
    ],
    "nextToken": null
}"#;
        assert_eq!(read(listed), ["a", "b"]);
        assert_eq!(read("[\"a\",\n \"b\"]"), ["a", "b"]);
        assert_eq!(read("{\"entries\": [{\"thingName\": \"a\"}]}"), ["a"]);
        let text = "ASSOCIATEDCLIENTDEVICES\t2021-07-12T16:33:55-07:00\ta\nASSOCIATEDCLIENTDEVICES\t2021-07-12T16:33:56-07:00\tb\n";
        assert_eq!(read(text), ["a", "b"]);
        assert_eq!(fault(format!("{text}NEXTTOKEN\txyz\n")), format!("list, line 3: {MORE_PAGES}"));
        assert_eq!(fault(listed.replace("null", "\"x\"")), format!("list, line 9: {MORE_PAGES}"));
        assert_eq!(
            fault(listed.replace("\"a\"", "\"a b\"")),
            "list, line 3: \"a b\" must be 1 to 128 characters of a-z A-Z 0-9 : _ -"
        );
        assert_eq!(
            fault(listed.replace("\"thingName\": \"b\"", "\"name\": \"b\"")),
            "list, line 7: the JSON object has no member thingName"
        );
        assert_eq!(fault("[7]"), "list, line 1: \"7\" is no name, nor an object with thingName");
        assert!(fault("{\"devices\": []}").contains("no member associatedClientDevices nor entries"));
        assert!(fault("[\"a\"\n\"b\"]").starts_with("list, line 2: this looks like JSON and cannot be read: "));
        let twice = "{\"entries\": [\"a\"], \"entries\": [\"b\"]}";
        assert!(fault(twice).contains("keep one"), "it is not guessed which is meant");
    }

    #[test]
    fn assets_have_a_column_of_their_own() {
        let id = "a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f";
        for text in [format!("assetId,n\n{id},1\n"), format!("{{\"assetIds\": [\"{id}\"]}}"), id.to_owned()] {
            assert_eq!(names(text.as_bytes(), &ASSETS).unwrap(), [id]);
        }
        assert!(names(b"sensor-1", &ASSETS).unwrap_err().told("list").contains("UUID"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_every_name_is_one(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for name in names(&bytes, &THINGS).unwrap_or_default() {
                prop_assert!(ThingName::new(&name).is_ok());
            }
        }

        #[test]
        fn no_text_panics(text in "[a,;\"'\\t\\n\\r#{}\\[\\]: \u{feff}é]{0,40}|thingName[,;\\t]?[ab,;\"\\n#]{0,40}") {
            for name in names(text.as_bytes(), &THINGS).unwrap_or_default() {
                prop_assert!(ThingName::new(&name).is_ok());
            }
        }
    }
}
