//! What may change of a record, and what a change does to its other fields.

use serde_json::{Map, Value, json};

use crate::{Edit, Error, Record, Result, check_depth};

/// The longest key and value of a tag in bytes, and the most tags of a version.
const LONGEST_TAG_KEY: usize = 250;
const LONGEST_TAG_VALUE: usize = 100_000;
const MOST_TAGS: usize = 1000;

impl Record {
    /// Makes one change.
    ///
    /// # Errors
    /// [`Error::StatusChange`] when the status table does not allow the step, [`Error::Invalid`] naming the field.
    pub fn edit(&mut self, edit: &Edit) -> Result<()> {
        match edit {
            Edit::Status(next) if *next == self.status => {}
            Edit::Status(next) => {
                self.status.check_change(*next, &self.model_id)?;
                self.status = *next;
            }
            Edit::Name(name) => self.name.clone_from(name),
            Edit::Description(text) => {
                self.fields.insert("description".into(), text.clone().into());
            }
            Edit::Card(card) => self.set_card(card.as_ref()),
            Edit::Tag { key, value } => self.set_tag(key, value.as_deref())?,
            Edit::ClaimedMetric { name, value } => {
                self.set_metric(name, *value)?;
                self.mark_claims(name, Claim::Made);
            }
            Edit::ReportedMetrics { metrics, source } => {
                check_depth("source", source)?;
                for (name, value) in metrics {
                    self.set_metric(name, *value)?;
                    self.mark_claims(name, Claim::Made);
                }
                let figures: Map<String, Value> =
                    metrics.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
                self.add_receipt(&json!({ "reported": true, "metrics": figures, "source": source }));
            }
            Edit::MeasuredMetrics { metrics, receipt } => {
                for (name, value) in metrics {
                    self.set_metric(name, *value)?;
                    self.mark_claims(name, Claim::Measured);
                }
                self.add_receipt(receipt);
            }
        }
        Ok(())
    }

    fn set_tag(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        if key.is_empty() || key.len() > LONGEST_TAG_KEY || key.chars().any(char::is_control) {
            let rule = format!("must have 1 to {LONGEST_TAG_KEY} bytes and no control characters");
            return Err(Error::invalid("tag", key.escape_debug(), rule));
        }
        if let Some(length) = value.map(str::len).filter(|length| *length > LONGEST_TAG_VALUE) {
            let (size, limit) = (format!("{length} bytes"), format!("{LONGEST_TAG_VALUE} bytes"));
            return Err(Error::TooLarge { what: format!("the tag `{key}`"), size, limit });
        }
        let tags = self.object("tags");
        match value {
            Some(_) if tags.len() >= MOST_TAGS && !tags.contains_key(key) => {
                let (size, limit) = (format!("{} tags", tags.len() + 1), format!("{MOST_TAGS} tags"));
                return Err(Error::TooLarge { what: "the version".into(), size, limit });
            }
            Some(value) => tags.insert(key.to_owned(), value.into()),
            // Removing a tag that is not there is fine: the outcome is the one asked for.
            None => tags.shift_remove(key),
        };
        Ok(())
    }

    fn set_metric(&mut self, name: &str, value: f64) -> Result<()> {
        if name.is_empty() || name.len() > LONGEST_TAG_KEY || name.chars().any(char::is_control) {
            let rule = format!("must have 1 to {LONGEST_TAG_KEY} bytes and no control characters");
            return Err(Error::invalid("metric", name.escape_debug(), rule));
        }
        // JSON has no NaN and no infinity; a measurement that gave one failed.
        let number = serde_json::Number::from_f64(value)
            .ok_or_else(|| Error::invalid(format!("metrics.{name}"), value, "must be a finite number"))?;
        self.object("metrics").insert(name.to_owned(), Value::Number(number.clone()));
        if name == "accuracy" {
            self.fields.insert("accuracy".into(), Value::Number(number));
        }
        Ok(())
    }

    fn mark_claims(&mut self, metric: &str, claim: Claim) {
        let mut paths = vec![format!("metrics.{metric}")];
        if metric == "accuracy" {
            paths.push("accuracy".to_owned());
        }
        let mut claims: Vec<Value> = self.fields.get("claims").and_then(Value::as_array).cloned().unwrap_or_default();
        claims.retain(|existing| !paths.iter().any(|path| existing == path));
        if claim == Claim::Made {
            claims.extend(paths.into_iter().map(Value::from));
        }
        if claims.is_empty() {
            self.fields.shift_remove("claims");
        } else {
            self.fields.insert("claims".into(), claims.into());
        }
    }

