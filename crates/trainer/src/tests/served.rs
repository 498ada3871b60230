//! What is trained is loaded by the native runtime and answers what the trainer computed: the loss on the validation part, computed
//! again from the answers of the loaded model, is the one that training reported.

use seedhouse_core::dataset::SplitPart;
use seedhouse_core::runtime::{LoadOptions, LoadedModel, Runtime as _, StepPart, Tensor, Wanted};
use seedhouse_native::{ActivationPrecision, NativeOptions, NativeRuntime, PlanOptions, WeightPrecision};
use serde_json::json;

use super::*;

/// Sums of f32 in another order: logits differ by some 1e-5, and so do their losses.
const TOLERANCE: f64 = 1e-4;

fn load(trained: &Trained) -> LoadedModel {
    let plans =
        PlanOptions { weights: WeightPrecision::F32, activations: ActivationPrecision::F32, allow_non_finite: false };
    let runtime = NativeRuntime::with(NativeOptions { plans, ..NativeOptions::default() });
    let files = files_of(trained);
    let inspection = runtime.inspect(&files).unwrap().unwrap();
    assert_eq!(inspection.not_servable_because, None);
    // What the files say is what the trainer says.
    for (name, found) in &inspection.hyper_parameters {
        if let Some(said) = trained.metadata.get(name) {
            assert_eq!(said, found, "`{name}`");
        }
    }
    runtime.load(&files, &LoadOptions { metadata: trained.metadata.clone() }).unwrap()
}

fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    logits.iter().map(|logit| f64::from(*logit).exp()).sum::<f64>().ln() - f64::from(logits[label])
}

/// The best loss that training reported.
fn best(trained: &Trained) -> f64 {
    let losses = trained.history.iter().filter_map(|report| report.validation_loss);
    losses.fold(f64::INFINITY, f64::min)
}

fn assert_learned(trained: &Trained) {
    let first = trained.history[0].validation_loss.unwrap();
    assert!(best(trained) < 0.95 * first, "{first} became {}", best(trained));
}

#[test]
fn language_models_are_served() {
    for (architecture, is_tied, key_value_heads) in
        [("llama", true, 2), ("llama", false, 1), ("gpt2", true, 2), ("original", false, 2), ("original", true, 2)]
    {
        let mut metadata = json!({
            "architecture": architecture, "vocab_size": 300, "max_seq_len": 16, "d_model": 16, "num_heads": 2, "num_layers": 2,
            "d_ff": 32, "tie_word_embeddings": is_tied,
        });
        if architecture == "llama" {
            metadata["num_key_value_heads"] = key_value_heads.into();
        }
        let case = Case::new(ModelType::Transformer, metadata, text());
        let trained = case.train().unwrap();
        assert_learned(&trained);
        assert_eq!(trained.metadata["tie_word_embeddings"], is_tied);
        if architecture == "llama" {
            for (name, expected) in
                [("num_key_value_heads", f64::from(key_value_heads)), ("rope_theta", 10_000.0), ("rms_norm_eps", 1e-5)]
            {
                assert_eq!(trained.metadata[name].as_f64(), Some(expected), "`{name}`");
            }
        }
        let LoadedModel::Text(model) = load(&trained) else { panic!("no language model") };
        assert_eq!((model.info().vocab_size, model.info().context_length), (300, 16));
        assert!(model.info().tokenizer.eos.is_some());
        let Dataset::Text(data) = &case.dataset else { unreachable!() };
        let tokenizer = trained.files.iter().find(|file| file.path.as_str() == "tokenizer.json").unwrap();
        let tokenizer = tokenizers::Tokenizer::from_file(&tokenizer.local).unwrap();
        let mut tokens = Vec::new();
        for (text, _) in data.texts.iter().zip(&data.parts).filter(|(_, part)| **part == SplitPart::Validation) {
            tokens.extend_from_slice(tokenizer.encode(text.as_str(), false).unwrap().get_ids());
            tokens.extend(model.info().tokenizer.eos);
        }
        let mut executor = model.executor().unwrap();
        let (mut sum, mut count) = (0.0, 0.0);
        for window in 0..(tokens.len() - 1) / 16 {
            let window = &tokens[window * 16..][..17];
            let sequence = executor.open().unwrap();
            let part = StepPart { sequence, tokens: &window[..16], wanted: Wanted::All };
            let logits = executor.step(&[part]).unwrap();
            for (row, label) in logits.rows().zip(&window[1..]) {
                sum += cross_entropy(row, *label as usize);
                count += 1.0;
            }
            executor.close(sequence);
        }
        let (found, expected) = (sum / count, best(&trained));
        assert!((found - expected).abs() < TOLERANCE, "{architecture}: served {found}, trained {expected}");
    }
}

