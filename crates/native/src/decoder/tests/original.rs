//! The decoder of the original, in both of its forms.

use std::sync::Arc;

use seedhouse_core::Code;
use seedhouse_testkit::tiny_torch::legacy_checkpoint;
use serde_json::{Map, Value, json};

use super::tiny::{CONTEXT, FEED_FORWARD, Folder, HEADS, LAYERS, VOCAB, WIDTH, assert_rows, numbers};
use crate::decoder::{DecoderModel, FeedForward, NormKind, NormPlacement, Positions, Role, original};
use crate::mapped_file::MappedFile;
use crate::torch::checkpoint::Checkpoint;

fn record() -> Map<String, Value> {
    let numbers = json!({"vocab_size": VOCAB, "max_seq_len": CONTEXT, "d_model": WIDTH, "num_heads": HEADS,
        "num_layers": LAYERS, "d_ff": FEED_FORWARD});
    numbers.as_object().unwrap().clone()
}

fn folder() -> Folder {
    let mut config = record();
    config.insert("architectures".into(), json!(["PostNormDecoder"]));
    config.insert("model_type".into(), json!("post_norm_decoder"));
    Folder::new(
        Value::Object(config),
        &[
            ("token_embedding.weight", &[VOCAB, WIDTH]),
            ("position_embedding.weight", &[CONTEXT, WIDTH]),
            ("output.weight", &[VOCAB, WIDTH]),
            ("output.bias", &[VOCAB]),
        ],
        &[
            ("layers.{}.attention.query.weight", &[WIDTH, WIDTH]),
            ("layers.{}.attention.key.weight", &[WIDTH, WIDTH]),
            ("layers.{}.attention.value.weight", &[WIDTH, WIDTH]),
            ("layers.{}.attention.output.weight", &[WIDTH, WIDTH]),
            ("layers.{}.attention.output.bias", &[WIDTH]),
            ("layers.{}.attention_norm.weight", &[WIDTH]),
            ("layers.{}.attention_norm.bias", &[WIDTH]),
            ("layers.{}.feed_forward.up.weight", &[FEED_FORWARD, WIDTH]),
            ("layers.{}.feed_forward.up.bias", &[FEED_FORWARD]),
            ("layers.{}.feed_forward.down.weight", &[WIDTH, FEED_FORWARD]),
            ("layers.{}.feed_forward.down.bias", &[WIDTH]),
            ("layers.{}.feed_forward_norm.weight", &[WIDTH]),
            ("layers.{}.feed_forward_norm.bias", &[WIDTH]),
        ],
    )
}

fn checkpoint(folder: &Folder) -> Vec<u8> {
    let values: Vec<Vec<f32>> =
        folder.tensors.iter().map(|(name, shape)| numbers(name, shape.iter().product())).collect();
    let tensors = folder.tensors.iter().zip(&values);
    let tensors: Vec<(&str, &[usize], &[f32])> =
        tensors.map(|((name, shape), values)| (name.as_str(), &shape[..], &values[..])).collect();
    legacy_checkpoint(&tensors)
}

fn read_checkpoint(bytes: &[u8], record: &Map<String, Value>) -> seedhouse_core::Result<DecoderModel> {
    original::read_checkpoint(&"m.pth".parse().unwrap(), &Arc::new(MappedFile::of_bytes(bytes)?), record)
}

#[test]
fn folder_and_checkpoint_are_the_same_model() {
    let folder = folder();
    let bytes = checkpoint(&folder);
    assert!(original::recognises(&Checkpoint::read("m.pth", &bytes).unwrap()));
    let models = [folder.read().unwrap(), read_checkpoint(&bytes, &record()).unwrap()];
    assert_eq!(models[0].spec, models[1].spec);
    for DecoderModel { spec, tensors } in &models {
        assert_eq!((spec.norm.kind, spec.norm.placement), (NormKind::Layer, NormPlacement::Post));
        assert_eq!((&spec.positions, spec.feed_forward), (&Positions::Learned, FeedForward::Gelu));
        assert_eq!((spec.key_value_heads, spec.head_width, spec.tied_output), (HEADS, WIDTH / HEADS, false));
        assert_rows(tensors, (None, Role::OutputBias), "output.bias", 0);
        assert_rows(tensors, (None, Role::PositionEmbedding), "position_embedding.weight", 0);
        assert_rows(tensors, (Some(1), Role::Key), "layers.1.attention.key.weight", 0);
        assert_rows(tensors, (Some(1), Role::Down), "layers.1.feed_forward.down.weight", 0);
        assert!(tensors.of_layer(1, Role::QueryBias).is_none() && tensors.of_model(Role::FinalNorm).is_none());
    }
}

#[test]
fn shapes_of_a_checkpoint_tell_everything_but_the_heads() {
    let bytes = checkpoint(&folder());
    let mut expected = record();
    expected.remove("num_heads");
    assert_eq!(original::hyper_parameters(&Checkpoint::read("m.pth", &bytes).unwrap()), expected);
}

#[test]
fn final_norm_is_read_where_there_is_one_and_the_output_may_be_tied() {
    let mut folder = folder().with("tie_word_embeddings", json!(true));
    folder.tensors.retain(|(name, _)| name != "output.weight");
    folder.add("final_norm.weight", &[WIDTH]);
    for model in [folder.read().unwrap(), read_checkpoint(&checkpoint(&folder), &record()).unwrap()] {
        assert_rows(&model.tensors, (None, Role::FinalNorm), "final_norm.weight", 0);
        assert_eq!(model.tensors.output().name(), "token_embedding.weight");
    }
}

#[test]
fn record_that_does_not_fit_the_checkpoint_is_refused() {
    let bytes = checkpoint(&folder());
    let cases: [(&str, Value, Code, &str); 6] = [
        ("num_heads", Value::Null, Code::Invalid, "`metadata.num_heads` is `null`"),
        ("d_model", json!("wide"), Code::Invalid, "`metadata.d_model`"),
        ("num_heads", json!(3), Code::Invalid, "must be a multiple of `num_heads`, which is 3"),
        ("d_ff", json!(11), Code::Invalid, "has the shape [10, 8], but the record asks for [11, 8]"),
        ("num_layers", json!(3), Code::Invalid, "tensor `layers.2.attention_norm.weight` of shape [8] is missing"),
        ("num_layers", json!(1), Code::Unsupported, "has no place for it"),
    ];
    for (field, value, code, expected) in cases {
        let mut record = record();
        record.insert(field.into(), value);
        let error = read_checkpoint(&bytes, &record).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.code(), code, "{error}");
    }
    let mut record = record();
    record.remove("num_heads");
    let error = read_checkpoint(&bytes, &record).unwrap_err();
    assert!(error.to_string().contains("checkpoint without `num_heads`"), "{error}");
    assert_eq!(error.code(), Code::Unsupported);
}
