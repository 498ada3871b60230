//! The activations of a batch between two layers.

use seedhouse_kernels::Images;

/// Images of one size, the channels of a pixel side by side. It keeps its memory: a size that was there before allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Map {
    pub(crate) count: usize,
    pub(crate) sides: [usize; 2],
    pub(crate) channels: usize,
    data: Vec<f32>,
}

impl Map {
    /// Changes the sizes. What the numbers are is not said.
    pub(crate) fn reset(&mut self, count: usize, sides: [usize; 2], channels: usize) {
        (self.count, self.sides, self.channels) = (count, sides, channels);
        let length = self.len();
        if self.data.len() < length {
            self.data.resize(length, 0.0);
        }
    }

    fn len(&self) -> usize {
        self.count * self.sides[0] * self.sides[1] * self.channels
    }

    pub(crate) fn numbers(&self) -> &[f32] {
        &self.data[..self.len()]
    }

    pub(crate) fn numbers_mut(&mut self) -> &mut [f32] {
        let length = self.len();
        &mut self.data[..length]
    }

    /// Returns what kernels read.
    pub(crate) fn images(&self) -> Images<'_> {
        let [height, width] = self.sides;
        Images { data: self.numbers(), count: self.count, height, width, channels: self.channels }
    }

    /// Returns the bytes that it has grown to.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.data[..])
    }
}
