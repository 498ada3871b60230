//! What keeps an infeasible problem from a solution.
//!
//! Every constraint is allowed to be missed, and the sum of what is missed is made as small as it can be, each part as a share of the
//! constraint's own numbers. What remains is one smallest set of changes that would leave room. Whole numbers are not asked for
//! here: where none remains, it is they that cannot be met.

use seedhouse_core::runtime::{Conflict, Relation, SolveLimits};

use super::linear::{Linear, TOLERANCE};
use super::solver::{Found, solve};

/// Returns the constraints that would have to give way; nothing where that could not be found out.
pub(super) fn conflicts(linear: &Linear, limits: &SolveLimits<'_>) -> Vec<Conflict> {
    let elastic = elastic(linear);
    let (Found::Optimal(values) | Found::Feasible { values, .. }) = solve(&elastic, limits) else { return Vec::new() };
    let missed =
        linear.rows.iter().enumerate().map(|(constraint, row)| Conflict { constraint, missing: row.missing(&values) });
    missed.filter(|conflict| conflict.missing > TOLERANCE * scale(linear, conflict.constraint)).collect()
}

fn elastic(linear: &Linear) -> Linear {
    let count = linear.costs.len();
    let mut elastic = Linear {
        maximise: false,
        costs: vec![0.0; count],
        constant: 0.0,
        is_whole: vec![false; count],
        ..linear.clone()
    };
    for (place, row) in elastic.rows.iter_mut().enumerate() {
        let helps: &[f64] = match row.relation {
            Relation::AtMost => &[-1.0],
            Relation::AtLeast => &[1.0],
            Relation::Equal => &[1.0, -1.0],
        };
        for help in helps {
            row.terms.push((elastic.costs.len(), *help));
            elastic.costs.push(1.0 / scale(linear, place));
            elastic.lower.push(0.0);
            elastic.upper.push(f64::INFINITY);
            elastic.is_whole.push(false);
        }
    }
    elastic
}

/// Returns the greatest number of a constraint, at least 1.
fn scale(linear: &Linear, place: usize) -> f64 {
    let row = &linear.rows[place];
    row.terms.iter().map(|(_, coefficient)| coefficient.abs()).fold(row.right_side.abs().max(1.0), f64::max)
}
