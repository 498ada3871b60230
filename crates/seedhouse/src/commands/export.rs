//! `seedhouse export`: versions with their bytes, into a file or a pipe.

use std::fs::Permissions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use seedhouse_core::{Error, Result};
use seedhouse_service::archive::Compression;
use seedhouse_service::{ExportReport, ExportRequest, Selection, Service};

use crate::cli::{ExportArguments, ExportFormat};
use crate::output::{Output, human_size, print_json, print_line};
use crate::progress_bar::StageBar;

pub(super) fn run(service: &Service, arguments: &ExportArguments, output: Output) -> anyhow::Result<()> {
    let request = ExportRequest {
        selection: Selection {
            references: arguments.references.clone(),
            search: arguments.search.clone(),
            filter: arguments.filter.clone(),
        },
        compression: if arguments.zstd { Compression::Zstd } else { Compression::None },
    };
    let write = |into: &mut dyn Write| match arguments.format {
        ExportFormat::Bundle => service.export(&request, into, &StageBar::new()),
        ExportFormat::Oci => service.export_oci(&request, into, &StageBar::new()),
    };
    if arguments.output == Path::new("-") {
        return to_standard_output(write);
    }
    let report = to_file(&arguments.output, write)?;
    match output {
        Output::Json => print_json(&report),
        Output::Text => Ok(print_line(&line(&report))?),
    }
}

fn to_standard_output(write: impl FnOnce(&mut dyn Write) -> Result<ExportReport>) -> anyhow::Result<()> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        return Err(Error::invalid("output", "-", "must not be a terminal; `-o FILE` names a file").into());
    }
    let report = write(&mut stdout.lock())?;
    writeln!(io::stderr(), "{}", line(&report))?;
    Ok(())
}

/// The file gets its name when it is whole, so that a broken export leaves what was there before.
fn to_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<ExportReport>) -> Result<ExportReport> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // A temporary file is for its owner only; this one is going to be passed on.
    let builder = builder.prefix(".seedhouse-export-").permissions(Permissions::from_mode(0o644));
    let file = builder.tempfile_in(folder).map_err(Error::io("create a file in", folder))?;
    let mut into = BufWriter::with_capacity(1 << 20, file);
    let report = write(&mut into)?;
    let file = into.into_inner().map_err(|error| Error::io("write", path)(error.into_error()))?;
    file.as_file().sync_all().map_err(Error::io("sync", path))?;
    file.persist(path).map_err(|error| Error::io("write", path)(error.error))?;
    Ok(report)
}

fn line(report: &ExportReport) -> String {
    let ids: Vec<&str> = report.versions.iter().take(5).map(|id| id.as_str()).collect();
    let more = match report.versions.len() - ids.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("exported {}{more} ({})", ids.join(", "), human_size(report.size_bytes))
}
