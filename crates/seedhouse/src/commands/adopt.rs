//! `seedhouse adopt`: other registries' metadata files become versions, with a report of what was chosen and what is only claimed.

mod report;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use seedhouse_core::{Error, Kind, ManifestPath, RegistryFile, Result};
use seedhouse_service::{AdoptMode, AdoptReport, AdoptRequest};

use crate::cli::AdoptArguments;
use crate::onnx_library::OnnxLibrary;
use crate::output::{Output, print_json};
use crate::registry::{Registry, Serving};

pub(super) fn run(root: &Path, onnx: &OnnxLibrary, arguments: &AdoptArguments, output: Output) -> anyhow::Result<()> {
    let report = adopt(root, onnx, arguments)?;
    match output {
        Output::Json => print_json(&report),
        Output::Text => Ok(report::print(&report)?),
    }
}

fn adopt(root: &Path, onnx: &OnnxLibrary, arguments: &AdoptArguments) -> anyhow::Result<AdoptReport> {
    // Before the registry is opened: that makes one where there is none, and sets a `metadata.json` of others in its own
    // folder aside.
    let files = arguments.files.iter().map(|path| read(path)).collect::<Result<_>>()?;
    let mode = if arguments.dry_run { AdoptMode::DryRun } else { AdoptMode::Apply };
    let request = AdoptRequest { files, mode, actor: "cli".into() };
    let find = |metadata_file: &str, path: &ManifestPath| find(arguments.models.as_deref(), metadata_file, path);
    if mode == AdoptMode::DryRun && !Registry::exists(root) {
        // A dry run may not even leave an empty registry behind.
        let elsewhere = tempfile::Builder::new().prefix("seedhouse-dry-run-").tempdir()?;
        return Ok(Registry::open_or_create(elsewhere.path())?.service.adopt(&request, &find)?);
    }
    let serving = Serving { onnx: onnx.clone(), ..Serving::default() };
    let registry = Registry::open_or_create_with(root, serving)?;
    let report = registry.service.adopt(&request, &find)?;
    registry.close()?;
    Ok(report)
}

/// Returns name and text of a file that can be adopted.
fn read(path: &Path) -> Result<(String, String)> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::not_found(Kind::File, path.display()),
        _ => Error::io("read", path)(error),
    })?;
    // Windows editors put a byte order mark before the text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::malformed(format!("file `{}`", path.display()), error.to_string()))?;
    RegistryFile::parse(&format!("file `{}`", path.display()), text)?;
    Ok((path.display().to_string(), text.to_owned()))
}

/// A record names a file by a path of another machine; its last part is looked for in one folder and nowhere else.
fn find(models: Option<&Path>, metadata_file: &str, path: &ManifestPath) -> Result<Option<Box<dyn Read>>> {
    let beside = || Path::new(metadata_file).parent().map(Path::to_owned).unwrap_or_default();
    let local: PathBuf = models.map_or_else(beside, Path::to_owned).join(path.file_name());
    if !local.is_file() {
        return Ok(None);
    }
    let file = File::open(&local).map_err(Error::io("read", &local))?;
    Ok(Some(Box::new(file)))
}
