//! Ten updates of tiny language models beside PyTorch and transformers (`scripts/make_training_references.py`).

use std::path::Path;
use std::sync::Arc;

use seedhouse_core::training::TrainSettings;

use super::decoder::{Decoder, Kind, Sizes};
use crate::arena::Arena;
use crate::gradient_check::{TRAINING, settings};
use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::start::Weights;
use crate::tape::Tape;

const CONTEXT: usize = 8;
const VOCABULARY: usize = 19;

#[test]
fn ten_updates_are_those_of_pytorch() {
    for (name, kind, key_value_heads, is_tied) in [("gpt2", Kind::Gpt2, 2, true), ("llama", Kind::Llama, 1, false)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
        let weights = |when: &str| Weights::of_path(&folder.join(format!("{name}_{when}.safetensors"))).unwrap();
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let losses: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sizes = Sizes {
            kind,
            vocab_size: VOCABULARY,
            length: CONTEXT,
            width: 8,
            heads: 2,
            key_value_heads,
            layers: 2,
            inner: 24,
            is_tied,
            rotary_base: 10_000.0,
            epsilon: 1e-5,
        };
        let mut parameters = Parameters::new(0);
        let network = Decoder::new(sizes, &mut parameters);
        parameters.load(&mut weights("before")).unwrap();
        let schedule = TrainSettings {
            learning_rate: 0.02,
            warmup_steps: 3,
            final_rate: 0.1,
            weight_decay: 0.1,
            clip_norm: 1.0,
            ..TrainSettings::default()
        };
        let mut optimizer = Optimizer::new(&parameters, false);
        let mut arena = Arena::default();
        for step in 1..=10 {
            let token =
                |sequence: usize, place: usize| ((step * 5 + sequence * 11 + place * (place + 3)) % VOCABULARY) as u32;
            let of = |shift: usize| {
                (0..2).flat_map(move |sequence| (0..CONTEXT).map(move |place| token(sequence, place + shift)))
            };
            let (tokens, labels): (Arc<[u32]>, Vec<u32>) = (of(0).collect(), of(1).collect());
            parameters.forget_gradients();
            let mut tape = Tape::new(&mut parameters, &mut arena, settings(TRAINING));
            let hidden = network.run(&mut tape, tokens, CONTEXT, 0.0);
            let loss = tape.classify(hidden, network.output(), &labels, 0.0).mean();
            tape.backward();
            drop(tape);
            let expected = losses["losses"][step - 1].as_f64().unwrap();
            // Rounding of f32 in another order; AdamW makes it a little greater with each update.
            assert!((loss - expected).abs() < 2e-4, "{name}, update {step}: the loss is {loss}, not {expected}");
            optimizer.update(&mut parameters, &schedule, step as u64, 10);
        }
        let mut after = Parameters::of_version();
        Decoder::new(sizes, &mut after);
        after.load(&mut weights("after")).unwrap();
        for (found, expected) in parameters.list.iter().zip(&after.list) {
            // The bias of keys changes all scores of a query alike: its gradient is rounding, which AdamW makes as large as any other.
            if found.tensors[0].name.ends_with("c_attn.bias") {
                continue;
            }
            let worst = found.values.iter().zip(&expected.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // All updates together move a weight by up to 0.13; where a gradient is nearly nothing, AdamW divides it by as little.
            assert!(worst < 5e-3, "{name}: {:?} differs by {worst}", found.tensors);
        }
    }
}
