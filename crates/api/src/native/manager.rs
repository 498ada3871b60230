//! The original's `model-manager` routes that hand versions over, back the registry up and restore it, and say how it is.
//! Answers name files by the registry's folder they are in; where that stands on the disk is nobody's business.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Result, Timestamp, Unwatched};
use seedhouse_service::{Caller, Condition, Handover, Overview, RestoreReport, Service, Storage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::admission::Admission;
use crate::blocking;
use crate::limits::Limits;
use crate::native::training;
use crate::parameters::{ModelIdPath, QueryParameters};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_optional_json;

/// In which form a version is handed over.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
pub(crate) struct ManagerExportParameters {
    /// The version's own format, `bundle`, `oci`, `onnx`, `safetensors` or `gguf`; `onnx` without it, as in the original.
    format: Option<String>,
}

/// A version as a file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ManagerExportResponse {
    model_id: String,
    format: String,
    /// Below the registry's folder; `GET /api/exports/{name}` sends a file; a folder of several stays there.
    export_path: String,
    file_size: u64,
    /// RFC 3339, UTC.
    exported_at: String,
    /// What is known about who can use it.
    #[schema(value_type = Object)]
    compatibility: Map<String, Value>,
}

/// Writes a version into a file of the folder of exports. What another format answers is compared with the version's own answers
/// (`compatibility.greatest_difference`); a format that the family does not have is 501.
#[utoipa::path(post, path = "/api/model-manager/{model_id}/export", tag = "transfer",
    params(("model_id" = String, Path), ManagerExportParameters), request_body = Option<ManagerExportParameters>,
    responses((status = 200, body = ManagerExportResponse), (status = 404, body = Problem), Problems))]
pub(crate) async fn export(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    ModelIdPath(reference): ModelIdPath,
    QueryParameters(parameters): QueryParameters<ManagerExportParameters>,
    request: Request,
) -> Result<Json<ManagerExportResponse>, Failure> {
    let permit = admission.upload()?;
    let body: ManagerExportParameters = read_optional_json(request, &limits).await?;
    let format = parameters.format.or(body.format).unwrap_or_else(|| "onnx".into());
    let asked = format.clone();
    let handed = blocking::run_admitted(permit, move || service.hand_over(&reference, &asked, &Unwatched)).await?;
    let Handover { entry, path, size_bytes, made_at, compatibility } = handed;
    Ok(Json(ManagerExportResponse {
        model_id: entry.record.model_id.to_string(),
        format,
        export_path: path.display().to_string(),
        file_size: size_bytes,
        exported_at: made_at.to_string(),
        compatibility,
    }))
}

/// Which backup.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
pub(crate) struct BackupPath {
    /// A file in the folder of backups, by its name or as answers name it: `backup/NAME`.
    backup_path: Option<String>,
}

/// The backup that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ManagerBackupResponse {
    /// Below the registry's folder.
    backup_path: String,
    backup_size: u64,
    /// Versions in it; deleted ones are not.
    total_models: u64,
    /// RFC 3339, UTC.
    backup_time: String,
}

/// Backs the records up at once, as `metadata.json` has them. `POST /api/backups` backs everything up.
#[utoipa::path(post, path = "/api/model-manager/backup", tag = "transfer", params(BackupPath),
    request_body = Option<BackupPath>, responses((status = 200, body = ManagerBackupResponse), Problems))]
pub(crate) async fn back_up(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    QueryParameters(parameters): QueryParameters<BackupPath>,
    request: Request,
) -> Result<Json<ManagerBackupResponse>, Failure> {
    let permit = admission.upload()?;
    let body: BackupPath = read_optional_json(request, &limits).await?;
    let name = parameters.backup_path.or(body.backup_path);
    let report =
        blocking::run_admitted(permit, move || service.back_records_up("backup_path", name.as_deref())).await?;
    Ok(Json(ManagerBackupResponse {
        backup_path: report.path.display().to_string(),
        backup_size: report.size_bytes,
        total_models: report.versions,
        backup_time: report.taken_at.to_string(),
    }))
}

/// A restoration that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ManagerRestoreResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    message: String,
    restore_info: RestoreInfo,
}

/// What it restored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoreInfo {
    backup_path: String,
    /// Versions that were added, put back or shown again; those that were as the backup says do not count.
    restored_models: u64,
    /// RFC 3339, UTC.
    restore_time: String,
}

/// Brings the registry to the state in a backup and answers when it is done. `POST /api/restores` does it as a job.
#[utoipa::path(post, path = "/api/model-manager/restore", tag = "transfer", params(BackupPath),
    request_body = Option<BackupPath>,
    responses((status = 200, body = ManagerRestoreResponse), (status = 404, body = Problem), Problems))]
pub(crate) async fn restore(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    Extension(caller): Extension<Caller>,
    QueryParameters(parameters): QueryParameters<BackupPath>,
    request: Request,
) -> Result<Json<ManagerRestoreResponse>, Failure> {
    let permit = admission.upload()?;
    let body: BackupPath = read_optional_json(request, &limits).await?;
    let Some(name) = parameters.backup_path.or(body.backup_path) else {
        return Err(Error::invalid("backup_path", "missing", "is required").into());
    };
    let asked = name.clone();
    let restored = blocking::run_admitted(permit, move || service.restore_named("backup_path", &asked, caller.name));
    let report: RestoreReport = restored.await?;
    let restored_models = (report.added.len() + report.changed.len() + report.undeleted.len()) as u64;
    let message = format!("{restored_models} versions are restored");
    let restore_info = RestoreInfo { backup_path: name, restored_models, restore_time: Timestamp::now().to_string() };
    Ok(Json(ManagerRestoreResponse { success: true, message, restore_info }))
}

/// How the registry is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusResponse {
    /// Always `running`: whoever reads this has an answer.
    status: &'static str,
    /// `path` (the name of the registry's folder), `exists`, `metadata_file_exists`.
    #[schema(value_type = Object)]
    storage: Storage,
    cache: CacheStatus,
    training: TrainingStatus,
    /// As `GET /api/model-manager/statistics`.
    #[schema(value_type = Object)]
    statistics: Overview,
    /// RFC 3339, UTC.
    timestamp: String,
}

/// The versions in memory.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheStatus {
    size: usize,
    models: Vec<String>,
}

/// The trainings in progress.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrainingStatus {
    active_tasks: usize,
    task_ids: Vec<String>,
}

/// Says how the registry is: its folder, what is loaded, figures.
#[utoipa::path(get, path = "/api/model-manager/status", tag = "models",
    responses((status = 200, body = StatusResponse)))]
pub(crate) async fn status(State(service): State<Arc<Service>>) -> Result<Json<StatusResponse>, Failure> {
    let (condition, task_ids) = blocking::run(move || Ok((service.condition()?, training::active(&service)?))).await?;
    let Condition { storage, loaded: models, overview: statistics } = condition;
    Ok(Json(StatusResponse {
        status: "running",
        storage,
        cache: CacheStatus { size: models.len(), models },
        training: TrainingStatus { active_tasks: task_ids.len(), task_ids },
        statistics,
        timestamp: Timestamp::now().to_string(),
    }))
}
