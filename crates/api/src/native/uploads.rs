//! `/api/uploads`: large files in parts, by the tus protocol 1.0.0, so that its clients work as they are.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use seedhouse_service::core::{ChecksumAlgorithm, Error, Result, Upload, UploadId};
use seedhouse_service::{Service, UploadedFile};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking;
use crate::limits::Limits;
use crate::native::upload_headers::{
    EXTENSIONS, TUS_CHECKSUM_ALGORITHM, TUS_EXTENSION, TUS_MAX_SIZE, TUS_VERSION, UPLOAD_EXPIRES, UPLOAD_LENGTH,
    UPLOAD_METADATA, UPLOAD_OFFSET, VERSION, check_part_type, new_upload, part, refusal,
};
use crate::problem::{Failure, Problem, Problems};
use crate::upload::read_whole;

/// A finished upload that becomes a file of a version.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UploadOfVersion {
    /// The id: the last part of the address that `POST /api/uploads` gave.
    id: String,
    /// Where the file stands within the version; by default the `filename` of the upload.
    path: Option<String>,
}

impl UploadOfVersion {
    /// Checks the fields of many.
    pub(crate) fn into_files(uploads: Vec<UploadOfVersion>) -> Result<Vec<UploadedFile>> {
        let about = |field: &'static str| {
            move |error| match error {
                Error::Invalid { value, rule, .. } => Error::invalid(field, value, rule),
                other => other,
            }
        };
        let file = |upload: UploadOfVersion| {
            let id = upload.id.parse().map_err(about("uploads.id"))?;
            let path = upload.path.as_deref().map(str::parse).transpose().map_err(about("uploads.path"))?;
            Ok(UploadedFile { id, path })
        };
        uploads.into_iter().map(file).collect()
    }
}

/// The `{upload_id}` of a path.
pub(crate) struct UploadIdPath(UploadId);

impl<S: Send + Sync> FromRequestParts<S> for UploadIdPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::invalid("upload_id", parts.uri.path(), "must be UTF-8 after percent-decoding"))?;
        Ok(UploadIdPath(text.parse()?))
    }
}

/// Says what of the tus protocol is spoken here.
#[utoipa::path(options, path = "/api/uploads", tag = "models",
    responses((status = 204, headers(
        ("Tus-Version" = String, description = "`1.0.0`"),
        ("Tus-Extension" = String, description = "`creation,termination,checksum,expiration`"),
        ("Tus-Max-Size" = u64, description = "the most bytes of an upload"),
        ("Tus-Checksum-Algorithm" = String, description = "`sha256,sha1`")))))]
pub(crate) async fn options(Extension(limits): Extension<Limits>) -> Response {
    let headers = [
        (TUS_VERSION, VERSION.to_owned()),
        (TUS_EXTENSION, EXTENSIONS.to_owned()),
        (TUS_MAX_SIZE, limits.upload_bytes.to_string()),
        (TUS_CHECKSUM_ALGORITHM, ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::as_str).join(",")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Begins an upload. Its bytes follow with PATCH; then a registration takes it (`uploads` in its JSON body).
#[utoipa::path(post, path = "/api/uploads", tag = "models",
    params(
        ("Upload-Length" = u64, Header, description = "how many bytes the file has"),
        ("Upload-Metadata" = Option<String>, Header, description = "pairs of a key and a value in base64, with commas between them; `filename` is the path of the file within its version"),
        ("Tus-Resumable" = Option<String>, Header, description = "`1.0.0`")),
    responses(
        (status = 201, headers(
            ("Location" = String, description = "the address of the upload"),
            ("Upload-Expires" = String, description = "when it goes away unless a byte arrives"))),
        (status = 412, body = Problem, description = "Another version of the protocol was asked for."),
        Problems))]
