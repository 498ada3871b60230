//! The tiny model as a model: what it says about itself, and that its arithmetic does not depend on how it is driven.

use seedhouse_core::runtime::{TextModel, TokenizerModel};
use seedhouse_core::{Code, ModelType};
use seedhouse_testkit::single_sequence::SingleSequence;
use seedhouse_testkit::text_executor::{TextExecutorCase, text_executor_suite};
use seedhouse_testkit::tiny_gguf::{TINY_LLAMA_CONTEXT, tiny_llama, tiny_llama_gguf};
use serde_json::{Value, json};

use super::{inspect, load};

const TOKENS: [u32; 9] = [1, 60, 17, 200, 266, 3, 3, 90, 2];

/// Sums of some hundred products in another order differ in the sixth digit; logits are of size one to ten.
const TOLERANCE: f32 = 1e-3;

fn sequence(model: &dyn TextModel) -> SingleSequence {
    SingleSequence::new(model.executor().unwrap()).unwrap()
}

#[test]
fn executor_keeps_the_promises() {
    let model = load(&tiny_llama_gguf(3)).unwrap();
    text_executor_suite(&TextExecutorCase { model: &*model, tolerance: TOLERANCE });
}

fn logits(model: &dyn TextModel, calls: &[&[u32]]) -> Vec<f32> {
    let mut session = sequence(model);
    let mut last = Vec::new();
    for tokens in calls {
        last = session.advance(tokens).unwrap();
    }
    assert_eq!(session.length(), calls.iter().map(|tokens| tokens.len()).sum::<usize>());
    last
}

fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() < TOLERANCE, "logit {index}: {a} and {b}");
    }
}

#[test]
fn description_is_counted_from_the_file() {
    let found = inspect(&tiny_llama_gguf(1)).unwrap().unwrap();
    assert_eq!((found.model_type, found.architecture.as_deref()), (ModelType::Transformer, Some("llama")));
    assert_eq!(
        Value::Object(found.hyper_parameters),
        json!({
            "vocab_size": 267, "max_seq_len": 64, "d_model": 64, "num_heads": 4, "num_kv_heads": 2, "num_layers": 2,
            "d_ff": 96,
        })
    );
    assert_eq!(found.tensor_count, 20);
    let layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64;
    assert_eq!(found.parameter_count, 267 * 64 + 2 * layer + 64);
    assert_eq!(json!(found.tensor_types), json!({"BF16": 1, "F16": 1, "F32": 5, "Q4_0": 2, "Q4_1": 9, "Q8_0": 2}));
    assert_eq!(found.not_servable_because, None);
}

#[test]
fn tokenizer_and_template_come_from_the_file() {
    let model = load(&tiny_llama_gguf(1)).unwrap();
    let info = model.info();
    assert_eq!((info.vocab_size, info.context_length), (267, TINY_LLAMA_CONTEXT as usize));
    assert!(info.chat_template.as_ref().unwrap().contains("<|im_start|>"));
    let tokenizer = &info.tokenizer;
    assert_eq!((tokenizer.bos, tokenizer.eos, tokenizer.add_bos), (Some(1), Some(2), false));
    assert_eq!((tokenizer.pre_tokenizer.as_str(), tokenizer.stop.as_slice()), ("smollm", &[0][..]));
    let TokenizerModel::ByteLevelBpe { tokens, merges, control, added } = &tokenizer.model else { unreachable!() };
    assert_eq!((tokens[3 + usize::from(b'A')].as_str(), merges[0].as_str()), ("A", "Ġ t"));
    assert_eq!((control.as_slice(), added.as_slice()), (&[0, 1, 2][..], &[][..]));
}

#[test]
fn token_that_a_user_added_is_no_control_token() {
    let mut builder = tiny_llama(1);
    let types: Vec<i32> =
        (0..267).map(|id| [3, 3, 3].get(id).copied().unwrap_or(if id == 266 { 4 } else { 1 })).collect();
    builder.numbers("tokenizer.ggml.token_type", &types);
    let model = load(&builder.build()).unwrap();
    let TokenizerModel::ByteLevelBpe { control, added, .. } = &model.info().tokenizer.model else { unreachable!() };
    assert_eq!((control.as_slice(), added.as_slice()), (&[0, 1, 2][..], &[266][..]));
}

#[test]
fn tokens_at_once_give_what_tokens_one_by_one_give() {
    let model = load(&tiny_llama_gguf(3)).unwrap();
    let at_once = logits(&*model, &[&TOKENS]);
    let one_by_one: Vec<&[u32]> = TOKENS.chunks(1).collect();
    assert_close(&at_once, &logits(&*model, &one_by_one));
    assert_close(&at_once, &logits(&*model, &[&TOKENS[..4], &TOKENS[4..]]));
    assert!(at_once.iter().any(|logit| logit.abs() > 0.5), "logits say something");
}

