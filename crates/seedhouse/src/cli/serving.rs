//! Arguments of the server, and of the commands that ask one.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use seedhouse_api::{AllowedHost, AllowedOrigin, MetricsAliases};
use seedhouse_core::Reference;

use crate::language_settings::LanguageArguments;
use crate::lifetime::Lifetime;
use crate::memory_budget::MemoryBudget;
use crate::remote::ServerArguments;
use crate::short_time::short_time;
use crate::telemetry::Collector;

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Address and port; port 0 takes a free one. Beyond loopback only with an active token
    #[arg(long, env = "SEEDHOUSE_LISTEN", default_value = "127.0.0.1:7333")]
    pub(crate) listen: SocketAddr,

    /// The longest JSON body in bytes
    #[arg(long, default_value_t = 64 << 20)]
    pub(crate) max_json_bytes: usize,

    /// The longest upload in bytes
    #[arg(long, default_value_t = 64 << 30)]
    pub(crate) max_upload_bytes: u64,

    /// A further name by which clients may call the server, without a port; may be repeated
    #[arg(long, value_name = "NAME", env = "SEEDHOUSE_ALLOW_HOST", value_delimiter = ',')]
    pub(crate) allow_host: Vec<AllowedHost>,

    /// A web page that may send requests, e.g. `https://example.org`; may be repeated
    #[arg(long, value_name = "URL", env = "SEEDHOUSE_ALLOW_ORIGIN", value_delimiter = ',')]
    pub(crate) allow_origin: Vec<AllowedOrigin>,

    /// The most inference requests at once; the next one is refused
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) max_inference_requests: usize,

    /// The most sequences that a language model advances at once; further requests wait
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    pub(crate) max_running_sequences: usize,

    /// The most requests that wait for a language model; the next one is refused
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub(crate) max_waiting_generations: usize,

    /// The most tokens of prompts that a language model reads before it goes on with everybody's answers
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub(crate) prompt_tokens_per_step: usize,

    /// The most images, texts, or rows of tensors, of different requests that a model computes together; 1 computes every request alone
    #[arg(long, value_name = "ROWS", env = "SEEDHOUSE_MAX_BATCH", default_value_t = 16, value_parser = at_least_one)]
    pub(crate) max_batch: usize,

    /// How long such a request waits for others that it could be computed with, e.g. `5ms`, although the model is free
    #[arg(long, value_name = "TIME", env = "SEEDHOUSE_BATCH_DELAY", default_value = "0ms", value_parser = short_time)]
    pub(crate) batch_delay: Duration,

    /// The most such requests that wait for a model; the next one is refused
    #[arg(long, value_name = "REQUESTS", default_value_t = 256, value_parser = at_least_one)]
    pub(crate) max_waiting_requests: usize,

    /// The most bytes that loaded versions take together, e.g. `2GiB`, `500MB`, or `none`; three quarters of the machine's (or
    /// container's) memory when left out
    #[arg(long, value_name = "SIZE", env = "SEEDHOUSE_MEMORY_BUDGET")]
    pub(crate) memory_budget: Option<MemoryBudget>,

    /// A version that is never unloaded to make room, e.g. `smollm2@champion`; may be repeated
    #[arg(long, value_name = "REFERENCE", env = "SEEDHOUSE_PIN", value_delimiter = ',')]
    pub(crate) pin: Vec<Reference>,

    /// A version that is loaded at the start; may be repeated
    #[arg(long, value_name = "REFERENCE", env = "SEEDHOUSE_PRELOAD", value_delimiter = ',')]
    pub(crate) preload: Vec<Reference>,

    /// Unload a version that nobody asked for this long, e.g. `15m`. Never when left out
    #[arg(long, value_name = "TIME", env = "SEEDHOUSE_UNLOAD_AFTER")]
    pub(crate) unload_after: Option<Lifetime>,

    /// Show `/metrics` to everybody who reaches the server; otherwise it takes a token as soon as there is one
    #[arg(long, env = "SEEDHOUSE_OPEN_METRICS")]
    pub(crate) open_metrics: bool,

    /// Show metrics also under the names of another server, `triton` or `vllm`; may be repeated
    #[arg(long, value_name = "SERVER", env = "SEEDHOUSE_METRICS_ALIASES", value_delimiter = ',')]
    pub(crate) metrics_aliases: Vec<MetricsAliases>,

    /// Send traces to this OpenTelemetry collector (OTLP over HTTP), e.g. `http://127.0.0.1:4318`
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<Collector>,

    /// How long the server still answers after the signal to stop, while `/readyz` says 503, so that load balancers notice first
    #[arg(long, value_name = "TIME", env = "SEEDHOUSE_SHUTDOWN_DELAY")]
    pub(crate) shutdown_delay: Option<Lifetime>,

    /// The most registrations and parts of uploads at once; the next one is refused
    #[arg(long, default_value_t = 32, value_parser = at_least_one)]
    pub(crate) max_uploads: usize,

    /// The most uploads in parts that are open, whether bytes arrive or not; the next one is refused
    #[arg(long, default_value_t = 256, value_parser = at_least_one)]
    pub(crate) max_open_uploads: usize,

    /// How many seconds a client may send nothing of its body, or take nothing of a stream
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) idle_seconds: u64,

    /// How many jobs are done at once, beside one that computes; 0 leaves all of them to other processes
    #[arg(long, default_value_t = 1, value_parser = at_most_workers)]
    pub(crate) job_workers: usize,

    /// How long a job stays with a worker that says nothing, e.g. one that was killed; then another one begins it again
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) job_lease: Lifetime,

    /// Hash every stored file again this often, e.g. `7d`, as a job; the first time at once. Never when left out
    #[arg(long, value_name = "TIME")]
    pub(crate) scrub_every: Option<Lifetime>,

    #[command(flatten)]
    pub(crate) language: LanguageArguments,
}

#[derive(Debug, Args)]
pub(crate) struct PsArguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// `model_id`, `base`, `base/3`, `base:1.0.3`, `base@champion`, `base@sha256:…`
    #[arg(value_name = "MODEL")]
    pub(crate) reference: Reference,

    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Each has a thread of its own.
const MOST_WORKERS: usize = 64;

fn at_most_workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number <= MOST_WORKERS => Ok(number),
        _ => Err(format!("must be a whole number from 0 to {MOST_WORKERS}")),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST_AT_ONCE).contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from 1 to {MOST_AT_ONCE}")),
    }
}

/// Each may hold a thread.
const MOST_AT_ONCE: usize = 10_000;
