//! JSON bodies: no `Content-Type` is asked for, because tools that MLflow and Triton users have send none.

use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use http_body_util::LengthLimitError;
use seedhouse_service::core::{Error, Result};
use serde::de::DeserializeOwned;

use crate::limits::Limits;
use crate::problem::Failure;

/// A JSON body, decoded. Unknown fields are ignored, since newer clients send newer fields.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S, T> FromRequest<S> for JsonBody<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let limits = request.extensions().get::<Limits>().copied().unwrap_or_default();
        Ok(JsonBody::from_body(request, &limits).await?)
    }
}

impl<T: DeserializeOwned> JsonBody<T> {
    /// Reads and decodes the body of a request.
    pub(crate) async fn from_body(request: Request, limits: &Limits) -> Result<Self> {
        let bytes = read_limited(request, limits.json_bytes).await?;
        serde_json::from_slice(&bytes)
            .map(JsonBody)
            .map_err(|error| Error::malformed("the JSON body", error.to_string()))
    }
}

/// Reads a whole body of at most `limit` bytes.
async fn read_limited(request: Request, limit: usize) -> Result<Bytes> {
    let announced = content_length(&request);
    let too_large =
        |size: String| Error::TooLarge { what: "the request body".into(), size, limit: format!("{limit} bytes") };
    if let Some(length) = announced.filter(|length| *length > limit as u64) {
        return Err(too_large(format!("{length} bytes")));
    }
    to_bytes(request.into_body(), limit).await.map_err(|error| match error.into_inner().is::<LengthLimitError>() {
        true => too_large(format!("more than {limit} bytes")),
        false => Error::BrokenUpload {
            what: "the request body".into(),
            source: Arc::new(std::io::ErrorKind::ConnectionAborted.into()),
        },
    })
}

/// Returns the length that the client announced.
pub(crate) fn content_length(request: &Request) -> Option<u64> {
    request.headers().get("content-length")?.to_str().ok()?.parse().ok()
}
