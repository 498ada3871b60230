//! `/api/inference`: the call of the original's web client, for whatever a version takes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{
    Answer, Computed, GenerateRequest, NestedTensor, Numbers, Patience, PredictRequest, Service, TensorOutputs,
};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::text_request::GenerationRequest;
use crate::parameters::{reference, timeout};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

/// What to compute.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct InferenceRequest {
    /// Any reference to a version.
    model_id: String,
    /// For a model that takes tensors: each by its name, as numbers in nested lists. For a problem of optimisation: parameters by
    /// name. For a language model: `{"prompt": text}`.
    #[schema(value_type = Object)]
    input_data: BTreeMap<String, InputValue>,
    /// For a language model: `temperature`, `max_tokens`, `top_p`; for all: `timeout_seconds`.
    #[serde(default)]
    parameters: InferenceParameters,
}

/// How a language model answers.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct InferenceParameters {
    /// Above 0, tokens are drawn; 0 takes the most likely one, as without it.
    pub(crate) temperature: Option<f32>,
    /// The most new tokens; 100 without it.
    pub(crate) max_tokens: Option<usize>,
    /// With `temperature`: draw among the most likely tokens that together reach this probability.
    pub(crate) top_p: Option<f32>,
    /// How many seconds it may take: a generation whole, anything else until the model begins with it, loading and waiting included.
    pub(crate) timeout_seconds: Option<f64>,
}

/// The result, and what gave it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InferenceResponse {
    /// For tensors: each by its name, as numbers in nested lists. For a problem: its solution. For a language model:
    /// `{"text": text}`.
    #[schema(value_type = Object)]
    result: Value,
    /// Seconds from the request to the answer, loading included.
    inference_time: f64,
    /// The label of the version that answered.
    model_version: String,
    /// Its id.
    model_id: String,
    /// The digest of its files.
    digest: String,
}

/// Computes what a version computes.
#[utoipa::path(post, path = "/api/inference", tag = "inference", request_body = InferenceRequest,
    responses((status = 200, body = InferenceResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn infer(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Json<InferenceResponse>, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let body: InferenceRequest = read_json(request, &limits).await?;
    let cancel = CancelOnDrop::default();
    let cancelled = cancel.observer();
    let timeout = timeout(body.parameters.timeout_seconds)?;
    let response = match body.decode()? {
        (reference, Asked::Tensors(request)) => {
            let patience = Patience::new(timeout, cancelled);
            let compute = move || {
                let answer = service.compute(&reference, &request, &patience)?;
                Ok(response(&answer, computed(&answer.value), started))
            };
            blocking::run_admitted(permit, compute).await?
        }
        (reference, Asked::Text(request)) => {
            let compute = move || {
                let answer = service.generate(&reference, &request, &mut |_| match cancelled.is_set() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })?;
                let text = answer.value.answers.first().map_or("", |answer| answer.text.as_str());
                Ok(response(&answer, json!({ "text": text }), started))
            };
            blocking::run_admitted(permit, compute).await?
        }
    };
    Ok(Json(response))
}

/// What is asked of a version, which the form of the input tells.
enum Asked {
    Tensors(PredictRequest),
    Text(Box<GenerateRequest>),
}

impl InferenceRequest {
    fn decode(mut self) -> Result<(Reference, Asked)> {
        if let (1, Some(InputValue::Text(prompt))) = (self.input_data.len(), self.input_data.get_mut("prompt")) {
            let prompt = std::mem::take(prompt);
            let (reference, request) = self.parameters.of_prompt(&self.model_id, prompt)?;
            return Ok((reference, Asked::Text(Box::new(request))));
        }
        let tensor = |(name, value)| match value {
            InputValue::Numbers(numbers) => Ok((name, numbers)),
            InputValue::Text(text) => {
                let field = format!("input_data.{name}");
                Err(Error::invalid(field, text, "must be numbers in nested lists; text is `prompt`, alone"))
            }
        };
        let inputs: Result<Vec<(String, Numbers)>> = self.input_data.into_iter().map(tensor).collect();
        Ok((reference("model_id", &self.model_id)?, Asked::Tensors(PredictRequest { inputs: inputs? })))
    }
}

impl InferenceParameters {
    fn of_prompt(&self, model_id: &str, prompt: String) -> Result<(Reference, GenerateRequest)> {
        self.text_request(model_id, "prompt", prompt.into())
    }

    /// Returns the request that the text route would read: a `prompt` or `messages`.
    pub(crate) fn text_request(
        &self,
        model_id: &str,
        field: &str,
        text: Value,
    ) -> Result<(Reference, GenerateRequest)> {
        let temperature = self.temperature.unwrap_or_default();
        let mut fields = Map::new();
        fields.insert("model_id".into(), model_id.into());
        fields.insert(field.into(), text);
        fields.insert("do_sample".into(), (temperature != 0.0).into());
        if temperature != 0.0 {
            fields.insert("temperature".into(), json!(temperature));
            fields.extend(self.top_p.map(|top_p| ("top_p".to_owned(), json!(top_p))));
        }
        fields.extend(self.max_tokens.map(|most| ("max_length".to_owned(), most.into())));
        fields.extend(self.timeout_seconds.map(|seconds| ("timeout_seconds".to_owned(), json!(seconds))));
        let request: GenerationRequest = serde_json::from_value(Value::Object(fields))
            .map_err(|error| Error::malformed("`parameters`", error.to_string()))?;
        request.decode()
    }
}

fn computed(computed: &Computed) -> Value {
    match computed {
        Computed::Tensors(outputs) => tensors(outputs),
        Computed::Solution(solved) => solved.to_json(),
    }
}

/// Returns tensors by name, as numbers in nested lists.
pub(crate) fn tensors(outputs: &TensorOutputs) -> Value {
    let tensor = |(name, tensor): &(String, _)| (name.clone(), json!(NestedTensor(tensor)));
    Value::Object(outputs.outputs.iter().map(tensor).collect())
}

fn response<T>(answer: &Answer<T>, result: Value, started: Instant) -> InferenceResponse {
    InferenceResponse {
        result,
        inference_time: started.elapsed().as_secs_f64(),
        model_version: answer.version.to_string(),
        model_id: answer.model_id.as_str().to_owned(),
        digest: answer.digest.to_string(),
    }
}

/// A tensor, or a text.
#[derive(Debug)]
enum InputValue {
    Numbers(Numbers),
    Text(String),
}

impl<'de> Deserialize<'de> for InputValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<InputValue, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = InputValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("numbers in nested lists, or a text")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<InputValue, A::Error> {
        Numbers::deserialize(SeqAccessDeserializer::new(items)).map(InputValue::Numbers)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<InputValue, E> {
        Ok(InputValue::Text(text.to_owned()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<InputValue, E> {
        Numbers::deserialize(value.into_deserializer()).map(InputValue::Numbers)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<InputValue, E> {
        Numbers::deserialize(value.into_deserializer()).map(InputValue::Numbers)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<InputValue, E> {
        Numbers::deserialize(value.into_deserializer()).map(InputValue::Numbers)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<InputValue, E> {
        Numbers::deserialize(value.into_deserializer()).map(InputValue::Numbers)
    }
}