    fn add_receipt(&mut self, receipt: &Value) {
        let mut receipts = self.fields.get("receipts").and_then(Value::as_array).cloned().unwrap_or_default();
        receipts.push(receipt.clone());
        self.fields.insert("receipts".into(), receipts.into());
    }

    /// Returns a field that is an object, making it one where it is missing or null.
    fn object(&mut self, field: &str) -> &mut Map<String, Value> {
        let value = self.fields.entry(field).or_insert_with(|| Value::Object(Map::new()));
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        value.as_object_mut().expect("made an object above")
    }
}

#[derive(PartialEq, Eq)]
enum Claim {
    Made,
    Measured,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Status;

    fn record() -> Record {
        serde_json::from_value(json!({
            "model_id": "a_v1", "name": "a", "type": "vision", "framework": "gguf", "version": "1", "status": "ready",
            "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z",
            "metrics": {"loss": 0.5}, "tags": null, "claims": ["type"],
        }))
        .unwrap()
    }

    #[test]
    fn status_moves_along_the_table_only() {
        let mut record = record();
        let error = record.edit(&Edit::Status(Status::Trained)).unwrap_err();
        assert_eq!(error.to_string(), "version `a_v1` is `ready` and cannot become `trained`");
        assert!(error.hint().unwrap().contains("training"));
        record.edit(&Edit::Status(Status::Stopped)).unwrap();
        record.edit(&Edit::Status(Status::Stopped)).unwrap();
        assert_eq!(record.status, Status::Stopped);
    }

    #[test]
    fn claimed_figure_is_marked_until_a_run_measures_it() {
        let mut record = record();
        record.edit(&Edit::ClaimedMetric { name: "accuracy".into(), value: 0.92 }).unwrap();
        assert_eq!(record.fields["metrics"], json!({"loss": 0.5, "accuracy": 0.92}));
        assert_eq!(record.fields["accuracy"], 0.92);
        assert_eq!(record.fields["claims"], json!(["type", "metrics.accuracy", "accuracy"]));
        let reported = Edit::ReportedMetrics {
            metrics: vec![("accuracy".into(), 0.91)],
            source: json!({"run": "nightly-7", "dataset": "sha256:…"}),
        };
        record.edit(&reported).unwrap();
        assert_eq!((&record.fields["accuracy"], record.claims().len()), (&json!(0.91), 3), "a source is a claim too");
        assert_eq!(record.fields["receipts"][0]["source"]["run"], "nightly-7");
        record.fields.remove("receipts");
        let measured = Edit::MeasuredMetrics { metrics: vec![("accuracy".into(), 0.9)], receipt: json!({"data": "x"}) };
        record.edit(&measured).unwrap();
        assert_eq!(record.fields["accuracy"], 0.9);
        assert_eq!(record.fields["claims"], json!(["type"]));
        assert_eq!(record.fields["receipts"], json!([{"data": "x"}]));
    }

    #[test]
    fn tags_are_set_and_removed_within_limits() {
        let mut record = record();
        let tag = |key: &str, value: Option<&str>| Edit::Tag { key: key.into(), value: value.map(str::to_owned) };
        record.edit(&tag("作物", Some("小麦"))).unwrap();
        assert_eq!(record.fields["tags"], json!({"作物": "小麦"}));
        record.edit(&tag("作物", None)).unwrap();
        record.edit(&tag("never set", None)).unwrap();
        assert_eq!(record.fields["tags"], json!({}));
        for (key, value) in [("", "x".to_owned()), ("a\nb", "x".to_owned()), ("big", "x".repeat(LONGEST_TAG_VALUE + 1))]
        {
            assert!(record.edit(&tag(key, Some(&value))).is_err(), "{key:?}");
        }
    }

    #[test]
    fn figures_must_be_finite() {
        for value in [f64::NAN, f64::INFINITY] {
            let error = record().edit(&Edit::ClaimedMetric { name: "loss".into(), value }).unwrap_err();
            assert_eq!(error.field(), Some("metrics.loss"));
        }
    }
}
