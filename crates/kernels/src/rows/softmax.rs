//! Scores turned into shares of one.

use super::{check_length, exponential};
use crate::Level;
use crate::lanes::{self, Kernel, LANES, Lanes};

/// Writes e^x divided by the sum of all e^x, within 1e-6 of itself plus 1e-7 for each by which x is below the greatest.
pub fn softmax(level: Level, input: &[f32], output: &mut [f32]) {
    check_length("the input", input.len(), output.len());
    lanes::run(level, Softmax { input, output });
}

struct Softmax<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let greatest = lanes.splat(greatest(lanes, self.input));
        let (inputs, input_rest) = self.input.as_chunks::<LANES>();
        let (outputs, output_rest) = self.output.as_chunks_mut::<LANES>();
        let mut sums = lanes.splat(0.0);
        for (input, output) in inputs.iter().zip(outputs) {
            let power = exponential::exp(lanes, lanes.subtract(lanes.load(input), greatest));
            sums = lanes.add(sums, power);
            lanes.store(power, output);
        }
        let power = exponential::exp(lanes, lanes.subtract(lanes.load_first(input_rest), greatest));
        sums = lanes.add(sums, lanes.keep(power, 0..input_rest.len(), lanes.splat(0.0)));
        lanes.store_first(power, output_rest);
        scale(lanes, self.output, 1.0 / lanes.sum(sums));
    }
}

#[inline(always)]
fn greatest<L: Lanes>(lanes: L, values: &[f32]) -> f32 {
    let (groups, rest) = values.as_chunks::<LANES>();
    let least = lanes.splat(f32::NEG_INFINITY);
    let mut greatest = least;
    for group in groups {
        greatest = lanes.max(lanes.load(group), greatest);
    }
    greatest = lanes.max(lanes.keep(lanes.load_first(rest), 0..rest.len(), least), greatest);
    lanes.greatest(greatest)
}

#[inline(always)]
fn scale<L: Lanes>(lanes: L, values: &mut [f32], factor: f32) {
    let factor = lanes.splat(factor);
    let (groups, rest) = values.as_chunks_mut::<LANES>();
    for group in groups {
        lanes.store(lanes.multiply(lanes.load(group), factor), group);
    }
    lanes.store_first(lanes.multiply(lanes.load_first(rest), factor), rest);
}
