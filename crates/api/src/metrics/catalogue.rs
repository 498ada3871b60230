//! Every metric of ours: `seedhouse_<area>_<what>_<unit>`, counters end in `_total`, labels are from closed sets.
//!
//! `model_id`, `model` and `version` are those of versions that were asked; those of deleted versions go.

use super::exposition::{Kind, Metric};

/// The labels of a version.
const VERSION: &[&str] = &["model_id", "model", "version"];

macro_rules! catalogue {
    ($($constant:ident = $kind:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) static $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: $labels, help: $help };)*

        /// All of them, for the documentation.
        #[cfg(test)]
        pub(super) static OURS: &[&Metric] = &[$(&$constant),*];
    };
}

catalogue! {
    BUILD_INFO = Gauge "seedhouse_build_info" &["version"],
        "1, with the version of the program.";
    START_TIME = Gauge "seedhouse_process_start_time_seconds" &[],
        "When the server was started, in seconds since 1970.";
    RESIDENT_BYTES = Gauge "seedhouse_process_resident_memory_bytes" &[],
        "Memory of the process in use; only on Linux.";

    HTTP_REQUESTS = Counter "seedhouse_http_requests_total" &["method", "route", "status"],
        "HTTP requests by the template of their route; `none` is a path without one, status 499 a client that left.";
    HTTP_SECONDS = Histogram "seedhouse_http_request_duration_seconds" &["method", "route"],
        "Time from an HTTP request to the head of its answer.";
    HTTP_IN_PROGRESS = Gauge "seedhouse_http_requests_in_progress" &[],
        "HTTP requests whose answer has no head yet.";

    REQUESTS = Counter "seedhouse_inference_requests_total" VERSION,
        "Inferences that were answered.";
    FAILURES = Counter "seedhouse_inference_failures_total" &["model_id", "model", "version", "code"],
        "Inferences that failed, by code of the error.";
    UNRESOLVED = Counter "seedhouse_inference_unresolved_failures_total" &["code"],
        "Inferences that failed before it was known which version they are about, by code of the error.";
    IN_PROGRESS = Gauge "seedhouse_inference_requests_in_progress" VERSION,
        "Inferences that are being answered, those that wait included.";
    ITEMS = Counter "seedhouse_inference_items_total" VERSION,
        "Things that were answered: images, rows, texts.";
    REQUEST_SECONDS = Histogram "seedhouse_inference_request_duration_seconds" VERSION,
        "Time from an inference to its whole answer, loading included.";
    QUEUE_SECONDS = Histogram "seedhouse_inference_queue_duration_seconds" VERSION,
        "The part of it before anything was computed: waiting for the version to be loaded, and in its queue.";
    COMPUTE_SECONDS = Histogram "seedhouse_inference_compute_duration_seconds" VERSION,
        "The rest of it.";

    BATCH_SIZE = Histogram "seedhouse_batch_size_rows" VERSION,
        "Rows of the batches that a loaded model computed: images, rows of tensors.";
    BATCH_WAITING = Gauge "seedhouse_batch_requests_waiting" VERSION,
        "Requests that wait for a loaded model, language models left out.";
    BATCH_QUEUE_SECONDS = Counter "seedhouse_batch_queue_seconds_total" VERSION,
        "Time that requests waited for a batch, since the model was loaded.";
    BATCH_COMPUTE_SECONDS = Counter "seedhouse_batch_compute_seconds_total" VERSION,
        "Time that batches were computed for, since the model was loaded.";
    BATCH_REPEATED = Counter "seedhouse_batch_repeated_total" VERSION,
        "Batches that failed and were computed again one by one, since the model was loaded.";

    PROMPT_TOKENS = Counter "seedhouse_text_prompt_tokens_total" VERSION,
        "Tokens of prompts, and of texts that became vectors.";
    CACHED_TOKENS = Counter "seedhouse_text_cached_prompt_tokens_total" VERSION,
        "Tokens of prompts that were computed for an earlier request.";
    GENERATED_TOKENS = Counter "seedhouse_text_generated_tokens_total" VERSION,
        "Tokens that were chosen.";
    FIRST_TOKEN_SECONDS = Histogram "seedhouse_text_first_token_duration_seconds" VERSION,
        "Time from a request to its first token, loading included.";
    TOKEN_SECONDS = Histogram "seedhouse_text_token_interval_seconds" VERSION,
        "Time between a token and the next, on average over each request.";
    ANSWERS = Counter "seedhouse_text_answers_total" &["model_id", "model", "version", "reason"],
        "Texts by why they ended: stop, length, cancelled.";
    TEXT_RUNNING = Gauge "seedhouse_text_sequences_running" VERSION,
        "Sequences that a loaded language model advances.";
    TEXT_WAITING = Gauge "seedhouse_text_requests_waiting" VERSION,
        "Requests that wait for a place in a loaded language model.";
    TEXT_STEPS = Counter "seedhouse_text_steps_total" VERSION,
        "Steps of a language model since it was loaded.";
    TEXT_PREFIX_HITS = Counter "seedhouse_text_prefix_hits_total" VERSION,
        "Sequences that began with tokens that were there already, since the model was loaded.";
    TEXT_PREEMPTIONS = Counter "seedhouse_text_preemptions_total" VERSION,
        "Times that a sequence gave up its place to go on later, since the model was loaded.";

    SLOT_HITS = Counter "seedhouse_slot_hits_total" VERSION,
        "Requests that found their version loaded.";
    SLOT_WAITS = Counter "seedhouse_slot_waits_total" VERSION,
        "Requests that waited while another one loaded their version.";
    SLOT_LOADS = Histogram "seedhouse_slot_load_duration_seconds" VERSION,
        "Time that loading a version took, verification of its files included.";
    SLOT_EVICTIONS = Counter "seedhouse_slot_evictions_total" VERSION,
        "Times that a version was unloaded to make room.";
    SLOT_BYTES = Gauge "seedhouse_slot_memory_bytes" &["model_id", "model", "version", "state"],
        "Memory of a version by its state: waiting, loading, ready, draining.";
    SLOT_IN_USE = Gauge "seedhouse_slot_requests_in_use" VERSION,
        "Requests that use a loaded version.";

    MEMORY_BUDGET = Gauge "seedhouse_memory_budget_bytes" &[],
        "What all loaded versions may take together; absent without a limit.";
    MEMORY_USED = Gauge "seedhouse_memory_used_bytes" &[],
        "What they take, and what is promised to loads in progress.";
    MEMORY_WAITING = Gauge "seedhouse_memory_requests_waiting" &[],
        "Requests that wait for a version that another one loads.";
    FAILED_LOADS = Counter "seedhouse_memory_failed_loads_total" &[],
        "Loads that failed.";

    UNREADABLE = Gauge "seedhouse_metrics_unreadable" &["source"],
        "1 while metrics are left out that cannot be read, by where they come from: plans, registry, jobs; else 0.";

    PLAN_HITS = Counter "seedhouse_plan_hits_total" &["place"],
        "Loads of language models that found a compiled plan, by where: memory, disk.";
    PLAN_MISSES = Counter "seedhouse_plan_misses_total" &["reason"],
        "Loads of language models that compiled a plan, by the reason.";
    PLAN_COMPILE_SECONDS = Counter "seedhouse_plan_compile_seconds_total" &[],
        "Time that compiling plans took.";
    PLAN_FAILED_WRITES = Counter "seedhouse_plan_failed_writes_total" &[],
        "Plans that could not be kept on the disk.";
    PLAN_STORED = Gauge "seedhouse_plan_stored_bytes" &[],
        "Plans on the disk.";

    VERSIONS = Gauge "seedhouse_registry_versions" &[],
        "Versions that are registered.";
    JOBS = Gauge "seedhouse_jobs" &["state"],
        "Jobs by state; finished ones as far as they are remembered.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;
    use crate::metrics::aliases::{triton, vllm};

    fn table(metrics: &[&Metric]) -> String {
        let row = |metric: &&Metric| {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {} | {} | {} |\n", metric.name, metric.kind.as_str(), labels.join(" "), metric.help)
        };
        format!(
            "| name | kind | labels | meaning |\n| --- | --- | --- | --- |\n{}",
            metrics.iter().map(row).collect::<String>()
        )
    }

    /// `SEEDHOUSE_UPDATE_DOCS=1 cargo test -p seedhouse-api page_lists` writes the tables anew; read the difference.
    #[test]
    fn page_lists_every_metric() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
        let mut page = std::fs::read_to_string(&path).unwrap();
        for (name, metrics) in [("ours", OURS), ("triton", triton::ALL), ("vllm", vllm::ALL)] {
            let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
            let from = page.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
            let to = page.find(&end).unwrap_or_else(|| panic!("no {end}"));
            if std::env::var_os("SEEDHOUSE_UPDATE_DOCS").is_some() {
                page.replace_range(from..to, &table(metrics));
                std::fs::write(&path, &page).unwrap();
            } else {
                assert_eq!(
                    &page[from..to],
                    table(metrics),
                    "`SEEDHOUSE_UPDATE_DOCS=1` writes the table of {name} anew"
                );
            }
        }
    }

    #[test]
    fn names_follow_the_rules() {
        let mut seen = HashSet::new();
        for metric in OURS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} comes twice");
            assert!(
                name.starts_with("seedhouse_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{name}");
        }
    }
}
