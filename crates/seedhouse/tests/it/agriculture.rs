//! The original's routes on growing crops: their shapes, their rules, and what is not made up.

use seedhouse_testkit::tiny_onnx::TinyOnnx;
use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

fn post(server: &Server, route: &str, body: &Value) -> Value {
    let answer = server.post_json(&format!("/api/agriculture/{route}"), body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.text);
    let answer = answer.json();
    assert_eq!(answer["success"], true);
    answer["data"].clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn light_recipe_keeps_every_range_of_the_stage_for_all_crops_and_objectives() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let configs = server.get("/api/agriculture/crop-configs").json();
    assert_eq!(configs["success"], true);
    let crops = configs["data"]["crops"].as_object().unwrap();
    assert_eq!(crops.len(), 13);
    assert!(configs["data"]["basis"].as_str().unwrap().contains("Nobody measured them"));
    for crop in crops.keys() {
        let mut powers = Vec::new();
        for objective in ["yield", "quality", "energy"] {
            let body = json!({"crop_type": crop, "current_day": 30, "target_objective": objective, "environment": {"air": "fresh"}});
            let data = post(&server, "light-recipe", &body);
            let (stage, recipe) = (&data["stage"], &data["recipe"]);
            let within = |value: f64, range: &Value| {
                let (lowest, highest) = (number(&range[0]), number(&range[1]));
                assert!(
                    (lowest - 1e-5..=highest + 1e-5).contains(&value),
                    "{crop} {objective}: {value} is not in {range}"
                );
            };
            let bands = ["uv_380nm", "far_red_720nm", "white_light", "red_660nm"].map(|band| number(&recipe[band]));
            let [uv, far_red, white, red] = bands;
            let all: f64 = bands.iter().sum();
            within(uv / all, &stage["uv_share"]);
            within(far_red / all, &stage["far_red_share"]);
            within(white / red, &stage["white_to_red"]);
            within((white + red) * 0.0036 * number(&stage["light_hours"]), &stage["light_integral"]);
            assert!((number(&recipe["white_red_ratio"]) - white / red).abs() < 1e-9);
            assert_eq!(data["solution"]["outcome"], "optimal");
            powers.push(number(&recipe["power"]));
        }
        assert!(powers[2] < powers[0] && powers[2] < powers[1], "{crop}: saving energy takes the least: {powers:?}");
    }
}

#[test]
fn light_recipe_heeds_ratio_daylight_and_power() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let recipe = |more: Value| {
        let mut body = json!({"crop_type": "lettuce", "current_day": 20, "target_objective": "yield"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(&server, "light-recipe", &body)
    };
    let plain = recipe(json!({}));
    assert_eq!(plain["stage"]["name"], "leafing");
    let ratio = recipe(json!({"white_red_ratio": 2.25}));
    assert!((number(&ratio["recipe"]["white_red_ratio"]) - 2.25).abs() < 1e-6);
    let cloudy = recipe(json!({"environment": {"daylight": 5}}));
    let taken = |data: &Value| number(&data["recipe"]["white_light"]) + number(&data["recipe"]["red_660nm"]);
    // Five mol of a day of sixteen hours.
    assert!((taken(&plain) - taken(&cloudy) - 5.0 / (0.0036 * 16.0)).abs() < 1e-3, "{cloudy}");
    let weak = recipe(json!({"environment": {"power_limit": 10, "temperature": 35}}));
    assert_eq!((&weak["recipe"], &weak["solution"]["outcome"]), (&Value::Null, &json!("infeasible")));
    let advice = weak["advice"].to_string();
    assert!(advice.contains("temperature is 35") && advice.contains("16 to 22"), "{advice}");
    assert!(advice.contains("no light meets"), "{advice}");
}

#[test]
fn light_recipe_is_a_problem_that_can_be_changed_registered_and_named() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let problem = server.get("/api/agriculture/light-recipe/problem").text;
    let mine = problem.replace("\"default\":0.3,", "\"default\":3.0,");
    assert_ne!(problem, mine, "red light becomes dear: {problem}");
    let files = [("own", problem.as_bytes()), ("dear", mine.as_bytes())];
    for (name, bytes) in files {
        let file = seedhouse.file(&format!("{name}.json"), bytes);
        assert_eq!(seedhouse.json(&["register", name, &file])["type"], "optimization");
    }
    let recipe = |model: Value| {
        post(
            &server,
            "light-recipe",
            &json!({"crop_type": "tomato", "current_day": 70, "target_objective": "energy", "model_id": model}),
        )
    };
    let (embedded, own, dear) = (recipe(Value::Null), recipe(json!("own")), recipe(json!("dear")));
    assert_eq!((&embedded["recipe"], &embedded["model"]), (&own["recipe"], &Value::Null));
    assert_eq!(own["model"]["model_id"], "own_v1");
    assert!(number(&dear["recipe"]["red_660nm"]) < number(&own["recipe"]["red_660nm"]), "{dear}");
    let other = json!({"seedhouse": "optimization/1", "variables": [{"name": "x", "upper": 1}], "objective": {"direction": "maximise", "coefficients": {"x": 1}}});
    let file = seedhouse.file("other.json", other.to_string().as_bytes());
    seedhouse.json(&["register", "other", &file]);
    let body = json!({"crop_type": "tomato", "model_id": "other"});
    let answer = server.post_json("/api/agriculture/light-recipe", &body);
    assert_eq!(answer.status, 400, "it has none of the parameters: {}", answer.text);
}