#[test]
fn image_classifiers_are_served() {
    for (metadata, channels) in [
        (json!({"model_type": "vit", "base_channels": 16, "num_layers": 2, "num_heads": 2, "patch_size": 4}), 3),
        (json!({"model_type": "cnn", "base_channels": 8, "num_layers": 2}), 1),
        (json!({"base_channels": 8}), 3),
    ] {
        let mut case = Case::new(ModelType::Vision, metadata, images(channels));
        case.settings.epochs = Some(12);
        case.settings.average_decay = if channels == 3 { 0.9 } else { 0.0 };
        let trained = case.train().unwrap();
        assert_learned(&trained);
        let LoadedModel::Tensor(model) = load(&trained) else { panic!("no classifier") };
        let Dataset::Images(data) = &case.dataset else { unreachable!() };
        let numbers = |name: &str| -> Vec<f32> {
            let numbers = trained.metadata["preprocess"][name].as_array().unwrap();
            numbers.iter().map(|number| number.as_f64().unwrap() as f32).collect()
        };
        let (mean, std) = (numbers("mean"), numbers("std"));
        let places: Vec<usize> =
            (0..data.labels.len()).filter(|place| data.parts[*place] == SplitPart::Validation).collect();
        let mut planes = Vec::new();
        for place in &places {
            for channel in 0..channels {
                let pixels =
                    data.pixels[place * 64 * channels..][..64 * channels].iter().skip(channel).step_by(channels);
                planes.extend(pixels.map(|pixel| (f32::from(*pixel) - mean[channel]) / std[channel]));
            }
        }
        let images = Tensor::new(vec![places.len(), channels, 8, 8], planes);
        let logits = model.run(&[("image", &images)]).unwrap().remove(0);
        let rows = logits.f32s().unwrap().chunks_exact(3);
        let sum: f64 = rows.zip(&places).map(|(row, place)| cross_entropy(row, data.labels[*place] as usize)).sum();
        let (found, expected) = (sum / places.len() as f64, best(&trained));
        assert!((found - expected).abs() < TOLERANCE, "served {found}, trained {expected}");
        assert_eq!(trained.metadata["labels"], json!(["top", "middle", "bottom"]));
    }
}

