//! The exporter port: whoever knows a family and whoever writes a format, joined.

use std::fs::{self, File};
use std::io::{BufWriter, Write};

use seedhouse_core::training::ProducedFile;
use seedhouse_core::{Error, ExportTask, Exported, Exporter, ModelFormat, Progress, ProgressUnit, Result};
use seedhouse_native::{export_gguf, export_safetensors, graph};
use seedhouse_onnx::{IR_VERSION, write_graph};
use serde_json::{Map, json};

/// Exports models of the families that `native` knows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exporters;

impl Exporter for Exporters {
    fn export(&self, task: &ExportTask<'_>, progress: &dyn Progress) -> Result<Exported> {
        match task.format {
            ModelFormat::Onnx => export_onnx(task, progress),
            ModelFormat::Safetensors => export_safetensors(task, progress),
            ModelFormat::Gguf => export_gguf(task, progress),
        }
    }
}

fn export_onnx(task: &ExportTask<'_>, progress: &dyn Progress) -> Result<Exported> {
    progress.stage("reading weights", None, ProgressUnit::Bytes);
    let graph = graph(task.files, task.metadata, progress)?;
    fs::create_dir_all(task.folder).map_err(Error::io("create", task.folder))?;
    let path = format!("{}.{}", task.name, task.format);
    let local = task.folder.join(&path);
    let mut file = BufWriter::new(File::create(&local).map_err(Error::io("create", &local))?);
    write_graph(&graph, &mut file, progress)?;
    file.flush().map_err(Error::io("write", &local))?;
    let compatibility = Map::from_iter([
        ("opset".to_owned(), json!(graph.operator_set)),
        ("ir_version".to_owned(), json!(IR_VERSION)),
        ("runtimes".to_owned(), json!(["onnxruntime >= 1.12"])),
    ]);
    Ok(Exported { files: vec![ProducedFile { path: path.parse()?, local }], compatibility })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use seedhouse_core::runtime::{LocalFile, LocalFiles};
    use seedhouse_core::{Digest, Unwatched};

    use super::*;

    #[test]
    fn network_for_tables_has_a_graph_and_a_copy_and_no_gguf() {
        let fixture = "../native/fixtures/tabular/crop-classifier/model.safetensors";
        let local = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
        let digest = Digest::of(fs::read(&local).unwrap());
        let files = LocalFiles(vec![LocalFile { path: "model.safetensors".parse().unwrap(), local, digest }]);
        let folder = tempfile::tempdir().unwrap();
        let export = |format: ModelFormat| {
            let task =
                ExportTask { files: &files, metadata: &Map::new(), format, folder: folder.path(), name: "crops_v1" };
            Exporters.export(&task, &Unwatched)
        };
        for format in [ModelFormat::Onnx, ModelFormat::Safetensors] {
            let exported = export(format).unwrap();
            assert_eq!(exported.files[0].path.as_str(), format!("crops_v1.{format}"));
            assert!(fs::metadata(&exported.files[0].local).unwrap().len() > 1000);
        }
        assert_eq!(export(ModelFormat::Onnx).unwrap().compatibility["opset"], 17);
        assert!(export(ModelFormat::Gguf).unwrap_err().to_string().contains("to gguf"));
    }
}
