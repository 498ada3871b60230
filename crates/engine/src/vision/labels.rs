//! Labels: the names of classes as a version's metadata declares them.

use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

const FIELD: &str = "metadata.labels";

/// The names of all classes, by class id.
#[derive(Debug, PartialEq)]
pub(crate) struct Labels(Vec<String>);

impl Labels {
    /// Reads `labels`: an array of names, or an object from class id to name. `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the entry that is neither, twice there, or missing.
    pub(crate) fn of_metadata(metadata: &Map<String, Value>) -> Result<Option<Labels>> {
        let names = match metadata.get("labels") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(names)) => {
                names.iter().enumerate().map(|(id, value)| name(id, value)).collect::<Result<Vec<_>>>()?
            }
            Some(Value::Object(by_id)) => names_by_id(by_id)?,
            Some(other) => {
                return Err(Error::invalid(
                    FIELD,
                    other,
                    "must be an array of names, or an object from class id to name",
                ));
            }
        };
        Ok(Some(Labels(names)))
    }

    /// Compares the number of labels with the model's number of classes.
    ///
    /// # Errors
    /// [`Error::Contradiction`] with both numbers.
    pub(crate) fn check_count(&self, classes: usize) -> Result<()> {
        if self.0.len() == classes {
            return Ok(());
        }
        Err(Error::Contradiction {
            field: FIELD.into(),
            claimed: format!("{} labels", self.0.len()),
            found: format!("{classes} classes"),
            file: "the output of the model".into(),
        })
    }

    /// Returns the names by class id.
    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }

    /// Returns the class of this name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| known == name)
    }

    /// Returns the name of a class that [`check_count`](Labels::check_count) allows.
    pub(crate) fn name(&self, class_id: usize) -> &str {
        &self.0[class_id]
    }
}

fn name(id: usize, value: &Value) -> Result<String> {
    let not_text = || Error::invalid(format!("{FIELD}[{id}]"), value, "must be a name");
    value.as_str().map(str::to_owned).ok_or_else(not_text)
}

fn names_by_id(by_id: &Map<String, Value>) -> Result<Vec<String>> {
    let mut names = vec![None; by_id.len()];
    for (key, value) in by_id {
        // Without gaps the ids are exactly 0 to one less than their number.
        let slot = key.parse::<usize>().ok().and_then(|id| Some((id, names.get_mut(id)?)));
        let Some((id, slot)) = slot else {
            let rule = format!("must be a class id from 0 to {}, as there are {} labels", by_id.len() - 1, by_id.len());
            return Err(Error::invalid(FIELD, key, rule));
        };
        if slot.replace(name(id, value)?).is_some() {
            return Err(Error::invalid(FIELD, key, "must name each class once"));
        }
    }
    Ok(names.into_iter().map(|name| name.expect("as many distinct ids below the count as there are slots")).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(value: Value) -> Result<Option<Labels>> {
        Labels::of_metadata(json!({ "labels": value }).as_object().unwrap())
    }

    #[test]
    fn both_forms_mean_the_same() {
        let array = labels(json!(["小麦", "rice", "maize"])).unwrap().unwrap();
        let object = labels(json!({"2": "maize", "0": "小麦", "1": "rice"})).unwrap().unwrap();
        assert_eq!(array, object);
        assert_eq!(array.name(0), "小麦");
        assert_eq!(labels(Value::Null).unwrap(), None);
    }

    #[test]
    fn unusable_labels_are_named() {
        let cases = [
            (json!("wheat"), "array"),
            (json!(["a", 3]), "metadata.labels[1]"),
            (json!({"0": "a", "2": "b"}), "`2`"),
            (json!({"0": "a", "zero": "b"}), "`zero`"),
            (json!({"0": "a", "00": "b"}), "once"),
            (json!({"0": ["a"]}), "metadata.labels[0]"),
        ];
        for (value, expected) in cases {
            let error = labels(value).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn wrong_number_is_a_contradiction_with_both_numbers() {
        let error = labels(json!(["a", "b"])).unwrap().unwrap().check_count(3).unwrap_err().to_string();
        assert!(error.contains("2 labels") && error.contains("3 classes"), "{error}");
    }
}
