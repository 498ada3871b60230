//! Convolutions of images whose channels lie side by side within a pixel: windows are laid out as rows, a piece at a time, and multiplied.

use std::ops::Range;

use seedhouse_core::training::TrainPrecision;
use seedhouse_kernels::{Accumulation, MatrixView, MatrixViewMut, product};

use super::{Tape, Var, round_to_bf16};
use crate::arena::Arena;
use crate::numbers::{add_to, vectorised};
use crate::parallel;
use crate::parameters::ParameterId;
use rayon::prelude::*;

/// Numbers of the windows that are laid out at once: about what stays in the second cache.
const LAID_OUT: usize = 1 << 18;

/// Images of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) images: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Geometry {
    /// Returns the pixels of an image.
    pub(crate) fn pixels(self) -> usize {
        self.height * self.width
    }
}

/// A square window that moves over images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Convolution {
    pub(crate) side: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

/// A convolution of images of a size.
#[derive(Clone, Copy)]
struct Layout {
    window: Convolution,
    input: Geometry,
    output: Geometry,
    channels: usize,
    outputs: usize,
}

impl Convolution {
    /// Returns the size of what comes out.
    pub(crate) fn output(self, input: Geometry) -> Geometry {
        let side = |side: usize| (side + 2 * self.padding - self.side) / self.stride + 1;
        Geometry { images: input.images, height: side(input.height), width: side(input.width) }
    }
}

impl Layout {
    /// Returns the numbers of a window.
    fn window_length(self) -> usize {
        self.window.side * self.window.side * self.channels
    }

    /// Returns how many lines of the output are computed at once.
    fn lines(self) -> usize {
        let line = self.output.width * self.window_length();
        (LAID_OUT / line.max(1)).clamp(1, self.output.height * self.output.images)
    }

    /// Calls a function with each row of a window of a line of the output that is a run of the input: where the run begins in the window
    /// row, and where in the image. What is beside the image is left out.
    #[inline(always)]
    fn runs(self, line: usize, mut of: impl FnMut(usize, Range<usize>)) {
        let Convolution { side, stride, padding } = self.window;
        let (image, y) = (line / self.output.height, line % self.output.height);
        for x in 0..self.output.width {
            let left = x * stride;
            // The columns of the window that are within the image.
            let first = padding.saturating_sub(left);
            let end = side.min((self.input.width + padding).saturating_sub(left));
            for row in 0..side {
                let Some(from) = (y * stride + row).checked_sub(padding).filter(|from| *from < self.input.height)
                else {
                    continue;
                };
                if first >= end {
                    continue;
                }
                let start =
                    ((image * self.input.height + from) * self.input.width + left + first - padding) * self.channels;
                let target = x * self.window_length() + (row * side + first) * self.channels;
                of(target, start..start + (end - first) * self.channels);
            }
        }
    }

    /// The same convolution of so many images.
    fn of_images(self, images: usize) -> Layout {
        Layout { input: Geometry { images, ..self.input }, output: Geometry { images, ..self.output }, ..self }
    }

    /// Returns how many images are gone through one after the other, however many threads there are: the sums of their gradients, and the
    /// sizes of their products, are the same with any number.
    fn images_of_part(self) -> usize {
        self.input.images.div_ceil(parallel::SUMS).max(1)
    }

    /// Calls a function with each piece of lines.
    fn pieces(self) -> impl Iterator<Item = Range<usize>> {
        let (all, lines) = (self.output.images * self.output.height, self.lines());
        (0..all).step_by(lines).map(move |first| first..(first + lines).min(all))
    }

