//! Torch checkpoints: state dicts that `torch.save` wrote. Nothing in them is executed.
//!
//! ```text
//! legacy    the layout before PyTorch 1.6: five pickles, then the raw storages   \
//! archive   the layout since: a ZIP archive of one pickle and stored entries      } -> checkpoint (named tensor views)
//! pickle    a parser with a table of allowed globals; all others are refused     /
//! ```
//!
//! Weights stay where they are, in the mapped file, until a family converts them.

mod archive;
pub(crate) mod checkpoint;
mod legacy;
mod pickle;
mod state_dict;

use std::collections::BTreeMap;
use std::sync::Arc;

use seedhouse_core::runtime::{Inspection, LoadOptions, LoadedModel, LocalFiles};
use seedhouse_core::{Error, Framework, Graph, ManifestPath, ModelType, Result};
use serde_json::{Map, Value};

use self::checkpoint::Checkpoint;
use crate::decoder::{self, original};
use crate::description::undescribed;
use crate::diffusion;
use crate::export::builder::GraphBuilder;
use crate::huggingface::text;
use crate::layers::Tensors;
use crate::mapped_file::MappedFile;
pub(crate) use crate::quote::quote;
use crate::text_models::TextModels;
use crate::vision;

/// Returns whether [`inspect`] has something to say about these bytes.
///
/// That is so for both layouts of torch, and for any other pickle of protocol 2 to 5, which is then refused: a pickle
/// is a program, and whoever sends one should hear why it is not run.
pub(crate) fn is_checkpoint(bytes: &[u8]) -> bool {
    legacy::has_magic(bytes) || pickle::looks_like_one(bytes) || archive::looks_like_one(bytes)
}

/// Describes a checkpoint from its pickle and the shapes in it.
///
/// # Errors
/// [`Error::Malformed`] naming what was found and what was expected; a pickle that asks for a global outside the table
/// is refused with the full name of that global. What is merely not read, such as TorchScript and compressed archives, is a
/// part of the description. `files` are those of the version: a decoder needs the tokenizer among them.
pub(crate) fn inspect(file: &ManifestPath, bytes: &[u8], files: &LocalFiles) -> Result<Inspection> {
    let checkpoint = match Checkpoint::read(file.as_str(), bytes) {
        Err(unsupported @ Error::Unsupported { .. }) => {
            return Ok(undescribed(Framework::Pytorch, unsupported.to_string()));
        }
        read => read?,
    };
    let mut inspection = Inspection {
        tensor_count: checkpoint.tensors().len() as u64,
        parameter_count: checkpoint.tensors().values().map(|tensor| tensor.element_count() as u64).sum(),
        tensor_types: count_types(&checkpoint),
        not_servable_because: None,
        needs_library_because: None,
        ..undescribed(Framework::Pytorch, String::new())
    };
    if original::recognises(&checkpoint) {
        describe_decoder(&checkpoint, files, &mut inspection);
        return Ok(inspection);
    }
    let tensors = Tensors::of_checkpoint(checkpoint);
    match diffusion::recognises(&tensors) {
        true => diffusion::describe(&tensors, &mut inspection),
        false => vision::describe(&tensors, &mut inspection),
    }
    Ok(inspection)
}

/// A decoder can be served when there is a tokenizer; what the record must say, loading finds out.
fn describe_decoder(checkpoint: &Checkpoint<'_>, files: &LocalFiles, inspection: &mut Inspection) {
    inspection.model_type = ModelType::Transformer;
    inspection.architecture = Some(original::ARCHITECTURE.into());
    inspection.hyper_parameters = original::hyper_parameters(checkpoint);
    let vocab_size = inspection.hyper_parameters.get("vocab_size").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let tokenizer = text::read(files, usize::try_from(vocab_size).unwrap_or(usize::MAX));
    inspection.not_servable_because = tokenizer.err().map(|error| error.to_string());
}

/// Makes a checkpoint ready to compute with.
///
/// # Errors
/// As [`inspect`]; [`Error::Unsupported`] when no family has these tensor names, a weight is of a type that is not
/// computed with or the record lacks a number that the tensors do not tell, [`Error::Malformed`] when a tensor is missing,
/// superfluous, of the wrong shape or not finite.
pub(crate) fn load(
    path: &ManifestPath,
    file: &Arc<MappedFile>,
    files: &LocalFiles,
    options: &LoadOptions,
    models: &TextModels,
) -> Result<LoadedModel> {
    let checkpoint = Checkpoint::read(path.as_str(), file)?;
    if original::recognises(&checkpoint) {
        let model = original::read_checkpoint(path, file, &options.metadata)?;
        let text = text::read(files, model.spec.vocab_size)?;
        return models.load(files, &model, text.tokenizer, text.chat_template);
    }
    let tensors = Tensors::of_checkpoint(checkpoint);
    match diffusion::recognises(&tensors) {
        true => diffusion::load(&tensors, &options.metadata, models),
        false => vision::load(&tensors, &options.metadata, models),
    }
}

/// Makes a graph of a checkpoint.
///
/// # Errors
/// As [`load`].
pub(crate) fn graph(
    path: &ManifestPath,
    file: &Arc<MappedFile>,
    metadata: &Map<String, Value>,
    graph: GraphBuilder<'_>,
) -> Result<Graph> {
    let checkpoint = Checkpoint::read(path.as_str(), file)?;
    if original::recognises(&checkpoint) {
        return decoder::graph::of_model(&original::read_checkpoint(path, file, metadata)?, graph);
    }
    let tensors = Tensors::of_checkpoint(checkpoint);
    match diffusion::recognises(&tensors) {
        true => diffusion::graph::of_tensors(&tensors, metadata, graph),
        false => vision::graph::of_tensors(&tensors, metadata, graph),
    }
}

fn count_types(checkpoint: &Checkpoint<'_>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for tensor in checkpoint.tensors().values() {
        *counts.entry(tensor.data_type.as_str().to_owned()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests;
