//! What a version was asked: the few figures of the original, and ours.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use seedhouse_service::Service;
use seedhouse_service::statistics::{ShortFigures, VersionStatistics};
use serde::Serialize;
use utoipa::ToSchema;

use crate::blocking;
use crate::parameters::ModelIdPath;
use crate::problem::{Failure, Problems};

/// The figures that the original has, in its names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShortStatisticsResponse {
    /// Inferences that were answered since the server was started or the cache was cleared.
    total_inferences: u64,
    /// Seconds that they took, together.
    total_processing_time: f64,
    /// Seconds that one took on average.
    avg_processing_time: f64,
    /// When the last one ended: seconds since 1970, 0 when there was none.
    last_inference_time: f64,
}

impl From<ShortFigures> for ShortStatisticsResponse {
    fn from(figures: ShortFigures) -> ShortStatisticsResponse {
        ShortStatisticsResponse {
            total_inferences: figures.total,
            total_processing_time: figures.seconds,
            avg_processing_time: if figures.total == 0 { 0.0 } else { figures.seconds / figures.total as f64 },
            last_inference_time: figures.last_at.map_or(0.0, |at| at.as_microseconds() as f64 / 1e6),
        }
    }
}

/// Tells how often a version answered and how long that took. An id that is not there has zeros, as in the original.
#[utoipa::path(get, path = "/api/inference/stats/{model_id}", tag = "inference", params(("model_id" = String, Path)),
    responses((status = 200, body = ShortStatisticsResponse), Problems))]
pub(crate) async fn short(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<ShortStatisticsResponse>, Failure> {
    let figures = blocking::run(move || service.short_statistics_of(&reference)).await?;
    Ok(Json(figures.into()))
}

/// Tells what a version was asked since the server was started: answers, failures by code, times, tokens, and whether it was loaded.
#[utoipa::path(get, path = "/api/models/{model_id}/statistics", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = Object, description = "model_id, model, version, ordinal, succeeded, failed {code: number}, in_progress, items, request_seconds, queue_seconds, compute_seconds {count, sum, buckets [{le, count}]}, tokens {prompt, cached, generated, first_token_seconds, per_token_seconds, finished {stop, length, cancelled}}, slot {hits, waits, loads, load_seconds, evictions}"), Problems))]
pub(crate) async fn show(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<VersionStatistics>, Failure> {
    Ok(Json(blocking::run(move || service.statistics_of(&reference)).await?))
}
