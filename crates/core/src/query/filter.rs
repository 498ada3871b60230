//! Filters: conditions that must all hold.

use std::fmt;
use std::str::FromStr;

use super::parser::parse_conditions;
use super::scalars::scalars;
use super::{Comparison, Condition, Field, FieldPath, Test, Value};
use crate::{Entry, Error, Result};

/// The most conditions of one filter.
pub(super) const MOST_CONDITIONS: usize = 32;

/// The longest filter, in characters.
pub(super) const LONGEST_FILTER: usize = 4096;

/// Conditions that must all hold. Without any, every version matches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// The conditions.
    pub conditions: Vec<Condition>,
}

impl Filter {
    /// Adds the condition that a typed text field (such as a type or a status) has this value.
    #[must_use]
    pub fn and_equal(self, field: Field, text: impl Into<String>) -> Filter {
        self.and(Condition { field, test: Test::Compare(Comparison::Equal, Value::Text(text.into())) })
    }

    /// Adds a condition.
    #[must_use]
    pub fn and(mut self, condition: Condition) -> Filter {
        self.conditions.push(condition);
        self
    }

    /// Returns whether every condition holds for a version.
    pub fn matches(&self, entry: &Entry) -> bool {
        let names_paths = self.conditions.iter().any(|condition| matches!(condition.field, Field::Path(_)));
        let scalars = if names_paths { scalars(&entry.record) } else { Vec::new() };
        self.conditions.iter().all(|Condition { field, test }| match field {
            Field::Path(path) => test.holds(scalar(&scalars, path)),
            typed => test.holds(typed.of(entry).as_ref()),
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        let count = self.conditions.len();
        if count > MOST_CONDITIONS {
            let rule = format!("it has {count} conditions, and at most {MOST_CONDITIONS} are taken");
            return Err(Error::invalid("filter", self, rule));
        }
        match self.conditions.iter().find(|condition| !condition.fits()) {
            Some(condition) => Err(Error::invalid("filter", condition, "the value is not of the kind the field holds")),
            None => Ok(()),
        }
    }
}

fn scalar<'a>(scalars: &'a [(FieldPath, Value)], path: &FieldPath) -> Option<&'a Value> {
    scalars.iter().find(|(found, _)| found == path).map(|(_, value)| value)
}

impl Field {
    /// Returns the value of this field, if the version has one.
    pub fn of(&self, entry: &Entry) -> Option<Value> {
        let record = &entry.record;
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        match self {
            Field::ModelId => text(record.model_id.as_str()),
            Field::Base => text(entry.base.as_str()),
            Field::Name => text(&record.name),
            Field::Type => text(record.model_type.as_str()),
            Field::Framework => text(record.framework.as_str()),
            Field::Status => text(record.status.as_str()),
            Field::Version => Some(Value::Version(record.version.clone())),
            Field::Ordinal => Some(Value::Whole(entry.ordinal)),
            Field::Digest => record.digest().map(|digest| Value::Text(digest.to_string())),
            Field::SizeBytes => record.size_bytes().map(Value::Whole),
            Field::CreatedAt => Some(Value::Time(record.created_at)),
            Field::UpdatedAt => Some(Value::Time(record.updated_at)),
            Field::Description => record.fields.get("description").and_then(|value| value.as_str()).and_then(text),
            Field::Path(path) => scalar(&scalars(record), path).cloned(),
        }
    }
}

/// Reads the filter language; `docs/search.md` describes it.
impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Filter> {
        let length = text.chars().count();
        if length > LONGEST_FILTER {
            let rule = format!("it has {length} characters, and at most {LONGEST_FILTER} are read");
            return Err(Error::invalid("filter", text, rule));
        }
        let conditions = parse_conditions(text).map_err(|rule| Error::invalid("filter", text, rule))?;
        let filter = Filter { conditions };
        filter.check()?;
        Ok(filter)
    }
}

