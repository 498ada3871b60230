//! Convolutions with a square window and TensorFlow's SAME padding.
//!
//! A plane is first copied with its padding, its columns sorted by their remainder modulo the stride. After that the
//! inputs of neighbouring outputs are neighbours too, for any stride, and the inner loop runs over whole registers.
//!
//! ```text
//! stride 2, padded row  0 a b c d 0   ->   0 b d . | a c 0 .     tap 0 reads 0 b, tap 1 reads a c, tap 2 reads b d
//! ```

use rayon::prelude::*;

use super::{Activation, Planes};

/// Which inputs an output sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// All of them.
    Dense,
    /// The one with its own number.
    Depthwise,
}

/// A convolution with a window.
#[derive(Debug)]
pub(crate) struct Spatial {
    /// `[outputs, inputs of one output, kernel, kernel]`.
    pub(crate) weights: Vec<f32>,
    /// One value for each output.
    pub(crate) bias: Vec<f32>,
    /// The side of the window.
    pub(crate) kernel: usize,
    /// The step of the window.
    pub(crate) stride: usize,
    pub(crate) grouping: Grouping,
    pub(crate) activation: Activation,
}

impl Spatial {
    /// Returns the bytes of the weights.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }

    /// Computes the outputs, channels spread over threads.
    pub(crate) fn run(&self, input: &Planes) -> Planes {
        let geometry = Geometry::new(input, self.kernel, self.stride);
        let outputs = self.bias.len();
        let taps_per_output = self.weights.len() / outputs;
        let mut data = vec![0.0; outputs * geometry.height * geometry.width];
        let planes = data.par_chunks_mut(geometry.height * geometry.width);
        let weights = self.weights.par_chunks(taps_per_output);
        let work = planes.zip(weights).zip(&self.bias).enumerate();
        match self.grouping {
            Grouping::Dense => {
                assert_eq!(input.channels * self.kernel * self.kernel, taps_per_output, "channels of a convolution");
                let mut padded = vec![0.0; input.channels * geometry.padded_size()];
                for (plane, padded) in
                    input.data.chunks(input.plane_size()).zip(padded.chunks_mut(geometry.padded_size()))
                {
                    geometry.pad(plane, padded);
                }
                let taps = geometry.taps(input.channels);
                work.for_each(|(_, ((plane, weights), bias))| {
                    self.convolve(&geometry, &padded, &taps, weights, *bias, plane);
                });
            }
            Grouping::Depthwise => {
                assert_eq!(input.channels, outputs, "channels of a depthwise convolution");
                let taps = geometry.taps(1);
                let scratch = || vec![0.0; geometry.padded_size()];
                work.for_each_init(scratch, |padded, (channel, ((plane, weights), bias))| {
                    geometry.pad(&input.data[channel * input.plane_size()..][..input.plane_size()], padded);
                    self.convolve(&geometry, padded, &taps, weights, *bias, plane);
                });
            }
        }
        Planes { channels: outputs, height: geometry.height, width: geometry.width, data }
    }

    /// Computes one plane with the widest instructions this processor has.
    fn convolve(
        &self,
        geometry: &Geometry,
        padded: &[f32],
        taps: &[usize],
        weights: &[f32],
        bias: f32,
        plane: &mut [f32],
    ) {
        let activation = self.activation;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || match geometry.lanes {
                Lanes::Eight => convolve_plane::<8>(geometry, padded, taps, weights, bias, activation, plane),
                Lanes::Sixteen => convolve_plane::<16>(geometry, padded, taps, weights, bias, activation, plane),
            },
        );
    }
}

