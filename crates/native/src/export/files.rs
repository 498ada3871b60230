//! What an export writes: one file under the name of the task, or several in a folder of that name.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use seedhouse_core::runtime::LocalFile;
use seedhouse_core::training::ProducedFile;
use seedhouse_core::{Error, ExportTask, Exported, Progress, ProgressUnit, Result};
use serde_json::{Map, Value};

/// Bytes that are copied at a time.
const BLOCK: usize = 1 << 20;

/// Files that are being written.
pub(super) struct Files<'t> {
    task: &'t ExportTask<'t>,
    progress: &'t dyn Progress,
    written: Vec<ProducedFile>,
}

impl<'t> Files<'t> {
    pub(super) fn new(task: &'t ExportTask<'t>, progress: &'t dyn Progress) -> Files<'t> {
        Files { task, progress, written: Vec::new() }
    }

    /// Returns what was written, with what reads it.
    pub(super) fn finish(self, compatibility: Map<String, Value>) -> Exported {
        Exported { files: self.written, compatibility }
    }

    /// Writes the one file of the export.
    pub(super) fn single(&mut self, write: impl FnOnce(&mut Output<'_>) -> Result<()>) -> Result<()> {
        let path = format!("{}.{}", self.task.name, self.task.format);
        self.write(&path, self.task.folder.join(&path), write)
    }

    /// Writes a file of the export's folder, in which it stands as in a version.
    pub(super) fn in_folder(&mut self, path: &str, write: impl FnOnce(&mut Output<'_>) -> Result<()>) -> Result<()> {
        self.write(path, self.task.folder.join(self.task.name).join(path), write)
    }

    /// Writes JSON to the export's folder.
    pub(super) fn json(&mut self, path: &str, value: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Error::Internal(error.to_string()))?;
        self.in_folder(path, |output| output.write(text.as_bytes()))
    }

    /// Copies files of the version to the export's folder.
    pub(super) fn copies(&mut self, files: &[LocalFile]) -> Result<()> {
        let bytes = |file: &LocalFile| {
            Ok(fs::metadata(&file.local).map_err(Error::io("read the length of", &file.local))?.len())
        };
        let total = files.iter().map(bytes).sum::<Result<u64>>()?;
        self.progress.stage("copying files", Some(total), ProgressUnit::Bytes);
        files.iter().try_for_each(|file| self.in_folder(file.path.as_str(), |output| output.copy(file)))
    }

    fn write(&mut self, path: &str, local: PathBuf, write: impl FnOnce(&mut Output<'_>) -> Result<()>) -> Result<()> {
        if let Some(folder) = local.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let file = File::create(&local).map_err(Error::io("create", &local))?;
        let mut output = Output { file: BufWriter::with_capacity(BLOCK, file), local, progress: self.progress };
        write(&mut output)?;
        let Output { mut file, local, .. } = output;
        file.flush().map_err(Error::io("write", &local))?;
        self.written.push(ProducedFile { path: path.parse()?, local });
        Ok(())
    }
}

/// A file that is being written.
pub(super) struct Output<'p> {
    file: BufWriter<File>,
    local: PathBuf,
    progress: &'p dyn Progress,
}

impl Output<'_> {
    /// Adds bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.local))
    }

    /// Adds bytes that count, unless somebody wants to stop.
    pub(super) fn write_counted(&mut self, bytes: &[u8]) -> Result<()> {
        self.progress.check()?;
        self.write(bytes)?;
        self.progress.advance(bytes.len() as u64);
        Ok(())
    }

    /// Begins to count towards so many bytes.
    pub(super) fn expect(&self, stage: &str, bytes: u64) {
        self.progress.stage(stage, Some(bytes), ProgressUnit::Bytes);
    }

    /// Adds the bytes of a file.
    pub(super) fn copy(&mut self, file: &LocalFile) -> Result<()> {
        let mut from = File::open(&file.local).map_err(Error::io("open", &file.local))?;
        let mut block = vec![0; BLOCK];
        loop {
            match from.read(&mut block).map_err(Error::io("read", &file.local))? {
                0 => return Ok(()),
                count => self.write_counted(&block[..count])?,
            }
        }
    }
}
