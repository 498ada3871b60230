//! The solver library: the only file that knows it.
//!
//! It looks at its clock between pivots and between branches. It is called for slices of time, and between two of them deadline
//! and cancellation are looked at, so that no problem holds a thread longer than its request allows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use microlp::{
    ComparisonOp, OptimizationDirection, ResumeOptions, SolutionStatus, SolveOptions, SolveOutcome, Variable,
};
use seedhouse_core::panic_text;
use seedhouse_core::runtime::{Relation, SolveLimits};

use super::linear::Linear;

/// How long the solver runs before it is asked whether to go on.
const SLICE: Duration = Duration::from_millis(50);

/// What the library says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// An assignment that nothing is better than.
    Optimal(Vec<f64>),
    /// The best assignment until the time was up, and what the objective cannot be better than, where that is known.
    Feasible { values: Vec<f64>, best_bound: Option<f64> },
    /// Nothing meets the constraints.
    Infeasible,
    /// The objective has no end.
    Unbounded,
    /// The time was up before there was anything.
    OutOfTime,
    /// Nobody waits any more.
    Cancelled,
    /// The library gave up, and why.
    Failed(String),
}

/// Solves a problem.
pub(super) fn solve(linear: &Linear, limits: &SolveLimits<'_>) -> Found {
    // A library that stops over a problem ends this request and nothing else: nothing of ours is changed inside.
    let run = AssertUnwindSafe(|| run(linear, limits));
    catch_unwind(run)
        .unwrap_or_else(|panic| Found::Failed(format!("the solver stopped over it: {}", panic_text(&*panic))))
}

fn run(linear: &Linear, limits: &SolveLimits<'_>) -> Found {
    let (problem, variables) = translate(linear);
    let mut options = SolveOptions::default();
    options.time_limit = Some(slice(limits));
    let mut result = problem.solve_with(options);
    loop {
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(microlp::Error::Infeasible) => return Found::Infeasible,
            Err(microlp::Error::Unbounded) => return Found::Unbounded,
            Err(error) => return Found::Failed(error.to_string()),
        };
        if let SolveOutcome::Solution(solution) = &outcome
            && solution.status() == SolutionStatus::Optimal
        {
            return Found::Optimal(variables.iter().map(|variable| solution.var_value(*variable)).collect());
        }
        if (limits.is_cancelled)() {
            return Found::Cancelled;
        }
        if Instant::now() >= limits.deadline {
            return match outcome {
                SolveOutcome::Solution(solution) => Found::Feasible {
                    values: variables.iter().map(|variable| solution.var_value(*variable)).collect(),
                    best_bound: solution.stats().best_bound.map(|bound| bound + linear.constant),
                },
                SolveOutcome::Interrupted(_) => Found::OutOfTime,
            };
        }
        let mut options = ResumeOptions::default();
        options.time_limit = Some(slice(limits));
        result = outcome.resume_with(options);
    }
}

fn slice(limits: &SolveLimits<'_>) -> Duration {
    SLICE.min(limits.deadline.saturating_duration_since(Instant::now()))
}

fn translate(linear: &Linear) -> (microlp::Problem, Vec<Variable>) {
    let mut problem = microlp::Problem::new(match linear.maximise {
        true => OptimizationDirection::Maximize,
        false => OptimizationDirection::Minimize,
    });
    let variables: Vec<Variable> = (0..linear.costs.len())
        .map(|place| {
            let (cost, lower, upper) = (linear.costs[place], linear.lower[place], linear.upper[place]);
            match linear.is_whole[place] {
                false => problem.add_var(cost, (lower, upper)),
                // Whole bounds of a declaration lie within i32, and what is open becomes its end.
                true => problem.add_integer_var(cost, (lower.ceil() as i32, upper.floor() as i32)),
            }
        })
        .collect();
    for row in &linear.rows {
        let terms = row.terms.iter().map(|(column, coefficient)| (variables[*column], *coefficient));
        let relation = match row.relation {
            Relation::AtMost => ComparisonOp::Le,
            Relation::AtLeast => ComparisonOp::Ge,
            Relation::Equal => ComparisonOp::Eq,
        };
        problem.add_constraint(terms, relation, row.right_side);
    }
    (problem, variables)
}
