//! Lists of names in JSON.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    faults::Faults,
    found::{Found, MORE_PAGES, quoted},
};

/// The members of a JSON object in their order, each value as it is written in the text.
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
    /// The value of the only member with one of these names.
    ///
    /// # Errors
    /// No member has such a name, or more than one.
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

/// Whether a member of this name comes from AWS: a `nextToken`, which is null here, or what the SDK
/// for Python adds to a response.
fn is_of_aws(name: &str) -> bool {
    name.eq_ignore_ascii_case("nextToken") || name == "ResponseMetadata"
}

/// Reads JSON of the AWS CLI: an object with a list of objects, or the part of it that `--query`
/// selects.
pub(super) fn json(text: &str, found: &mut Found<'_>) -> Result<(), Faults> {
    let kind = found.kind;
    let unreadable = |error: serde_json::Error| {
        Faults::one(Some(error.line()), format!("this looks like JSON and cannot be read: {error}"))
    };
    // Borrowed values are slices of the text, so their position in the text is known.
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
        let list = members.only(kind.lists).map_err(|text| Faults::one(Some(line(whole)), text))?;
        // The author of the list would expect such a member, for example dryRun, to take effect.
        let is_known = |name: &str| kind.lists.contains(&name) || is_of_aws(name);
        if let Some((name, value)) = members.0.iter().find(|(name, _)| !is_known(name)) {
            let text = format!(
                "the JSON object has the member {}, which has no effect in a list of names; remove it, and use the \
                 command's options",
                quoted(name)
            );
            return Err(Faults::one(Some(line(value)), text));
        }
        list
    } else {
        whole
    };
    let items: Vec<&RawValue> = serde_json::from_str(list.get())
        .map_err(|_| Faults::one(Some(line(list)), format!("{} is not a list", quoted(list.get()))))?;
    for item in items {
        let value = match serde_json::from_str::<Members<'_>>(item.get()) {
            Ok(members) => members.only(&[kind.column]),
            Err(_) => Ok(item),
        };
        let name = value.and_then(|value| {
            let name = serde_json::from_str::<String>(value.get());
            name.map_err(|_| format!("{} is neither a name nor an object with {}", quoted(value.get()), kind.column))
        });
        match name {
            Ok(name) => found.name(|| line(item), &name),
            Err(text) => found.fault(|| line(item), || text),
        }
    }
    Ok(())
}
