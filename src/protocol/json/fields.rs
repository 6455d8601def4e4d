//! The members of an object. A member is parsed when it is requested, and its faults are noted with
//! their paths.

use std::{borrow::Cow, fmt};

use serde_json::{Value, value::RawValue};

use super::{
    faults::{Faults, Path},
    scan::{exact, members, scalar_of},
};
use crate::domain::FieldFault;

/// The most members of a message's object that are kept. No operation has half as many, so an
/// object with more is rejected.
const MAX_MEMBERS: usize = 64;

/// The most characters of a wrong value that a message shows.
const MAX_SHOWN: usize = 40;

/// How strictly values are parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A client's message: JSON's own types. A `null` member counts as unset.
    Message,
    /// A configuration that a nucleus may have rewritten: `300.0`, `"300"` and `"true"` count, and
    /// `""` and `null` are unset.
    Configuration,
}

/// The members of one object that have not been requested yet.
#[derive(Debug)]
pub struct Fields<'p, 'f> {
    path: Path<'f>,
    members: Vec<(Cow<'p, str>, &'p RawValue)>,
    style: Style,
    faults: &'f mut Faults,
}

impl<'p, 'f> Fields<'p, 'f> {
    /// The members of the whole text `value`. A value that is not an object is a fault, and so is a
    /// member that occurs twice.
    pub fn of(value: &'p RawValue, style: Style, faults: &'f mut Faults) -> Self {
        Self::at(Path::Root, Some(value), style, faults)
    }

    fn at(path: Path<'f>, value: Option<&'p RawValue>, style: Style, faults: &'f mut Faults) -> Self {
        let mut fields = Self { path, members: Vec::new(), style, faults };
        let text = value.map_or("null", RawValue::get);
        let unset = matches!(text, "null" | "\"\"");
        if text.starts_with('{') {
            // The text as a whole was parsed before, but not the escapes in it. This iteration ends
            // at a name that is not Unicode.
            if let Err(error) = members(text, |key, value| fields.insert(key, value)) {
                let message = format!("has a member whose name is not Unicode: {error}");
                let name = name_of(&fields.path, style);
                fields.faults.push(|| FieldFault { name, message });
            }
        } else if value.is_some() && !(unset && style == Style::Configuration) {
            let name = name_of(&fields.path, style);
            fields.faults.push(|| FieldFault { name, message: "must be an object".into() });
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

    /// The member as it is in the text; `None` also if it is unset.
    fn raw(&mut self, key: &str) -> Option<&'p RawValue> {
        let at = self.members.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.members.swap_remove(at);
        let unset = match value.get() {
            "null" => true,
            "\"\"" | "\"null\"" => self.style == Style::Configuration,
            _ => false,
        };
        (!unset).then_some(value)
    }

    /// A member that is neither a list nor an object. A list or an object, which would take memory,
    /// becomes an empty list.
    fn scalar(&mut self, key: &str) -> Option<Value> {
        Some(scalar_of(self.raw(key)?))
    }

    /// The object at `key`, which is empty if it is missing.
    pub fn section<'s>(&'s mut self, key: &'s str) -> Fields<'p, 's> {
        let value = self.raw(key);
        Fields::at(Path::Member(&self.path, key), value, self.style, self.faults)
    }

