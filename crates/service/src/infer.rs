//! Inference: resolve the reference, load the version if it is cold, compute, and name what answered.

use std::ops::ControlFlow;
use std::sync::Arc;

use seedhouse_core::runtime::{LoadOptions, LocalFiles};
use seedhouse_core::{Digest, Entry, Error, ModelId, Reference, Result, Version};
use seedhouse_engine::{
    Classification, ClassifyRequest, GenerateRequest, Generation, LoadRequest, Piece, PredictRequest, Slot,
    TensorOutputs,
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
        self.infer(reference, "text generation", |slot| slot.generate(request, on_piece))
    }

    /// Classifies an image.
    ///
    /// # Errors
    /// As [`generate`](Service::generate), and [`Error::Malformed`] for an image that is not one.
    pub fn classify(&self, reference: &Reference, request: &ClassifyRequest) -> Result<Answer<Classification>> {
        self.infer(reference, "image classification", |slot| slot.classify(request))
    }

    /// Computes named tensors from named tensors.
    ///
    /// # Errors
    /// As [`generate`](Service::generate); [`Error::Invalid`] names the tensor that does not fit, with both values.
    pub fn predict(&self, reference: &Reference, request: &PredictRequest) -> Result<Answer<TensorOutputs>> {
        self.infer(reference, "tensor inference", |slot| slot.predict(request))
    }

    fn infer<T>(
        &self,
        reference: &Reference,
        task: &'static str,
        compute: impl FnOnce(&Slot) -> Result<T>,
    ) -> Result<Answer<T>> {
        let entry = self.store.version(reference)?;
        let slot = self.slot(&entry, task)?;
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
    pub(crate) fn slot(&self, entry: &Entry, task: &'static str) -> Result<Arc<Slot>> {
        entry.record.check_servable(task)?;
        self.load(entry)
    }

    /// The same, whatever the status of the version is.
    pub(crate) fn load(&self, entry: &Entry) -> Result<Arc<Slot>> {
        self.engine.slot(&slot_key(entry), &|| {
            self.require_intact(entry)?;
            self.load_request(entry)
        })
    }

    fn load_request(&self, entry: &Entry) -> Result<LoadRequest> {
        let files = match entry.record.manifest()? {
            Some(manifest) => self.stored_files(&manifest)?,
            None => LocalFiles(Vec::new()),
        };
        Ok(LoadRequest {
            model_id: entry.record.model_id.to_string(),
            files,
            options: LoadOptions { metadata: entry.record.metadata() },
        })
    }
}

/// What a slot depends on: the id (errors name it), the bytes, and the hyper-parameters (labels, pre-processing).
pub(crate) fn slot_key(entry: &Entry) -> Digest {
    let record = &entry.record;
    // What was loaded before a repair may still hold the damaged bytes in memory.
    let restored_at = record.restored_at();
    Digest::of(json!([record.model_id, record.digest(), record.metadata(), restored_at]).to_string())
}