/// As the filter language writes it.
impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.conditions.iter().enumerate() {
            let and = if index == 0 { "" } else { " AND " };
            write!(formatter, "{and}{condition}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry() -> Entry {
        let record = json!({
            "model_id": "小麦_v2", "name": "小麦分类", "type": "vision", "framework": "pytorch", "version": "1.0.10",
            "status": "ready", "created_at": "2026-03-01T12:00:00Z", "updated_at": "2026-03-02T00:00:00Z",
            "size_bytes": 9_007_199_254_740_993_u64, "accuracy": 0.93, "is_pretrained": true,
            "metadata": {"num_classes": 12, "a.b": "点", "nested": {"lr": 1e-3}, "labels": ["x"], "nothing": null},
            "tags": {"作物": "小麦", "stage": 3},
        });
        Entry {
            base: "小麦".parse().unwrap(),
            ordinal: 2,
            revision: 2,
            record: serde_json::from_value(record).unwrap(),
        }
    }

    #[test]
    fn conditions_mean_what_they_say() {
        for (filter, expected) in [
            ("", true),
            ("type = vision AND metadata.num_classes >= 10 AND tags.作物 = '小麦'", true),
            ("type = vision AND metadata.num_classes >= 13", false),
            ("metadata.num_classes = 12.0", true),
            ("metadata.num_classes = '12'", false),
            ("metadata.num_classes != '12'", true),
            ("metadata.num_classes < 'a'", false),
            ("metadata.`a.b` = 点", true),
            ("metadata.nested.lr<=0.001", true),
            ("metadata.missing != 1", false),
            ("metadata.missing IS NULL and metadata.nothing is null", true),
            ("metadata.labels IS NOT NULL", false),
            ("tags.stage = 3", true),
            ("version > 1.0.9 AND version < 2", true),
            ("version = v1.0.10", true),
            ("size_bytes = 9007199254740993", true),
            ("size_bytes = 9007199254740992", false),
            ("created_at >= '2026-03-01' AND created_at < 2026-03-02", true),
            ("name LIKE '小%类'", true),
            ("name LIKE '小%麦'", false),
            ("status IN (ready, stopped)", true),
            ("status IN ('stopped')", false),
            ("is_pretrained = true AND accuracy > .9", true),
            ("digest IS NULL AND description IS NULL", true),
            ("ordinal = 2 AND base != \"rice\"", true),
        ] {
            let parsed: Filter = filter.parse().unwrap_or_else(|error| panic!("{filter}: {error}"));
            assert_eq!(parsed.matches(&entry()), expected, "{filter}");
            let again: Filter = parsed.to_string().parse().unwrap();
            assert_eq!(again, parsed, "{filter} is written as {parsed}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (filter, expected) in [
            ("colour = red", "at character 1 there is no field `colour`"),
            ("metadata = 1", "`metadata` is a group"),
            ("type.x = 1", "`type` has nothing below it"),
            ("type vision", "at character 6 one of =, !=, <, <=, >, >=, LIKE, IN, IS was expected and `vision` found"),
            ("type =", "at character 7 a value was expected and the end found"),
            ("type == vision", "at character 7 a value was expected and `=` found"),
            ("type = vision OR type = nlp", "at character 15 AND or the end was expected and `OR` found; OR is not"),
            ("type = vision type = nlp", "at character 15 AND"),
            ("(type = vision)", "at character 1 the name of a field was expected and `(type` found"),
            ("type = vision AND", "at character 18 the name of a field was expected and the end found"),
            ("type = 'vision", "the ' at character 8 is never closed"),
            ("metadata.`x = 1", "the ` at character 10 is never closed"),
            ("status = running", "at character 10 `status` is compared with a status (registered,"),
            ("size_bytes > big", "`size_bytes` is compared with a whole number"),
            ("ordinal = -1", "and `-1` is none"),
            ("version < latest", "`version` is compared with a version like"),
            ("created_at > yesterday", "`created_at` is compared with a time like"),
            ("version LIKE '1%'", "`version` is not a text"),
            ("type IN vision", "at character 9 `(` was expected and `vision` found"),
            ("type IN (a b)", "at character 12 `,` or `)` was expected and `b)` found"),
            ("type IS vision", "NULL or NOT NULL was expected"),
            ("作物 = 1", "there is no field `作物`"),
        ] {
            let error = filter.parse::<Filter>().unwrap_err();
            assert_eq!(error.field(), Some("filter"));
            assert!(error.to_string().contains(expected), "{filter}: {error}");
        }
    }

    #[test]
    fn filters_that_would_explode_are_refused_with_both_numbers() {
        let many = vec!["type = a"; MOST_CONDITIONS + 1].join(" AND ");
        let values = format!("type IN ({})", vec!["a"; 257].join(","));
        for (filter, expected) in [
            (many, "it has 33 conditions, and at most 32"),
            (values, "IN has more than 256 values"),
            (format!("name = '{}'", "长".repeat(LONGEST_FILTER)), "it has 4105 characters, and at most 4096"),
        ] {
            let error = filter.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
