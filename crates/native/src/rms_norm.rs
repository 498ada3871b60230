//! Root-mean-square normalisation (Zhang and Sennrich 2019).

use crate::simd::{self, Kernel, Lanes};

/// The weights of one normalisation.
#[derive(Debug)]
pub(crate) struct RmsNorm {
    pub(crate) weights: Vec<f32>,
    pub(crate) epsilon: f32,
}

impl RmsNorm {
    /// Writes each vector of `input`, divided by its root mean square and multiplied with the weights.
    pub(crate) fn apply(&self, input: &[f32], output: &mut [f32]) {
        let width = self.weights.len();
        for (input, output) in input.chunks_exact(width).zip(output.chunks_exact_mut(width)) {
            let mean_of_squares = simd::run(SumOfSquares(input)) / width as f32;
            let factor = 1.0 / (mean_of_squares + self.epsilon).sqrt();
            for ((output, input), weight) in output.iter_mut().zip(input).zip(&self.weights) {
                *output = input * factor * weight;
            }
        }
    }
}

struct SumOfSquares<'a>(&'a [f32]);

impl Kernel for SumOfSquares<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        simd::dot(lanes, self.0, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised_vectors_have_a_mean_square_of_one() {
        let norm = RmsNorm { weights: vec![1.0; 20], epsilon: 1e-6 };
        let input: Vec<f32> = (0..40).map(|index| index as f32 - 11.0).collect();
        let mut output = vec![0.0; 40];
        norm.apply(&input, &mut output);
        for vector in output.chunks(20) {
            let mean: f32 = vector.iter().map(|value| value * value).sum::<f32>() / 20.0;
            assert!((mean - 1.0).abs() < 1e-5, "{mean}");
        }
    }

    #[test]
    fn each_number_is_multiplied_with_the_weight_of_its_place() {
        let norm = RmsNorm { weights: vec![1.0, -2.0, 0.5, 10.0], epsilon: 0.0625 };
        let mut output = vec![0.0; 8];
        // Mean squares of 3.9375 and 15.9375; with epsilon, roots of 2 and 4.
        let (a, b) = (15.75_f32.sqrt(), 63.75_f32.sqrt());
        norm.apply(&[a, 0.0, 0.0, 0.0, 0.0, b, 0.0, 0.0], &mut output);
        let expected = [a / 2.0, 0.0, 0.0, 0.0, 0.0, -2.0 * b / 4.0, 0.0, 0.0];
        for (found, expected) in output.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{output:?}");
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let norm = RmsNorm { weights: vec![2.0; 3], epsilon: 1e-6 };
        let mut output = vec![1.0; 3];
        norm.apply(&[0.0; 3], &mut output);
        assert_eq!(output, [0.0; 3]);
    }
}
