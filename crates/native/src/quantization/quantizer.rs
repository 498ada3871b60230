//! The port.

use seedhouse_core::{Error, Progress, QuantizeTask, Quantized, Quantizer, Result};

use super::source;
use crate::gguf::Gguf;
use crate::runtime::{Format, Source, single, sources};
use crate::{huggingface, safetensors_file};

/// Quantises the families that the native runtime computes.
///
/// Its files are computed at the precision that they have: [`NativeRuntime`](crate::NativeRuntime) packs the integers as they stand there.
#[derive(Debug, Clone, Copy, Default)]
pub struct NativeQuantizer;

impl Quantizer for NativeQuantizer {
    fn quantize(&self, request: &QuantizeTask<'_>, progress: &dyn Progress) -> Result<Quantized> {
        progress.check()?;
        let files = request.files;
        let sources = sources(files)?;
        if !sources.is_empty() {
            let source = single(&sources)?;
            return match source.format {
                Format::TorchCheckpoint => source::checkpoint(source, request, progress),
                Format::Gguf => Err(refuse_gguf(source)),
                Format::Problem => Err(Error::unsupported(
                    format!("quantising the problem `{}`", source.path),
                    "a problem of optimisation has no weights",
                )),
            };
        }
        if huggingface::is_folder(files) {
            return source::folder(request, progress);
        }
        match safetensors_file::of(files) {
            Some(file) => source::lone_file(file, request, progress),
            None => {
                let names: Vec<&str> = files.0.iter().map(|file| file.path.as_str()).collect();
                Err(Error::unsupported(
                    format!("quantising `{}`", names.join("`, `")),
                    "safetensors files, torch checkpoints and folders of the Hugging Face libraries are quantised",
                ))
            }
        }
    }
}

/// Says why a GGUF file is not quantised.
fn refuse_gguf(source: &Source<'_>) -> Error {
    let path = source.path.as_str();
    let gguf = match Gguf::parse(path, &source.file) {
        Ok(gguf) => gguf,
        Err(error) => return error,
    };
    let is_quantized = |name: &&str| name.starts_with('Q') || name.starts_with("IQ");
    let mut types = gguf.tensors.values().map(|tensor| tensor.tensor_type.name);
    let reason = match types.find(is_quantized) {
        Some(name) => format!("it is quantised already: it has tensors of type {name}"),
        None => "no GGUF is written; the folder that it was made of can be quantised".to_owned(),
    };
    Error::unsupported(format!("quantising the GGUF file `{path}`"), reason)
}