#[inline(always)]
fn convolve_plane<const LANES: usize>(
    geometry: &Geometry,
    padded: &[f32],
    taps: &[usize],
    weights: &[f32],
    bias: f32,
    activation: Activation,
    plane: &mut [f32],
) {
    for (y, row) in plane.chunks_exact_mut(geometry.width).enumerate() {
        let top = y * geometry.stride * geometry.row_size;
        for (block, outputs) in row.chunks_mut(LANES).enumerate() {
            let window = &padded[top + block * LANES..];
            let mut sums = [bias; LANES];
            for (tap, weight) in taps.iter().zip(weights) {
                let values: &[f32; LANES] = window[*tap..].first_chunk().expect("padded rows are whole blocks");
                for lane in 0..LANES {
                    sums[lane] += weight * values[lane];
                }
            }
            for sum in &mut sums {
                *sum = activation.apply(*sum);
            }
            outputs.copy_from_slice(&sums[..outputs.len()]);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Lanes {
    Eight,
    Sixteen,
}

/// Sizes and places for one input size.
#[derive(Debug)]
struct Geometry {
    input_height: usize,
    input_width: usize,
    height: usize,
    width: usize,
    kernel: usize,
    stride: usize,
    padding_top: usize,
    padding_left: usize,
    /// Length of the columns of one remainder within a padded row.
    phase_size: usize,
    /// Length of a padded row.
    row_size: usize,
    lanes: Lanes,
}

impl Geometry {
    fn new(input: &Planes, kernel: usize, stride: usize) -> Geometry {
        let (height, padding_top) = same_padding(input.height, kernel, stride);
        let (width, padding_left) = same_padding(input.width, kernel, stride);
        let (lanes, block) = if width <= 8 { (Lanes::Eight, 8) } else { (Lanes::Sixteen, 16) };
        let phase_size = width.next_multiple_of(block) + (kernel - 1) / stride;
        Geometry {
            input_height: input.height,
            input_width: input.width,
            height,
            width,
            kernel,
            stride,
            padding_top,
            padding_left,
            phase_size,
            row_size: phase_size * stride,
            lanes,
        }
    }

    fn padded_size(&self) -> usize {
        ((self.height - 1) * self.stride + self.kernel) * self.row_size
    }

    /// Returns where each value of the window stands relative to its first one.
    fn taps(&self, channels: usize) -> Vec<usize> {
        let mut taps = Vec::with_capacity(channels * self.kernel * self.kernel);
        for channel in 0..channels {
            for y in 0..self.kernel {
                for x in 0..self.kernel {
                    let column = x % self.stride * self.phase_size + x / self.stride;
                    taps.push(channel * self.padded_size() + y * self.row_size + column);
                }
            }
        }
        taps
    }

    /// Copies a plane; what is not covered by it keeps the zeros that `padded` was made with.
    fn pad(&self, plane: &[f32], padded: &mut [f32]) {
        let rows =
            plane.chunks_exact(self.input_width).zip(padded.chunks_exact_mut(self.row_size).skip(self.padding_top));
        for (source, target) in rows.take(self.input_height) {
            if self.stride == 1 {
                target[self.padding_left..][..source.len()].copy_from_slice(source);
                continue;
            }
            for (phase, target) in target.chunks_exact_mut(self.phase_size).enumerate() {
                // The first column of this remainder that is not padding, as a place in the source and in the target.
                let skipped = (phase + self.stride - self.padding_left % self.stride) % self.stride;
                let first = (self.padding_left + skipped) / self.stride;
                let values = source.iter().skip(skipped).step_by(self.stride);
                for (target, value) in target[first..].iter_mut().zip(values) {
                    *target = *value;
                }
            }
        }
    }
}

/// Returns the number of outputs and how much padding stands before the inputs. As in TensorFlow, an odd rest goes to
/// the end: a window of 3 with step 2 over 224 values is padded by 0 before and 1 after.
fn same_padding(size: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let outputs = size.div_ceil(stride);
    let covered = (outputs - 1) * stride + kernel;
    (outputs, covered.saturating_sub(size) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in f64, without any of the tricks.
    fn expected(convolution: &Spatial, input: &Planes) -> Vec<f64> {
        let (height, top) = same_padding(input.height, convolution.kernel, convolution.stride);
        let (width, left) = same_padding(input.width, convolution.kernel, convolution.stride);
        let outputs = convolution.bias.len();
        let group = convolution.weights.len() / outputs / convolution.kernel.pow(2);
        let mut sums = Vec::new();
        for output in 0..outputs {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let mut sum = f64::from(convolution.bias[output]);
                for (tap, weight) in convolution
                    .weights
                    .chunks(group * convolution.kernel.pow(2))
                    .nth(output)
                    .unwrap()
                    .iter()
                    .enumerate()
                {
                    let (channel, ky, kx) = (
                        tap / convolution.kernel.pow(2),
                        tap / convolution.kernel % convolution.kernel,
                        tap % convolution.kernel,
                    );
                    let channel = if convolution.grouping == Grouping::Depthwise { output } else { channel };
                    let (row, column) = (y * convolution.stride + ky, x * convolution.stride + kx);
                    if (top..top + input.height).contains(&row) && (left..left + input.width).contains(&column) {
                        let place = (channel * input.height + row - top) * input.width + column - left;
                        sum += f64::from(*weight) * f64::from(input.data[place]);
                    }
                }
                sums.push(sum.clamp(0.0, 6.0));
            }
        }
        sums
    }

    #[test]
    fn fast_paths_agree_with_the_definition() {
        let sizes = [(1, 1), (2, 3), (7, 7), (8, 9), (16, 17), (33, 20), (5, 64)];
        for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (1, 2), (2, 1), (4, 3)] {
            for (height, width) in sizes {
                for grouping in [Grouping::Dense, Grouping::Depthwise] {
                    let group = if grouping == Grouping::Dense { 3 } else { 1 };
                    let data = (0..3 * height * width).map(|i| (i as f32 * 0.31).cos()).collect();
                    let input = Planes { channels: 3, height, width, data };
                    let convolution = Spatial {
                        weights: (0..3 * group * kernel * kernel).map(|i| (i as f32 * 0.73).sin()).collect(),
                        bias: vec![0.1, 0.7, 1.3],
                        kernel,
                        stride,
                        grouping,
                        activation: Activation::Relu6,
                    };
                    let result = convolution.run(&input);
                    let expected = expected(&convolution, &input);
                    assert_eq!(result.data.len(), expected.len());
                    for (found, expected) in result.data.iter().zip(expected) {
                        let difference = (f64::from(*found) - expected).abs();
                        assert!(difference < 1e-4, "{grouping:?} {kernel}/{stride} on {height}x{width}: {difference}");
                    }
                }
            }
        }
    }

    #[test]
    fn odd_padding_goes_to_the_end() {
        for (size, kernel, stride, expected) in
            [(224, 3, 2, (112, 0)), (7, 3, 2, (4, 1)), (56, 5, 2, (28, 1)), (28, 5, 1, (28, 2)), (1, 5, 2, (1, 2))]
        {
            assert_eq!(same_padding(size, kernel, stride), expected, "{kernel}/{stride} over {size}");
        }
    }
}