#[test]
fn table_networks_are_served() {
    for is_classification in [true, false] {
        let model_type = if is_classification { ModelType::Classification } else { ModelType::Regression };
        let metadata =
            json!({"hidden_sizes": [16, 8], "activation": "silu", "features": [{"name": "rain", "unit": "mm"}]});
        let mut case = Case::new(model_type, metadata, table(is_classification));
        case.settings.epochs = Some(20);
        let trained = case.train().unwrap();
        assert_learned(&trained);
        assert_eq!(trained.metadata["features"][1]["unit"], "mm");
        let LoadedModel::Tensor(model) = load(&trained) else { panic!("no network") };
        let Dataset::Table(data) = &case.dataset else { unreachable!() };
        let raw = |column: &Column, row: usize| match &column.values {
            ColumnValues::Numbers(numbers) => numbers[row] as f32,
            ColumnValues::Categories { codes, .. } => codes[row].map_or(f32::NAN, |code| code as f32),
        };
        let rows: Vec<usize> = (0..data.parts.len()).filter(|row| data.parts[*row] == SplitPart::Validation).collect();
        let features: Vec<f32> =
            rows.iter().flat_map(|row| data.columns[..3].iter().map(|column| raw(column, *row))).collect();
        let answers = model.run(&[("features", &Tensor::new(vec![rows.len(), 3], features))]).unwrap().remove(0);
        let answers = answers.f32s().unwrap();
        let target = &data.columns[3];
        let sum: f64 = match is_classification {
            true => answers
                .chunks_exact(2)
                .zip(&rows)
                .map(|(logits, row)| cross_entropy(logits, raw(target, *row) as usize))
                .sum(),
            false => {
                let scale = trained.metadata["targets"][0]["scale"].as_f64().unwrap();
                let differences =
                    answers.iter().zip(&rows).map(|(answer, row)| f64::from(answer - raw(target, *row)) / scale);
                differences.map(|difference| difference * difference).sum()
            }
        };
        let (found, expected) = (sum / rows.len() as f64, best(&trained));
        assert!((found - expected).abs() < TOLERANCE, "served {found}, trained {expected}");
    }
}

#[test]
fn diffusion_models_are_served() {
    use crate::arena::Arena;
    use crate::gradient_check::settings;
    use crate::networks::unet::{Sizes, Unet};
    use crate::parameters::Parameters;
    use crate::tape::{Mode, Tape};

    for (num_classes, num_heads) in [(Some(3), None), (None, Some(2))] {
        let mut metadata = json!({"base_channels": 8, "num_groups": 4, "num_timesteps": 50, "num_res_blocks": 1});
        if let Some(classes) = num_classes {
            metadata["num_classes"] = json!(classes);
        }
        if let Some(heads) = num_heads {
            metadata["num_heads"] = json!(heads);
        }
        let mut case = Case::new(ModelType::Diffusion, metadata, images(1));
        case.settings.epochs = Some(6);
        let trained = case.train().unwrap();
        assert_learned(&trained);
        let LoadedModel::Diffusion(model) = load(&trained) else { panic!("no diffusion model") };
        assert_eq!((model.info().num_classes, model.info().num_timesteps()), (num_classes, 50));
        let mut parameters = Parameters::new(0);
        let sizes = Sizes {
            image_size: 8,
            image_channels: 1,
            base_channels: 8,
            time_emb_dim: 32,
            num_classes,
            num_groups: 4,
            num_heads,
            levels: vec![8, 16, 16],
            blocks: 1,
            has_level_attention: true,
        };
        let network = Unet::new(sizes, &mut parameters);
        parameters.load(&mut crate::start::Weights::open(&files_of(&trained)).unwrap()).unwrap();
        let mut images = vec![0.0; 3 * 64];
        Random::new(4, Purpose::Noise, [0, 0]).fill_normal(&mut images, 1.0);
        let asked = [Some(1), None, Some(2)].map(|class| class.filter(|_| num_classes.is_some()));
        let served = model.predict(&images, &[0, 20, 49], &asked).unwrap();
        let mut arena = Arena::default();
        let mut tape = Tape::new(&mut parameters, &mut arena, settings(Mode::Evaluation));
        let input = tape.input(images.clone(), 1);
        let own = network.run(&mut tape, input, &[0, 20, 49], &[1, 3, 2], 0.0);
        let own = tape.numbers(own);
        let greatest = own.iter().fold(0.0, |greatest: f32, number| greatest.max(number.abs()));
        let worst = own.iter().zip(&served).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4 * greatest, "served numbers differ by {worst} of {greatest}");
    }
}

