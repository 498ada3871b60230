//! The original's two routes that take a file in. Both are registrations with a shape of their own.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use seedhouse_service::core::{Entry, Error, Result};
use seedhouse_service::{Caller, Service};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking;
use crate::limits::Limits;
use crate::native::model_response::ModelResponse;
use crate::native::new_model::{NewModel, NewModelForm};
use crate::native::new_version::idempotency_key;
use crate::problem::{Failure, Problems};
use crate::upload::{self, Form};

/// Registers a version with its files.
#[utoipa::path(post, path = "/api/models/import", tag = "models",
    request_body(content((NewModelForm = "multipart/form-data"))),
    responses((status = 201, body = ModelResponse), Problems))]
pub(crate) async fn import(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<(StatusCode, Json<ModelResponse>), Failure> {
    let entry = register(service, limits, caller, admission, request).await?;
    Ok((StatusCode::CREATED, Json(entry.into())))
}

/// A version made of a file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    model_id: String,
    message: String,
    import_info: ImportInfo,
}

/// Where it came from.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportInfo {
    /// The name of the file; of several, the first in order of paths.
    original_file: String,
    /// Number of bytes of all files.
    file_size: u64,
    /// RFC 3339, UTC.
    imported_at: String,
}

/// Registers a version with its file.
#[utoipa::path(post, path = "/api/model-manager/import-from-file", tag = "models",
    request_body(content((NewModelForm = "multipart/form-data"))),
    responses((status = 201, body = ImportResponse), Problems))]
pub(crate) async fn import_from_file(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<(StatusCode, Json<ImportResponse>), Failure> {
    let entry = register(service, limits, caller, admission, request).await?;
    let files = entry.record.manifest()?.map(Vec::from).unwrap_or_default();
    let model_id = entry.record.model_id.to_string();
    let response = ImportResponse {
        success: true,
        message: format!("`{model_id}` is registered"),
        model_id,
        import_info: ImportInfo {
            original_file: files.first().map(|file| file.path.to_string()).unwrap_or_default(),
            file_size: entry.record.size_bytes().unwrap_or_default(),
            imported_at: entry.record.created_at.to_string(),
        },
    };
    Ok((StatusCode::CREATED, Json(response)))
}

async fn register(
    service: Arc<Service>,
    limits: Limits,
    caller: Caller,
    admission: Admission,
    request: Request,
) -> Result<Entry> {
    if !upload::is_multipart(&request) {
        return Err(Error::malformed("the body", "it must be `multipart/form-data` with a file"));
    }
    let permit = admission.upload()?;
    let key = idempotency_key(request.headers())?;
    let Form { fields, files } = upload::read_form(&service, request, &limits, &permit).await?;
    if files.is_empty() {
        return Err(Error::invalid("file", "", "is required"));
    }
    let mut register = NewModel::from_form(fields)?.into_request(caller.name)?;
    register.idempotency_key = key;
    blocking::run_admitted(permit, move || service.register(register, files)).await
}
