//! What stands in the address of a request, decoded; mistakes are problems that name the parameter as the user wrote it.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use seedhouse_service::core::{Error, Reference, Result};
use serde::de::DeserializeOwned;

use crate::problem::Failure;

/// Reads a reference to a version that stands in `field`.
///
/// # Errors
/// [`Error::Invalid`] about `field` with the whole text, also when only a part of the reference is wrong.
pub(crate) fn reference(field: &str, text: &str) -> Result<Reference> {
    text.parse().map_err(|error| match error {
        Error::Invalid { rule, .. } => Error::invalid(field, text.escape_debug(), rule),
        other => other,
    })
}

/// Reads `timeout_seconds`.
///
/// # Errors
/// [`Error::Invalid`] for what is no time.
pub(crate) fn timeout(seconds: Option<f64>) -> Result<Option<Duration>> {
    let Some(seconds) = seconds else { return Ok(None) };
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if !timeout.is_zero() => Ok(Some(timeout)),
        _ => Err(Error::invalid("timeout_seconds", seconds, "must be a number above 0")),
    }
}

/// The `{model_id}` of a path.
pub(crate) struct ModelIdPath(pub(crate) Reference);

impl<S: Send + Sync> FromRequestParts<S> for ModelIdPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::invalid("model_id", parts.uri.path(), "must be UTF-8 after percent-decoding"))?;
        Ok(ModelIdPath(reference("model_id", &text)?))
    }
}

/// The parameters after `?`.
pub(crate) struct QueryParameters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(QueryParameters(parameters)),
            Err(rejection) => Err(explain(&rejection.body_text(), &parts.uri).into()),
        }
    }
}

/// Turns axum's `…: limit: invalid digit found in string` into the parameter, its value and a rule.
fn explain(text: &str, uri: &axum::http::Uri) -> Error {
    let mut parts = text.rsplitn(3, ": ");
    let (reason, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let all: HashMap<String, String> = Query::try_from_uri(uri).map(|Query(all)| all).unwrap_or_default();
    match all.get(name) {
        Some(value) if reason.contains("digit") || reason.contains("integer") || reason.contains("number") => {
            Error::invalid(name, value, "must be a whole number from 0")
        }
        Some(value) => Error::invalid(name, value, format!("is not understood: {reason}")),
        None => Error::malformed("the query", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_part_of_a_reference_is_reported_as_the_whole_in_the_users_field() {
        for text in ["a\\b", "base:x", "base@sha256:12", "base/0", ""] {
            let error = reference("model_id", text).unwrap_err();
            assert_eq!(error.field(), Some("model_id"), "{text}");
            assert!(error.to_string().contains(&format!("`{}`", text.escape_debug())), "{error}");
        }
    }
}
