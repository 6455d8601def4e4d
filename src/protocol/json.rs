//! Reads a JSON object member by member and collects the faults with their paths, instead of
//! stopping at the first.
//!
//! The text comes from outside and may have megabytes. So nothing is kept of it but references into
//! it: a member is parsed when it is asked for, a list element by element. Faults are counted, and
//! only the first ones are kept.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::domain::FieldFault;
#[cfg(test)]
use crate::testing::schemas::asked::{Ask, note};

/// Faults of a message that are kept. A rejection that named more would be larger than what it
/// answers.
pub const MAX_FAULTS: usize = 20;

/// Members of a message's object that are kept: no operation has half as many, so that an object
/// with more is rejected.
const MAX_MEMBERS: usize = 64;

/// Characters of a member's name that are shown.
const MAX_NAME: usize = 160;

/// How strictly values are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A client's message: JSON's own types. `null` is unset.
    Message,
    /// A configuration that a nucleus may have rewritten: `300.0`, `"300"` and `"true"` count, `""`
    /// and `null` are unset.
    Configuration,
}

/// What is wrong with a text: the first faults, and how many there are.
#[derive(Debug)]
pub struct Faults {
    first: Vec<FieldFault>,
    count: usize,
    limit: usize,
}

impl Faults {
    /// Keeps the first `limit` faults, and counts all.
    #[must_use]
    pub fn limited(limit: usize) -> Self {
        Self { first: Vec::new(), count: 0, limit }
    }

    /// The faults that are kept, and the number of all of them.
    #[must_use]
    pub fn into_parts(self) -> (Vec<FieldFault>, usize) {
        (self.first, self.count)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn push(&mut self, fault: impl FnOnce() -> FieldFault) {
        self.count += 1;
        if self.first.len() < self.limit {
            self.first.push(fault());
        }
    }
}

/// Where an object stands in the text.
#[derive(Clone, Copy, Debug)]
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Element(&'a Path<'a>, &'a str, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parent, key) = match self {
            Self::Root => return Ok(()),
            Self::Member(parent, key) | Self::Element(parent, key, _) => (parent, key),
        };
        parent.fmt(f)?;
        if !matches!(parent, Path::Root) {
            f.write_str(".")?;
        }
        // A member's name stands there as it was sent; a control character would become six bytes
        // of JSON.
        for c in key.chars().take(MAX_NAME) {
            fmt::Write::write_char(f, if c.is_control() { '\u{fffd}' } else { c })?;
        }
        if let Self::Element(_, _, index) = self { write!(f, "[{index}]") } else { Ok(()) }
    }
}

/// The members of one object that nobody has asked for yet.
#[derive(Debug)]
pub struct Fields<'p, 'f> {
    path: Path<'f>,
    members: Vec<(Cow<'p, str>, &'p RawValue)>,
    style: Style,
    faults: &'f mut Faults,
}

impl<'p, 'f> Fields<'p, 'f> {
    /// The members of the whole text `value`. Anything but an object is a fault, and so is a member
    /// that occurs twice.
    pub fn of(value: &'p RawValue, style: Style, faults: &'f mut Faults) -> Self {
        Self::at(Path::Root, Some(value), style, faults)
    }

    fn at(path: Path<'f>, value: Option<&'p RawValue>, style: Style, faults: &'f mut Faults) -> Self {
        let mut fields = Self { path, members: Vec::new(), style, faults };
        let text = value.map_or("null", RawValue::get);
        let unset = matches!(text, "null" | "\"\"");
        if text.starts_with('{') {
            // The text was read as a whole before, but not the escapes in it: it ends at a name
            // that is no text.
            if let Err(error) = serde_json::Deserializer::from_str(text).deserialize_map(Gather(&mut fields)) {
                let message = format!("has a member whose name is not Unicode: {error}");
                fields.faults.push(|| FieldFault { name: path.to_string(), message });
            }
        } else if value.is_some() && !(unset && style == Style::Configuration) {
            fields.faults.push(|| FieldFault { name: path.to_string(), message: "must be an object".into() });
        }
        fields
    }

    fn insert(&mut self, key: Cow<'p, str>, value: &'p RawValue) {
        if self.members.iter().any(|(known, _)| *known == key) {
            self.fault(&key, "occurs twice");
        } else if self.members.len() < MAX_MEMBERS || self.style == Style::Configuration {
            self.members.push((key, value));
        } else {
            self.fault(&key, UNKNOWN);
        }
    }

    fn name(&self, key: &str) -> String {
        Path::Member(&self.path, key).to_string()
    }