#[test]
fn spectrum_has_the_means_of_its_bands() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let spectrum: Vec<f64> = (0..800).map(|nanometre| f64::from(nanometre) / 10.0).collect();
    let data = post(&server, "spectrum-analysis", &json!({"spectrum_data": spectrum}));
    for (band, mean) in [("uv_380nm", 37.95), ("far_red_720nm", 71.95), ("white_light", 43.45), ("red_660nm", 65.95)] {
        assert!((number(&data[band]) - mean).abs() < 1e-9, "{band}: {data}");
    }
    assert!((number(&data["white_red_ratio"]) - 43.45 / 65.95).abs() < 1e-9);
}

#[test]
fn plan_and_recommendation_follow_the_stages() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let body = json!({"crop_type": "tomato", "target_yield": 300, "start_date": "2026-04-01", "expected_harvest_date": "2026-09-01"});
    let plan = post(&server, "crop-planning", &body);
    assert_eq!((&plan["total_days"], &plan["harvest_date"]), (&json!(143), &json!("2026-08-22")));
    assert_eq!(
        (&plan["is_in_time"], &plan["days_to_spare"], &plan["area_m2"]),
        (&json!(true), &json!(10), &json!(20.0))
    );
    assert_eq!(
        (&plan["stages"][1]["name"], &plan["stages"][1]["start_date"]),
        (&json!("vegetative"), &json!("2026-04-29"))
    );
    let answer = server.get("/api/agriculture/recommendations/tomato?current_day=30").json();
    let data = &answer["data"];
    assert_eq!(
        (&answer["success"], &data["stage"]["name"], &data["day_of_stage"]),
        (&json!(true), &json!("vegetative"), &json!(2))
    );
    assert_eq!((&data["days_left"], &data["next_stage"]), (&json!(29), &json!("flowering")));
}

#[test]
fn growth_is_what_a_registered_model_says_and_nothing_else() {
    let seedhouse = Seedhouse::new();
    let graph = TinyOnnx::new(17)
        .input("current_day", 1, &[])
        .input("temperature", 1, &[])
        .output("height_cm", 1, &[])
        .node("Add", &["current_day", "temperature"], &["height_cm"], &[])
        .bytes();
    let file = seedhouse.file("growth.onnx", &graph);
    seedhouse.json(&["register", "growth", &file, "--type", "regression"]);
    seedhouse.json(&["register", "another", &file, "--type", "classification"]);
    let server = seedhouse.serve();
    let body = |model: Value| json!({"crop_type": "lettuce", "current_day": 20, "environmental_data": {"temperature": 2.5}, "spectrum_data": [], "model_id": model});
    let data = post(&server, "growth-prediction", &body(json!("growth")));
    assert_eq!((&data["stage"], &data["prediction"]["height_cm"]), (&json!("leafing"), &json!(22.5)), "{data}");
    assert_eq!(data["model"]["model_id"], "growth_v1");
    let route = "/api/agriculture/growth-prediction";
    let without = server.post_json(route, &body(Value::Null));
    assert!(without.status == 400 && without.text.contains("registered regression model"), "{}", without.text);
    let wrong = server.post_json(route, &body(json!("another")));
    assert!(wrong.status == 409 && wrong.text.contains("`classification`"), "{}", wrong.text);
}

#[test]
fn what_cannot_be_answered_is_refused_with_the_field_and_both_values() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let cases: [(&str, Value, u16, &[&str]); 10] = [
        ("light-recipe", json!({"crop_type": "dragon fruit"}), 400, &["dragon fruit", "lettuce"]),
        ("light-recipe", json!({"crop_type": "lettuce", "current_day": 99}), 400, &["current_day", "99", "45"]),
        (
            "light-recipe",
            json!({"crop_type": "lettuce", "target_objective": "fame"}),
            400,
            &["target_objective", "fame", "quality"],
        ),
        ("light-recipe", json!({"crop_type": "lettuce", "white_red_ratio": -1}), 400, &["white_red_ratio", "-1"]),
        (
            "light-recipe",
            json!({"crop_type": "lettuce", "environment": {"humidity": 130}}),
            400,
            &["environment.humidity", "130", "100"],
        ),
        ("light-recipe", json!({"current_day": 3}), 400, &["crop_type"]),
        ("spectrum-analysis", json!({"spectrum_data": [1, 2, 3]}), 400, &["3 values", "800"]),
        (
            "crop-planning",
            json!({"crop_type": "rice", "target_yield": -5, "start_date": "2026-04-01"}),
            400,
            &["target_yield", "-5"],
        ),
        (
            "crop-planning",
            json!({"crop_type": "rice", "target_yield": 5, "start_date": "soon"}),
            400,
            &["start_date", "soon"],
        ),
        ("data-contribution", json!({"crop_type": "rice", "height": 20}), 501, &["nothing was kept"]),
    ];
    for (route, body, status, expected) in cases {
        let answer = server.post_json(&format!("/api/agriculture/{route}"), &body);
        assert_eq!(answer.status, status, "{route} {body}: {}", answer.text);
        assert!(expected.iter().all(|part| answer.text.contains(part)), "{route} {body}: {}", answer.text);
    }
    let answer = server.get("/api/agriculture/recommendations/dragon-fruit");
    assert!(answer.status == 400 && answer.text.contains("dragon-fruit"), "{}", answer.text);
    let answer = server.get("/api/agriculture/recommendations/rice?current_day=0");
    assert!(answer.status == 400 && answer.text.contains("current_day"), "{}", answer.text);
}
