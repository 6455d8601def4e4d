//! The kinds of keys, and how each is read from its section.

use std::{fmt::Display, ops::RangeInclusive};

use serde_json::Value;

use crate::protocol::json::Fields;

/// A key of the configuration that accepts values of the kind `T`.
#[derive(Debug)]
pub(in crate::config) struct Key<T> {
    /// The section, if it is in one, and the name, with a dot between them.
    path: &'static str,
    takes: T,
    #[cfg_attr(not(test), expect(dead_code, reason = "only the documents have it"))]
    meaning: &'static str,
}

/// A whole number within a range.
#[derive(Debug)]
pub(in crate::config) struct Whole {
    default: u64,
    range: RangeInclusive<u64>,
}

/// A number within a range, both ends included.
#[derive(Debug)]
pub(in crate::config) struct Number {
    default: f64,
    range: (f64, f64),
}

/// True or false; the default is false.
#[derive(Debug)]
pub(in crate::config) struct Flag;

/// A text.
#[derive(Debug)]
pub(in crate::config) struct Text {
    /// The default, if it is the same everywhere.
    default: Option<&'static str>,
    /// What the documents say of the default, where it is not.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the documents have it"))]
    unset: &'static str,
}

/// A list of texts; the default is empty.
#[derive(Debug)]
pub(in crate::config) struct Texts;

pub(super) const fn whole(
    path: &'static str,
    default: u64,
    range: RangeInclusive<u64>,
    meaning: &'static str,
) -> Key<Whole> {
    Key { path, takes: Whole { default, range }, meaning }
}

pub(super) const fn number(path: &'static str, default: f64, range: (f64, f64), meaning: &'static str) -> Key<Number> {
    Key { path, takes: Number { default, range }, meaning }
}

pub(super) const fn flag(path: &'static str, meaning: &'static str) -> Key<Flag> {
    Key { path, takes: Flag, meaning }
}

pub(super) const fn text(path: &'static str, default: &'static str, meaning: &'static str) -> Key<Text> {
    Key { path, takes: Text { default: Some(default), unset: "" }, meaning }
}

pub(super) const fn unset(path: &'static str, unset: &'static str, meaning: &'static str) -> Key<Text> {
    Key { path, takes: Text { default: None, unset }, meaning }
}

pub(super) const fn texts(path: &'static str, meaning: &'static str) -> Key<Texts> {
    Key { path, takes: Texts, meaning }
}

impl<T> Key<T> {
    /// The name within the section.
    pub(in crate::config) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Notes a fault of this key, whose section is `fields`.
    pub(in crate::config) fn fault(&self, fields: &mut Fields<'_, '_>, message: impl Into<String>) {
        fields.fault(self.name(), message);
    }
}

impl Key<Whole> {
    /// The value, or the default where it is unset or wrong; a wrong value is noted as a fault.
    pub(in crate::config) fn read(&self, section: &mut Fields<'_, '_>) -> u64 {
        let Whole { default, range } = &self.takes;
        section.whole(self.name(), *range.start(), *range.end()).unwrap_or(*default)
    }
}

impl Key<Number> {
    /// As [`Key<Whole>::read`].
    pub(in crate::config) fn read(&self, section: &mut Fields<'_, '_>) -> f64 {
        let Number { default, range: (min, max) } = self.takes;
        section.number(self.name(), min, max).unwrap_or(default)
    }
}

impl Key<Flag> {
    /// As [`Key<Whole>::read`].
    pub(in crate::config) fn read(&self, section: &mut Fields<'_, '_>) -> bool {
        section.flag(self.name()).unwrap_or(false)
    }
}

impl Key<Texts> {
    /// The elements, of which not every one need be a text; as [`Key<Whole>::read`].
    pub(in crate::config) fn read(&self, section: &mut Fields<'_, '_>) -> Vec<Value> {
        section.list(self.name()).unwrap_or_default()
    }
}

impl Key<Text> {
    /// The value, or the default if there is one; a value that is no text is noted as a fault.
    pub(in crate::config) fn read(&self, section: &mut Fields<'_, '_>) -> Option<String> {
        section.text(self.name()).or_else(|| self.takes.default.map(str::to_owned))
    }

    /// The same, parsed by `parse`, whose error continues the sentence "`key` ". A value that is
    /// wrong is noted as a fault, and is `None`.
    pub(in crate::config) fn parsed<V, E: Display>(
        &self,
        section: &mut Fields<'_, '_>,
        parse: impl FnOnce(&str) -> Result<V, E>,
    ) -> Option<V> {
        let text = self.read(section)?;
        parse(&text).map_err(|error| self.fault(section, error.to_string())).ok()
    }
}

/// What the documents say of a key.
#[cfg(test)]
pub(super) trait Described {
    fn path(&self) -> &'static str;

    fn meaning(&self) -> &'static str;

    /// The default, as Markdown.
    fn default(&self) -> String;

    /// The first and the last value of its range.
    fn range(&self) -> Option<(String, String)>;
}

#[cfg(test)]
impl<T: Values> Described for Key<T> {
    fn path(&self) -> &'static str {
        self.path
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn default(&self) -> String {
        self.takes.default()
    }

    fn range(&self) -> Option<(String, String)> {
        self.takes.range()
    }
}

/// The part of [`Described`] that depends on the kind of the key.
#[cfg(test)]
pub(super) trait Values {
    fn default(&self) -> String;

    fn range(&self) -> Option<(String, String)> {
        None
    }
}

#[cfg(test)]
impl Values for Whole {
    fn default(&self) -> String {
        self.default.to_string()
    }

    fn range(&self) -> Option<(String, String)> {
        Some((self.range.start().to_string(), self.range.end().to_string()))
    }
}

#[cfg(test)]
impl Values for Number {
    fn default(&self) -> String {
        format!("{:?}", self.default)
    }

    fn range(&self) -> Option<(String, String)> {
        Some((self.range.0.to_string(), self.range.1.to_string()))
    }
}

#[cfg(test)]
impl Values for Flag {
    fn default(&self) -> String {
        "false".into()
    }
}

#[cfg(test)]
impl Values for Texts {
    fn default(&self) -> String {
        "`[]`".into()
    }
}

#[cfg(test)]
impl Values for Text {
    fn default(&self) -> String {
        self.default.map_or_else(|| self.unset.into(), |default| format!("`{default}`"))
    }
}
