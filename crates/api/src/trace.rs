//! One span per request for traces, with the names of OpenTelemetry's conventions for HTTP. Where no collector is named it costs
//! nothing.

use axum::extract::{MatchedPath, Request};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::Response;
use seedhouse_service::TRACES;
use tower_http::request_id::RequestId;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::problem::id_text;

/// Middleware: what is done for the request happens within its span, which ends with the head of the answer.
pub(crate) async fn follow(request: Request, next: Next) -> Response {
    let span = span_of(&request);
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    response
}

fn span_of(request: &Request) -> Span {
    if !tracing::enabled!(target: TRACES, tracing::Level::INFO) {
        return Span::none();
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let host = request.uri().authority().map(|authority| authority.as_str()).or_else(|| header("host"));
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    let method = request.method().as_str();
    tracing::info_span!(
        target: TRACES,
        "request",
        otel.name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
        traceparent = header("traceparent"),
        seedhouse.request.id = request.extensions().get::<RequestId>().and_then(id_text),
        http.request.method = method,
        http.route = route,
        url.path = request.uri().path(),
        url.scheme = "http",
        server.address = host.as_ref().map(Authority::host),
        server.port = host.as_ref().and_then(Authority::port_u16),
        http.response.status_code = Empty,
    )
}
