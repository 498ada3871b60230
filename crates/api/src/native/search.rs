//! `POST /api/model-manager/search`: the original's search, with pages and operators beside it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::Service;
use seedhouse_service::core::{self, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::blocking;
use crate::limits::Limits;
use crate::problem::{Failure, Problems};
use crate::request_body::read_json;

/// What is searched for.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SearchRequest {
    /// Words that must all occur in id, name, type, tags or description; parts of words count, case does not.
    #[serde(default)]
    query: String,
    /// Values that fields of the record must equal, nested as the record is.
    #[serde(default)]
    #[schema(value_type = Object)]
    filters: Map<String, Value>,
    /// Conditions beside those, like `metrics.f1 >= 0.9`; `docs/search.md` describes them.
    filter: Option<String>,
    /// A field, `-` before it for descending; by default the newest registration first.
    order_by: Option<String>,
    /// At most this many; by default all, as in the original.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SearchResponse {
    /// The records, as stored.
    #[schema(value_type = [Object])]
    results: Vec<Record>,
    /// How many match on all pages together; counting ends at 10,000.
    total_count: u64,
    /// Whether `total_count` is all of them.
    total_is_exact: bool,
    /// As asked.
    query: String,
    /// As asked.
    #[schema(value_type = Object)]
    filters: Map<String, Value>,
    /// Where the next page begins; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

impl SearchRequest {
    fn to_query(&self) -> core::Result<core::Query> {
        let mut filter = core::Filter::from_json(&self.filters)?;
        let further: core::Filter = self.filter.as_deref().unwrap_or_default().parse()?;
        filter.conditions.extend(further.conditions);
        Ok(core::Query {
            text: Some(self.query.clone()),
            filter,
            order: self.order_by.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            limit: self.limit,
            cursor: self.cursor.clone().map(core::Cursor::from),
        })
    }
}

/// Searches versions.
#[utoipa::path(post, path = "/api/model-manager/search", tag = "models", request_body = SearchRequest,
    responses((status = 200, body = SearchResponse), Problems))]
pub(crate) async fn search(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    request: Request,
) -> Result<Json<SearchResponse>, Failure> {
    let request: SearchRequest = read_json(request, &limits).await?;
    let query = request.to_query()?;
    let (page, count) = blocking::run(move || service.search(&query)).await?;
    Ok(Json(SearchResponse {
        results: page.entries.into_iter().map(|entry| entry.record).collect(),
        total_count: count.number,
        total_is_exact: count.exact,
        query: request.query,
        filters: request.filters,
        next_cursor: page.next.map(|next| next.to_string()),
    }))
}
