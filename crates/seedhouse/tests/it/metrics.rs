//! What the server counts: metrics, statistics of versions, and the figures of the original.

use std::collections::BTreeSet;
use std::path::Path;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use seedhouse_testkit::tiny_onnx::tiny_linear;
use serde_json::{Value, json};

use crate::support::{Exposition, RawRequest, Seedhouse, Server};

const PATH: &str = "/api/inference/text/generation";
const TINY: [(&str, &str); 3] = [("model_id", "tiny_v1"), ("model", "tiny"), ("version", "1")];

fn registered() -> Seedhouse {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    seedhouse
}

fn scrape(server: &Server) -> Exposition {
    let answer = server.get("/metrics");
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    Exposition::parse(&answer.text)
}

fn ask(server: &Server, fields: Value) -> u16 {
    let mut body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 4});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.post_json(PATH, &body).status
}

fn with<'l>(labels: &[(&'l str, &'l str)], further: (&'l str, &'l str)) -> Vec<(&'l str, &'l str)> {
    [labels, &[further]].concat()
}

#[test]
fn requests_tokens_and_failures_are_counted_as_they_were() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let mut generated = 0;
    for _ in 0..3 {
        let body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 4});
        let answer = server.post_json(PATH, &body).json();
        generated += answer["metadata"]["output_length"].as_u64().unwrap();
    }
    assert_eq!(ask(&server, json!({"model_id": "absent"})), 404);
    assert_eq!(ask(&server, json!({"prompt": "x".repeat(100_000)})), 400);
    let image = json!({"model_id": "tiny", "image_data": [[[0, 0, 0]]]});
    assert_eq!(server.post_json("/api/inference/image/classification", &image).status, 409);

    let metrics = scrape(&server);
    let value = |name: &str| metrics.value(name, &TINY);
    assert_eq!(value("seedhouse_inference_requests_total"), 3.0);
    assert_eq!(value("seedhouse_inference_items_total"), 3.0);
    assert_eq!(value("seedhouse_inference_requests_in_progress"), 0.0);
    assert_eq!(value("seedhouse_inference_request_duration_seconds_count"), 3.0);
    assert_eq!(value("seedhouse_text_first_token_duration_seconds_count"), 3.0);
    assert_eq!(value("seedhouse_text_generated_tokens_total"), generated as f64);
    let prompt = value("seedhouse_text_prompt_tokens_total");
    assert!(prompt >= 3.0 && prompt % 3.0 == 0.0, "three equal prompts: {prompt}");
    assert!(value("seedhouse_text_cached_prompt_tokens_total") < prompt);
    let ended = ["stop", "length", "cancelled"]
        .map(|reason| metrics.value("seedhouse_text_answers_total", &with(&TINY, ("reason", reason))));
    assert_eq!((ended.iter().sum::<f64>(), ended[2]), (3.0, 0.0));
    let parts = value("seedhouse_inference_queue_duration_seconds_sum")
        + value("seedhouse_inference_compute_duration_seconds_sum");
    assert!((parts - value("seedhouse_inference_request_duration_seconds_sum")).abs() < 1e-6);

    let failures = |code| metrics.find("seedhouse_inference_failures_total", &with(&TINY, ("code", code)));
    assert_eq!(failures("invalid"), Some(1.0));
    assert_eq!(failures("failed_precondition"), Some(1.0));
    assert_eq!(failures("not_found"), None, "the request named no version");
    assert_eq!(metrics.value("seedhouse_inference_unresolved_failures_total", &[("code", "not_found")]), 1.0);

    // The first request loaded the version; the others, those that failed after that included, found it.
    assert_eq!(value("seedhouse_slot_load_duration_seconds_count"), 1.0);
    assert_eq!(value("seedhouse_slot_hits_total"), 4.0);
    assert!(metrics.value("seedhouse_slot_memory_bytes", &with(&TINY, ("state", "ready"))) > 0.0);
    assert_eq!(metrics.value("seedhouse_registry_versions", &[]), 1.0);

    let requests = |route: &str, status: &str| {
        metrics.find("seedhouse_http_requests_total", &[("method", "POST"), ("route", route), ("status", status)])
    };
    assert_eq!(
        (requests(PATH, "200"), requests(PATH, "404"), requests(PATH, "400")),
        (Some(3.0), Some(1.0), Some(1.0))
    );
    assert_eq!(metrics.value("seedhouse_http_requests_in_progress", &[]), 1.0, "this one");
}

