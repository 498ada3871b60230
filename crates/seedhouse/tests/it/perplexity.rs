//! Perplexity of SmolLM2-135M on ordinary text, against what transformers computes in f32 from the weights as the file means them.
//!
//! `./check` measures the first windows of the text, `bench/perplexity` all of them.

use seedhouse_core::Digest;
use seedhouse_core::runtime::{StepPart, TextExecutor, Wanted};
use seedhouse_engine::{Slot, SpecialTokens};
use seedhouse_native::{ActivationPrecision, PlanOptions, WeightPrecision};
use serde_json::Value;

use crate::support::{RealModels, reference};
use crate::text_model;

/// Tokens of a window, of which all but the first are predicted.
const WINDOW: usize = 512;

/// Windows that lie within [`BEGIN`].
const WINDOWS_OF_CHECK: usize = 3;

/// The first 8 kB of the text.
const BEGIN: &str = include_str!("../reference/king-james-8kB.txt");

/// The most by which a perplexity may differ from the reference where precision is kept.
const TOLERANCE: f64 = 0.005;

/// Tokens of a step: the logits of so many take 25 MB.
const STEP: usize = 128;

/// How weights and activations are kept, and how far the perplexity may be from that of the reference.
struct Case {
    weights: WeightPrecision,
    activations: ActivationPrecision,
    tolerance: f64,
}

/// A scale per output is too coarse for 0.5 %, and one scale for a whole row of activations is far coarser: what these two cost is
/// bounded here, not promised.
const CASES: [Case; 6] = [
    Case { weights: WeightPrecision::AsStored, activations: ActivationPrecision::F32, tolerance: TOLERANCE },
    Case { weights: WeightPrecision::AsStored, activations: ActivationPrecision::Fast, tolerance: TOLERANCE },
    Case { weights: WeightPrecision::Int8Groups, activations: ActivationPrecision::F32, tolerance: TOLERANCE },
    Case { weights: WeightPrecision::Int8Groups, activations: ActivationPrecision::Fast, tolerance: TOLERANCE },
    Case { weights: WeightPrecision::Int8, activations: ActivationPrecision::F32, tolerance: 0.015 },
    Case { weights: WeightPrecision::Int8, activations: ActivationPrecision::Fast, tolerance: 0.08 },
];

#[test]
fn perplexity_is_within_half_a_percent_of_the_f32_reference_where_precision_is_kept() {
    let Some(models) = RealModels::find() else { return };
    let reference = reference("smollm2-135m-instruct-q4_1-perplexity.json");
    let windows = windows();
    let losses: Vec<f64> =
        reference["loss_by_window"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    let expected = perplexity(&losses[..windows]);
    let mut failures = Vec::new();
    for Case { weights, activations, tolerance } in CASES {
        let slot = text_model::load_with(&models, PlanOptions { weights, activations, ..PlanOptions::default() });
        let tokens = tokens(&models, &slot, windows, &reference);
        let mut executor = slot.text().unwrap().executor().unwrap();
        let losses: Vec<f64> = tokens.chunks_exact(WINDOW).map(|window| loss(&mut *executor, window)).collect();
        let found = perplexity(&losses);
        let difference = found / expected - 1.0;
        let what = format!(
            "weights {}, activations {activations:?}: perplexity of {windows} windows {found:.4}, reference {expected:.4}, \
             {:+.3} %",
            weights.name(),
            difference * 100.0
        );
        println!("{what}");
        // Not a number is a failure, too.
        if difference.is_nan() || difference.abs() > tolerance {
            failures.push(what);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn windows() -> usize {
    std::env::var("SEEDHOUSE_TEST_PERPLEXITY_WINDOWS").map_or(WINDOWS_OF_CHECK, |text| text.parse().unwrap())
}

/// Returns the tokens of that many windows.
fn tokens(models: &RealModels, slot: &Slot, windows: usize, reference: &Value) -> Vec<u32> {
    let is_part = windows <= WINDOWS_OF_CHECK;
    let whole = || std::fs::read_to_string(models.path("king-james-100kB.txt")).unwrap();
    let text = if is_part { BEGIN.to_owned() } else { whole() };
    let mut tokens = slot.text().unwrap().encode(&text, SpecialTokens::Ignore).unwrap();
    if !is_part {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        assert_eq!(Digest::of(bytes).hex(), reference["token_ids_sha256"].as_str().unwrap());
    }
    let first: Vec<u32> =
        reference["first_tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    assert_eq!(tokens[..first.len()], first);
    tokens.truncate(windows * WINDOW);
    assert_eq!(tokens.len(), windows * WINDOW, "the text has enough tokens");
    tokens
}

/// Returns the mean of the negative logarithms of the probabilities of all tokens but the first.
fn loss(executor: &mut dyn TextExecutor, window: &[u32]) -> f64 {
    let sequence = executor.open().unwrap();
    let mut sum = 0.0;
    for (tokens, next) in window[..WINDOW - 1].chunks(STEP).zip(window[1..].chunks(STEP)) {
        let logits = executor.step(&[StepPart { sequence, tokens, wanted: Wanted::All }]).unwrap();
        sum += next.iter().enumerate().map(|(row, &token)| surprise(logits.row(row), token)).sum::<f64>();
    }
    executor.close(sequence);
    sum / (WINDOW - 1) as f64
}

/// Returns the negative logarithm of a token's probability.
fn surprise(logits: &[f32], token: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.chunks(256).map(|part| part.iter().map(|logit| (logit - largest).exp()).sum::<f32>()).sum();
    f64::from(largest - logits[token as usize]) + f64::from(sum).ln()
}

fn perplexity(losses: &[f64]) -> f64 {
    (losses.iter().sum::<f64>() / losses.len() as f64).exp()
}
