//! Problems of optimisation through the program: registered, solved on the command line and over HTTP, refused.

use std::path::Path;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::Seedhouse;

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../native/fixtures/optimization");
    folder.join(name).to_str().unwrap().to_owned()
}

/// Returns what SciPy says about a document with these parameters.
fn expected(document: &str, parameters: &Value) -> Value {
    let cases: Value = serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap();
    let is_it = |case: &&Value| case["document"] == document && case["parameters"] == *parameters;
    cases["cases"].as_array().unwrap().iter().find(is_it).unwrap().clone()
}

fn assert_close(found: &Value, expected: &Value) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found} is not {expected}");
}

/// Checks a solution against SciPy's, and returns it.
fn assert_solution(solution: &Value, expected: &Value) {
    assert_eq!(solution["outcome"], expected["outcome"], "{solution}");
    assert_close(&solution["objective"], &expected["objective"]);
    let lists = [
        ("variables", "value", "variables"),
        ("constraints", "shadow_price", "shadow_prices"),
        ("variables", "reduced_cost", "reduced_costs"),
    ];
    for (list, field, name) in lists {
        for (place, value) in expected[name].as_array().into_iter().flatten().enumerate() {
            assert_close(&solution[list][place][field], value);
        }
    }
}

#[test]
fn registered_problem_is_described_and_solved_alike_on_the_command_line_and_over_http() {
    let seedhouse = Seedhouse::new();
    let record = seedhouse.json(&["register", "farm", &fixture("crops.json")]);
    assert_eq!((&record["status"], &record["type"]), (&json!("ready"), &json!("optimization")));
    assert_eq!((&record["framework"], &record["inspected"]["architecture"]), (&json!("seedhouse"), &json!("linear")));
    assert_eq!(record["metadata"]["parameters"]["water"], json!({"default": 400000.0, "lowest": 0.0, "unit": "m3"}));
    assert_eq!(
        (&record["metadata"]["variable_count"], &record["metadata"]["constraint_count"]),
        (&json!(5), &json!(5))
    );
    assert_eq!(record.get("claims"), None, "everything was read from the file: {record}");

    let chosen = json!({"water": 250000, "labour": 3000, "rice_price": 700});
    let expected = expected("crops", &chosen);
    let arguments = ["solve", "farm", "--set", "water=250000", "--set", "labour=3000", "--set", "rice_price=700"];
    let by_command = seedhouse.json(&arguments);
    assert_solution(&by_command["solution"], &expected);
    assert_eq!(by_command["model_id"], "farm_v1");

    let server = seedhouse.serve();
    let answer = server.post_json("/api/inference/optimization", &json!({"model_id": "farm", "parameters": chosen}));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(answer["predictions"], by_command["solution"]);
    assert_eq!((&answer["confidence"], &answer["metadata"]["digest"]), (&Value::Null, &by_command["digest"]));
    let generic = server.post_json("/api/inference", &json!({"model_id": "farm", "input_data": chosen})).json();
    assert_eq!(generic["result"], by_command["solution"]);
}

#[test]
fn table_for_people_has_values_units_slack_and_prices() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "farm", &fixture("crops.json")]);
    let run = seedhouse.run(&["solve", "farm"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["optimal:", "110841.264264", "EUR"]);
    assert_eq!(lines[2], ["VARIABLE", "VALUE", "UNIT", "REDUCED", "COST"]);
    assert!(lines.contains(&vec!["rice", "0", "ha", "-508.607644"]), "{}", run.stdout);
    assert!(lines.contains(&vec!["water", "400000", "<=", "400000", "m3", "0", "0.032775"]), "{}", run.stdout);
    assert!(run.stderr.contains("farm_v1 sha256:"), "{}", run.stderr);
}

#[test]
fn whole_numbers_stay_whole_and_have_no_prices() {
    let seedhouse = Seedhouse::new();
    let record = seedhouse.json(&["register", "houses", &fixture("greenhouses.json")]);
    assert_eq!(record["inspected"]["architecture"], "mixed_integer");
    let chosen = json!({"power": 120});
    let solution = seedhouse.json(&["solve", "houses", "--set", "power=120"])["solution"].clone();
    assert_solution(&solution, &expected("greenhouses", &chosen));
    assert_eq!((&solution["variables"][1]["value"], &solution["variables"][5]["value"]), (&json!(1), &json!(18)));
    assert_eq!(solution["constraints"][3]["shadow_price"], Value::Null);
    assert!(solution["no_prices_because"].as_str().unwrap().contains("whole numbers"));
    let run = seedhouse.run(&["solve", "houses"]);
    assert!(run.code == 0 && run.stderr.contains("no shadow prices"), "{run:?}");
}

#[test]
fn problem_without_a_solution_is_an_answer_that_names_what_is_in_the_way() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "farm", &fixture("crops.json")]);
    let run = seedhouse.run(&["solve", "farm", "--set", "land=0.5"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout.starts_with("infeasible") && run.stdout.contains("`land` would have to give way"),
        "{}",
        run.stdout
    );
    let server = seedhouse.serve();
    let answer =
        server.post_json("/api/inference/optimization", &json!({"model_id": "farm", "parameters": {"land": 0}}));
    assert_eq!(
        (answer.status, &answer.json()["predictions"]["outcome"]),
        (200, &json!("infeasible")),
        "{}",
        answer.text
    );
    let open = json!({
        "seedhouse": "optimization/1",
        "variables": [{"name": "x"}],
        "objective": {"direction": "maximise", "coefficients": {"x": 1}},
    });
    let file = seedhouse.file("open.json", open.to_string().as_bytes());
    seedhouse.json(&["register", "open", &file]);
    assert_eq!(seedhouse.json(&["solve", "open"])["solution"]["outcome"], "unbounded");
}