    /// Notes a fault of a member.
    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        let path = Path::Member(&self.path, key);
        self.faults.push(|| FieldFault { name: path.to_string(), message: message.into() });
    }

    /// Notes a fault of the element at `index` of the list at `key`.
    pub fn element_fault(&mut self, key: &str, index: usize, message: impl Into<String>) {
        let path = Path::Element(&self.path, key, index);
        self.faults.push(|| FieldFault { name: path.to_string(), message: message.into() });
    }

    /// The member as it stands in the text; `None` also where it is unset.
    fn raw(&mut self, key: &str) -> Option<&'p RawValue> {
        #[cfg(test)]
        note(&self.name(key), Ask::Member);
        let at = self.members.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.members.swap_remove(at);
        let unset = match value.get() {
            "null" => true,
            "\"\"" | "\"null\"" => self.style == Style::Configuration,
            _ => false,
        };
        (!unset).then_some(value)
    }

    /// A member that is no list and no object, which would take memory: those stand there as an
    /// empty list.
    fn scalar(&mut self, key: &str) -> Option<Value> {
        Some(scalar_of(self.raw(key)?))
    }

    /// The object at `key`, empty where it is missing.
    pub fn section<'s>(&'s mut self, key: &'s str) -> Fields<'p, 's> {
        let value = self.raw(key);
        Fields::at(Path::Member(&self.path, key), value, self.style, self.faults)
    }

    /// A text.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.scalar(key)? {
            Value::String(text) => Some(text),
            _ => {
                self.fault(key, "must be a string");
                None
            }
        }
    }

    /// A text that `parse` takes; its error completes "`key` ".
    pub fn parsed<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        #[cfg(test)]
        note(&self.name(key), Ask::Word(std::any::type_name::<T>()));
        let text = self.text(key)?;
        parse(&text).map_err(|error| self.fault(key, error.to_string())).ok()
    }

    /// As [`Self::parsed`], and a fault where it is missing.
    pub fn required<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        #[cfg(test)]
        note(&self.name(key), Ask::Required);
        let is_set = |(name, value): &(Cow<'_, str>, &RawValue)| name == key && value.get() != "null";
        if !self.members.iter().any(is_set) {
            self.fault(key, "is required");
        }
        self.parsed(key, parse)
    }

    /// A text of at most `max` characters.
    pub fn short(&mut self, key: &str, max: usize) -> Option<String> {
        #[cfg(test)]
        note(&self.name(key), Ask::Short(max));
        let text = self.text(key)?;
        if text.chars().count() <= max {
            return Some(text);
        }
        self.fault(key, format!("must have at most {max} characters"));
        None
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        #[cfg(test)]
        note(&self.name(key), Ask::Flag);
        match self.scalar(key)? {
            Value::Bool(flag) => Some(flag),
            Value::String(text) if self.style == Style::Configuration && (text == "true" || text == "false") => {
                Some(text == "true")
            }
            _ => {
                self.fault(key, "must be true or false");
                None
            }
        }
    }

    /// A number from `min` to `max`.
    pub fn number(&mut self, key: &str, min: f64, max: f64) -> Option<f64> {
        let value = self.scalar(key)?;
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) if self.style == Style::Configuration => text.trim().parse().ok(),
            _ => None,
        };
        if let Some(number) = number.filter(|number| (min..=max).contains(number)) {
            return Some(number);
        }
        self.fault(key, format!("must be a number from {min} to {max}"));
        None
    }

    /// A whole number from `min` to `max`, which must be exact as a double (at most 2^53).
    pub fn whole(&mut self, key: &str, min: u64, max: u64) -> Option<u64> {
        #[cfg(test)]
        note(&self.name(key), Ask::Whole(min, max));
        let value = self.scalar(key)?;
        let number = match &value {
            Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(exact)),
            Value::String(text) if self.style == Style::Configuration => text.trim().parse().ok().and_then(exact),
            _ => None,
        };
        if let Some(number) = number.filter(|number| (min..=max).contains(number)) {
            return Some(number);
        }
        self.fault(key, format!("must be a whole number from {min} to {max}"));
        None
    }

    /// A list of a configuration, whose elements are small.
    pub fn list(&mut self, key: &str) -> Option<Vec<Value>> {
        let list = self.raw(key).map(|list| serde_json::from_str(list.get()));
        match list? {
            Ok(items) => Some(items),
            Err(_) => {
                self.fault(key, "must be a list");
                None
            }
        }
    }

    /// A list of at least one of `what`, for [`each`]; anything else is a fault.
    pub fn filled(&mut self, key: &str, what: &str) -> Option<&'p RawValue> {
        #[cfg(test)]
        note(&self.name(key), Ask::Filled);
        let list = self.raw(key).filter(|list| {
            let inner = list.get().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            inner.is_some_and(|inner| !inner.trim().is_empty())
        });
        if list.is_none() {
            self.fault(key, format!("must be a list of at least one {what}"));
        }
        list
    }

    /// The text at `index` of the list at `key`, as [`Self::parsed`] takes one.
    pub fn element<T, E: fmt::Display>(
        &mut self,
        key: &str,
        index: usize,
        value: &RawValue,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        #[cfg(test)]
        note(&Path::Element(&self.path, key, index).to_string(), Ask::Word(std::any::type_name::<T>()));
        match scalar_of(value).as_str().map(parse) {
            Some(Ok(parsed)) => return Some(parsed),
            Some(Err(error)) => self.element_fault(key, index, error.to_string()),
            None => self.element_fault(key, index, "must be a string"),
        }
        None
    }

    /// The object at `index` of the list at `key`.
    pub fn item<'s>(&'s mut self, key: &'s str, index: usize, value: &'p RawValue) -> Fields<'p, 's> {
        Fields::at(Path::Element(&self.path, key, index), Some(value), self.style, self.faults)
    }

    /// The paths of the members that nobody asked for. Members that occur twice in them are faults
    /// all the same.
    #[must_use]
    pub fn unknown(self) -> Vec<String> {
        let names = self.members.iter().map(|(key, _)| self.name(key)).collect();
        let Self { path, members, style, faults } = self;
        for (key, value) in members.into_iter().filter(|(_, value)| value.get().starts_with('{')) {
            let _ = Fields::at(Path::Member(&path, &key), Some(value), style, faults).unknown();
        }
        names
    }

    /// Ends a strict object: what nobody asked for is a fault.
    pub fn close(mut self) {
        #[cfg(test)]
        note(&self.path.to_string(), Ask::Closed);
        for (key, _) in std::mem::take(&mut self.members) {
            self.fault(&key, UNKNOWN);
        }
    }
}

