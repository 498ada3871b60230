//! Operations on each number.

use seedhouse_kernels::Accumulation;

use super::{Tape, Var};
use crate::numbers::{self, Activation};
use crate::parallel;

impl Tape<'_> {
    /// Returns a function of each number.
    pub(crate) fn activate(&mut self, input: Var, activation: Activation) -> Var {
        let columns = self.columns(input);
        let threads = self.settings.threads;
        let mut output = self.arena.take(self.numbers(input).len());
        parallel::zip_rows(threads, self.numbers(input), &mut output, columns, |input, output| {
            numbers::activate(activation, input, output);
        });
        self.push_with(output, columns, move |tape, output| {
            let mut gradient = tape.take_gradient(output);
            parallel::zip_rows(threads, tape.numbers(input), &mut gradient, columns, |input, gradient| {
                numbers::activate_backward(activation, input, gradient);
            });
            tape.hand_gradient(input, gradient);
        })
    }

    /// Returns `silu(gate) * up` of rows with gates and ups side by side.
    pub(crate) fn gate(&mut self, input: Var) -> Var {
        let width = self.columns(input) / 2;
        let threads = self.settings.threads;
        let mut output = self.arena.take(self.rows(input) * width);
        let rows = self.numbers(input);
        parallel::each_part(threads, &mut output, width, |first, output| {
            let rows = rows[first * 2 * width..].chunks_exact(2 * width);
            rows.zip(output.chunks_exact_mut(width)).for_each(|(row, output)| numbers::gate(row, output));
        });
        self.push_with(output, width, move |tape, output| {
            let gradient = tape.take_gradient(output);
            let mut of_input = tape.arena.take(gradient.len() * 2);
            let rows = tape.numbers(input);
            parallel::each_part(threads, &mut of_input, 2 * width, |first, output| {
                let rows = rows[first * 2 * width..].chunks_exact(2 * width);
                let gradients = gradient[first * width..].chunks_exact(width);
                for ((row, gradient), output) in rows.zip(gradients).zip(output.chunks_exact_mut(2 * width)) {
                    numbers::gate_backward(row, gradient, output);
                }
            });
            tape.arena.give(gradient);
            tape.hand_gradient(input, of_input);
        })
    }

    /// Returns the sum of two values.
    pub(crate) fn add(&mut self, left: Var, right: Var) -> Var {
        let columns = self.columns(left);
        let mut output = self.arena.take(self.numbers(left).len());
        output.copy_from_slice(self.numbers(left));
        self.add_rows(&mut output, self.numbers(right));
        self.push_with(output, columns, move |tape, output| {
            let gradient = tape.take_gradient(output);
            if tape.is_learned(right) {
                let (mut of_right, accumulation) = tape.gradient_of(right);
                match accumulation {
                    Accumulation::Add => tape.add_rows(&mut of_right, &gradient),
                    Accumulation::Replace => of_right.copy_from_slice(&gradient),
                }
                tape.put_gradient(right, of_right);
            }
            tape.hand_gradient(left, gradient);
        })
    }

    /// Returns rows of which each image's part of another value was added to all pixels of the image.
    pub(crate) fn add_to_pixels(&mut self, pixels: Var, of_image: Var) -> Var {
        let (columns, images) = (self.columns(pixels), self.rows(of_image));
        let length = self.numbers(pixels).len() / images;
        let mut output = self.arena.take(self.numbers(pixels).len());
        let (all, addends) = (self.numbers(pixels), self.numbers(of_image));
        parallel::each_piece(&mut output, length, |image, output| {
            let rows = all[image * length..].chunks_exact(columns).zip(output.chunks_exact_mut(columns));
            let addend = &addends[image * columns..][..columns];
            for (row, output) in rows {
                output.iter_mut().zip(row.iter().zip(addend)).for_each(|(to, (a, b))| *to = a + b);
            }
        });
        self.push_with(output, columns, move |tape, output| {
            let gradient = tape.take_gradient(output);
            let (mut of_images, accumulation) = tape.gradient_of(of_image);
            parallel::each_piece(&mut of_images, columns, |image, sum| {
                if accumulation == Accumulation::Replace {
                    sum.fill(0.0);
                }
                numbers::add_columns(&gradient[image * length..][..length], sum);
            });
            tape.put_gradient(of_image, of_images);
            tape.hand_gradient(pixels, gradient);
        })
    }
}