    fn matrix(self, numbers: &[f32], rows: usize) -> MatrixView<'_> {
        MatrixView::new(numbers, rows, self.window_length(), self.window_length())
    }

    /// Convolves some images.
    fn forward(
        self,
        input: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        rounds: bool,
        laid_out: &mut [f32],
        output: &mut [f32],
    ) {
        for lines in self.pieces() {
            let rows = lines.len() * self.output.width;
            let windows = &mut laid_out[..rows * self.window_length()];
            lay_out(self, input, lines.clone(), windows);
            if rounds {
                round_in_place(windows);
            }
            let output = &mut output[lines.start * self.output.width * self.outputs..][..rows * self.outputs];
            let accumulation = match bias {
                None => Accumulation::Replace,
                Some(bias) => {
                    output.chunks_exact_mut(self.outputs).for_each(|row| row.copy_from_slice(bias));
                    Accumulation::Add
                }
            };
            let into = MatrixViewMut::new(output, rows, self.outputs, self.outputs);
            product(
                self.matrix(windows, rows),
                self.matrix(weight, self.outputs).transposed(),
                1.0,
                into,
                accumulation,
                1,
            );
        }
    }

    /// Goes back over some images.
    fn backward(self, part: &mut BackwardPart<'_>, weight: &[f32], rounds: bool, laid_out: &mut [f32]) {
        let BackwardPart { input, gradient, of_input, of_weight } = part;
        of_weight.fill(0.0);
        for lines in self.pieces() {
            let rows = lines.len() * self.output.width;
            let windows = &mut laid_out[..rows * self.window_length()];
            lay_out(self, input, lines.clone(), windows);
            if rounds {
                round_in_place(windows);
            }
            let gradient = &gradient[lines.start * self.output.width * self.outputs..][..rows * self.outputs];
            let gradient = MatrixView::new(gradient, rows, self.outputs, self.outputs);
            let into = MatrixViewMut::new(of_weight, self.outputs, self.window_length(), self.window_length());
            product(gradient.transposed(), self.matrix(windows, rows), 1.0, into, Accumulation::Add, 1);
            if let Some(of_input) = of_input {
                let into = MatrixViewMut::new(windows, rows, self.window_length(), self.window_length());
                product(gradient, self.matrix(weight, self.outputs), 1.0, into, Accumulation::Replace, 1);
                gather(self, windows, lines, of_input);
            }
        }
    }
}

vectorised! {
    /// Writes the windows of lines, one window a row.
    fn lay_out<'a>(layout: Layout, input: &'a [f32], lines: Range<usize>, rows: &'a mut [f32]) -> () {
        let length = layout.output.width * layout.window_length();
        for (line, rows) in lines.zip(rows.chunks_exact_mut(length)) {
            if layout.window.padding > 0 {
                rows.fill(0.0);
            }
            layout.runs(line, |target, from| {
                let length = from.len();
                rows[target..target + length].copy_from_slice(&input[from]);
            });
        }
    }
}

vectorised! {
    /// Adds the gradients of windows to those of the pixels.
    fn gather<'a>(layout: Layout, rows: &'a [f32], lines: Range<usize>, output: &'a mut [f32]) -> () {
        let length = layout.output.width * layout.window_length();
        for (line, rows) in lines.zip(rows.chunks_exact(length)) {
            layout.runs(line, |from, target| {
                let from = &rows[from..from + target.len()];
                output[target].iter_mut().zip(from).for_each(|(sum, number)| *sum += number);
            });
        }
    }
}

/// Some images on the way back.
struct BackwardPart<'p> {
    input: &'p [f32],
    gradient: &'p [f32],
    of_input: Option<&'p mut [f32]>,
    of_weight: &'p mut [f32],
}

/// Calls a function with each part and the memory of its thread. Parts that follow each other share a thread.
fn each_of_thread<P: Send>(
    threads: usize,
    parts: &mut [P],
    laid_out: &mut [Vec<f32>],
    of: impl Fn(&mut P, &mut [f32]) + Sync,
) {
    let of_thread = parts.len().div_ceil(threads).max(1);
    let parts = parts.par_chunks_mut(of_thread).zip(laid_out);
    parts.for_each(|(parts, laid_out)| parts.iter_mut().for_each(|part| of(part, laid_out)));
}

fn round_in_place(numbers: &mut [f32]) {
    for piece in numbers.chunks_mut(1024) {
        let mut before = [0.0; 1024];
        let before = &mut before[..piece.len()];
        before.copy_from_slice(piece);
        round_to_bf16(before, piece);
    }
}

/// Returns a copy of numbers, rounded if asked for.
fn copy_of(arena: &mut Arena, numbers: &[f32], rounds: bool) -> Vec<f32> {
    let mut copy = arena.take(numbers.len());
    match rounds {
        true => round_to_bf16(numbers, &mut copy),
        false => copy.copy_from_slice(numbers),
    }
    copy
}