const UNKNOWN: &str = "is not a member of this operation";

/// Hands each element of a list to `take`, with its index.
pub fn each<'p>(list: &'p RawValue, take: impl FnMut(usize, &'p RawValue)) {
    // The text was read as a whole before: it is a list, and without a fault.
    let _ = serde_json::Deserializer::from_str(list.get()).deserialize_seq(Each(take));
}

fn scalar_of(value: &RawValue) -> Value {
    let nothing = || Value::Array(Vec::new());
    if value.get().starts_with(['[', '{']) { nothing() } else { serde_json::from_str(value.get()).unwrap_or(nothing()) }
}

/// A member's name, in the text where it has no escapes.
struct Key<'p>(Cow<'p, str>);

impl<'p> Deserialize<'p> for Key<'p> {
    fn deserialize<D: Deserializer<'p>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'p> Visitor<'p> for Text {
            type Value = Key<'p>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'p str) -> Result<Key<'p>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'p>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

struct Gather<'g, 'p, 'f>(&'g mut Fields<'p, 'f>);

impl<'p> Visitor<'p> for Gather<'_, 'p, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'p>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = map.next_entry::<Key<'p>, &'p RawValue>()? {
            self.0.insert(key, value);
        }
        Ok(())
    }
}

struct Each<F>(F);

impl<'p, F: FnMut(usize, &'p RawValue)> Visitor<'p> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'p>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(value) = seq.next_element::<&'p RawValue>()? {
            (self.0)(index, value);
            index += 1;
        }
        Ok(())
    }
}

fn exact(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and from 0 to 2^53")]
    (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_fault_is_named_with_its_path() {
        let mut faults = Faults::limited(MAX_FAULTS);
        let mut fields =
            Fields::of(raw(r#"{"a": 1, "b": {"c": "x", "c": 1}, "d": true}"#), Style::Message, &mut faults);
        assert_eq!(fields.text("a"), None);
        assert_eq!(fields.section("b").whole("c", 0, 9), None);
        fields.close();
        let (faults, count) = faults.into_parts();
        let names: Vec<_> = faults.iter().map(|fault| (fault.name.as_str(), fault.message.as_str())).collect();
        let expected = [
            ("a", "must be a string"),
            ("b.c", "occurs twice"),
            ("b.c", "must be a whole number from 0 to 9"),
            ("d", UNKNOWN),
        ];
        assert_eq!((names.as_slice(), count), (&expected[..], 4));
    }

    /// A raw value may have such a name in it, since its escapes are not looked at. What follows it
    /// must not be passed over.
    #[test]
    fn a_name_that_is_no_text_is_a_fault() {
        for (text, name) in [
            (r#"{"a": "x", "\ud800": 1, "b": true}"#, ""),
            (r#"{"c": {"\udc00\ud800": 1, "b": true}}"#, "c"),
            (r#"{"c": {"\ud800\u0041": 1}}"#, "c"),
        ] {
            for style in [Style::Message, Style::Configuration] {
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
}