#[test]
fn routes_are_templates_and_unknown_paths_one_route() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    server.get("/api/models/tiny_v1");
    server.get("/api/models/absent");
    server.get("/no/such/path");
    server.get("/nor/this");
    assert_eq!(RawRequest::new("PURGE", "/api/models/tiny_v1").send(&server.url).status, 405);
    let metrics = scrape(&server);
    let requests = |method, route, status| {
        metrics.find("seedhouse_http_requests_total", &[("method", method), ("route", route), ("status", status)])
    };
    assert_eq!(requests("GET", "/api/models/{model_id}", "200"), Some(1.0));
    assert_eq!(requests("GET", "/api/models/{model_id}", "404"), Some(1.0));
    assert_eq!(requests("GET", "none", "404"), Some(2.0));
    assert_eq!(requests("other", "/api/models/{model_id}", "405"), Some(1.0));
    assert!(!metrics.mentions("route", "/no/such/path"));
}

#[test]
fn every_metric_that_is_documented_is_there_and_no_other() {
    let seedhouse = registered();
    let server = Server::start_with(seedhouse.command(), &["--metrics-aliases", "triton,vllm"]);
    assert_eq!(ask(&server, json!({})), 200);
    let shown: BTreeSet<String> = scrape(&server).families.into_keys().collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let is_metric = |name: &String| ["seedhouse_", "nv_", "vllm:"].iter().any(|prefix| name.starts_with(prefix));
    let documented: BTreeSet<String> = page.lines().filter_map(name).filter(is_metric).collect();
    assert!(documented.len() > 40, "{documented:?}");
    assert_eq!(shown, documented);
}

#[test]
fn folder_of_plans_that_cannot_be_read_takes_no_other_metric_along() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    assert_eq!(ask(&server, json!({})), 200);
    let unreadable =
        |metrics: &Exposition, source| metrics.value("seedhouse_metrics_unreadable", &[("source", source)]);
    assert_eq!(unreadable(&scrape(&server), "plans"), 0.0);
    let plans = seedhouse.root().join("plans");
    std::fs::remove_dir_all(&plans).unwrap();
    // A link to itself: nobody can list it, root neither.
    std::os::unix::fs::symlink("plans", &plans).unwrap();
    let metrics = scrape(&server);
    assert_eq!(["plans", "registry", "jobs"].map(|source| unreadable(&metrics, source)), [1.0, 0.0, 0.0]);
    assert_eq!(metrics.value("seedhouse_inference_requests_total", &TINY), 1.0);
    assert_eq!(metrics.value("seedhouse_registry_versions", &[]), 1.0);
    assert!(!metrics.families.contains_key("seedhouse_plan_stored_bytes"), "a zero would be a lie");
}

#[test]
fn names_of_other_servers_are_there_when_asked_for() {
    let seedhouse = registered();
    let server = Server::start_with(seedhouse.command(), &["--metrics-aliases", "triton"]);
    for _ in 0..2 {
        assert_eq!(ask(&server, json!({})), 200);
    }
    let metrics = scrape(&server);
    let triton = [("model", "tiny"), ("version", "1")];
    assert_eq!(metrics.value("nv_inference_request_success", &triton), 2.0);
    assert_eq!(metrics.value("nv_inference_count", &triton), 2.0);
    assert_eq!(metrics.value("nv_inference_request_failure", &with(&triton, ("reason", "REJECTED"))), 0.0);
    let micros = |what: &str| metrics.value(&format!("nv_inference_{what}_duration_us"), &triton);
    assert!((micros("queue") + micros("compute_infer") - micros("request")).abs() <= 2.0);
    assert!(!metrics.families.keys().any(|name| name.starts_with("vllm:")));

    let server = Server::start_with(seedhouse.command(), &["--metrics-aliases", "vllm"]);
    assert_eq!(ask(&server, json!({})), 200);
    let metrics = scrape(&server);
    let vllm = [("model_name", "tiny_v1"), ("engine", "0")];
    assert_eq!(metrics.value("vllm:num_requests_running", &vllm), 0.0);
    assert_eq!(metrics.value("vllm:time_to_first_token_seconds_count", &vllm), 1.0);
    assert_eq!(
        metrics.value("vllm:generation_tokens_total", &vllm),
        metrics.value("seedhouse_text_generated_tokens_total", &TINY)
    );
    assert!(!metrics.families.keys().any(|name| name.starts_with("nv_")));
    let run = seedhouse.run(&["serve", "--metrics-aliases", "ollama"]);
    run.assert_failed(2, &["metrics-aliases", "`ollama`", "`triton` or `vllm`"]);
}

