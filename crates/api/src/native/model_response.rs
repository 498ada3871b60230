//! A version in the shape that the original's web client reads.

use seedhouse_service::core::Entry;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A version as the native API answers it: the original's names, and beside them what the registry computed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelResponse {
    /// The same as `model_id`.
    id: String,
    /// Unique in the registry.
    model_id: String,
    /// The model that the version belongs to.
    base: String,
    /// 1, 2, 3 … in order of registration.
    ordinal: u64,
    /// Grows with every change of the version; `If-Match` takes it.
    revision: u64,
    /// What it is for, e.g. `transformer`.
    model_type: String,
    /// The name for people.
    name: String,
    /// The label.
    version: String,
    /// RFC 3339, UTC.
    created_at: String,
    /// RFC 3339, UTC.
    updated_at: String,
    /// Measured or claimed figures.
    #[schema(value_type = Object)]
    metrics: Value,
    /// Hyper-parameters.
    #[schema(value_type = Object)]
    hyperparameters: Value,
    description: String,
    /// Where it stands in its life.
    status: String,
    framework: String,
    is_pretrained: bool,
    /// Number of bytes of all files.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// All further fields of the record, as stored: `digest`, `files`, `inspected`, `claims` …
    #[serde(flatten)]
    #[schema(value_type = Object)]
    fields: Map<String, Value>,
}

impl ModelResponse {
    /// Leaves out what is too long for a list: the text of the model card.
    pub(crate) fn brief(mut entry: Entry) -> ModelResponse {
        entry.record.fields.shift_remove("card");
        entry.into()
    }
}

impl From<Entry> for ModelResponse {
    fn from(entry: Entry) -> ModelResponse {
        let record = entry.record;
        let size = record.size_bytes();
        let mut fields = record.fields;
        let mut take = |key: &str| fields.shift_remove(key);
        ModelResponse {
            id: record.model_id.to_string(),
            model_id: record.model_id.to_string(),
            base: entry.base.to_string(),
            ordinal: entry.ordinal,
            revision: entry.revision,
            model_type: record.model_type.to_string(),
            name: record.name,
            version: record.version.to_string(),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
            metrics: take("metrics").unwrap_or_else(|| Value::Object(Map::new())),
            hyperparameters: take("metadata").unwrap_or_else(|| Value::Object(Map::new())),
            description: take("description").and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default(),
            status: record.status.to_string(),
            framework: record.framework.to_string(),
            is_pretrained: take("is_pretrained").and_then(|value| value.as_bool()).unwrap_or(false),
            size,
            fields,
        }
    }
}
