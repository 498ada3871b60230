//! Inference: resolve the reference, load the version if it is cold, compute, and name what answered.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{LoadOptions, LocalFiles};
use seedhouse_core::{Digest, Entry, Error, ModelId, Reference, Result, Selector, TrialKind, Version};
use seedhouse_engine::{
    Classification, ClassifyRequest, Drawing, DrawingProgress, EmbedRequest, Embeddings, FinishReason, GenerateRequest,
    Generation, ImageFeatures, ImageInput, ImagineRequest, Lease, LoadRequest, Patience, Piece, PredictRequest, Slot,
    SlotOptions, TabularAnswer, TabularRequest, TensorOutputs,
};
use serde_json::json;

use crate::Service;
use crate::batch::{BatchInput, BatchOutput};
use crate::metering::{Measured, describe_text};
use crate::shadow::CopiedRequest;
use crate::trial::{CanaryPart, Counters, blames_the_version};

/// A result and the version that gave it.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The version that answered.
    pub model_id: ModelId,
    /// Its label.
    pub version: Version,
    /// The digest of its manifest.
    pub digest: Digest,
    /// What computed it, e.g. `native` or `onnxruntime 1.32.0`.
    pub runtime: String,
    /// How long the version took to load when it was loaded, be it for this answer or an earlier one: verification, mapping
    /// and checks.
    pub load_seconds: f64,
    /// What a canary had to do with it, where the request was drawn for one.
    pub canary: Option<CanaryPart>,
    /// What it answered.
    pub value: T,
}

/// What is asked of which version, apart from how it is computed.
pub(crate) struct Call<'c, T> {
    pub(crate) reference: &'c Reference,
    pub(crate) task: &'static str,
    pub(crate) deadline: Option<Instant>,
    /// Whether another version may still begin anew.
    pub(crate) may_repeat: &'c dyn Fn() -> bool,
    /// The request with its answer, for a shadow; what has none is not shadowed.
    pub(crate) copy: Option<&'c CopyOf<'c, T>>,
}

pub(crate) type CopyOf<'c, T> = dyn Fn(&T) -> Option<(BatchInput, BatchOutput)> + 'c;

impl<'c, T> Call<'c, T> {
    pub(crate) fn new(reference: &'c Reference, task: &'static str, deadline: Option<Instant>) -> Call<'c, T> {
        Call { reference, task, deadline, may_repeat: &|| true, copy: None }
    }
}

impl<T> Answer<T> {
    /// Returns another value that the same version gave.
    pub fn with<U>(&self, value: U) -> Answer<U> {
        Answer {
            model_id: self.model_id.clone(),
            version: self.version.clone(),
            digest: self.digest,
            load_seconds: self.load_seconds,
            runtime: self.runtime.clone(),
            canary: self.canary.clone(),
            value,
        }
    }
}

impl Service {
    /// Generates text, calling `on_piece` with each piece as it becomes final; breaking off cancels.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotServable`], [`Error::WrongTask`], [`Error::DigestMismatch`] at the first load,
    /// [`Error::ContextOverflow`], [`Error::Invalid`] parameters, [`Error::Exhausted`] when too many requests wait,
    /// [`Error::DeadlineExceeded`].
    pub fn generate(
        &self,
        reference: &Reference,
        request: &GenerateRequest,
        on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Result<Answer<Generation>> {
        let deadline = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // What a caller has seen cannot be taken back, so another version cannot begin anew.
        let is_told = Cell::new(false);
        let copy = |answer: &Generation| {
            let is_whole = answer.answers.iter().all(|answer| answer.finish != FinishReason::Cancelled);
            is_whole.then(|| (BatchInput::Text(Box::new(request.clone())), BatchOutput::Text(answer.clone())))
        };
        let may_repeat = || !is_told.get();
        let call =
            Call { may_repeat: &may_repeat, copy: Some(&copy), ..Call::new(reference, "text generation", deadline) };
        self.call(&call, |slot| {
            describe_text(reference, request);
            let mut on_piece = |piece: Piece<'_>| {
                is_told.set(is_told.get() || !piece.text.is_empty() || !piece.logprobs.is_empty());
                on_piece(piece)
            };
            match deadline {
                None => slot.generate(request, &mut on_piece),
                // Loading, and waiting for it, was a part of the time.
                Some(deadline) => {
                    let timeout = Some(deadline.saturating_duration_since(Instant::now()));
                    let answer = slot.generate(&GenerateRequest { timeout, ..request.clone() }, &mut on_piece);
                    answer.map_err(|error| with_whole_time(error, request.timeout))
                }
            }
        })
    }

