//! `seedhouse register`: a file or a folder becomes a version.

use std::fs::File;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use seedhouse_core::{Entry, Error, Result};
use seedhouse_service::{Parent, Received, RegisterRequest, Service, Source, collect_files, missing_or_unreadable};
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
    take_in(service, request, &arguments.paths)
}

/// Takes files in and registers them.
pub(super) fn take_in(service: &Service, request: RegisterRequest, paths: &[PathBuf]) -> Result<Entry> {
    service.check_free(&request)?;
    let sources = collect_files(paths)?;
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
        Some(reason) if record.status.is_servable() => print_line(&format!("  note     not servable {reason}")),
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
        request.metadata = read_object("--metadata", metadata)?;
    }
    if let Some(labels) = &arguments.labels {
        request.metadata.insert("labels".into(), read_labels(labels)?);
    }
    Ok(request)
}

/// Reads an option that is a JSON object, or names a file with one.
pub(super) fn read_object(option: &str, argument: &str) -> Result<Map<String, Value>> {
    let (what, text) = match argument.trim_start().starts_with('{') {
        true => (format!("`{option}`"), argument.to_owned()),
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
