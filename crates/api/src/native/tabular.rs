//! `/api/inference/tabular`: rows of named features, for classifiers and regressors of tables.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{
    Answer, OutOfRange, Patience, Row, RowAnswer, RowOutcome, Service, TabularAnswer, TabularPolicies, TabularRequest,
    UnknownCategory, UnknownFeature,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::result_response::ResultResponse;
use crate::parameters::{reference, timeout};
use crate::problem::{Failure, Problem, Problems, problem, status_of};
use crate::request_body::read_json;

/// What to compute.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TabularBody {
    /// Any reference to a version.
    model_id: String,
    /// One row: an object from feature to value, which is a number, a text, true, false, or null where it is missing. A mistake in it
    /// is the answer's status.
    #[schema(value_type = Option<Object>)]
    row: Option<Row>,
    /// Several rows, computed together. Each has its own answer or error.
    #[schema(value_type = Option<Vec<Object>>)]
    rows: Option<Vec<Row>>,
    /// What is done about a number beyond the range of its feature: `refuse` (without it) or `flag`, which computes the row and lists
    /// the number in `out_of_range`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    out_of_range: OutOfRange,
    /// What is done about a text that is none of the categories of its feature: `refuse` (without it), or `missing`, as which it counts.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    unknown_category: UnknownCategory,
    /// What is done about names that no feature has: `refuse` (without it) or `ignore`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    unknown_feature: UnknownFeature,
    /// The most seconds until the answer, loading and waiting included; without it, as long as it takes.
    timeout_seconds: Option<f64>,
}

/// How the rows were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    One,
    Several,
}

/// Classifies rows, or computes their targets. For `row`, `predictions` is an object: `class_name`, `class_id`, `confidence` and
/// `probabilities` by class name, or `targets` by name; `missing` names features that were missing, `out_of_range` lists numbers that the
/// model was not made for. For `rows` it is a list of these, with `{"error": problem}` in the place of a row that has a mistake.
#[utoipa::path(post, path = "/api/inference/tabular", tag = "inference", request_body = TabularBody,
    responses((status = 200, body = ResultResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn predict(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let body: TabularBody = read_json(request, &limits).await?;
    let cancel = CancelOnDrop::default();
    let patience = Patience::new(timeout(body.timeout_seconds)?, cancel.observer());
    let (reference, form, request) = body.decode()?;
    let compute = move || {
        let answer = service.predict_rows(&reference, &request, &patience)?;
        response(&answer, form, started)
    };
    Ok(blocking::run_admitted(permit, compute).await?)
}

impl TabularBody {
    fn decode(self) -> Result<(Reference, Form, TabularRequest)> {
        let (form, rows) = match (self.row, self.rows) {
            (Some(row), None) => (Form::One, vec![row]),
            (None, Some(rows)) => (Form::Several, rows),
            (None, None) => return Err(Error::invalid("rows", "missing", "`rows` or `row` is required")),
            (Some(_), Some(_)) => return Err(Error::invalid("row", "given", "`rows` is given too: give one of them")),
        };
        let policies = TabularPolicies {
            out_of_range: self.out_of_range,
            unknown_category: self.unknown_category,
            unknown_feature: self.unknown_feature,
        };
        Ok((reference("model_id", &self.model_id)?, form, TabularRequest { rows, policies }))
    }
}

/// The fields of a [`ResultResponse`], whose rows are written as they are.
#[derive(Serialize)]
struct RowsResponse<'r> {
    predictions: Predictions<'r>,
    confidence: Option<f64>,
    processing_time: f64,
    metadata: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Predictions<'r> {
    One(&'r RowAnswer),
    Several(Vec<OneOfSeveral<'r>>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum OneOfSeveral<'r> {
    Answer(&'r RowAnswer),
    Mistake { error: Problem },
}

fn response(answer: &Answer<TabularAnswer>, form: Form, started: Instant) -> Result<Response> {
    let TabularAnswer { rows, .. } = &answer.value;
    let (predictions, confidence) = match form {
        Form::One => {
            let row = answer.value.only()?;
            (Predictions::One(row), confidence(row))
        }
        Form::Several => (Predictions::Several(rows.iter().map(one_of_several).collect()), None),
    };
    let failed = rows.iter().filter(|row| row.is_err()).count();
    let figures = json!({ "rows": rows.len(), "failed_rows": failed, "units": units(&answer.value) });
    let response = RowsResponse {
        predictions,
        confidence,
        processing_time: started.elapsed().as_secs_f64(),
        metadata: ResultResponse::metadata(answer, figures),
    };
    Ok(Json(response).into_response())
}

fn confidence(row: &RowAnswer) -> Option<f64> {
    match &row.outcome {
        RowOutcome::Classes(ranked) => ranked.first().map(|best| f64::from(best.confidence)),
        RowOutcome::Targets(_) => None,
    }
}

fn one_of_several(row: &Result<RowAnswer>) -> OneOfSeveral<'_> {
    match row {
        Ok(row) => OneOfSeveral::Answer(row),
        Err(error) => OneOfSeveral::Mistake { error: problem(error, status_of(error)) },
    }
}

/// Returns what targets are measured in, by name.
pub(crate) fn units(answer: &TabularAnswer) -> Map<String, Value> {
    answer.units.iter().map(|(name, unit)| (name.clone(), unit.clone().into())).collect()
}
