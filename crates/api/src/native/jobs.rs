//! `/api/jobs` and what starts them: long work answers 202 with a job, which is looked at, watched and cancelled here.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream::{self, Stream};
use seedhouse_service::core::{Error, Job, JobId, JobQuery, Result};
use seedhouse_service::{Caller, DEFAULT_BYTES_PER_SECOND, ScrubRequest, Service};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_http::request_id::RequestId;
use utoipa::{IntoParams, ToSchema};

use crate::blocking;
use crate::limits::Limits;
use crate::parameters::QueryParameters;
use crate::problem::{Failure, Problem, Problems, id_text, problem, status_of};
use crate::request_body::read_optional_json;

/// How often a watched job is looked at. Its worker says how far it is about once a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Jobs on one page.
const DEFAULT_LIMIT: usize = 100;
const MOST_LISTED: usize = 1000;

/// Which jobs are listed.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct JobsParameters {
    /// Only this state: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    state: Option<String>,
    /// Only this kind, e.g. `scrub`.
    kind: Option<String>,
    /// At most this many, up to 1000; 100 without it.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl JobsParameters {
    fn into_query(self) -> Result<JobQuery> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if limit > MOST_LISTED {
            return Err(Error::invalid("limit", limit, format!("must be at most {MOST_LISTED}")));
        }
        let before = self.cursor.as_deref().map(|cursor| {
            let id: Result<JobId> = cursor.parse();
            id.map_err(|_| Error::invalid("cursor", cursor, "must be the `next_cursor` of a page"))
        });
        Ok(JobQuery {
            state: self.state.as_deref().map(str::parse).transpose()?,
            kind: self.kind.as_deref().map(str::parse).transpose()?,
            before: before.transpose()?,
            limit,
        })
    }
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobsResponse {
    /// Newest first.
    #[schema(value_type = Vec<Object>)]
    jobs: Vec<Job>,
    /// Where the next page begins; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Lists jobs, newest first.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", params(JobsParameters),
    responses((status = 200, body = JobsResponse), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    QueryParameters(parameters): QueryParameters<JobsParameters>,
) -> Result<Json<JobsResponse>, Failure> {
    let query = parameters.into_query()?;
    let (jobs, next) = blocking::run(move || service.list_jobs(&query)).await?;
    Ok(Json(JobsResponse { jobs, next_cursor: next.map(|next| next.to_string()) }))
}

/// The `{id}` of a path.
pub(crate) struct JobPath(JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::invalid("job", parts.uri.path(), "must be UTF-8 after percent-decoding"))?;
        Ok(JobPath(text.parse()?))
    }
}

/// Shows a job: its state, how far it is, its result or its error, and the last lines of its log.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", params(("id" = u64, Path)),
    responses((status = 200, body = Object), (status = 404, body = Problem)))]
pub(crate) async fn show(State(service): State<Arc<Service>>, JobPath(id): JobPath) -> Result<Json<Job>, Failure> {
    Ok(Json(blocking::run(move || service.job(id)).await?))
}

/// Cancels a job: a queued one at once, a running one where its work next looks. Refused when it has ended.
#[utoipa::path(post, path = "/api/jobs/{id}/cancel", tag = "jobs", params(("id" = u64, Path)),
    responses((status = 200, body = Object), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn cancel(State(service): State<Arc<Service>>, JobPath(id): JobPath) -> Result<Json<Job>, Failure> {
    Ok(Json(blocking::run(move || service.cancel_job(id)).await?))
}

/// How to scrub. Everything may be left out, and so may the body.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct ScrubBody {
    /// The most bytes read per second; 0 means as fast as the disk gives them; 50,000,000 without it.
    bytes_per_second: Option<u64>,
    /// A path on the server, from whose copies damaged bytes are repaired: the root of another registry, or a bundle, a
    /// backup or an OCI image layout.
    repair_from: Option<String>,
}

/// Asks for a scrub: every stored artifact is hashed again, what is damaged is marked, and repaired where there is a copy.
#[utoipa::path(post, path = "/api/scrub", tag = "jobs", request_body = Option<ScrubBody>,
    responses((status = 202, body = Object, description = "The job; `Location` has its address."),
        (status = 404, body = Problem), Problems))]
