//! What a GGUF file is as a model: its description for the record, and the family that computes it.

use std::sync::Arc;

use seedhouse_core::runtime::{Inspection, LoadedModel, LocalFiles};
use seedhouse_core::{Error, Framework, Graph, ModelType, Result};
use serde_json::{Map, Value};

use crate::decoder::{self, DecoderModel};
use crate::description::undescribed;
use crate::export::builder::GraphBuilder;
use crate::gguf::Gguf;
use crate::mapped_file::MappedFile;
use crate::text_models::TextModels;
use crate::vocabulary::Vocabulary;

/// Describes a file.
///
/// # Errors
/// [`Error::Malformed`] when the file is broken, also as a model; what is merely not computed here is a part of the
/// description.
pub(crate) fn inspect(path: &str, file: &Arc<MappedFile>) -> Result<Inspection> {
    let gguf = match Gguf::parse(path, file) {
        Err(unsupported @ Error::Unsupported { .. }) => {
            return Ok(undescribed(Framework::Gguf, unsupported.to_string()));
        }
        parsed => parsed?,
    };
    let architecture = gguf.metadata.name("general.architecture")?;
    let not_servable_because = match assemble(&gguf, file) {
        Ok(_) => None,
        Err(unsupported @ Error::Unsupported { .. }) => Some(unsupported.to_string()),
        Err(broken) => return Err(broken),
    };
    let mut tensor_types = std::collections::BTreeMap::new();
    for tensor in gguf.tensors.values() {
        *tensor_types.entry(tensor.tensor_type.name.to_owned()).or_default() += 1;
    }
    Ok(Inspection {
        framework: Framework::Gguf,
        model_type: architecture.map_or_else(|| ModelType::Other("unknown".into()), model_type),
        architecture: architecture.map(str::to_owned),
        hyper_parameters: hyper_parameters(&gguf, architecture.unwrap_or_default()),
        tensor_count: gguf.tensors.len() as u64,
        parameter_count: gguf.tensors.values().map(|tensor| tensor.element_count).sum(),
        tensor_types,
        not_servable_because,
        needs_library_because: None,
        quantization: None,
    })
}

/// Makes a file ready to compute with.
///
/// # Errors
/// As [`inspect`], and [`Error::Unsupported`] for what is not computed here.
pub(crate) fn load(files: &LocalFiles, path: &str, file: &Arc<MappedFile>, models: &TextModels) -> Result<LoadedModel> {
    let gguf = Gguf::parse(path, file)?;
    let (model, vocabulary) = assemble(&gguf, file)?;
    let template = vocabulary.chat_template.map(str::to_owned);
    models.load(files, &model, vocabulary.to_tokenizer(), template)
}

/// Makes a graph of a file.
///
/// # Errors
/// As [`load`].
pub(crate) fn graph(path: &str, file: &Arc<MappedFile>, graph: GraphBuilder<'_>) -> Result<Graph> {
    let (model, _) = assemble(&Gguf::parse(path, file)?, file)?;
    decoder::graph::of_model(&model, graph)
}

/// Checks everything that loading checks, which costs next to nothing because weights stay in the file.
pub(crate) fn assemble<'a>(gguf: &Gguf<'a>, file: &Arc<MappedFile>) -> Result<(DecoderModel, Vocabulary<'a>)> {
    let refuse = |what: String, reason: &str| Err(Error::unsupported(what, reason));
    match gguf.metadata.name("general.type")? {
        None | Some("model") => {}
        Some(other) => return refuse(format!("GGUF of type `{}`", other.escape_debug()), "this runtime loads models"),
    }
    if gguf.tensors.is_empty() {
        return refuse("a GGUF without tensors".into(), "it holds a vocabulary at most");
    }
    let vocabulary = Vocabulary::read(gguf)?;
    let model = decoder::gguf::read(gguf, file)?;
    Ok((model, vocabulary))
}

/// Says what architectures of llama.cpp and its relatives are for; all others generate text.
fn model_type(architecture: &str) -> ModelType {
    match architecture {
        "bert" | "nomic-bert" | "nomic-bert-moe" | "jina-bert-v2" | "jina-bert-v3" | "modern-bert" | "neo-bert"
        | "eurobert" | "gemma-embedding" | "t5encoder" => ModelType::Embedding,
        "clip" => ModelType::Vision,
        "sd1" | "sd2" | "sd3" | "sdxl" | "flux" => ModelType::Diffusion,
        _ => ModelType::Transformer,
    }
}

/// Collects the numbers that every architecture writes under its own name, in the record's words.
fn hyper_parameters(gguf: &Gguf<'_>, architecture: &str) -> Map<String, Value> {
    let number = |key: &str| gguf.metadata.get(&format!("{architecture}.{key}"))?.as_unsigned();
    let tokens = gguf.metadata.array("tokenizer.ggml.tokens").ok().flatten().map(|tokens| tokens.length() as u64);
    let heads = number("attention.head_count");
    [
        ("vocab_size", tokens.or_else(|| number("vocab_size"))),
        ("max_seq_len", number("context_length")),
        ("d_model", number("embedding_length")),
        ("num_heads", heads),
        ("num_kv_heads", number("attention.head_count_kv").or(heads)),
        ("num_layers", number("block_count")),
        ("d_ff", number("feed_forward_length")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
    .collect()
}