#[test]
fn a_version_is_trained_on() {
    for (architecture, is_tied) in [("llama", true), ("gpt2", true), ("original", false)] {
        let metadata = json!({
            "architecture": architecture, "vocab_size": 290, "max_seq_len": 16, "d_model": 16, "num_heads": 2, "num_layers": 1, "d_ff": 32,
            "tie_word_embeddings": is_tied,
        });
        let first = Case::new(ModelType::Transformer, metadata, text());
        let start = first.train().unwrap();
        // Nothing is said again: sizes and tokenizer are those of the version.
        let mut second = Case::new(ModelType::Transformer, json!({}), text());
        second.start = Some(files_of(&start));
        let trained = second.train().unwrap();
        assert_eq!(trained.metadata, start.metadata);
        assert!(best(&trained) < best(&start));
        load(&trained);
        // What the result says of itself may be said of what begins with it.
        second.metadata = trained.metadata.clone();
        second.folder = tempfile::tempdir().unwrap();
        second.train().unwrap();
        second.metadata.insert("d_ff".into(), 64.into());
        let error = second.error();
        assert!(error.contains("metadata.d_ff") && error.contains("64") && error.contains("32"), "{error}");
    }

    let metadata = json!({"base_channels": 4, "num_layers": 2});
    let first = Case::new(ModelType::Vision, metadata, images(1));
    let start = first.train().unwrap();
    let mut second = Case::new(ModelType::Vision, json!({}), images(1));
    second.metadata = start.metadata.clone();
    second.metadata.insert("base_channels".into(), 8.into());
    second.start = Some(files_of(&start));
    let error = second.error();
    assert!(
        error.contains("conv1.weight") && error.contains("[4, 1, 3, 3]") && error.contains("[8, 1, 3, 3]"),
        "{error}"
    );
}

/// Trains a case, then from that with settings that change next to nothing, on examples that `change` wrote otherwise.
fn trained_twice(first: Case, change: impl Fn(&mut Case)) -> (Trained, Result<Trained>, [Case; 2]) {
    let start = first.train().unwrap();
    let metadata = Value::Object(start.metadata.clone());
    let mut second = Case::new(first.model_type.clone(), metadata, first.dataset.clone());
    second.settings.learning_rate = 1e-9;
    second.settings.weight_decay = 0.0;
    second.settings.epochs = Some(1);
    second.start = Some(files_of(&start));
    change(&mut second);
    let trained = second.train();
    (start, trained, [first, second])
}

/// Renames the classes of a dataset in turn, and its labels with them.
fn turn_classes(data: &mut ImageDataset) {
    data.classes.rotate_left(1);
    let count = data.classes.len() as u32;
    data.labels.iter_mut().for_each(|label| *label = (*label + count - 1) % count);
}

#[test]
fn classes_in_another_order_were_learned_anew() {
    let turned = |case: &mut Case| {
        let Dataset::Images(data) = &mut case.dataset else { unreachable!() };
        turn_classes(data);
        // Other pictures have another mean.
        data.pixels.iter_mut().take(64 * 8).for_each(|pixel| *pixel /= 2);
    };
    let first = Case::new(ModelType::Vision, json!({"base_channels": 8, "num_layers": 2}), images(1));
    let (start, trained, [_first, mut second]) = trained_twice(first, turned);
    let trained = trained.unwrap();
    assert_eq!(trained.metadata, start.metadata);
    let (before, after) = (start.history.last().unwrap(), trained.history.last().unwrap());
    let (before, after) = (before.validation_loss.unwrap(), after.validation_loss.unwrap());
    assert!((before - after).abs() < 0.15 * before, "{before} became {after}");
    second.metadata.insert("labels".into(), json!(["top", "middle", "left"]));
    let error = second.error();
    assert!(error.contains("metadata.labels") && error.contains("left") && error.contains("bottom"), "{error}");
    for name in ["labels", "preprocess"] {
        second.metadata = start.metadata.clone();
        second.metadata.remove(name);
        assert!(second.error().contains(&format!("`metadata.{name}` is `missing`")));
    }
}

