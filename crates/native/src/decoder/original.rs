//! The decoder of the system that Seedhouse took over: learned positions, norms after each part, GELU, and no biases at queries,
//! keys and values. Its records name `vocab_size`, `max_seq_len`, `d_model`, `num_heads`, `num_layers` and `d_ff`.
//!
//! No file with its weights was kept, so these tensor names are ours. Matrices are `[outputs, inputs]` as torch writes them:
//!
//! ```text
//! token_embedding.weight                        [vocab_size, d_model]
//! position_embedding.weight                     [max_seq_len, d_model]
//! layers.N.attention.query.weight               [d_model, d_model], also key and value
//! layers.N.attention.output.weight, .bias       [d_model, d_model], [d_model]
//! layers.N.attention_norm.weight, .bias         [d_model]
//! layers.N.feed_forward.up.weight, .bias        [d_ff, d_model], [d_ff]
//! layers.N.feed_forward.down.weight, .bias      [d_model, d_ff], [d_model]
//! layers.N.feed_forward_norm.weight, .bias      [d_model]
//! final_norm.weight, .bias                      [d_model], only where a model has a norm after the last block
//! output.weight, .bias                          [vocab_size, d_model], [vocab_size]; without the matrix the output is tied
//! ```
//!
//! Every bias may be left out. In a folder, `tie_word_embeddings` says whether the output is tied, and the biases of queries, keys
//! and values are refused. A block is `x = attention_norm(x + attention(x))`, then
//! `x = feed_forward_norm(x + down(gelu(up(x))))`, with the GELU of the error function. Two forms are read: a folder with
//! safetensors files and a `config.json` that names `PostNormDecoder` in `architectures` beside the six numbers of the record,
//! and a torch checkpoint with `tokenizer.json` beside it, for which the record itself has the numbers.

use std::sync::Arc;

use seedhouse_core::{Error, ManifestPath, Result};
use serde_json::{Map, Value};

use super::DecoderModel;
use super::huggingface::fields::{Fields, broken};
use super::huggingface::{Biases, Described, Family};
use super::naming::{Name, Naming};
use super::role::{Presence, Role};
use super::spec::{DecoderSpec, FeedForward, Norm, NormKind, NormPlacement, Positions};
use super::stored_tensor::{ShapeOrder, StoredShape, StoredTensor};
use super::tensor_table::TensorTable;
use crate::mapped_file::MappedFile;
use crate::torch::checkpoint::{Checkpoint, TensorView};

/// The name of the family in records and messages.
pub(crate) const ARCHITECTURE: &str = "post_norm_decoder";
const TOKEN_EMBEDDING: &str = "token_embedding.weight";
const POSITION_EMBEDDING: &str = "position_embedding.weight";
const OUTPUT: &str = "output.weight";

/// What torch adds to the variance.
const EPSILON: f64 = 1e-5;

/// The folder form.
pub(super) const FAMILY: Family =
    Family { class: "PostNormDecoder", read: describe, prefix: "", name, is_buffer: |_| false };

/// Returns whether the tensors of a checkpoint have the names of this family.
pub(crate) fn recognises(checkpoint: &Checkpoint<'_>) -> bool {
    let has = |name: &str| checkpoint.tensors().contains_key(name);
    has(TOKEN_EMBEDDING) && has(POSITION_EMBEDDING) && has("layers.0.attention.query.weight")
}

