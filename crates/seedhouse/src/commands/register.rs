//! `seedhouse register`: a file or a folder becomes a version.

use std::fs::File;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use seedhouse_core::{Entry, Error, Kind, ManifestPath, Result};
use seedhouse_service::{Parent, Received, RegisterRequest, Service};
use serde_json::{Map, Value};

use crate::cli::RegisterArguments;
use crate::output::{Output, entry_json, human_size, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &RegisterArguments, output: Output) -> anyhow::Result<()> {
    let entry = register(service, arguments)?;
    match output {
        Output::Json => print_json(&entry_json(&entry)),
        Output::Text => Ok(print_registered(&entry)?),
    }
}

/// Registers what the arguments describe.
pub(super) fn register(service: &Service, arguments: &RegisterArguments) -> Result<Entry> {
    let request = request(arguments)?;
    service.check_free(&request)?;
    let sources = collect_files(&arguments.paths)?;
    let progress = progress_bar(&sources);
    let received = sources.iter().map(|source| receive(service, source, &progress)).collect::<Result<Vec<_>>>();
    progress.finish_and_clear();
    service.register(request, received?)
}

fn print_registered(entry: &Entry) -> std::io::Result<()> {
    let record = &entry.record;
    print_line(&format!("registered {} ({}, {})", record.model_id, record.model_type, record.framework))?;
    print_line(&format!("  status   {}", record.status))?;
    if let Some(digest) = record.digest() {
        print_line(&format!("  digest   {digest}"))?;
        print_line(&format!("  size     {}", human_size(record.size_bytes().unwrap_or_default())))?;
    }
    let reason = record.fields.get("inspected").and_then(|inspected| inspected.get("not_servable_because"));
    match reason.and_then(Value::as_str) {
        Some(reason) => print_line(&format!("  note     kept and verified, but not servable: {reason}")),
        None if record.framework == seedhouse_core::Framework::Unknown => {
            print_line("  note     kept and verified, but not servable: no runtime recognises the format")
        }
        None => Ok(()),
    }
}

fn request(arguments: &RegisterArguments) -> Result<RegisterRequest> {
    let mut request = RegisterRequest::new(arguments.name.clone(), "cli");
    request.version = arguments.version.clone();
    request.model_id = arguments.model_id.clone();
    request.model_type = arguments.model_type.as_deref().map(Into::into);
    request.framework = arguments.framework.as_deref().map(Into::into);
    request.status = arguments.status.as_deref().map(str::parse).transpose()?;
    request.description = arguments.description.clone();
    if let (Some(reference), Some(relation)) = (arguments.parent.clone(), arguments.relation) {
        request.parent = Some(Parent { reference, relation });
    }
    if let Some(metadata) = &arguments.metadata {
        request.metadata = read_metadata(metadata)?;
    }
    if let Some(labels) = &arguments.labels {
        request.metadata.insert("labels".into(), read_labels(labels)?);
    }
    Ok(request)
}

fn read_metadata(argument: &str) -> Result<Map<String, Value>> {
    let (what, text) = match argument.trim_start().starts_with('{') {
        true => ("`--metadata`".to_owned(), argument.to_owned()),
        false => (format!("file `{argument}`"), read_text(Path::new(argument))?),
    };
    serde_json::from_str(&text).map_err(|error| Error::malformed(what, error.to_string()))
}

fn read_labels(path: &Path) -> Result<Value> {
    let text = read_text(path)?;
    if text.trim_start().starts_with(['[', '{']) {
        return serde_json::from_str(&text)
            .map_err(|error| Error::malformed(format!("file `{}`", path.display()), error.to_string()));
    }
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).collect())
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| missing_or_unreadable(path, error))
}

pub(super) fn missing_or_unreadable(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(Kind::File, path.display()),
        _ => Error::io("read", path)(error),
    }
}

/// A file to send and its place within the version.
struct Source {
    path: ManifestPath,
    local: PathBuf,
    size_bytes: u64,
}

/// A file stands under its own name, the files of a folder under their paths within it.
fn collect_files(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in paths {
        let metadata = path.metadata().map_err(|error| missing_or_unreadable(path, error))?;
        if metadata.is_dir() {
            collect_folder(path, "", &mut sources)?;
        } else {
            if !metadata.is_file() {
                // A device may never end, and a pipe's size is not known before it does.
                return Err(Error::invalid("path", path.display(), "must be a file or a folder"));
            }
            let name = path.file_name().and_then(|name| name.to_str());
            sources.push(source(name, path, metadata.len())?);
        }
    }
    if sources.is_empty() {
        return Err(Error::invalid("paths", paths[0].display(), "has no files"));
    }
    Ok(sources)
}

fn collect_folder(folder: &Path, prefix: &str, sources: &mut Vec<Source>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        let (path, name) = (entry.path(), entry.file_name());
        let within = name.to_str().map(|name| format!("{prefix}{name}"));
        // Files behind links are taken, as snapshots of hub caches need; folders behind links could go round in circles.
        if entry.file_type().map_err(Error::io("read", &path))?.is_dir() {
            let within = within.ok_or_else(|| not_text(&path))?;
            collect_folder(&path, &format!("{within}/"), sources)?;
        } else {
            let metadata = path.metadata().map_err(|error| missing_or_unreadable(&path, error))?;
            if !metadata.is_file() {
                return Err(Error::invalid(
                    "path",
                    path.display(),
                    "must be a file; links to folders are not followed",
                ));
            }
            sources.push(source(within.as_deref(), &path, metadata.len())?);
        }
    }
    Ok(())
}

fn source(name: Option<&str>, local: &Path, size_bytes: u64) -> Result<Source> {
    let path = name.ok_or_else(|| not_text(local))?.parse()?;
    Ok(Source { path, local: local.to_owned(), size_bytes })
}

fn not_text(path: &Path) -> Error {
    Error::invalid("path", path.display(), "must be a file name in UTF-8")
}

fn receive(service: &Service, source: &Source, progress: &ProgressBar) -> Result<Received> {
    progress.set_message(source.path.to_string());
    let file = File::open(&source.local).map_err(|error| missing_or_unreadable(&source.local, error))?;
    service.receive(source.path.clone(), &mut progress.wrap_read(file))
}

/// Draws on a terminal only.
fn progress_bar(sources: &[Source]) -> ProgressBar {
    let total = sources.iter().map(|source| source.size_bytes).sum();
    let style = ProgressStyle::with_template("{msg}  {bar:30}  {bytes}/{total_bytes}  {bytes_per_sec}  {eta}")
        .expect("the template names known fields");
    ProgressBar::new(total).with_style(style)
}
