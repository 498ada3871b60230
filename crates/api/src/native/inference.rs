//! `/api/inference`: the call of the original's web client, for whatever a version takes; and the same with the version in the path.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{
    Answer, Caller, Computed, GenerateRequest, NamedInput, NamedRequest, NestedTensor, Numbers, OutOfRange, Patience,
    Service, TabularAnswer, TabularPolicies, TensorOutputs, UnknownCategory, UnknownFeature,
};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::admission::{Admission, Permit};
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::tabular::units;
use crate::native::text_request::GenerationRequest;
use crate::parameters::{ModelIdPath, reference, timeout};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

/// What to compute.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct InferenceRequest {
    /// Any reference to a version.
    model_id: String,
    /// For a model that takes tensors: each by its name, as numbers in nested lists. For a model of tables: a row, each feature by its
    /// name. For a problem of optimisation: parameters by name. For a language model: `{"prompt": text}`.
    #[schema(value_type = Object)]
    input_data: InputData,
    /// For a language model: `temperature`, `max_tokens`, `top_p`. For a model of tables: `out_of_range`, `unknown_category`,
    /// `unknown_feature`. For all: `timeout_seconds`.
    #[serde(default)]
    parameters: InferenceParameters,
}

/// What to compute with the version in the path.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PredictBody {
    /// As for `/api/inference`.
    #[schema(value_type = Object)]
    input_data: InputData,
    /// As for `/api/inference`.
    #[serde(default)]
    parameters: InferenceParameters,
}

/// How a version answers.
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
    /// A number beyond the range of its feature: `refuse` (without it) or `flag`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) out_of_range: OutOfRange,
    /// A text that is none of the categories of its feature: `refuse` (without it) or `missing`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) unknown_category: UnknownCategory,
    /// Names that no feature has: `refuse` (without it) or `ignore`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(crate) unknown_feature: UnknownFeature,
}

/// The result, and what gave it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InferenceResponse {
    /// For tensors: each by its name, as numbers in nested lists. For a row: its class with probabilities, or its targets and `units`,
    /// as `/api/inference/tabular` answers. For a problem: its solution. For a language model: `{"text": text}`.
    #[schema(value_type = Object)]
    pub(crate) result: Value,
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
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<InferenceResponse>, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let InferenceRequest { model_id, input_data, parameters } = read_json(request, &limits).await?;
    let reference = reference("model_id", &model_id)?;
    let body = PredictBody { input_data, parameters };
    Ok(Json(answer(service, permit, caller, reference, body, started).await?))
}

/// Computes what a version computes, with the version in the path.
#[utoipa::path(post, path = "/api/models/{model_id}/predict", tag = "inference", params(("model_id" = String, Path)),
    request_body = PredictBody,
    responses((status = 200, body = InferenceResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn predict(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(reference): ModelIdPath,
    request: Request,
) -> Result<Json<InferenceResponse>, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let body: PredictBody = read_json(request, &limits).await?;
    Ok(Json(answer(service, permit, caller, reference, body, started).await?))
}

/// Computes what a version computes from named values or a prompt.
pub(crate) async fn answer(
    service: Arc<Service>,
    permit: Permit,
    caller: Caller,
    reference: Reference,
    body: PredictBody,
    started: Instant,
) -> Result<InferenceResponse> {
    let cancel = CancelOnDrop::default();
    let cancelled = cancel.observer();
    let timeout = timeout(body.parameters.timeout_seconds)?;
    match body.decode(&reference, &caller)? {
        Asked::Named(request) => {
            let patience = Patience::new(timeout, cancelled);
            let compute = move || {
                let answer = service.compute(&reference, &request, &patience)?;
                let result = computed(&answer.value)?;
                Ok(response(&answer, result, started))
            };
            blocking::run_admitted(permit, compute).await
        }
        Asked::Text(request) => {
            let compute = move || {
                let answer = service.generate(&reference, &request, &mut |_| match cancelled.is_set() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })?;
                let text = answer.value.answers.first().map_or("", |answer| answer.text.as_str());
                Ok(response(&answer, json!({ "text": text }), started))
            };
            blocking::run_admitted(permit, compute).await
        }
    }
}

