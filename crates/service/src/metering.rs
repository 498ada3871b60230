//! What an inference took: every answer passes here, and is counted under its version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use seedhouse_core::runtime::PlanStatistics;
use seedhouse_core::{Entry, Error, JobState, Reference, Result};
use seedhouse_engine::statistics::{
    Failures, Request, ShortFigures, TokenUsage, Usage, VersionCounters, VersionName, VersionStatistics,
};
use seedhouse_engine::{
    BatchStatistics, Classification, Drawing, Embeddings, FinishReason, GenerateRequest, Generation, ImageFeatures,
    MemoryReport, Prompt, Solved, TabularAnswer, TensorOutputs, TextStatistics,
};

use tracing::Span;
use tracing::field::Empty;

use crate::batch::{BatchItem, BatchOutput};
use crate::trial::blames_the_version;
use crate::{Computed, Service};

/// An answer that can say what it took.
pub(crate) trait Measured {
    /// Returns how many things were answered, how long they waited inside the slot, and tokens.
    fn usage(&self) -> Usage {
        Usage { items: 1, ..Usage::default() }
    }

    /// Returns the errors of items that are the version's own fault. An answer about several items has them inside.
    fn faults(&self) -> Vec<&Error> {
        Vec::new()
    }
}

fn faults<'e>(errors: impl Iterator<Item = &'e Error>) -> Vec<&'e Error> {
    errors.filter(|error| blames_the_version(error.code())).collect()
}

/// Returns what things took that were computed without tokens.
fn computed(items: usize, queue_seconds: f64) -> Usage {
    Usage { items: items as u64, queued: duration(queue_seconds), tokens: None }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

impl Measured for Classification {
    fn usage(&self) -> Usage {
        computed(1, self.queue_seconds)
    }
}

impl Measured for TensorOutputs {
    fn usage(&self) -> Usage {
        computed(1, self.queue_seconds)
    }
}

impl Measured for Vec<Classification> {
    /// Images of one request wait together.
    fn usage(&self) -> Usage {
        computed(self.len(), self.first().map_or(0.0, |first| first.queue_seconds))
    }
}

impl Measured for ImageFeatures {
    fn usage(&self) -> Usage {
        computed(self.vectors.len(), self.queue_seconds)
    }
}

impl Measured for TabularAnswer {
    /// Only rows that were answered count as answered.
    fn usage(&self) -> Usage {
        computed(self.rows.iter().filter(|row| row.is_ok()).count(), self.queue_seconds)
    }

    fn faults(&self) -> Vec<&Error> {
        faults(self.rows.iter().filter_map(|row| row.as_ref().err()))
    }
}

impl Measured for Drawing {
    fn usage(&self) -> Usage {
        computed(self.images.len(), self.queue_seconds)
    }
}

impl Measured for Embeddings {
    fn usage(&self) -> Usage {
        let prompt = self.embeddings.iter().map(|embedding| embedding.tokens as u64).sum();
        let tokens = TokenUsage { prompt, ..TokenUsage::default() };
        Usage { tokens: Some(tokens), ..computed(self.embeddings.len(), self.queue_seconds) }
    }
}

impl Measured for Generation {
    fn usage(&self) -> Usage {
        let finishes: Vec<FinishReason> = self.answers.iter().map(|answer| answer.finish).collect();
        let whole = self.prompt_seconds + self.decode_seconds;
        // Of what a caller broke off it is not known when it began.
        let is_timed = self.new_tokens() > 0 && finishes.iter().any(|finish| *finish != FinishReason::Cancelled);
        let tokens = TokenUsage {
            prompt: self.prompt_tokens as u64,
            cached: self.cached_tokens as u64,
            generated: self.new_tokens() as u64,
            first: is_timed.then(|| duration(self.first_token_seconds)),
            rest: is_timed.then(|| duration(whole - self.first_token_seconds)),
            finishes,
        };
        Usage { items: self.answers.len() as u64, queued: duration(self.queue_seconds), tokens: Some(tokens) }
    }
}

impl Measured for Solved {}

impl Measured for Computed {
    fn usage(&self) -> Usage {
        match self {
            Computed::Tensors(outputs) => outputs.usage(),
            Computed::Rows(rows) => rows.usage(),
            Computed::Solution(solved) => solved.usage(),
        }
    }
}

impl Measured for Vec<BatchItem> {
    /// Only inputs that were answered count as answered. They wait beside one another, so that the time of one tells nothing of the
    /// request's.
    fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        for output in self.iter().filter_map(|item| item.result.as_ref().ok()) {
            sum.items += 1;
            let tokens = match output {
                BatchOutput::Text(generation) => generation.usage().tokens,
                BatchOutput::Embeddings(embeddings) => embeddings.usage().tokens,
                BatchOutput::Image(_) | BatchOutput::Row(_) | BatchOutput::Tensors(_) | BatchOutput::Solution(_) => {
                    None
                }
            };
            if let Some(tokens) = tokens {
                sum.tokens.get_or_insert_default().join(tokens);
            }
        }
        sum
    }

    fn faults(&self) -> Vec<&Error> {
        faults(self.iter().filter_map(|item| item.result.as_ref().err()))
    }
}

