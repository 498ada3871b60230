//! The names of vLLM, for language models: `model_name` is the `model_id`, and every server is one engine.

use seedhouse_service::statistics::{Distribution, TokenStatistics, VersionStatistics};
use seedhouse_service::{ServingFigures, TextStatistics};

use crate::metrics::collect::Versions;
use crate::metrics::exposition::{Exposition, Kind, Metric};

const LABELS: &[&str] = &["model_name", "engine"];
const ENGINE: &str = "0";

const fn metric(kind: Kind, name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, labels: LABELS, help }
}

static RUNNING: Metric = metric(Kind::Gauge, "vllm:num_requests_running", "Sequences that are being advanced.");
static WAITING: Metric = metric(Kind::Gauge, "vllm:num_requests_waiting", "Requests that wait for a place.");
static PREEMPTIONS: Metric =
    metric(Kind::Counter, "vllm:num_preemptions_total", "Times that a sequence gave up its place to go on later.");
static PROMPT_TOKENS: Metric = metric(Kind::Counter, "vllm:prompt_tokens_total", "Tokens of prompts.");
static GENERATED: Metric = metric(Kind::Counter, "vllm:generation_tokens_total", "Tokens that were chosen.");
static PREFIX_QUERIES: Metric =
    metric(Kind::Counter, "vllm:prefix_cache_queries_total", "Tokens of prompts that were looked up.");
static PREFIX_HITS: Metric =
    metric(Kind::Counter, "vllm:prefix_cache_hits_total", "Those of them that were there already.");
static SUCCESS: Metric = Metric {
    name: "vllm:request_success_total",
    kind: Kind::Counter,
    labels: &["model_name", "engine", "finished_reason"],
    help: "Texts by why they ended: stop, length, abort.",
};
static FIRST_TOKEN: Metric =
    metric(Kind::Histogram, "vllm:time_to_first_token_seconds", "Time from a request to its first token.");
static TOKEN_INTERVAL: Metric = metric(
    Kind::Histogram,
    "vllm:request_time_per_output_token_seconds",
    "Time between a token and the next, on average over each request.",
);
static REQUEST: Metric =
    metric(Kind::Histogram, "vllm:e2e_request_latency_seconds", "Time from a request to its whole answer.");
static QUEUE: Metric =
    metric(Kind::Histogram, "vllm:request_queue_time_seconds", "The part of it before anything was computed.");

/// All of them, for the documentation.
#[cfg(test)]
pub(in crate::metrics) static ALL: &[&Metric] = &[
    &RUNNING,
    &WAITING,
    &PREEMPTIONS,
    &PROMPT_TOKENS,
    &GENERATED,
    &PREFIX_QUERIES,
    &PREFIX_HITS,
    &SUCCESS,
    &FIRST_TOKEN,
    &TOKEN_INTERVAL,
    &REQUEST,
    &QUEUE,
];

/// Writes all of them.
pub(in crate::metrics) fn write(exposition: &mut Exposition, figures: &ServingFigures, versions: &Versions<'_>) {
    let mut now = |metric: &'static Metric, value: fn(&TextStatistics) -> u64| {
        exposition.family(metric, |family| {
            figures.texts.iter().for_each(|(model_id, text)| family.sample(&[model_id, ENGINE], value(text)));
        });
    };
    now(&RUNNING, |text| text.running);
    now(&WAITING, |text| text.queued);
    now(&PREEMPTIONS, |text| text.preemptions);
    let mut count = |metric: &'static Metric, value: fn(&TokenStatistics) -> u64| {
        exposition.family(metric, |family| {
            let versions = versions.with_texts();
            versions.for_each(|(version, tokens)| family.sample(&[version.model_id, ENGINE], value(tokens)));
        });
    };
    count(&PROMPT_TOKENS, |tokens| tokens.prompt);
    count(&GENERATED, |tokens| tokens.generated);
    count(&PREFIX_QUERIES, |tokens| tokens.prompt);
    count(&PREFIX_HITS, |tokens| tokens.cached);
    exposition.family(&SUCCESS, |family| {
        for (version, TokenStatistics { finished, .. }) in versions.with_texts() {
            for (reason, count) in [("stop", finished.stop), ("length", finished.length), ("abort", finished.cancelled)]
            {
                family.sample(&[version.model_id, ENGINE, reason], count);
            }
        }
    });
    let mut times = |metric: &'static Metric, values: TimesOf| {
        exposition.family(metric, |family| {
            let versions = versions.with_texts();
            versions.for_each(|(version, tokens)| {
                family.histogram(&[version.model_id, ENGINE], values(version.counted, tokens));
            });
        });
    };
    times(&FIRST_TOKEN, |_, tokens| &tokens.first_token_seconds);
    times(&TOKEN_INTERVAL, |_, tokens| &tokens.per_token_seconds);
    times(&REQUEST, |counted, _| &counted.request_seconds);
    times(&QUEUE, |counted, _| &counted.queue_seconds);
}

type TimesOf = for<'s> fn(&'s VersionStatistics, &'s TokenStatistics) -> &'s Distribution;
