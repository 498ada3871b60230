//! Traces reach a collector, with the attributes of OpenTelemetry's conventions and in the caller's trace.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

const PATH: &str = "/api/inference/text/generation";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A stand-in for a collector: takes messages, answers 200 and hands them on.
struct Collector {
    url: String,
    messages: Receiver<(String, Value)>,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                while let Some(message) = read_message(&mut reader) {
                    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
                    if sender.send(message).is_err() {
                        return;
                    }
                }
            }
        });
        Collector { url, messages }
    }

    /// Waits until a span of this name has come, and returns all that did by then.
    fn spans_until(&self, name: &str) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        while !spans.iter().any(|span| span.name == name) {
            let (head, body) = self.messages.recv_timeout(Duration::from_secs(60)).expect("a span comes");
            assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
            assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
            let resource = &body["resourceSpans"][0];
            let service = attributes(&resource["resource"]["attributes"]);
            assert_eq!(service["service.name"], json!({"stringValue": "seedhouse"}));
            let new = resource["scopeSpans"][0]["spans"].as_array().unwrap();
            spans.extend(new.iter().map(Span::read));
        }
        spans
    }
}

fn read_message(reader: &mut BufReader<std::net::TcpStream>) -> Option<(String, Value)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Some((head, serde_json::from_slice(&body).unwrap()))
}

#[derive(Debug)]
struct Span {
    name: String,
    kind: u64,
    trace_id: String,
    span_id: String,
    parent: Option<String>,
    attributes: BTreeMap<String, Value>,
    status: Value,
}

impl Span {
    fn read(span: &Value) -> Span {
        let text = |field: &str| span[field].as_str().map(str::to_owned);
        let nanos = |field: &str| span[field].as_str().unwrap().parse::<u64>().unwrap();
        assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano"));
        Span {
            name: text("name").unwrap(),
            kind: span["kind"].as_u64().unwrap(),
            trace_id: text("traceId").unwrap(),
            span_id: text("spanId").unwrap(),
            parent: text("parentSpanId"),
            attributes: attributes(&span["attributes"]),
            status: span["status"].clone(),
        }
    }

    fn assert_has(&self, expected: &[(&str, Value)]) {
        for (key, value) in expected {
            assert_eq!(self.attributes.get(*key), Some(value), "{key} of {self:#?}");
        }
    }
}

fn attributes(list: &Value) -> BTreeMap<String, Value> {
    let pair = |pair: &Value| (pair["key"].as_str().unwrap().to_owned(), pair["value"].clone());
    list.as_array().unwrap().iter().map(pair).collect()
}

fn text(value: &str) -> Value {
    json!({ "stringValue": value })
}

fn whole(value: u64) -> Value {
    json!({ "intValue": value.to_string() })
}

fn serving(collector: &str) -> (Seedhouse, Server) {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let server = Server::start_with(seedhouse.command(), &["--otlp-endpoint", collector]);
    (seedhouse, server)
}

fn ask(server: &Server, traceparent: Option<&str>, body: &Value) -> u16 {
    let headers: Vec<(&str, &str)> = traceparent.map(|value| ("traceparent", value)).into_iter().collect();
    server.send("POST", PATH, &headers, body).status
}

#[test]
fn generation_is_a_span_below_its_request_in_the_callers_trace() {
    let collector = Collector::start();
    let (_seedhouse, server) = serving(&collector.url);
    let body = json!({"model_id": "tiny", "prompt": "secret words", "max_length": 3});
    let answer = server.send("POST", PATH, &[("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"))], &body);
    assert_eq!(answer.status, 200);
    let tokens = answer.json()["metadata"].clone();

    let spans = collector.spans_until("POST /api/inference/text/generation");
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{spans:#?}"));
    let request = find("POST /api/inference/text/generation");
    assert_eq!((request.trace_id.as_str(), request.kind), (TRACE, 2));
    assert_eq!(request.parent.as_deref(), Some("00f067aa0ba902b7"));
    request.assert_has(&[
        ("http.request.method", text("POST")),
        ("http.route", text(PATH)),
        ("url.path", text(PATH)),
        ("http.response.status_code", whole(200)),
        ("server.address", text("127.0.0.1")),
        ("seedhouse.request.id", text(&answer.request_id)),
    ]);
    let inference = find("text_completion tiny");
    assert_eq!((inference.trace_id.as_str(), inference.kind), (TRACE, 1));
    assert_eq!(inference.parent.as_ref(), Some(&request.span_id));
    let reason = &inference.attributes["gen_ai.response.finish_reasons"]["arrayValue"]["values"][0]["stringValue"];
    assert!(["stop", "length"].contains(&reason.as_str().unwrap()), "{reason}");
    inference.assert_has(&[
        ("gen_ai.operation.name", text("text_completion")),
        ("gen_ai.provider.name", text("seedhouse")),
        ("gen_ai.request.model", text("tiny")),
        ("gen_ai.request.max_tokens", whole(3)),
        ("gen_ai.response.model", text("tiny_v1")),
        ("gen_ai.usage.input_tokens", whole(tokens["input_length"].as_u64().unwrap())),
        ("gen_ai.usage.output_tokens", whole(tokens["output_length"].as_u64().unwrap())),
        ("server.address", text("127.0.0.1")),
    ]);
    assert_eq!(inference.attributes["server.port"], request.attributes["server.port"]);
    assert!(!format!("{spans:?}").contains("secret words"));
}

