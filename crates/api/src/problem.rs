//! One error envelope for the native API: `application/problem+json` (RFC 9457), computed from the error's code.

use std::error::Error as _;
use std::io;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use seedhouse_service::core::{Code, Error, Kind};
use serde::Serialize;
use tower_http::request_id::RequestId;
use utoipa::{IntoResponses, ToSchema};

/// An error as the native API answers it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A stable name of the kind of error: `urn:seedhouse:error:<code>`.
    #[serde(rename = "type")]
    kind: String,
    /// The HTTP status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What failed, naming the thing and both values.
    pub(crate) detail: String,
    /// The same text, where the original's web client looks for it.
    error: String,
    /// The offending field of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Names the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
}

/// A failed request. The envelope is written by [`render`], which knows the request id.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = status_of(&self.0);
        let mut response = status.into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(problem(&self.0, status));
        response
    }
}

/// Returns the HTTP status of an error: its code's, unless HTTP has a word for the very case.
pub(crate) fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::BrokenUpload { source, .. } if source.kind() == io::ErrorKind::TimedOut => StatusCode::REQUEST_TIMEOUT,
        // What is corrupt is what the client sent, not what the server keeps.
        Error::CorruptTransfer { .. } => StatusCode::BAD_REQUEST,
        // The checksum extension of tus chose a number that HTTP has not given out.
        Error::WrongChecksum { .. } => StatusCode::from_u16(460).expect("460 is within 100..1000"),
        // To send it again at once, as 429 invites to, would fill the same disk.
        error if error.is_full_disk() => StatusCode::INSUFFICIENT_STORAGE,
        error => http_status(error.code()),
    }
}

/// Returns the HTTP status of a code.
///
/// `corrupt` is 500: the client did nothing wrong, and sending the request again does not help until somebody mends the store.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Conflict | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Code::Corrupt | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Exhausted => StatusCode::TOO_MANY_REQUESTS,
        // The client is gone; nobody reads this. 499 is what proxies log for it.
        Code::Cancelled => StatusCode::from_u16(499).expect("499 is within 100..1000"),
        Code::Deadline => StatusCode::GATEWAY_TIMEOUT,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Builds the envelope and logs what somebody must look at. Paths and causes stay in the log; the client gets the request id.
pub(crate) fn problem(error: &Error, status: StatusCode) -> Problem {
    log(error, status);
    let detail = match error {
        error if error.is_full_disk() => "the server's disk is full".to_owned(),
        error if error.code() == Code::Internal => {
            "internal fault; the server's log has the details under the request id".to_owned()
        }
        Error::BrokenUpload { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    };
    let hint = match error.is_full_disk() {
        true => Some("free space on the server, then send it again".to_owned()),
        false => error.hint(),
    };
    Problem {
        kind: format!("urn:seedhouse:error:{}", error.code()),
        title: status.canonical_reason().unwrap_or("Request Failed").to_owned(),
        status: status.as_u16(),
        error: detail.clone(),
        detail,
        field: error.field().map(str::to_owned),
        hint,
        request_id: None,
    }
}

/// The only line about a failed request: an error when somebody must look, less when the client or time will mend it.
fn log(error: &Error, status: StatusCode) {
    let (code, text) = (error.code().as_str(), chain(error));
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            tracing::warn!(code, error = text, "request refused for now");
        }
        StatusCode::NOT_IMPLEMENTED => tracing::debug!(code, error = text, "request refused"),
        status if status.is_server_error() => tracing::error!(code, error = text, "request failed"),
        _ => tracing::debug!(code, error = text, "request refused"),
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Middleware: writes the envelope of failed requests, with the id of the request.
pub(crate) async fn render(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().and_then(id_text);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (mut parts, body) = next.run(request).await.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None if parts.status == StatusCode::METHOD_NOT_ALLOWED => not_allowed(&method, &path, parts.headers.get(ALLOW)),
        None => return Response::from_parts(parts, body),
    };
    let problem = Problem { request_id: id, ..problem };
    let text = serde_json::to_string(&problem).expect("a problem has string keys only");
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    Response::from_parts(parts, Body::from(text))
}

/// Returns a request's id as text.
pub(crate) fn id_text(id: &RequestId) -> Option<String> {
    id.header_value().to_str().ok().map(str::to_owned)
}

/// Answers paths that no route has.
pub(crate) async fn unknown_route(method: Method, uri: Uri) -> Failure {
    Failure(Error::not_found(Kind::Route, format!("{method} {}", uri.path())))
}

/// Answers methods that a path does not have. The router adds `Allow` to this, so only [`render`] can name the methods.
pub(crate) async fn unknown_method() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

fn not_allowed(method: &Method, path: &str, allowed: Option<&HeaderValue>) -> Problem {
    let allowed = allowed.and_then(|allowed| allowed.to_str().ok()).unwrap_or_default().replace(',', ", ");
    let error = Error::invalid("method", method, format!("`{path}` takes only {allowed}"));
    problem(&error, StatusCode::METHOD_NOT_ALLOWED)
}

/// How any request with a body can fail, for the description of the API.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers; they are made by `Failure`")]
pub(crate) enum Problems {
    /// A field breaks a rule, or the body is not what it claims to be.
    #[response(status = 400)]
    Invalid(Problem),
    /// Nothing came for too long.
    #[response(status = 408)]
    TimedOut(Problem),
    /// The name is taken, or the version is not in a state that allows this.
    #[response(status = 409)]
    Conflict(Problem),
    /// Larger than a limit.
    #[response(status = 413)]
    TooLarge(Problem),
    /// Too many requests at once; `Retry-After` says when to try again.
    #[response(status = 429)]
    Exhausted(Problem),
    /// A fault of the server, or stored bytes that are not what the record says.
    #[response(status = 500)]
    Internal(Problem),
    /// A real feature that this version does not have.
    #[response(status = 501)]
    Unsupported(Problem),
    /// The server's disk is full.
    #[response(status = 507)]
    StorageFull(Problem),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn io_error(kind: io::ErrorKind) -> Error {
        let path = "/srv/secret/blobs/staging/x".into();
        Error::Io { action: "write", path, source: Arc::new(kind.into()) }
    }

    #[test]
    fn full_disk_is_507_and_no_5xx_shows_a_path_of_the_server() {
        for (kind, status) in [(io::ErrorKind::StorageFull, 507), (io::ErrorKind::PermissionDenied, 500)] {
            let error = io_error(kind);
            let problem = problem(&error, status_of(&error));
            assert_eq!(problem.status, status);
            assert!(!serde_json::to_string(&problem).unwrap().contains("/srv"), "{problem:?}");
        }
        let error = io_error(io::ErrorKind::StorageFull);
        let problem = problem(&error, status_of(&error));
        assert!(problem.detail.contains("disk is full") && problem.hint.is_some(), "{problem:?}");
    }
}
