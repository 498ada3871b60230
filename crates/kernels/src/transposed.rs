//! Transposed convolution: each pixel adds a window of outputs.
//!
//! Seen from an output it is a convolution: outputs whose rows and columns leave the same rests when divided by the stride (a
//! phase) see every stride-th place of the window. A phase is computed as a plain convolution of its own, and what comes of it goes
//! to every stride-th pixel. No zeros are multiplied.

use crate::images::{Images, Window};
use crate::{ActivationForm, ConvolutionBuffers, Epilogue, PackedMatrix, Step, convolve};

/// A square window that is added for each pixel, and how the outputs are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransposedWindow {
    /// Outputs of a pixel, in each direction.
    pub size: usize,
    /// From the outputs of a pixel to those of the next.
    pub stride: usize,
    /// Outputs that are left out on each side.
    pub padding: usize,
}

/// The outputs that see the same places of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    window: TransposedWindow,
    /// The first output, down and to the right.
    first: [usize; 2],
}

impl TransposedWindow {
    /// Returns height and width of what comes of an image of this size.
    pub fn output(&self, image: [usize; 2]) -> [usize; 2] {
        image.map(|side| match side {
            0 => 0,
            side => ((side - 1) * self.stride + self.size).saturating_sub(2 * self.padding),
        })
    }

    /// Returns the phases, row by row.
    ///
    /// # Panics
    /// When the window stands still, is smaller than its stride, or so much is left out that a pixel gives nothing.
    pub fn phases(self) -> Vec<Phase> {
        let TransposedWindow { size, stride, padding } = self;
        assert!(stride > 0 && padding + stride <= size, "{self:?} leaves outputs without pixels");
        (0..stride * stride).map(|phase| Phase { window: self, first: [phase / stride, phase % stride] }).collect()
    }
}

impl Phase {
    /// Returns the places of the transposed window that it sees, in the order of its own window: `row * size + column`.
    pub fn places(&self) -> Vec<usize> {
        let of = |first: usize| {
            let (lowest, count, _) = self.axis(first);
            (0..count).map(move |place| lowest + self.window.stride * (count - 1 - place))
        };
        let [down, right] = self.first;
        of(down).flat_map(|row| of(right).map(move |column| row * self.window.size + column)).collect()
    }

    /// Returns the lowest place that is seen in one direction, how many there are, and how far the last one looks ahead.
    fn axis(&self, first: usize) -> (usize, usize, usize) {
        let TransposedWindow { size, stride, padding } = self.window;
        let lowest = (first + padding) % stride;
        (lowest, (size - lowest).div_ceil(stride), (first + padding) / stride)
    }

    /// Returns how many outputs it has of an image of this size.
    fn outputs(&self, image: [usize; 2]) -> [usize; 2] {
        let all = self.window.output(image);
        std::array::from_fn(|axis| all[axis].saturating_sub(self.first[axis]).div_ceil(self.window.stride))
    }

    /// Returns the window that goes over an image of this size.
    fn over(&self, image: [usize; 2]) -> Window {
        let outputs = self.outputs(image);
        let [down, right] = self.first.map(|first| self.axis(first));
        let around = |axis: usize, (_, count, ahead): (usize, usize, usize)| {
            let before = count - 1 - ahead;
            (before, (outputs[axis] + ahead).saturating_sub(image[axis]))
        };
        let (above, below) = around(0, down);
        let (left, after) = around(1, right);
        Window {
            size: [down.1, right.1],
            stride: [1; 2],
            dilation: [1; 2],
            before: [above, left],
            after: [below, after],
        }
    }
}

/// Writes the transposed convolution of images, in the order of [`Images`]. `weights` has a matrix for each of
/// [`phases`](TransposedWindow::phases): the weights of an output stand in the order of the phase's places, all channels of a place
/// side by side. `form` is that of the activations they are multiplied with.
///
/// A number depends on its own image alone.
///
/// # Panics
/// When lengths do not fit together, as [`phases`](TransposedWindow::phases), or the format of the weights does not accept the form.
#[expect(clippy::too_many_arguments, reason = "those of a convolution")]
pub fn convolve_transposed(
    step: &mut Step<'_>,
    images: Images<'_>,
    window: TransposedWindow,
    weights: &[PackedMatrix],
    form: ActivationForm,
    buffers: &mut ConvolutionBuffers,
    output: &mut [f32],
    bias: Option<&[f32]>,
) {
    let sides = [images.height, images.width];
    let phases = window.phases();
    assert!(weights.len() == phases.len(), "{} matrices for {} phases", weights.len(), phases.len());
    let (channels, all) = (weights[0].outputs(), window.output(sides));
    images.check(output, all, channels);
    let mut numbers = std::mem::take(&mut buffers.products);
    for (phase, weights) in phases.iter().zip(weights) {
        let outputs = phase.outputs(sides);
        let length = images.count * outputs[0] * outputs[1] * channels;
        if numbers.len() < length {
            numbers.resize(length, 0.0);
        }
        let numbers = &mut numbers[..length];
        let end = (Epilogue { bias, add: false }, None);
        convolve(step, images, phase.over(sides), weights, form, buffers, numbers, end);
        spread(step, numbers, outputs, channels, phase, (output, all));
    }
    buffers.products = numbers;
}

/// Copies the outputs of a phase to their places.
fn spread(
    step: &mut Step<'_>,
    numbers: &[f32],
    [_, width]: [usize; 2],
    channels: usize,
    phase: &Phase,
    (output, [all_height, all_width]): (&mut [f32], [usize; 2]),
) {
    let (stride, [down, right]) = (phase.window.stride, phase.first);
    let lines = all_height.saturating_sub(down).div_ceil(stride);
    if numbers.is_empty() {
        return;
    }
    step.for_each_piece(output, all_width * channels, &|line, output| {
        let (image, y) = (line / all_height, line % all_height);
        if y % stride != down {
            return;
        }
        let from = &numbers[(image * lines + y / stride) * width * channels..][..width * channels];
        let pixels = output.chunks_exact_mut(channels).skip(right).step_by(stride);
        for (to, from) in pixels.zip(from.chunks_exact(channels)) {
            to.copy_from_slice(from);
        }
    });
}

#[cfg(test)]
mod tests;
