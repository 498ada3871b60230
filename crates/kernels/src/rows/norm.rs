//! Rows brought to one size.

use super::check_length;
use crate::Level;
use crate::lanes::{self, Kernel, LANES, Lanes};

/// Sums that are kept side by side, so that an addition need not wait for the one before it.
const CHAINS: usize = 4;

/// Writes `x / sqrt(mean of x^2 + epsilon) * weight` (Zhang and Sennrich 2019), within 2e-6 of itself for rows of up to
/// 10,000 numbers. Squares beyond f32 give zeros.
pub fn rms_norm(level: Level, input: &[f32], weight: &[f32], epsilon: f32, output: &mut [f32]) {
    check_length("the input", input.len(), output.len());
    check_length("the weight", weight.len(), output.len());
    lanes::run(level, RmsNorm { input, weight, epsilon, output });
}

/// Writes `(x - mean) / sqrt(variance + epsilon) * weight + bias` (Ba et al. 2016), within 1e-5 of the greatest summand
/// unless the mean is much greater than the deviation, when f32 has lost the difference already.
pub fn layer_norm(level: Level, input: &[f32], weight: &[f32], bias: Option<&[f32]>, epsilon: f32, output: &mut [f32]) {
    check_length("the input", input.len(), output.len());
    check_length("the weight", weight.len(), output.len());
    if let Some(bias) = bias {
        check_length("the bias", bias.len(), output.len());
    }
    lanes::run(level, LayerNorm { input, weight, bias, epsilon, output });
}

struct RmsNorm<'a> {
    input: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    output: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let mean = sum_of_squares(lanes, self.input, 0.0) / self.input.len() as f32;
        let factor = lanes.splat(1.0 / (mean + self.epsilon).sqrt());
        let (inputs, input_rest) = self.input.as_chunks::<LANES>();
        let (weights, weight_rest) = self.weight.as_chunks::<LANES>();
        let (outputs, output_rest) = self.output.as_chunks_mut::<LANES>();
        for ((input, weight), output) in inputs.iter().zip(weights).zip(outputs) {
            let scaled = lanes.multiply(lanes.load(input), factor);
            lanes.store(lanes.multiply(scaled, lanes.load(weight)), output);
        }
        let scaled = lanes.multiply(lanes.load_first(input_rest), factor);
        lanes.store_first(lanes.multiply(scaled, lanes.load_first(weight_rest)), output_rest);
    }
}

struct LayerNorm<'a> {
    input: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    epsilon: f32,
    output: &'a mut [f32],
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let length = self.input.len() as f32;
        let mean = sum(lanes, self.input) / length;
        let variance = sum_of_squares(lanes, self.input, mean) / length;
        let (factor, mean) = (lanes.splat(1.0 / (variance + self.epsilon).sqrt()), lanes.splat(mean));
        let (inputs, input_rest) = self.input.as_chunks::<LANES>();
        let (weights, weight_rest) = self.weight.as_chunks::<LANES>();
        let (biases, bias_rest) = self.bias.unwrap_or(&[]).as_chunks::<LANES>();
        let (outputs, output_rest) = self.output.as_chunks_mut::<LANES>();
        let zero = lanes.splat(0.0);
        for (index, ((input, weight), output)) in inputs.iter().zip(weights).zip(outputs).enumerate() {
            let scaled = lanes.multiply(lanes.subtract(lanes.load(input), mean), factor);
            let bias = biases.get(index).map_or(zero, |bias| lanes.load(bias));
            lanes.store(lanes.multiply_add(scaled, lanes.load(weight), bias), output);
        }
        let scaled = lanes.multiply(lanes.subtract(lanes.load_first(input_rest), mean), factor);
        let weighted = lanes.multiply_add(scaled, lanes.load_first(weight_rest), lanes.load_first(bias_rest));
        lanes.store_first(weighted, output_rest);
    }
}

/// Returns the sum of the numbers.
#[inline(always)]
fn sum<L: Lanes>(lanes: L, values: &[f32]) -> f32 {
    let (groups, rest) = values.as_chunks::<LANES>();
    let (quads, last) = groups.as_chunks::<CHAINS>();
    let mut sums = [lanes.splat(0.0); CHAINS];
    for quad in quads {
        for chain in 0..CHAINS {
            sums[chain] = lanes.add(sums[chain], lanes.load(&quad[chain]));
        }
    }
    for group in last {
        sums[0] = lanes.add(sums[0], lanes.load(group));
    }
    sums[1] = lanes.add(sums[1], lanes.load_first(rest));
    sum_of_chains(lanes, sums)
}

/// Returns the sum of the squares of the distances from `center`.
#[inline(always)]
fn sum_of_squares<L: Lanes>(lanes: L, values: &[f32], center: f32) -> f32 {
    let (groups, rest) = values.as_chunks::<LANES>();
    let (quads, last) = groups.as_chunks::<CHAINS>();
    let (zero, center) = (lanes.splat(0.0), lanes.splat(center));
    let mut sums = [zero; CHAINS];
    for quad in quads {
        for chain in 0..CHAINS {
            let distance = lanes.subtract(lanes.load(&quad[chain]), center);
            sums[chain] = lanes.multiply_add(distance, distance, sums[chain]);
        }
    }
    for group in last {
        let distance = lanes.subtract(lanes.load(group), center);
        sums[0] = lanes.multiply_add(distance, distance, sums[0]);
    }
    let distance = lanes.subtract(lanes.load_first(rest), center);
    let distance = lanes.keep(distance, 0..rest.len(), zero);
    sums[1] = lanes.multiply_add(distance, distance, sums[1]);
    sum_of_chains(lanes, sums)
}

#[inline(always)]
fn sum_of_chains<L: Lanes>(lanes: L, sums: [L::F32s; CHAINS]) -> f32 {
    let [a, b, c, d] = sums;
    lanes.sum(lanes.add(lanes.add(a, b), lanes.add(c, d)))
}
