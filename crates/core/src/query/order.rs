//! In which order versions are listed.

use std::fmt;
use std::str::FromStr;

use super::{Field, Value};
use crate::{Entry, Error, Result};

/// A field and a direction. Versions that are equal by the field stand in order of registration, in the same direction;
/// those that lack it come last, whatever the direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What decides.
    pub by: OrderBy,
    /// Which end comes first.
    pub direction: Direction,
}

/// What decides the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderBy {
    /// The order of registration.
    Registration,
    /// The value of a field.
    Field(Field),
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The smallest, earliest.
    Ascending,
    /// The largest, latest.
    Descending,
}

impl Default for Order {
    fn default() -> Order {
        Order { by: OrderBy::Registration, direction: Direction::Descending }
    }
}

impl Order {
    /// Returns the value by which a version is ordered; `None` if it has none, or if registration decides.
    pub fn value_of(&self, entry: &Entry) -> Option<Value> {
        match &self.by {
            OrderBy::Registration => None,
            OrderBy::Field(field) => field.of(entry),
        }
    }

    /// Checks that the field can decide.
    pub(super) fn check(&self) -> Result<()> {
        match &self.by {
            OrderBy::Registration => Ok(()),
            OrderBy::Field(field) => match field {
                Field::ModelId | Field::Name | Field::Version | Field::SizeBytes | Field::CreatedAt => Ok(()),
                Field::UpdatedAt | Field::Path(_) => Ok(()),
                Field::Base | Field::Type | Field::Framework | Field::Status => Err(not_an_order(field)),
                Field::Ordinal | Field::Digest | Field::Description => Err(not_an_order(field)),
            },
        }
    }
}

fn not_an_order(field: &Field) -> Error {
    let rule = "the order is by registration, model_id, name, version, size_bytes, created_at, updated_at, accuracy, or a \
                key below metadata, metrics, tags, quantization, inspected or integrity";
    Error::invalid("order_by", field, rule)
}

/// Reads `created_at`, `-created_at` (descending), `metrics.f1 DESC`, `registration`.
impl FromStr for Order {
    type Err = Error;

    fn from_str(text: &str) -> Result<Order> {
        let mut name = text.trim();
        let mut direction = Direction::Ascending;
        if let Some(rest) = name.strip_prefix('-') {
            (name, direction) = (rest.trim_start(), Direction::Descending);
        } else if let Some((rest, word)) = name.rsplit_once(char::is_whitespace) {
            match word.to_ascii_uppercase().as_str() {
                "ASC" => name = rest.trim_end(),
                "DESC" => (name, direction) = (rest.trim_end(), Direction::Descending),
                _ => {}
            }
        }
        let by = match name {
            "registration" => OrderBy::Registration,
            name => {
                let field = super::parser::parse_field(name);
                OrderBy::Field(field.map_err(|rule| Error::invalid("order_by", text, rule))?)
            }
        };
        let order = Order { by, direction };
        order.check()?;
        Ok(order)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.direction == Direction::Descending {
            formatter.write_str("-")?;
        }
        match &self.by {
            OrderBy::Registration => formatter.write_str("registration"),
            OrderBy::Field(field) => fmt::Display::fmt(field, formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_a_direction_mean_the_same() {
        for (text, written) in [
            ("created_at", "created_at"),
            ("created_at asc", "created_at"),
            ("-created_at", "-created_at"),
            ("created_at DESC", "-created_at"),
            ("metrics.`top 1`  desc", "-metrics.`top 1`"),
            ("-registration", "-registration"),
        ] {
            assert_eq!(text.parse::<Order>().unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_order_is_named() {
        for (text, expected) in [
            ("colour", "there is no field `colour`"),
            ("description", "the order is by registration"),
            ("created_at sideways", "`created_at sideways`"),
            ("", "field"),
        ] {
            let error = text.parse::<Order>().unwrap_err();
            assert_eq!(error.field(), Some("order_by"), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