    /// Classifies an image, together with those of others who ask at the same time. Loading, and waiting for it, is a part of the
    /// time that the patience gives.
    ///
    /// # Errors
    /// As [`generate`](Service::generate), [`Error::Malformed`] for an image that is not one, and [`Error::Cancelled`].
    pub fn classify(
        &self,
        reference: &Reference,
        request: &ClassifyRequest,
        patience: &Patience,
    ) -> Result<Answer<Classification>> {
        let copy =
            |answer: &Classification| Some((BatchInput::Image(request.clone()), BatchOutput::Image(answer.clone())));
        let call = Call::new(reference, "image classification", patience.deadline());
        self.call(&Call { copy: Some(&copy), ..call }, |slot| slot.classify(request, patience))
    }

    /// Computes named tensors from named tensors.
    ///
    /// # Errors
    /// As [`classify`](Service::classify); [`Error::Invalid`] names the tensor that does not fit, with both values.
    pub fn predict(
        &self,
        reference: &Reference,
        request: &PredictRequest,
        patience: &Patience,
    ) -> Result<Answer<TensorOutputs>> {
        let copy =
            |answer: &TensorOutputs| Some((BatchInput::Tensors(request.clone()), BatchOutput::Tensors(answer.clone())));
        let call = Call::new(reference, "tensor inference", patience.deadline());
        self.call(&Call { copy: Some(&copy), ..call }, |slot| slot.predict(request, patience))
    }

    /// Classifies rows of named features, or computes their targets, as one batch; each has its own answer or error.
    ///
    /// # Errors
    /// As [`classify`](Service::classify); [`Error::Invalid`] for no rows or too many of them.
    pub fn predict_rows(
        &self,
        reference: &Reference,
        request: &TabularRequest,
        patience: &Patience,
    ) -> Result<Answer<TabularAnswer>> {
        // Of several rows, one alone stands for the request where a shadow is asked, too.
        let copy = |answer: &TabularAnswer| match (&request.rows[..], &answer.rows[..]) {
            ([_], [Ok(row)]) => Some((BatchInput::Row(request.clone()), BatchOutput::Row(row.clone()))),
            _ => None,
        };
        let call = Call::new(reference, "rows of features", patience.deadline());
        self.call(&Call { copy: Some(&copy), ..call }, |slot| slot.predict_rows(request, patience))
    }

    /// Classifies images as one batch.
    ///
    /// # Errors
    /// As [`classify`](Service::classify), and [`Error::Invalid`] for too many images.
    pub fn classify_all(
        &self,
        reference: &Reference,
        images: &[ImageInput],
        top_k: Option<usize>,
        patience: &Patience,
    ) -> Result<Answer<Vec<Classification>>> {
        let deadline = patience.deadline();
        self.infer(reference, "image classification", deadline, |slot| slot.classify_all(images, top_k, patience))
    }

    /// Returns vectors of features of images, computed as one batch.
    ///
    /// # Errors
    /// As [`classify_all`](Service::classify_all).
    pub fn image_features(
        &self,
        reference: &Reference,
        images: &[ImageInput],
        patience: &Patience,
    ) -> Result<Answer<ImageFeatures>> {
        self.infer(reference, "image features", patience.deadline(), |slot| slot.features(images, patience))
    }

    /// Returns vectors of texts. Loading, and waiting for it, is a part of the time that the patience gives.
    ///
    /// # Errors
    /// As [`generate`](Service::generate), [`Error::Invalid`] for too many or too long texts, with both values, and
    /// [`Error::Cancelled`].
    pub fn embed(
        &self,
        reference: &Reference,
        request: &EmbedRequest,
        patience: &Patience,
    ) -> Result<Answer<Embeddings>> {
        let copy = |answer: &Embeddings| {
            Some((BatchInput::Sentences(request.clone()), BatchOutput::Embeddings(answer.clone())))
        };
        let call = Call::new(reference, "sentence embedding", patience.deadline());
        self.call(&Call { copy: Some(&copy), ..call }, |slot| slot.embed(request, patience))
    }

