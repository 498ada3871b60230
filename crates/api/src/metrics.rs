//! `/metrics`: what the server counts, in the text format of Prometheus.
//!
//! ```text
//! catalogue    every metric: name, kind, labels, help
//! exposition   the text format
//! collect      figures of the service -> metrics
//! aliases      the same figures under names that other servers use
//! requests     HTTP requests by route, counted by a layer around the routes
//! ```

mod aliases;
mod catalogue;
mod collect;
mod exposition;
pub(crate) mod requests;

use std::str::FromStr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use seedhouse_service::Service;
use seedhouse_service::core::{Error, Permission};

use crate::blocking;
use crate::metrics::requests::HttpStatistics;
use crate::problem::{Failure, Problems};

/// How metrics are served.
#[derive(Debug, Clone, Default)]
pub struct MetricsSettings {
    /// Whether they are shown without a token.
    pub is_open: bool,
    /// Other servers whose names are used, too.
    pub aliases: Vec<MetricsAliases>,
}

/// A server whose names of metrics are used beside ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsAliases {
    /// NVIDIA Triton.
    Triton,
    /// vLLM.
    Vllm,
}

impl FromStr for MetricsAliases {
    type Err = Error;

    fn from_str(text: &str) -> Result<MetricsAliases, Error> {
        match text {
            "triton" => Ok(MetricsAliases::Triton),
            "vllm" => Ok(MetricsAliases::Vllm),
            other => Err(Error::invalid("metrics-aliases", other, "must be `triton` or `vllm`")),
        }
    }
}

impl MetricsSettings {
    /// Returns what a caller needs to see the metrics.
    pub(crate) fn permission(&self) -> Permission {
        if self.is_open { Permission::Open } else { Permission::Read }
    }
}

/// The version of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Shows what the server counts, in the text format of Prometheus. `docs/metrics.md` lists every name.
#[utoipa::path(get, path = "/metrics", tag = "system",
    responses((status = 200, body = String, content_type = "text/plain", description = "metrics, one sample per line"), Problems))]
pub(crate) async fn show(
    State(service): State<Arc<Service>>,
    Extension(settings): Extension<Arc<MetricsSettings>>,
    Extension(requests): Extension<Arc<HttpStatistics>>,
) -> Result<impl IntoResponse, Failure> {
    let text = blocking::run(move || Ok(collect::text(&service.figures(), &requests, &settings.aliases))).await?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text))
}