pub(crate) async fn begin(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let new = new_upload(&headers, limits.upload_bytes)?;
    let upload = blocking::run(move || service.begin_upload(&new, limits.open_uploads)).await?;
    tracing::info!(size_bytes = upload.length, "began an upload in parts");
    let location = [(LOCATION, format!("/api/uploads/{}", upload.id))];
    Ok((StatusCode::CREATED, location, progress(&upload)).into_response())
}

/// Says how many bytes of an upload are there, which is where the next part begins.
#[utoipa::path(head, path = "/api/uploads/{upload_id}", tag = "models", params(("upload_id" = String, Path)),
    responses(
        (status = 200, headers(
            ("Upload-Offset" = u64, description = "how many bytes are there"),
            ("Upload-Length" = u64, description = "how many it will have"),
            ("Upload-Metadata" = String, description = "as it was given"),
            ("Upload-Expires" = String, description = "when it goes away unless a byte arrives"))),
        (status = 404, description = "There is no such upload: it was used, removed or has expired."),
        (status = 412, description = "Another version of the protocol was asked for.")))]
pub(crate) async fn state(
    State(service): State<Arc<Service>>,
    UploadIdPath(id): UploadIdPath,
) -> Result<Response, Failure> {
    let upload = blocking::run(move || service.upload(&id)).await?;
    let length = [(UPLOAD_LENGTH, upload.length.to_string()), (CACHE_CONTROL, "no-store".to_owned())];
    let mut response = (StatusCode::OK, length, progress(&upload)).into_response();
    if let Some(Ok(metadata)) = upload.metadata.map(|metadata| metadata.parse()) {
        response.headers_mut().insert(UPLOAD_METADATA, metadata);
    }
    Ok(response)
}

/// Adds the body to an upload. What arrived before the connection broke stays, unless a checksum was announced.
#[utoipa::path(patch, path = "/api/uploads/{upload_id}", tag = "models",
    params(
        ("upload_id" = String, Path),
        ("Upload-Offset" = u64, Header, description = "how many bytes are there, as HEAD says"),
        ("Upload-Checksum" = Option<String>, Header, description = "`sha256` or `sha1`, a space, and the checksum of the body in base64")),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, headers(
            ("Upload-Offset" = u64, description = "how many bytes are there now"),
            ("Upload-Expires" = String, description = "when it goes away unless another byte arrives"))),
        (status = 404, body = Problem, description = "There is no such upload: it was used, removed or has expired."),
        (status = 412, body = Problem, description = "Another version of the protocol was asked for."),
        (status = 415, body = Problem, description = "`Content-Type` is not `application/offset+octet-stream`."),
        (status = 460, body = Problem, description = "Checksum mismatch: the body is not what `Upload-Checksum` says. Nothing of it was kept."),
        Problems))]
pub(crate) async fn append(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    UploadIdPath(id): UploadIdPath,
    request: Request,
) -> Result<Response, Failure> {
    if let Err(error) = check_part_type(request.headers()) {
        return Ok(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, &error));
    }
    let permit = admission.upload()?;
    let part = part(request.headers())?;
    let take = move |bytes: &mut dyn std::io::Read| service.append_to_upload(&id, &part, bytes);
    let upload = read_whole(request, &limits, permit, take).await?;
    Ok((StatusCode::NO_CONTENT, progress(&upload)).into_response())
}

/// Removes an upload with its bytes.
#[utoipa::path(delete, path = "/api/uploads/{upload_id}", tag = "models", params(("upload_id" = String, Path)),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, body = Problem, description = "There is no such upload: it was used, removed or has expired."),
        (status = 409, body = Problem, description = "Another request uses it."),
        (status = 412, body = Problem, description = "Another version of the protocol was asked for.")))]
pub(crate) async fn remove(
    State(service): State<Arc<Service>>,
    UploadIdPath(id): UploadIdPath,
) -> Result<StatusCode, Failure> {
    blocking::run(move || service.remove_upload(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn progress(upload: &Upload) -> [(HeaderName, String); 2] {
    [(UPLOAD_OFFSET, upload.offset.to_string()), (UPLOAD_EXPIRES, upload.expires_at.for_http())]
}
