//! Every family and every type of weights beside values that another implementation computed (`fixtures/decoders`, made by
//! `scripts/make_decoder_references.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seedhouse_core::Digest;
use seedhouse_core::runtime::{LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, StepPart, TextModel, Wanted};
use seedhouse_testkit::text_executor::{TextExecutorCase, text_executor_suite};
use serde::Deserialize;

use crate::{ActivationPrecision, Level, NativeOptions, NativeRuntime, PlanOptions, PoolOptions};

/// What the other implementation found.
#[derive(Deserialize)]
struct Expected {
    tokens: Vec<u32>,
    greedy: Vec<u32>,
    /// The smallest distance of the two best logits while `greedy` was chosen.
    smallest_gap: f32,
    logits: Vec<Vec<f32>>,
}

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/decoders");
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.len() >= 24, "fixtures are missing: {found:?}");
    found
}

fn name(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

fn expected(folder: &Path) -> Expected {
    serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

fn load(folder: &Path, level: Level, activations: ActivationPrecision) -> Arc<dyn TextModel> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let local = |path: PathBuf| LocalFile {
        path: name(&path).parse().unwrap(),
        digest: Digest::of(fs::read(&path).unwrap()),
        local: path,
    };
    let files = LocalFiles(files.filter(|path| !path.ends_with("expected.json")).map(local).collect());
    let runtime = NativeRuntime::with(NativeOptions {
        pool: PoolOptions { threads: 2, level, ..PoolOptions::default() },
        plans: PlanOptions { activations, ..PlanOptions::default() },
        ..NativeOptions::default()
    });
    assert_eq!(runtime.inspect(&files).unwrap().unwrap().not_servable_because, None, "{}", folder.display());
    match runtime.load(&files, &LoadOptions::default()).unwrap() {
        LoadedModel::Text(model) => model,
        _ => panic!("a decoder is no tensor model"),
    }
}

/// Returns the logits that follow each token.
fn logits(model: &dyn TextModel, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut executor = model.executor().unwrap();
    let sequence = executor.open().unwrap();
    let logits = executor.step(&[StepPart { sequence, tokens, wanted: Wanted::All }]).unwrap();
    logits.rows().map(<[f32]>::to_vec).collect()
}

/// Returns the largest difference, as a part of the largest logit.
fn difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().flatten().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    // `max` would pass over what is no number.
    let worse =
        |worst: f32, difference: f32| if difference > worst || difference.is_nan() { difference } else { worst };
    pairs.fold(0.0_f32, |worst, (found, expected)| worse(worst, (found - expected).abs())) / largest
}

fn best(logits: &[f32]) -> u32 {
    let best = (0..).zip(logits).max_by(|(_, one), (_, other)| one.total_cmp(other));
    best.expect("there are logits").0
}

/// Keys and values are kept with 11 bits, which is what remains of the difference.
const TOLERANCE: f32 = 2e-3;

/// Rounding activations to 8 bits, or to bf16, changes random little models by some per cent; trained ones are compared in
/// `tests/it` of the program.
const TOLERANCE_OF_FAST: f32 = 0.1;

#[test]
fn logits_are_those_of_the_other_implementation() {
    let mut failures = Vec::new();
    for folder in fixtures() {
        let expected = expected(&folder);
        for level in Level::available() {
            for (activations, tolerance) in
                [(ActivationPrecision::F32, TOLERANCE), (ActivationPrecision::Fast, TOLERANCE_OF_FAST)]
            {
                let found = logits(&*load(&folder, level, activations), &expected.tokens);
                let difference = difference(&found, &expected.logits);
                if difference.is_nan() || difference > tolerance {
                    failures.push(format!("{} {level:?} {activations:?}: {difference}", name(&folder)));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn greedy_text_is_that_of_the_other_implementation() {
    for folder in fixtures() {
        let expected = expected(&folder);
        let largest = expected.logits.iter().flatten().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
        if expected.smallest_gap < 4.0 * TOLERANCE * largest {
            continue;
        }
        let model = load(&folder, Level::best(), ActivationPrecision::F32);
        let mut executor = model.executor().unwrap();
        let sequence = executor.open().unwrap();
        let mut tokens = expected.tokens.clone();
        let mut found = Vec::new();
        for _ in 0..expected.greedy.len() {
            let logits = executor.step(&[StepPart { sequence, tokens: &tokens, wanted: Wanted::Last }]).unwrap();
            tokens = vec![best(logits.row(0))];
            found.push(tokens[0]);
        }
        assert_eq!(found, expected.greedy, "{}", name(&folder));
    }
}

#[test]
fn every_family_keeps_the_promises_of_executors_bit_by_bit() {
    for folder in fixtures() {
        for activations in [ActivationPrecision::F32, ActivationPrecision::Fast] {
            let model = load(&folder, Level::best(), activations);
            text_executor_suite(&TextExecutorCase { model: &*model, tolerance: 0.0 });
        }
    }
}
