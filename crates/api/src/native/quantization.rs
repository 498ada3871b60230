//! Quantising: a version with fewer bits, and asking it by the name of the one it was made from. Measuring a version stands beside it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use seedhouse_service::core::dataset::SplitPart;
use seedhouse_service::core::{QuantizationType, Reference, Result, Timestamp};
use seedhouse_service::{Caller, EvaluateJob, QuantisationReport, QuantiseJob, Service};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking;
use crate::limits::Limits;
use crate::native::inference::{PredictBody, answer};
use crate::native::jobs::{accepted, ended};
use crate::parameters::{ModelIdPath, reference};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

/// How to quantise.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct QuantizeBody {
    /// `int8` (default), `int8_groups`, `int4`, `int16`, `float16` or `bfloat16`.
    quantization_type: Option<String>,
    /// A dataset on which is measured what is lost; without it `accuracy_drop` and `inference_speedup` are null.
    dataset: Option<String>,
    /// The part of the dataset: `test` (default), `validation` or `train`.
    split: Option<String>,
    /// At most so many examples.
    limit: Option<u64>,
    /// The greatest loss that is accepted.
    max_drop: Option<f64>,
}

/// A version with fewer bits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuantizeResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    model_id: String,
    message: String,
    /// `enabled`, `type`, `original_model_id`, `compression_ratio`, `accuracy_drop`, `inference_speedup`; what was not measured is null.
    #[schema(value_type = Object)]
    quantization: Value,
}

/// Makes a version with fewer bits. Answers when it is made; after a minute with the job, as 202.
#[utoipa::path(post, path = "/api/models/{model_id}/quantize", tag = "training", params(("model_id" = String, Path)),
    request_body = QuantizeBody,
    responses((status = 200, body = QuantizeResponse), (status = 202, body = Object, description = "The job; `Location` has its address."),
        (status = 404, body = Problem), (status = 409, body = Problem), Problems))]
pub(crate) async fn quantize(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(model): ModelIdPath,
    request: Request,
) -> Result<Response, Failure> {
    let body: QuantizeBody = read_json(request, &limits).await?;
    let asked = QuantiseJob {
        model,
        quantization_type: quantization_type(body.quantization_type.as_deref())?,
        dataset: body.dataset.map(|dataset| reference("dataset", &dataset)).transpose()?,
        part: part(body.split.as_deref())?,
        limit: body.limit,
        max_drop: body.max_drop,
        actor: caller.name,
    };
    let submitting = service.clone();
    let job = blocking::run(move || submitting.submit_quantisation(&asked)).await?;
    let Some(job) = ended(&service, job.id).await? else { return Ok(accepted(job)) };
    let QuantisationReport { model_id, quantization, .. } = job.into_report()?;
    let model_id = model_id.to_string();
    let message = format!("`{model_id}` is registered");
    Ok(Json(QuantizeResponse { success: true, model_id, message, quantization }).into_response())
}

fn quantization_type(name: Option<&str>) -> Result<QuantizationType> {
    name.map_or(Ok(QuantizationType::Int8), str::parse)
}

fn part(name: Option<&str>) -> Result<SplitPart> {
    name.map_or(Ok(SplitPart::Test), str::parse)
}

/// What to ask, and at which precision.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct QuantizedInferenceBody {
    #[serde(flatten)]
    body: PredictBody,
    /// `int8` without it.
    quantization_type: Option<String>,
}

/// What a quantised version answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuantizedInferenceResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    /// The version that answered.
    model_id: String,
    #[schema(value_type = Object)]
    prediction: Value,
    /// RFC 3339, UTC.
    timestamp: String,
    /// Seconds.
    processing_time: f64,
    quantization_type: &'static str,
}

/// Asks the version that was made from this one with fewer bits; 404 where it was not quantised like this.
#[utoipa::path(post, path = "/api/models/{model_id}/inference/quantized", tag = "inference",
    params(("model_id" = String, Path)), request_body = QuantizedInferenceBody,
    responses((status = 200, body = QuantizedInferenceResponse), (status = 404, body = Problem), Problems))]
pub(crate) async fn infer(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(model): ModelIdPath,
    request: Request,
) -> Result<Json<QuantizedInferenceResponse>, Failure> {
    let started = std::time::Instant::now();
    let permit = admission.inference()?;
    let QuantizedInferenceBody { body, quantization_type: asked } = read_json(request, &limits).await?;
    let quantization_type = quantization_type(asked.as_deref())?;
    let finding = service.clone();
    let quantised: Reference = blocking::run(move || finding.quantised_version(&model, quantization_type)).await?;
    let model_id = quantised.to_string();
    let answer = answer(service, permit, caller, quantised, body, started).await?;
    Ok(Json(QuantizedInferenceResponse {
        success: true,
        model_id,
        prediction: prediction(answer.result),
        timestamp: Timestamp::now().to_string(),
        processing_time: started.elapsed().as_secs_f64(),
        quantization_type: quantization_type.as_str(),
    }))
}

/// The original calls a text `generated_text`.
fn prediction(mut result: Value) -> Value {
    if let Some(object) = result.as_object_mut()
        && let Some(text) = object.remove("text")
    {
        object.insert("generated_text".into(), text);
    }
    result
}

/// What to measure on.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct EvaluateBody {
    /// A dataset of the registry.
    dataset: String,
    /// The part of the dataset: `test` (default), `validation` or `train`.
    #[serde(default)]
    split: Option<String>,
    /// At most so many examples.
    #[serde(default)]
    limit: Option<u64>,
    /// A version that is measured on the same examples.
    #[serde(default)]
    against: Option<String>,
}

/// Asks for a measurement: the figures and their receipt go into the record of the version, the difference into the result of the job.
#[utoipa::path(post, path = "/api/models/{model_id}/evaluate", tag = "training", params(("model_id" = String, Path)),
    request_body = EvaluateBody,
    responses((status = 202, body = Object, description = "The job; `Location` has its address."),
        (status = 404, body = Problem), Problems))]
pub(crate) async fn evaluate(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(model): ModelIdPath,
    request: Request,
) -> Result<Response, Failure> {
    let body: EvaluateBody = read_json(request, &limits).await?;
    let asked = EvaluateJob {
        model,
        dataset: reference("dataset", &body.dataset)?,
        part: part(body.split.as_deref())?,
        limit: body.limit,
        against: body.against.map(|against| reference("against", &against)).transpose()?,
        actor: caller.name,
    };
    Ok(accepted(blocking::run(move || service.submit_evaluation(&asked)).await?))
}
