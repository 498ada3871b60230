//! Norms of rows.

use seedhouse_kernels::Accumulation;

use super::{Tape, Var};
use crate::numbers::{self, NormGradients, RowStatistics};
use crate::parallel;
use crate::parameters::ParameterId;
use rayon::prelude::*;

impl Tape<'_> {
    /// Returns rows with mean 0 and variance 1, times a gain, plus a bias (Ba et al. 2016).
    pub(crate) fn layer_norm(&mut self, input: Var, gain: ParameterId, bias: ParameterId, epsilon: f32) -> Var {
        self.norm(input, gain, Some(bias), epsilon)
    }

    /// Returns rows with mean square 1, times a gain (Zhang and Sennrich 2019).
    pub(crate) fn rms_norm(&mut self, input: Var, gain: ParameterId, epsilon: f32) -> Var {
        self.norm(input, gain, None, epsilon)
    }

    fn norm(&mut self, input: Var, gain: ParameterId, bias: Option<ParameterId>, epsilon: f32) -> Var {
        let (columns, rows) = (self.columns(input), self.rows(input));
        let mut output = self.arena.take(rows * columns);
        let mut statistics = vec![RowStatistics::default(); rows];
        let gains = &self.parameters.get(gain).values;
        let biases = bias.map(|bias| &self.parameters.get(bias).values[..]);
        let part = rows.div_ceil(self.settings.threads * 4).max(1);
        let parts = output.par_chunks_mut(part * columns).zip(self.numbers(input).par_chunks(part * columns));
        parts.zip(statistics.par_chunks_mut(part)).for_each(|((output, input), statistics)| match biases {
            Some(biases) => numbers::layer_norm(input, gains, biases, epsilon, statistics, output),
            None => numbers::rms_norm(input, gains, epsilon, statistics, output),
        });
        self.push_with(output, columns, move |tape, output| {
            let gradient = tape.take_gradient(output);
            let (mut of_input, accumulation) = tape.gradient_of(input);
            let mut sums = tape.arena.zeros(2 * columns);
            let (rows, gains) = (tape.numbers(input), &tape.parameters.get(gain).values);
            let adds = accumulation == Accumulation::Add;
            parallel::sum_parts(&mut of_input, columns, &mut sums, |range, output, sums| {
                let (of_gain, of_bias) = sums.split_at_mut(columns);
                let sums = NormGradients { gain: of_gain, bias: of_bias };
                let numbers = range.start * columns..range.end * columns;
                let (rows, gradient, statistics) = (&rows[numbers.clone()], &gradient[numbers], &statistics[range]);
                match bias {
                    Some(_) => numbers::layer_norm_backward(rows, gradient, gains, statistics, sums, output, adds),
                    None => numbers::rms_norm_backward(rows, gradient, gains, statistics, sums, output, adds),
                }
            });
            tape.put_gradient(input, of_input);
            tape.arena.give(gradient);
            for (id, sum) in [Some(gain), bias].into_iter().flatten().zip(sums.chunks_exact(columns)) {
                let mut of_parameter = tape.parameter_sum(id);
                numbers::add_to(&mut of_parameter, sum);
                tape.put_parameter_gradient(id, of_parameter);
            }
            tape.arena.give(sums);
        })
    }
}
