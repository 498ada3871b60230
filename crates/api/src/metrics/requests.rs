//! HTTP requests by route, method and status. Routes are the templates of the route table, so their number is bounded.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use seedhouse_service::statistics::{Distribution, Histogram};

/// What was asked over HTTP.
#[derive(Debug)]
pub(crate) struct HttpStatistics {
    started_at: SystemTime,
    routes: Mutex<HashMap<String, BTreeMap<&'static str, OfMethod>>>,
    in_progress: AtomicI64,
}

#[derive(Debug)]
struct OfMethod {
    time: Histogram,
    by_status: BTreeMap<u16, u64>,
}

/// Requests of one route and method.
#[derive(Debug)]
pub(super) struct RouteFigures {
    pub(super) route: String,
    pub(super) method: &'static str,
    pub(super) seconds: Distribution,
    pub(super) by_status: BTreeMap<u16, u64>,
}

/// Stands for every path that no route has.
const NO_ROUTE: &str = "none";

/// The status that proxies log for a client that left before it was answered.
const CLIENT_LEFT: u16 = 499;

impl HttpStatistics {
    /// Returns the statistics of a server that starts now.
    pub(crate) fn new() -> HttpStatistics {
        HttpStatistics { started_at: SystemTime::now(), routes: Mutex::default(), in_progress: AtomicI64::new(0) }
    }

    /// Returns when the server was started.
    pub(super) fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// Returns how many requests are being answered. A stream is answered with its first byte.
    pub(super) fn in_progress(&self) -> i64 {
        self.in_progress.load(Ordering::Relaxed)
    }

    /// Returns what was counted, by route and method.
    pub(super) fn report(&self) -> Vec<RouteFigures> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report: Vec<RouteFigures> = Vec::new();
        for (route, methods) in routes.iter() {
            report.extend(methods.iter().map(|(method, counted)| RouteFigures {
                route: route.clone(),
                method,
                seconds: counted.time.read(),
                by_status: counted.by_status.clone(),
            }));
        }
        report.sort_by(|a, b| (&a.route, a.method).cmp(&(&b.route, b.method)));
        report
    }

    fn count(&self, route: &str, method: &'static str, status: u16, started: Instant) {
        let time = started.elapsed();
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), BTreeMap::new());
        }
        let methods = routes.get_mut(route).expect("inserted above");
        let new = || OfMethod { time: Histogram::of_times(), by_status: BTreeMap::new() };
        let counted = methods.entry(method).or_insert_with(new);
        counted.time.add_time(time);
        *counted.by_status.entry(status).or_default() += 1;
    }
}

/// Middleware: counts a request until the head of its answer is there.
pub(crate) async fn count(State(statistics): State<Arc<HttpStatistics>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method_name(request.method());
    statistics.in_progress.fetch_add(1, Ordering::Relaxed);
    let mut running = Running { statistics, route, method, started: Instant::now(), status: CLIENT_LEFT };
    let response = next.run(request).await;
    running.status = response.status().as_u16();
    response
}

/// A request in progress; a client that leaves drops it.
struct Running {
    statistics: Arc<HttpStatistics>,
    route: Option<MatchedPath>,
    method: &'static str,
    started: Instant,
    status: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.statistics.in_progress.fetch_sub(1, Ordering::Relaxed);
        let route = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
        self.statistics.count(route, self.method, self.status, self.started);
    }
}

/// Methods are a closed set, although clients may send any word.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
