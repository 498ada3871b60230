//! Shadows: copies of requests that another version computes, after they were answered. Nobody waits for them, and nothing that becomes of
//! them reaches a caller; they are compared, counted and dropped.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seedhouse_core::{Entry, Error, ModelId, Result, panic_text};
use seedhouse_engine::{Cancel, ImageInput, Patience, Prompt, SlotOptions, Values};

use crate::batch::{BatchInput, BatchOutput};
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

    /// Keeps a copy for a worker, or drops it where too many wait.
    pub(crate) fn put(&self, copy: CopiedRequest) {
        let bytes = size(&copy.request);
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
        BatchInput::Parameters(request) => request.parameters.len() * size_of::<(String, f64)>(),
        BatchInput::Row(request) => {
            request.rows.iter().map(|row| row.0.len() * size_of::<(String, seedhouse_engine::Cell)>()).sum()
        }
        BatchInput::Text(request) => match &request.prompt {
            Prompt::Text(text) => text.len(),
            Prompt::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
        },
        BatchInput::Image(request) => match &request.image {
            ImageInput::Encoded(bytes) => bytes.len(),
            ImageInput::Pixels(pixels) => pixels.bytes(),
        },
        BatchInput::Sentences(request) => request.texts.iter().map(String::len).sum(),
        BatchInput::Tensors(request) => {
            let bytes = |values: &Values| match values {
                Values::Whole(values) => values.len() * 8,
                Values::Fractional(values) => values.len() * 8,
                Values::Bool(values) => values.len(),
            };
            request.inputs.iter().map(|(_, numbers)| bytes(&numbers.values)).sum()
        }
    }
}

impl Service {
    /// Computes copies of requests until the service stops. A process has as many shadows at work as it has threads in here.
    pub fn work_on_shadows(&self) {
        self.shadows.lock().workers += 1;
        while let Some(copy) = self.shadows.next(&self.stop) {
            match guarded(|| self.compute_copy(&copy)) {
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

/// A panic ends one copy, not the thread.
fn guarded<T>(compute: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(compute))
        .unwrap_or_else(|panic| Err(Error::Internal(format!("computing a copy panicked: {}", panic_text(&*panic)))))
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
