//! Small random problems, solved the long way: every corner, or every whole point.

use proptest::prelude::*;
use seedhouse_core::runtime::{DeclaredProblem, Outcome};
use serde_json::{Value, json};

use super::super::linear::Linear;
use super::{check_answer, close, read, solve};

/// A problem of up to three variables in a box, as a document.
fn document(kind: &'static str) -> impl Strategy<Value = Value> {
    (1_usize..4)
        .prop_flat_map(move |count| {
            let bounds = prop::collection::vec((-4_i32..3, 0_i32..6), count);
            let costs = prop::collection::vec(-5_i32..6, count);
            let row = (prop::collection::vec(-4_i32..5, count), 0_usize..7, -6_i32..13);
            (bounds, costs, prop::collection::vec(row, 0..4), any::<bool>())
        })
        .prop_map(move |(bounds, costs, rows, maximise)| {
            let name = |place: usize| format!("x{place}");
            let numbers = |values: &[i32]| -> Value {
                values.iter().enumerate().map(|(place, value)| (name(place), json!(value))).collect::<serde_json::Map<_, _>>().into()
            };
            let variable = |(place, (lower, width)): (usize, &(i32, i32))| {
                json!({"name": name(place), "kind": kind, "lower": lower, "upper": lower + width})
            };
            let constraint = |(place, (values, relation, right)): (usize, &(Vec<i32>, usize, i32))| {
                let relation = ["<=", "<=", "<=", ">=", ">=", ">=", "="][*relation];
                json!({"name": format!("c{place}"), "coefficients": numbers(values), "relation": relation, "right_side": right})
            };
            json!({
                "seedhouse": "optimization/1",
                "variables": bounds.iter().enumerate().map(variable).collect::<Vec<_>>(),
                "objective": {"direction": if maximise { "maximise" } else { "minimise" }, "coefficients": numbers(&costs)},
                "constraints": rows.iter().enumerate().map(constraint).collect::<Vec<_>>(),
            })
        })
}

/// Returns the best objective among points that meet everything; `None` when none does.
fn best(linear: &Linear, points: impl Iterator<Item = Vec<f64>>) -> Option<f64> {
    let meets = |point: &Vec<f64>| {
        let in_box = (0..point.len())
            .all(|place| (linear.lower[place] - 1e-9..=linear.upper[place] + 1e-9).contains(&point[place]));
        in_box && linear.rows.iter().all(|row| row.missing(point) <= 1e-9)
    };
    let better = |a: f64, b: f64| if linear.maximise { a.max(b) } else { a.min(b) };
    points.filter(meets).map(|point| linear.objective(&point)).reduce(better)
}

/// Returns where any as many planes as there are variables meet: the corners of the feasible region are among these points.
fn corners(linear: &Linear) -> Vec<Vec<f64>> {
    let count = linear.costs.len();
    let mut planes: Vec<(Vec<f64>, f64)> = Vec::new();
    for row in &linear.rows {
        let mut normal = vec![0.0; count];
        row.terms.iter().for_each(|(column, coefficient)| normal[*column] = *coefficient);
        planes.push((normal, row.right_side));
    }
    for place in 0..count {
        let mut normal = vec![0.0; count];
        normal[place] = 1.0;
        planes.push((normal.clone(), linear.lower[place]));
        planes.push((normal, linear.upper[place]));
    }
    choices(planes.len(), count).into_iter().filter_map(|chosen| meeting_point(&planes, &chosen)).collect()
}

fn choices(from: usize, count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let smaller = choices(from, count - 1);
    let longer = |choice: &Vec<usize>| {
        let choice = choice.clone();
        (choice.last().map_or(0, |last| last + 1)..from).map(move |next| [choice.clone(), vec![next]].concat())
    };
    smaller.iter().flat_map(longer).collect()
}

/// Gaussian elimination with pivoting; `None` where the planes have no single point in common.
fn meeting_point(planes: &[(Vec<f64>, f64)], chosen: &[usize]) -> Option<Vec<f64>> {
    let mut rows: Vec<(Vec<f64>, f64)> = chosen.iter().map(|plane| planes[*plane].clone()).collect();
    for column in 0..rows.len() {
        let pivot =
            (column..rows.len()).max_by(|a, b| rows[*a].0[column].abs().total_cmp(&rows[*b].0[column].abs()))?;
        rows.swap(column, pivot);
        if rows[column].0[column].abs() < 1e-9 {
            return None;
        }
        let (normal, right) = rows[column].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(place, _)| *place != column) {
            let factor = row.0[column] / normal[column];
            row.0.iter_mut().zip(&normal).for_each(|(value, other)| *value -= factor * other);
            row.1 -= factor * right;
        }
    }
    Some(rows.iter().enumerate().map(|(place, (normal, right))| right / normal[place]).collect())
}

/// Returns every whole point of the box.
fn whole_points(linear: &Linear) -> Vec<Vec<f64>> {
    let mut points = vec![Vec::new()];
    for place in 0..linear.costs.len() {
        let values = linear.lower[place] as i64..=linear.upper[place] as i64;
        points = points
            .into_iter()
            .flat_map(|point: Vec<f64>| values.clone().map(move |value| [point.clone(), vec![value as f64]].concat()))
            .collect();
    }
    points
}

fn check(document: &Value, points: impl Fn(&Linear) -> Vec<Vec<f64>>) {
    let text = document.to_string();
    let (linear, solution) = solve(text.as_bytes(), &[]);
    check_answer(read(text.as_bytes()).unwrap().info().direction, &linear, &solution);
    match best(&linear, points(&linear).into_iter()) {
        Some(objective) => {
            assert_eq!(solution.outcome, Outcome::Optimal, "{text}");
            assert!(close(solution.objective.unwrap(), objective), "{text}: {solution:?}, not {objective}");
        }
        None => assert_eq!(solution.outcome, Outcome::Infeasible, "{text}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn continuous_optimum_is_that_of_the_best_corner(document in document("continuous")) {
        check(&document, corners);
    }

    #[test]
    fn whole_optimum_is_that_of_the_best_whole_point(document in document("integer")) {
        check(&document, whole_points);
    }
}
