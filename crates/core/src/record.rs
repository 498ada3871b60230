//! The record of a version, in the field names of the original system's `metadata.json`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::timestamp::ZoneGiven;
use crate::{Digest, Error, Framework, Manifest, ModelId, ModelType, Result, Status, Timestamp, Version};

/// The version of the record's layout that this program writes into the field `schema`.
pub(crate) const SCHEMA: u64 = 1;

/// What the registry says about one version.
///
/// The eight required fields are typed. Everything else, known to us or not, stays in [`fields`](Record::fields) as it
/// was written, `null` included, and is read through methods. Two fields of ours keep the record honest:
/// `claims` lists the paths of values that nobody computed or measured, `assumed_utc` the timestamps that came
/// without a zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Unique in the registry.
    pub model_id: ModelId,
    /// A name for people; often, not always, the base name.
    pub name: String,
    /// What the model is for.
    pub model_type: ModelType,
    /// What it was made with.
    pub framework: Framework,
    /// The label of the version.
    pub version: Version,
    /// Where it stands in its life.
    pub status: Status,
    /// Never changes.
    pub created_at: Timestamp,
    /// Moves with every change, never backwards.
    pub updated_at: Timestamp,
    /// All other fields, in the order in which they were written.
    pub fields: Map<String, Value>,
}

impl Record {
    /// Returns the digest of the manifest, if the version has files of ours.
    pub fn digest(&self) -> Option<Digest> {
        self.fields.get("digest")?.as_str()?.parse().ok()
    }

    /// Returns the files of the version, or `None` for a record without artifacts.
    ///
    /// # Errors
    /// [`Error::CorruptState`] when the field `files` is there but not a manifest.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        let Some(files) = self.fields.get("files") else { return Ok(None) };
        serde_json::from_value(files.clone()).map(Some).map_err(|error| Error::CorruptState {
            what: format!("field `files` of `{}`", self.model_id),
            reason: error.to_string(),
        })
    }

    /// Returns the hyper-parameters; empty when the record has none.
    pub fn metadata(&self) -> Map<String, Value> {
        self.fields.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// Returns the description; empty when the record has none.
    pub fn description(&self) -> &str {
        self.fields.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns the size of all files, if the version has files of ours.
    pub fn size_bytes(&self) -> Option<u64> {
        self.fields.get("size_bytes")?.as_u64()
    }

    /// Returns whether inference may be asked of this version: the status allows it and there are bytes.
    ///
    /// # Errors
    /// [`Error::NotServable`] by status, [`Error::WrongTask`] when there are no files.
    pub fn check_servable(&self, task: &'static str) -> Result<()> {
        if !self.status.is_servable() {
            return Err(Error::NotServable { model_id: self.model_id.to_string(), status: self.status });
        }
        if self.digest().is_none() {
            let reason = "the version has no files".into();
            return Err(Error::WrongTask { model_id: self.model_id.to_string(), task, reason });
        }
        Ok(())
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = Map::new();
        let mut put = |key: &str, value: String| object.insert(key.to_owned(), Value::String(value));
        put("model_id", self.model_id.to_string());
        put("name", self.name.clone());
        put("type", self.model_type.to_string());
        put("framework", self.framework.to_string());
        put("version", self.version.to_string());
        put("status", self.status.to_string());
        put("created_at", self.created_at.to_string());
        put("updated_at", self.updated_at.to_string());
        object.extend(self.fields.iter().map(|(key, value)| (key.clone(), value.clone())));
        object.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Record, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        record_from_fields(fields).map_err(D::Error::custom)
    }
}

fn record_from_fields(mut fields: Map<String, Value>) -> Result<Record> {
    let mut assumed_utc = Vec::new();
    let mut take = |key: &'static str| match fields.shift_remove(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(Error::invalid(key, other, "must be a string")),
        None => Err(Error::invalid(key, "", "is required")),
    };
    let mut take_time = |text: String, key: &'static str| {
        let (timestamp, zone) = Timestamp::parse(&text).map_err(|_| Error::invalid(key, &text, "must be RFC 3339"))?;
        if zone == ZoneGiven::No {
            assumed_utc.push(Value::from(key));
        }
        Ok::<_, Error>(timestamp)
    };
    let mut record = Record {
        model_id: take("model_id")?.parse()?,
        name: take("name")?,
        model_type: take("type")?.into(),
        framework: take("framework")?.into(),
        version: take("version")?.parse()?,
        status: take("status")?.parse()?,
        created_at: take_time(take("created_at")?, "created_at")?,
        updated_at: take_time(take("updated_at")?, "updated_at")?,
        fields,
    };
    if !assumed_utc.is_empty() {
        record.fields.insert("assumed_utc".into(), Value::Array(assumed_utc));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(value: Value) -> Record {
        serde_json::from_value(value).unwrap()
    }

    fn sample() -> Value {
        json!({
            "model_id": "小麦_v1", "name": "小麦分类", "type": "classification", "framework": "pytorch",
            "version": "1", "status": "ready", "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-02T00:00:00Z",
        })
    }

    #[test]
    fn unknown_fields_and_nulls_are_written_back_in_their_order() {
        let mut value = sample();
        let object = value.as_object_mut().unwrap();
        object.insert("zebra".into(), json!({"深": [1, 2.5, null]}));
        object.insert("pretrained_source".into(), Value::Null);
        object.insert("accuracy".into(), json!(0.1));
        let text = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::to_string(&record(value)).unwrap(), text);
    }

    #[test]
    fn timestamps_without_a_zone_are_marked() {
        let mut value = sample();
        value["created_at"] = json!("2025-01-01T00:00:00");
        let record = record(value);
        assert_eq!(record.fields["assumed_utc"], json!(["created_at"]));
        assert_eq!(record.created_at.to_string(), "2025-01-01T00:00:00Z");
    }

    #[test]
    fn missing_or_wrong_field_is_named() {
        for (key, put, expected) in [
            ("status", None, "`status`"),
            ("version", Some(json!(7)), "`version` is `7`"),
            ("type", Some(Value::Null), "`type`"),
        ] {
            let mut value = sample();
            match put {
                None => value.as_object_mut().unwrap().remove(key),
                Some(put) => value.as_object_mut().unwrap().insert(key.into(), put),
            };
            let error = serde_json::from_value::<Record>(value).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn version_without_files_is_not_servable_even_when_ready() {
        let error = record(sample()).check_servable("text generation").unwrap_err();
        assert!(error.to_string().contains("has no files"), "{error}");
    }
}
