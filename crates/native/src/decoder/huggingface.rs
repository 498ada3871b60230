//! Decoders in folders of the Hugging Face libraries: the configuration's words, the names of the tensors, and the shards.

use std::sync::Arc;

use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

pub(crate) mod fields;
mod gpt2;
mod llama;
mod names;
mod rope;
mod weight_files;

pub(crate) use weight_files::{INDEX, choose as choose_weight_files};

use self::fields::Fields;
use super::DecoderModel;
use super::naming::{Name, Naming};
use super::original;
use super::role::{Presence, Role};
use super::spec::DecoderSpec;
use super::stored_tensor::{ShapeOrder, StoredShape, StoredTensor};
use super::tensor_table::TensorTable;
use crate::huggingface::{read_object, safetensors};
use crate::mapped_file::MappedFile;
use crate::quantization;
use crate::quote::quote;

pub(crate) const CONFIG: &str = "config.json";

/// How a class of the transformers library is read.
pub(super) struct Family {
    /// The name in `architectures`.
    pub(super) class: &'static str,
    /// Reads the configuration.
    pub(super) read: fn(&Fields<'_>) -> Result<Described>,
    /// What the library writes before names when the model stands in another.
    pub(super) prefix: &'static str,
    /// Returns the names of tensors.
    pub(super) name: fn(Role) -> Option<Name>,
    /// Says which tensors are buffers of the code, not weights.
    pub(super) is_buffer: fn(&str) -> bool,
}

/// What a configuration says.
pub(super) struct Described {
    pub(super) spec: DecoderSpec,
    pub(super) biases: Biases,
}

/// Which biases the linear parts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Biases {
    pub(super) query_key_value: Presence,
    pub(super) attention_output: Presence,
    pub(super) feed_forward: Presence,
    pub(super) norm: Presence,
    pub(super) output: Presence,
}

impl Biases {
    /// No part has one.
    pub(super) const NONE: Biases = Biases {
        query_key_value: Presence::Absent,
        attention_output: Presence::Absent,
        feed_forward: Presence::Absent,
        norm: Presence::Absent,
        output: Presence::Absent,
    };

    /// Says whether the model has the tensor of a role that is optional for the arithmetic.
    pub(super) fn presence(self, role: Role) -> Presence {
        match role {
            Role::QueryBias | Role::KeyBias | Role::ValueBias => self.query_key_value,
            Role::AttentionOutputBias => self.attention_output,
            Role::GateBias | Role::UpBias | Role::DownBias => self.feed_forward,
            Role::AttentionNormBias | Role::FeedForwardNormBias | Role::FinalNormBias => self.norm,
            Role::OutputBias => self.output,
            _ => Presence::Optional,
        }
    }
}

const FAMILIES: [&Family; 6] =
    [&llama::LLAMA, &llama::MISTRAL, &llama::QWEN2, &llama::QWEN3, &gpt2::GPT2, &original::FAMILY];

/// Reads a model.
///
/// # Errors
/// [`Error::Malformed`] when configuration and tensors do not fit each other, naming both values; [`Error::Unsupported`] for
/// a class, a variant or a type of tensors that is not computed here.
pub(crate) fn read(files: &LocalFiles) -> Result<DecoderModel> {
    let is_config = |file: &&LocalFile| file.path.as_str() == CONFIG;
    let config = files.0.iter().find(is_config);
    let config = read_object(config.ok_or_else(|| Error::malformed(subject(CONFIG), "it is missing"))?)?;
    let weights = weight_files::choose(files)?;
    let open = |file: &&LocalFile| -> Result<(String, Arc<MappedFile>)> {
        Ok((file.path.as_str().to_owned(), Arc::new(MappedFile::open(&file.local)?)))
    };
    let weights = weights.iter().map(open).collect::<Result<Vec<_>>>()?;
    assemble(&config, &weights)
}

/// Reads a model from its configuration and the mapped files of its weights.
pub(crate) fn assemble(config: &Map<String, Value>, weights: &[(String, Arc<MappedFile>)]) -> Result<DecoderModel> {
    let family = family(config)?;
    let fields = Fields::new(config);
    let Described { spec, biases } = (family.read)(&fields)?;
    fields.refuse_unknown()?;
    let spec = spec.check(&subject(CONFIG))?;
    let mut table = table(weights, family.prefix)?;
    table.ignore(family.is_buffer);
    if spec.tied_output {
        claim_copy_of_embedding(&mut table, &spec, family)?;
    }
    let optional = |role| biases.presence(role);
    let tensors = table.assign(&spec, &Naming { name: family.name, optional: &optional })?;
    Ok(DecoderModel { spec, tensors })
}

