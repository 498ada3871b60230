//! The record of a version, in the field names of the original system's `metadata.json`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::timestamp::ZoneGiven;
use crate::{
    Alias, Digest, Error, Framework, Manifest, ModelId, ModelType, Result, Status, Timestamp, TrialKind, Version,
};

/// The version of the record's layout that this program writes into the field `schema`.
pub(crate) const SCHEMA: u64 = 1;

const MOST_NAME_CHARACTERS: usize = 256;
const MOST_DESCRIPTION_CHARACTERS: usize = 65_536;

/// JSON readers stop at 128 levels, and a record stands inside other values (lists, events, `metadata.json`).
const DEEPEST: usize = 64;

/// Checks a text for people: not too long, and no control characters but line breaks and tabs, which could rewrite a terminal.
///
/// # Errors
/// [`Error::Invalid`] naming the field.
pub(crate) fn check_text(field: &str, text: &str, most_characters: usize) -> Result<()> {
    if let Some(control) =
        text.chars().find(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t'))
    {
        return Err(Error::invalid(
            field,
            text.escape_debug(),
            format!("must not contain `{}`", control.escape_debug()),
        ));
    }
    match text.chars().count() {
        count if count > most_characters => {
            Err(Error::invalid(field, text, format!("has {count} characters, and {most_characters} is the limit")))
        }
        _ => Ok(()),
    }
}

/// Checks that a value is not nested deeper than can be read again.
///
/// # Errors
/// [`Error::Invalid`] naming the field.
pub fn check_depth(field: &str, value: &Value) -> Result<()> {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    match depth(value) {
        levels if levels > DEEPEST => Err(Error::invalid(
            field,
            format!("{levels} levels deep"),
            format!("must be at most {DEEPEST} levels deep"),
        )),
        _ => Ok(()),
    }
}

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

    /// Returns the paths of the values that nobody computed or measured.
    pub fn claims(&self) -> Vec<&str> {
        let claims = self.fields.get("claims").and_then(Value::as_array);
        claims.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Returns the description; empty when the record has none.
    pub fn description(&self) -> &str {
        self.fields.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns the size of all files, if the version has files of ours.
    pub fn size_bytes(&self) -> Option<u64> {
        self.fields.get("size_bytes")?.as_u64()
    }

    /// Returns the aliases that point at this version.
    pub fn aliases(&self) -> Vec<Alias> {
        let aliases = self.fields.get("aliases").and_then(Value::as_array);
        aliases.into_iter().flatten().filter_map(Value::as_str).filter_map(|alias| alias.parse().ok()).collect()
    }

    /// Makes `alias` point at this version, or no longer, which ends its trials.
    pub fn set_alias(&mut self, alias: &Alias, points_here: bool) {
        let mut aliases = self.aliases();
        aliases.retain(|existing| existing != alias);
        if points_here {
            aliases.push(alias.clone());
        } else {
            TrialKind::ALL.into_iter().for_each(|kind| self.set_trial(alias, kind, None));
        }
        if aliases.is_empty() {
            self.fields.shift_remove("aliases");
        } else {
            let names: Vec<String> = aliases.into_iter().map(String::from).collect();
            self.fields.insert("aliases".into(), names.into());
        }
    }

    /// Returns since when the version is deleted, if it is.
    pub fn deleted_at(&self) -> Option<Timestamp> {
        let text = self.fields.get("deleted_at")?.as_str()?;
        Timestamp::parse(text).ok().map(|(timestamp, _)| timestamp)
    }

    /// Marks the version as deleted, or as not deleted any more.
    pub fn set_deleted_at(&mut self, at: Option<Timestamp>) {
        match at {
            Some(at) => self.fields.insert("deleted_at".into(), at.to_string().into()),
            None => self.fields.shift_remove("deleted_at"),
        };
    }

    /// Returns the name under which the version's files stand in the registry's folder, without a closing `/`; `None` for
    /// a record without files.
    pub fn conventional_name(&self) -> Option<String> {
        let manifest = self.manifest().ok()??;
        Some(manifest.conventional_name(&self.model_id).trim_end_matches('/').to_owned())
    }

    /// Checks what every store needs: that the record can be read again, and that its numbers fit.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field.
    pub fn check_storable(&self) -> Result<()> {
        check_text("name", &self.name, MOST_NAME_CHARACTERS)?;
        check_text("description", self.description(), MOST_DESCRIPTION_CHARACTERS)?;
        if let Some(size) = self.size_bytes().filter(|size| i64::try_from(*size).is_err()) {
            return Err(Error::invalid("size_bytes", size, format!("must be at most {}", i64::MAX)));
        }
        self.fields.iter().try_for_each(|(field, value)| check_depth(field, value))
    }

    /// Returns whether inference may be asked of this version: the status allows it and there are bytes, not known
    /// to be damaged.
    ///
    /// # Errors
    /// [`Error::NotServable`] by status, [`Error::WrongTask`] when there are no files, [`Error::CorruptVersion`] when some of
    /// them are known to be damaged.
    pub fn check_servable(&self, task: &'static str) -> Result<()> {
        if !self.status.is_servable() {
            let reason = self.fields.get("inspected").and_then(|inspected| inspected.get("not_servable_because"));
            let reason = reason.and_then(Value::as_str).map(str::to_owned);
            return Err(Error::NotServable { model_id: self.model_id.to_string(), status: self.status, reason });
        }
        if self.digest().is_none() {
            let reason = "the version has no files".into();
            return Err(Error::WrongTask { model_id: self.model_id.to_string(), task, reason });
        }
        self.check_not_corrupt()
    }
}

impl Record {
    fn check_not_corrupt(&self) -> Result<()> {
        let Some(integrity) = self.integrity() else { return Ok(()) };
        let files = integrity.files.iter().map(|file| match file.actual {
            Some(actual) => format!("`{}` should be {}, and is {actual}", file.path, file.expected),
            None => format!("`{}` ({}) is {}", file.path, file.expected, file.finding.as_str()),
        });
        Err(Error::CorruptVersion {
            model_id: self.model_id.to_string(),
            found_at: integrity.found_at,
            files: files.collect::<Vec<_>>().join(", "),
        })
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
    fn version_that_no_runtime_can_serve_says_so_whatever_its_status() {
        let mut value = sample();
        value["status"] = json!("registered");
        let error = record(value.clone()).check_servable("inference").unwrap_err().to_string();
        assert_eq!(error, "version `小麦_v1` is `registered`, so it cannot be served");
        value["inspected"] = json!({"not_servable_because": "it is a checkpoint"});
        let error = record(value).check_servable("inference").unwrap_err().to_string();
        assert_eq!(error, "version `小麦_v1` is `registered`, so it cannot be served: it is a checkpoint");
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
    fn what_could_not_be_read_again_is_not_stored() {
        let mut deep = record(sample());
        let nested = (0..65).fold(json!(1), |inner, _| json!([inner]));
        deep.fields.insert("metadata".into(), json!({ "x": nested }));
        assert!(deep.check_storable().unwrap_err().to_string().contains("66 levels"));
        for (field, text) in [("name", "a\u{1b}[31mred"), ("description", "bell\u{7}")] {
            let mut value = sample();
            value[field] = json!(text);
            assert_eq!(record(value).check_storable().unwrap_err().field(), Some(field));
        }
        record(sample()).check_storable().unwrap();
    }

    #[test]
    fn version_without_files_is_not_servable_even_when_ready() {
        let error = record(sample()).check_servable("text generation").unwrap_err();
        assert!(error.to_string().contains("has no files"), "{error}");
    }
}
