//! Rows times a matrix.

use super::{MatrixOf, Tape, Var};
use crate::parameters::ParameterId;
use seedhouse_kernels::Accumulation;

impl Tape<'_> {
    /// Returns `input * weight^T + bias`, where the weight is `[outputs, inputs]`.
    pub(crate) fn linear(&mut self, input: Var, weight: ParameterId, bias: Option<ParameterId>) -> Var {
        self.linear_onto(None, input, weight, bias)
    }

    /// Returns `residual + input * weight^T + bias`.
    pub(crate) fn add_linear(
        &mut self,
        residual: Var,
        input: Var,
        weight: ParameterId,
        bias: Option<ParameterId>,
    ) -> Var {
        self.linear_onto(Some(residual), input, weight, bias)
    }

    fn linear_onto(
        &mut self,
        residual: Option<Var>,
        input: Var,
        weight: ParameterId,
        bias: Option<ParameterId>,
    ) -> Var {
        let outputs = self.parameters.get(weight).rows();
        let mut output = self.arena.take(self.rows(input) * outputs);
        let accumulation = self.fill(&mut output, outputs, residual, bias);
        let matrix = self.parameters.get(weight);
        let factors = (
            MatrixOf::plain(&self.slots[input.0].numbers, self.slots[input.0].columns),
            MatrixOf::transposed(&matrix.values, matrix.columns),
        );
        Tape::product(&self.settings, self.arena, factors, &mut output, accumulation);
        self.push_with(output, outputs, move |tape, output| {
            let gradient = tape.take_gradient(output);
            tape.linear_backward(&gradient, input, weight, bias);
            match residual {
                Some(residual) => tape.hand_gradient(residual, gradient),
                None => tape.arena.give(gradient),
            }
        })
    }

    /// Writes what the product is added to.
    fn fill(
        &self,
        output: &mut [f32],
        columns: usize,
        residual: Option<Var>,
        bias: Option<ParameterId>,
    ) -> Accumulation {
        let bias = bias.map(|bias| &self.parameters.get(bias).values[..]);
        let residual = residual.map(|residual| &self.slots[residual.0].numbers[..]);
        crate::parallel::each_part(self.settings.threads, output, columns, |first, rows| {
            let residual = residual.map(|residual| &residual[first * columns..][..rows.len()]);
            match (residual, bias) {
                (None, None) => {}
                (Some(residual), None) => rows.copy_from_slice(residual),
                (None, Some(bias)) => rows.chunks_exact_mut(columns).for_each(|row| row.copy_from_slice(bias)),
                (Some(residual), Some(bias)) => {
                    for (row, residual) in rows.chunks_exact_mut(columns).zip(residual.chunks_exact(columns)) {
                        row.iter_mut().zip(residual.iter().zip(bias)).for_each(|(to, (a, b))| *to = a + b);
                    }
                }
            }
        });
        if bias.is_some() || residual.is_some() { Accumulation::Add } else { Accumulation::Replace }
    }

    /// Hands the gradient of a product to its input, its weight and its bias.
    pub(super) fn linear_backward(
        &mut self,
        gradient: &[f32],
        input: Var,
        weight: ParameterId,
        bias: Option<ParameterId>,
    ) {
        let outputs = self.parameters.get(weight).rows();
        let of_output = MatrixOf::plain(gradient, outputs);
        if self.is_learned(input) {
            let (mut of_input, accumulation) = self.gradient_of(input);
            let matrix = self.parameters.get(weight);
            let factors = (of_output, MatrixOf::plain(&matrix.values, matrix.columns));
            Tape::product(&self.settings, self.arena, factors, &mut of_input, accumulation);
            self.put_gradient(input, of_input);
        }
        let (mut of_weight, accumulation) = self.parameter_gradient(weight);
        let rows = &self.slots[input.0];
        let factors = (MatrixOf::transposed(gradient, outputs), MatrixOf::plain(&rows.numbers, rows.columns));
        Tape::product(&self.settings, self.arena, factors, &mut of_weight, accumulation);
        self.put_parameter_gradient(weight, of_weight);
        if let Some(bias) = bias {
            let mut of_bias = self.parameter_sum(bias);
            crate::parallel::add_columns(gradient, &mut of_bias);
            self.put_parameter_gradient(bias, of_bias);
        }
    }
}
