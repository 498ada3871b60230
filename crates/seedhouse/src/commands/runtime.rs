//! `seedhouse runtime`: what computes models beside the program itself.

use std::path::Path;

use seedhouse_core::{Error, Result};
use seedhouse_onnx::{InstalledLibrary, LIBRARY_VERSION, Package, RUNTIMES_FOLDER, installed_libraries};
use serde_json::json;

use crate::cli::{RuntimeCommand, RuntimeName};
use crate::output::{Output, print_json, print_line};

pub(super) fn run(root: &Path, command: &RuntimeCommand, output: Output) -> anyhow::Result<()> {
    let folder = root.join(RUNTIMES_FOLDER);
    match command {
        RuntimeCommand::Install { name: RuntimeName::OnnxRuntime, from } => install(from.as_deref(), &folder, output),
        RuntimeCommand::List => list(&folder, output),
    }
}

fn install(from: Option<&Path>, folder: &Path, output: Output) -> anyhow::Result<()> {
    let package = Package::for_this_machine()?;
    let path = match from {
        Some(wheel) => package.unpack(wheel, folder)?,
        None => download(package, folder)?,
    };
    match output {
        Output::Json => print_json(&json!({ "name": "onnxruntime", "version": LIBRARY_VERSION, "path": path })),
        Output::Text => Ok(print_line(&format!("installed onnxruntime {LIBRARY_VERSION} as {}", path.display()))?),
    }
}

fn download(package: &Package, folder: &Path) -> Result<std::path::PathBuf> {
    let downloads = tempfile::Builder::new().prefix("seedhouse-runtime-").tempdir();
    let downloads = downloads.map_err(Error::io("make a folder in", std::env::temp_dir()))?;
    eprintln!("downloading onnxruntime {LIBRARY_VERSION} through pip");
    package.unpack(&package.download(downloads.path())?, folder)
}

fn list(folder: &Path, output: Output) -> anyhow::Result<()> {
    let installed = installed_libraries(folder)?;
    if output == Output::Json {
        return print_json(&json!({ "runtimes": installed }));
    }
    if installed.is_empty() {
        print_line("nothing is installed: ONNX graphs are computed by what is built in")?;
    }
    for InstalledLibrary { name, path, version, problem } in &installed {
        let version = version.as_deref().unwrap_or("-");
        print_line(&format!("{name} {version} {}", path.display()))?;
        if let Some(problem) = problem {
            print_line(&format!("  {problem}"))?;
        }
    }
    Ok(())
}
