//! `seedhouse backup`: the registry in one file, and `seedhouse backup verify`: whether such a file is whole.

use std::path::Path;

use seedhouse_service::{BackupCheck, BackupContent, BackupReport, BackupRequest, Compression};

use crate::cli::{BackupArguments, BackupCommand};
use crate::output::{Output, human_size, print_json, print_line};
use crate::progress_bar::StageBar;
use crate::registry::Registry;

pub(super) fn run(root: &Path, arguments: &BackupArguments, output: Output) -> anyhow::Result<()> {
    match &arguments.command {
        Some(BackupCommand::Verify { file }) => verify(root, file, output),
        None => back_up(root, arguments, output),
    }
}

fn back_up(root: &Path, arguments: &BackupArguments, output: Output) -> anyhow::Result<()> {
    let content = if arguments.metadata_only { BackupContent::MetadataOnly } else { BackupContent::Everything };
    let compression = if arguments.zstd { Compression::Zstd } else { Compression::None };
    let request = BackupRequest { content, output: arguments.output.clone(), compression };
    let registry = Registry::open(root)?;
    let report = registry.service.backup(&request, &StageBar::new())?;
    match output {
        Output::Json => print_json(&report),
        Output::Text => print_report(&report),
    }
}

fn print_report(report: &BackupReport) -> anyhow::Result<()> {
    print_line(&report.path.display().to_string())?;
    eprintln!(
        "{} versions ({} deleted), {} artifacts of {}, revision {}: {}, {}",
        report.versions + report.deleted_versions,
        report.deleted_versions,
        report.blobs,
        human_size(report.blob_bytes),
        report.revision,
        human_size(report.size_bytes),
        report.digest,
    );
    if let Some(head) = report.head {
        eprintln!("head {head}");
    }
    if report.collected_blobs > 0 {
        eprintln!("note: {} artifacts of deleted versions had been collected before", report.collected_blobs);
    }
    match report.content {
        BackupContent::Everything => eprintln!("note: tokens are no part of a backup"),
        BackupContent::MetadataOnly => {
            eprintln!("note: it holds records only; neither history, nor bytes, nor deleted versions, nor tokens");
        }
    }
    Ok(())
}

fn verify(root: &Path, file: &Path, output: Output) -> anyhow::Result<()> {
    let progress = StageBar::new();
    let check = match Registry::exists(root) {
        true => Registry::open(root)?.service.verify_backup(file, &progress)?,
        false => {
            // A file can be checked where there is no registry, and none is left behind.
            let elsewhere = tempfile::Builder::new().prefix("seedhouse-verify-").tempdir()?;
            Registry::open_or_create(elsewhere.path())?.service.verify_backup(file, &progress)?
        }
    };
    drop(progress);
    match output {
        Output::Json => print_json(&check),
        Output::Text => print_check(&check),
    }
}

fn print_check(check: &BackupCheck) -> anyhow::Result<()> {
    let word = if check.proven { "intact" } else { "UNPROVEN" };
    print_line(&format!(
        "{word}  {} versions, {} deleted ones, {} artifacts of {}",
        check.versions,
        check.deleted_versions,
        check.blobs,
        human_size(check.blob_bytes)
    ))?;
    if let (Some(taken_at), Some(revision)) = (check.taken_at, check.revision) {
        print_line(&format!("taken {taken_at} at revision {revision}"))?;
    }
    if let Some(head) = check.head {
        print_line(&format!("head {head}"))?;
    }
    if !check.proven {
        eprintln!("note: it can be read, but no digest beside it proves that it is whole");
    }
    Ok(())
}
