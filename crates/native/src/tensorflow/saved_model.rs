//! SavedModels (`saved_model.proto`, `meta_graph.proto` of TensorFlow): what the graph calls its inputs and outputs, and the variables
//! beside it.
//!
//! ```text
//! saved_model.pb                        graphs, each for a set of tags, with signatures
//! variables/variables.index, .data-…    a checkpoint
//! assets/                               files that the graph reads: vocabularies
//! fingerprint.pb, keras_metadata.pb …   not read
//! ```

mod graph;

use std::collections::BTreeMap;

use seedhouse_core::runtime::{Inspection, LocalFile, LocalFiles};
use seedhouse_core::{Error, Framework, Result};
use serde_json::{Map, Value, json};

use self::graph::Graph;
use super::checkpoint::Checkpoint;
use super::data_type::DataType;
use super::messages::{Shape, Signature, TensorInfo};
use super::wire::{self, Message};
use super::{at, shown};
use crate::description::undescribed;
use crate::mapped_file::MappedFile;
use crate::quote::quote;

const FILE_NAME: &str = "saved_model.pb";

const REASON: &str = "it is a TensorFlow SavedModel, whose operators are not run here; convert it to ONNX, for example with \
    `python -m tf2onnx.convert --saved-model FOLDER --output model.onnx`, and register the ONNX file";

/// The one tag of the graph that servers load. That for other hardware has a second one.
const SERVE: &str = "serve";

/// Finds the SavedModels: by their content, and broken ones by the name that every reader of the format asks for.
///
/// # Errors
/// [`Error::Io`] when a file cannot be read.
pub(super) fn among(files: &LocalFiles) -> Result<Vec<&LocalFile>> {
    let mut found = Vec::new();
    for file in &files.0 {
        if file.path.file_name() == FILE_NAME || looks_like_one(&MappedFile::open(&file.local)?) {
            found.push(file);
        }
    }
    Ok(found)
}

/// Returns whether bytes are fields of a SavedModel and no others: version 1 of the format, then graphs, each of which begins by
/// saying what it is. A Core ML model begins alike, and has other fields behind.
fn looks_like_one(bytes: &[u8]) -> bool {
    const VERSION_THEN_GRAPH: &[u8] = b"\x08\x01\x12";
    const META_INFO: u64 = 1;
    let begins_with_meta_info =
        |graph: Message<'_>| matches!(graph.fields().next(), Some(Ok((META_INFO, wire::Value::Bytes(_)))));
    bytes.starts_with(VERSION_THEN_GRAPH)
        && Message::of_file("", "", bytes).fields().all(|field| match field {
            Ok((1, wire::Value::Number(_))) => true,
            Ok((2, wire::Value::Bytes(graph))) => begins_with_meta_info(graph),
            _ => false,
        })
}

/// Describes a SavedModel and checks the variables beside it.
///
/// # Errors
/// As [`super::inspect`]; a folder that lacks the variables or a file that the graph reads is [`Error::Malformed`].
pub(super) fn inspect(model: &LocalFile, files: &LocalFiles) -> Result<Inspection> {
    let (file, bytes) = (shown(model), MappedFile::open(&model.local)?);
    let graphs = graph::read(&file, &bytes)?;
    let folder = model.path.as_str().strip_suffix(model.path.file_name()).unwrap_or_default();
    check_assets(&file, folder, &graphs, files)?;
    let index = format!("{folder}variables/variables.index");
    let checkpoint = at(files, &index).map(|index| Checkpoint::read(index, files)).transpose()?;
    let declared: u64 = graphs.iter().map(|graph| graph.variables).max().unwrap_or_default();
    if declared > 0 && checkpoint.as_ref().is_none_or(Checkpoint::is_empty) {
        let reason = format!(
            "it has {declared} variables, but `{index}` is not among the files or has none; register the whole folder"
        );
        return Err(Error::malformed(file, reason));
    }
    let mut inspection = match &checkpoint {
        Some(checkpoint) => checkpoint.describe(REASON),
        None => undescribed(Framework::Tensorflow, REASON.into()),
    };
    inspection.hyper_parameters = described(&graphs, inspection.hyper_parameters);
    Ok(inspection)
}

fn check_assets(file: &str, folder: &str, graphs: &[Graph<'_>], files: &LocalFiles) -> Result<()> {
    for name in graphs.iter().flat_map(|graph| &graph.assets) {
        let path = format!("{folder}assets/{name}");
        if at(files, &path).is_none() {
            let reason =
                format!("its graph reads {}, which is not among the files; register the whole folder", quote(&path));
            return Err(Error::malformed(file, reason));
        }
    }
    Ok(())
}

/// Says what the graph for servers is. Where there are others, for example for training, their tags are listed.
fn described(graphs: &[Graph<'_>], variables: Map<String, Value>) -> Map<String, Value> {
    let served = graphs.iter().position(|graph| graph.tags == [SERVE]).unwrap_or(0);
    let mut found = Map::new();
    let Some(graph) = graphs.get(served) else { return variables };
    found.insert("tensorflow_version".into(), graph.tensorflow_version.into());
    found.insert("tags".into(), json!(graph.tags));
    let signatures = graph.signatures.iter().map(|(name, signature)| (name.clone(), signature_json(signature)));
    found.insert("signatures".into(), Value::Object(signatures.collect()));
    let others = graphs.iter().enumerate().filter(|(position, _)| *position != served);
    let others: Vec<&Vec<&str>> = others.map(|(_, graph)| &graph.tags).collect();
    if !others.is_empty() {
        found.insert("tags_of_other_graphs".into(), json!(others));
    }
    found.extend(variables);
    found
}

fn signature_json(signature: &Signature) -> Value {
    let tensors = |tensors: &BTreeMap<String, TensorInfo>| -> Value {
        tensors.iter().map(|(name, tensor)| tensor_json(name, tensor)).collect()
    };
    json!({ "inputs": tensors(&signature.inputs), "outputs": tensors(&signature.outputs) })
}

/// A free dimension is null; a shape whose number of dimensions is not said is null itself.
fn tensor_json(name: &str, tensor: &TensorInfo) -> Value {
    let sizes = |shape: &Shape| -> Vec<Option<u64>> {
        shape.dimensions.iter().map(|dimension| u64::try_from(dimension.size).ok()).collect()
    };
    let shape = tensor.shape.as_ref().filter(|shape| !shape.is_unknown).map(sizes);
    json!({ "name": name, "dtype": DataType(tensor.data_type).name(), "shape": shape })
}
