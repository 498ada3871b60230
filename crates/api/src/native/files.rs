//! The files of a version: a list, and their bytes, whole or in ranges.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use seedhouse_service::core::{Digest, Error, FileEntry, ManifestPath, Reference};
use seedhouse_service::{Service, StoredFile};
use serde::Serialize;
use tower::ServiceExt;
use tower_http::services::ServeFile;
use utoipa::ToSchema;

use crate::parameters::ModelIdPath;
use crate::problem::{Failure, Problems, problem};
use crate::{blocking, entity_tag};

/// RFC 9530.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// The files of a version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FilesResponse {
    model_id: String,
    /// The digest of the manifest; null for a record without files.
    digest: Option<String>,
    /// Each with `path`, `size_bytes` and `digest`, in order of paths.
    #[schema(value_type = Vec<Object>)]
    files: Vec<FileEntry>,
}

/// Lists the files of a version.
#[utoipa::path(get, path = "/api/models/{model_id}/files", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = FilesResponse), Problems))]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<FilesResponse>, Failure> {
    let (entry, files) = blocking::run(move || service.files(&reference)).await?;
    let digest = entry.record.digest().map(|digest| digest.to_string());
    Ok(Json(FilesResponse { model_id: entry.record.model_id.to_string(), digest, files }))
}

/// Sends the bytes of a file. `Range` asks for a part; `ETag` is the digest, `Repr-Digest` (RFC 9530) the same in base64.
#[utoipa::path(get, path = "/api/models/{model_id}/files/{*path}", tag = "models",
    params(("model_id" = String, Path), ("path" = String, Path, description = "may contain `/`")),
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (status = 206, content_type = "application/octet-stream", description = "a part"),
        (status = 304, description = "the client has it"),
        (status = 416, description = "the range is beyond the end", body = crate::problem::Problem),
        Problems
    ))]
pub(crate) async fn download(
    State(service): State<Arc<Service>>,
    FilePath { reference, path }: FilePath,
    request: Request,
) -> Result<Response, Failure> {
    let name = path.file_name().to_owned();
    let StoredFile { digest, size_bytes, local } = blocking::run(move || service.file(&reference, &path)).await?;
    let tag = entity_tag::quoted(digest.hex());
    Sendable { local, size_bytes, name, tag, digest: Some(digest) }.answer(request).await
}

/// A file that is sent, whole or in ranges.
pub(crate) struct Sendable {
    /// Where it is.
    pub(crate) local: PathBuf,
    pub(crate) size_bytes: u64,
    /// What a browser calls it.
    pub(crate) name: String,
    pub(crate) tag: HeaderValue,
    /// The digest of its bytes, where it is known.
    pub(crate) digest: Option<Digest>,
}

impl Sendable {
    /// Answers a request for the file.
    pub(crate) async fn answer(self, request: Request) -> Result<Response, Failure> {
        if entity_tag::is_known(request.headers(), &self.tag) {
            return Ok(entity_tag::not_modified(self.tag));
        }
        let range = asked_range(request.headers(), &self.tag);
        let response = send(&self, range.as_ref(), request.into_parts().0.method).await?;
        Ok(described(response, self))
    }
}

/// A range holds only for the bytes that the client has seen (`If-Range`). Several ranges at once are not served, and may be
/// answered with the whole (RFC 9110, section 14.2).
fn asked_range(headers: &HeaderMap, tag: &HeaderValue) -> Option<HeaderValue> {
    let range = headers.get(RANGE).filter(|range| !range.as_bytes().contains(&b','))?;
    headers.get(IF_RANGE).is_none_or(|known| known == tag).then(|| range.clone())
}

async fn send(file: &Sendable, range: Option<&HeaderValue>, method: Method) -> Result<Response, Failure> {
    let mut inner = Request::new(Body::empty());
    *inner.method_mut() = method;
    inner.headers_mut().extend(range.map(|range| (RANGE, range.clone())));
    // ServeFile answers files that it cannot open with 404 and 500 of its own, and never fails.
    let response = ServeFile::new(&file.local).oneshot(inner).await.unwrap_or_else(|never| match never {});
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response.map(Body::new)),
        StatusCode::RANGE_NOT_SATISFIABLE => Ok(beyond_the_end(file, range)),
        status => Err(Error::Internal(format!("file `{}` cannot be sent: {status}", file.name)).into()),
    }
}

fn beyond_the_end(file: &Sendable, range: Option<&HeaderValue>) -> Response {
    let range = range.map(|range| String::from_utf8_lossy(range.as_bytes())).unwrap_or_default();
    let error = Error::invalid("Range", range, format!("the file has {} bytes", file.size_bytes));
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let content_range = [("content-range", format!("bytes */{}", file.size_bytes))];
    let mut response = (status, content_range).into_response();
    response.extensions_mut().insert(problem(&error, status));
    response
}

/// Nobody's browser shall take a model file for a page: it is bytes, to be saved.
fn described(mut response: Response, file: Sendable) -> Response {
    if !response.status().is_success() {
        return response;
    }
    let headers = response.headers_mut();
    headers.remove(LAST_MODIFIED);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_DISPOSITION, disposition(&file.name));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A base or an alias may name other bytes tomorrow.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ETAG, file.tag);
    headers.extend(file.digest.map(|digest| (REPR_DIGEST, repr_digest(&digest))));
    response
}

fn repr_digest(digest: &Digest) -> HeaderValue {
    let text = format!("sha-256=:{}:", BASE64_STANDARD.encode(digest.as_bytes()));
    HeaderValue::try_from(text).expect("base64 is ASCII")
}

/// Writes a name as RFC 6266 asks: percent-encoded UTF-8.
fn disposition(file_name: &str) -> HeaderValue {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded: String = file_name
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    HeaderValue::try_from(format!("attachment; filename*=UTF-8''{encoded}")).expect("percent-encoded text is ASCII")
}

/// The `{model_id}` and `{path}` of an address, decoded.
pub(crate) struct FilePath {
    reference: Reference,
    path: ManifestPath,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for FilePath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Failure> {
        let Path((model_id, path)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::invalid("path", parts.uri.path(), "must be UTF-8 after percent-decoding"))?;
        Ok(FilePath { reference: crate::parameters::reference("model_id", &model_id)?, path: path.parse()? })
    }
}