impl Tape<'_> {
    /// Returns images convolved with a weight `[outputs, side * side * channels]`, plus a bias.
    pub(crate) fn convolve(
        &mut self,
        input: Var,
        geometry: Geometry,
        window: Convolution,
        weight: ParameterId,
        bias: Option<ParameterId>,
    ) -> (Var, Geometry) {
        let output_geometry = window.output(geometry);
        let (channels, outputs) = (self.columns(input), self.parameters.get(weight).rows());
        let layout = Layout { window, input: geometry, output: output_geometry, channels, outputs };
        let rounds = self.settings.precision == TrainPrecision::Bf16;
        let threads = self.settings.threads;
        let images = layout.images_of_part();
        let mut output = self.arena.take(geometry.images * output_geometry.pixels() * outputs);
        let mut laid_out = self.laid_out(layout);
        let weights = copy_of(self.arena, &self.parameters.get(weight).values, rounds);
        let biases = bias.map(|bias| &self.parameters.get(bias).values[..]);
        let (from, to) = (geometry.pixels() * channels, output_geometry.pixels() * outputs);
        let inputs = self.slots[input.0].numbers.chunks(images * from);
        let mut parts: Vec<(&mut [f32], &[f32])> = output.chunks_mut(images * to).zip(inputs).collect();
        each_of_thread(threads, &mut parts, &mut laid_out, |(output, input), laid_out| {
            layout.of_images(output.len() / to).forward(input, &weights, biases, rounds, laid_out, output);
        });
        laid_out.into_iter().for_each(|numbers| self.arena.give(numbers));
        self.arena.give(weights);
        let value = self.push_with(output, outputs, move |tape, output| {
            tape.convolve_backward(layout, output, input, weight, bias);
        });
        (value, output_geometry)
    }

    /// Returns memory for the windows of each thread.
    fn laid_out(&mut self, layout: Layout) -> Vec<Vec<f32>> {
        let length = layout.lines() * layout.output.width * layout.window_length();
        (0..self.settings.threads).map(|_| self.arena.take(length)).collect()
    }

    fn convolve_backward(
        &mut self,
        layout: Layout,
        output: Var,
        input: Var,
        weight: ParameterId,
        bias: Option<ParameterId>,
    ) {
        let rounds = self.settings.precision == TrainPrecision::Bf16;
        let threads = self.settings.threads;
        let plain = self.take_gradient(output);
        if let Some(bias) = bias {
            let mut of_bias = self.parameter_sum(bias);
            parallel::add_columns(&plain, &mut of_bias);
            self.put_parameter_gradient(bias, of_bias);
        }
        let gradient = if rounds { copy_of(self.arena, &plain, true) } else { Vec::new() };
        let gradient_numbers = if rounds { &gradient[..] } else { &plain[..] };
        let images = layout.images_of_part();
        let (from, to) = (layout.input.pixels() * layout.channels, layout.output.pixels() * layout.outputs);
        let mut laid_out = self.laid_out(layout);
        let length = self.parameters.get(weight).values.len();
        let parts = layout.input.images.div_ceil(images);
        let mut of_weights: Vec<Vec<f32>> = (0..parts).map(|_| self.arena.take(length)).collect();
        let weights = copy_of(self.arena, &self.parameters.get(weight).values, rounds);
        let mut of_input = self.is_learned(input).then(|| self.gradient_of(input));
        if let Some((of_input, Accumulation::Replace)) = &mut of_input {
            parallel::each_part(threads, of_input, layout.channels, |_, rows| rows.fill(0.0));
        }
        let inputs = &self.slots[input.0].numbers;
        let of_inputs: Vec<Option<&mut [f32]>> = match &mut of_input {
            Some((of_input, _)) => of_input.chunks_mut(images * from).map(Some).collect(),
            None => inputs.chunks(images * from).map(|_| None).collect(),
        };
        let read = inputs.chunks(images * from).zip(gradient_numbers.chunks(images * to));
        let mut parts: Vec<BackwardPart<'_>> = read
            .zip(of_inputs.into_iter().zip(&mut of_weights))
            .map(|((input, gradient), (of_input, of_weight))| BackwardPart { input, gradient, of_input, of_weight })
            .collect();
        each_of_thread(threads, &mut parts, &mut laid_out, |part, laid_out| {
            layout.of_images(part.input.len() / from).backward(part, &weights, rounds, laid_out);
        });
        let mut sum = self.parameter_sum(weight);
        parallel::each_part(threads, &mut sum, 1, |first, sum| {
            of_weights.iter().for_each(|of_weight| add_to(sum, &of_weight[first..first + sum.len()]));
        });
        self.put_parameter_gradient(weight, sum);
        if let Some((of_input, _)) = of_input {
            self.put_gradient(input, of_input);
        }
        laid_out
            .into_iter()
            .chain(of_weights)
            .chain([weights, gradient, plain])
            .for_each(|numbers| self.arena.give(numbers));
    }
}
