//! The runtime port, by the format of the files.

use std::path::PathBuf;
use std::sync::Arc;

use seedhouse_core::runtime::{
    DeclaredProblem, Inspection, LoadOptions, LoadedModel, LocalFile, LocalFiles, PlanStatistics, Runtime, StoredPlan,
};
use seedhouse_core::{Error, Framework, ManifestPath, Result};
use seedhouse_kernels::{PoolOptions, return_freed_memory};

use crate::description::undescribed;
use crate::gguf;
use crate::gguf_model;
use crate::huggingface;
use crate::mapped_file::MappedFile;
use crate::plan::PlanOptions;
use crate::problem;
use crate::safetensors_file;
use crate::tensorflow;
use crate::text_models::TextModels;
use crate::torch;

/// Loads the formats and families that Seedhouse computes itself. Its language models share the threads of one pool.
#[derive(Debug, Default)]
pub struct NativeRuntime {
    text_models: TextModels,
}

/// How models are run.
#[derive(Debug, Clone, Default)]
pub struct NativeOptions {
    /// The threads that compute.
    pub pool: PoolOptions,
    /// How plans are compiled.
    pub plans: PlanOptions,
    /// Where compiled plans are kept for the next start; without it they are compiled by every process.
    pub plans_folder: Option<PathBuf>,
}

impl NativeRuntime {
    /// Returns a runtime with a thread per core. They start when the first language model is loaded.
    pub fn new() -> NativeRuntime {
        NativeRuntime::default()
    }

    /// Returns a runtime with settings.
    pub fn with(options: NativeOptions) -> NativeRuntime {
        NativeRuntime { text_models: TextModels::new(options) }
    }
}

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Gguf,
    TorchCheckpoint,
    Problem,
}

impl Format {
    /// Recognises a format by its content; names are never trusted.
    fn of(bytes: &[u8]) -> Option<Format> {
        if bytes.starts_with(gguf::MAGIC) {
            return Some(Format::Gguf);
        }
        if problem::is_document(bytes) {
            return Some(Format::Problem);
        }
        torch::is_checkpoint(bytes).then_some(Format::TorchCheckpoint)
    }

    fn framework(self) -> Framework {
        match self {
            Format::Gguf => Framework::Gguf,
            Format::TorchCheckpoint => Framework::Pytorch,
            Format::Problem => Framework::Seedhouse,
        }
    }
}

/// A file of a known format.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a ManifestPath,
    pub(crate) file: Arc<MappedFile>,
    pub(crate) format: Format,
}

impl Runtime for NativeRuntime {
    fn name(&self) -> &'static str {
        "native"
    }

    /// TensorFlow is missing: of its many formats only some are recognised, so that a file is none of them disproves nothing.
    fn formats(&self) -> &[Framework] {
        &[Framework::Gguf, Framework::Huggingface, Framework::Pytorch, Framework::Safetensors, Framework::Seedhouse]
    }

    fn inspect(&self, files: &LocalFiles) -> Result<Option<Inspection>> {
        let sources = sources(files)?;
        let Some(first) = sources.first() else {
            return match (huggingface::inspect(files)?, safetensors_file::of(files)) {
                (None, Some(file)) => safetensors_file::inspect(file).map(Some),
                // None of it is served, so it is looked for when there is nothing else.
                (None, None) => tensorflow::inspect(files),
                (found, _) => Ok(found),
            };
        };
        let source = match single(&sources) {
            Ok(source) => source,
            Err(several) => return Ok(Some(undescribed(first.format.framework(), several.to_string()))),
        };
        match source.format {
            Format::Gguf => gguf_model::inspect(source.path.as_str(), &source.file),
            Format::TorchCheckpoint => torch::inspect(source.path, &source.file, files),
            Format::Problem => problem::inspect(source.path, &source.file),
        }
        .map(Some)
    }

    fn load(&self, files: &LocalFiles, options: &LoadOptions) -> Result<LoadedModel> {
        let sources = sources(files)?;
        if sources.is_empty() && huggingface::is_folder(files) {
            return huggingface::load(files, &self.text_models);
        }
        if let Some(file) = safetensors_file::of(files).filter(|_| sources.is_empty()) {
            return safetensors_file::load(file, &options.metadata, &self.text_models);
        }
        if sources.is_empty() {
            let names: Vec<&str> = files.0.iter().map(|file| file.path.as_str()).collect();
            return Err(Error::unsupported(
                format!("the format of `{}`", names.join("`, `")),
                "this runtime reads GGUF files, torch checkpoints, safetensors files, folders of the Hugging Face libraries and problems of optimisation",
            ));
        }
        let source = single(&sources)?;
        match source.format {
            Format::Gguf => gguf_model::load(files, source.path.as_str(), &source.file, &self.text_models),
            Format::TorchCheckpoint => torch::load(source.path, &source.file, files, options, &self.text_models),
            Format::Problem => problem::load(source.path, &source.file),
        }
    }

    fn problem(&self, document: &[u8]) -> Result<Option<Arc<dyn DeclaredProblem>>> {
        problem::read("the problem", document).map(Some)
    }

    fn fetch_plan(&self, files: &LocalFiles) -> Box<dyn Send> {
        self.text_models.fetch_plan(files)
    }

    fn plan_statistics(&self) -> Result<PlanStatistics> {
        self.text_models.plan_statistics()
    }

    fn stored_plans(&self) -> Result<Vec<StoredPlan>> {
        self.text_models.stored_plans()
    }

    fn remove_plan(&self, name: &str) -> Result<()> {
        self.text_models.remove_plan(name)
    }

    fn return_freed_memory(&self) {
        return_freed_memory();
    }
}

/// Finds the files with weights; others (labels, licences) may lie beside them.
pub(crate) fn sources(files: &LocalFiles) -> Result<Vec<Source<'_>>> {
    let mut found = Vec::new();
    for LocalFile { path, local, .. } in &files.0 {
        let file = MappedFile::open(local)?;
        if let Some(format) = Format::of(&file) {
            found.push(Source { path, file: Arc::new(file), format });
        }
    }
    Ok(found)
}

/// Insists on one file with weights.
pub(crate) fn single<'s, 'f>(sources: &'s [Source<'f>]) -> Result<&'s Source<'f>> {
    match sources {
        [source] => Ok(source),
        _ => {
            let names: Vec<&str> = sources.iter().take(2).map(|source| source.path.as_str()).collect();
            Err(Error::unsupported(
                format!("a version with the weights `{}`", names.join("` and `")),
                "this runtime reads one file of weights per version",
            ))
        }
    }
}
