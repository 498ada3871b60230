//! `metadata.json`: the whole registry in the original system's format, read and written without loss.

use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{Entry, Error, ModelId, ModelName, Record, Result, Status, Timestamp, Version, ZoneGiven};

/// One entry of the list of versions of a base.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionEntry {
    /// The version's id.
    pub model_id: ModelId,
    /// Its label.
    pub version: Version,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Its status; the original system let it differ from the record's.
    pub status: Status,
    /// Fields that we do not know, and `assumed_utc`.
    pub fields: Map<String, Value>,
}

/// The content of a `metadata.json`.
///
/// The two halves are kept as they are, also where they contradict each other: reading decides nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RegistryFile {
    /// The records, in the order of the file.
    pub models: Vec<Record>,
    /// The versions of each base, in the order of the file.
    pub versions: Vec<(ModelName, Vec<VersionEntry>)>,
    /// Top-level fields that we do not know.
    pub fields: Map<String, Value>,
}

impl RegistryFile {
    /// Reads the original format, or the older flat one (`{"<model_id>": {…, "model_type", "hyperparameters"}}`).
    ///
    /// The flat form's `model_type` becomes `type`, its `hyperparameters` become `metadata`, and `framework`, which it
    /// does not have, becomes `unknown`.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the entry and field that cannot be read. `what` names the file in the message.
    pub fn parse(what: &str, text: &str) -> Result<RegistryFile> {
        let malformed = |error: serde_json::Error| Error::malformed(what, error.to_string());
        let root: Map<String, Value> = serde_json::from_str(text).map_err(malformed)?;
        if root.contains_key("models") || root.contains_key("versions") {
            return serde_json::from_str(text).map_err(malformed);
        }
        let models = root.into_iter().map(|(id, entry)| {
            modern_record(entry).map_err(|error| Error::malformed(what, format!("entry `{id}`: {error}")))
        });
        Ok(RegistryFile { models: models.collect::<Result<_>>()?, ..RegistryFile::default() })
    }

    /// Returns the file of these versions: records, and the versions of each base, both in the order given.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> RegistryFile {
        let mut file = RegistryFile::default();
        let mut positions: HashMap<ModelName, usize> = HashMap::new();
        for Entry { base, record, .. } in entries {
            let version = VersionEntry {
                model_id: record.model_id.clone(),
                version: record.version.clone(),
                created_at: record.created_at,
                status: record.status,
                fields: Map::new(),
            };
            let position = *positions.entry(base).or_insert_with_key(|base| {
                file.versions.push((base.clone(), Vec::new()));
                file.versions.len() - 1
            });
            file.versions[position].1.push(version);
            file.models.push(record);
        }
        file
    }

    /// Returns the text of the file: two spaces of indentation, Chinese as it is, one line feed at the end.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a registry file has string keys only");
        text.push('\n');
        text
    }
}

fn modern_record(entry: Value) -> Result<Record> {
    let Value::Object(mut fields) = entry else {
        return Err(Error::invalid("entry", entry, "must be an object"));
    };
    for (old, new) in [("model_type", "type"), ("hyperparameters", "metadata")] {
        if let Some(value) = fields.shift_remove(old) {
            fields.insert(new.to_owned(), value);
        }
    }
    fields.entry("framework").or_insert_with(|| Value::from("unknown"));
    serde_json::from_value(Value::Object(fields)).map_err(|error| Error::malformed("the record", error.to_string()))
}

impl Serialize for VersionEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model_id", &self.model_id)?;
        map.serialize_entry("version", &self.version)?;
        map.serialize_entry("created_at", &self.created_at)?;
        map.serialize_entry("status", &self.status)?;
        for (key, value) in &self.fields {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for VersionEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<VersionEntry, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            model_id: ModelId,
            version: Version,
            created_at: String,
            status: Status,
            #[serde(flatten)]
            fields: Map<String, Value>,
        }
        let Fields { model_id, version, created_at, status, mut fields } = Fields::deserialize(deserializer)?;
        let (created_at, zone) = Timestamp::parse(&created_at).map_err(serde::de::Error::custom)?;
        if zone == ZoneGiven::No {
            fields.insert("assumed_utc".into(), Value::from(vec!["created_at"]));
        }
        Ok(VersionEntry { model_id, version, created_at, status, fields })
    }
}

