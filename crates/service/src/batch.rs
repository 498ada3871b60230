//! Several inputs for one version in one request: each has its own answer or error.
//!
//! The inputs are computed by a few threads as if each were a caller of its own, so that the language model's scheduler and the queue
//! of any other model put them together with each other and with what others ask.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use seedhouse_core::{Error, Reference, Result, panic_text};
use seedhouse_engine::{
    Classification, ClassifyRequest, EmbedRequest, Embeddings, GenerateRequest, Generation, Patience, PredictRequest,
    RowAnswer, Slot, SolveRequest, Solved, TabularRequest, TensorOutputs,
};

use crate::Service;
use crate::infer::{Answer, generate_within};
use crate::solve::solve_within;

/// The most inputs of one request.
const MOST_INPUTS: usize = 4096;

/// The most threads of one request; more inputs at once do not make it faster.
const MOST_AT_ONCE: usize = 16;

/// One of several inputs.
#[derive(Debug, Clone)]
pub enum BatchInput {
    /// For a language model.
    Text(Box<GenerateRequest>),
    /// For a model that classifies images.
    Image(ClassifyRequest),
    /// For a sentence encoder.
    Sentences(EmbedRequest),
    /// One row, for a model of tables.
    Row(TabularRequest),
    /// For any model that takes tensors.
    Tensors(PredictRequest),
    /// For a problem of optimisation.
    Parameters(SolveRequest),
}

/// What came of one.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchOutput {
    /// Text.
    Text(Generation),
    /// Classes.
    Image(Classification),
    /// Vectors of texts.
    Embeddings(Embeddings),
    /// A class or targets.
    Row(RowAnswer),
    /// Tensors.
    Tensors(TensorOutputs),
    /// A solution.
    Solution(Solved),
}

/// An answer or an error, and how long it took.
#[derive(Debug, Clone)]
pub struct BatchItem {
    /// What came of it.
    pub result: Result<BatchOutput>,
    /// From the moment when its turn came.
    pub seconds: f64,
}

/// Several inputs.
pub struct Batch<'b> {
    /// How many there are.
    pub count: usize,
    /// How many are computed at once, as far as that makes sense.
    pub at_once: usize,
    /// Reads one of them, by its place, for a version that takes this. An error is that input's alone.
    pub decode: &'b (dyn Fn(usize, &Slot) -> Result<BatchInput> + Sync),
}

impl Service {
    /// Computes several inputs with one version; each has its own answer or error, in their order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no inputs or more than 4096, and where none or more than 4096 are to be computed at once; those that concern
    /// the version: it is unknown, cannot be served or cannot be loaded.
    pub fn infer_batch(
        &self,
        reference: &Reference,
        batch: &Batch<'_>,
        patience: &Patience,
    ) -> Result<Answer<Vec<BatchItem>>> {
        batch.check()?;
        self.infer(reference, "batch inference", patience.deadline(), |slot| Ok(batch.compute(slot, patience)))
    }
}

impl BatchInput {
    /// Computes it with a version.
    pub(crate) fn compute(&self, slot: &Slot, patience: &Patience) -> Result<BatchOutput> {
        match self {
            BatchInput::Text(request) => generate_within(slot, request, patience).map(BatchOutput::Text),
            BatchInput::Image(request) => slot.classify(request, patience).map(BatchOutput::Image),
            BatchInput::Sentences(request) => slot.embed(request, patience).map(BatchOutput::Embeddings),
            BatchInput::Row(request) => slot.predict_rows(request, patience)?.only().cloned().map(BatchOutput::Row),
            BatchInput::Tensors(request) => slot.predict(request, patience).map(BatchOutput::Tensors),
            BatchInput::Parameters(request) => solve_within(slot, request, patience).map(BatchOutput::Solution),
        }
    }
}

impl Batch<'_> {
    fn check(&self) -> Result<()> {
        for (field, number) in [("inputs", self.count), ("batch_size", self.at_once)] {
            if !(1..=MOST_INPUTS).contains(&number) {
                return Err(Error::invalid(field, number, format!("must be from 1 to {MOST_INPUTS}")));
            }
        }
        Ok(())
    }

    fn compute(&self, slot: &Slot, patience: &Patience) -> Vec<BatchItem> {
        let next = AtomicUsize::new(0);
        let span = tracing::Span::current();
        let work = || {
            let _inside = span.enter();
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= self.count {
                    return done;
                }
                done.push((index, self.compute_one(index, slot, patience)));
            }
        };
        let threads = self.at_once.clamp(1, MOST_AT_ONCE).min(self.count);
        let mut done: Vec<(usize, BatchItem)> = thread::scope(|scope| {
            let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let others = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
            own.into_iter().chain(others.flatten()).collect()
        });
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, item)| item).collect()
    }

    fn compute_one(&self, index: usize, slot: &Slot, patience: &Patience) -> BatchItem {
        let started = Instant::now();
        let input = || patience.check(slot.model_id()).and_then(|()| (self.decode)(index, slot));
        let result = guarded("an input", || input()?.compute(slot, patience));
        BatchItem { result, seconds: started.elapsed().as_secs_f64() }
    }
}

/// Turns a panic into the error of what is computed: the thread goes on with the next.
pub(crate) fn guarded<T>(what: &str, compute: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(compute))
        .unwrap_or_else(|panic| Err(Error::Internal(format!("computing {what} panicked: {}", panic_text(&*panic)))))
}

#[cfg(test)]
mod tests;