    /// A text.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let value = self.raw(key)?;
        match scalar_of(value) {
            Value::String(text) => Some(text),
            _ => {
                self.fault(key, no_text(value));
                None
            }
        }
    }

    /// A text that `parse` accepts; the error of `parse` continues the sentence "`key` ".
    pub fn parsed<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        parse(&text).map_err(|error| self.fault(key, error.to_string())).ok()
    }

    /// The same as [`Self::parsed`], but a missing member is a fault.
    pub fn required<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let is_set = |(name, value): &(Cow<'_, str>, &RawValue)| name == key && value.get() != "null";
        if !self.members.iter().any(is_set) {
            self.fault(key, "is required");
        }
        self.parsed(key, parse)
    }

    /// A text of at most `max` characters.
    pub fn short(&mut self, key: &str, max: usize) -> Option<String> {
        let text = self.text(key)?;
        if text.chars().count() <= max {
            return Some(text);
        }
        self.fault(key, format!("must have at most {max} characters"));
        None
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        match self.scalar(key)? {
            Value::Bool(flag) => Some(flag),
            Value::String(text) if self.style == Style::Configuration && (text == "true" || text == "false") => {
                Some(text == "true")
            }
            value => {
                self.fault(key, format!("must be true or false, not {}", shown(&value)));
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
        self.fault(key, format!("must be a number from {min} to {max}, not {}", shown(&value)));
        None
    }

    /// A whole number from `min` to `max`, which must be exact as a double (at most 2^53).
    pub fn whole(&mut self, key: &str, min: u64, max: u64) -> Option<u64> {
        let value = self.scalar(key)?;
        let number = match &value {
            Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(exact)),
            Value::String(text) if self.style == Style::Configuration => text.trim().parse().ok().and_then(exact),
            _ => None,
        };
        if let Some(number) = number.filter(|number| (min..=max).contains(number)) {
            return Some(number);
        }
        self.fault(key, format!("must be a whole number from {min} to {max}, not {}", shown(&value)));
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

    /// A list of at least one of `what`, for [`each`](super::each); any other value is a fault.
    pub fn filled(&mut self, key: &str, what: &str) -> Option<&'p RawValue> {
        let list = self.raw(key).filter(|list| {
            let inner = list.get().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            inner.is_some_and(|inner| !inner.trim().is_empty())
        });
        if list.is_none() {
            self.fault(key, format!("must be a list of at least one {what}"));
        }
        list
    }

    /// The text at `index` of the list at `key`, parsed as by [`Self::parsed`].
    pub fn element<T, E: fmt::Display>(
        &mut self,
        key: &str,
        index: usize,
        value: &RawValue,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match scalar_of(value).as_str().map(parse) {
            Some(Ok(parsed)) => return Some(parsed),
            Some(Err(error)) => self.element_fault(key, index, error.to_string()),
            None => self.element_fault(key, index, no_text(value)),
        }
        None
    }

    /// The object at `index` of the list at `key`.
    pub fn item<'s>(&'s mut self, key: &'s str, index: usize, value: &'p RawValue) -> Fields<'p, 's> {
        Fields::at(Path::Element(&self.path, key, index), Some(value), self.style, self.faults)
    }

    /// The paths of the members that were not requested. A member that occurs twice in one of them
    /// is a fault all the same.
    #[must_use]
    pub fn unknown(self) -> Vec<String> {
        let names = self.members.iter().map(|(key, _)| self.name(key)).collect();
        let Self { path, members, style, faults } = self;
        for (key, value) in members.into_iter().filter(|(_, value)| value.get().starts_with('{')) {
            let _ = Fields::at(Path::Member(&path, &key), Some(value), style, faults).unknown();
        }
        names
    }

    /// Ends a strict object: each member that was not requested is a fault.
    pub fn close(mut self) {
        for (key, _) in std::mem::take(&mut self.members) {
            let text = if self.style == Style::Configuration { "is not a key of this section" } else { UNKNOWN };
            self.fault(&key, text);
        }
    }
}

/// The name of an object in a fault; the object as a whole has no path.
fn name_of(path: &Path<'_>, style: Style) -> String {
    match (path, style) {
        (Path::Root, Style::Message) => "payload".into(),
        (Path::Root, Style::Configuration) => "text".into(),
        (path, _) => path.to_string(),
    }
}

/// Why a value is no text.
fn no_text(value: &RawValue) -> &'static str {
    if value.get().starts_with('"') {
        "has an escape that is no Unicode text, such as half of a surrogate pair"
    } else {
        "must be a string"
    }
}

/// A wrong value for a message; a list or an object is not shown.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => "a list or an object".into(),
        Value::String(text) => {
            let cut: String = text.chars().take(MAX_SHOWN).collect();
            format!("{cut:?}{}", if cut.len() < text.len() { "..." } else { "" })
        }
        value => value.to_string(),
    }
}

pub(super) const UNKNOWN: &str = "is not a member of this operation";