    /// Draws images, calling `on_step` after each step; breaking off cancels. Where a canary fails, steps begin anew.
    ///
    /// # Errors
    /// As [`generate`](Service::generate); [`Error::Cancelled`] when it was broken off.
    pub fn imagine(
        &self,
        reference: &Reference,
        request: &ImagineRequest,
        on_step: &mut dyn FnMut(DrawingProgress<'_>) -> ControlFlow<()>,
    ) -> Result<Answer<Drawing>> {
        let deadline = request.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.infer(reference, "image generation", deadline, |slot| match deadline {
            None => slot.imagine(request, on_step),
            // Loading, and waiting for it, was a part of the time.
            Some(deadline) => {
                let timeout = Some(deadline.saturating_duration_since(Instant::now()));
                let answer = slot.imagine(&ImagineRequest { timeout, ..request.clone() }, on_step);
                answer.map_err(|error| with_whole_time(error, request.timeout))
            }
        })
    }

    /// Computes with the version that a reference names, or a canary of it. Where a canary fails, `compute` runs once more.
    pub(crate) fn infer<T: Measured>(
        &self,
        reference: &Reference,
        task: &'static str,
        deadline: Option<Instant>,
        compute: impl FnMut(&Slot) -> Result<T>,
    ) -> Result<Answer<T>> {
        self.call(&Call::new(reference, task, deadline), compute)
    }

    pub(crate) fn call<T: Measured>(
        &self,
        call: &Call<'_, T>,
        mut compute: impl FnMut(&Slot) -> Result<T>,
    ) -> Result<Answer<T>> {
        let entry = self.store.version(call.reference).inspect_err(|error| self.count_unresolved(error))?;
        let options = SlotOptions { deadline: call.deadline, ..SlotOptions::default() };
        let Selector::Alias(alias) = &call.reference.selector else {
            return self.answer(&entry, call, options, &mut compute);
        };
        self.served_aliases.note(&entry.base, alias);
        if let Some((canary, counters)) = self.trials.drawn(&entry, alias, TrialKind::Canary) {
            return self.answer_with_canary(&entry, canary, &counters, call, &mut compute);
        }
        let answer = self.answer(&entry, call, options, &mut compute)?;
        if let Some(copy) = call.copy
            && self.shadows.has_workers()
            && let Some((model_id, counters)) = self.trials.drawn(&entry, alias, TrialKind::Shadow)
        {
            // A copy takes as much as the request and its answer: where there is no room, none is made.
            if !self.shadows.has_room() {
                counters.dropped();
            } else if let Some((request, answer)) = copy(&answer.value) {
                self.shadows.put(CopiedRequest { own: entry, model_id, counters, request, answer });
            }
        }
        Ok(answer)
    }

    /// Computes with a canary, and with the alias's own version where the canary gives no answer or faults of its own are inside it.
    ///
    /// Whose fault an error is shows what the own version makes of the request: where it refuses as well, it was the request's, and its
    /// error is the answer.
    fn answer_with_canary<T: Measured>(
        &self,
        own: &Entry,
        canary: ModelId,
        counters: &Counters,
        call: &Call<'_, T>,
        compute: &mut dyn FnMut(&Slot) -> Result<T>,
    ) -> Result<Answer<T>> {
        let tried = self.try_canary(own, &canary, call, compute);
        let tried = tried.map(|answer| Answer { canary: Some(CanaryPart::Answered), ..answer });
        let (code, text) = match &tried {
            Ok(answer) => match answer.value.faults().first() {
                None => {
                    counters.answered();
                    return tried;
                }
                Some(fault) => (fault.code(), fault.to_string()),
            },
            // Nobody waits for the other answer.
            Err(Error::Cancelled) => return tried,
            Err(error) => (error.code(), error.to_string()),
        };
        let failed = || {
            counters.failed();
            let (alias, canary) = (call.reference, canary.as_str());
            tracing::warn!(%alias, canary, code = code.as_str(), error = text, "a canary failed");
        };
        let has_time = call.deadline.is_none_or(|deadline| Instant::now() < deadline);
        if !has_time || !(call.may_repeat)() {
            if blames_the_version(code) {
                failed();
            }
            return tried;
        }
        let options = SlotOptions { deadline: call.deadline, ..SlotOptions::default() };
        match (self.answer(own, call, options, compute), tried) {
            (Err(error), Err(_)) => Err(error),
            // What the canary could answer is more than nothing.
            (Err(_), Ok(answer)) => {
                failed();
                Ok(answer)
            }
            (Ok(own), Ok(answer)) if own.value.faults().len() >= answer.value.faults().len() => {
                counters.answered();
                Ok(answer)
            }
            (Ok(own), _) => {
                failed();
                Ok(Answer { canary: Some(CanaryPart::Failed { model_id: canary.clone(), code }), ..own })
            }
        }
    }

    /// Computes with a canary, for which the alias's own version is not unloaded.
    fn try_canary<T: Measured>(
        &self,
        own: &Entry,
        canary: &ModelId,
        call: &Call<'_, T>,
        compute: &mut dyn FnMut(&Slot) -> Result<T>,
    ) -> Result<Answer<T>> {
        let entry = self.tried_version(canary)?;
        let _held = self.engine.hold(&slot_key(own));
        let options = SlotOptions { deadline: call.deadline.map(halfway), beside_held: true };
        self.answer(&entry, call, options, compute)
    }

    /// Computes with a version, counts it under that version and remembers it: every inference passes here.
    fn answer<T: Measured>(
        &self,
        entry: &Entry,
        call: &Call<'_, T>,
        options: SlotOptions,
        compute: &mut dyn FnMut(&Slot) -> Result<T>,
    ) -> Result<Answer<T>> {
        let (at, started) = (self.clock.now(), Instant::now());
        let mut metered = self.meter(call.reference, entry, call.task);
        let _inside = metered.span().entered();
        let answer = self.compute_answer(entry, call.task, options, &mut |slot| {
            metered.has_slot();
            compute(slot)
        });
        metered.end(answer.as_ref().map(|answer| &answer.value));
        self.past_calls.note(entry, call.task, at, started.elapsed(), answer.as_ref().err().map(Error::code));
        answer
    }

    fn compute_answer<T>(
        &self,
        entry: &Entry,
        task: &'static str,
        options: SlotOptions,
        compute: &mut dyn FnMut(&Slot) -> Result<T>,
    ) -> Result<Answer<T>> {
        let slot = self.slot(entry, task, options)?;
        let value = compute(&slot)?;
        let digest = entry.record.digest().ok_or_else(|| Error::Internal("a loaded version has a digest".into()))?;
        Ok(Answer {
            model_id: entry.record.model_id.clone(),
            version: entry.record.version.clone(),
            digest,
            runtime: slot.runtime().to_owned(),
            load_seconds: slot.load_seconds(),
            canary: None,
            value,
        })
    }

    /// Returns the loaded version; the files are verified by the one caller that loads it.
    pub(crate) fn slot(&self, entry: &Entry, task: &'static str, options: SlotOptions) -> Result<Lease> {
        entry.record.check_servable(task)?;
        self.load_slot(entry, options)
    }

    /// The same, whatever the status of the version is.
    pub(crate) fn load_slot(&self, entry: &Entry, options: SlotOptions) -> Result<Lease> {
        // So that what happens to the slot is counted.
        let _counters = self.counters_of(entry);
        // What was fetched is needed until the engine has loaded.
        let fetched = RefCell::new(None);
        self.engine.slot(&slot_key(entry), options, &|| {
            let request = self.load_request(entry);
            *fetched.borrow_mut() = self.verify_while_fetching(entry, request.as_ref().ok())?;
            request
        })
    }

    /// Verifies the files. Hashing keeps one core busy; meanwhile the engine fetches what it keeps of earlier loads.
    fn verify_while_fetching(&self, entry: &Entry, request: Option<&LoadRequest>) -> Result<Option<Box<dyn Send>>> {
        thread::scope(|scope| {
            let fetching = request.map(|request| scope.spawn(|| self.engine.fetch_plan(&request.files)));
            self.require_intact(entry)?;
            Ok(fetching.map(|fetching| fetching.join().unwrap_or_else(|panic| resume_unwind(panic))))
        })
    }

    fn load_request(&self, entry: &Entry) -> Result<LoadRequest> {
        let files = match entry.record.manifest()? {
            Some(manifest) => self.stored_files(&manifest)?,
            None => LocalFiles(Vec::new()),
        };
        Ok(LoadRequest {
            model_id: entry.record.model_id.to_string(),
            digest: entry.record.digest(),
            files,
            options: LoadOptions { metadata: entry.record.metadata() },
        })
    }
}

/// Returns until when a canary may wait for memory, so that time is left for the alias's own version.
fn halfway(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

/// Generates text for a caller that takes it whole, and has so much patience.
pub(crate) fn generate_within(slot: &Slot, request: &GenerateRequest, patience: &Patience) -> Result<Generation> {
    let left = patience.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let timeout = request.timeout.into_iter().chain(left).min();
    let answer = slot.generate(&GenerateRequest { timeout, ..request.clone() }, &mut |_| match patience
        .check(slot.model_id())
    {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    // A caller that is gone ends a generation early, and that is no answer.
    answer.and_then(|answer| patience.check(slot.model_id()).map(|()| answer))
}

/// The time that was up is the one that the caller gave, not what was left of it.
pub(crate) fn with_whole_time(error: Error, timeout: Option<Duration>) -> Error {
    match (error, timeout) {
        (Error::DeadlineExceeded { what, .. }, Some(timeout)) => {
            Error::DeadlineExceeded { what, seconds: timeout.as_secs_f64() }
        }
        (error, _) => error,
    }
}

/// What a slot depends on: the id (errors name it), the bytes, and the hyper-parameters (labels, pre-processing).
pub(crate) fn slot_key(entry: &Entry) -> Digest {
    let record = &entry.record;
    // What was loaded before a repair may still hold the damaged bytes in memory.
    let restored_at = record.restored_at();
    Digest::of(json!([record.model_id, record.digest(), record.metadata(), restored_at]).to_string())
}