#[test]
fn batches_of_tensors_are_counted_with_their_rows() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("linear", &seedhouse.file("linear.onnx", &tiny_linear().bytes()));
    let server = Server::start_with(seedhouse.command(), &["--metrics-aliases", "triton"]);
    let rows = json!({"model_id": "linear", "input_data": {"x": [[1, 2], [3, 4], [5, 6]]}});
    assert_eq!(server.post_json("/api/inference", &rows).status, 200);
    let several = json!({"model_id": "linear", "inputs": [{"x": [[1, 2]]}, {"x": [[1, 2, 3]]}, {"x": [[0, 1]]}]});
    let answer = server.post_json("/api/inference/batch", &several).json();
    assert_eq!((&answer["success_count"], &answer["error_count"]), (&json!(2), &json!(1)));
    let metrics = scrape(&server);
    let linear = [("model_id", "linear_v1"), ("model", "linear"), ("version", "1")];
    assert_eq!(metrics.value("seedhouse_inference_requests_total", &linear), 2.0);
    assert_eq!(metrics.value("seedhouse_inference_items_total", &linear), 3.0, "one request, and two of its inputs");
    assert_eq!(metrics.value("seedhouse_batch_size_rows_sum", &linear), 5.0, "three rows, and twice one");
    let batches = metrics.value("seedhouse_batch_size_rows_count", &linear);
    assert_eq!(metrics.value("nv_inference_exec_count", &[("model", "linear"), ("version", "1")]), batches);
    assert_eq!(metrics.find("seedhouse_text_prompt_tokens_total", &linear), None, "it has no tokens");
}

#[test]
fn waiting_of_tensors_for_a_batch_is_not_told_as_computing() {
    let seedhouse = Seedhouse::new();
    let linear = seedhouse.file("linear.onnx", &tiny_linear().bytes());
    seedhouse.json(&["register", "linear", &linear, "--metadata", r#"{"dynamic_batching": true}"#]);
    let server = Server::start_with(seedhouse.command(), &["--batch-delay", "50ms", "--metrics-aliases", "triton"]);
    let body = json!({"model_id": "linear", "input_data": {"x": [[1, 2]]}});
    let asked = || {
        assert_eq!(server.post_json("/api/inference", &body).status, 200);
        scrape(&server).value("nv_inference_queue_duration_us", &[("model", "linear"), ("version", "1")])
    };
    let with_loading = asked();
    let waited = asked() - with_loading;
    assert!(waited >= 50_000.0, "a loaded model whose batch waits 50 ms for others: {waited} us");
}

#[test]
fn texts_that_become_vectors_are_counted_with_their_tokens() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "sentences", &crate::embedding::folder(&seedhouse, "bert-mean", &[])]);
    let server = Server::start_with(seedhouse.command(), &["--metrics-aliases", "triton,vllm"]);
    let body = json!({"model_id": "sentences", "input": ["wheat", "rice and wheat"]});
    let answer = server.post_json("/api/inference/embeddings", &body).json();
    let tokens: u64 =
        answer["metadata"]["tokens"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum();
    let metrics = scrape(&server);
    let sentences = [("model_id", "sentences_v1"), ("model", "sentences"), ("version", "1")];
    assert_eq!(metrics.value("seedhouse_text_prompt_tokens_total", &sentences), tokens as f64);
    assert_eq!(metrics.find("seedhouse_text_generated_tokens_total", &sentences), None, "it chooses none");
    assert!(!metrics.mentions("model_name", "sentences_v1"), "it is no language model");
}