pub(crate) async fn scrub(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let body: ScrubBody = read_optional_json(request, &limits).await?;
    let request = ScrubRequest {
        bytes_per_second: body.bytes_per_second.unwrap_or(DEFAULT_BYTES_PER_SECOND),
        repair_from: body.repair_from.map(PathBuf::from),
        actor: caller.name,
    };
    Ok(accepted(blocking::run(move || service.submit_scrub(&request)).await?))
}

/// How long a request that wants to wait for its job does so.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Answers with a job that was asked for; where `wait` says so, with one that has ended, if it does so in time.
pub(crate) async fn accepted_or_ended(service: &Arc<Service>, job: Job, wait: bool) -> Result<Response, Failure> {
    if wait && let Some(job) = ended(service, job.id).await? {
        return Ok(Json(job).into_response());
    }
    Ok(accepted(job))
}

/// Returns a job once it has ended, if it does so in time.
pub(crate) async fn ended(service: &Arc<Service>, id: JobId) -> Result<Option<Job>> {
    let begun = Instant::now();
    while begun.elapsed() < LONGEST_WAIT && !service.stop().is_set() {
        let job = look(service, id).await?;
        if job.state.is_final() {
            return Ok(Some(job));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(None)
}

/// Answers with a job that was asked for.
pub(crate) fn accepted(job: Job) -> Response {
    let location = HeaderValue::try_from(format!("/api/jobs/{}", job.id)).expect("digits are visible ASCII");
    (StatusCode::ACCEPTED, [(LOCATION, location)], Json(job)).into_response()
}

/// Watches a job: an event `progress` (`id`, `state`, `attempt`, `progress`, `figures`) for each change, then one event `done` with the
/// whole job. The stream of a server that stops ends without it.
#[utoipa::path(get, path = "/api/jobs/{id}/events", tag = "jobs", params(("id" = u64, Path)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 404, body = Problem)))]
pub(crate) async fn events(
    State(service): State<Arc<Service>>,
    Extension(request_id): Extension<RequestId>,
    JobPath(id): JobPath,
) -> Result<Response, Failure> {
    let first = look(&service, id).await?;
    let watch = Watch { service, id, told: None, next: Some(first), request_id: id_text(&request_id) };
    Ok(Sse::new(watch.events()).keep_alive(KeepAlive::default()).into_response())
}

async fn look(service: &Arc<Service>, id: JobId) -> Result<Job> {
    let service = service.clone();
    blocking::run(move || service.job(id)).await
}

/// A job under somebody's eyes.
struct Watch {
    service: Arc<Service>,
    id: JobId,
    /// What the last event said.
    told: Option<String>,
    /// A look that was taken already.
    next: Option<Job>,
    request_id: Option<String>,
}

impl Watch {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(Some(self), async |watch| {
            let mut watch = watch?;
            let (event, more) = watch.event().await?;
            Some((Ok(event), more.then_some(watch)))
        })
    }

    /// Returns the next event and whether more follow; nothing when the server stops.
    async fn event(&mut self) -> Option<(Event, bool)> {
        loop {
            let job = match self.next.take() {
                Some(job) => Ok(job),
                None => {
                    tokio::time::sleep(LOOK_EVERY).await;
                    look(&self.service, self.id).await
                }
            };
            match job {
                Ok(job) if job.state.is_final() => return Some((named("done", &json!(job)), false)),
                Ok(job) => {
                    let told = json!({
                        "id": job.id, "state": job.state, "attempt": job.attempt, "progress": job.progress, "figures": job.figures,
                    });
                    let text = Some(told.to_string());
                    if text != self.told {
                        self.told = text;
                        return Some((named("progress", &told), true));
                    }
                }
                Err(error) => {
                    let mut problem = problem(&error, status_of(&error));
                    problem.request_id.clone_from(&self.request_id);
                    return Some((named("error", &json!(problem)), false));
                }
            }
            // A job that is given back goes on elsewhere, or after the restart: its stream must not hold the shutdown up.
            if self.service.stop().is_set() {
                return None;
            }
        }
    }
}

fn named(name: &str, data: &serde_json::Value) -> Event {
    Event::default().event(name).data(data.to_string())
}
