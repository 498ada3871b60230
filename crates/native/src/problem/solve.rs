//! From a declaration to a verified answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{
    ConstraintValue, DeclaredProblem, Outcome, ProblemInfo, Solution, SolveLimits, VariableValue,
};
use seedhouse_core::{Error, Result};

use super::conflicts::conflicts;
use super::declaration::Declaration;
use super::linear::{Broken, Linear};
use super::prices::{Prices, prices};
use super::solver::{Found, solve};
use crate::quote::quote;

/// A declared problem that can be solved.
pub(super) struct LinearProblem {
    declaration: Declaration,
}

impl LinearProblem {
    pub(super) fn new(declaration: Declaration) -> LinearProblem {
        LinearProblem { declaration }
    }

    /// Says that the problem's numbers, not its writer or its asker, are in the way.
    fn unsolvable(reason: impl Into<String>) -> Error {
        Error::unsupported("solving this problem with these numbers", reason.into())
    }

    fn describe(&self, broken: Broken) -> String {
        let info = self.declaration.info();
        match broken {
            Broken::Bound(place, missing) => {
                format!("the solver's value of {} misses its bounds by {missing:e}", quote(&info.variables[place].name))
            }
            Broken::Whole(place, value) => {
                format!("the solver's value of {} is {value}, which is not whole", quote(&info.variables[place].name))
            }
            Broken::Row(place, missing) => {
                format!(
                    "the solver's values miss the constraint {} by {missing:e}",
                    quote(&info.constraints[place].name)
                )
            }
        }
    }

    /// Rounds what must be whole, and where that moves the others out of place, finds them anew beside it.
    fn settle(&self, linear: &Linear, mut values: Vec<f64>, limits: &SolveLimits<'_>) -> Result<Vec<f64>> {
        linear.tidy(&mut values);
        let Err(broken) = linear.check(&values) else { return Ok(values) };
        let fixed = |place: usize, bound: f64| if linear.is_whole[place] { values[place] } else { bound };
        let beside = Linear {
            lower: linear.lower.iter().enumerate().map(|(place, bound)| fixed(place, *bound)).collect(),
            upper: linear.upper.iter().enumerate().map(|(place, bound)| fixed(place, *bound)).collect(),
            is_whole: vec![false; values.len()],
            ..linear.clone()
        };
        if linear.is_mixed_integer()
            && let Found::Optimal(mut values) = solve(&beside, limits)
        {
            linear.tidy(&mut values);
            if linear.check(&values).is_ok() {
                return Ok(values);
            }
        }
        Err(LinearProblem::unsolvable(self.describe(broken)))
    }

    /// A problem whose objective has no end has a solution at all, which the solver does not promise.
    fn has_solution(linear: &Linear, limits: &SolveLimits<'_>, given: Duration) -> Result<bool> {
        let aimless = Linear { costs: vec![0.0; linear.costs.len()], constant: 0.0, ..linear.clone() };
        match solve(&aimless, limits) {
            Found::Optimal(_) | Found::Feasible { .. } => Ok(true),
            Found::Infeasible => Ok(false),
            Found::Cancelled => Err(Error::Cancelled),
            Found::OutOfTime => Err(out_of_time(given)),
            Found::Unbounded => Err(LinearProblem::unsolvable("the solver contradicts itself")),
            Found::Failed(reason) => Err(LinearProblem::unsolvable(reason)),
        }
    }
}

impl DeclaredProblem for LinearProblem {
    fn info(&self) -> &Arc<ProblemInfo> {
        self.declaration.info()
    }

    fn solve(&self, parameters: &[f64], limits: &SolveLimits<'_>) -> Result<Solution> {
        let given = limits.deadline.saturating_duration_since(Instant::now());
        let linear = self.declaration.with(parameters).map_err(|mistake| {
            Error::invalid(
                "parameters",
                values_text(self.info(), parameters),
                format!("with them {}: {}", mistake.place, mistake.rule),
            )
        })?;
        match solve(&linear, limits) {
            Found::Optimal(values) => {
                let values = self.settle(&linear, values, limits)?;
                let prices = prices(&linear, linear.objective(&values), limits);
                Ok(assigned(&linear, Outcome::Optimal, &values, None, prices))
            }
            Found::Feasible { values, best_bound } => {
                let values = self.settle(&linear, values, limits)?;
                let prices = Err("the time was up before the best solution was known".into());
                Ok(assigned(&linear, Outcome::Feasible, &values, best_bound, prices))
            }
            Found::Infeasible => Ok(without_assignment(Outcome::Infeasible, &linear, limits)),
            Found::Unbounded => Ok(match LinearProblem::has_solution(&linear, limits, given)? {
                true => without_assignment(Outcome::Unbounded, &linear, limits),
                false => without_assignment(Outcome::Infeasible, &linear, limits),
            }),
            Found::OutOfTime => Err(out_of_time(given)),
            Found::Cancelled => Err(Error::Cancelled),
            Found::Failed(reason) => Err(LinearProblem::unsolvable(reason)),
        }
    }

    fn memory_bytes(&self) -> u64 {
        self.declaration.memory_bytes()
    }
}

fn out_of_time(given: Duration) -> Error {
    Error::DeadlineExceeded { what: "solving the problem".into(), seconds: given.as_secs_f64() }
}

fn values_text(info: &ProblemInfo, values: &[f64]) -> String {
    let pairs = info.parameters.iter().zip(values).map(|(parameter, value)| format!("{}={value}", parameter.name));
    pairs.collect::<Vec<_>>().join(", ")
}

fn assigned(
    linear: &Linear,
    outcome: Outcome,
    values: &[f64],
    best_bound: Option<f64>,
    prices: Result<Prices, String>,
) -> Solution {
    let (prices, no_prices_because) = match prices {
        Ok(prices) => (Some(prices), None),
        Err(reason) => (None, Some(reason)),
    };
    let variable = |(place, value): (usize, &f64)| VariableValue {
        value: *value,
        reduced_cost: prices.as_ref().map(|prices| prices.reduced_costs[place]),
    };
    let constraint = |(place, row): (usize, &super::linear::Row)| {
        let left_side = row.left_side(values);
        ConstraintValue {
            left_side,
            right_side: row.right_side,
            slack: tidy_slack(row.slack(left_side), row.tolerance(values)),
            shadow_price: prices.as_ref().map(|prices| prices.shadow_prices[place]),
        }
    };
    Solution {
        outcome,
        objective: Some(linear.objective(values)),
        best_bound,
        variables: values.iter().enumerate().map(variable).collect(),
        constraints: linear.rows.iter().enumerate().map(constraint).collect(),
        no_prices_because,
        conflicts: Vec::new(),
    }
}

/// What rounding leaves of nothing is nothing: a constraint that binds has the slack 0.
fn tidy_slack(slack: f64, tolerance: f64) -> f64 {
    const ROUNDING: f64 = 1e-3;
    if slack.abs() <= ROUNDING * tolerance { 0.0 } else { slack }
}

fn without_assignment(outcome: Outcome, linear: &Linear, limits: &SolveLimits<'_>) -> Solution {
    let is_infeasible = outcome == Outcome::Infeasible;
    Solution {
        outcome,
        objective: None,
        best_bound: None,
        variables: Vec::new(),
        constraints: Vec::new(),
        no_prices_because: Some("there is no best solution".into()),
        conflicts: if is_infeasible { conflicts(linear, limits) } else { Vec::new() },
    }
}
