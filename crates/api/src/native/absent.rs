//! Routes of the original that this version does not have: an honest 501 instead of a made-up result.

use seedhouse_service::core::{Error, Result};

use crate::problem::{Failure, Problem};

fn absent(what: &str, instead: &str) -> Result<(), Failure> {
    Err(Error::unsupported(what, instead).into())
}

/// Not supported: registering models that run at somebody else's.
#[utoipa::path(post, path = "/api/models/cloud-import", tag = "models", responses((status = 501, body = Problem)))]
pub(crate) async fn cloud_import() -> Result<(), Failure> {
    absent("registering a model of a cloud provider", "register the files themselves")
}
