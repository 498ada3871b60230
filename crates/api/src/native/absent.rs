//! Routes of the original that this version does not have: an honest 501 instead of a made-up result.

use seedhouse_service::core::{Error, Result};

use crate::parameters::ModelIdPath;
use crate::problem::{Failure, Problem};

fn absent(what: &str, instead: &str) -> Result<(), Failure> {
    Err(Error::unsupported(what, instead).into())
}

/// Not supported: registering models that run at somebody else's.
#[utoipa::path(post, path = "/api/models/cloud-import", tag = "models", responses((status = 501, body = Problem)))]
pub(crate) async fn cloud_import() -> Result<(), Failure> {
    absent("registering a model of a cloud provider", "register the files themselves")
}

/// Not supported yet: training.
#[utoipa::path(post, path = "/api/models/{model_id}/train", tag = "models", params(("model_id" = String, Path)),
    responses((status = 501, body = Problem)))]
pub(crate) async fn train(_model: ModelIdPath) -> Result<(), Failure> {
    absent("training", "train elsewhere and register the result with `parent` and `relation`")
}

/// Not supported yet: how far a training is.
#[utoipa::path(get, path = "/api/models/training/{task_id}", tag = "models", params(("task_id" = String, Path)),
    responses((status = 501, body = Problem)))]
pub(crate) async fn training() -> Result<(), Failure> {
    absent("training", "train elsewhere and register the result with `parent` and `relation`")
}

/// Not supported yet: quantisation.
#[utoipa::path(post, path = "/api/models/{model_id}/quantize", tag = "models", params(("model_id" = String, Path)),
    responses((status = 501, body = Problem)))]
pub(crate) async fn quantize(_model: ModelIdPath) -> Result<(), Failure> {
    absent("quantisation", "quantise elsewhere and register the result with `parent` and `relation`")
}

/// Not supported yet: inference of a version at another precision than its own.
#[utoipa::path(post, path = "/api/models/{model_id}/inference/quantized", tag = "models",
    params(("model_id" = String, Path)), responses((status = 501, body = Problem)))]
pub(crate) async fn quantized_inference(_model: ModelIdPath) -> Result<(), Failure> {
    absent("inference at another precision than the version's own", "register a quantised version and ask that one")
}
