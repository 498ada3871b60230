//! What ends a pass.

use seedhouse_kernels::Accumulation;

use super::{MatrixOf, Tape, Var};
use crate::numbers::{self, Smoothed};
use crate::parallel;
use crate::parameters::ParameterId;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What a pass cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loss {
    /// The sum over what was asked: tokens, pictures, rows.
    pub(crate) sum: f64,
    /// How many they were.
    pub(crate) count: usize,
    /// How many were right, where there are classes.
    pub(crate) correct: Option<usize>,
}

impl Loss {
    /// Returns the mean.
    pub(crate) fn mean(self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    /// Adds another one.
    pub(crate) fn add(&mut self, other: Loss) {
        self.sum += other.sum;
        self.count += other.count;
        self.correct = match (self.correct, other.correct) {
            (Some(one), Some(another)) => Some(one + another),
            (one, another) => one.or(another),
        };
    }
}

/// What makes logits of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Classifier {
    pub(crate) weight: ParameterId,
    pub(crate) bias: Option<ParameterId>,
}

/// Logits that are in memory at once: those of large vocabularies would need more than all other values together.
const LOGITS: usize = 1 << 20;

/// Rows whose logits are made at once, however large the vocabulary is: enough that a few threads share them. Gradients are added up piece
/// by piece, so the pieces do not depend on the number of threads.
const LEAST_ROWS: usize = 64;

impl Tape<'_> {
    /// Ends a pass with the cross-entropy of classes. Logits are made and used up piece by piece; they are never whole.
    pub(crate) fn classify(&mut self, input: Var, classifier: Classifier, labels: &[u32], smoothing: f32) -> Loss {
        let Classifier { weight, bias } = classifier;
        let (columns, classes) = (self.columns(input), self.parameters.get(weight).rows());
        let rows = (LOGITS / classes).max(LEAST_ROWS).min(labels.len().max(1));
        let scale = self.settings.gradient_scale / labels.len() as f32;
        let is_training = self.is_training();
        let mut of_input = self.arena.take(if is_training { labels.len() * columns } else { 0 });
        let mut loss = Loss { sum: 0.0, count: labels.len(), correct: Some(0) };
        for (piece, labels) in labels.chunks(rows).enumerate() {
            let range = piece * rows * columns..(piece * rows + labels.len()) * columns;
            let mut logits = self.arena.take(labels.len() * classes);
            let accumulation = match bias {
                None => Accumulation::Replace,
                Some(bias) => {
                    let bias = &self.parameters.get(bias).values;
                    logits.chunks_exact_mut(classes).for_each(|row| row.copy_from_slice(bias));
                    Accumulation::Add
                }
            };
            let matrix = self.parameters.get(weight);
            let inputs = MatrixOf::plain(&self.slots[input.0].numbers[range.clone()], columns);
            let factors = (inputs, MatrixOf::transposed(&matrix.values, columns));
            Tape::product(&self.settings, self.arena, factors, &mut logits, accumulation);
            let of_rows: Vec<(f64, bool)> = logits
                .par_chunks_exact_mut(classes)
                .zip(labels)
                .with_min_len(4)
                .map(|(row, label)| numbers::cross_entropy(row, Smoothed { label: *label, smoothing, scale }))
                .collect();
            for (cost, is_right) in of_rows {
                loss.sum += cost;
                loss.correct = loss.correct.map(|correct| correct + usize::from(is_right));
            }
            if is_training {
                self.classify_backward(&logits, input, classifier, range, &mut of_input);
            }
            self.arena.give(logits);
        }
        if is_training {
            self.hand_gradient(input, of_input);
        }
        loss
    }

    fn classify_backward(
        &mut self,
        gradient: &[f32],
        input: Var,
        Classifier { weight, bias }: Classifier,
        range: std::ops::Range<usize>,
        of_input: &mut [f32],
    ) {
        let matrix = self.parameters.get(weight);
        let (columns, classes) = (matrix.columns, matrix.rows());
        let factors = (MatrixOf::plain(gradient, classes), MatrixOf::plain(&matrix.values, columns));
        Tape::product(&self.settings, self.arena, factors, &mut of_input[range.clone()], Accumulation::Replace);
        let (mut of_weight, accumulation) = self.parameter_gradient(weight);
        let inputs = MatrixOf::plain(&self.slots[input.0].numbers[range], columns);
        let factors = (MatrixOf::transposed(gradient, classes), inputs);
        Tape::product(&self.settings, self.arena, factors, &mut of_weight, accumulation);
        self.put_parameter_gradient(weight, of_weight);
        if let Some(bias) = bias {
            let mut of_bias = self.parameter_sum(bias);
            parallel::add_columns(gradient, &mut of_bias);
            self.put_parameter_gradient(bias, of_bias);
        }
    }

    /// Returns the logits of rows; for tests and for whoever asks what a network answers.
    #[cfg(test)]
    pub(crate) fn logits(&mut self, input: Var, Classifier { weight, bias }: Classifier) -> Vec<f32> {
        let output = self.linear(input, weight, bias);
        self.numbers(output).to_vec()
    }

    /// Ends a pass with the mean of squared differences. Counts rows; the loss of a row is the mean over its columns.
    pub(crate) fn squared_error(&mut self, input: Var, targets: &[f32]) -> Loss {
        let columns = self.columns(input);
        let rows = targets.len() / columns;
        let scale = 2.0 * self.settings.gradient_scale / targets.len() as f32;
        let mut gradient = self.arena.take(targets.len());
        let found = self.numbers(input);
        let mut sum = 0.0;
        for ((gradient, found), target) in gradient.iter_mut().zip(found).zip(targets) {
            let difference = found - target;
            sum += f64::from(difference) * f64::from(difference);
            *gradient = difference * scale;
        }
        if self.is_training() {
            self.hand_gradient(input, gradient);
        } else {
            self.arena.give(gradient);
        }
        Loss { sum: sum / columns as f64, count: rows, correct: None }
    }
}