/// Returns how a version is named in statistics.
fn version_name(entry: &Entry) -> VersionName {
    VersionName {
        model_id: entry.record.model_id.clone(),
        base: entry.base.clone(),
        version: entry.record.version.clone(),
        ordinal: entry.ordinal,
    }
}

/// The target of spans that are for traces and not for logs: their fields have the names of OpenTelemetry's conventions.
pub const TRACES: &str = "seedhouse_traces";

/// What is counted in a server.
#[derive(Debug, Clone)]
pub struct ServingFigures {
    /// What versions were asked, by id.
    pub versions: Vec<VersionStatistics>,
    /// Requests that failed before it was known which version they are about.
    pub unresolved: Failures,
    /// What the loaded language models do, by id.
    pub texts: Vec<(String, TextStatistics)>,
    /// What the queues of the other loaded models do, by id.
    pub queues: Vec<(String, BatchStatistics)>,
    /// What is loaded.
    pub memory: MemoryReport,
    /// What came of plans; nothing when the disk cannot be read.
    pub plans: Option<PlanStatistics>,
    /// How many versions there are; nothing when the metadata store cannot be asked.
    pub registered_versions: Option<u64>,
    /// Jobs by state; nothing when their store cannot be asked.
    pub jobs: Option<BTreeMap<JobState, u64>>,
}

/// Returns what could be read. The other figures are wanted most while a part of the server does not work.
fn readable<T>(what: &str, figures: Result<T>) -> Option<T> {
    let warn = |error: &Error| {
        tracing::warn!(what, error = error as &dyn std::error::Error, "metrics are left out that cannot be read");
    };
    figures.inspect_err(warn).ok()
}

/// An inference in progress.
pub(crate) struct Metered {
    request: Request,
    span: Span,
    /// Until the version was loaded and the request had it.
    waited: Duration,
}

impl Metered {
    /// Notes that the version is loaded.
    pub(crate) fn has_slot(&mut self) {
        self.waited = self.request.elapsed();
    }

    /// Counts how it ended.
    pub(crate) fn end(self, result: Result<&impl Measured, &Error>) {
        match result {
            Ok(answer) => {
                let mut usage = answer.usage();
                record(&self.span, &usage);
                usage.queued += self.waited;
                if let Some(first) = usage.tokens.as_mut().and_then(|tokens| tokens.first.as_mut()) {
                    *first += self.waited;
                }
                self.request.succeed(&usage);
            }
            Err(error) => {
                self.span.record("error.type", error.code().as_str());
                self.request.fail(error.code());
            }
        }
    }

    /// Returns the span of the inference.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }
}

fn record(span: &Span, usage: &Usage) {
    let Some(tokens) = &usage.tokens else { return };
    span.record("gen_ai.usage.input_tokens", tokens.prompt);
    // Vectors are made of tokens, but none are chosen.
    if tokens.finishes.is_empty() {
        return;
    }
    let reasons: Vec<&str> = tokens.finishes.iter().map(|finish| finish.as_str()).collect();
    span.record("gen_ai.usage.output_tokens", tokens.generated);
    span.record("gen_ai.response.finish_reasons", reasons.join(","));
}

/// Returns the conventions' word for a task; where they have none, ours.
fn operation(task: &str) -> String {
    match task {
        "text generation" => "text_completion".to_owned(),
        "sentence embedding" => "embeddings".to_owned(),
        other => other.replace(' ', "_"),
    }
}

/// Tells the span of the inference that it is within what is asked of a language model.
pub(crate) fn describe_text(reference: &Reference, request: &GenerateRequest) {
    let span = Span::current();
    if matches!(request.prompt, Prompt::Chat(_)) {
        span.record("otel.name", format!("chat {reference}"));
        span.record("gen_ai.operation.name", "chat");
    }
    span.record("gen_ai.request.max_tokens", request.max_new_tokens);
    if request.answers != 1 {
        span.record("gen_ai.request.choice.count", request.answers);
    }
}

