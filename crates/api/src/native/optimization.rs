//! `/api/inference/optimization`: a registered problem, solved for the parameters of a request.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use seedhouse_service::core::{Reference, Result};
use seedhouse_service::{Answer, Service, SolveRequest, Solved};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::named_values::NamedValues;
use crate::native::result_response::ResultResponse;
use crate::parameters::{reference, timeout};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

/// What to solve.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct OptimizationRequest {
    /// Any reference to a version.
    model_id: String,
    /// Values of the problem's parameters by name; the others keep the values that the problem gives them.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, f64>)]
    parameters: NamedValues<f64>,
    /// How many seconds it may take, at most 600; 30 without it.
    #[serde(alias = "timeout")]
    timeout_seconds: Option<f64>,
}

/// Solves a problem. `predictions` has its outcome (`optimal`, `feasible` when the time was up before the best was proven, `infeasible`,
/// `unbounded`), the objective, variables with reduced costs, constraints with slack and shadow prices.
#[utoipa::path(post, path = "/api/inference/optimization", tag = "inference", request_body = OptimizationRequest,
    responses((status = 200, body = ResultResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn solve(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Json<ResultResponse>, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let body: OptimizationRequest = read_json(request, &limits).await?;
    let (reference, request) = body.decode()?;
    // Dropped with this future when the client leaves.
    let cancel = CancelOnDrop::default();
    let cancelled = cancel.observer();
    let compute = move || service.solve(&reference, &request, &|| cancelled.is_set());
    let answer = blocking::run_admitted(permit, compute).await?;
    Ok(Json(response(&answer, started)))
}

impl OptimizationRequest {
    fn decode(self) -> Result<(Reference, SolveRequest)> {
        let timeout = timeout(self.timeout_seconds)?;
        let NamedValues(parameters) = self.parameters;
        Ok((reference("model_id", &self.model_id)?, SolveRequest { parameters, timeout }))
    }
}

fn response(answer: &Answer<Solved>, started: Instant) -> ResultResponse {
    ResultResponse {
        predictions: answer.value.to_json(),
        confidence: None,
        processing_time: started.elapsed().as_secs_f64(),
        metadata: ResultResponse::metadata(answer, json!({ "solve_seconds": answer.value.seconds })),
    }
}
