//! Small sentence encoders beside vectors that another implementation computed (`fixtures/embedding`, made by
//! `scripts/make_embedding_references.py`), and folders that contradict themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seedhouse_core::runtime::{Embedder, LoadOptions, LoadedModel, LocalFile, LocalFiles, Prompts, Runtime};
use seedhouse_core::{Code, Error, Framework, ModelType};
use serde::Deserialize;
use serde_json::json;

use crate::tests::fixture_files::files;
use crate::{ActivationPrecision, Level, NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

mod refusals;

const CASES: [&str; 3] = ["bert-mean", "bert-cls", "bert-max"];

/// What the other implementation found for a text.
#[derive(Deserialize)]
struct Expected {
    input_ids: Vec<u32>,
    embedding: Vec<f32>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/embedding").join(name)
}

fn expected(name: &str) -> Vec<Expected> {
    serde_json::from_slice(&fs::read(folder(name).join("expected.json")).unwrap()).unwrap()
}

fn runtime(level: Level, threads: usize, plans: PlanOptions) -> NativeRuntime {
    NativeRuntime::with(NativeOptions {
        pool: PoolOptions { threads, level, ..PoolOptions::default() },
        plans,
        plans_folder: None,
    })
}

fn load(runtime: &NativeRuntime, files: &LocalFiles) -> Result<Arc<dyn Embedder>, Error> {
    match runtime.load(files, &LoadOptions::default())? {
        LoadedModel::Embedding(model) => Ok(model),
        _ => panic!("a sentence encoder gives vectors"),
    }
}

fn fixture(name: &str, level: Level, threads: usize, plans: PlanOptions) -> Arc<dyn Embedder> {
    load(&runtime(level, threads, plans), &files(&folder(name))).unwrap()
}

fn sequences(expected: &[Expected]) -> Vec<&[u32]> {
    expected.iter().map(|one| &one.input_ids[..]).collect()
}

/// Returns the greatest difference, relative to the greatest number.
fn difference(found: &[Vec<f32>], expected: &[Expected]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let mut most = 0.0_f32;
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.embedding.len());
        let greatest = expected.embedding.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
        let pairs = found.iter().zip(&expected.embedding);
        most = pairs.fold(most, |most, (found, expected)| most.max((found - expected).abs() / greatest));
    }
    most
}

#[test]
fn every_way_of_pooling_gives_the_vectors_of_another_implementation_on_every_level() {
    for name in CASES {
        let expected = expected(name);
        for level in Level::available() {
            let plans = PlanOptions { activations: ActivationPrecision::F32, ..PlanOptions::default() };
            let found = fixture(name, level, 2, plans).embed(&sequences(&expected)).unwrap();
            // f32 sums in another order.
            let difference = difference(&found, &expected);
            assert!(difference < 1e-5, "{name} {level:?}: {difference}");
        }
    }
}

#[test]
fn lower_precisions_stay_near() {
    // Shares of the greatest number: 8 bits of a mantissa, 7 bits of weights and of activations, through two or three layers.
    let cases = [(WeightPrecision::F32, 1e-5), (WeightPrecision::Bf16, 0.03), (WeightPrecision::Int8, 0.06)];
    for name in CASES {
        let expected = expected(name);
        for (weights, allowed) in cases {
            let plans = PlanOptions { weights, ..PlanOptions::default() };
            let found = fixture(name, Level::best(), 2, plans).embed(&sequences(&expected)).unwrap();
            let difference = difference(&found, &expected);
            println!("{name} {weights:?}: {difference}");
            assert!(difference < allowed, "{name} {weights:?}: {difference}");
        }
    }
}

#[test]
fn sequence_alone_has_the_vector_that_it_has_in_a_batch_on_any_number_of_threads() {
    let bits = |vector: &[f32]| vector.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
    for name in CASES {
        let expected = expected(name);
        let sequences = sequences(&expected);
        // More than are computed together, of all lengths in all orders.
        let batch: Vec<&[u32]> = (0..300).map(|place| sequences[place * 7 % 5 + place % 2]).collect();
        for weights in WeightPrecision::ALL {
            for activations in [ActivationPrecision::Fast, ActivationPrecision::F32] {
                let plans = PlanOptions { weights, activations, ..PlanOptions::default() };
                let together = fixture(name, Level::best(), 3, plans).embed(&batch).unwrap();
                let single = fixture(name, Level::best(), 1, plans);
                for sequence in &sequences {
                    let alone = single.embed(&[sequence]).unwrap();
                    let same = batch.iter().zip(&together).filter(|(other, _)| *other == sequence);
                    assert!(
                        same.clone().count() > 20 && same.clone().all(|(_, vector)| bits(vector) == bits(&alone[0])),
                        "{name} {weights:?} {activations:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn folder_says_how_texts_reach_the_network() {
    let prompts = Prompts {
        texts: [("query", "query: "), ("document", "")].map(|(name, text)| (name.into(), text.into())).into(),
        default: Some("query".into()),
    };
    let cases = [
        ("bert-mean", 24, 12, false, Prompts::default()),
        ("bert-cls", 20, 16, false, prompts),
        ("bert-max", 16, 14, true, Prompts::default()),
    ];
    for (name, dimensions, longest, lower_case, prompts) in cases {
        let model = fixture(name, Level::best(), 1, PlanOptions::default());
        let info = model.info();
        let sizes = (info.dimensions, info.longest_sequence, info.lower_case);
        assert_eq!((sizes, &info.prompts), ((dimensions, longest, lower_case), &prompts), "{name}");
        assert!(info.tokenizer.contains("WordPiece"), "{name}");
        assert!(model.memory_bytes() > 0);
    }
}

#[test]
fn inspection_names_sizes_and_pooling() {
    let runtime = NativeRuntime::new();
    for (name, pooling, normalize) in
        [("bert-mean", "mean", true), ("bert-cls", "cls", true), ("bert-max", "max", false)]
    {
        let inspection = runtime.inspect(&files(&folder(name))).unwrap().unwrap();
        assert_eq!(inspection.not_servable_because, None, "{name}");
        assert_eq!((inspection.model_type, inspection.framework), (ModelType::Embedding, Framework::Huggingface));
        assert_eq!(inspection.architecture.as_deref(), Some("bert"));
        let said = &inspection.hyper_parameters;
        assert_eq!((&said["pooling"], &said["normalize"]), (&json!(pooling), &json!(normalize)));
    }
    let said = runtime.inspect(&files(&folder("bert-mean"))).unwrap().unwrap().hyper_parameters;
    let sizes = json!({"vocab_size": 69, "max_seq_len": 12, "d_model": 24, "num_heads": 3, "num_layers": 2, "d_ff": 40,
        "dimensions": 24, "pooling": "mean", "normalize": true});
    assert_eq!(serde_json::Value::Object(said), sizes);
}

#[test]
fn sequences_that_do_not_fit_are_refused_with_both_values() {
    let model = fixture("bert-mean", Level::best(), 1, PlanOptions::default());
    let cases: [(&[u32], &[&str]); 3] = [
        (&[], &["`0 tokens`", "1 to 12 tokens"]),
        (&[2; 13], &["`13 tokens`", "1 to 12 tokens"]),
        (&[2, 69, 3], &["`69`", "69 tokens"]),
    ];
    for (sequence, expected) in cases {
        let error = model.embed(&[&[2, 3], sequence]).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some("sequence")));
        assert!(expected.iter().all(|part| error.to_string().contains(part)), "{error}");
    }
    assert_eq!(model.embed(&[]).unwrap(), Vec::<Vec<f32>>::new());
}
