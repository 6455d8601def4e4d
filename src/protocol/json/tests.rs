//! Faults, their paths, and the values that each style accepts.

use serde_json::value::RawValue;

use super::{fields::UNKNOWN, *};

fn raw(text: &str) -> &RawValue {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_fault_is_named_with_its_path() {
    let mut faults = Faults::limited(MAX_FAULTS);
    let mut fields = Fields::of(raw(r#"{"a": 1, "b": {"c": "x", "c": 1}, "d": true}"#), Style::Message, &mut faults);
    assert_eq!(fields.text("a"), None);
    assert_eq!(fields.section("b").whole("c", 0, 9), None);
    fields.close();
    let (faults, count) = faults.into_parts();
    let names: Vec<_> = faults.iter().map(|fault| (fault.name.as_str(), fault.message.as_str())).collect();
    let expected = [
        ("a", "must be a string"),
        ("b.c", "occurs twice"),
        ("b.c", "must be a whole number from 0 to 9, not \"x\""),
        ("d", UNKNOWN),
    ];
    assert_eq!((names.as_slice(), count), (&expected[..], 4));
}

#[test]
fn a_wrong_number_or_flag_is_shown() {
    let long = "x".repeat(1000);
    let text = format!(r#"{{"a": 10, "b": -0.5, "c": "{long}", "d": {{"e": 1}}, "f": "yes", "g": 0}}"#);
    let mut faults = Faults::limited(MAX_FAULTS);
    let mut fields = Fields::of(raw(&text), Style::Configuration, &mut faults);
    for key in ["a", "b", "c", "d"] {
        assert_eq!((fields.whole(key, 0, 9), fields.flag("f")), (None, None));
    }
    let messages: Vec<_> = faults.into_parts().0.into_iter().map(|fault| fault.message).collect();
    let cut = format!("must be a whole number from 0 to 9, not {:?}...", "x".repeat(40));
    let expected = [
        "must be a whole number from 0 to 9, not 10",
        "must be true or false, not \"yes\"",
        "must be a whole number from 0 to 9, not -0.5",
        &cut,
        "must be a whole number from 0 to 9, not a list or an object",
    ];
    assert_eq!(messages, expected);
}

#[test]
fn a_text_that_is_not_unicode_is_told_from_what_is_no_text() {
    let mut faults = Faults::limited(MAX_FAULTS);
    let mut fields = Fields::of(raw(r#"{"a": "\ud800", "b": 1}"#), Style::Message, &mut faults);
    assert_eq!((fields.text("a"), fields.text("b")), (None, None));
    let messages: Vec<_> = faults.into_parts().0.into_iter().map(|fault| fault.message).collect();
    assert_eq!(
        messages,
        ["has an escape that is no Unicode text, such as half of a surrogate pair", "must be a string"]
    );
}

/// A raw value may contain such a name, since its escapes are not parsed. The members after it must
/// not be ignored.
#[test]
fn a_name_that_is_no_text_is_a_fault() {
    for (text, name) in [
        (r#"{"a": "x", "\ud800": 1, "b": true}"#, ""),
        (r#"{"c": {"\udc00\ud800": 1, "b": true}}"#, "c"),
        (r#"{"c": {"\ud800\u0041": 1}}"#, "c"),
    ] {
        for (style, whole) in [(Style::Message, "payload"), (Style::Configuration, "text")] {
            let name = if name.is_empty() { whole } else { name };
            let mut faults = Faults::limited(MAX_FAULTS);
            let mut fields = Fields::of(raw(text), style, &mut faults);
            let _ = fields.section("c").unknown();
            let _ = fields.unknown();
            let (faults, count) = faults.into_parts();
            assert_eq!(count, 1, "{text}");
            assert_eq!(faults[0].name, name, "{text}");
            assert!(faults[0].message.contains("not Unicode"), "{text}: {}", faults[0].message);
        }
    }
}

#[test]
fn faults_are_counted_and_the_first_ones_kept() {
    let members: Vec<_> = (0..1000).map(|n| format!("\"m{n}\":[{{}}]")).collect();
    let text = format!("{{{}}}", members.join(","));
    let mut faults = Faults::limited(MAX_FAULTS);
    Fields::of(raw(&text), Style::Message, &mut faults).close();
    let (first, count) = faults.into_parts();
    assert_eq!((first.len(), count), (MAX_FAULTS, 1000));
}

#[test]
fn null_is_unset() {
    let mut faults = Faults::limited(MAX_FAULTS);
    let mut fields = Fields::of(raw(r#"{"a": null, "b": null}"#), Style::Message, &mut faults);
    assert_eq!((fields.flag("a"), fields.required("b", |text| Ok::<_, String>(text.to_owned()))), (None, None));
    fields.close();
    let (faults, _) = faults.into_parts();
    assert_eq!(faults.len(), 1);
    assert_eq!((faults[0].name.as_str(), faults[0].message.as_str()), ("b", "is required"));
}

#[test]
fn a_configuration_takes_what_a_nucleus_makes_of_a_number() {
    for value in ["300", "300.0", "\"300\"", "\"300.0000\"", "\" 300 \""] {
        let mut faults = Faults::limited(MAX_FAULTS);
        let text = format!("{{\"n\": {value}}}");
        let mut fields = Fields::of(raw(&text), Style::Configuration, &mut faults);
        assert_eq!(fields.whole("n", 1, 1000), Some(300));
    }
    let mut faults = Faults::limited(MAX_FAULTS);
    let text = r#"{"a": "", "b": null, "c": "true", "d": "2.5", "e": "3.5"}"#;
    let mut fields = Fields::of(raw(text), Style::Configuration, &mut faults);
    assert_eq!((fields.text("a"), fields.text("b"), fields.flag("c")), (None, None, Some(true)));
    assert_eq!((fields.number("d", 0.0, 9.0), fields.whole("e", 0, 9)), (Some(2.5), None));
    assert_eq!(faults.into_parts().1, 1);
}
