//! Inference: resolve the reference, load the version if it is cold, compute, and name what answered.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{LoadOptions, LocalFiles};
use seedhouse_core::{Digest, Entry, Error, ModelId, Reference, Result, Selector, Version};
use seedhouse_engine::{
    Classification, ClassifyRequest, GenerateRequest, Generation, ImageFeatures, ImageInput, Lease, LoadRequest, Piece,
    PredictRequest, Slot, SlotOptions, TensorOutputs,
};
use serde_json::json;

use crate::Service;

/// A result and the version that gave it.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The version that answered.
    pub model_id: ModelId,
    /// Its label.
    pub version: Version,
    /// The digest of its manifest.
    pub digest: Digest,
    /// How long the version took to load when it was loaded, be it for this answer or an earlier one: verification, mapping
    /// and checks.
    pub load_seconds: f64,
    /// What it answered.
    pub value: T,
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
        self.infer(reference, "text generation", deadline, |slot| match deadline {
            None => slot.generate(request, on_piece),
            // Loading, and waiting for it, was a part of the time.
            Some(deadline) => {
                let timeout = Some(deadline.saturating_duration_since(Instant::now()));
                let answer = slot.generate(&GenerateRequest { timeout, ..request.clone() }, on_piece);
                answer.map_err(|error| with_whole_time(error, request.timeout))
            }
        })
    }

    /// Classifies an image.
    ///
    /// # Errors
    /// As [`generate`](Service::generate), and [`Error::Malformed`] for an image that is not one.
    pub fn classify(&self, reference: &Reference, request: &ClassifyRequest) -> Result<Answer<Classification>> {
        self.infer(reference, "image classification", None, |slot| slot.classify(request))
    }

    /// Computes named tensors from named tensors.
    ///
    /// # Errors
    /// As [`generate`](Service::generate); [`Error::Invalid`] names the tensor that does not fit, with both values.
    pub fn predict(&self, reference: &Reference, request: &PredictRequest) -> Result<Answer<TensorOutputs>> {
        self.infer(reference, "tensor inference", None, |slot| slot.predict(request))
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
    ) -> Result<Answer<Vec<Classification>>> {
        self.infer(reference, "image classification", None, |slot| slot.classify_all(images, top_k))
    }

    /// Returns vectors of features of images, computed as one batch.
    ///
    /// # Errors
    /// As [`classify_all`](Service::classify_all).
    pub fn image_features(&self, reference: &Reference, images: &[ImageInput]) -> Result<Answer<ImageFeatures>> {
        self.infer(reference, "image features", None, |slot| slot.features(images))
    }

    pub(crate) fn infer<T>(
        &self,
        reference: &Reference,
        task: &'static str,
        deadline: Option<Instant>,
        compute: impl FnOnce(&Slot) -> Result<T>,
    ) -> Result<Answer<T>> {
        let entry = self.store.version(reference)?;
        if let Selector::Alias(alias) = &reference.selector {
            self.served_aliases.note(&entry.base, alias);
        }
        let slot = self.slot(&entry, task, SlotOptions { deadline, ..SlotOptions::default() })?;
        let value = compute(&slot)?;
        let digest = entry.record.digest().ok_or_else(|| Error::Internal("a loaded version has a digest".into()))?;
        Ok(Answer {
            model_id: entry.record.model_id,
            version: entry.record.version,
            digest,
            load_seconds: slot.load_seconds(),
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
