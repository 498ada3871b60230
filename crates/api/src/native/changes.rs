//! Changing what is registered: the original's `PUT` and `DELETE` routes, and ours for aliases and the history.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{
    Alias, DeletionGuard, Edit, Error, Event, ExpectedHolder, ModelId, ModelName, Reference, Result, Selector,
};
use seedhouse_service::{Caller, Origin, Service, Warming};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::admission::Admission;
use crate::blocking;
use crate::entity_tag::{TaggedModel, expected_revision};
use crate::limits::Limits;
use crate::native::model_response::ModelResponse;
use crate::parameters::{ModelIdPath, QueryParameters};
use crate::problem::{Failure, Problems};
use crate::request_body::read_json;

/// What may change of a version. A field that is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UpdateRequest {
    name: Option<String>,
    description: Option<String>,
    /// Moves along the status table.
    status: Option<String>,
    /// Keys and values; null removes a tag.
    #[serde(default)]
    #[schema(value_type = Object)]
    tags: BTreeMap<String, Option<String>>,
    /// Refused: what the files say cannot change, and what they do not say was claimed at registration.
    #[schema(value_type = Option<Object>)]
    hyperparameters: Option<Value>,
    /// Why; kept in the history.
    reason: Option<String>,
}

impl UpdateRequest {
    fn edits(self) -> Result<Vec<Edit>> {
        if self.hyperparameters.is_some() {
            return Err(Error::unsupported("changing `hyperparameters`", "register a new version with them"));
        }
        let mut edits = Vec::new();
        edits.extend(self.status.as_deref().map(str::parse).transpose()?.map(Edit::Status));
        edits.extend(self.name.map(Edit::Name));
        edits.extend(self.description.map(Edit::Description));
        edits.extend(self.tags.into_iter().map(|(key, value)| Edit::Tag { key, value }));
        Ok(edits)
    }
}

/// Changes a version. With `If-Match: "REVISION"` it is refused if somebody changed the version since.
#[utoipa::path(put, path = "/api/models/{model_id}", tag = "models", params(("model_id" = String, Path)),
    request_body = UpdateRequest, responses((status = 200, body = ModelResponse), Problems))]
pub(crate) async fn update(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(reference): ModelIdPath,
    request: Request,
) -> Result<TaggedModel, Failure> {
    let expected_revision = expected_revision(request.headers())?;
    let body: UpdateRequest = read_json(request, &limits).await?;
    let origin = Origin { actor: caller.name, reason: body.reason.clone() };
    let edits = body.edits()?;
    let entry = blocking::run(move || service.update(&reference, expected_revision, edits, origin)).await?;
    Ok(TaggedModel(entry))
}

/// A line of text about what was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageResponse {
    message: String,
}

fn message(text: String) -> Json<MessageResponse> {
    Json(MessageResponse { message: text })
}

/// Figures by name, and where they come from.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct MetricsRequest {
    /// What produced the figures: a run, a dataset digest, a command; kept as a receipt that says it was reported.
    #[schema(value_type = Option<Object>)]
    source: Option<Value>,
    /// Names and numbers.
    #[serde(flatten)]
    metrics: BTreeMap<String, f64>,
}

impl MetricsRequest {
    fn edits(self) -> Result<Vec<Edit>> {
        let metrics = self.metrics.into_iter();
        match self.source {
            None => Ok(metrics.map(|(name, value)| Edit::ClaimedMetric { name, value }).collect()),
            Some(source @ Value::Object(_)) => Ok(vec![Edit::ReportedMetrics { metrics: metrics.collect(), source }]),
            Some(other) => Err(Error::invalid("source", other, "must be an object")),
        }
    }
}

/// Sets figures of a version; others stay. They are recorded as claims, also where `source` says where they come from: the
/// registry has not measured them.
#[utoipa::path(put, path = "/api/models/{model_id}/metrics", tag = "models", params(("model_id" = String, Path)),
    request_body = MetricsRequest, responses((status = 200, body = MessageResponse), Problems))]
pub(crate) async fn update_metrics(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(reference): ModelIdPath,
    request: Request,
) -> Result<Json<MessageResponse>, Failure> {
    let body: MetricsRequest = read_json(request, &limits).await?;
    let edits = body.edits()?;
    let origin = Origin { actor: caller.name, reason: None };
    let entry = blocking::run(move || service.update(&reference, None, edits, origin)).await?;
    Ok(message(format!("metrics of `{}` recorded as claims", entry.record.model_id)))
}

/// How to delete.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct DeleteParameters {
    /// Delete it although aliases point at it (they are removed) or versions were made from it.
    #[serde(default)]
    force: bool,
    /// Why; kept in the history.
    reason: Option<String>,
}

/// Hides a version; its bytes and names are kept.
#[utoipa::path(delete, path = "/api/models/{model_id}", tag = "models", params(("model_id" = String, Path), DeleteParameters),
    responses((status = 200, body = MessageResponse), Problems))]
pub(crate) async fn delete(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(reference): ModelIdPath,
    QueryParameters(parameters): QueryParameters<DeleteParameters>,
) -> Result<Json<MessageResponse>, Failure> {
    let guard = if parameters.force { DeletionGuard::Force } else { DeletionGuard::RefuseIfNeeded };
    let origin = Origin { actor: caller.name, reason: parameters.reason };
    let entry = blocking::run(move || service.delete(&reference, guard, origin)).await?;
    Ok(message(format!("`{}` is deleted and can be undeleted", entry.record.model_id)))
}

