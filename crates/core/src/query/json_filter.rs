//! The original system's filters: an object of values that fields must equal, nested where the record is.

use serde_json::{Map, Value as Json};

use super::field::GROUPS;
use super::parser::{Literal, parse_field};
use super::{Comparison, Condition, Field, Filter, Test};
use crate::{Error, Result};

impl Filter {
    /// Returns the filter of an object like `{"type": "vision", "metadata": {"num_classes": 10}}`; a key may also be written
    /// as the filter language does (`"metadata.num_classes"`). `null` asks for a field that is missing.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field that does not exist or cannot have the value, or the limit that is passed.
    pub fn from_json(object: &Map<String, Json>) -> Result<Filter> {
        let mut filter = Filter::default();
        for (key, value) in object {
            match value {
                Json::Object(below) if GROUPS.contains(&key.as_str()) => {
                    collect(vec![key.clone()], below, &mut filter)?;
                }
                value => {
                    let field = parse_field(key).map_err(|rule| invalid(key, value, rule))?;
                    filter.push(field, key, value)?;
                }
            }
        }
        Ok(filter)
    }

    fn push(&mut self, field: Field, name: &str, value: &Json) -> Result<()> {
        let literal = match value {
            Json::Null => None,
            Json::String(text) => Some(Literal::Quoted(text.clone())),
            Json::Bool(truth) => Some(Literal::Word(truth.to_string())),
            Json::Number(number) => Some(Literal::Word(number.to_string())),
            Json::Array(_) | Json::Object(_) => {
                return Err(invalid(name, value, "must be a text, a number, true, false or null"));
            }
        };
        let test = match literal {
            None => Test::IsNull,
            Some(literal) => {
                let value = field.value(&literal).map_err(|rule| invalid(name, value, rule))?;
                Test::Compare(Comparison::Equal, value)
            }
        };
        self.conditions.push(Condition { field, test });
        self.check()
    }
}

/// The depth is bounded by the reader of the JSON text, and the number of conditions here.
fn collect(names: Vec<String>, object: &Map<String, Json>, filter: &mut Filter) -> Result<()> {
    for (key, value) in object {
        let names: Vec<String> = names.iter().cloned().chain([key.clone()]).collect();
        match value {
            Json::Object(below) => collect(names, below, filter)?,
            value => {
                let name = names.join(".");
                let field = Field::from_names(&names).map_err(|rule| invalid(&name, value, rule))?;
                filter.push(field, &name, value)?;
            }
        }
    }
    Ok(())
}

fn invalid(name: &str, value: &Json, rule: impl Into<String>) -> Error {
    Error::invalid(format!("filters.{name}"), value, rule)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(value: Json) -> Result<Filter> {
        Filter::from_json(value.as_object().unwrap())
    }

    #[test]
    fn objects_mean_the_same_as_the_language() {
        for (object, text) in [
            (json!({}), ""),
            (json!({"type": "vision", "version": 3}), "type = vision AND version = 3"),
            (
                json!({"metadata": {"num_classes": 10, "a.b": {"c": "1"}}}),
                "metadata.num_classes = 10 AND metadata.`a.b`.c = '1'",
            ),
            (json!({"metadata.num_classes": 10}), "metadata.num_classes = 10"),
            (json!({"is_pretrained": true, "accuracy": null}), "is_pretrained = true AND accuracy IS NULL"),
            (json!({"tags": {"作物": "小麦"}}), "tags.作物 = 小麦"),
        ] {
            assert_eq!(filter(object).unwrap(), text.parse().unwrap(), "{text}");
        }
    }

    #[test]
    fn mistakes_name_the_field() {
        let many: Map<String, Json> = (0..33).map(|number| (number.to_string(), json!(1))).collect();
        for (object, expected) in [
            (json!({"colour": "red"}), "`filters.colour` is `\"red\"`"),
            (json!({"status": "running"}), "`filters.status`"),
            (json!({"type": ["a"]}), "must be a text, a number"),
            (json!({"type": {"a": 1}}), "must be a text, a number"),
            (json!({"metadata": 1}), "`metadata` is a group"),
            (json!({"metadata": many}), "33 conditions"),
        ] {
            let error = filter(object).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
