//! A safetensors file alone: a declaration among its metadata or the names of its tensors say what it is, and the record what they do
//! not say.

use std::collections::BTreeMap;

use seedhouse_core::runtime::{Inspection, LoadedModel, LocalFile, LocalFiles};
use seedhouse_core::{Error, Framework, Graph, Result};
use serde_json::{Map, Value};

use crate::description::undescribed;
use crate::export::builder::GraphBuilder;
use crate::huggingface::safetensors;
use crate::layers::Tensors;
use crate::mapped_file::MappedFile;
use crate::quantization;
use crate::text_models::TextModels;
use crate::{diffusion, tabular, vision};

/// Returns the one safetensors file among others that are none, such as licences.
pub(crate) fn of(files: &LocalFiles) -> Option<&LocalFile> {
    let mut found = files.0.iter().filter(|file| file.path.extension() == Some("safetensors"));
    found.next().filter(|_| found.next().is_none())
}

/// Describes a file from its header.
///
/// # Errors
/// [`seedhouse_core::Error::Malformed`] naming the file and both values.
pub(crate) fn inspect(file: &LocalFile) -> Result<Inspection> {
    let (path, bytes) = (file.path.as_str(), MappedFile::open(&file.local)?);
    let (_, texts) = safetensors::read_with_texts(path, &bytes)?;
    let (entries, quantization) = quantization::described(path, &bytes)?;
    let mut tensor_types = BTreeMap::new();
    entries.iter().for_each(|tensor| *tensor_types.entry(tensor.dtype.clone()).or_default() += 1);
    let mut inspection = Inspection {
        tensor_count: entries.len() as u64,
        parameter_count: entries.iter().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.elements)),
        tensor_types,
        quantization,
        not_servable_because: None,
        needs_library_because: None,
        ..undescribed(Framework::Safetensors, String::new())
    };
    let described = Tensors::of_safetensors(path, &[(path, &bytes)]).and_then(|tensors| {
        match tabular::declaration_of(&texts) {
            Some(text) => tabular::describe(path, text, &tensors, &mut inspection)?,
            None if diffusion::recognises(&tensors) => diffusion::describe(&tensors, &mut inspection),
            None => vision::describe(&tensors, &mut inspection),
        }
        Ok(())
    });
    match described {
        // Whoever declares what a file is can be held to it.
        Err(malformed @ Error::Malformed { .. }) => Err(malformed),
        Err(error) => Ok(Inspection { not_servable_because: Some(error.to_string()), ..inspection }),
        Ok(()) => Ok(inspection),
    }
}

/// Makes a file ready to compute with.
///
/// # Errors
/// As [`inspect`], and those of the family that has these tensor names.
pub(crate) fn load(file: &LocalFile, metadata: &Map<String, Value>, models: &TextModels) -> Result<LoadedModel> {
    let (path, bytes) = (file.path.as_str(), MappedFile::open(&file.local)?);
    let tensors = Tensors::of_safetensors(path, &[(path, &bytes)])?;
    match tabular::declaration_of(&safetensors::read_with_texts(path, &bytes)?.1) {
        Some(text) => tabular::load(path, text, &tensors, models),
        None if diffusion::recognises(&tensors) => diffusion::load(&tensors, metadata, models),
        None => vision::load(&tensors, metadata, models),
    }
}

/// Makes a graph of a file.
///
/// # Errors
/// As [`load`].
pub(crate) fn graph(file: &LocalFile, metadata: &Map<String, Value>, graph: GraphBuilder<'_>) -> Result<Graph> {
    let (path, bytes) = (file.path.as_str(), MappedFile::open(&file.local)?);
    let tensors = Tensors::of_safetensors(path, &[(path, &bytes)])?;
    match tabular::declaration_of(&safetensors::read_with_texts(path, &bytes)?.1) {
        Some(text) => tabular::graph::of_file(path, text, &tensors, graph),
        None if diffusion::recognises(&tensors) => diffusion::graph::of_tensors(&tensors, metadata, graph),
        None => vision::graph::of_tensors(&tensors, metadata, graph),
    }
}
