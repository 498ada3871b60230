//! Objects whose names are the user's.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Names and values in their order. A name that is there twice stays so, because it is a mistake, whoever would win.
#[derive(Debug)]
pub(crate) struct NamedValues<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for NamedValues<T> {
    fn default() -> NamedValues<T> {
        NamedValues(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for NamedValues<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NamedValues<T>, D::Error> {
        deserializer.deserialize_map(NamedValuesVisitor(PhantomData))
    }
}

struct NamedValuesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedValuesVisitor<T> {
    type Value = NamedValues<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As of a map, which is what it looks like.
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<NamedValues<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            values.push(entry);
        }
        Ok(NamedValues(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_was_given_twice_lost_its_first_value() {
        let values: NamedValues<f64> = serde_json::from_str(r#"{"water": 1, "land": 2, "water": 3}"#).unwrap();
        let expected = [("water", 1.0), ("land", 2.0), ("water", 3.0)].map(|(name, value)| (name.to_owned(), value));
        assert_eq!(values.0, expected);
    }
}
