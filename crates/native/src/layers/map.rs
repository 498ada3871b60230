//! The activations of a batch between two layers.

use seedhouse_kernels::{Images, Step};

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

    /// Becomes a copy of another map.
    pub(crate) fn copy_of(&mut self, step: &mut Step<'_>, other: &Map) {
        self.reset(other.count, other.sides, other.channels);
        let (line, numbers) = (other.sides[1] * other.channels, other.numbers());
        step.for_each_piece(self.numbers_mut(), line.max(1), &|index, into| {
            into.copy_from_slice(&numbers[index * line..][..line]);
        });
    }

    /// Gets the channels of two maps of the same images, for each pixel those of the second behind those of the first.
    pub(crate) fn join(&mut self, step: &mut Step<'_>, [first, second]: [&Map; 2]) {
        self.reset(first.count, first.sides, first.channels + second.channels);
        let (width, channels) = (first.sides[1], self.channels);
        step.for_each_piece(self.numbers_mut(), (width * channels).max(1), &|line, into| {
            let pixels =
                [first, second].map(|map| map.numbers()[line * width * map.channels..].chunks_exact(map.channels));
            let [firsts, seconds] = pixels;
            for (into, (one, other)) in into.chunks_exact_mut(channels).zip(firsts.zip(seconds)) {
                let (left, right) = into.split_at_mut(first.channels);
                left.copy_from_slice(one);
                right.copy_from_slice(other);
            }
        });
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
