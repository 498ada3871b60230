//! One version as a file in the folder of exports, made while the caller waits: its own file as it is, an archive, or another format whose
//! answers were compared with the version's own.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use seedhouse_core::{
    Digest, Entry, Error, FileEntry, Framework, HoldKind, ModelFormat, Progress, Reference, Result, Timestamp,
};
use serde_json::{Map, Value, json};

use crate::archive::failure;
use crate::archive::watched::Watched;
use crate::new_file::{IfTaken, NewFile, Written};
use crate::{ExportFormat, ExportRequest, Selection, Service};

/// A file that was made of a version.
#[derive(Debug, Clone)]
pub struct Handover {
    /// The version.
    pub entry: Entry,
    /// The file, with the folder of exports before its name.
    pub path: PathBuf,
    /// Its length.
    pub size_bytes: u64,
    /// When it was made.
    pub made_at: Timestamp,
    /// What is known about who can use it.
    pub compatibility: Map<String, Value>,
}

/// The forms that a version can be had in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandoverFormat {
    /// The version's only file, byte for byte.
    Own(FileEntry),
    /// An archive.
    Archive(ExportFormat),
    /// Another format.
    Converted(ModelFormat),
}

impl Service {
    /// Writes a version into a file that is named by its id; an earlier one of the same name is replaced.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unsupported`] for a format that is not written, or not of this family;
    /// [`Error::MissingBytes`] and [`Error::DigestMismatch`], and those of [`convert`](Service::convert). Nothing is left behind then.
    pub fn hand_over(&self, reference: &Reference, format: &str, progress: &dyn Progress) -> Result<Handover> {
        let entry = self.store.version(reference)?;
        let found = HandoverFormat::of(&entry, format)?;
        let folder = self.export_folder()?;
        folder.make()?;
        let file = |extension: &str| {
            let model_id = &entry.record.model_id;
            let name = if extension.is_empty() { model_id.to_string() } else { format!("{model_id}.{extension}") };
            NewFile::replacing(folder.resolve(&name)?)
        };
        let (path, size_bytes) = match &found {
            HandoverFormat::Converted(format) => {
                let made = self.convert(reference, *format, folder.path(), IfTaken::Replace, progress)?;
                let (path, size_bytes) = (folder.shown(&made.path), made.size_bytes);
                let mut compatibility = made.compatibility;
                compatibility.insert("digest".into(), json!(made.digest));
                compatibility.insert("greatest_difference".into(), json!(made.greatest_difference));
                return Ok(Handover { compatibility, path, size_bytes, made_at: self.clock.now(), entry });
            }
            HandoverFormat::Own(own) => {
                let written = self.copy(&entry, own, file(own.path.extension().unwrap_or_default())?, progress)?;
                (folder.shown(&written.path), written.size_bytes)
            }
            HandoverFormat::Archive(archive) => {
                let extension = if *archive == ExportFormat::Oci { "oci.tar" } else { "tar" };
                let reference = entry.record.model_id.as_str().parse()?;
                let selection = Selection { references: vec![reference], ..Selection::default() };
                let request = ExportRequest { selection, ..ExportRequest::default() };
                let exported = self.export_to(file(extension)?, *archive, request, progress)?;
                (exported.path, exported.file_bytes)
            }
        };
        Ok(Handover { compatibility: found.compatibility(&entry), path, size_bytes, made_at: self.clock.now(), entry })
    }

    fn copy(&self, entry: &Entry, own: &FileEntry, mut into: NewFile, progress: &dyn Progress) -> Result<Written> {
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        self.require_bytes(entry)?;
        let local = self.artifacts.local_path(&own.digest)?;
        let mut bytes = File::open(&local).map_err(Error::io("read", &local))?;
        let copied = io::copy(&mut Watched { from: &mut bytes, progress }, &mut into);
        copied.map_err(|error| failure::ours(&error).unwrap_or_else(|| Error::io("copy", &local)(error)))?;
        into.finish_if(|actual| match actual == own.digest {
            true => Ok(()),
            false => Err(mismatch(entry, own, actual)),
        })
    }
}

fn mismatch(entry: &Entry, own: &FileEntry, actual: Digest) -> Error {
    let (model_id, path) = (entry.record.model_id.to_string(), own.path.to_string());
    Error::DigestMismatch { model_id, path, expected: own.digest, actual }
}

impl HandoverFormat {
    /// Returns what a name of a format means for a version.
    fn of(entry: &Entry, format: &str) -> Result<HandoverFormat> {
        match format {
            "bundle" => return Ok(HandoverFormat::Archive(ExportFormat::Bundle)),
            "oci" => return Ok(HandoverFormat::Archive(ExportFormat::Oci)),
            _ => {}
        }
        let framework = entry.record.framework.as_str();
        let files = entry.record.manifest()?.map(Vec::from).unwrap_or_default();
        let own = <[FileEntry; 1]>::try_from(files).ok().map(|[own]| own);
        let names = |own: &FileEntry| {
            let extension = own.path.extension().map(str::to_ascii_lowercase);
            // What somebody claims about a file that nothing here reads does not make it that.
            let is_known =
                entry.record.framework != Framework::Unknown && !entry.record.claims().contains(&"framework");
            let known = is_known.then(|| framework.to_owned());
            known.into_iter().chain(extension).collect::<Vec<String>>()
        };
        match &own {
            Some(own) if names(own).iter().any(|name| name == format) => Ok(HandoverFormat::Own(own.clone())),
            _ if let Ok(converted) = format.parse() => Ok(HandoverFormat::Converted(converted)),
            _ => {
                let mut can_be_had = own.as_ref().map(names).unwrap_or_default();
                can_be_had.dedup();
                can_be_had.extend(["bundle", "oci", "onnx", "safetensors", "gguf"].map(str::to_owned));
                can_be_had.sort();
                can_be_had.dedup();
                let what = format!("exporting `{}` as `{}`", entry.record.model_id, format.escape_debug());
                let reason = format!("it can be had as {}, as far as its family has them", can_be_had.join(", "));
                Err(Error::unsupported(what, reason))
            }
        }
    }

    fn compatibility(&self, entry: &Entry) -> Map<String, Value> {
        let framework = entry.record.framework.as_str();
        let known = match self {
            HandoverFormat::Own(own) => json!({ "framework": framework, "digest": own.digest }),
            HandoverFormat::Converted(format) => json!({ "framework": format }),
            HandoverFormat::Archive(ExportFormat::Bundle) => {
                json!({ "framework": framework, "imported_by": "seedhouse import" })
            }
            HandoverFormat::Archive(ExportFormat::Oci) => {
                json!({ "framework": framework, "specification": "CNCF ModelPack" })
            }
        };
        known.as_object().cloned().unwrap_or_default()
    }
}