#[test]
fn documents_that_break_a_rule_are_not_registered() {
    let seedhouse = Seedhouse::new();
    let text = std::fs::read_to_string(fixture("crops.json")).unwrap();
    let cases = [
        (
            text.replace("\"right_side\": \"water\"", "\"right_side\": \"rain\""),
            vec!["constraints[1].right_side", "`rain`"],
        ),
        (text.replace("\"upper\": 10,", "\"upper\": 1,"), vec!["`tomato`", "lower bound 2", "upper bound 1"]),
        (text.replace("\"constant\"", "\"fixed\""), vec!["objective.fixed", "unknown field"]),
        (text.replace("optimization/1", "optimization/9"), vec!["optimization/9", "optimization/1"]),
        (text[..text.len() / 2].to_owned(), vec!["EOF"]),
    ];
    for (place, (document, expected)) in cases.into_iter().enumerate() {
        let file = seedhouse.file(&format!("{place}.json"), document.as_bytes());
        let run = seedhouse.run(&["register", "broken", &file]);
        assert!(run.code != 0, "{place} was taken");
        assert!(expected.iter().all(|part| run.stderr.contains(part)), "{place}: {}", run.stderr);
    }
    assert!(
        seedhouse.stored_files().iter().all(|file| !file.starts_with("blobs/sha256")),
        "{:?}",
        seedhouse.stored_files()
    );
    seedhouse
        .run(&["register", "claimed", &fixture("crops.json"), "--type", "regression"])
        .assert_failed(2, &["`regression`", "`optimization`"]);
}

#[test]
fn requests_that_do_not_fit_the_problem_are_refused_with_the_field_and_both_values() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "farm", &fixture("crops.json")]);
    let gguf = seedhouse.file("tiny.gguf", &tiny_llama_gguf(1));
    seedhouse.json(&["register", "writer", &gguf]);
    let server = seedhouse.serve();
    let cases: [(Value, u16, &[&str]); 9] = [
        (json!({"model_id": "farm", "parameters": {"rain": 1}}), 400, &["parameters.rain", "`land`", "`water`"]),
        (json!({"model_id": "farm", "parameters": {"land": -1}}), 400, &["parameters.land", "-1", "at least 0 ha"]),
        (json!({"model_id": "farm", "parameters": {"land": 1e9}}), 400, &["parameters.land", "at most 1000 ha"]),
        (json!({"model_id": "farm", "parameters": {"land": "much"}}), 400, &["parameters.land"]),
        (json!({"model_id": "farm", "timeout_seconds": 0}), 400, &["timeout_seconds"]),
        (json!({"model_id": "farm", "timeout_seconds": 1e9}), 400, &["timeout_seconds", "600"]),
        (json!({"model_id": "farm", "timeout_seconds": -1}), 400, &["timeout_seconds"]),
        (json!({"model_id": "nobody"}), 404, &["nobody"]),
        (json!({"model_id": "writer"}), 409, &["writer_v1", "optimisation", "language model"]),
    ];
    for (body, status, expected) in cases {
        let answer = server.post_json("/api/inference/optimization", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert!(expected.iter().all(|part| answer.text.contains(part)), "{body}: {}", answer.text);
    }
    let crossing = server
        .post_json("/api/inference/optimization", &json!({"model_id": "farm", "parameters": {"rice_price": 1e300}}));
    assert!(crossing.status == 400 && crossing.text.contains("rice_price"), "{}", crossing.text);
    let list = server.post_json("/api/inference", &json!({"model_id": "farm", "input_data": {"water": [1, 2]}}));
    assert!(list.status == 400 && list.text.contains("water"), "{}", list.text);
    let text = json!({"model_id": "farm", "prompt": "wheat"});
    assert_eq!(server.post_json("/api/inference/text/generation", &text).status, 409);
    seedhouse.run(&["solve", "farm", "--set", "water"]).assert_failed(2, &["water", "NAME=NUMBER"]);
}

#[test]
fn alias_of_a_problem_moves_while_it_is_served() {
    let seedhouse = Seedhouse::new();
    let text = std::fs::read_to_string(fixture("crops.json")).unwrap();
    seedhouse.json(&["register", "farm", &fixture("crops.json")]);
    let drier = seedhouse.file("drier.json", text.replace("\"default\": 400000", "\"default\": 250000").as_bytes());
    seedhouse.json(&["register", "farm", &drier]);
    seedhouse.json(&["alias", "set", "farm:1", "season"]);
    let server = seedhouse.serve();
    let solve = || server.post_json("/api/inference/optimization", &json!({"model_id": "farm@season"})).json();
    assert_solution(&solve()["predictions"], &expected("crops", &json!({})));
    let moved = server.send("PUT", "/api/models/farm/aliases/season", &[], &json!({"model_id": "farm_v2"}));
    assert_eq!(moved.status, 200, "{}", moved.text);
    let answer = solve();
    assert_eq!(answer["metadata"]["model_id"], "farm_v2");
    assert_solution(&answer["predictions"], &expected("crops", &json!({"water": 250000})));
}
