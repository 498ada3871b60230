//! 1x1 convolutions.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

use super::{Activation, Planes};

/// A 1x1 convolution: at each position, the outputs are a matrix times the inputs.
#[derive(Debug)]
pub(crate) struct Pointwise {
    /// `[outputs, inputs]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
    activation: Activation,
}

impl Pointwise {
    /// Returns the bytes of the weights.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&self.weights[..]) + size_of_val(&self.bias[..])
    }

    /// Takes `bias.len()` rows of weights.
    pub(crate) fn new(weights: Vec<f32>, bias: Vec<f32>, activation: Activation) -> Pointwise {
        let inputs = weights.len() / bias.len();
        assert_eq!(inputs * bias.len(), weights.len(), "weights are rows of equal length");
        Pointwise { weights, bias, inputs, activation }
    }

    /// Returns the number of output channels.
    pub(crate) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Computes the outputs, each thread a panel of the result.
    pub(crate) fn run(&self, input: &Planes) -> Planes {
        assert_eq!(input.channels, self.inputs, "channels of a 1x1 convolution");
        let (outputs, positions) = (self.outputs(), input.plane_size());
        let mut data = vec![0.0; outputs * positions];
        let weights = view((outputs, self.inputs), &self.weights);
        let values = view((self.inputs, positions), &input.data);
        let mut result = ArrayViewMut2::from_shape((outputs, positions), &mut data).expect("it was made of this size");
        let threads = rayon::current_num_threads();
        // The matrix product repacks what it does not split, so the longer side is split.
        if positions >= outputs {
            let width = positions.div_ceil(threads);
            let panels: Vec<_> =
                result.axis_chunks_iter_mut(Axis(1), width).zip(values.axis_chunks_iter(Axis(1), width)).collect();
            panels.into_par_iter().for_each(|(panel, values)| self.multiply(weights, values, &self.bias, panel));
        } else {
            let height = outputs.div_ceil(threads);
            let panels: Vec<_> = result
                .axis_chunks_iter_mut(Axis(0), height)
                .zip(weights.axis_chunks_iter(Axis(0), height))
                .zip(self.bias.chunks(height))
                .collect();
            panels.into_par_iter().for_each(|((panel, weights), bias)| self.multiply(weights, values, bias, panel));
        }
        Planes { channels: outputs, height: input.height, width: input.width, data }
    }

    fn multiply(
        &self,
        weights: ArrayView2<'_, f32>,
        values: ArrayView2<'_, f32>,
        bias: &[f32],
        mut panel: ArrayViewMut2<'_, f32>,
    ) {
        general_mat_mul(1.0, &weights, &values, 0.0, &mut panel);
        for (mut row, bias) in panel.outer_iter_mut().zip(bias) {
            row.mapv_inplace(|sum| self.activation.apply(sum + bias));
        }
    }
}

fn view(shape: (usize, usize), data: &[f32]) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape(shape, data).expect("the caller checked the number of values")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_sums_over_the_inputs_however_the_work_is_split() {
        for (outputs, inputs, side) in [(2, 3, 5), (40, 7, 2), (1, 1, 1), (16, 16, 4)] {
            let weights: Vec<f32> = (0..outputs * inputs).map(|i| (i as f32 * 0.7).sin()).collect();
            let bias: Vec<f32> = (0..outputs).map(|i| i as f32 * 0.1 - 0.3).collect();
            let data: Vec<f32> = (0..inputs * side * side).map(|i| (i as f32 * 0.3).cos()).collect();
            let input = Planes { channels: inputs, height: side, width: side, data };
            let result = Pointwise::new(weights.clone(), bias.clone(), Activation::Relu6).run(&input);
            assert_eq!((result.channels, result.height, result.width), (outputs, side, side));
            for output in 0..outputs {
                for position in 0..side * side {
                    let sum: f64 = (0..inputs)
                        .map(|i| {
                            f64::from(weights[output * inputs + i]) * f64::from(input.data[i * side * side + position])
                        })
                        .sum();
                    let expected = (sum + f64::from(bias[output])).clamp(0.0, 6.0);
                    let found = f64::from(result.data[output * side * side + position]);
                    assert!((found - expected).abs() < 1e-5, "{outputs}x{inputs}: {found} instead of {expected}");
                }
            }
        }
    }
}