impl Serialize for RegistryFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Writes pairs as an object, in their order.
        struct Pairs<'a, K, V>(Vec<(&'a K, &'a V)>);
        impl<K: Serialize, V: Serialize> Serialize for Pairs<'_, K, V> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().copied())
            }
        }
        let mut map = serializer.serialize_map(None)?;
        let models = self.models.iter().map(|record| (&record.model_id, record)).collect();
        map.serialize_entry("models", &Pairs(models))?;
        let versions = self.versions.iter().map(|(base, entries)| (base, entries)).collect();
        map.serialize_entry("versions", &Pairs(versions))?;
        for (key, value) in &self.fields {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RegistryFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RegistryFile, D::Error> {
        struct FileVisitor;
        impl<'de> Visitor<'de> for FileVisitor {
            type Value = RegistryFile;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with `models` and `versions`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RegistryFile, A::Error> {
                let mut file = RegistryFile::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "models" => file.models = models_from(map.next_value()?).map_err(serde::de::Error::custom)?,
                        "versions" => {
                            let object: Map<String, Value> = map.next_value()?;
                            file.versions = versions_from(object).map_err(serde::de::Error::custom)?;
                        }
                        _ => {
                            file.fields.insert(key, map.next_value()?);
                        }
                    }
                }
                Ok(file)
            }
        }
        deserializer.deserialize_map(FileVisitor)
    }
}

fn models_from(object: Map<String, Value>) -> Result<Vec<Record>> {
    let record = |(key, value): (String, Value)| {
        let record: Record = serde_json::from_value(value)
            .map_err(|error| Error::malformed(format!("entry `{key}` of `models`"), error.to_string()))?;
        if record.model_id.as_str() != key {
            return Err(Error::invalid("model_id", &record.model_id, format!("it stands under the key `{key}`")));
        }
        Ok(record)
    };
    object.into_iter().map(record).collect()
}

fn versions_from(object: Map<String, Value>) -> Result<Vec<(ModelName, Vec<VersionEntry>)>> {
    let entries = |(base, value): (String, Value)| {
        let entries = serde_json::from_value(value)
            .map_err(|error| Error::malformed(format!("entry `{base}` of `versions`"), error.to_string()))?;
        Ok((base.parse()?, entries))
    };
    object.into_iter().map(entries).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn chinese_and_unknown_fields_survive_byte_for_byte() {
        let text = concat!(
            "{\n  \"models\": {\n    \"视觉模型_v1\": {\n      \"model_id\": \"视觉模型_v1\",\n      \"name\": \"视觉模型\",\n",
            "      \"type\": \"vision\",\n      \"framework\": \"pytorch\",\n      \"version\": \"1.0.0\",\n",
            "      \"status\": \"ready\",\n      \"created_at\": \"2025-01-01T00:00:00Z\",\n",
            "      \"updated_at\": \"2025-01-01T00:00:00Z\",\n      \"自定义\": \"病虫害\"\n    }\n  },\n",
            "  \"versions\": {\n    \"视觉模型\": []\n  },\n  \"extra\": [\n    1\n  ]\n}\n",
        );
        assert_eq!(RegistryFile::parse("metadata.json", text).unwrap().to_text(), text);
    }

    #[test]
    fn flat_form_is_read_into_the_record() {
        let flat = json!({"测试模型": {
            "model_id": "测试模型", "model_type": "transformer", "version": "v1.0.0", "name": "测试模型", "status": "ready",
            "created_at": "2025-12-22T22:00:11.142601", "updated_at": "2025-12-22T22:00:11.142601",
            "hyperparameters": {"d_model": 512},
        }});
        let file = RegistryFile::parse("model_index.json", &flat.to_string()).unwrap();
        let record = &file.models[0];
        assert_eq!(record.model_type.as_str(), "transformer");
        assert_eq!(record.framework.as_str(), "unknown");
        assert_eq!(record.metadata()["d_model"], 512);
    }

    #[test]
    fn damaged_entries_are_named() {
        let cases = [
            ("not json", "expected"),
            (r#"{"models": {"a_v1": {"model_id": "a_v1"}}}"#, "a_v1"),
            (r#"{"models": [], "versions": {}}"#, "expected a map"),
            (r#"{"versions": {"a": [{"version": "x"}]}}"#, "`a`"),
            (r#"{"a": 7}"#, "entry `a`"),
        ];
        for (text, expected) in cases {
            let error = RegistryFile::parse("metadata.json", text).unwrap_err().to_string();
            assert!(error.contains("metadata.json") && error.contains(expected), "{error}");
        }
    }
}
