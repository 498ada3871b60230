//! A model with one sequence, for tests of its arithmetic.

use seedhouse_core::Result;
use seedhouse_core::runtime::{SequenceId, StepPart, TextExecutor, Wanted};

/// The only sequence of an executor.
pub struct SingleSequence {
    executor: Box<dyn TextExecutor>,
    sequence: SequenceId,
}

impl SingleSequence {
    /// Opens a sequence.
    ///
    /// # Errors
    /// Those of the executor.
    pub fn new(mut executor: Box<dyn TextExecutor>) -> Result<SingleSequence> {
        let sequence = executor.open()?;
        Ok(SingleSequence { executor, sequence })
    }

    /// Appends tokens and returns the logits that follow the last one.
    ///
    /// # Errors
    /// Those of the executor.
    pub fn advance(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let part = StepPart { sequence: self.sequence, tokens, wanted: Wanted::Last };
        Ok(self.executor.step(&[part])?.row(0).to_vec())
    }

    /// Returns how many tokens it has.
    pub fn length(&self) -> usize {
        self.executor.length(self.sequence)
    }
}
