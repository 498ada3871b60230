//! The aliases of a model, and the versions that are tried under them: canaries and shadows.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Reference, Result, Selector, Share, TrialKind};
use seedhouse_service::{AliasReport, Caller, Origin, Service, TrialFigures, TrialPlace};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking;
use crate::limits::Limits;
use crate::native::changes::{AliasPath, warming};
use crate::native::model_response::ModelResponse;
use crate::parameters::{ModelIdPath, reference};
use crate::problem::{Failure, Problems};
use crate::request_body::read_json;

/// Another version that answers a share of the requests by an alias.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CanaryRequest {
    /// Another version of the model.
    model_id: String,
    /// Its share of the requests: 0 to 1, or a percentage like `"5%"`.
    #[schema(value_type = f64)]
    weight: Value,
    /// As for moving an alias: whether the version must be loaded and answer first.
    warm: Option<bool>,
    /// Why; kept in the history.
    reason: Option<String>,
}

/// Another version that computes copies of a share of the requests by an alias.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ShadowRequest {
    /// Another version of the model.
    model_id: String,
    /// Its share of the requests: 0 to 1, or a percentage like `"5%"`; all of them without it.
    #[serde(default = "all")]
    #[schema(value_type = f64)]
    share: Value,
    /// As for moving an alias: whether the version must be loaded and answer first.
    warm: Option<bool>,
    /// Why; kept in the history.
    reason: Option<String>,
}

fn all() -> Value {
    json!(1)
}

/// What both ask for.
struct Asked {
    model_id: String,
    share: Value,
    warm: Option<bool>,
    reason: Option<String>,
}

/// Lets another version answer a share of the requests by an alias, until the alias moves. Where this server serves the alias, the version
/// is loaded and tried first. A canary that cannot be loaded or breaks does not fail a request: the alias's own version answers it, and
/// `metadata.canary_failed` says so.
#[utoipa::path(put, path = "/api/models/{model_id}/aliases/{alias}/canary", tag = "models",
    params(("model_id" = String, Path, description = "the model's base name"), ("alias" = String, Path)),
    request_body = CanaryRequest, responses((status = 200, body = ModelResponse), Problems))]
pub(crate) async fn set_canary(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    path: AliasPath,
    request: Request,
) -> Result<Json<ModelResponse>, Failure> {
    let CanaryRequest { model_id, weight: share, warm, reason } = read_json(request, &limits).await?;
    set(service, &admission, caller, place(path, TrialKind::Canary), Asked { model_id, share, warm, reason }).await
}

/// Lets another version compute copies of a share of the requests by an alias, until the alias moves. Nobody sees what it answers: it is
/// compared with what the alias's own version said, and counted.
#[utoipa::path(put, path = "/api/models/{model_id}/aliases/{alias}/shadow", tag = "models",
    params(("model_id" = String, Path, description = "the model's base name"), ("alias" = String, Path)),
    request_body = ShadowRequest, responses((status = 200, body = ModelResponse), Problems))]
pub(crate) async fn set_shadow(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    path: AliasPath,
    request: Request,
) -> Result<Json<ModelResponse>, Failure> {
    let ShadowRequest { model_id, share, warm, reason } = read_json(request, &limits).await?;
    set(service, &admission, caller, place(path, TrialKind::Shadow), Asked { model_id, share, warm, reason }).await
}

/// Ends the canary of an alias, if it has one.
#[utoipa::path(delete, path = "/api/models/{model_id}/aliases/{alias}/canary", tag = "models",
    params(("model_id" = String, Path, description = "the model's base name"), ("alias" = String, Path)),
    responses((status = 200, body = ModelResponse), Problems))]
pub(crate) async fn end_canary(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    path: AliasPath,
) -> Result<Json<ModelResponse>, Failure> {
    end(service, caller, place(path, TrialKind::Canary)).await
}

/// Ends the shadow of an alias, if it has one.
#[utoipa::path(delete, path = "/api/models/{model_id}/aliases/{alias}/shadow", tag = "models",
    params(("model_id" = String, Path, description = "the model's base name"), ("alias" = String, Path)),
    responses((status = 200, body = ModelResponse), Problems))]
