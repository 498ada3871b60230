//! Fewer pixels: the greatest of 2 x 2, and the mean of all.

use super::{Geometry, Tape, Var};
use crate::numbers;
use crate::parallel;

impl Tape<'_> {
    /// Returns the greatest number of each 2 x 2 pixels, channel by channel. An odd last line or column is left out.
    pub(crate) fn max_pool(&mut self, input: Var, geometry: Geometry) -> (Var, Geometry) {
        let channels = self.columns(input);
        let to = Geometry { images: geometry.images, height: geometry.height / 2, width: geometry.width / 2 };
        let (from_length, to_length) = (geometry.pixels() * channels, to.pixels() * channels);
        let line = geometry.width * channels;
        let mut output = self.arena.take(to.images * to_length);
        let pixels = self.numbers(input);
        parallel::each_piece(&mut output, to_length, |image, output| {
            let image = &pixels[image * from_length..][..from_length];
            for (place, output) in output.chunks_exact_mut(channels).enumerate() {
                let start = place / to.width * 2 * line + place % to.width * 2 * channels;
                let rows = [start, start + channels, start + line, start + line + channels];
                numbers::greatest_of_four(rows.map(|row| &image[row..row + channels]), output);
            }
        });
        let value = self.push_with(output, channels, move |tape, output| {
            let gradient = tape.take_gradient(output);
            let mut of_input = tape.arena.take(geometry.images * from_length);
            let (pixels, pooled) = (tape.numbers(input), tape.numbers(output));
            parallel::each_piece(&mut of_input, from_length, |image, of_image| {
                of_image.fill(0.0);
                let pixels = &pixels[image * from_length..][..from_length];
                let of_output = image * to_length..(image + 1) * to_length;
                let places =
                    gradient[of_output.clone()].chunks_exact(channels).zip(pooled[of_output].chunks_exact(channels));
                for (place, (gradient, pooled)) in places.enumerate() {
                    let start = place / to.width * 2 * line + place % to.width * 2 * channels;
                    let rows = [start, start + channels, start + line, start + line + channels];
                    // The first that is the greatest has the gradient.
                    for channel in 0..channels {
                        if let Some(row) = rows.into_iter().find(|row| pixels[row + channel] == pooled[channel]) {
                            of_image[row + channel] = gradient[channel];
                        }
                    }
                }
            });
            tape.arena.give(gradient);
            tape.hand_gradient(input, of_input);
        });
        (value, to)
    }

    /// Returns the mean of all pixels of each image.
    pub(crate) fn average_pool(&mut self, input: Var, geometry: Geometry) -> Var {
        let channels = self.columns(input);
        let length = geometry.pixels() * channels;
        let share = 1.0 / geometry.pixels() as f32;
        let mut output = self.arena.zeros(geometry.images * channels);
        let pixels = self.numbers(input);
        parallel::each_piece(&mut output, channels, |image, output| {
            numbers::add_columns(&pixels[image * length..][..length], output);
            output.iter_mut().for_each(|sum| *sum *= share);
        });
        self.push_with(output, channels, move |tape, output| {
            let gradient = tape.take_gradient(output);
            let mut of_input = tape.arena.take(geometry.images * length);
            parallel::each_piece(&mut of_input, length, |image, pixels| {
                let gradient = &gradient[image * channels..][..channels];
                for pixel in pixels.chunks_exact_mut(channels) {
                    pixel.iter_mut().zip(gradient).for_each(|(to, from)| *to = from * share);
                }
            });
            tape.arena.give(gradient);
            tape.hand_gradient(input, of_input);
        })
    }
}
