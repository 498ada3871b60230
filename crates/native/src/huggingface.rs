//! Folders as the Hugging Face libraries write them: `config.json` beside one or more safetensors files.
//!
//! Their decoders are read by `decoder::huggingface` and their tokenizers by [`text`], their image classifiers by `vision`, their
//! sentence encoders by `embedding`; other models are described only. What the
//! configuration says is held against the tensors where both speak of one number, and a folder whose shards are not all there is
//! refused.

mod config;
pub(crate) mod safetensors;
mod shards;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use std::collections::BTreeMap;

use seedhouse_core::runtime::{Inspection, LoadedModel, LocalFile, LocalFiles};
use seedhouse_core::{Error, Framework, Graph, ModelType, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::decoder::{self, DecoderModel};
use crate::embedding;
use crate::export::builder::GraphBuilder;
use crate::mapped_file::MappedFile;
use crate::quantization;
use crate::text_models::TextModels;
use crate::vision;
use config::Config;
use safetensors::TensorEntry;
use text::FolderText;

const CONFIG: &str = "config.json";

/// Far longer than any configuration, and short enough to be parsed whole.
const MOST_CONFIG_BYTES: usize = 16 << 20;

/// Returns whether there are a configuration and weights.
pub(crate) fn is_folder(files: &LocalFiles) -> bool {
    let has = |wanted: &dyn Fn(&LocalFile) -> bool| files.0.iter().any(wanted);
    has(&|file| file.path.as_str() == CONFIG) && has(&|file| file.path.extension() == Some("safetensors"))
}

/// Describes a folder, or returns `None` when it is none of this kind.
///
/// # Errors
/// [`Error::Malformed`] naming the file and both values.
pub(crate) fn inspect(files: &LocalFiles) -> Result<Option<Inspection>> {
    let is_weights = |file: &&LocalFile| file.path.extension() == Some("safetensors");
    let weights: Vec<&LocalFile> = files.0.iter().filter(is_weights).collect();
    let Some(config) = files.0.iter().find(|file| file.path.as_str() == CONFIG) else { return Ok(None) };
    if weights.is_empty() {
        return Ok(None);
    }
    let Some(config) = Config::of(read_object(config)?) else { return Ok(None) };
    let (mut tensors, mut described, mut quantization) = (BTreeMap::new(), Vec::new(), None);
    for file in weights {
        let (path, bytes) = (file.path.as_str(), MappedFile::open(&file.local)?);
        tensors.insert(path, safetensors::read(path, &bytes)?);
        let (of_file, kind) = quantization::described(path, &bytes)?;
        described.extend(of_file);
        quantization = quantization.or(kind);
    }
    shards::check(files, &tensors)?;
    let all = || described.iter();
    all().try_for_each(|tensor| config.check(tensor))?;
    let mut hyper_parameters = config.hyper_parameters();
    let (model_type, refusal) = if embedding::is_encoder(files)? {
        let refusal = embedding::inspect_folder(files).map(|of_encoder| hyper_parameters.extend(of_encoder)).err();
        (ModelType::Embedding, refusal)
    } else if vision::is_classifier(files)? {
        let refusal = vision::inspect_folder(files).map(|of_network| hyper_parameters.extend(of_network)).err();
        (config.model_type(), refusal)
    } else {
        (config.model_type(), read_decoder(files).err())
    };
    Ok(Some(Inspection {
        framework: Framework::Huggingface,
        model_type,
        architecture: Some(config.architecture().to_owned()),
        tensor_count: all().count() as u64,
        parameter_count: all().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.elements)),
        tensor_types: count_types(all()),
        quantization,
        hyper_parameters,
        not_servable_because: refusal.map(|refusal| refusal.to_string()),
        needs_library_because: None,
    }))
}

/// Makes a decoder, a sentence encoder or an image classifier ready to compute with.
///
/// # Errors
/// [`Error::Malformed`] naming the file and both values, [`Error::Unsupported`] for what is not computed here.
pub(crate) fn load(files: &LocalFiles, models: &TextModels) -> Result<LoadedModel> {
    if embedding::is_encoder(files)? {
        return embedding::load_folder(files, models);
    }
    if vision::is_classifier(files)? {
        return vision::load_folder(files, models);
    }
    let (model, text) = read_decoder(files)?;
    models.load(files, &model, text.tokenizer, text.chat_template)
}

/// Returns whether a folder is a model of another kind than those that continue texts.
///
/// # Errors
/// [`Error::Malformed`] for a configuration that is no JSON object.
pub(crate) fn is_no_decoder(files: &LocalFiles) -> Result<bool> {
    Ok(embedding::is_encoder(files)? || vision::is_classifier(files)?)
}

/// Makes a graph of a folder.
///
/// # Errors
/// As [`load`].
pub(crate) fn graph(files: &LocalFiles, graph: GraphBuilder<'_>) -> Result<Graph> {
    if embedding::is_encoder(files)? {
        return embedding::graph_of_folder(files, graph);
    }
    if vision::is_classifier(files)? {
        return vision::graph_of_folder(files, graph);
    }
    decoder::graph::of_model(&decoder::huggingface::read(files)?, graph)
}

fn read_decoder(files: &LocalFiles) -> Result<(DecoderModel, FolderText)> {
    let model = decoder::huggingface::read(files)?;
    let text = text::read(files, model.spec.vocab_size)?;
    Ok((model, text))
}

fn count_types<'a>(tensors: impl Iterator<Item = &'a TensorEntry>) -> BTreeMap<String, u64> {
    let mut types = BTreeMap::new();
    tensors.for_each(|tensor| *types.entry(tensor.dtype.clone()).or_default() += 1);
    types
}

/// Reads a file that holds a JSON object.
pub(crate) fn read_object(file: &LocalFile) -> Result<Map<String, Value>> {
    read_json(file)
}

/// Reads a file that holds JSON of one form.
pub(crate) fn read_json<T: DeserializeOwned>(file: &LocalFile) -> Result<T> {
    let bytes = MappedFile::open(&file.local)?;
    let malformed = |reason: String| Error::malformed(format!("file `{}`", file.path), reason);
    if bytes.len() > MOST_CONFIG_BYTES {
        return Err(malformed(format!("it has {} bytes, and {MOST_CONFIG_BYTES} is the limit", bytes.len())));
    }
    serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))
}
