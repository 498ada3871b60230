//! Hyper-parameters: what the user claims, checked against what the file says.

use serde_json::{Map, Value};

use crate::{Error, Result};

/// The outcome of the check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// All hyper-parameters: the file's, and the claims about which the file says nothing.
    pub metadata: Map<String, Value>,
    /// Names of the claims about which the file says nothing.
    pub unverified: Vec<String>,
}

/// Merges claims with the values read from a file.
///
/// # Errors
/// [`Error::Contradiction`] with both values when a claim disagrees with the file called `file`.
pub fn check_hyper_parameters(claimed: &Map<String, Value>, found: &Map<String, Value>, file: &str) -> Result<Checked> {
    let mut checked = Checked { metadata: claimed.clone(), unverified: Vec::new() };
    for (name, claim) in claimed {
        match found.get(name) {
            Some(value) if same_value(claim, value) => {}
            Some(value) => {
                return Err(Error::Contradiction {
                    field: format!("metadata.{name}"),
                    claimed: claim.to_string(),
                    found: value.to_string(),
                    file: file.to_owned(),
                });
            }
            None => checked.unverified.push(name.clone()),
        }
    }
    checked.metadata.extend(found.iter().map(|(name, value)| (name.clone(), value.clone())));
    check_label_count(&checked.metadata, file)?;
    Ok(checked)
}

/// Labels are a claim, but their number is not: there is one for each class.
fn check_label_count(metadata: &Map<String, Value>, file: &str) -> Result<()> {
    let labels = match metadata.get("labels") {
        Some(Value::Array(labels)) => labels.len(),
        Some(Value::Object(labels)) => labels.len(),
        _ => return Ok(()),
    };
    match metadata.get("num_classes").and_then(Value::as_u64) {
        Some(classes) if classes != labels as u64 => Err(Error::Contradiction {
            field: "metadata.labels".into(),
            claimed: format!("{labels} labels"),
            found: format!("{classes} classes"),
            file: file.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Compares numbers by value, so that a claim of `1e6` or `512.0` does not contradict `1000000` or `512`.
pub(crate) fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn contradiction_names_the_field_and_both_numbers() {
        let error = check_hyper_parameters(
            &object(json!({"vocab_size": 30000})),
            &object(json!({"vocab_size": 49152})),
            "model.gguf",
        )
        .unwrap_err()
        .to_string();
        assert_eq!(error, "`metadata.vocab_size` is claimed as 30000, but model.gguf says 49152");
    }

    #[test]
    fn number_of_labels_must_be_the_number_of_classes() {
        let found = object(json!({"num_classes": 3}));
        let error = check_hyper_parameters(&object(json!({"labels": ["小麦", "玉米"]})), &found, "model.pth");
        assert_eq!(
            error.unwrap_err().to_string(),
            "`metadata.labels` is claimed as 2 labels, but model.pth says 3 classes"
        );
        let labels = object(json!({"labels": {"0": "小麦", "1": "玉米", "2": "水稻"}}));
        check_hyper_parameters(&labels, &found, "model.pth").unwrap();
    }

    #[test]
    fn what_the_file_does_not_say_stays_a_claim() {
        let checked = check_hyper_parameters(
            &object(json!({"image_size": 224, "num_classes": 1000.0})),
            &object(json!({"num_classes": 1000, "image_channels": 3})),
            "model.pth",
        )
        .unwrap();
        assert_eq!(checked.unverified, ["image_size"]);
        assert_eq!(
            Value::Object(checked.metadata),
            json!({"image_size": 224, "num_classes": 1000, "image_channels": 3})
        );
    }
}
