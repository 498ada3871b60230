//! `/api/inference/batch`: several inputs for one version, each with its own result or error.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::Result;
use seedhouse_service::{Answer, Batch, BatchItem, BatchOutput, Caller, Patience, Service};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::result_response::ResultResponse;
use crate::native::{batch_input, embeddings, image, inference, text_response};
use crate::parameters::{reference, timeout};
use crate::problem::{Failure, Problem, Problems, problem, status_of};
use crate::request_body::read_json;

/// What to compute.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct BatchRequest {
    /// Any reference to a version.
    model_id: String,
    /// What the version takes: for a language model prompts, or objects with the fields of the text route; for a sentence encoder texts, or
    /// objects with `text` and `prompt_name`; for images nested arrays of
    /// pixels, or objects with `image_data` and `top_k`; for tensors objects of numbers in nested lists by name, or the numbers alone where
    /// there is one input.
    #[schema(value_type = Vec<Object>)]
    inputs: Vec<Box<RawValue>>,
    /// How many inputs are computed at once; at most 16 are.
    #[serde(default = "default_batch_size")]
    batch_size: usize,
    /// How many seconds the whole may take; inputs that were not begun by then get an error.
    timeout_seconds: Option<f64>,
}

fn default_batch_size() -> usize {
    32
}

/// What came of them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchResponse {
    /// One for each input, in their order. Where one failed, `predictions` is null, and `metadata` has `error` and `error_code`.
    results: Vec<ResultResponse>,
    total_count: usize,
    success_count: usize,
    error_count: usize,
}

/// Computes several inputs. One that is wrong fails alone.
#[utoipa::path(post, path = "/api/inference/batch", tag = "inference", request_body = BatchRequest,
    responses((status = 200, body = BatchResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn infer_batch(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<BatchResponse>, Failure> {
    let permit = admission.inference()?;
    let BatchRequest { model_id, inputs, batch_size, timeout_seconds } = read_json(request, &limits).await?;
    let reference = reference("model_id", &model_id)?;
    let cancel = CancelOnDrop::default();
    let patience = Patience::new(timeout(timeout_seconds)?, cancel.observer());
    let compute = move || {
        let decode = |index: usize, slot: &_| {
            batch_input::read(&format!("inputs[{index}]"), inputs[index].get(), slot, &caller.name)
        };
        let batch = Batch { count: inputs.len(), at_once: batch_size, decode: &decode };
        service.infer_batch(&reference, &batch, &patience).map(response)
    };
    Ok(Json(blocking::run_admitted(permit, compute).await?))
}

fn response(answer: Answer<Vec<BatchItem>>) -> BatchResponse {
    let version = answer.with(());
    let total_count = answer.value.len();
    let error_count = answer.value.iter().filter(|item| item.result.is_err()).count();
    let results = answer.value.into_iter().map(|item| result(&version, item)).collect();
    BatchResponse { results, total_count, success_count: total_count - error_count, error_count }
}

fn result(version: &Answer<()>, BatchItem { result, seconds }: BatchItem) -> ResultResponse {
    let started = Instant::now();
    let response = match result {
        Ok(BatchOutput::Text(generation)) => {
            let answer = version.with(generation);
            let predictions = text_response::predictions(&answer.value);
            ResultResponse { predictions, ..text_response::response(&answer, started) }
        }
        Ok(BatchOutput::Image(classification)) => image::response(version.with(classification), started),
        Ok(BatchOutput::Embeddings(embeddings)) => {
            // An input is one text, and its answer one vector.
            let answer = embeddings::response(&version.with(embeddings), started);
            let vector = answer.predictions.get(0).cloned().unwrap_or_default();
            ResultResponse { predictions: vector, ..answer }
        }
        Ok(BatchOutput::Row(row)) => bare(version, json!(row), json!({})),
        Ok(BatchOutput::Tensors(outputs)) => bare(version, inference::tensors(&outputs), json!({})),
        Ok(BatchOutput::Solution(solved)) => bare(version, solved.to_json(), json!({})),
        Err(error) => {
            let (code, text) = (error.code().as_str(), problem(&error, status_of(&error)).detail);
            bare(version, Value::Null, json!({ "error": text, "error_code": code }))
        }
    };
    ResultResponse { processing_time: seconds, ..response }
}

fn bare(version: &Answer<()>, predictions: Value, figures: Value) -> ResultResponse {
    let metadata = ResultResponse::metadata(version, figures);
    ResultResponse { predictions, confidence: None, processing_time: 0.0, metadata }
}
