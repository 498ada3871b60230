//! More pixels, and channels side by side.

use super::{Geometry, Tape, Var};
use crate::parallel;

impl Tape<'_> {
    /// Returns images with each pixel doubled in both directions.
    pub(crate) fn double_pixels(&mut self, input: Var, geometry: Geometry) -> (Var, Geometry) {
        let channels = self.columns(input);
        let to = Geometry { images: geometry.images, height: 2 * geometry.height, width: 2 * geometry.width };
        let line = geometry.width * channels;
        let mut output = self.arena.take(to.images * to.pixels() * channels);
        let pixels = self.numbers(input);
        // Two lines of the output are one of the input.
        parallel::each_part(self.settings.threads, &mut output, 4 * line, |first, output| {
            for (lines, from) in output.chunks_exact_mut(4 * line).zip(pixels[first * line..].chunks_exact(line)) {
                let (upper, lower) = lines.split_at_mut(2 * line);
                for (two, pixel) in upper.chunks_exact_mut(2 * channels).zip(from.chunks_exact(channels)) {
                    two[..channels].copy_from_slice(pixel);
                    two[channels..].copy_from_slice(pixel);
                }
                lower.copy_from_slice(upper);
            }
        });
        let value = self.push_with(output, channels, move |tape, output| {
            let gradient = tape.take_gradient(output);
            let mut of_input = tape.arena.take(geometry.images * geometry.pixels() * channels);
            parallel::each_part(tape.settings.threads, &mut of_input, line, |first, of_input| {
                for (to, from) in
                    of_input.chunks_exact_mut(line).zip(gradient[first * 4 * line..].chunks_exact(4 * line))
                {
                    for (place, pixel) in to.chunks_exact_mut(channels).enumerate() {
                        let four = [0, channels, 2 * line, 2 * line + channels]
                            .map(|part| &from[2 * place * channels + part..]);
                        for channel in 0..channels {
                            pixel[channel] = four.iter().map(|pixel| pixel[channel]).sum();
                        }
                    }
                }
            });
            tape.arena.give(gradient);
            tape.hand_gradient(input, of_input);
        });
        (value, to)
    }

    /// Returns rows with the columns of one value and behind them those of another.
    pub(crate) fn join(&mut self, left: Var, right: Var) -> Var {
        let (first, second) = (self.columns(left), self.columns(right));
        let columns = first + second;
        let mut output = self.arena.take(self.rows(left) * columns);
        let (lefts, rights) = (self.numbers(left), self.numbers(right));
        parallel::each_part(self.settings.threads, &mut output, columns, |row, output| {
            let parts = lefts[row * first..].chunks_exact(first).zip(rights[row * second..].chunks_exact(second));
            for (to, (left, right)) in output.chunks_exact_mut(columns).zip(parts) {
                to[..first].copy_from_slice(left);
                to[first..].copy_from_slice(right);
            }
        });
        self.push_with(output, columns, move |tape, output| {
            let gradient = tape.take_gradient(output);
            for (value, start, width) in [(left, 0, first), (right, first, second)] {
                let mut part = tape.arena.take(gradient.len() / columns * width);
                parallel::each_part(tape.settings.threads, &mut part, width, |row, part| {
                    let from = gradient[row * columns..].chunks_exact(columns);
                    part.chunks_exact_mut(width)
                        .zip(from)
                        .for_each(|(to, from)| to.copy_from_slice(&from[start..start + width]));
                });
                tape.hand_gradient(value, part);
            }
            tape.arena.give(gradient);
        })
    }
}
