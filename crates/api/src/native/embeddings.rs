//! `/api/inference/embeddings`: a vector for each text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{Answer, EmbedRequest, Embeddings, Patience, Service};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::result_response::ResultResponse;
use crate::parameters::{reference, timeout};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

/// Whose vectors of which texts.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct EmbeddingsRequest {
    /// Any reference to a version.
    model_id: String,
    /// A text, or a list of at most 2048 texts.
    #[schema(value_type = Object)]
    input: Value,
    /// The name of what stands before each text, among those that the model was trained with; its own choice without it.
    prompt_name: Option<String>,
    /// How many seconds it may take, waiting included.
    timeout_seconds: Option<f64>,
}

/// Returns a vector for each text. A text that is too long for the model is cut, which `metadata.truncated` says.
#[utoipa::path(post, path = "/api/inference/embeddings", tag = "inference", request_body = EmbeddingsRequest,
    responses((status = 200, body = ResultResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn embed(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Json<ResultResponse>, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let body: EmbeddingsRequest = read_json(request, &limits).await?;
    let (reference, request, timeout) = body.decode()?;
    let cancel = CancelOnDrop::default();
    let patience = Patience::new(timeout, cancel.observer());
    let answer = blocking::run_admitted(permit, move || service.embed(&reference, &request, &patience)).await?;
    Ok(Json(response(&answer, started)))
}

impl EmbeddingsRequest {
    fn decode(self) -> Result<(Reference, EmbedRequest, Option<Duration>)> {
        let reference = reference("model_id", &self.model_id)?;
        let texts = texts(self.input)?;
        let timeout = timeout(self.timeout_seconds)?;
        Ok((reference, EmbedRequest { texts, prompt: self.prompt_name }, timeout))
    }
}

fn texts(input: Value) -> Result<Vec<String>> {
    let text = |(index, value): (usize, Value)| match value {
        Value::String(text) => Ok(text),
        other => Err(Error::invalid(format!("input[{index}]"), kind_of(&other), "must be a text")),
    };
    match input {
        Value::String(text) => Ok(vec![text]),
        Value::Array(values) => values.into_iter().enumerate().map(text).collect(),
        other => Err(Error::invalid("input", kind_of(&other), "must be a text or a list of texts")),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Returns the vectors in the original's shape.
pub(crate) fn response(answer: &Answer<Embeddings>, started: Instant) -> ResultResponse {
    let Embeddings { embeddings, dimensions, .. } = &answer.value;
    let figures = json!({
        "dimensions": dimensions,
        "tokens": embeddings.iter().map(|embedding| embedding.tokens).collect::<Vec<_>>(),
        "truncated": embeddings.iter().map(|embedding| embedding.truncated).collect::<Vec<_>>(),
    });
    ResultResponse {
        metadata: ResultResponse::metadata(answer, figures),
        predictions: embeddings.iter().map(|embedding| json!(embedding.vector)).collect(),
        confidence: None,
        processing_time: started.elapsed().as_secs_f64(),
    }
}
