//! The route table and what surrounds every request: its id, its span, its error envelope.

use std::any::Any;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router, middleware};
use seedhouse_service::Service;
use seedhouse_service::core::{Error, Permission, panic_text};
use tower::Layer;
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use utoipa::openapi::RefOr;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::routes;

use crate::access::{Doors, Guard};
use crate::admission::Admission;
use crate::limits::Limits;
use crate::metrics::MetricsSettings;
use crate::metrics::requests::{self, HttpStatistics};
use crate::native::upload_headers;
use crate::origin::cors;
use crate::problem::{self, Failure};
use crate::route_table::{RouteTable, SECURITY_SCHEMES};
use crate::{leftover, metrics, native, system, trace};

/// The head of the OpenAPI document; paths and schemas are collected from the route table.
#[derive(OpenApi)]
#[openapi(
    info(title = "Seedhouse", description = "A model registry whose metadata is true, and the engine that serves it.", license(name = "MIT OR Apache-2.0")),
    tags(
        (name = "models", description = "What is registered"),
        (name = "inference", description = "What registered models answer"),
        (name = "training", description = "Trainings, as the original names them"),
        (name = "agriculture", description = "Light recipes, spectra, plans and growth of crops"),
        (name = "transfer", description = "Exports, imports, backups and restorations"),
        (name = "jobs", description = "Long work with a durable record"),
        (name = "system", description = "The server itself"),
    ),
    modifiers(&Security)
)]
struct ApiDocument;

/// The ways to send a token, in the order of [`SECURITY_SCHEMES`].
struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let header = |name: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
        let schemes = [
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
            SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)),
            header("X-API-KEY"),
            header("api-key"),
        ];
        let components = document.components.get_or_insert_default();
        components.security_schemes.extend(SECURITY_SCHEMES.map(str::to_owned).into_iter().zip(schemes.map(RefOr::T)));
    }
}

/// The whole API, one line per path and permission.
fn routes(metrics: &MetricsSettings) -> RouteTable {
    RouteTable::new(ApiDocument::openapi(), |error| Failure(error).into_response())
        .routes(Permission::Read, routes!(native::models::list))
        .routes(Permission::Write, routes!(native::models::create))
        .routes(Permission::Read, routes!(native::models::show))
        .routes(Permission::Write, routes!(native::changes::update))
        .routes(Permission::Write, routes!(native::changes::delete))
        .routes(Permission::Write, routes!(native::changes::undelete))
        .routes(Permission::Write, routes!(native::changes::update_metrics))
        .routes(Permission::Read, routes!(native::changes::history))
        .routes(Permission::Write, routes!(native::changes::move_alias))
        .routes(Permission::Write, routes!(native::changes::remove_alias))
        .routes(Permission::Write, routes!(native::changes::roll_back_alias))
        .routes(Permission::Read, routes!(native::trials::list_aliases))
        .routes(Permission::Write, routes!(native::trials::set_canary))
        .routes(Permission::Write, routes!(native::trials::end_canary))
        .routes(Permission::Write, routes!(native::trials::set_shadow))
        .routes(Permission::Write, routes!(native::trials::end_shadow))
        .routes(Permission::Read, routes!(native::card::show))
        .routes(Permission::Write, routes!(native::card::set))
        .routes(Permission::Write, routes!(native::card::remove))
        .routes(Permission::Read, routes!(native::lineage::show))
        .routes(Permission::Read, routes!(native::files::list))
        .routes(Permission::Read, routes!(native::files::download))
        .routes(Permission::Read, routes!(native::models::versions))
        .routes(Permission::Write, routes!(native::new_version::create))
        .routes(Permission::Write, routes!(native::uploads::options))
        .routes(Permission::Write, routes!(native::uploads::begin))
        .routes(Permission::Write, routes!(native::uploads::state))
        .routes(Permission::Write, routes!(native::uploads::append))
        .routes(Permission::Write, routes!(native::uploads::remove))
        .routes(Permission::Read, routes!(native::bundles::export))
        .routes(Permission::Write, routes!(native::bundles::import))
        .routes(Permission::Read, routes!(native::models::statistics))
        .routes(Permission::Read, routes!(native::search::search))
        .routes(Permission::Write, routes!(native::import::import))
        .routes(Permission::Write, routes!(native::import::import_from_file))
        .routes(Permission::Read, routes!(native::models::versions_of_base))
        .routes(Permission::Write, routes!(native::serving::start))
        .routes(Permission::Write, routes!(native::serving::pause))
        .routes(Permission::Write, routes!(native::serving::load))
        .routes(Permission::Write, routes!(native::serving::unload))
        .routes(Permission::Read, routes!(native::serving::slots))
        .routes(Permission::Write, routes!(native::serving::reload))
        .routes(Permission::Write, routes!(native::serving::reload_model))
        .routes(Permission::Write, routes!(native::serving::clear_cache))
        .routes(Permission::Write, routes!(native::pretrained::register))
        .routes(Permission::Write, routes!(native::manager::export))
        .routes(Permission::Administer, routes!(native::manager::back_up))
        .routes(Permission::Administer, routes!(native::manager::restore))
        .routes(Permission::Read, routes!(native::manager::status))
        .routes(Permission::Administer, routes!(native::transfers::backups))
        .routes(Permission::Administer, routes!(native::transfers::back_up))
        .routes(Permission::Administer, routes!(native::transfers::restore))
        .routes(Permission::Read, routes!(native::transfers::exports))
        .routes(Permission::Write, routes!(native::transfers::export))
        .routes(Permission::Read, routes!(native::transfers::download))
        .routes(Permission::Write, routes!(native::transfers::import))
        .routes(Permission::Write, routes!(native::absent::cloud_import))
        .routes(Permission::Write, routes!(native::training::train))
        .routes(Permission::Read, routes!(native::training::show))
        .routes(Permission::Write, routes!(native::training::start))
        .routes(Permission::Read, routes!(native::training::status))
        .routes(Permission::Read, routes!(native::training::list))
        .routes(Permission::Write, routes!(native::training::cancel))
        .routes(Permission::Read, routes!(native::training::default_settings))
        .routes(Permission::Write, routes!(native::quantization::quantize))
        .routes(Permission::Write, routes!(native::quantization::evaluate))
        .routes(Permission::Read, routes!(native::quantization::infer))
        .routes(Permission::Read, routes!(native::text::generate))
        .routes(Permission::Read, routes!(native::image::classify))
        .routes(Permission::Read, routes!(native::image_features::features))
        .routes(Permission::Read, routes!(native::optimization::solve))
        .routes(Permission::Read, routes!(native::image_generation::generate))
        .routes(Permission::Read, routes!(native::embeddings::embed))
        .routes(Permission::Read, routes!(native::inference::infer))
        .routes(Permission::Read, routes!(native::inference::predict))
        .routes(Permission::Read, routes!(native::tabular::predict))
        .routes(Permission::Read, routes!(native::agriculture::light_recipe))
        .routes(Permission::Read, routes!(native::agriculture::light_recipe_problem))
        .routes(Permission::Read, routes!(native::agriculture::spectrum_analysis))
        .routes(Permission::Read, routes!(native::agriculture::crop_planning))
        .routes(Permission::Read, routes!(native::agriculture::crop_configs))
        .routes(Permission::Read, routes!(native::agriculture::recommendations))
        .routes(Permission::Read, routes!(native::agriculture::growth_prediction))
        .routes(Permission::Write, routes!(native::agriculture::data_contribution))
        .routes(Permission::Read, routes!(native::batch::infer_batch))
        .routes(Permission::Read, routes!(native::unified::generate_unified))
        .routes(Permission::Read, routes!(native::past_calls::list_past_calls))
        .routes(Permission::Write, routes!(native::past_calls::forget))
        .routes(Permission::Write, routes!(native::past_calls::forget_all))
        .routes(Permission::Administer, routes!(native::jobs::scrub))
        .routes(Permission::Read, routes!(native::jobs::list))
        .routes(Permission::Read, routes!(native::jobs::show))
        .routes(Permission::Read, routes!(native::jobs::events))
        .routes(Permission::Administer, routes!(native::jobs::cancel))
        .routes(Permission::Read, routes!(native::statistics::short))
        .routes(Permission::Read, routes!(native::statistics::show))
        .routes(metrics.permission(), routes!(metrics::show))
        .routes(Permission::Open, routes!(system::health))
        .routes(Permission::Open, routes!(system::livez))
        .routes(Permission::Open, routes!(system::readyz))
        .routes(Permission::Open, routes!(system::version))
        .routes(Permission::Open, routes!(system::openapi))
}

