//! The route table and what surrounds every request: its id, its span, its error envelope.

use std::any::Any;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router, middleware};
use seedhouse_service::Service;
use seedhouse_service::core::Error;
use tower::Layer;
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::limits::Limits;
use crate::problem::{self, Failure};
use crate::{native, system};

/// The head of the OpenAPI document; paths and schemas are collected from the route table.
#[derive(OpenApi)]
#[openapi(
    info(title = "Seedhouse", description = "A model registry whose metadata is true, and the engine that serves it.", license(name = "MIT OR Apache-2.0")),
    tags(
        (name = "models", description = "What is registered"),
        (name = "inference", description = "What registered models answer"),
        (name = "system", description = "The server itself"),
    )
)]
struct ApiDocument;

/// The whole API, one line per path.
fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(ApiDocument::openapi())
        .routes(routes!(native::models::list, native::models::create))
        .routes(routes!(native::models::show))
        .routes(routes!(native::models::versions))
        .routes(routes!(native::models::statistics))
        .routes(routes!(native::search::search))
        .routes(routes!(native::text::generate))
        .routes(routes!(native::image::classify))
        .routes(routes!(system::health))
}

/// Returns the OpenAPI document of this API.
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// Returns the router that answers every protocol.
pub fn router(service: Arc<Service>, limits: Limits) -> Router {
    let (router, document) = routes().split_for_parts();
    let router = router
        .route("/openapi.json", get(move || system::openapi(document.clone())))
        .fallback(problem::unknown_route)
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(Extension(limits))
        // Every reader of a body has a limit of its own, with an error that names both values.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(problem::render))
        .layer(TraceLayer::new_for_http().make_span_with(request_span))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(service);
    // Layers of a router run after routing; a path can only be rewritten around it.
    Router::new().fallback_service(MapRequestLayer::new(without_trailing_slash).layer(router))
}

/// The original's web client asks for `/api/models` and `/api/models/`; both are the same.
fn without_trailing_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path();
    if path.starts_with("/api/") && path.ends_with('/') {
        let trimmed = path.trim_end_matches('/');
        let target = uri.query().map_or_else(|| trimmed.to_owned(), |query| format!("{trimmed}?{query}"));
        // A part of a valid URI's path is a valid path.
        if let Ok(uri) = target.parse() {
            *request.uri_mut() = uri;
        }
    }
    request
}

fn request_span(request: &Request) -> tracing::Span {
    let id = request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).unwrap_or_default();
    tracing::info_span!("request", request.id = id, method = %request.method(), path = request.uri().path())
}

fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let text = cause.downcast_ref::<&str>().copied().or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    Failure(Error::Internal(format!("a handler panicked: {}", text.unwrap_or("no message")))).into_response()
}
