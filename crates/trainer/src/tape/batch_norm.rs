//! Norms of channels over all images of a batch (Ioffe and Szegedy 2015), and ReLU after them.

use super::{Tape, Var};
use crate::numbers::{self, Scaled, Then};
use crate::parallel;
use crate::parameters::ParameterId;

/// How far running statistics move towards those of a batch: torch's own.
const MOMENTUM: f32 = 0.1;

/// What a batch norm learns and counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchNorm {
    pub(crate) gain: ParameterId,
    pub(crate) bias: ParameterId,
    pub(crate) running_mean: ParameterId,
    pub(crate) running_variance: ParameterId,
    pub(crate) epsilon: f32,
}

impl Tape<'_> {
    /// Returns pixels whose channels have mean 0 and variance 1 in the batch, times a gain, plus a bias, and ReLU of that. Only values are
    /// computed with the running statistics.
    pub(crate) fn batch_norm_relu(&mut self, input: Var, norm: BatchNorm) -> Var {
        let channels = self.columns(input);
        let threads = self.settings.threads;
        let (means, variances) = match self.is_training() {
            true => self.count(input, norm),
            false => {
                let values = |id| self.parameters.get(id).values.clone();
                (values(norm.running_mean), values(norm.running_variance))
            }
        };
        let scales: Vec<f32> = variances.iter().map(|variance| 1.0 / (variance + norm.epsilon).sqrt()).collect();
        let gains = &self.parameters.get(norm.gain).values;
        let factors: Vec<f32> = scales.iter().zip(gains).map(|(scale, gain)| scale * gain).collect();
        let biases = &self.parameters.get(norm.bias).values;
        let addends: Vec<f32> =
            biases.iter().zip(&means).zip(&factors).map(|((bias, mean), factor)| bias - mean * factor).collect();
        let mut output = self.arena.take(self.numbers(input).len());
        parallel::zip_rows(threads, self.numbers(input), &mut output, channels, |rows, output| {
            numbers::scale_channels(rows, &factors, &addends, Then::Relu, output);
        });
        self.push_with(output, channels, move |tape, output| {
            let mut gradient = tape.take_gradient(output);
            let pixels = tape.numbers(input);
            let count = (pixels.len() / channels) as f32;
            let mut sums = vec![0.0; 2 * channels];
            let scaled =
                Scaled { factors: &factors, addends: &addends, means: &means, scales: &scales, then: Then::Relu };
            parallel::sum_parts(&mut gradient, channels, &mut sums, |range, gradient, sums| {
                let (plain, leaning) = sums.split_at_mut(channels);
                numbers::gradient_sums(
                    &pixels[range.start * channels..range.end * channels],
                    scaled,
                    gradient,
                    plain,
                    leaning,
                );
            });
            let (plain, leaning) = sums.split_at(channels);
            let of_plain: Vec<f32> = plain.iter().zip(&factors).map(|(sum, factor)| sum * factor / count).collect();
            let leans = leaning.iter().zip(&factors).zip(&scales);
            let slopes: Vec<f32> = leans.map(|((sum, factor), scale)| sum * factor * scale / count).collect();
            parallel::zip_rows(threads, pixels, &mut gradient, channels, |rows, gradient| {
                numbers::norm_gradient(rows, &factors, &means, &of_plain, &slopes, gradient);
            });
            tape.hand_gradient(input, gradient);
            for (id, sums) in [(norm.bias, plain), (norm.gain, leaning)] {
                let mut of_parameter = tape.parameter_sum(id);
                numbers::add_to(&mut of_parameter, sums);
                tape.put_parameter_gradient(id, of_parameter);
            }
        })
    }

    /// Returns the means and variances of a batch, having moved the running ones towards them.
    fn count(&mut self, input: Var, norm: BatchNorm) -> (Vec<f32>, Vec<f32>) {
        let (channels, rows) = (self.columns(input), self.rows(input));
        let pixels = self.numbers(input);
        let mut means = vec![0.0; channels];
        parallel::add_columns(pixels, &mut means);
        means.iter_mut().for_each(|mean| *mean /= rows as f32);
        let mut variances = vec![0.0; channels];
        parallel::sum_ranges((rows, channels), &mut variances, |range, sums| {
            numbers::add_squares(&pixels[range.start * channels..range.end * channels], &means, sums);
        });
        variances.iter_mut().for_each(|variance| *variance /= rows as f32);
        // The running variance is that of the whole, of which a batch is a sample.
        let unbiased = rows as f32 / (rows.max(2) - 1) as f32;
        let mut follow = |id, found: &[f32], factor: f32| {
            let running = &mut self.parameters.get_mut(id).values;
            running
                .iter_mut()
                .zip(found)
                .for_each(|(running, found)| *running += (found * factor - *running) * MOMENTUM);
        };
        follow(norm.running_mean, &means, 1.0);
        follow(norm.running_variance, &variances, unbiased);
        (means, variances)
    }
}
