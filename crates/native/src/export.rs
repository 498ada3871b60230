//! Models in the formats of others.
//!
//! ```text
//! builder        a graph as it is put together; every family draws itself beside its forward pass (`graph.rs` there)
//! files          what is written: copies, counted bytes, a folder or one file
//! tensors        tensors of a decoder, row by row
//! safetensors    tensors by name, and folders that the Hugging Face libraries load
//! gguf           the format of llama.cpp
//! tokenizer      byte-level tokenizers in the words of either side
//! ```

pub(crate) mod builder;
mod files;
mod gguf;
mod safetensors;
mod tensors;
mod tokenizer;

use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::{Error, Graph, Progress, Result};
use serde_json::{Map, Value};

use self::builder::GraphBuilder;
pub use self::gguf::export_gguf;
pub use self::safetensors::export_safetensors;
use crate::huggingface::{self, safetensors as header};
use crate::mapped_file::MappedFile;
use crate::runtime::{Format, single, sources};
use crate::{gguf_model, quantization, safetensors_file, torch};

/// How far two speeds of rotation may lie apart that mean the same.
const SAME_SPEED: f64 = 1e-9;

/// Makes a graph of the files of a version, with the hyper-parameters of its record. Weights become 32-bit floating point.
///
/// # Errors
/// [`Error::Unsupported`] for a family that has no graph, [`Error::TooLarge`] for weights beyond what one ONNX file holds, those of
/// loading, [`Error::Cancelled`].
pub fn graph(files: &LocalFiles, metadata: &Map<String, Value>, progress: &dyn Progress) -> Result<Graph> {
    refuse_quantised(files)?;
    let builder = GraphBuilder::new(progress);
    let found = sources(files)?;
    if found.is_empty() && huggingface::is_folder(files) {
        return huggingface::graph(files, builder);
    }
    if let Some(file) = safetensors_file::of(files).filter(|_| found.is_empty()) {
        return safetensors_file::graph(file, metadata, builder);
    }
    if found.is_empty() {
        return Err(unknown(files));
    }
    let source = single(&found)?;
    match source.format {
        Format::Gguf => gguf_model::graph(source.path.as_str(), &source.file, builder),
        Format::TorchCheckpoint => torch::graph(source.path, &source.file, metadata, builder),
        Format::Problem => Err(refused_problem("onnx")),
    }
}

fn unknown(files: &LocalFiles) -> Error {
    let names: Vec<&str> = files.0.iter().map(|file| file.path.as_str()).collect();
    let reason = "models of GGUF files, torch checkpoints, safetensors files and folders of the Hugging Face libraries are exported";
    Error::unsupported(format!("export of `{}`", names.join("`, `")), reason)
}

fn refused_problem(format: &str) -> Error {
    let reason = "a problem of optimisation has no weights and no layers";
    Error::unsupported(format!("export of a problem of optimisation to {format}"), reason)
}

/// Quantised tensors stand beside their scales; who reads them as numbers would compute nonsense.
fn refuse_quantised(files: &LocalFiles) -> Result<()> {
    for file in files.0.iter().filter(|file| file.path.extension() == Some("safetensors")) {
        let bytes = MappedFile::open(&file.local)?;
        if header::read_with_texts(file.path.as_str(), &bytes)?.1.contains_key(quantization::KEY) {
            let reason = "its weights are quantised; the version that they were made from is exported instead";
            return Err(Error::unsupported(format!("export of `{}`", file.path), reason));
        }
    }
    Ok(())
}
