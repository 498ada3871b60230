//! The exporter: a thread that sends spans in batches to a collector, as JSON over HTTP (OTLP/HTTP).
//!
//! Nothing waits for it: spans that it cannot take are dropped and counted, a collector that is away costs only its spans.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use seedhouse_core::{Error, Result};
use serde_json::{Value, json};

use crate::web_address::check_url;

use super::span::{Attribute, TraceSpan, pair};

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collector {
    /// With the path of traces.
    url: String,
}

impl FromStr for Collector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Collector> {
        check_url("otlp-endpoint", text, "http://127.0.0.1:4318")?;
        Ok(Collector { url: format!("{}/v1/traces", text.trim_end_matches('/')) })
    }
}

/// Spans that wait to be sent; more are dropped.
const MOST_WAITING: usize = 2048;
/// Spans of one message.
const MOST_AT_ONCE: usize = 512;
/// How long a span waits for others to be sent with.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of the program waits for the last spans.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running exporter.
pub(super) struct Exporter {
    entrance: Entrance,
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

/// Where spans are handed in.
#[derive(Clone)]
pub(super) struct Entrance {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Span(Box<TraceSpan>),
    End,
}

impl Entrance {
    pub(super) fn send(&self, span: TraceSpan) {
        if self.sender.try_send(Message::Span(Box::new(span))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Exporter {
    /// Starts the thread.
    pub(super) fn start(collector: Collector) -> Exporter {
        let (sender, spans) = sync_channel(MOST_WAITING);
        let (has_ended, ended) = sync_channel(1);
        let dropped = Arc::<AtomicU64>::default();
        let mut sending = Sending::new(collector, dropped.clone());
        let thread = std::thread::spawn(move || {
            sending.run(&spans);
            // Whoever waited for it may be gone.
            let _ = has_ended.send(());
        });
        Exporter { entrance: Entrance { sender, dropped }, thread, ended }
    }

    pub(super) fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Sends what waits and ends the thread, or gives up after a while.
    pub(super) fn end(self) {
        // A full queue is being sent anyway, and the program does not wait for long.
        if self.entrance.sender.try_send(Message::End).is_ok() && self.ended.recv_timeout(FAREWELL).is_ok() {
            // It has said that it is done.
            let _ = self.thread.join();
        }
    }
}

/// What the thread owns.
struct Sending {
    collector: Collector,
    agent: ureq::Agent,
    headers: Vec<(String, String)>,
    resource: Value,
    dropped: Arc<AtomicU64>,
    is_failing: bool,
}

impl Sending {
    fn new(collector: Collector, dropped: Arc<AtomicU64>) -> Sending {
        let agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
        let headers = headers(&std::env::var("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default());
        let service = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
        let service = service.unwrap_or_else(|| "seedhouse".to_owned());
        let attributes = [
            ("service.name", Attribute::Text(service)),
            ("service.version", Attribute::Text(env!("CARGO_PKG_VERSION").to_owned())),
            ("process.pid", Attribute::Whole(i64::from(std::process::id()))),
        ];
        let attributes: Vec<Value> = attributes.iter().map(|(key, value)| pair(key, value)).collect();
        let resource = json!({ "attributes": attributes });
        Sending { collector, agent, headers, resource, dropped, is_failing: false }
    }

    fn run(&mut self, messages: &Receiver<Message>) {
        let mut batch = Vec::new();
        let mut due: Option<Instant> = None;
        loop {
            let wait = due.map_or(PAUSE, |due| due.saturating_duration_since(Instant::now()));
            let is_over = match messages.recv_timeout(wait) {
                Ok(Message::Span(span)) => {
                    batch.push(span);
                    due.get_or_insert_with(|| Instant::now() + PAUSE);
                    false
                }
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => true,
                Err(RecvTimeoutError::Timeout) => false,
            };
            let is_due = due.is_some_and(|due| Instant::now() >= due);
            if !batch.is_empty() && (is_over || is_due || batch.len() >= MOST_AT_ONCE) {
                self.send(&batch);
                batch.clear();
                due = None;
            }
            if is_over {
                return;
            }
        }
    }

    fn send(&mut self, spans: &[Box<TraceSpan>]) {
        let spans: Vec<Value> = spans.iter().map(|span| span.to_json()).collect();
        let scope = json!({ "name": "seedhouse", "version": env!("CARGO_PKG_VERSION") });
        let body = json!({
            "resourceSpans": [{ "resource": self.resource, "scopeSpans": [{ "scope": scope, "spans": spans }] }]
        });
        match self.post(&body.to_string()) {
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                tracing::info!("the collector of traces takes them again");
            }
            Ok(()) => {}
            // Once, not for every batch: the collector may be away for hours.
            Err(reason) if !self.is_failing => {
                self.is_failing = true;
                tracing::warn!(url = self.collector.url, reason, "the collector takes no traces; they are dropped");
            }
            Err(_) => {}
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "more spans than the collector took");
        }
    }

    fn post(&self, body: &str) -> Result<(), String> {
        let request = self.agent.post(&self.collector.url).header("content-type", "application/json");
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = request.send(body).map_err(|error| error.to_string())?;
        match response.status().is_success() {
            true => Ok(()),
            false => Err(format!("it answered {}", response.status())),
        }
    }
}

/// Reads `name=value,…`, as the variable of OpenTelemetry has it.
fn headers(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_is_the_base_of_the_path() {
        let collector: Collector = "http://127.0.0.1:4318/".parse().unwrap();
        assert_eq!(collector.url, "http://127.0.0.1:4318/v1/traces");
        for text in ["collector", "127.0.0.1:4318", "http://a b"] {
            assert_eq!(text.parse::<Collector>().unwrap_err().field(), Some("otlp-endpoint"), "{text}");
        }
    }

    #[test]
    fn headers_are_read_as_the_variable_has_them() {
        let expected = [("api-key".to_owned(), "a=b".to_owned()), ("x".to_owned(), "y".to_owned())];
        assert_eq!(headers("api-key=a=b, x = y,broken"), expected);
        assert!(headers("").is_empty());
    }
}
