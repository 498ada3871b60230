//! Problems against SciPy's answers, against enumeration, and documents that break a rule.

mod enumeration;
mod mistakes;
mod references;

use std::path::Path;
use std::time::{Duration, Instant};

use seedhouse_core::Result;
use seedhouse_core::runtime::{Direction, Outcome, Relation, Solution, SolveLimits};
use serde_json::Value;

use super::declaration::Declaration;
use super::linear::Linear;
use super::solve::LinearProblem;
use seedhouse_core::runtime::DeclaredProblem;

/// Enough for every problem of these tests on any machine.
fn patient() -> SolveLimits<'static> {
    SolveLimits { deadline: Instant::now() + Duration::from_secs(300), is_cancelled: &|| false }
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/optimization");
    std::fs::read(folder.join(name)).unwrap()
}

fn fixture_json(name: &str) -> Value {
    serde_json::from_slice(&fixture(name)).unwrap()
}

fn read(document: &[u8]) -> Result<LinearProblem> {
    Declaration::read("file `problem.json`", document).map(LinearProblem::new)
}

/// Solves a document for some parameters, and returns with the solution the problem that was solved.
fn solve(document: &[u8], chosen: &[(&str, f64)]) -> (Linear, Solution) {
    let problem = read(document).unwrap();
    let of = |name: &str| chosen.iter().find(|(chosen, _)| *chosen == name).map(|(_, value)| *value);
    let values: Vec<f64> =
        problem.info().parameters.iter().map(|parameter| of(&parameter.name).unwrap_or(parameter.default)).collect();
    let linear = Declaration::read("it", document).unwrap().with(&values).unwrap();
    (linear, problem.solve(&values, &patient()).unwrap())
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0)
}

/// What must be true of every answer, whatever the problem: it is feasible, its objective is that of its values, and its prices prove
/// that nothing is better (strong duality, with prices of the right signs and complementary slackness).
fn check_answer(direction: Direction, linear: &Linear, solution: &Solution) {
    let values: Vec<f64> = solution.variables.iter().map(|variable| variable.value).collect();
    if values.is_empty() {
        assert!(matches!(solution.outcome, Outcome::Infeasible | Outcome::Unbounded), "{solution:?}");
        return;
    }
    linear.check(&values).unwrap();
    let objective = solution.objective.unwrap();
    assert!(close(objective, linear.objective(&values)), "{solution:?}");
    if solution.no_prices_because.is_some() {
        assert!(linear.is_mixed_integer(), "a continuous problem has prices: {solution:?}");
        return;
    }
    let sign = if direction == Direction::Maximise { -1.0 } else { 1.0 };
    let mut dual = linear.constant;
    for (row, found) in linear.rows.iter().zip(&solution.constraints) {
        let price = found.shadow_price.unwrap();
        match row.relation {
            Relation::AtMost => assert!(sign * price <= 1e-6, "{solution:?}"),
            Relation::AtLeast => assert!(sign * price >= -1e-6, "{solution:?}"),
            Relation::Equal => {}
        }
        assert!(
            price.abs() <= 1e-6 || found.slack.abs() <= row.tolerance(&values),
            "{row:?} has slack and price: {found:?}"
        );
        dual += price * row.right_side;
    }
    for (place, found) in solution.variables.iter().enumerate() {
        let cost = found.reduced_cost.unwrap();
        let (lower, upper) = (linear.lower[place], linear.upper[place]);
        let bound = if sign * cost > 0.0 { lower } else { upper };
        if cost.abs() > 1e-6 {
            assert!(close(found.value, bound), "variable {place} has a cost away from its bound: {found:?}");
            dual += cost * bound;
        }
    }
    assert!(close(dual, objective), "the dual value is {dual}, the objective {objective}");
}