/// What is asked of a version: text, as the form of the input tells, or what the version makes of named values.
enum Asked {
    Named(NamedRequest),
    Text(Box<GenerateRequest>),
}

impl PredictBody {
    fn decode(self, reference: &Reference, caller: &Caller) -> Result<Asked> {
        let PredictBody { input_data: InputData(inputs), parameters } = self;
        if let [(name, NamedInput::Text(prompt))] = &inputs[..]
            && name == "prompt"
        {
            let mut request = parameters.of_prompt(reference, prompt.clone())?;
            // Each caller has its own turn in the model's queue.
            request.client = caller.name.as_str().into();
            return Ok(Asked::Text(Box::new(request)));
        }
        let policies = TabularPolicies {
            out_of_range: parameters.out_of_range,
            unknown_category: parameters.unknown_category,
            unknown_feature: parameters.unknown_feature,
        };
        Ok(Asked::Named(NamedRequest { inputs, policies }))
    }
}

impl InferenceParameters {
    fn of_prompt(&self, reference: &Reference, prompt: String) -> Result<GenerateRequest> {
        self.text_request(&reference.to_string(), "prompt", prompt.into()).map(|(_, request)| request)
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

/// Returns what came of named values.
pub(crate) fn computed(computed: &Computed) -> Result<Value> {
    match computed {
        Computed::Tensors(outputs) => Ok(tensors(outputs)),
        Computed::Rows(rows) => row(rows),
        Computed::Solution(solved) => Ok(solved.to_json()),
    }
}

fn row(rows: &TabularAnswer) -> Result<Value> {
    let mut row = json!(rows.only()?);
    if let (Value::Object(row), false) = (&mut row, rows.units.is_empty()) {
        row.insert("units".into(), units(rows).into());
    }
    Ok(row)
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

/// Names and values in their order. A name that is there twice stays so, because it is a mistake.
#[derive(Debug)]
struct InputData(Vec<(String, NamedInput)>);

impl<'de> Deserialize<'de> for InputData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<InputData, D::Error> {
        deserializer.deserialize_map(InputDataVisitor)
    }
}

struct InputDataVisitor;

impl<'de> Visitor<'de> for InputDataVisitor {
    type Value = InputData;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object from name to value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<InputData, A::Error> {
        let mut inputs = Vec::new();
        while let Some((name, InputValue(value))) = entries.next_entry()? {
            inputs.push((name, value));
        }
        Ok(InputData(inputs))
    }
}

/// A tensor, a text, or nothing.
struct InputValue(NamedInput);

impl<'de> Deserialize<'de> for InputValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<InputValue, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = InputValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("numbers in nested lists, a text, or null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<InputValue, A::Error> {
        Numbers::deserialize(SeqAccessDeserializer::new(items)).map(numbers)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<InputValue, E> {
        Ok(InputValue(NamedInput::Text(text.to_owned())))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<InputValue, E> {
        Ok(InputValue(NamedInput::Missing))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<InputValue, E> {
        Numbers::deserialize(value.into_deserializer()).map(numbers)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<InputValue, E> {
        Numbers::deserialize(value.into_deserializer()).map(numbers)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<InputValue, E> {
        Numbers::deserialize(value.into_deserializer()).map(numbers)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<InputValue, E> {
        Numbers::deserialize(value.into_deserializer()).map(numbers)
    }
}

fn numbers(numbers: Numbers) -> InputValue {
    InputValue(NamedInput::Numbers(numbers))
}

#[cfg(test)]
mod tests {
    use seedhouse_service::core::Role;

    use super::*;

    #[test]
    fn prompts_of_two_callers_do_not_share_one_turn() {
        for name in ["anna", "ben"] {
            let body: PredictBody = serde_json::from_value(json!({ "input_data": { "prompt": "wheat" } })).unwrap();
            let caller = Caller { name: name.into(), role: Role::Reader };
            match body.decode(&"tiny".parse().unwrap(), &caller).unwrap() {
                Asked::Text(request) => assert_eq!(&*request.client, name),
                Asked::Named(request) => panic!("a prompt alone is text: {request:?}"),
            }
        }
    }
}
