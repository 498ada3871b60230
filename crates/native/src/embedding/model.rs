//! The port: sequences in, vectors out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use seedhouse_core::runtime::{Embedder, EmbedderInfo, Pooling, normalise_vector};
use seedhouse_core::{Error, Result};
use seedhouse_kernels::Pool;

use super::forward::{Bert, Buffers, Sequences};

/// Tokens that are computed together: enough for every thread, and few enough that the widest results stay in the last cache.
const MOST_ROWS: usize = 1024;

/// A network that computes on the threads of a pool.
pub(super) struct EmbeddingModel {
    network: Bert,
    pooling: Pooling,
    is_normalised: bool,
    info: EmbedderInfo,
    pool: Arc<Pool>,
    // One step runs at a time, so one set of buffers does.
    buffers: Mutex<Buffers>,
    /// What they have grown to, for whoever must not wait for a step.
    buffer_bytes: AtomicUsize,
}

impl EmbeddingModel {
    pub(super) fn new(
        network: Bert,
        (pooling, is_normalised): (Pooling, bool),
        info: EmbedderInfo,
        pool: Arc<Pool>,
    ) -> EmbeddingModel {
        let (buffers, buffer_bytes) = (Mutex::default(), AtomicUsize::new(0));
        EmbeddingModel { network, pooling, is_normalised, info, pool, buffers, buffer_bytes }
    }

    fn check(&self, sequence: &[u32]) -> Result<()> {
        let longest = self.info.longest_sequence;
        if sequence.is_empty() || sequence.len() > longest {
            let rule = format!("must have 1 to {longest} tokens");
            return Err(Error::invalid("sequence", format!("{} tokens", sequence.len()), rule));
        }
        let vocab_size = self.network.sizes.vocab_size;
        match sequence.iter().find(|token| **token as usize >= vocab_size) {
            None => Ok(()),
            Some(token) => Err(Error::invalid("sequence", token, format!("the model has {vocab_size} tokens"))),
        }
    }

    /// Writes the vectors of sequences that stay in the cache together.
    fn compute(&self, sequences: &[&[u32]], vectors: &mut [f32]) {
        let sequences = Sequences::new(sequences);
        let width = self.info.dimensions;
        self.pool.step(|step| {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            let rows = self.network.rows(step, &mut buffers, &sequences);
            step.for_each_piece(vectors, width, &|index, vector| {
                let range = &sequences.ranges[index];
                self.pooling.apply(&rows[range.start * width..range.end * width], vector);
                if self.is_normalised {
                    normalise_vector(vector);
                }
            });
            self.buffer_bytes.store(buffers.bytes(), Ordering::Relaxed);
        });
    }
}

impl Embedder for EmbeddingModel {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn embed(&self, sequences: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        sequences.iter().try_for_each(|sequence| self.check(sequence))?;
        let width = self.info.dimensions;
        let mut vectors = Vec::with_capacity(sequences.len());
        let mut left = sequences;
        while !left.is_empty() {
            let (together, rest) = left.split_at(fitting(left));
            let mut numbers = vec![0.0; together.len() * width];
            self.compute(together, &mut numbers);
            vectors.extend(numbers.chunks_exact(width).map(<[f32]>::to_vec));
            left = rest;
        }
        Ok(vectors)
    }

    fn memory_bytes(&self) -> u64 {
        (self.network.bytes() + self.buffer_bytes.load(Ordering::Relaxed)) as u64
    }
}

/// Returns how many of the first sequences are computed together; at least one.
fn fitting(sequences: &[&[u32]]) -> usize {
    let mut rows = 0;
    let fits = |sequence: &&&[u32]| {
        rows += sequence.len();
        rows <= MOST_ROWS
    };
    sequences.iter().take_while(fits).count().max(1)
}
