//! Named values, of which only the version says what they are: tensors, the features of a row, or the parameters of a problem.

use seedhouse_core::{Reference, Result};
use seedhouse_engine::{NamedAnswer, NamedRequest, Patience, SolveRequest, Solved, TabularAnswer, TensorOutputs};

use crate::batch::{BatchInput, BatchOutput};
use crate::infer::Call;
use crate::solve::solve_within;
use crate::{Answer, Service};

/// What a version made of named values.
#[derive(Debug, Clone)]
pub enum Computed {
    /// A model's tensors.
    Tensors(TensorOutputs),
    /// A row's class or targets.
    Rows(TabularAnswer),
    /// A problem's solution.
    Solution(Solved),
}

impl Service {
    /// Computes what a version makes of named values: tensors of a model, the class or the targets of a row, or the solution of a problem
    /// whose parameters they are.
    ///
    /// # Errors
    /// Those of [`predict`](Service::predict), of a row in [`predict_rows`](Service::predict_rows), and of [`solve`](Service::solve).
    pub fn compute(
        &self,
        reference: &Reference,
        request: &NamedRequest,
        patience: &Patience,
    ) -> Result<Answer<Computed>> {
        let copy = |answer: &Computed| copied(request, answer);
        let call = Call { copy: Some(&copy), ..Call::new(reference, "inference", patience.deadline()) };
        self.call(&call, |slot| {
            if !slot.is_problem() {
                return slot.predict_named(request, patience).map(|answer| match answer {
                    NamedAnswer::Tensors(outputs) => Computed::Tensors(outputs),
                    NamedAnswer::Rows(rows) => Computed::Rows(rows),
                });
            }
            solve_within(slot, &parameters(request)?, patience).map(Computed::Solution)
        })
    }
}

fn parameters(request: &NamedRequest) -> Result<SolveRequest> {
    SolveRequest::of_numbers(&request.tensors()?.inputs)
}

/// Returns a request with its answer, for a shadow.
fn copied(request: &NamedRequest, answer: &Computed) -> Option<(BatchInput, BatchOutput)> {
    match answer {
        Computed::Tensors(outputs) => {
            Some((BatchInput::Tensors(request.tensors().ok()?), BatchOutput::Tensors(outputs.clone())))
        }
        Computed::Rows(answer) => match &answer.rows[..] {
            [Ok(row)] => Some((BatchInput::Row(request.tabular()?), BatchOutput::Row(row.clone()))),
            _ => None,
        },
        Computed::Solution(solved) => {
            Some((BatchInput::Parameters(parameters(request).ok()?), BatchOutput::Solution(solved.clone())))
        }
    }
}
