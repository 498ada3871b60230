//! Entity tags (RFC 9110, section 8.8.3): a version's is its revision, a file's is its digest.

use axum::Json;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use seedhouse_service::core::{Entry, Error, Result};

use crate::native::model_response::ModelResponse;

/// A version with its entity tag.
pub(crate) struct TaggedModel(pub(crate) Entry);

impl IntoResponse for TaggedModel {
    fn into_response(self) -> Response {
        let tag = quoted(self.0.revision);
        let mut response = Json(ModelResponse::from(self.0)).into_response();
        response.headers_mut().insert(ETAG, tag);
        response
    }
}

impl TaggedModel {
    /// Answers a request for the version: 304 when the client says that it has this very revision.
    pub(crate) fn unless_known(self, headers: &HeaderMap) -> Response {
        let tag = quoted(self.0.revision);
        match is_known(headers, &tag) {
            true => not_modified(tag),
            false => self.into_response(),
        }
    }
}

/// Returns an entity tag.
pub(crate) fn quoted(value: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{value}\"")).expect("revisions and digests are ASCII")
}

/// Returns whether `If-None-Match` names the tag. It is compared weakly, as section 13.1.2 asks.
pub(crate) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let names = |value: &HeaderValue| {
        let list = value.to_str().unwrap_or_default();
        list.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
    };
    headers.get_all(IF_NONE_MATCH).iter().any(names)
}

/// Answers that the client has it already.
pub(crate) fn not_modified(tag: HeaderValue) -> Response {
    (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response()
}

/// Reads `If-Match`: the version's revision in quotes, or `*` for any.
///
/// # Errors
/// [`Error::Invalid`].
pub(crate) fn expected_revision(headers: &HeaderMap) -> Result<Option<u64>> {
    const NAME: HeaderName = IF_MATCH;
    let Some(value) = headers.get(NAME) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text == "*" {
        return Ok(None);
    }
    let revision = text.trim_matches('"').parse();
    revision.map(Some).map_err(|_| Error::invalid("If-Match", text, "must be a version's `revision` in quotes"))
}