#[test]
fn statistics_of_a_version_that_was_never_asked_make_no_counters() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let statistics = server.get("/api/models/tiny/statistics").json();
    assert_eq!((&statistics["model_id"], &statistics["succeeded"]), (&json!("tiny_v1"), &json!(0)));
    assert!(!scrape(&server).mentions("model_id", "tiny_v1"));
}

#[test]
fn deleted_version_is_not_counted_any_more() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    assert_eq!(ask(&server, json!({})), 200);
    assert!(scrape(&server).mentions("model_id", "tiny_v1"));
    assert_eq!(server.send("DELETE", "/api/models/tiny_v1", &[], &Value::Null).status, 200);
    assert!(!scrape(&server).mentions("model_id", "tiny_v1"));
}

#[test]
fn metrics_take_a_token_where_there_is_one_unless_they_are_open() {
    let seedhouse = registered();
    let run = seedhouse.run(&["token", "create", "scraper", "--role", "reader"]);
    let secret = run.stdout.trim().to_owned();
    let server = seedhouse.serve();
    RawRequest::get("/metrics").send(&server.url).assert_refused(401, "unauthenticated", &["token"]);
    assert_eq!(RawRequest::get("/metrics").bearer(&secret).send(&server.url).status, 200);
    let open = Server::start_with(seedhouse.command(), &["--open-metrics"]);
    assert_eq!(RawRequest::get("/metrics").send(&open.url).status, 200);
    RawRequest::get("/api/slots").send(&open.url).assert_refused(401, "unauthenticated", &["token"]);
}

#[test]
fn figures_of_the_original_are_zeros_until_a_version_has_answered() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let zeros = json!({
        "total_inferences": 0, "total_processing_time": 0.0, "avg_processing_time": 0.0, "last_inference_time": 0.0
    });
    for id in ["absent", "tiny_v1", "tiny"] {
        let answer = server.get(&format!("/api/inference/stats/{id}"));
        assert_eq!((answer.status, answer.json()), (200, zeros.clone()), "{id}");
    }
    for _ in 0..2 {
        assert_eq!(ask(&server, json!({})), 200);
    }
    assert_eq!(ask(&server, json!({"max_length": 0})), 400);
    let figures = server.get("/api/inference/stats/tiny").json();
    let number = |field: &str| figures[field].as_f64().unwrap();
    assert_eq!(number("total_inferences"), 2.0);
    assert!((number("avg_processing_time") * 2.0 - number("total_processing_time")).abs() < 1e-9);
    assert!(number("total_processing_time") > 0.0 && number("last_inference_time") > 1.7e9, "{figures}");
}

#[test]
fn statistics_of_a_version_tell_more() {
    let seedhouse = registered();
    let server = seedhouse.serve();
    let path = "/api/models/tiny/statistics";
    let before = server.get(path).json();
    assert_eq!((&before["model_id"], &before["succeeded"]), (&json!("tiny_v1"), &json!(0)));
    assert_eq!((&before["failed"], before.get("tokens")), (&json!({}), None));
    assert_eq!(ask(&server, json!({})), 200);
    assert_eq!(ask(&server, json!({"prompt": "x".repeat(100_000)})), 400);
    let after = server.get(path).json();
    assert_eq!((&after["model"], &after["version"], &after["ordinal"]), (&json!("tiny"), &json!("1"), &json!(1)));
    assert_eq!((&after["succeeded"], &after["failed"]), (&json!(1), &json!({"invalid": 1})));
    assert_eq!(after["request_seconds"]["count"], 1);
    assert_eq!(after["request_seconds"]["buckets"].as_array().unwrap().len(), 17);
    assert_eq!(after["tokens"]["first_token_seconds"]["count"], 1);
    assert_eq!((&after["slot"]["loads"], &after["slot"]["hits"]), (&json!(1), &json!(1)));
    assert!(!after.to_string().contains("hello"), "nothing of what was asked is kept");
    server.get("/api/models/absent/statistics").assert_problem(404, &["absent"]);
}
