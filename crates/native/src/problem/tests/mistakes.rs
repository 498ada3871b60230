//! Documents that break a rule, and what is said about them; hard problems and impatient callers.

use std::time::{Duration, Instant};

use seedhouse_core::Code;
use seedhouse_core::runtime::{DeclaredProblem, Outcome, SolveLimits};
use serde_json::{Value, json};

use super::super::is_document;
use super::{fixture, patient, read, solve};

/// Two crops on a field.
fn small() -> Value {
    json!({
        "seedhouse": "optimization/1",
        "parameters": [{"name": "land", "default": 10, "lowest": 0, "highest": 50}],
        "variables": [{"name": "wheat", "upper": "land"}, {"name": "maize"}],
        "objective": {"direction": "maximise", "coefficients": {"wheat": 3, "maize": 2}},
        "constraints": [{"name": "land", "coefficients": {"wheat": 1, "maize": 1}, "relation": "<=", "right_side": "land"}],
    })
}

/// Returns the small problem with one place changed.
fn with(pointer: &str, value: Value) -> String {
    let mut document = small();
    match document.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            document.pointer_mut(parent).unwrap()[field] = value;
        }
    }
    document.to_string()
}

#[test]
fn documents_that_break_a_rule_are_refused_with_the_field_and_both_values() {
    let twice = |field: &str, value: &str| {
        let once = format!("\"{field}\":{value}");
        assert!(small().to_string().contains(&once), "{once}");
        small().to_string().replace(&once, &format!("{once},{once}"))
    };
    let cases: [(&str, String, &[&str]); 35] = [
        ("no variables", with("/variables", json!([])), &["variables", "nothing to find"]),
        ("no objective", with("/objective/coefficients", json!({})), &["objective.coefficients", "empty"]),
        (
            "an empty constraint",
            with("/constraints/0/coefficients", json!({})),
            &["constraints[0].coefficients", "empty"],
        ),
        ("an unknown field", with("/colour", json!("green")), &["colour", "unknown field"]),
        (
            "an unknown field of a variable",
            with("/variables/1/colour", json!(1)),
            &["variables[1].colour", "unknown field"],
        ),
        (
            "an unknown field of a number",
            with("/constraints/0/right_side", json!({"parameter": "land", "minus": 1})),
            &["constraints[0].right_side", "minus"],
        ),
        ("a name twice", with("/variables/1/name", json!("wheat")), &["variables[1].name", "`wheat`", "variables[0]"]),
        (
            "a constraint twice",
            with("/constraints", json!([small()["constraints"][0], small()["constraints"][0]])),
            &["constraints[1].name", "`land`"],
        ),
        (
            "a parameter twice",
            with("/parameters", json!([small()["parameters"][0], small()["parameters"][0]])),
            &["parameters[1].name", "`land`"],
        ),
        ("a coefficient twice", twice("wheat", "3"), &["`wheat` stands there twice"]),
        ("a field twice", twice("relation", "\"<=\""), &["duplicate field `relation`"]),
        (
            "an unknown variable",
            with("/constraints/0/coefficients/rye", json!(1)),
            &["constraints[0].coefficients", "`rye`", "`wheat`, `maize`"],
        ),
        (
            "an unknown variable in the objective",
            with("/objective/coefficients/rye", json!(1)),
            &["objective.coefficients", "`rye`"],
        ),
        (
            "an unknown parameter",
            with("/constraints/0/right_side", json!("water")),
            &["constraints[0].right_side", "`water`", "`land`"],
        ),
        (
            "an unknown parameter in a bound",
            with("/variables/1/upper", json!("water")),
            &["variables[1].upper", "`water`"],
        ),
        (
            "bounds that cross",
            with("/variables/1", json!({"name": "maize", "lower": 5, "upper": 3})),
            &["`maize`", "lower bound 5", "upper bound 3"],
        ),
        ("bounds that cross by a parameter", with("/variables/0/lower", json!(11)), &["`wheat`", "11", "10"]),
        (
            "no whole number",
            with("/variables/1", json!({"name": "maize", "kind": "integer", "lower": 0.2, "upper": 0.8})),
            &["0.2", "0.8", "whole"],
        ),
        (
            "a binary with bounds",
            with("/variables/1", json!({"name": "maize", "kind": "binary", "upper": 3})),
            &["`maize`", "binary"],
        ),
        (
            "a whole bound beyond 32 bits",
            with("/variables/1", json!({"name": "maize", "kind": "integer", "upper": 1e10})),
            &["10000000000"],
        ),
        ("an unknown kind", with("/variables/1/kind", json!("whole")), &["variables[1].kind", "whole", "integer"]),
        ("an unknown relation", with("/constraints/0/relation", json!("<")), &["constraints[0].relation", "<="]),
        ("an unknown direction", with("/objective/direction", json!("best")), &["objective.direction", "best"]),
        ("a number beyond the range of numbers", small().to_string().replace(":3", ":1e999"), &["number out of range"]),
        (
            "a number beyond the limit",
            with("/objective/coefficients/wheat", json!(1e16)),
            &["objective.coefficients.wheat", "1e15"],
        ),
        (
            "no number",
            with("/objective/coefficients/wheat", json!(true)),
            &["objective.coefficients", "a number, the name of a parameter"],
        ),
        ("a NaN", small().to_string().replace(":3", ":NaN"), &["expected value"]),
        (
            "a default out of its range",
            with("/parameters/0/default", json!(60)),
            &["parameters[0].default", "60", "50"],
        ),
        ("a range that crosses", with("/parameters/0/lowest", json!(70)), &["parameters[0].lowest", "70", "50"]),
        ("an empty name", with("/variables/1/name", json!("")), &["variables[1].name", "empty"]),
        ("a name with a line break", with("/variables/1/name", json!("a\nb")), &["variables[1].name", "control"]),
        ("a long name", with("/variables/1/name", json!("x".repeat(200))), &["variables[1].name", "200", "128"]),
        ("a name with an equals sign", with("/parameters/0/name", json!("a=b")), &["parameters[0].name", "a=b"]),
        ("no closing brace", small().to_string().trim_end_matches('}').to_owned(), &["EOF"]),
        ("something behind it", format!("{} 7", small()), &["trailing"]),
    ];
    let mut wrong = Vec::new();
    for (what, document, expected) in cases {
        assert!(is_document(document.as_bytes()), "{what}");
        match read(document.as_bytes()) {
            Ok(_) => wrong.push(format!("{what}: was taken")),
            Err(error) => {
                let text = error.to_string();
                let is_named = text.contains("problem.json") && expected.iter().all(|part| text.contains(part));
                if !is_named || error.code() != Code::Invalid {
                    wrong.push(format!("{what}: {text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn documents_beyond_the_limits_are_refused_with_both_numbers() {
    let many = |count: usize| json!((0..count).map(|place| json!({"name": format!("x{place}")})).collect::<Vec<_>>());
    let error = read(with("/variables", many(10_001)).as_bytes()).err().unwrap().to_string();
    assert!(error.contains("10001") && error.contains("10000"), "{error}");
    let long = with("/description", json!("x".repeat(5 << 20)));
    let error = read(long.as_bytes()).err().unwrap();
    assert_eq!(error.code(), Code::TooLarge);
    assert!(error.to_string().contains("4194304"), "{error}");
    let later = with("/seedhouse", json!("optimization/2"));
    let error = read(later.as_bytes()).err().unwrap();
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.to_string().contains("optimization/1") && error.to_string().contains("optimization/2"), "{error}");
}

#[test]
fn other_documents_are_none_of_this_format() {
    let others: [&[u8]; 6] = [
        b"",
        b"{}",
        b"{\"model_type\": \"llama\"}",
        b"[\"seedhouse\"]",
        b"{\"seedhouse\": \"tabular/1\"}",
        b"GGUF{\"seedhouse\": \"optimization/1\"}",
    ];
    for other in others {
        assert!(!is_document(other), "{}", String::from_utf8_lossy(other));
    }
    assert!(is_document(&fixture("crops.json")));
    assert!(is_document(b" \n{ \"variables\": [], \"seedhouse\" : \"optimization/1\""));
}

#[test]
fn parameters_that_leave_no_room_or_become_too_large_are_the_requests_mistake() {
    let crossing = with("/variables/0/lower", json!(4));
    let problem = read(crossing.as_bytes()).unwrap();
    let error = problem.solve(&[3.0], &patient()).err().unwrap();
    assert_eq!(error.code(), Code::Invalid);
    let text = error.to_string();
    assert!(["land=3", "`wheat`", "lower bound 4", "upper bound 3"].iter().all(|part| text.contains(part)), "{text}");
    let growing = with("/objective/coefficients/wheat", json!({"parameter": "land", "times": 1e14}));
    let error = read(growing.as_bytes()).unwrap().solve(&[50.0], &patient()).err().unwrap();
    assert!(error.to_string().contains("objective") && error.code() == Code::Invalid, "{error}");
}

#[test]
fn open_objective_is_unbounded_unless_nothing_meets_the_constraints_at_all() {
    let open = with("/constraints/0/coefficients", json!({"wheat": 1}));
    let (_, solution) = solve(open.as_bytes(), &[]);
    assert_eq!((solution.outcome, solution.objective), (Outcome::Unbounded, None));
    let contradiction = json!({
        "seedhouse": "optimization/1",
        "variables": [{"name": "x"}, {"name": "y", "lower": null}],
        "objective": {"direction": "minimise", "coefficients": {"y": 1}},
        "constraints": [{"name": "none", "coefficients": {"x": 1}, "relation": "<=", "right_side": -1}],
    });
    let (_, solution) = solve(contradiction.to_string().as_bytes(), &[]);
    assert_eq!(solution.outcome, Outcome::Infeasible);
    assert_eq!(solution.conflicts.len(), 1, "{solution:?}");
}

/// Packing numbers into knapsacks of half their sum: branch and bound has no bound to prune by.
fn hard() -> String {
    let names: Vec<String> = (0..60).map(|place| format!("x{place}")).collect();
    let weights: Vec<u64> =
        (0..60_u64).map(|place| 100_000 + (place * place * 7919 + place * 104_729) % 99_991).collect();
    let row = |shift: usize| -> Value {
        let weight = |(place, name): (usize, &String)| (name.clone(), json!(weights[(place + shift) % 60]));
        names.iter().enumerate().map(weight).collect::<serde_json::Map<_, _>>().into()
    };
    let half = weights.iter().sum::<u64>() / 2;
    let constraint = |shift: usize| json!({"name": format!("c{shift}"), "coefficients": row(shift), "relation": "<=", "right_side": half + 1});
    json!({
        "seedhouse": "optimization/1",
        "variables": names.iter().map(|name| json!({"name": name, "kind": "binary"})).collect::<Vec<_>>(),
        "objective": {"direction": "maximise", "coefficients": row(0)},
        "constraints": [constraint(0), constraint(7), constraint(19), constraint(31), constraint(43)],
    })
    .to_string()
}

#[test]
fn hard_problem_gives_its_best_when_the_time_is_up() {
    let problem = read(hard().as_bytes()).unwrap();
    let limits = SolveLimits { deadline: Instant::now() + Duration::from_millis(300), is_cancelled: &|| false };
    let solution = problem.solve(&[], &limits).unwrap();
    assert_eq!(solution.outcome, Outcome::Feasible);
    assert!(solution.best_bound.unwrap() >= solution.objective.unwrap(), "{solution:?}");
}

#[test]
fn hard_problem_ends_when_nobody_waits_any_more() {
    let problem = read(hard().as_bytes()).unwrap();
    let asked = std::cell::Cell::new(0);
    let is_cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let error = problem.solve(&[], &SolveLimits { is_cancelled: &is_cancelled, ..patient() }).err().unwrap();
    assert_eq!(error.code(), Code::Cancelled);
}

#[test]
fn time_that_is_up_before_anything_was_found_is_an_error_with_the_time() {
    let problem = read(hard().as_bytes()).unwrap();
    let limits = SolveLimits { deadline: Instant::now(), is_cancelled: &|| false };
    match problem.solve(&[], &limits) {
        Err(error) => assert_eq!(error.code(), Code::Deadline),
        Ok(solution) => assert_eq!(solution.outcome, Outcome::Feasible, "a first guess may be there at once"),
    }
}
