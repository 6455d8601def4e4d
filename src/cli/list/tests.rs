//! Each form of a list, and the faults of texts that have none of the forms.

use proptest::prelude::*;

use super::{found::MORE_PAGES, *};
use crate::domain::{CallKind, ThingName};

/// The list that an operation has.
fn of(kind: CallKind) -> &'static Names {
    kind.carried().spec.list().unwrap().1
}

fn things() -> &'static Names {
    of(CallKind::Disassociate)
}

fn assets() -> &'static Names {
    of(CallKind::ProjectAssets)
}

fn read(text: impl AsRef<[u8]>) -> Vec<String> {
    names(text.as_ref(), things()).unwrap_or_else(|faults| panic!("{}", faults.report("list")))
}

#[track_caller]
fn fault(text: impl AsRef<[u8]>) -> String {
    names(text.as_ref(), things()).unwrap_err().report("list")
}

#[test]
fn names_are_separated_by_lines_or_white_space() {
    assert_eq!(read("a\nb\nc"), ["a", "b", "c"]);
    assert_eq!(read("\u{feff}# retired\r\n\r\na  \r\nb # sold\r\n\r\na\r\n"), ["a", "b"]);
    assert_eq!(read("a\tb\tc\nd\n"), ["a", "b", "c", "d"]);
    assert_eq!(read("a b\u{a0}c\n  # none\n"), ["a", "b", "c"]);
    assert_eq!(read("a\rb\r"), ["a", "b"], "line ends of classic Mac OS");
    assert_eq!(read("a\n\u{feff}b\n"), ["a", "b"], "two files joined into one");
}

#[test]
fn a_faulty_line_is_named_with_its_value() {
    let list = (1..=20_000).map(|n| if n == 15_000 { "sensor 015000\n".into() } else { format!("sensor-{n:06}\n") });
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
fn what_is_not_text_is_reported() {
    for (prefix, big) in [(&b"\xff\xfe"[..], false), (b"", false), (b"\xfe\xff", true), (b"", true)] {
        let units = "sensor-1\r\n".encode_utf16();
        let bytes: Vec<u8> = units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect();
        let expected = if big { "UTF-16 (big-endian)" } else { "UTF-16 (little-endian)" };
        let message = fault([prefix, &bytes].concat());
        assert!(message.contains(expected) && message.ends_with("save it as UTF-8"), "{message}");
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
    assert_eq!(read("\u{feff}site,thingName,note\r\nX,a,\"sold, \"\"as is\"\"\nsoon\"\r\n,,\r\nX,b,\r\n"), ["a", "b"]);
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
    assert_eq!(fault("thingName,n\n\"a\"b,1\n"), "list, line 2: there is text after the quoted \"a\"");
    assert_eq!(fault("thingName,thingname\na,b\n"), "list, line 1: 2 columns are named thingName; keep one");
    assert_eq!(
        fault("name;serial\na;1\nb;2\n"),
        "list, line 1: \"name;serial\" is not a name; a CSV file needs a header with a column thingName"
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
    assert_eq!(fault("[7]"), "list, line 1: \"7\" is neither a name nor an object with thingName");
    assert!(fault("{\"devices\": []}").contains("no member associatedClientDevices nor entries"));
    assert!(fault("[\"a\"\n\"b\"]").starts_with("list, line 2: this looks like JSON and cannot be read: "));
    for member in ["\"dryRun\": true", "\"coreDeviceThingName\": \"other\"", "\"foo\": 1"] {
        let name = member.split(':').next().unwrap();
        let text = fault(format!("{{\"entries\": [\"a\"],\n{member}}}"));
        assert!(text.starts_with(&format!("list, line 2: the JSON object has the member {name}, which")), "{text}");
    }
    assert_eq!(read("{\"entries\": [\"a\"], \"nextToken\": null, \"ResponseMetadata\": {}}"), ["a"]);
    let twice = "{\"entries\": [\"a\"], \"entries\": [\"b\"]}";
    assert!(fault(twice).contains("keep one"), "it is not guessed which is meant");
}

#[test]
fn assets_have_a_column_of_their_own() {
    let id = "a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f";
    for text in [format!("assetId,n\n{id},1\n"), format!("{{\"assetIds\": [\"{id}\"]}}"), id.to_owned()] {
        assert_eq!(names(text.as_bytes(), assets()).unwrap(), [id]);
    }
    assert!(names(b"sensor-1", assets()).unwrap_err().report("list").contains("UUID"));
}

proptest! {
    #[test]
    fn no_bytes_panic_and_every_name_is_one(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for name in names(&bytes, things()).unwrap_or_default() {
            prop_assert!(ThingName::new(&name).is_ok());
        }
    }

    #[test]
    fn no_text_panics(text in "[a,;\"'\\t\\n\\r#{}\\[\\]: \u{feff}é]{0,40}|thingName[,;\\t]?[ab,;\"\\n#]{0,40}") {
        for name in names(text.as_bytes(), things()).unwrap_or_default() {
            prop_assert!(ThingName::new(&name).is_ok());
        }
    }
}
