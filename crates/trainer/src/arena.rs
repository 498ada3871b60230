//! Memory that is used again: a step of training needs the same buffers as the one before, and fresh pages cost more than what is
//! computed in them.

use std::collections::HashMap;

/// Buffers that nobody uses, by their length.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    free: HashMap<usize, Vec<Vec<f32>>>,
}

impl Arena {
    /// Returns so many numbers; what they are is not said.
    pub(crate) fn take(&mut self, length: usize) -> Vec<f32> {
        self.free.get_mut(&length).and_then(Vec::pop).unwrap_or_else(|| vec![0.0; length])
    }

    /// Returns so many zeros.
    pub(crate) fn zeros(&mut self, length: usize) -> Vec<f32> {
        let mut numbers = self.take(length);
        numbers.fill(0.0);
        numbers
    }

    /// Takes a buffer back.
    pub(crate) fn give(&mut self, numbers: Vec<f32>) {
        if !numbers.is_empty() {
            self.free.entry(numbers.len()).or_default().push(numbers);
        }
    }
}
