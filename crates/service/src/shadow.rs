//! Shadows: copies of requests that another version computes, after they were answered. Nobody waits for them, and nothing that becomes of
//! them reaches a caller; they are compared, counted and dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seedhouse_core::{Entry, ModelId, Result};
use seedhouse_engine::{
    Cancel, Cell, ChosenToken, Continuation, Embedding, ImageInput, Patience, Prompt, RowOutcome, SlotOptions,
    TokenLogprob, Values,
};

use crate::batch::{BatchInput, BatchOutput, guarded};
use crate::infer::slot_key;
use crate::trial::Counters;
use crate::{Service, Stop};

/// The most copies that wait, and their bytes together; further ones are dropped.
const MOST_WAITING: usize = 64;
const MOST_BYTES: usize = 64 << 20;

/// How long a copy may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a worker looks whether it shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A request, what was answered, and by which version it is computed again.
pub(crate) struct CopiedRequest {
    /// The version that answered.
    pub(crate) own: Entry,
    /// The shadow.
    pub(crate) model_id: ModelId,
    pub(crate) counters: Arc<Counters>,
    pub(crate) request: BatchInput,
    pub(crate) answer: BatchOutput,
}

/// Copies that wait for a worker of this process.
#[derive(Default)]
pub(crate) struct Shadows {
    queue: Mutex<Queue>,
    came: Condvar,
}

#[derive(Default)]
struct Queue {
    /// How many threads take copies; without one nothing is kept.
    workers: usize,
    copies: VecDeque<(usize, CopiedRequest)>,
    bytes: usize,
}

impl Shadows {
    /// Returns whether a copy would find a worker.
    pub(crate) fn has_workers(&self) -> bool {
        self.lock().workers > 0
    }

    /// Returns whether a small copy would find room.
    pub(crate) fn has_room(&self) -> bool {
        let queue = self.lock();
        queue.copies.len() < MOST_WAITING && queue.bytes < MOST_BYTES
    }

    /// Keeps a copy for a worker, or drops it where too many wait.
    pub(crate) fn put(&self, copy: CopiedRequest) {
        let bytes = size(&copy.request) + answer_size(&copy.answer);
        let mut queue = self.lock();
        if queue.copies.len() >= MOST_WAITING || queue.bytes + bytes > MOST_BYTES {
            drop(queue);
            return copy.counters.dropped();
        }
        queue.bytes += bytes;
        queue.copies.push_back((bytes, copy));
        drop(queue);
        self.came.notify_one();
    }

