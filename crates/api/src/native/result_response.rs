//! The shape in which the original answers every inference.

use seedhouse_service::{Answer, CanaryPart};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// The answer of an inference.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResultResponse {
    /// Generated text, or a list of classes.
    #[schema(value_type = Object)]
    pub(crate) predictions: Value,
    /// The best class's probability; null for text.
    pub(crate) confidence: Option<f64>,
    /// Seconds from the request to the answer, loading included.
    pub(crate) processing_time: f64,
    /// `model_id`, `version`, `digest` and `runtime` of what answered, and figures of the task.
    #[schema(value_type = Object)]
    pub(crate) metadata: Map<String, Value>,
}

impl ResultResponse {
    /// Names the version that answered; `task` adds figures of its own.
    pub(crate) fn metadata<T>(answer: &Answer<T>, task: Value) -> Map<String, Value> {
        let mut metadata = Map::new();
        metadata.insert("model_id".into(), answer.model_id.as_str().into());
        metadata.insert("version".into(), answer.version.to_string().into());
        metadata.insert("digest".into(), answer.digest.to_string().into());
        metadata.insert("runtime".into(), answer.runtime.as_str().into());
        metadata.insert("load_seconds".into(), json!(answer.load_seconds));
        match &answer.canary {
            None => {}
            Some(CanaryPart::Answered) => drop(metadata.insert("canary".into(), true.into())),
            Some(CanaryPart::Failed { model_id, code }) => {
                let failed = json!({ "model_id": model_id, "error_code": code.as_str() });
                metadata.insert("canary_failed".into(), failed);
            }
        }
        if let Value::Object(task) = task {
            metadata.extend(task);
        }
        metadata
    }
}
