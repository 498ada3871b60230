//! `/api/inference/unified`: the original's call of any chat model, here of the registered ones.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::{Caller, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::inference::InferenceParameters;
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

/// What to say to a language model. It is rendered by the model's own chat template.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UnifiedRequest {
    /// Any reference to a version.
    model_id: String,
    /// What the user says.
    prompt: String,
    /// What the model is told before.
    system_prompt: Option<String>,
    /// Above 0, tokens are drawn; 0 takes the most likely one.
    #[serde(default = "default_temperature")]
    temperature: f32,
    /// The most new tokens; the end of the model's context ends an answer as well.
    #[serde(default = "default_max_tokens")]
    max_tokens: usize,
    /// How many seconds it may take, loading and waiting included.
    timeout_seconds: Option<f64>,
}

fn default_temperature() -> f32 {
    0.7
}

fn default_max_tokens() -> usize {
    2000
}

/// What the model said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnifiedResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    /// Always `local`: there are no models of others behind this.
    model_source: &'static str,
    /// The version that answered.
    model_id: String,
    /// The digest of its files.
    digest: String,
    content: String,
    /// Seconds from the request to the answer, loading included.
    processing_time: f64,
}

impl UnifiedRequest {
    fn messages(&self) -> Value {
        let message = |role: &str, content: &str| json!({ "role": role, "content": content });
        let system = self.system_prompt.as_deref().filter(|text| !text.is_empty());
        system.map(|text| message("system", text)).into_iter().chain([message("user", &self.prompt)]).collect()
    }
}

/// Answers a prompt of a chat.
#[utoipa::path(post, path = "/api/inference/unified", tag = "inference", request_body = UnifiedRequest,
    responses((status = 200, body = UnifiedResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn generate_unified(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<UnifiedResponse>, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let body: UnifiedRequest = read_json(request, &limits).await?;
    let parameters = InferenceParameters {
        temperature: Some(body.temperature),
        max_tokens: Some(body.max_tokens),
        top_p: None,
        timeout_seconds: body.timeout_seconds,
        ..InferenceParameters::default()
    };
    let (reference, mut request) = parameters.text_request(&body.model_id, "messages", body.messages())?;
    request.client = caller.name.into();
    let cancel = CancelOnDrop::default();
    let cancelled = cancel.observer();
    let answer = blocking::run_admitted(permit, move || {
        service.generate(&reference, &request, &mut |_| match cancelled.is_set() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    })
    .await?;
    Ok(Json(UnifiedResponse {
        success: true,
        model_source: "local",
        model_id: answer.model_id.to_string(),
        digest: answer.digest.to_string(),
        content: answer.value.first().text.clone(),
        processing_time: started.elapsed().as_secs_f64(),
    }))
}