#[test]
fn embedding_has_the_operation_name_of_the_conventions_and_its_tokens() {
    let collector = Collector::start();
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "sentences", &crate::embedding::folder(&seedhouse, "bert-mean", &[])]);
    let server = Server::start_with(seedhouse.command(), &["--otlp-endpoint", &collector.url]);
    let body = json!({"model_id": "sentences", "input": ["wheat"]});
    let answer = server.post_json("/api/inference/embeddings", &body).json();
    let spans = collector.spans_until("embeddings sentences");
    let span = spans.iter().find(|span| span.name == "embeddings sentences").unwrap();
    span.assert_has(&[
        ("gen_ai.operation.name", text("embeddings")),
        ("gen_ai.usage.input_tokens", whole(answer["metadata"]["tokens"][0].as_u64().unwrap())),
    ]);
    assert!(!span.attributes.contains_key("gen_ai.usage.output_tokens"), "{span:#?}");
}

#[test]
fn streamed_generation_does_not_begin_a_trace_of_its_own() {
    let collector = Collector::start();
    let (_seedhouse, server) = serving(&collector.url);
    let body = json!({"model_id": "tiny", "prompt": "a", "max_length": 3, "stream": true});
    assert_eq!(ask(&server, Some(&format!("00-{TRACE}-00f067aa0ba902b7-01")), &body), 200);
    // The span of the request ends with the head of the answer, that of the inference with its last piece.
    let mut spans = collector.spans_until("text_completion tiny");
    let request_name = "POST /api/inference/text/generation";
    if !spans.iter().any(|span| span.name == request_name) {
        spans.extend(collector.spans_until(request_name));
    }
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (inference, request) = (find("text_completion tiny"), find(request_name));
    assert_eq!(inference.trace_id, TRACE, "{spans:#?}");
    assert_eq!(inference.parent.as_ref(), Some(&request.span_id), "{spans:#?}");
}

#[test]
fn failure_is_an_error_and_a_request_of_nobody_begins_a_trace() {
    let collector = Collector::start();
    let (_seedhouse, server) = serving(&collector.url);
    assert_eq!(ask(&server, None, &json!({"model_id": "tiny", "prompt": "x".repeat(100_000)})), 400);
    let spans = collector.spans_until("POST /api/inference/text/generation");
    let inference = spans.iter().find(|span| span.name == "text_completion tiny").unwrap();
    inference.assert_has(&[("error.type", text("invalid"))]);
    assert_eq!(inference.status, json!({"code": 2}));
    let request = spans.iter().find(|span| span.kind == 2).unwrap();
    assert_eq!(
        (request.parent.as_ref(), &request.status),
        (None, &json!({})),
        "a mistake of the client is no error here"
    );
    assert_eq!(request.trace_id, inference.trace_id);
    assert_ne!(request.trace_id, "0".repeat(32));
}

#[test]
fn caller_that_does_not_sample_is_not_traced() {
    let collector = Collector::start();
    let (_seedhouse, server) = serving(&collector.url);
    let body = json!({"model_id": "tiny", "prompt": "a", "max_length": 1});
    assert_eq!(ask(&server, Some(&format!("00-{TRACE}-00f067aa0ba902b7-00")), &body), 200);
    server.get("/version");
    let spans = collector.spans_until("GET /version");
    assert!(spans.iter().all(|span| span.trace_id != TRACE), "{spans:#?}");
}

#[test]
fn spans_that_wait_are_sent_before_the_program_ends() {
    let collector = Collector::start();
    let (_seedhouse, mut server) = serving(&collector.url);
    server.get("/livez");
    server.terminate();
    assert!(server.wait_at_most(Duration::from_secs(30)).success());
    assert!(collector.spans_until("GET /livez").iter().any(|span| span.kind == 2));
}

#[test]
fn collector_that_is_away_costs_no_request() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_seedhouse, mut server) = serving(&format!("http://{address}"));
    for _ in 0..5 {
        assert_eq!(ask(&server, None, &json!({"model_id": "tiny", "prompt": "a", "max_length": 1})), 200);
    }
    server.terminate();
    assert!(server.wait_at_most(Duration::from_secs(30)).success());
}