/// Returns the OpenAPI document of this API.
pub fn openapi_document() -> utoipa::openapi::OpenApi {
    routes(&MetricsSettings::default()).split().1
}

/// Returns the router that answers every protocol.
pub fn router(service: Arc<Service>, limits: Limits, doors: Doors, metrics: MetricsSettings) -> Router {
    let (router, document) = routes(&metrics).split();
    let counted = Arc::new(HttpStatistics::new());
    let cors = cors(&doors);
    let router = router
        .fallback(problem::unknown_route)
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(Extension(Admission::new(&limits)))
        .layer(Extension(limits))
        .layer(Extension(Arc::new(metrics)))
        .layer(Extension(counted.clone()))
        .layer(Extension(Arc::new(document)))
        .layer(Extension(Guard::new(service.clone(), doors)))
        // Every reader of a body has a limit of its own, with an error that names both values.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(upload_headers::speak))
        .layer(middleware::from_fn(leftover::drain))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(counted, requests::count))
        .layer(middleware::from_fn(trace::follow))
        .with_state(service);
    // Layers of a router run after routing: a path can only be rewritten around it, and only there is `Allow` known.
    Router::new()
        .fallback_service(MapRequestLayer::new(rewritten).layer(router))
        .layer(middleware::from_fn(problem::render))
        .layer(tower::util::option_layer(cors))
        // A failure is logged once, where its envelope is made.
        .layer(TraceLayer::new_for_http().make_span_with(request_span).on_failure(()))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
}

fn rewritten(request: Request) -> Request {
    upload_headers::with_overridden_method(without_trailing_slash(request))
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
    Failure(Error::Internal(format!("a handler panicked: {}", panic_text(&*cause)))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `INSTA_UPDATE=always cargo test -p seedhouse-api` writes the description anew; read the difference.
    #[test]
    fn description_of_the_api_is_the_one_that_was_read() {
        let mut document = openapi_document();
        // A release changes nothing that a client could read here.
        document.info.version = "0".into();
        insta::assert_json_snapshot!(document);
    }
}
