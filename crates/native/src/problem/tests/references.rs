//! The answers of SciPy (`scripts/make_optimization_references.py`).

use seedhouse_core::runtime::{DeclaredProblem, Outcome, Solution};
use serde_json::{Value, json};

use super::{check_answer, close, fixture, fixture_json, read, solve};

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn assert_objective(expected: &Value, solution: &Solution, what: &str) {
    assert_eq!(json!(solution.outcome), expected["outcome"], "{what}");
    match expected["objective"].as_f64() {
        Some(objective) => assert!(close(solution.objective.unwrap(), objective), "{what}: {solution:?}"),
        None => assert_eq!(solution.objective, None, "{what}"),
    }
}

#[test]
fn committed_problems_have_the_values_slacks_and_prices_of_scipy() {
    for case in fixture_json("expected.json")["cases"].as_array().unwrap() {
        let document = fixture(&format!("{}.json", case["document"].as_str().unwrap()));
        let parameters = case["parameters"].as_object().unwrap();
        let chosen: Vec<(&str, f64)> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_f64().unwrap())).collect();
        let (linear, solution) = solve(&document, &chosen);
        assert_objective(case, &solution, &case.to_string());
        check_answer(read(&document).unwrap().info().direction, &linear, &solution);
        if solution.outcome != Outcome::Optimal {
            continue;
        }
        // The optima of these problems are unique, and so are the prices of the continuous ones.
        let values = solution.variables.iter().map(|variable| variable.value);
        assert!(
            values.zip(numbers(&case["variables"])).all(|(ours, theirs)| close(ours, theirs)),
            "{case}: {solution:?}"
        );
        if case["shadow_prices"].is_array() {
            let prices = solution.constraints.iter().map(|constraint| constraint.shadow_price.unwrap());
            assert!(
                prices.zip(numbers(&case["shadow_prices"])).all(|(ours, theirs)| close(ours, theirs)),
                "{case}: {solution:?}"
            );
            let costs = solution.variables.iter().map(|variable| variable.reduced_cost.unwrap());
            assert!(
                costs.zip(numbers(&case["reduced_costs"])).all(|(ours, theirs)| close(ours, theirs)),
                "{case}: {solution:?}"
            );
        } else {
            assert!(solution.no_prices_because.as_deref().unwrap().contains("whole numbers"), "{solution:?}");
        }
    }
}

#[test]
fn random_problems_have_the_outcome_and_the_objective_of_scipy() {
    let problems = fixture_json("random.json");
    let problems = problems["problems"].as_array().unwrap();
    assert!(problems.len() >= 100);
    for problem in problems {
        let document = problem["document"].to_string();
        let (linear, solution) = solve(document.as_bytes(), &[]);
        assert_objective(problem, &solution, &document);
        check_answer(read(document.as_bytes()).unwrap().info().direction, &linear, &solution);
    }
}

#[test]
fn infeasible_problem_names_what_would_have_to_give_way() {
    let (_, solution) = solve(&fixture("crops.json"), &[("land", 0.5)]);
    assert_eq!(solution.outcome, Outcome::Infeasible);
    // Two hectares of tomato are due, and a tenth of all land for soybean besides.
    let land = solution.conflicts.iter().find(|conflict| conflict.constraint == 0).expect("land is too short");
    assert!(land.missing >= 1.5, "{solution:?}");
}