/// Shows a deleted version again.
#[utoipa::path(post, path = "/api/models/{model_id}/undelete", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = ModelResponse), Problems))]
pub(crate) async fn undelete(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<ModelResponse>, Failure> {
    let model_id: ModelId = match reference.selector {
        Selector::Newest => reference.name.as_str().parse()?,
        _ => return Err(Error::invalid("model_id", reference, "must be the id of a deleted version").into()),
    };
    let origin = Origin { actor: caller.name, reason: None };
    let entry = blocking::run(move || service.undelete(model_id, origin)).await?;
    Ok(Json(entry.into()))
}

/// Where an alias shall point.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct AliasRequest {
    /// A version of the model.
    model_id: String,
    /// Refuse unless the alias points at this `model_id` now; null for at nothing. Left out: it may point anywhere.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    expected: Option<Option<String>>,
    /// Whether the version must be loaded and answer before the alias moves: left out, where this server serves the alias;
    /// true, in any case; false, never.
    warm: Option<bool>,
    /// Why; kept in the history.
    reason: Option<String>,
}

/// How to roll an alias back.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
pub(crate) struct RollbackParameters {
    /// As for moving an alias.
    warm: Option<bool>,
}

/// Reads `warm`.
pub(crate) fn warming(warm: Option<bool>) -> Warming {
    match warm {
        None => Warming::WhereServed,
        Some(true) => Warming::Always,
        Some(false) => Warming::Never,
    }
}

/// Tells `null` from a field that is left out.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Points an alias of a model at one of its versions. Where this server serves the alias, the version is loaded and tried first;
/// if that fails, the alias stays where it is, and what it points at goes on answering. Afterwards the old version is drained.
#[utoipa::path(put, path = "/api/models/{model_id}/aliases/{alias}", tag = "models",
    params(("model_id" = String, Path, description = "the model's base name"), ("alias" = String, Path)),
    request_body = AliasRequest, responses((status = 200, body = ModelResponse), Problems))]
pub(crate) async fn move_alias(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    AliasPath { base, alias }: AliasPath,
    request: Request,
) -> Result<Json<ModelResponse>, Failure> {
    let permit = admission.inference()?;
    let body: AliasRequest = read_json(request, &limits).await?;
    let reference: Reference = crate::parameters::reference("model_id", &body.model_id)?;
    let expected = match body.expected {
        None => ExpectedHolder::Any,
        Some(holder) => ExpectedHolder::Exactly(holder.as_deref().map(str::parse).transpose()?),
    };
    let origin = Origin { actor: caller.name, reason: body.reason };
    let warming = warming(body.warm);
    let moved = move || service.move_alias_of(&base, &reference, alias, expected, warming, origin);
    let entry = blocking::run_admitted(permit, moved).await?;
    Ok(Json(entry.into()))
}

/// Points an alias back at the version before its last move, which is warmed first as when an alias is moved.
#[utoipa::path(post, path = "/api/models/{model_id}/aliases/{alias}/rollback", tag = "models",
    params(("model_id" = String, Path, description = "the model's base name"), ("alias" = String, Path),
        RollbackParameters),
    responses((status = 200, body = ModelResponse), Problems))]
pub(crate) async fn roll_back_alias(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    AliasPath { base, alias }: AliasPath,
    QueryParameters(parameters): QueryParameters<RollbackParameters>,
) -> Result<Json<ModelResponse>, Failure> {
    let permit = admission.inference()?;
    let warming = warming(parameters.warm);
    let origin = Origin { actor: caller.name, reason: None };
    let rolled = move || service.roll_back_alias(&base, alias, warming, origin);
    let entry = blocking::run_admitted(permit, rolled).await?;
    Ok(Json(entry.into()))
}

/// Removes an alias.
#[utoipa::path(delete, path = "/api/models/{model_id}/aliases/{alias}", tag = "models",
    params(("model_id" = String, Path, description = "the model's base name"), ("alias" = String, Path)),
    responses((status = 200, body = MessageResponse), Problems))]
pub(crate) async fn remove_alias(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    AliasPath { base, alias }: AliasPath,
) -> Result<Json<MessageResponse>, Failure> {
    let origin = Origin { actor: caller.name, reason: None };
    let text = format!("`{base}@{alias}` is removed");
    blocking::run(move || service.remove_alias(base, alias, origin)).await?;
    Ok(message(text))
}

/// The `{model_id}` and `{alias}` of a path, decoded.
pub(crate) struct AliasPath {
    pub(crate) base: ModelName,
    pub(crate) alias: Alias,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for AliasPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Failure> {
        let Path((base, alias)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::invalid("alias", parts.uri.path(), "must be UTF-8 after percent-decoding"))?;
        Ok(AliasPath { base: base.parse()?, alias: alias.parse()? })
    }
}

/// What happened to a version, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryResponse {
    /// Each with `sequence`, `at`, `actor`, `action`, `subject`, `reason`, `before`, `after`, `previous`, `digest`.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Event>,
}

/// Lists what happened to a version (also a deleted one), or to an alias (`base@alias`).
#[utoipa::path(get, path = "/api/models/{model_id}/history", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = HistoryResponse), Problems))]
pub(crate) async fn history(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<HistoryResponse>, Failure> {
    Ok(Json(HistoryResponse { events: blocking::run(move || service.history(&reference)).await? }))
}
