//! Reads a JSON object member by member and collects every fault with its path, instead of stopping at the first.

use serde_json::{Map, Value};

use crate::model::FieldFault;
#[cfg(test)]
use crate::schemas::asked::{Ask, note};

/// How strictly values are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A client's message: JSON's own types.
    Message,
    /// A configuration that a nucleus may have rewritten: `300.0`, `"300"` and `"true"` count, `""` and `null` are unset.
    Configuration,
}

/// The members of one object that nobody has asked for yet.
#[derive(Debug)]
pub struct Fields<'f> {
    path: String,
    members: Map<String, Value>,
    style: Style,
    faults: &'f mut Vec<FieldFault>,
}

impl<'f> Fields<'f> {
    /// The members of `value`, which stands at `path` (empty for the whole). Anything but an object is a fault.
    pub fn of(value: Value, path: &str, style: Style, faults: &'f mut Vec<FieldFault>) -> Self {
        let members = match value {
            Value::Object(members) => members,
            Value::Null if style == Style::Configuration => Map::new(),
            Value::String(text) if text.is_empty() && style == Style::Configuration => Map::new(),
            _ => {
                faults.push(FieldFault { name: path.into(), message: "must be an object".into() });
                Map::new()
            }
        };
        Self { path: path.into(), members, style, faults }
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a fault of a member.
    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        let name = self.name(key);
        self.faults.push(FieldFault { name, message: message.into() });
    }

    /// The member as it is; `None` also where it is unset.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        #[cfg(test)]
        note(&self.name(key), Ask::Member);
        let value = self.members.remove(key)?;
        let unset = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty() || text == "null",
            _ => false,
        };
        (!(unset && self.style == Style::Configuration)).then_some(value)
    }

    /// The object at `key`, empty where it is missing.
    pub fn section(&mut self, key: &str) -> Fields<'_> {
        let value = self.take(key).unwrap_or_else(|| Value::Object(Map::new()));
        let path = self.name(key);
        Fields::of(value, &path, self.style, self.faults)
    }

    /// A text.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
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
        if !self.members.contains_key(key) {
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
        match self.take(key)? {
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
        let value = self.take(key)?;
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
        let value = self.take(key)?;
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

    /// A list.
    pub fn list(&mut self, key: &str) -> Option<Vec<Value>> {
        match self.take(key)? {
            Value::Array(items) => Some(items),
            _ => {
                self.fault(key, "must be a list");
                None
            }
        }
    }

    /// A list of at least one of `what`; empty, with a fault, where it is anything else.
    pub fn filled(&mut self, key: &str, what: &str) -> Vec<Value> {
        #[cfg(test)]
        note(&self.name(key), Ask::Filled);
        match self.take(key) {
            Some(Value::Array(items)) if !items.is_empty() => items,
            _ => {
                self.fault(key, format!("must be a list of at least one {what}"));
                Vec::new()
            }
        }
    }

    /// The text at `index` of the list at `key`, as [`Self::parsed`] takes one.
    pub fn element<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        index: usize,
        value: &Value,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let key = format!("{key}[{index}]");
        #[cfg(test)]
        note(&self.name(&key), Ask::Word(std::any::type_name::<T>()));
        match value.as_str().map(parse) {
            Some(Ok(parsed)) => return Some(parsed),
            Some(Err(error)) => self.fault(&key, error.to_string()),
            None => self.fault(&key, "must be a string"),
        }
        None
    }

    /// The object at `index` of the list at `key`.
    pub fn item(&mut self, key: &str, index: usize, value: Value) -> Fields<'_> {
        let path = format!("{}[{index}]", self.name(key));
        Fields::of(value, &path, self.style, self.faults)
    }

    /// The paths of the members that nobody asked for.
    #[must_use]
    pub fn unknown(self) -> Vec<String> {
        self.members.keys().map(|key| self.name(key)).collect()
    }

    /// Ends a strict object: what nobody asked for is a fault.
    pub fn close(mut self) {
        #[cfg(test)]
        note(&self.path, Ask::Closed);
        let members = std::mem::take(&mut self.members);
        for key in members.keys() {
            self.fault(key, "is not a member of this operation");
        }
    }
}

fn exact(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and from 0 to 2^53")]
    (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_fault_is_told_with_its_path() {
        let mut faults = Vec::new();
        let mut fields = Fields::of(json!({"a": 1, "b": {"c": "x"}, "d": true}), "", Style::Message, &mut faults);
        assert_eq!(fields.text("a"), None);
        assert_eq!(fields.section("b").whole("c", 0, 9), None);
        fields.close();
        let names: Vec<_> = faults.iter().map(|fault| fault.name.as_str()).collect();
        assert_eq!(names, ["a", "b.c", "d"]);
    }

    #[test]
    fn a_configuration_takes_what_a_nucleus_makes_of_a_number() {
        for value in [json!(300), json!(300.0), json!("300"), json!("300.0000"), json!(" 300 ")] {
            let mut faults = Vec::new();
            let mut fields = Fields::of(json!({"n": value}), "", Style::Configuration, &mut faults);
            assert_eq!(fields.whole("n", 1, 1000), Some(300));
        }
        let mut faults = Vec::new();
        let mut fields = Fields::of(
            json!({"a": "", "b": null, "c": "true", "d": "2.5", "e": "3.5"}),
            "",
            Style::Configuration,
            &mut faults,
        );
        assert_eq!((fields.text("a"), fields.text("b"), fields.flag("c")), (None, None, Some(true)));
        assert_eq!((fields.number("d", 0.0, 9.0), fields.whole("e", 0, 9)), (Some(2.5), None));
        assert_eq!(faults.len(), 1);
    }
}