pub(crate) async fn end_shadow(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    path: AliasPath,
) -> Result<Json<ModelResponse>, Failure> {
    end(service, caller, place(path, TrialKind::Shadow)).await
}

fn place(AliasPath { base, alias }: AliasPath, kind: TrialKind) -> TrialPlace {
    TrialPlace { base, alias, kind }
}

async fn set(
    service: Arc<Service>,
    admission: &Admission,
    caller: Caller,
    at: TrialPlace,
    asked: Asked,
) -> Result<Json<ModelResponse>, Failure> {
    let permit = admission.inference()?;
    let version = reference("model_id", &asked.model_id)?;
    let share = share(at.kind.share_field(), &asked.share)?;
    let origin = Origin { actor: caller.name, reason: asked.reason };
    let warming = warming(asked.warm);
    let set = move || service.set_trial(at, &version, share, warming, origin);
    Ok(Json(blocking::run_admitted(permit, set).await?.into()))
}

async fn end(service: Arc<Service>, caller: Caller, at: TrialPlace) -> Result<Json<ModelResponse>, Failure> {
    let origin = Origin { actor: caller.name, reason: None };
    Ok(Json(blocking::run(move || service.end_trial(at, origin)).await?.into()))
}

/// Reads a number, or text with a percentage.
fn share(field: &str, value: &Value) -> Result<Share> {
    let share = match value {
        Value::Number(number) => Share::try_from(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text.parse(),
        other => Err(Error::invalid(field, other, "must be from 0 to 1, or a percentage like `5%`")),
    };
    share.map_err(|error| match error {
        Error::Invalid { value, rule, .. } => Error::Invalid { field: field.into(), value, rule },
        other => other,
    })
}

/// The aliases of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AliasesResponse {
    /// Sorted by name.
    aliases: Vec<AliasResponse>,
}

/// Where an alias points, and what is tried under it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AliasResponse {
    alias: String,
    model_id: String,
    /// `model_id` and `weight`; and since when this server was started or the canary changed: `requests` that were drawn for it,
    /// `answered` and `failed` ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    canary: Option<Value>,
    /// `model_id` and `share`; `requests`, `answered` and `failed` as for a canary; answers that were the `same` or `different`; `dropped`
    /// copies.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    shadow: Option<Value>,
}

impl From<AliasReport> for AliasResponse {
    fn from(report: AliasReport) -> AliasResponse {
        let of_kind = |wanted: TrialKind| {
            let (kind, trial, figures) = report.trials.iter().find(|(kind, ..)| *kind == wanted)?;
            let Value::Object(mut fields) = trial.to_json(*kind) else { return None };
            fields.extend(counted(*kind, figures));
            Some(Value::Object(fields))
        };
        AliasResponse {
            canary: of_kind(TrialKind::Canary),
            shadow: of_kind(TrialKind::Shadow),
            alias: report.alias.into(),
            model_id: report.model_id.to_string(),
        }
    }
}

fn counted(kind: TrialKind, figures: &TrialFigures) -> Map<String, Value> {
    let TrialFigures { requests, answered, failed, same, different, dropped } = figures;
    let figures = match kind {
        TrialKind::Canary => json!({ "requests": requests, "answered": answered, "failed": failed }),
        TrialKind::Shadow => json!({
            "requests": requests, "answered": answered, "failed": failed,
            "same": same, "different": different, "dropped": dropped,
        }),
    };
    match figures {
        Value::Object(figures) => figures,
        _ => Map::new(),
    }
}

/// Lists the aliases of a model with their canaries and shadows.
#[utoipa::path(get, path = "/api/models/{model_id}/aliases", tag = "models",
    params(("model_id" = String, Path, description = "the model's base name")),
    responses((status = 200, body = AliasesResponse), Problems))]
pub(crate) async fn list_aliases(
    State(service): State<Arc<Service>>,
    ModelIdPath(Reference { name, selector }): ModelIdPath,
) -> Result<Json<AliasesResponse>, Failure> {
    if selector != Selector::Newest {
        let rule = "must be the base name of a model, which the aliases are of";
        return Err(Error::invalid("model_id", Reference { name, selector }, rule).into());
    }
    let reports = blocking::run(move || service.aliases(&name)).await?;
    Ok(Json(AliasesResponse { aliases: reports.into_iter().map(AliasResponse::from).collect() }))
}