/// Returns the span of an inference, with the names of OpenTelemetry's conventions for generative models.
fn inference_span(reference: &Reference, entry: &Entry, task: &'static str) -> Span {
    tracing::info_span!(
        target: TRACES,
        "inference",
        otel.name = format!("{} {reference}", operation(task)),
        gen_ai.operation.name = operation(task),
        gen_ai.provider.name = "seedhouse",
        gen_ai.request.model = reference.to_string(),
        gen_ai.response.model = entry.record.model_id.as_str(),
        gen_ai.request.max_tokens = Empty,
        gen_ai.request.choice.count = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.response.finish_reasons = Empty,
        error.type = Empty,
    )
}

impl Service {
    /// Begins to count an inference.
    pub(crate) fn meter(&self, reference: &Reference, entry: &Entry, task: &'static str) -> Metered {
        let span = inference_span(reference, entry, task);
        Metered { request: self.counters_of(entry).begin(), span, waited: Duration::ZERO }
    }

    /// Counts an inference whose reference names no version.
    pub(crate) fn count_unresolved(&self, error: &Error) {
        self.engine.statistics().count_unresolved(error.code());
    }

    pub(crate) fn counters_of(&self, entry: &Entry) -> Arc<VersionCounters> {
        self.engine.statistics().of(&entry.record.model_id, || version_name(entry))
    }

    /// Returns what a version was asked and how it answered, since the process was started; zeros for one that was never asked.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn statistics_of(&self, reference: &Reference) -> Result<VersionStatistics> {
        let entry = self.store.version(reference)?;
        // Looking at a version that was never asked takes no place from one that was.
        Ok(match self.engine.statistics().find(entry.record.model_id.as_str()) {
            Some(counters) => counters.report(),
            None => VersionStatistics::of_unasked(version_name(&entry)),
        })
    }

    /// Returns the few figures that the original system has, since [`reset_statistics`](Service::reset_statistics); zeros for what
    /// is not there or was never asked.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub fn short_statistics_of(&self, reference: &Reference) -> Result<ShortFigures> {
        match self.store.version(reference) {
            Ok(entry) => {
                let counters = self.engine.statistics().find(entry.record.model_id.as_str());
                Ok(counters.map(|counters| counters.report().since_reset).unwrap_or_default())
            }
            Err(Error::NotFound { .. }) => Ok(ShortFigures::default()),
            Err(error) => Err(error),
        }
    }

    /// Begins the figures of [`short_statistics_of`](Service::short_statistics_of) anew. Everything else is counted on: whoever
    /// collects it takes differences.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn reset_statistics(&self, reference: &Reference) -> Result<Entry> {
        let entry = self.store.version(reference)?;
        if let Some(counters) = self.engine.statistics().find(entry.record.model_id.as_str()) {
            counters.reset();
        }
        Ok(entry)
    }

    /// Does the same for every version.
    pub fn reset_all_statistics(&self) {
        self.engine.statistics().reset_all();
    }

    /// Returns what is counted: everything that a collector of metrics wants to know. What cannot be read is left out, and the log
    /// says why.
    pub fn figures(&self) -> ServingFigures {
        let versions = self.store.statistics().map(|statistics| statistics.total_models);
        ServingFigures {
            versions: self.engine.statistics().report(),
            unresolved: self.engine.statistics().unresolved(),
            texts: self.engine.text_statistics(),
            queues: self.engine.batch_statistics(),
            memory: self.engine.memory(),
            plans: readable("plans", self.engine.plan_statistics()),
            registered_versions: readable("registry", versions),
            jobs: readable("jobs", self.jobs.job_counts()),
        }
    }

    /// Forgets what was counted of versions that were deleted, by this process or another one.
    pub(crate) fn forget_deleted(&self) -> Result<()> {
        let revision = self.store.revision()?;
        // Nothing was deleted where nothing was changed.
        if self.metered_revision.load(Ordering::Relaxed) == revision {
            return Ok(());
        }
        let mut unasked = None;
        self.engine.statistics().retain(|model_id| match self.store.version_even_deleted(model_id) {
            Ok(entry) => entry.record.deleted_at().is_none(),
            Err(Error::NotFound { .. }) => false,
            Err(error) => {
                unasked = Some(error);
                true
            }
        });
        match unasked {
            // What could not be asked is asked again: this revision is not done with.
            Some(error) => Err(error),
            None => {
                self.metered_revision.store(revision, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}
