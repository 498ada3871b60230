//! Rows of every kind, with a model that only adds up what it is given.

use std::sync::Arc;

use seedhouse_core::Code;
use seedhouse_core::runtime::{TensorModel, TensorSpec, check_inputs};
use serde_json::json;

use super::*;
use crate::BatchSettings;

/// The first result is the sum of the inputs, those after it are 0, -1, -2 and so on.
struct Sums {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    results: usize,
    declared: Map<String, Value>,
}

impl Sums {
    fn new(inputs: usize, results: usize) -> Sums {
        Sums {
            inputs: vec![TensorSpec::f32("x", vec![None, Some(inputs)])],
            outputs: vec![TensorSpec::f32("y", vec![None, Some(results)])],
            results,
            declared: Map::new(),
        }
    }
}

impl TensorModel for Sums {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn declared(&self) -> Map<String, Value> {
        self.declared.clone()
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let rows = check_inputs(&self.inputs, inputs)?[0];
        let (count, width) = (rows.shape[0], rows.shape[1]);
        let of_row = |row: &[f32]| {
            let sum = row.iter().map(|number| if number.is_nan() { 1000.0 } else { *number }).sum::<f32>();
            (0..self.results).map(move |place| if place == 0 { sum } else { 1.0 - place as f32 }).collect::<Vec<f32>>()
        };
        let results = rows.f32s().unwrap_or_default().chunks(width).flat_map(of_row).collect::<Vec<f32>>();
        let shape = if self.outputs[0].shape.len() == 1 { vec![count] } else { vec![count, self.results] };
        Ok(vec![Tensor::new(shape, results)])
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

fn features() -> Value {
    json!([
        {"name": "pH", "unit": "pH", "range": [3.5, 9.5]},
        {"name": "rain", "mean": 600, "scale": 200, "missing": {"fill": 800, "indicator": true}},
        {"name": "soil", "kind": "categorical", "categories": ["clay", "loam", "3"], "encoding": "index", "missing": {"fill": "loam"}},
        {"name": "irrigated", "kind": "boolean", "missing": {"fill": false}},
    ])
}

fn task(model: Sums, metadata: Value) -> Result<TabularTask> {
    let metadata = metadata.as_object().unwrap();
    let served = ServedTensors::new("soil_v1", Arc::new(model), metadata, BatchSettings::default())?;
    TabularModel::of_model("soil_v1", Arc::new(served), metadata)
}

fn ready(model: Sums, metadata: Value) -> TabularModel {
    match task(model, metadata).unwrap() {
        TabularTask::Ready(model) => *model,
        TabularTask::Impossible(reason) => panic!("{reason}"),
    }
}

/// Five inputs: the indicator of rain is one of its own.
fn regressor() -> TabularModel {
    ready(
        Sums::new(5, 1),
        json!({"features": features(), "targets": [{"name": "yield", "unit": "t/ha", "mean": 1, "scale": 2}]}),
    )
}

fn row(json: Value) -> Row {
    serde_json::from_value(json).unwrap()
}

fn answer(model: &TabularModel, rows: &[Value], policies: TabularPolicies) -> Vec<Result<RowAnswer>> {
    let rows = rows.iter().cloned().map(row).collect();
    model.answer(&TabularRequest { rows, policies }, &Patience::default()).unwrap().rows
}

fn target(row: &Result<RowAnswer>) -> f32 {
    match &row.as_ref().unwrap().outcome {
        RowOutcome::Targets(targets) => targets[0].1,
        RowOutcome::Classes(_) => panic!("a regressor gives numbers"),
    }
}

#[test]
fn values_of_every_kind_become_what_the_graph_was_trained_on() {
    let model = regressor();
    let cases = [
        (json!({"pH": 6, "rain": 1000, "soil": "loam", "irrigated": true}), 6.0 + 2.0 + 0.0 + 1.0 + 1.0),
        (json!({"irrigated": false, "soil": 3, "rain": 600, "pH": 6.5}), 6.5 + 0.0 + 0.0 + 2.0 + 0.0),
        (json!({"pH": 6, "rain": null, "soil": "clay", "irrigated": 1}), 6.0 + 1.0 + 1.0 + 0.0 + 1.0),
        (json!({"pH": 4}), 4.0 + 1.0 + 1.0 + 1.0 + 0.0),
    ];
    let rows: Vec<Value> = cases.iter().map(|(row, _)| row.clone()).collect();
    let together = answer(&model, &rows, TabularPolicies::default());
    for ((row, sum), together) in cases.into_iter().zip(&together) {
        assert_eq!(target(together), sum * 2.0 + 1.0, "{row}");
        assert_eq!(
            &answer(&model, &[row], TabularPolicies::default())[0].as_ref().unwrap(),
            &together.as_ref().unwrap()
        );
    }
    assert_eq!(together[3].as_ref().unwrap().missing, ["rain", "soil", "irrigated"].map(Arc::from));
    let units = model
        .answer(&TabularRequest { rows: vec![row(json!({"pH": 5}))], ..Default::default() }, &Patience::default())
        .unwrap()
        .units;
    assert_eq!(units, [("yield".to_owned(), "t/ha".to_owned())]);
}

#[test]
fn texts_without_a_type_are_read_as_their_feature_wants() {
    let untyped = |cells: [(&str, &str); 4]| {
        Row(cells.map(|(name, text)| (name.to_owned(), Cell::Untyped(text.to_owned()))).to_vec())
    };
    let rows = vec![
        untyped([("pH", " 6 "), ("rain", "1e3"), ("soil", "3"), ("irrigated", "TRUE")]),
        untyped([("pH", "6"), ("rain", ""), ("soil", " "), ("irrigated", "0")]),
        untyped([("pH", "NaN"), ("rain", "1"), ("soil", "clay"), ("irrigated", "0")]),
        untyped([("pH", "6,5"), ("rain", "1"), ("soil", "clay"), ("irrigated", "0")]),
        untyped([("pH", "6"), ("rain", "1"), ("soil", "clay"), ("irrigated", "yes")]),
    ];
    let answers =
        regressor().answer(&TabularRequest { rows, ..Default::default() }, &Patience::default()).unwrap().rows;
    assert_eq!(target(&answers[0]), (6.0 + 2.0 + 2.0 + 1.0) * 2.0 + 1.0);
    assert_eq!(target(&answers[1]), (6.0 + 1.0 + 1.0 + 1.0) * 2.0 + 1.0);
    for (row, expected) in answers[2..].iter().zip(["NaN", "6,5", "yes"]) {
        let error = row.as_ref().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn each_row_has_its_own_mistake_and_the_others_are_answered() {
    let good = json!({"pH": 6, "rain": 600, "soil": "clay", "irrigated": false});
    type Change = fn(&mut Value);
    let cases: [(Change, &str, &[&str]); 11] = [
        (|row| row["ph "] = json!(1), "ph ", &["did you mean `pH`", "`rain`"]),
        (|row| row["phosphorus"] = json!(1), "phosphorus", &["the model takes `pH`, `rain`, `soil`, `irrigated`"]),
        (|row| row["pH"] = json!(null), "pH", &["missing", "required"]),
        (|row| row["pH"] = json!("6.5"), "pH", &["\"6.5\"", "a number, in pH"]),
        (|row| row["pH"] = json!(true), "pH", &["true", "a number"]),
        (|row| row["pH"] = json!([6.5]), "pH", &["a list"]),
        (|row| row["pH"] = json!(9.51), "pH", &["9.51", "3.5 to 9.5 pH", "out_of_range"]),
        (|row| row["rain"] = json!(1e39), "rain", &["finite"]),
        (|row| row["soil"] = json!("Clay "), "soil", &["Clay ", "did you mean `clay`", "`loam`"]),
        (|row| row["soil"] = json!({}), "soil", &["an object"]),
        (|row| row["irrigated"] = json!(0.5), "irrigated", &["0.5", "true or false"]),
    ];
    let model = regressor();
    let mut rows = vec![good.clone()];
    for (change, _, _) in &cases {
        let mut bad = good.clone();
        change(&mut bad);
        rows.extend([bad, good.clone()]);
    }
    let answers = answer(&model, &rows, TabularPolicies::default());
    for good in answers.iter().step_by(2) {
        assert_eq!(target(good), 13.0);
    }
    for (row, (_, field, expected)) in answers.iter().skip(1).step_by(2).zip(cases) {
        let error = row.as_ref().unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some(field)), "{error}");
        let text = error.to_string();
        assert!(expected.iter().all(|part| text.contains(part)), "{text} should contain {expected:?}");
    }
    let twice = Row(vec![("pH".into(), Cell::Number(6.0)), ("pH".into(), Cell::Number(7.0))]);
    let answers =
        model.answer(&TabularRequest { rows: vec![twice], ..Default::default() }, &Patience::default()).unwrap().rows;
    assert!(answers[0].as_ref().unwrap_err().to_string().contains("given twice"));
}

#[test]
fn policies_flag_fill_and_ignore_what_is_refused_without_them() {
    let model = regressor();
    let row = json!({"pH": 12, "rain": 600, "soil": "peat", "irrigated": false, "note": "x"});
    let flagging = TabularPolicies {
        out_of_range: OutOfRange::Flag,
        unknown_category: UnknownCategory::Missing,
        unknown_feature: UnknownFeature::Ignore,
    };
    let answers = answer(&model, &[row], flagging);
    assert_eq!(target(&answers[0]), (12.0 + 1.0) * 2.0 + 1.0);
    let found = serde_json::to_value(answers[0].as_ref().unwrap()).unwrap();
    let flag = json!({"feature": "pH", "value": 12.0, "low": 3.5, "high": 9.5, "unit": "pH"});
    assert_eq!(found, json!({"targets": {"yield": 27.0}, "missing": ["soil"], "out_of_range": [flag]}));
    // A category that counts as missing is still required where nothing is declared for missing ones.
    let features = json!([{"name": "soil", "kind": "categorical", "categories": ["clay"]}]);
    let model = ready(Sums::new(1, 1), json!({"features": features, "targets": ["y"]}));
    let error = answer(&model, &[json!({"soil": "peat"})], flagging)[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("peat") && error.contains("required"), "{error}");
}

#[test]
fn results_become_classes_as_the_record_says_what_they_are() {
    let of = |results, metadata: Value, x: f64| {
        let mut metadata = metadata;
        metadata["features"] = json!(["x"]);
        let model = ready(Sums::new(1, results), metadata);
        match &answer(&model, &[json!({"x": x})], TabularPolicies::default())[0].as_ref().unwrap().outcome {
            RowOutcome::Classes(ranked) => (
                ranked[0].class_name.as_deref().unwrap().to_owned(),
                ranked.iter().map(|class| class.confidence).collect::<Vec<_>>(),
            ),
            RowOutcome::Targets(_) => panic!("a classifier gives classes"),
        }
    };
    let near = |(name, found): (String, Vec<f32>), expected: (&str, &[f32])| {
        assert_eq!((name.as_str(), found.len()), (expected.0, expected.1.len()));
        assert!(found.iter().zip(expected.1).all(|(found, expected)| (found - expected).abs() < 1e-6), "{found:?}");
    };
    // Logits x, 0 and -1.
    let e = std::f32::consts::E;
    let sum = e + 1.0 + 1.0 / e;
    near(of(3, json!({"classes": ["a", "b", "c"]}), 1.0), ("a", &[e / sum, 1.0 / sum, 1.0 / e / sum]));
    // One logit, and one probability: of the second class.
    near(of(1, json!({"classes": ["no", "yes"]}), 0.0), ("no", &[0.5, 0.5]));
    near(of(1, json!({"labels": ["no", "yes"], "output_activation": "sigmoid"}), 0.75), ("yes", &[0.75, 0.25]));
    // Probabilities x and 0.
    near(of(2, json!({"classes": ["no", "yes"], "output_activation": "softmax"}), 1.0), ("no", &[1.0, 0.0]));
}

#[test]
fn model_that_knows_its_features_takes_raw_numbers_and_a_record_may_rename_its_classes() {
    let declared = json!({"features": features(), "classes": ["low", "high"]});
    let sums = || Sums { declared: declared.as_object().unwrap().clone(), ..Sums::new(4, 2) };
    let model = ready(sums(), json!({"labels": ["低", "高"]}));
    // The missing rain is NaN, which this model counts as 1000, and no indicator is made.
    let answers = answer(&model, &[json!({"pH": 6})], TabularPolicies::default());
    let found = serde_json::to_value(answers[0].as_ref().unwrap()).unwrap();
    assert_eq!(
        (&found["class_name"], &found["class_id"], &found["confidence"]),
        (&json!("低"), &json!(0), &json!(1.0))
    );
    assert_eq!(found["probabilities"], json!({"低": 1.0, "高": 0.0}));
    let error = task(sums(), json!({"labels": ["a", "b", "c"]})).err().unwrap().to_string();
    assert!(error.contains("3 classes") && error.contains("2 results"), "{error}");
}

#[test]
fn rows_of_many_results_were_limited_by_their_number_alone() {
    let names: Vec<String> = (0..1024).map(|class| format!("class {class}")).collect();
    let model = ready(
        Sums::new(1, names.len()),
        json!({"features": [{"name": "x", "missing": {"fill": 0}}], "classes": names}),
    );
    let of = |rows: usize| {
        let request = TabularRequest { rows: vec![Row::default(); rows], ..TabularRequest::default() };
        model.answer(&request, &Patience::default())
    };
    let error = of(2049).unwrap_err();
    assert_eq!((error.code(), error.field()), (Code::Invalid, Some("rows")), "{error}");
    for part in ["`2049`", "2048 rows", "1024", "2097152"] {
        assert!(error.to_string().contains(part), "{error} should contain {part}");
    }
    let answers = of(2).unwrap().rows;
    let names = answers.iter().map(|row| match &row.as_ref().unwrap().outcome {
        RowOutcome::Classes(ranked) => ranked[0].class_name.clone().unwrap(),
        RowOutcome::Targets(_) => panic!("a classifier gives classes"),
    });
    let names: Vec<Arc<str>> = names.collect();
    assert!(Arc::ptr_eq(&names[0], &names[1]), "names of classes are not copied for each row");
}

#[test]
fn graph_of_one_row_at_a_time_is_asked_row_by_row() {
    let mut sums = Sums::new(1, 1);
    sums.inputs[0].shape = vec![Some(1), Some(1)];
    sums.outputs[0].shape = vec![Some(1)];
    let model = ready(sums, json!({"features": ["x"], "targets": ["y"]}));
    let rows: Vec<Value> = (0..5).map(|x| json!({"x": x})).collect();
    let found: Vec<f32> = answer(&model, &rows, TabularPolicies::default()).iter().map(target).collect();
    assert_eq!(found, [0.0, 1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn declarations_that_the_model_contradicts_are_refused_with_both_values() {
    let two = || Sums::new(2, 2);
    let classes = json!(["a", "b"]);
    let cases: [(Sums, Value, &[&str]); 7] = [
        (two(), json!({"features": ["x"], "classes": classes}), &["1 features that are 1 inputs", "2 inputs"]),
        (two(), json!({"features": features(), "classes": classes}), &["4 features that are 5 inputs", "2 inputs"]),
        (two(), json!({"features": ["x", "y"], "classes": ["a", "b", "c"]}), &["3 classes", "2 results"]),
        (two(), json!({"features": ["x", "y"], "targets": ["a"]}), &["1 targets", "2 results"]),
        (two(), json!({"features": ["x", "y"]}), &["`metadata.classes`", "missing"]),
        (
            two(),
            json!({"features": ["x", "y"], "classes": classes, "output_activation": "sigmoid"}),
            &["`metadata.output_activation`", "`sigmoid`", "second of two"],
        ),
        (
            two(),
            json!({"features": ["x", {"name": "s", "kind": "categorical", "categories": ["a"], "encoding": "embedding", "embedding_width": 1}],
                "classes": classes}),
            &["features[1].encoding", "embedding"],
        ),
    ];
    for (model, metadata, expected) in cases {
        let error = task(model, metadata).err().unwrap().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error} should contain {expected:?}");
    }
}

#[test]
fn models_that_take_no_rows_say_why() {
    let mut image = Sums::new(1, 1);
    image.inputs[0].shape = vec![None, Some(3), None, None];
    let mut several = Sums::new(1, 2);
    several.outputs.push(TensorSpec::f32("z", vec![None, Some(2)]));
    let mut fixed = Sums::new(1, 1);
    fixed.inputs[0].shape = vec![Some(8), Some(1)];
    let cases = [
        (Sums::new(1, 1), json!({}), "declare `metadata.features`"),
        (image, json!({"features": ["x"]}), "`x` float32 [?, 3, ?, ?]"),
        (several, json!({"features": ["x"]}), "`metadata.output` must name"),
        (fixed, json!({"features": ["x"]}), "`x` float32 [8, 1]"),
        (Sums::new(1, 1), json!({"features": ["x"], "output": "z"}), "called `z`"),
    ];
    for (model, metadata, expected) in cases {
        match task(model, metadata).unwrap() {
            TabularTask::Impossible(reason) => assert!(reason.contains(expected), "{reason}"),
            TabularTask::Ready(_) => panic!("{expected} cannot be ready"),
        }
    }
}

#[test]
fn number_of_rows_has_a_limit_and_ordinary_values_warm_a_model_up() {
    let model = regressor();
    model.warm_up().unwrap();
    for count in [0, MOST_ROWS + 1] {
        let error = model
            .answer(&TabularRequest { rows: vec![Row::default(); count], ..Default::default() }, &Patience::default())
            .unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some("rows")));
    }
}

#[test]
fn result_that_is_not_finite_is_the_mistake_of_its_row() {
    let model = ready(Sums::new(2, 1), json!({"features": ["x", "y"], "targets": ["z"]}));
    let rows = [json!({"x": 3e38, "y": 3e38}), json!({"x": 1, "y": 2})];
    let answers = answer(&model, &rows, TabularPolicies::default());
    assert!(answers[0].as_ref().unwrap_err().to_string().contains("too great"));
    assert_eq!(target(&answers[1]), 3.0);
}

#[test]
fn results_that_look_like_probabilities_are_not_taken_for_logits_unless_somebody_says_so() {
    let of = |metadata: Value, x: f64| {
        let mut metadata = metadata;
        metadata["features"] = json!(["x"]);
        metadata["classes"] = json!(["no", "yes"]);
        answer(&ready(Sums::new(1, 2), metadata), &[json!({"x": x})], TabularPolicies::default()).remove(0)
    };
    // The results are x and 0.
    let error = of(json!({}), 1.0).unwrap_err();
    assert_eq!(error.field(), Some("metadata.output_activation"), "{error}");
    assert!(of(json!({}), 0.9).is_ok() && of(json!({"output_activation": "none"}), 1.0).is_ok());
}
