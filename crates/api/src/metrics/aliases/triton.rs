//! The names of NVIDIA Triton: `model` is the base, `version` the ordinal, times are in microseconds.

use seedhouse_service::ServingFigures;
use seedhouse_service::core::Code;
use seedhouse_service::statistics::{Distribution, VersionStatistics};

use crate::metrics::collect::Versions;
use crate::metrics::exposition::{Exposition, Family, Kind, Metric};

const LABELS: &[&str] = &["model", "version"];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels: LABELS, help }
}

static SUCCESS: Metric = counter("nv_inference_request_success", "Inferences that were answered.");
static FAILURE: Metric = Metric {
    name: "nv_inference_request_failure",
    kind: Kind::Counter,
    labels: &["model", "version", "reason"],
    help: "Inferences that failed: REJECTED (a queue was full), CANCELED, or OTHER.",
};
static COUNT: Metric = counter("nv_inference_count", "Things that were answered; a batch counts each.");
static EXECUTIONS: Metric =
    counter("nv_inference_exec_count", "Batches that a loaded model computed; of a language model, texts.");
static REQUEST_MICROS: Metric = counter("nv_inference_request_duration_us", "Time of answered inferences, together.");
static QUEUE_MICROS: Metric = counter("nv_inference_queue_duration_us", "Their time before anything was computed.");
static INFER_MICROS: Metric =
    counter("nv_inference_compute_infer_duration_us", "The rest, pre- and post-processing included.");

/// All of them, for the documentation.
#[cfg(test)]
pub(in crate::metrics) static ALL: &[&Metric] =
    &[&SUCCESS, &FAILURE, &COUNT, &EXECUTIONS, &REQUEST_MICROS, &QUEUE_MICROS, &INFER_MICROS];

/// Writes all of them.
pub(in crate::metrics) fn write(exposition: &mut Exposition, figures: &ServingFigures, versions: &Versions<'_>) {
    let labelled: Vec<(String, &VersionStatistics, &str)> = versions
        .iter()
        .map(|version| (version.counted.name.ordinal.to_string(), version.counted, version.base))
        .collect();
    let mut each = |metric: &'static Metric, value: fn(&VersionStatistics) -> u64| {
        exposition.family(metric, |family| {
            labelled.iter().for_each(|(ordinal, counted, base)| family.sample(&[base, ordinal], value(counted)));
        });
    };
    each(&SUCCESS, |counted| counted.succeeded);
    each(&COUNT, |counted| counted.items);
    each(&REQUEST_MICROS, |counted| micros(&counted.request_seconds));
    each(&QUEUE_MICROS, |counted| micros(&counted.queue_seconds));
    each(&INFER_MICROS, |counted| micros(&counted.compute_seconds));
    exposition.family(&EXECUTIONS, |family| {
        for (ordinal, counted, base) in &labelled {
            let queue = figures.queues.iter().find(|(id, _)| *id == counted.name.model_id.as_str());
            let texts = counted.tokens.as_ref().filter(|tokens| tokens.finished.total() > 0);
            let executions = queue.map(|(_, queue)| queue.batches).or(texts.map(|_| counted.succeeded));
            executions.into_iter().for_each(|executions| family.sample(&[base, ordinal], executions));
        }
    });
    exposition.family(&FAILURE, |family| {
        labelled.iter().for_each(|(ordinal, counted, base)| failures(family, base, ordinal, counted));
    });
}

fn failures(family: &mut Family<'_>, base: &str, ordinal: &str, counted: &VersionStatistics) {
    let (rejected, cancelled) = (counted.failed.of(Code::Exhausted), counted.failed.of(Code::Cancelled));
    let other = counted.failed.total() - rejected - cancelled;
    for (reason, count) in [("REJECTED", rejected), ("CANCELED", cancelled), ("OTHER", other)] {
        family.sample(&[base, ordinal, reason], count);
    }
}

fn micros(seconds: &Distribution) -> u64 {
    (seconds.sum * 1e6).round() as u64
}
