//! One error envelope for the native API: `application/problem+json` (RFC 9457), computed from the error's code.

use std::error::Error as _;

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use seedhouse_service::core::{Code, Error, Kind};
use serde::Serialize;
use tower_http::request_id::RequestId;
use utoipa::ToSchema;

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
    detail: String,
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
    request_id: Option<String>,
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
        let status = http_status(self.0.code());
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

/// Returns the HTTP status of a code.
///
/// `corrupt` is 500: the client did nothing wrong, and sending the request again does not help until somebody mends the store.
pub(crate) fn http_status(code: Code) -> StatusCode {
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

/// Builds the envelope. Internal faults go to the log with their causes; the client gets the request id instead.
pub(crate) fn problem(error: &Error, status: StatusCode) -> Problem {
    let code = error.code();
    if status.is_server_error() {
        tracing::error!(code = code.as_str(), error = %chain(error), "request failed");
    }
    let detail = match code {
        Code::Internal => "internal fault; the server's log has the details under the request id".to_owned(),
        _ => error.to_string(),
    };
    Problem {
        kind: format!("urn:seedhouse:error:{code}"),
        title: status.canonical_reason().unwrap_or("Request Failed").to_owned(),
        status: status.as_u16(),
        error: detail.clone(),
        detail,
        field: error.field().map(str::to_owned),
        hint: error.hint(),
        request_id: None,
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
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).map(str::to_owned);
    let mut response = next.run(request).await;
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    problem.request_id = id;
    let mut rendered = (response.status(), Json(problem)).into_response();
    rendered.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    for name in [RETRY_AFTER, WWW_AUTHENTICATE] {
        if let Some(value) = response.headers_mut().remove(&name) {
            rendered.headers_mut().insert(name, value);
        }
    }
    rendered
}

/// Answers paths that no route has.
pub(crate) async fn unknown_route(method: Method, uri: Uri) -> Failure {
    Failure(Error::not_found(Kind::Route, format!("{method} {}", uri.path())))
}

/// Answers methods that a path does not have.
pub(crate) async fn unknown_method(method: Method, uri: Uri) -> Response {
    let error = Error::not_found(Kind::Route, format!("{method} {}", uri.path()));
    let status = StatusCode::METHOD_NOT_ALLOWED;
    let mut response = status.into_response();
    response.extensions_mut().insert(problem(&error, status));
    response
}
