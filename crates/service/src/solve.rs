//! Solving: a registered problem for the parameters of a request.

use std::time::Instant;

use seedhouse_core::runtime::SolveLimits;
use seedhouse_core::{Reference, Result};
use seedhouse_engine::{Patience, Slot, SolveRequest, Solved};

use crate::batch::{BatchInput, BatchOutput};
use crate::infer::{Call, with_whole_time};
use crate::{Answer, Service};

impl Service {
    /// Solves a declared problem. That it has no solution, or none that is best, is an answer; `is_cancelled` is asked while it is
    /// worked on.
    ///
    /// # Errors
    /// As [`generate`](Service::generate); [`Error::Invalid`](seedhouse_core::Error::Invalid) names the parameter,
    /// [`Error::Unsupported`](seedhouse_core::Error::Unsupported) says that no result could be verified.
    pub fn solve(
        &self,
        reference: &Reference,
        request: &SolveRequest,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Answer<Solved>> {
        let deadline = request.deadline()?;
        let copy =
            |answer: &Solved| Some((BatchInput::Parameters(request.clone()), BatchOutput::Solution(answer.clone())));
        let call = Call { copy: Some(&copy), ..Call::new(reference, "optimisation", Some(deadline)) };
        let answer = self.call(&call, |slot| slot.solve(request, &SolveLimits { deadline, is_cancelled }));
        let timeout = request.timeout.unwrap_or(SolveRequest::DEFAULT_TIMEOUT);
        answer.map_err(|error| with_whole_time(error, Some(timeout)))
    }
}

/// Solves a problem for a caller who has so much patience, of which the engine lets one problem take the longest time at most.
pub(crate) fn solve_within(slot: &Slot, request: &SolveRequest, patience: &Patience) -> Result<Solved> {
    let asked = request.timeout.map(|_| request.deadline()).transpose()?;
    let deadline = asked.into_iter().chain(patience.deadline()).min();
    let deadline = deadline.unwrap_or_else(|| Instant::now() + SolveRequest::DEFAULT_TIMEOUT);
    slot.solve(request, &SolveLimits { deadline, is_cancelled: &|| patience.check(slot.model_id()).is_err() })
}
