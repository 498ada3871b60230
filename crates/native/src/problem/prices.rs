//! Shadow prices and reduced costs.
//!
//! The solver library keeps its multipliers to itself, so the dual problem is written down and solved as a problem of its own. For
//! `minimise c·x, A x {<=, >=, =} b, l <= x <= u` it is
//!
//! ```text
//! maximise  b·y + l·p − u·q      y <= 0 for <=, y >= 0 for >=, y free for =
//!           Aᵀy + p − q = c      p, q >= 0, and only where a bound is finite
//! ```
//!
//! `y` are the shadow prices, `p − q` the reduced costs. That both problems have the same value proves either solution. Where the
//! optimum is degenerate several sets of prices are right; this is one of them.

use seedhouse_core::runtime::{Relation, SolveLimits};

use super::linear::{Linear, Row, TOLERANCE};
use super::solver::{Found, solve};

/// The prices of a problem, for its own direction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prices {
    /// For each constraint.
    pub(super) shadow_prices: Vec<f64>,
    /// For each variable.
    pub(super) reduced_costs: Vec<f64>,
}

/// Returns the prices of a problem without whole numbers whose optimum is known, or why there are none.
pub(super) fn prices(linear: &Linear, objective: f64, limits: &SolveLimits<'_>) -> Result<Prices, String> {
    if linear.is_mixed_integer() {
        return Err("variables that take whole numbers have no prices".into());
    }
    let sign = if linear.maximise { -1.0 } else { 1.0 };
    let dual = dual(linear, sign);
    let values = match solve(&dual, limits) {
        Found::Optimal(values) => values,
        Found::Feasible { .. } | Found::OutOfTime | Found::Cancelled => return Err("the time was up".into()),
        Found::Infeasible | Found::Unbounded => return Err("the dual problem has no solution in floating point".into()),
        Found::Failed(reason) => return Err(format!("the dual problem could not be solved: {reason}")),
    };
    let found = sign * dual.objective(&values) + linear.constant;
    let scale = dual.costs.iter().zip(&values).map(|(cost, value)| (cost * value).abs()).fold(1.0, f64::max);
    if (found - objective).abs() > TOLERANCE * scale {
        return Err(format!("the dual problem has the value {found}, and the problem {objective}"));
    }
    let (shadow_prices, _) = values.split_at(linear.rows.len());
    let shadow_prices: Vec<f64> = shadow_prices.iter().map(|price| tidy(sign * price)).collect();
    let mut reduced_costs = linear.costs.clone();
    for (row, price) in linear.rows.iter().zip(&shadow_prices) {
        for (column, coefficient) in &row.terms {
            reduced_costs[*column] -= coefficient * price;
        }
    }
    for (cost, own) in reduced_costs.iter_mut().zip(&linear.costs) {
        // What rounding leaves of a difference is no cost.
        if cost.abs() <= TOLERANCE * own.abs().max(1.0) {
            *cost = 0.0;
        }
    }
    Ok(Prices { shadow_prices, reduced_costs })
}

/// Writes the dual problem down. Its variables are `y`, then `p` and `q` where there are bounds; `sign` turns a problem that
/// is to be maximised into one that is to be minimised.
fn dual(linear: &Linear, sign: f64) -> Linear {
    let mut dual = Linear {
        maximise: true,
        costs: linear.rows.iter().map(|row| row.right_side).collect(),
        constant: 0.0,
        lower: linear
            .rows
            .iter()
            .map(|row| if row.relation == Relation::AtLeast { 0.0 } else { f64::NEG_INFINITY })
            .collect(),
        upper: linear
            .rows
            .iter()
            .map(|row| if row.relation == Relation::AtMost { 0.0 } else { f64::INFINITY })
            .collect(),
        is_whole: vec![false; linear.rows.len()],
        rows: linear
            .costs
            .iter()
            .map(|cost| Row { terms: Vec::new(), relation: Relation::Equal, right_side: sign * cost })
            .collect(),
    };
    for (place, row) in linear.rows.iter().enumerate() {
        for (column, coefficient) in &row.terms {
            dual.rows[*column].terms.push((place, *coefficient));
        }
    }
    let bounds = [(&linear.lower, 1.0), (&linear.upper, -1.0)];
    for (bounds, side) in bounds {
        for (column, bound) in bounds.iter().enumerate().filter(|(_, bound)| bound.is_finite()) {
            dual.rows[column].terms.push((dual.costs.len(), side));
            dual.costs.push(side * bound);
            dual.lower.push(0.0);
            dual.upper.push(f64::INFINITY);
            dual.is_whole.push(false);
        }
    }
    dual
}

/// Takes away what rounding leaves of nothing, and `-0`.
fn tidy(price: f64) -> f64 {
    const ROUNDING: f64 = 1e-10;
    if price.abs() <= ROUNDING { 0.0 } else { price }
}
