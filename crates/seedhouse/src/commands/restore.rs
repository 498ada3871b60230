//! `seedhouse restore`: a backup, or an earlier time, becomes the present.

use std::io::ErrorKind;
use std::path::Path;

use seedhouse_core::{Error, Kind, ModelId};
use seedhouse_service::{RestoreMode, RestoreReport, RestoreRequest, RestoreSource};

use crate::cli::RestoreArguments;
use crate::output::{Output, human_size, print_json, print_line};
use crate::progress_bar::StageBar;
use crate::registry::Registry;

pub(super) fn run(root: &Path, arguments: &RestoreArguments, output: Output) -> anyhow::Result<()> {
    let report = restore(root, arguments)?;
    match output {
        Output::Json => print_json(&report),
        Output::Text => print_report(&report),
    }
}

fn restore(root: &Path, arguments: &RestoreArguments) -> anyhow::Result<RestoreReport> {
    let source = match (&arguments.file, arguments.as_of) {
        (Some(file), _) => RestoreSource::File(file.clone()),
        (None, Some(at)) => RestoreSource::AsOf(at),
        (None, None) => return Err(Error::invalid("file", "", "must be given, or a time with --as-of").into()),
    };
    let mode = if arguments.dry_run { RestoreMode::DryRun } else { RestoreMode::Apply };
    let request = RestoreRequest { source, mode, actor: "cli".into(), reason: arguments.reason.clone() };
    let progress = StageBar::new();
    let registry = match &request.source {
        RestoreSource::AsOf(_) => Registry::open(root)?,
        RestoreSource::File(file) => {
            check_exists(file)?;
            if mode == RestoreMode::DryRun && !Registry::exists(root) {
                // A dry run may not even leave an empty registry behind.
                let elsewhere = tempfile::Builder::new().prefix("seedhouse-dry-run-").tempdir()?;
                return Ok(Registry::open_or_create(elsewhere.path())?.service.restore(&request, &progress)?);
            }
            Registry::open_or_create(root)?
        }
    };
    let report = registry.service.restore(&request, &progress)?;
    registry.close()?;
    Ok(report)
}

/// Before a registry is made for a file whose name was mistyped.
fn check_exists(file: &Path) -> Result<(), Error> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::not_found(Kind::File, file.display())),
        _ => Ok(()),
    }
}

fn print_report(report: &RestoreReport) -> anyhow::Result<()> {
    let lists: [(&str, &[ModelId]); 4] = [
        ("added", &report.added),
        ("changed", &report.changed),
        ("undeleted", &report.undeleted),
        ("deleted", &report.deleted),
    ];
    for (word, ids) in lists {
        ids.iter().try_for_each(|model_id| print_line(&format!("{word}  {model_id}")))?;
    }
    report.aliases.iter().try_for_each(|alias| print_line(&format!("alias  {alias}")))?;
    for kept in &report.kept {
        print_line(&format!("kept  {}: {}", kept.model_id, kept.reason))?;
    }
    let verb = if report.dry_run { "would be restored" } else { "restored" };
    eprintln!(
        "{} versions and {} aliases {verb}, {} unchanged, {} artifacts of {}; revision {}",
        lists.iter().map(|(_, ids)| ids.len()).sum::<usize>(),
        report.aliases.len(),
        report.unchanged,
        report.blobs,
        human_size(report.blob_bytes),
        report.revision,
    );
    if let Some(head) = report.head {
        eprintln!("head {head}");
    }
    if !report.proven {
        eprintln!("note: nothing proves that the backup is whole; what it says about versions is marked as claimed");
    }
    eprintln!("note: tokens are no part of a backup; `seedhouse token list` shows those of this registry");
    Ok(())
}
