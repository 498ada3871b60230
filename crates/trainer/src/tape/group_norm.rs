//! Norms of groups of channels (Wu and He 2018), and what follows them.

use super::{Geometry, Tape, Var};
use crate::numbers::{self, Scaled, Then};
use crate::parameters::ParameterId;
use rayon::prelude::*;

/// Numbers for each channel of an image.
struct Channels {
    means: Vec<f32>,
    scales: Vec<f32>,
    factors: Vec<f32>,
    addends: Vec<f32>,
}

impl Channels {
    fn of_image(pixels: &[f32], gains: &[f32], biases: &[f32], groups: usize, epsilon: f32) -> Channels {
        let channels = gains.len();
        let count = pixels.len() / channels;
        let mut means = vec![0.0; channels];
        numbers::add_columns(pixels, &mut means);
        let of_group = channels / groups;
        let share = 1.0 / (count * of_group) as f32;
        spread(&mut means, of_group, |sum| sum * share);
        let mut scales = vec![0.0; channels];
        numbers::add_squares(pixels, &means, &mut scales);
        spread(&mut scales, of_group, |sum| 1.0 / (sum * share + epsilon).sqrt());
        let factors: Vec<f32> = scales.iter().zip(gains).map(|(scale, gain)| scale * gain).collect();
        let addends =
            biases.iter().zip(&means).zip(&factors).map(|((bias, mean), factor)| bias - mean * factor).collect();
        Channels { means, scales, factors, addends }
    }

    fn scaled(&self, then: Then) -> Scaled<'_> {
        Scaled { factors: &self.factors, addends: &self.addends, means: &self.means, scales: &self.scales, then }
    }
}

/// Replaces the numbers of each group by what a function gives for their sum.
fn spread(numbers: &mut [f32], of_group: usize, of: impl Fn(f32) -> f32) {
    for group in numbers.chunks_exact_mut(of_group) {
        let of_sum = of(group.iter().sum());
        group.fill(of_sum);
    }
}

impl Tape<'_> {
    /// Returns images of which the channels of each group have mean 0 and variance 1, times a gain, plus a bias, and then a function of that.
    pub(crate) fn group_norm(
        &mut self,
        input: Var,
        geometry: Geometry,
        [gain, bias]: [ParameterId; 2],
        (groups, epsilon): (usize, f32),
        then: Then,
    ) -> Var {
        let channels = self.columns(input);
        let length = geometry.pixels() * channels;
        let mut output = self.arena.take(geometry.images * length);
        let (gains, biases) = (&self.parameters.get(gain).values, &self.parameters.get(bias).values);
        let images = output.par_chunks_mut(length).zip(self.numbers(input).par_chunks(length));
        let of_images: Vec<Channels> = images
            .map(|(output, pixels)| {
                let of_image = Channels::of_image(pixels, gains, biases, groups, epsilon);
                numbers::scale_channels(pixels, &of_image.factors, &of_image.addends, then, output);
                of_image
            })
            .collect();
        self.push_with(output, channels, move |tape, output| {
            let mut gradient = tape.take_gradient(output);
            let gains = &tape.parameters.get(gain).values;
            let images = gradient.par_chunks_mut(length).zip(tape.numbers(input).par_chunks(length));
            let sums: Vec<[Vec<f32>; 2]> = images
                .zip(&of_images)
                .map(|((gradient, pixels), of_image)| {
                    let mut sums = [vec![0.0; channels], vec![0.0; channels]];
                    let [plain, leaning] = &mut sums;
                    numbers::gradient_sums(pixels, of_image.scaled(then), gradient, plain, leaning);
                    let of_group = channels / groups;
                    let share = 1.0 / (geometry.pixels() * of_group) as f32;
                    let with_gain = |sums: &[f32]| -> Vec<f32> {
                        let mut products: Vec<f32> = sums.iter().zip(gains).map(|(sum, gain)| sum * gain).collect();
                        spread(&mut products, of_group, |sum| sum * share);
                        products.iter().zip(&of_image.scales).map(|(mean, scale)| mean * scale).collect()
                    };
                    let (plain, slopes) = (with_gain(plain), with_gain(leaning));
                    let slopes: Vec<f32> =
                        slopes.iter().zip(&of_image.scales).map(|(slope, scale)| slope * scale).collect();
                    numbers::norm_gradient(pixels, &of_image.factors, &of_image.means, &plain, &slopes, gradient);
                    sums
                })
                .collect();
            tape.hand_gradient(input, gradient);
            for (place, id) in [bias, gain].into_iter().enumerate() {
                let mut of_parameter = tape.parameter_sum(id);
                sums.iter().for_each(|sums| numbers::add_to(&mut of_parameter, &sums[place]));
                tape.put_parameter_gradient(id, of_parameter);
            }
        })
    }
}