#[test]
fn what_a_file_says_of_a_diffusion_model_was_not_read() {
    let metadata =
        json!({"base_channels": 8, "num_groups": 4, "num_timesteps": 50, "num_classes": 3, "num_res_blocks": 1});
    let said_by_file = |case: &mut Case| {
        case.metadata.remove("num_groups");
        case.metadata.remove("num_timesteps");
    };
    let (start, trained, [_first, mut second]) =
        trained_twice(Case::new(ModelType::Diffusion, metadata, images(1)), said_by_file);
    let trained = trained.unwrap();
    assert_eq!(trained.metadata, start.metadata);
    second.metadata.insert("num_groups".into(), 2.into());
    let error = second.error();
    assert!(error.contains("`metadata.num_groups` is `2`") && error.contains("has 4"), "{error}");
    second.metadata = start.metadata.clone();
    let Dataset::Images(data) = &mut second.dataset else { unreachable!() };
    turn_classes(data);
    let error = second.error();
    assert!(error.contains("metadata.labels") && error.contains("middle, bottom, top, in this order"), "{error}");
}

#[test]
fn tables_were_scaled_and_ordered_anew() {
    for is_classification in [true, false] {
        let model_type = if is_classification { ModelType::Classification } else { ModelType::Regression };
        let first =
            Case::new(model_type, json!({"hidden_sizes": [16], "activation": "silu"}), table(is_classification));
        let changed = |case: &mut Case| {
            let Dataset::Table(data) = &mut case.dataset else { unreachable!() };
            data.features.rotate_left(1);
            for column in &mut data.columns {
                match &mut column.values {
                    // Another order of the categories and classes, and no longer all numbers: others are usual.
                    ColumnValues::Categories { names, codes } => {
                        let last = names.len() as u32 - 1;
                        names.reverse();
                        codes.iter_mut().flatten().for_each(|code| *code = last - *code);
                    }
                    ColumnValues::Numbers(numbers) if column.name == "pH" => {
                        numbers.iter_mut().take(3).for_each(|number| *number += 2.5);
                    }
                    ColumnValues::Numbers(_) => {}
                }
            }
        };
        let (start, trained, [_first, mut second]) = trained_twice(first, changed);
        let trained = trained.unwrap();
        let declared = |trained: &Trained, name: &str| trained.metadata["features"][0][name].clone();
        for name in ["name", "mean", "scale"] {
            assert_eq!(declared(&trained, name), declared(&start, name));
        }
        assert!(declared(&trained, "range")[1].as_f64() > declared(&start, "range")[1].as_f64());
        for list in ["classes", "targets", "hidden_sizes", "activation"] {
            assert_eq!(trained.metadata.get(list), start.metadata.get(list));
        }
        load(&trained);
        let (before, after) = (start.history.last().unwrap(), trained.history.last().unwrap());
        let (before, after) = (before.validation_loss.unwrap(), after.validation_loss.unwrap());
        assert!((before - after).abs() < 0.05 * before, "{before} became {after}");

        second.metadata.insert("activation".into(), json!("gelu"));
        let error = second.error();
        assert!(error.contains("metadata.activation") && error.contains("gelu") && error.contains("silu"), "{error}");
        second.metadata.clear();
        let Dataset::Table(data) = &mut second.dataset else { unreachable!() };
        if let ColumnValues::Categories { names, .. } = &mut data.columns[2].values {
            names[0] = "peat".into();
        }
        let error = second.error();
        assert!(error.contains("`soil` is `peat`") && error.contains("clay, loam, sand"), "{error}");
        data_of(&mut second).features.pop();
        let error = second.error();
        assert!(error.contains("dataset.features") && error.contains("pH, rain, soil"), "{error}");
        second.model_type = if is_classification { ModelType::Regression } else { ModelType::Classification };
        let error = second.error();
        assert!(error.contains("`type`") && error.contains("the version to begin with has"), "{error}");
    }
}

fn data_of(case: &mut Case) -> &mut TableDataset {
    let Dataset::Table(data) = &mut case.dataset else { unreachable!() };
    data
}
