//! Numbers of a document: themselves, or what a parameter makes of them.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::quote::quote;

/// A number as its writer wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NumberText {
    /// Itself.
    Constant(f64),
    /// `times` the parameter, and `plus` beside it.
    Scaled { parameter: String, times: f64, plus: f64 },
}

/// The long form.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Scaled {
    parameter: String,
    #[serde(default = "one")]
    times: f64,
    #[serde(default)]
    plus: f64,
}

fn one() -> f64 {
    1.0
}

impl<'de> Deserialize<'de> for NumberText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NumberText, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = NumberText;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, the name of a parameter, or {\"parameter\", \"times\", \"plus\"}")
    }

    fn visit_f64<E>(self, value: f64) -> Result<NumberText, E> {
        Ok(NumberText::Constant(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<NumberText, E> {
        Ok(NumberText::Constant(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<NumberText, E> {
        Ok(NumberText::Constant(value as f64))
    }

    fn visit_str<E>(self, name: &str) -> Result<NumberText, E> {
        Ok(NumberText::Scaled { parameter: name.to_owned(), times: 1.0, plus: 0.0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<NumberText, A::Error> {
        let Scaled { parameter, times, plus } = Scaled::deserialize(MapAccessDeserializer::new(fields))?;
        Ok(NumberText::Scaled { parameter, times, plus })
    }
}

/// Numbers by the names of variables, each name once.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Coefficients(pub(super) Vec<(String, NumberText)>);

impl<'de> Deserialize<'de> for Coefficients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Coefficients, D::Error> {
        deserializer.deserialize_map(CoefficientsVisitor)
    }
}

struct CoefficientsVisitor;

impl<'de> Visitor<'de> for CoefficientsVisitor {
    type Value = Coefficients;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with a number for each variable that takes part")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Coefficients, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut coefficients = Vec::new();
        while let Some((name, number)) = fields.next_entry::<String, NumberText>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("{} stands there twice", quote(&name))));
            }
            coefficients.push((name, number));
        }
        Ok(Coefficients(coefficients))
    }
}
