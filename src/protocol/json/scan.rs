//! Iterates over objects and lists without building them: the callbacks get parts of the text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// Passes each element of a list to `take`, with its index.
pub fn each<'p>(list: &'p RawValue, take: impl FnMut(usize, &'p RawValue)) {
    // The text as a whole was parsed before: it is a list, and it has no fault.
    let _ = serde_json::Deserializer::from_str(list.get()).deserialize_seq(Each(take));
}

/// Passes each member of an object to `take`, in their order.
///
/// # Errors
/// A name that is not Unicode, which ends the iteration.
pub(super) fn members<'p>(text: &'p str, take: impl FnMut(Cow<'p, str>, &'p RawValue)) -> serde_json::Result<()> {
    serde_json::Deserializer::from_str(text).deserialize_map(Gather(take))
}

/// A value that is neither a list nor an object; an empty list in place of these.
pub(super) fn scalar_of(value: &RawValue) -> Value {
    let nothing = || Value::Array(Vec::new());
    if value.get().starts_with(['[', '{']) { nothing() } else { serde_json::from_str(value.get()).unwrap_or(nothing()) }
}

/// A member's name, borrowed from the text if it has no escapes.
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

struct Gather<F>(F);

impl<'p, F: FnMut(Cow<'p, str>, &'p RawValue)> Visitor<'p> for Gather<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'p>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = map.next_entry::<Key<'p>, &'p RawValue>()? {
            (self.0)(key, value);
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

/// A double as a whole number, if it is exactly one.
pub(super) fn exact(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and from 0 to 2^53")]
    (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}