#[test]
fn long_prompt_is_cut_into_pieces_without_a_trace() {
    let mut builder = tiny_llama(4);
    builder.number("llama.context_length", 400);
    let model = load(&builder.build()).unwrap();
    let tokens: Vec<u32> = (0..300).map(|index| index * 7 % 267).collect();
    let one_by_one: Vec<&[u32]> = tokens.chunks(1).collect();
    assert_close(&logits(&*model, &[&tokens]), &logits(&*model, &one_by_one));
}

#[test]
fn earlier_tokens_matter_and_so_does_their_order() {
    let model = load(&tiny_llama_gguf(3)).unwrap();
    let difference = |a: &[u32], b: &[u32]| -> f32 {
        let (a, b) = (logits(&*model, &[a]), logits(&*model, &[b]));
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(difference(&[10, 20, 30], &[11, 20, 30]) > TOLERANCE);
    assert!(difference(&[10, 20, 30], &[20, 10, 30]) > TOLERANCE);
}

#[test]
fn sessions_do_not_share_their_caches() {
    let model = load(&tiny_llama_gguf(3)).unwrap();
    let alone = logits(&*model, &[&TOKENS[..2], &TOKENS[2..]]);
    let (mut first, mut second) = (sequence(&*model), sequence(&*model));
    first.advance(&TOKENS[..2]).unwrap();
    second.advance(&[5, 6, 7]).unwrap();
    assert_close(&first.advance(&TOKENS[2..]).unwrap(), &alone);
    assert_eq!(second.length(), 3);
}

#[test]
fn sequence_beyond_the_context_is_refused_and_the_session_lives_on() {
    let model = load(&tiny_llama_gguf(1)).unwrap();
    let mut session = sequence(&*model);
    session.advance(&[7; 60]).unwrap();
    let error = session.advance(&[7; 5]).unwrap_err();
    assert_eq!(error.to_string(), "`tokens` is `5 tokens long`, but the context has 64 tokens, of which 60 are taken");
    assert_eq!(session.length(), 60);
    session.advance(&[7; 4]).unwrap();
    assert_eq!(session.advance(&[7]).unwrap_err().code(), Code::Invalid);
}

#[test]
fn tokens_outside_the_vocabulary_and_no_tokens_are_refused() {
    let mut session = sequence(&*load(&tiny_llama_gguf(1)).unwrap());
    let error = session.advance(&[3, 267]).unwrap_err().to_string();
    assert_eq!(error, "`tokens` is `267`, but the vocabulary has 267 tokens");
    assert_eq!(session.advance(&[]).unwrap_err().code(), Code::Invalid);
    assert_eq!(session.length(), 0);
}

#[test]
fn output_matrix_of_its_own_is_used_instead_of_the_embedding() {
    let mut builder = tiny_llama(1);
    let embedding = builder.tensor_mut("token_embd.weight").data.clone();
    builder.tensor("output.weight", &[64, 267], 8, embedding);
    let untied = load(&builder.build()).unwrap();
    let tied = load(&tiny_llama_gguf(1)).unwrap();
    assert_close(&logits(&*untied, &[&TOKENS]), &logits(&*tied, &[&TOKENS]));
    builder.tensor_mut("output.weight").data = vec![0; 267 * 2 * 34];
    let silent = load(&builder.build()).unwrap();
    assert!(logits(&*silent, &[&TOKENS]).iter().all(|&logit| logit == 0.0));
}

#[test]
fn scored_vocabulary_is_read_with_the_defaults_of_llama_cpp() {
    let mut builder = tiny_llama(1);
    let tokens: Vec<String> = ["<unk>", "<s>", "</s>", "▁", "a", "<tool>"]
        .iter()
        .map(|token| (*token).to_owned())
        .chain((0..256).map(|byte| format!("<0x{byte:02X}>")))
        .chain((0..5).map(|number| format!("x{number}")))
        .collect();
    let types: Vec<i32> = (0..267)
        .map(|id| match id {
            0 => 2,
            1 | 2 => 3,
            5 => 4,
            6..262 => 6,
            _ => 1,
        })
        .collect();
    let scores: Vec<f32> = (0..267_u16).map(|id| -f32::from(id)).collect();
    builder
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &tokens)
        .numbers("tokenizer.ggml.token_type", &types)
        .floats("tokenizer.ggml.scores", &scores);
    for key in ["pre", "merges", "bos_token_id", "eos_token_id", "add_bos_token"] {
        builder.remove(&format!("tokenizer.ggml.{key}"));
    }
    let model = load(&builder.build()).unwrap();
    let spec = &model.info().tokenizer;
    assert_eq!((spec.bos, spec.eos, spec.add_bos), (Some(1), Some(2), true));
    let TokenizerModel::ScoredBpe { scores: read, bytes, add_space, control, added, .. } = &spec.model else {
        panic!("{:?}", spec.model)
    };
    assert_eq!((read, bytes, add_space), (&scores, &(6..262).collect::<Vec<u32>>(), &true));
    assert_eq!((control.as_slice(), added.as_slice()), (&[1, 2][..], &[5][..]));
}
