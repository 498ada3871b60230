//! Bodies that are read whole. Of JSON no `Content-Type` is asked for, because tools that MLflow and Triton users have send none.

use axum::extract::Request;
use futures_util::StreamExt;
use seedhouse_service::core::{Error, Result};
use serde::de::DeserializeOwned;

use crate::blocking;
use crate::limits::Limits;
use crate::request_stream::RequestStream;
use crate::type_mistake;

const WHAT: &str = "the JSON body";

/// Reads a JSON body. Unknown fields are ignored, since newer clients send newer fields.
///
/// # Errors
/// [`Error::Invalid`] naming the field, [`Error::Malformed`] for what is not JSON, [`Error::TooLarge`],
/// [`Error::BrokenUpload`].
pub(crate) async fn read_json<T>(request: Request, limits: &Limits) -> Result<T>
where
    T: DeserializeOwned + Send + 'static,
{
    let bytes = read_all(request, limits.json_bytes, limits).await?;
    // A nested image has tens of megabytes: decoding it is not work for a thread that serves other connections.
    blocking::run(move || decode(&bytes)).await
}

/// The same for a body that may be left out; nothing stands for an object without fields.
///
/// # Errors
/// Those of [`read_json`].
pub(crate) async fn read_optional_json<T>(request: Request, limits: &Limits) -> Result<T>
where
    T: DeserializeOwned + Default + Send + 'static,
{
    let bytes = read_all(request, limits.json_bytes, limits).await?;
    match bytes.is_empty() {
        true => Ok(T::default()),
        false => blocking::run(move || decode(&bytes)).await,
    }
}

/// Reads a body of text, whatever its `Content-Type` says.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Malformed`] about `what` for text that is not UTF-8, [`Error::BrokenUpload`].
pub(crate) async fn read_text(
    request: Request,
    limits: &Limits,
    what: &'static str,
    most_bytes: usize,
) -> Result<String> {
    let bytes = read_all(request, most_bytes, limits).await?;
    String::from_utf8(bytes).map_err(|error| Error::malformed(what, error.utf8_error().to_string()))
}

async fn read_all(request: Request, most_bytes: usize, limits: &Limits) -> Result<Vec<u8>> {
    let (_, mut stream) = RequestStream::of(request, most_bytes as u64, limits.idle)?;
    let progress = stream.progress();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
        progress.made();
    }
    Ok(bytes)
}

/// Decodes a part of a body that was kept as text until it was known what it should be; a mistake names its field below `field`.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Malformed`].
pub(crate) fn decode_part<T: DeserializeOwned>(field: &str, json: &str) -> Result<T> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json)).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { field.to_owned() } else { format!("{field}.{path}") };
        type_mistake::explain(&format!("`{field}`"), &path, error.inner())
    })
}

/// Decodes an object; a mistake names its field.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // A derived decoder takes an array for an object with its fields in order, which nobody means.
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {}
        Some(other) => {
            let reason = format!("it must be an object, but begins with `{}`", other.escape_ascii());
            return Err(Error::malformed(WHAT, reason));
        }
        None => return Err(Error::malformed(WHAT, "it must be an object, but is empty")),
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| type_mistake::explain(WHAT, &error.path().to_string(), error.inner()))?;
    deserializer.end().map_err(|error| Error::malformed(WHAT, error.to_string()))?;
    Ok(value)
}