/// Returns the hyper-parameters that the shapes of a checkpoint tell, in the record's names: all but `num_heads`.
pub(crate) fn hyper_parameters(checkpoint: &Checkpoint<'_>) -> Map<String, Value> {
    let size = |name: &str, dimension: usize| checkpoint.tensors().get(name)?.shape.get(dimension).copied();
    let layer =
        |layer: usize| checkpoint.tensors().contains_key(format!("layers.{layer}.attention.query.weight").as_str());
    [
        ("vocab_size", size(TOKEN_EMBEDDING, 0)),
        ("max_seq_len", size(POSITION_EMBEDDING, 0)),
        ("d_model", size(TOKEN_EMBEDDING, 1)),
        ("num_layers", Some((0..).take_while(|&number| layer(number)).count())),
        ("d_ff", size("layers.0.feed_forward.up.weight", 0)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
    .collect()
}

/// Returns the configuration of a folder that is the same model as a checkpoint with this record.
///
/// # Errors
/// [`Error::Unsupported`] when the checkpoint has what a folder cannot have.
pub(crate) fn configuration(model: &DecoderModel) -> Result<Map<String, Value>> {
    for (role, source) in model.tensors.by_role() {
        if matches!(role, Role::QueryBias | Role::KeyBias | Role::ValueBias) {
            let reason = "a folder of this family has no biases of queries, keys and values";
            return Err(Error::unsupported(format!("tensor `{}`", source.name().escape_debug()), reason));
        }
    }
    let spec = &model.spec;
    let numbers = [
        ("vocab_size", spec.vocab_size),
        ("max_seq_len", spec.context_length),
        ("d_model", spec.width),
        ("num_heads", spec.query_heads),
        ("num_layers", spec.layers),
        ("d_ff", spec.feed_forward_width),
    ];
    let mut config = Map::from_iter(numbers.map(|(name, number)| (name.to_owned(), Value::from(number))));
    config.insert("architectures".into(), Value::from(vec![FAMILY.class]));
    config.insert("model_type".into(), ARCHITECTURE.into());
    config.insert("tie_word_embeddings".into(), spec.tied_output.into());
    Ok(config)
}

/// Reads a checkpoint by the hyper-parameters of its record.
///
/// # Errors
/// [`Error::Malformed`] when both do not fit each other, naming both values; [`Error::Unsupported`] when the record lacks a
/// number, [`Error::Invalid`] when it is none.
pub(crate) fn read_checkpoint(
    path: &ManifestPath,
    file: &Arc<MappedFile>,
    metadata: &Map<String, Value>,
) -> Result<DecoderModel> {
    let checkpoint = Checkpoint::read(path.as_str(), file)?;
    let mut table = TensorTable::new(path.as_str(), "the record", ShapeOrder::Outermost);
    let subject = Arc::clone(&table.subject);
    for (name, view) in checkpoint.tensors() {
        table.insert(name, stored(name, &subject, file, view))?;
    }
    let mut spec = of_record(metadata)?;
    spec.tied_output = table.get(OUTPUT).is_none();
    let spec = spec.check("the record's `metadata`")?;
    let tensors = table.assign(&spec, &Naming { name, optional: &|_| Presence::Optional })?;
    Ok(DecoderModel { spec, tensors })
}

/// The numbers of a record's `metadata`, which other systems wrote.
fn of_record(metadata: &Map<String, Value>) -> Result<DecoderSpec> {
    let number = |name: &str| -> Result<usize> {
        let rule = "must be a whole number between 1 and 2^32 - 1, or the checkpoint cannot be computed with";
        let Some(value) = metadata.get(name) else {
            let reason = "the shapes of a checkpoint do not say everything: the record's `metadata` has to name it";
            return Err(Error::unsupported(format!("a `{ARCHITECTURE}` checkpoint without `{name}`"), reason));
        };
        let found = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
        found.map(|number| number as usize).ok_or_else(|| Error::invalid(format!("metadata.{name}"), value, rule))
    };
    spec(Numbers {
        vocab_size: number("vocab_size")?,
        max_seq_len: number("max_seq_len")?,
        d_model: number("d_model")?,
        num_heads: number("num_heads")?,
        num_layers: number("num_layers")?,
        d_ff: number("d_ff")?,
    })
    .ok_or_else(|| {
        let (width, heads) = (metadata["d_model"].clone(), metadata["num_heads"].clone());
        Error::invalid("metadata.d_model", width, format!("must be a multiple of `num_heads`, which is {heads}"))
    })
}

fn describe(fields: &Fields<'_>) -> Result<Described> {
    let numbers = Numbers {
        vocab_size: fields.required_size("vocab_size")?,
        max_seq_len: fields.required_size("max_seq_len")?,
        d_model: fields.required_size("d_model")?,
        num_heads: fields.required_size("num_heads")?,
        num_layers: fields.required_size("num_layers")?,
        d_ff: fields.required_size("d_ff")?,
    };
    let (width, heads) = (numbers.d_model, numbers.num_heads);
    let rule = format!("must be a multiple of `num_heads`, which is {heads}");
    let mut spec = spec(numbers).ok_or_else(|| broken("d_model", &width.into(), &rule))?;
    spec.norm.epsilon = fields.float("layer_norm_eps")?.unwrap_or(EPSILON) as f32;
    spec.tied_output = fields.boolean("tie_word_embeddings")?.unwrap_or(false);
    let optional = Presence::Optional;
    let biases = Biases {
        query_key_value: Presence::Absent,
        attention_output: optional,
        feed_forward: optional,
        norm: optional,
        output: optional,
    };
    Ok(Described { spec, biases })
}

/// The hyper-parameters by the record's names.
struct Numbers {
    vocab_size: usize,
    max_seq_len: usize,
    d_model: usize,
    num_heads: usize,
    num_layers: usize,
    d_ff: usize,
}

/// Returns `None` when the heads do not share the width evenly.
fn spec(numbers: Numbers) -> Option<DecoderSpec> {
    let head_width = numbers.d_model / numbers.num_heads;
    (head_width * numbers.num_heads == numbers.d_model).then(|| DecoderSpec {
        architecture: ARCHITECTURE.to_owned(),
        width: numbers.d_model,
        layers: numbers.num_layers,
        query_heads: numbers.num_heads,
        key_value_heads: numbers.num_heads,
        head_width,
        feed_forward_width: numbers.d_ff,
        vocab_size: numbers.vocab_size,
        context_length: numbers.max_seq_len,
        norm: Norm { kind: NormKind::Layer, epsilon: EPSILON as f32, placement: NormPlacement::Post },
        head_norms: false,
        positions: Positions::Learned,
        feed_forward: FeedForward::Gelu,
        sliding_window: None,
        attention_scale: (1.0 / (head_width as f64).sqrt()) as f32,
        embedding_scale: None,
        tied_output: false,
    })
}

fn stored(name: &str, subject: &Arc<str>, file: &Arc<MappedFile>, view: &TensorView<'_>) -> StoredTensor {
    StoredTensor {
        name: name.into(),
        subject: Arc::clone(subject),
        file: Arc::clone(file),
        type_name: view.data_type.as_str().to_owned(),
        shape: StoredShape { sizes: view.shape.clone(), order: ShapeOrder::Outermost },
        strides: view.strides().to_vec(),
        start: view.start_in(file),
        quantized: None,
    }
}

fn name(role: Role) -> Option<Name> {
    Some(Name::plain(match role {
        Role::TokenEmbedding => TOKEN_EMBEDDING,
        Role::PositionEmbedding => POSITION_EMBEDDING,
        Role::FinalNorm => "final_norm.weight",
        Role::FinalNormBias => "final_norm.bias",
        Role::Output => OUTPUT,
        Role::OutputBias => "output.bias",
        Role::AttentionNorm => "layers.{}.attention_norm.weight",
        Role::AttentionNormBias => "layers.{}.attention_norm.bias",
        Role::Query => "layers.{}.attention.query.weight",
        Role::QueryBias => "layers.{}.attention.query.bias",
        Role::Key => "layers.{}.attention.key.weight",
        Role::KeyBias => "layers.{}.attention.key.bias",
        Role::Value => "layers.{}.attention.value.weight",
        Role::ValueBias => "layers.{}.attention.value.bias",
        Role::AttentionOutput => "layers.{}.attention.output.weight",
        Role::AttentionOutputBias => "layers.{}.attention.output.bias",
        Role::FeedForwardNorm => "layers.{}.feed_forward_norm.weight",
        Role::FeedForwardNormBias => "layers.{}.feed_forward_norm.bias",
        Role::Up => "layers.{}.feed_forward.up.weight",
        Role::UpBias => "layers.{}.feed_forward.up.bias",
        Role::Down => "layers.{}.feed_forward.down.weight",
        Role::DownBias => "layers.{}.feed_forward.down.bias",
        Role::QueryNorm | Role::KeyNorm | Role::Gate | Role::GateBias => return None,
    }))
}
