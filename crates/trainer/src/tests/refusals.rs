//! What cannot be trained is refused before anything is computed, with both values.

use serde_json::json;

use super::*;

/// Changes a task; the error must have all the texts.
type Change = fn(&mut Case);

/// What is changed of a case, and the words of the error.
type Mistake<'m> = (fn() -> Case, Change, &'m [&'m str]);

fn check(cases: &[Mistake<'_>]) {
    for (made, change, expected) in cases {
        let mut case = made();
        change(&mut case);
        let error = case.error();
        assert!(expected.iter().all(|part| error.contains(part)), "`{error}` should have {expected:?}");
        assert!(!case.folder.path().join("checkpoints").exists(), "{error}: it began to train");
    }
}

fn vision() -> Case {
    Case::new(ModelType::Vision, json!({"base_channels": 4}), images(1))
}

fn language() -> Case {
    Case::new(ModelType::Transformer, json!({"vocab_size": 270, "max_seq_len": 16, "d_model": 16}), text())
}

fn regression() -> Case {
    Case::new(ModelType::Regression, json!({}), table(false))
}

fn classification() -> Case {
    Case::new(ModelType::Classification, json!({}), table(true))
}

fn diffusion() -> Case {
    Case::new(ModelType::Diffusion, json!({"base_channels": 8}), images(1))
}

fn set(case: &mut Case, name: &str, value: Value) {
    case.metadata.insert(name.to_owned(), value);
}

fn images_of(case: &mut Case) -> &mut ImageDataset {
    let Dataset::Images(data) = &mut case.dataset else { unreachable!() };
    data
}

fn table_of(case: &mut Case) -> &mut TableDataset {
    let Dataset::Table(data) = &mut case.dataset else { unreachable!() };
    data
}

#[test]
fn data_that_do_not_fit_are_refused() {
    check(&[
        (vision, |case| case.dataset = text(), &["dataset", "text", "`vision`", "images"]),
        (language, |case| case.dataset = images(1), &["images", "`transformer`", "text"]),
        (regression, |case| case.dataset = images(1), &["images", "`regression`", "a table"]),
        (vision, |case| case.model_type = ModelType::Optimization, &["optimization", "not supported"]),
        (vision, |case| set(case, "image_size", json!(28)), &["metadata.image_size", "28", "8"]),
        (vision, |case| set(case, "image_channels", json!(3)), &["metadata.image_channels", "3", "1"]),
        (vision, |case| set(case, "num_classes", json!(10)), &["metadata.num_classes", "10", "3"]),
        (vision, |case| set(case, "labels", json!(["top", "left", "bottom"])), &["metadata.labels", "left", "middle"]),
        (vision, |case| set(case, "labels", json!("top")), &["metadata.labels", "top", "a list of texts"]),
        (
            vision,
            |case| set(case, "preprocess", json!({"mean": [1, 2], "std": [3]})),
            &["metadata.preprocess.mean", "[1,2]", "which are 1"],
        ),
        (
            vision,
            |case| set(case, "preprocess", json!({"mean": [1], "std": [0]})),
            &["metadata.preprocess.std", "[0]", "above 0"],
        ),
        (vision, |case| images_of(case).width = 4, &["4 x 8"]),
        (vision, |case| images_of(case).labels.iter_mut().for_each(|label| *label = 1), &["at least two"]),
        (
            vision,
            |case| {
                let data = images_of(case);
                for place in 0..data.labels.len() {
                    if data.labels[place] == 2 {
                        data.parts[place] = SplitPart::Validation;
                    }
                }
            },
            &["bottom", "validation part", "training part"],
        ),
        (vision, |case| images_of(case).labels[0] = 3, &["`label` is `3`", "below 3"]),
        (vision, |case| case.settings.batch_size = 100, &["batch_size", "100", "60"]),
        (diffusion, |case| set(case, "num_groups", json!(3)), &["metadata.num_groups", "3", "8"]),
        (
            diffusion,
            |case| set(case, "channel_multipliers", json!([1, 1, 1, 1, 1])),
            &["channel_multipliers", "8 pixels", "4 times"],
        ),
        (diffusion, |case| set(case, "prediction_type", json!("sample")), &["prediction_type", "sample", "epsilon"]),
        (language, |case| set(case, "max_seq_len", json!(100_000)), &["tokens", "100001", "max_seq_len"]),
        (language, |case| set(case, "vocab_size", json!(100)), &["metadata.vocab_size", "100", "257"]),
        (language, |case| set(case, "num_heads", json!(3)), &["metadata.num_heads", "3", "16"]),
        (language, |case| set(case, "architecture", json!("rnn")), &["metadata.architecture", "rnn", "llama"]),
        (regression, |case| table_of(case).targets.clear(), &["dataset.targets", "column to predict"]),
        (
            regression,
            |case| table_of(case).columns[3].values = ColumnValues::Numbers(vec![4.0; 240]),
            &["yield", "`4`", "the same in every row"],
        ),
        (
            regression,
            |case| table_of(case).columns[1].values = ColumnValues::Numbers(vec![f64::NAN; 240]),
            &["rain", "missing", "no value in any row"],
        ),
        (
            regression,
            |case| {
                let ColumnValues::Numbers(numbers) = &mut table_of(case).columns[3].values else { unreachable!() };
                numbers[17] = f64::NAN;
            },
            &["yield", "row 17"],
        ),
        (regression, |case| case.dataset = table(true), &["yield", "categories", "regression"]),
        (
            classification,
            |case| {
                let ColumnValues::Categories { codes, .. } = &mut table_of(case).columns[3].values else {
                    unreachable!()
                };
                codes[5] = None;
            },
            &["yield", "row 5", "no class"],
        ),
        (classification, |case| set(case, "num_classes", json!(3)), &["metadata.num_classes", "3", "2"]),
        (classification, |case| set(case, "activation", json!("tanh")), &["metadata.activation", "tanh", "relu"]),
    ]);
}

#[test]
fn settings_that_break_a_rule_are_refused() {
    check(&[
        (vision, |case| case.settings.batch_size = 0, &["batch_size", "`0`"]),
        (vision, |case| case.settings.learning_rate = f64::NAN, &["learning_rate", "NaN"]),
        (vision, |case| case.settings.learning_rate = 0.0, &["learning_rate"]),
        (vision, |case| case.settings.dropout = 1.0, &["dropout", "`1`"]),
        (vision, |case| case.settings.label_smoothing = -0.1, &["label_smoothing", "-0.1"]),
        (vision, |case| case.settings.average_decay = 1.0, &["average_decay"]),
        (vision, |case| case.settings.steps = Some(0), &["steps", "`0`"]),
        (vision, |case| case.settings.gradient_accumulation_steps = 0, &["gradient_accumulation_steps"]),
        (vision, |case| case.settings.threads = Some(0), &["threads"]),
    ]);
}
