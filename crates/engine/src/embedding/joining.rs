//! The sequences of several callers as one batch.

use seedhouse_core::runtime::Embedder;
use seedhouse_core::{Error, Result};

use crate::batching::{Answered, BatchSettings, BatchStatistics, Batcher, Joinable, Patience};

/// Token ids of the texts of one caller.
pub(super) struct Sequences(pub(super) Vec<Vec<u32>>);

impl Joinable for Sequences {
    fn rows(&self) -> usize {
        self.0.len()
    }

    /// A vector is the same whatever stands beside its sequence, as every encoder promises.
    fn fits(&self, _other: &Sequences) -> bool {
        true
    }
}

/// The queue in front of an encoder.
pub(super) struct EncoderQueue(Batcher<Sequences, Vec<Vec<f32>>>);

impl EncoderQueue {
    pub(super) fn new(model_id: &str, settings: BatchSettings) -> EncoderQueue {
        EncoderQueue(Batcher::new(model_id, settings))
    }

    /// Returns a vector for each sequence, computed together with those of others who ask at the same time.
    pub(super) fn embed(
        &self,
        model: &dyn Embedder,
        sequences: Sequences,
        patience: &Patience,
    ) -> Result<Answered<Vec<Vec<f32>>>> {
        self.0.compute(sequences, patience, &|items| of_all(model, items))
    }

    pub(super) fn statistics(&self) -> BatchStatistics {
        self.0.statistics()
    }
}

fn of_all(model: &dyn Embedder, items: &[Sequences]) -> Result<Vec<Vec<Vec<f32>>>> {
    let sequences: Vec<&[u32]> = items.iter().flat_map(|item| &item.0).map(Vec::as_slice).collect();
    let vectors = model.embed(&sequences)?;
    if vectors.len() != sequences.len() {
        return Err(Error::Internal(format!("{} vectors came for {} texts", vectors.len(), sequences.len())));
    }
    let mut vectors = vectors.into_iter();
    Ok(items.iter().map(|item| vectors.by_ref().take(item.0.len()).collect()).collect())
}