/// Returns the transformers library's name for the tensor of a role in Llama and its relatives.
pub(crate) fn llama_tensor_name(role: Role, layer: Option<usize>) -> Option<String> {
    let name = names::of_llama(role)?;
    Some(layer.map_or_else(|| name.template.to_owned(), |layer| name.of_layer(layer)))
}

/// Returns what the speeds of rotation are powers of.
///
/// # Errors
/// [`Error::Malformed`] for what is no such number.
pub(crate) fn rotary_base(config: &Map<String, Value>) -> Result<f64> {
    rope::base(&Fields::new(config))
}

/// Returns what errors call a file of the folder.
pub(super) fn subject(path: &str) -> String {
    format!("file `{path}`")
}

fn family(config: &Map<String, Value>) -> Result<&'static Family> {
    let classes = config.get("architectures").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = classes.iter().filter_map(Value::as_str).collect();
    let found = FAMILIES.into_iter().find(|family| names == [family.class]);
    found.ok_or_else(|| {
        let named = match &names[..] {
            [] => "a configuration without a class in `architectures`".to_owned(),
            names => format!("class {}", quote(&names.join(", "))),
        };
        let known = FAMILIES.map(|family| family.class).join("`, `");
        Error::unsupported(named, format!("the classes that are computed are `{known}`"))
    })
}

fn table(weights: &[(String, Arc<MappedFile>)], prefix: &str) -> Result<TensorTable> {
    let all_of_them = match weights {
        [(path, _)] => subject(path),
        _ => "the folder's weights".to_owned(),
    };
    let mut table = TensorTable::new(&all_of_them, "`config.json`", ShapeOrder::Outermost);
    for (path, file) in weights {
        let subject: Arc<str> = subject(path).into();
        let (entries, texts) = safetensors::read_with_texts(path, file)?;
        let split = quantization::split(path, file, entries, &texts)?;
        for tensor in split.plain {
            let key = tensor.name.strip_prefix(prefix).unwrap_or(&tensor.name);
            table.insert(key, stored(&subject, file, &tensor)?)?;
        }
        for tensor in split.quantized {
            let stored = StoredTensor::quantized(&subject, file, tensor, ShapeOrder::Outermost);
            let name = Arc::clone(&stored.name);
            table.insert(name.strip_prefix(prefix).unwrap_or(&name), stored)?;
        }
    }
    Ok(table)
}

fn stored(subject: &Arc<str>, file: &Arc<MappedFile>, tensor: &safetensors::TensorEntry) -> Result<StoredTensor> {
    let sizes = tensor.shape.iter().map(|size| usize::try_from(*size)).collect::<Result<Vec<usize>, _>>();
    let sizes = sizes.map_err(|_| {
        let reason = format!("the shape {:?} of tensor {} overflows", tensor.shape, quote(&tensor.name));
        Error::malformed(&**subject, reason)
    })?;
    let shape = StoredShape { sizes, order: ShapeOrder::Outermost };
    Ok(StoredTensor::dense((tensor.name.as_str(), subject, file), &tensor.dtype, shape, tensor.range.start))
}

/// Some files repeat a tied embedding as the output. The library ignores what stands there, so it must be the same.
fn claim_copy_of_embedding(table: &mut TensorTable, spec: &DecoderSpec, family: &Family) -> Result<()> {
    let (Some(output), Some(embedding)) = ((family.name)(Role::Output), (family.name)(Role::TokenEmbedding)) else {
        return Ok(());
    };
    let copy = table.role(Role::Output, spec, output.template, output)?;
    let original = table.role(Role::TokenEmbedding, spec, embedding.template, embedding)?;
    match (copy, original) {
        (Some(copy), Some(original)) if !copy.has_the_bytes_of(&original) => Err(Error::unsupported(
            format!("tensor {} beside a tied embedding", quote(copy.name())),
            "the configuration says that it is the embedding, and its numbers are others",
        )),
        _ => Ok(()),
    }
}