    fn next(&self, stop: &Stop) -> Option<CopiedRequest> {
        let mut queue = self.lock();
        while !stop.is_set() {
            if let Some((bytes, copy)) = queue.copies.pop_front() {
                queue.bytes -= bytes;
                return Some(copy);
            }
            queue = self.came.wait_timeout(queue, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    /// A copy is put here whole or not at all.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns about how many bytes a request takes.
fn size(request: &BatchInput) -> usize {
    match request {
        BatchInput::Parameters(request) => {
            request.parameters.iter().map(|(name, _)| size_of::<(String, f64)>() + name.len()).sum()
        }
        BatchInput::Row(request) => {
            let text = |cell: &Cell| match cell {
                Cell::Text(text) | Cell::Untyped(text) => text.len(),
                Cell::Number(_) | Cell::Bool(_) | Cell::Missing | Cell::Other(_) => 0,
            };
            let cell = |(name, cell): &(String, Cell)| size_of::<(String, Cell)>() + name.len() + text(cell);
            request.rows.iter().flat_map(|row| &row.0).map(cell).sum()
        }
        BatchInput::Text(request) => match &request.prompt {
            Prompt::Text(text) => text.len(),
            Prompt::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
        },
        BatchInput::Image(request) => match &request.image {
            ImageInput::Encoded(bytes) => bytes.len(),
            ImageInput::Pixels(pixels) => pixels.bytes(),
        },
        BatchInput::Sentences(request) => request.texts.iter().map(|text| size_of::<String>() + text.len()).sum(),
        BatchInput::Tensors(request) => {
            let bytes = |values: &Values| match values {
                Values::Whole(values) => values.len() * 8,
                Values::Fractional(values) => values.len() * 8,
                Values::Bool(values) => values.len(),
            };
            request.inputs.iter().map(|(name, numbers)| name.len() + bytes(&numbers.values)).sum()
        }
    }
}

/// Returns about how many bytes an answer takes. Names that answers share do not count.
fn answer_size(answer: &BatchOutput) -> usize {
    match answer {
        BatchOutput::Text(answer) => {
            let one = |answer: &Continuation| {
                let token = |token: &TokenLogprob| size_of::<TokenLogprob>() + token.bytes.len();
                let chosen = |chosen: &ChosenToken| {
                    size_of::<ChosenToken>() + chosen.chosen.bytes.len() + chosen.top.iter().map(token).sum::<usize>()
                };
                let chosen = answer.logprobs.iter().map(chosen);
                answer.text.len() + size_of_val(&answer.token_ids[..]) + chosen.sum::<usize>()
            };
            answer.answers.iter().map(one).sum()
        }
        BatchOutput::Image(answer) => size_of_val(&answer.predictions[..]),
        BatchOutput::Embeddings(answer) => {
            let one = |one: &Embedding| size_of::<Embedding>() + size_of_val(&one.vector[..]);
            answer.embeddings.iter().map(one).sum()
        }
        BatchOutput::Row(answer) => {
            let results = match &answer.outcome {
                RowOutcome::Classes(ranked) => size_of_val(&ranked[..]),
                RowOutcome::Targets(targets) => size_of_val(&targets[..]),
            };
            results + size_of_val(&answer.missing[..]) + size_of_val(&answer.out_of_range[..])
        }
        BatchOutput::Tensors(answer) => {
            // The widest values have 8 bytes.
            answer.outputs.iter().map(|(name, tensor)| name.len() + tensor.data.len() * 8).sum()
        }
        BatchOutput::Solution(answer) => {
            let solution = &answer.solution;
            let values = size_of_val(&solution.variables[..]) + size_of_val(&solution.constraints[..]);
            values + size_of_val(&answer.parameters[..]) + size_of_val(&solution.conflicts[..])
        }
    }
}

impl Service {
    /// Computes copies of requests until the service stops. A process has as many shadows at work as it has threads in here.
    pub fn work_on_shadows(&self) {
        self.shadows.lock().workers += 1;
        while let Some(copy) = self.shadows.next(&self.stop) {
            match guarded("a copy", || self.compute_copy(&copy)) {
                Ok(answer) => {
                    copy.counters.answered();
                    copy.counters.compared(is_same(&copy.answer, &answer));
                }
                Err(error) => {
                    copy.counters.failed();
                    let shadow = copy.model_id.as_str();
                    let own = copy.own.record.model_id.as_str();
                    tracing::warn!(model.id = own, shadow, code = error.code().as_str(), %error, "a shadow failed");
                }
            }
        }
        self.shadows.lock().workers -= 1;
    }

    /// The version that answers callers is not unloaded for a shadow.
    fn compute_copy(&self, copy: &CopiedRequest) -> Result<BatchOutput> {
        let entry = self.tried_version(&copy.model_id)?;
        let _held = self.engine.hold(&slot_key(&copy.own));
        let patience = Patience::new(Some(PATIENCE), Cancel::default());
        let options = SlotOptions { deadline: patience.deadline(), beside_held: true };
        let slot = self.slot(&entry, "shadow inference", options)?;
        copy.request.compute(&slot, &patience)
    }
}

/// Returns whether two versions said the same: the same texts, the same best class, the same tensors.
fn is_same(one: &BatchOutput, other: &BatchOutput) -> bool {
    match (one, other) {
        (BatchOutput::Text(one), BatchOutput::Text(other)) => {
            one.answers.iter().map(|answer| &answer.text).eq(other.answers.iter().map(|answer| &answer.text))
        }
        (BatchOutput::Image(one), BatchOutput::Image(other)) => {
            let best = |answer: &seedhouse_engine::Classification| answer.predictions.first().map(|best| best.class_id);
            best(one) == best(other)
        }
        (BatchOutput::Embeddings(one), BatchOutput::Embeddings(other)) => one.embeddings == other.embeddings,
        (BatchOutput::Row(one), BatchOutput::Row(other)) => one.outcome == other.outcome,
        (BatchOutput::Tensors(one), BatchOutput::Tensors(other)) => one.outputs == other.outputs,
        (BatchOutput::Solution(one), BatchOutput::Solution(other)) => one.solution == other.solution,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use seedhouse_core::runtime::Tensor;
    use seedhouse_engine::{EmbedRequest, Embeddings, Row, RowAnswer, SolveRequest, TabularRequest, TensorOutputs};

    use super::*;

    #[test]
    fn copies_were_counted_without_their_answers_and_without_their_texts() {
        let text = || "x".repeat(1000);
        let row = Row(vec![(text(), Cell::Text(text())), (text(), Cell::Untyped(text()))]);
        let row = BatchInput::Row(TabularRequest { rows: vec![row], ..TabularRequest::default() });
        assert!(size(&row) > 4000);
        let parameters = SolveRequest { parameters: vec![(text(), 1.0)], ..SolveRequest::default() };
        assert!(size(&BatchInput::Parameters(parameters)) > 1000);
        let sentences = EmbedRequest { texts: vec![String::new(); 100], ..EmbedRequest::default() };
        assert!(size(&BatchInput::Sentences(sentences)) >= 2400, "an empty text takes room, too");
        let embedding = Embedding { vector: vec![0.0; 1000], tokens: 1, truncated: false };
        let embeddings =
            Embeddings { embeddings: vec![embedding; 2], dimensions: 1000, queue_seconds: 0.0, seconds: 0.0 };
        assert!(answer_size(&BatchOutput::Embeddings(embeddings)) > 8000);
        let tensor = Tensor::new(vec![1000], vec![0.0_f32; 1000]);
        let outputs = TensorOutputs { outputs: vec![("y".into(), tensor)], queue_seconds: 0.0, seconds: 0.0 };
        assert!(answer_size(&BatchOutput::Tensors(outputs)) > 4000);
        let outcome = RowOutcome::Targets(vec![("y".into(), 1.0); 100]);
        let row = RowAnswer { outcome, missing: Vec::new(), out_of_range: Vec::new() };
        assert!(answer_size(&BatchOutput::Row(row)) > 1000);
    }

    #[test]
    fn copies_were_made_before_anybody_looked_for_room() {
        let shadows = Shadows::default();
        assert!(shadows.has_room());
        shadows.lock().bytes = MOST_BYTES;
        assert!(!shadows.has_room());
    }
}
