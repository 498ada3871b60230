//! `seedhouse import`: a bundle, or a folder with a model's files, becomes versions.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use seedhouse_core::{Error, Kind};
use seedhouse_service::{ImportOptions, ImportReport, Service};

use crate::cli::{ImportArguments, RegisterArguments};
use crate::commands::register;
use crate::output::{Output, human_size, print_json, print_line};
use crate::progress_bar::StageBar;

pub(super) fn run(service: &Service, arguments: &ImportArguments, output: Output) -> anyhow::Result<()> {
    let source = &arguments.source;
    if source.is_dir() {
        return folder(service, arguments, output);
    }
    if let Some(name) = &arguments.name {
        let rule = "is for a folder; `--rename-to` gives the versions of a bundle another name, and `seedhouse register` takes files";
        return Err(Error::invalid("name", name, rule).into());
    }
    if source == Path::new("-") {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(Error::invalid("source", "-", "must not be a terminal").into());
        }
        return bundle(service, &mut stdin.lock(), arguments, output);
    }
    let mut file = File::open(source).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(Kind::File, source.display()),
        _ => Error::io("read", source)(error),
    })?;
    bundle(service, &mut file, arguments, output)
}

fn bundle(service: &Service, from: &mut dyn Read, arguments: &ImportArguments, output: Output) -> anyhow::Result<()> {
    let options = ImportOptions {
        rename_to: arguments.rename_to.clone(),
        next_version: arguments.next_version,
        take_aliases: arguments.take_aliases,
        most_bytes: None,
        actor: "cli".into(),
    };
    let report = service.import_bundle(from, &options, &StageBar::new())?;
    match output {
        Output::Json => print_json(&report),
        Output::Text => Ok(print(&report)?),
    }
}

/// A folder is registered as one version.
fn folder(service: &Service, arguments: &ImportArguments, output: Output) -> anyhow::Result<()> {
    let Some(name) = &arguments.name else {
        return Err(Error::invalid("name", "missing", "is required for a folder: the model's base name").into());
    };
    let of_bundles = [
        ("rename_to", arguments.rename_to.is_some()),
        ("next_version", arguments.next_version),
        ("take_aliases", arguments.take_aliases),
    ];
    if let Some((option, _)) = of_bundles.into_iter().find(|(_, given)| *given) {
        return Err(Error::invalid(option, "given", "is for a bundle, not for a folder").into());
    }
    let arguments = RegisterArguments::of_path(name.clone(), PathBuf::from(&arguments.source));
    register::run(service, &arguments, output)
}

fn print(report: &ImportReport) -> io::Result<()> {
    for version in &report.imported {
        let from = version.renamed_from.as_ref().map_or_else(String::new, |id| format!(", in the bundle `{id}`"));
        let digest = version.digest.map_or_else(|| "no files".to_owned(), |digest| digest.to_string());
        print_line(&format!("imported {} ({}{from})  {digest}", version.model_id, version.status))?;
        version.notes.iter().try_for_each(|note| print_line(&format!("  note     {note}")))?;
    }
    report.already_present.iter().try_for_each(|id| print_line(&format!("already there {id}")))?;
    report.aliases_taken.iter().try_for_each(|alias| print_line(&format!("alias {alias}")))?;
    report
        .aliases_left
        .iter()
        .try_for_each(|alias| print_line(&format!("alias {alias} not taken (--take-aliases takes it)")))?;
    print_line(&format!("{} read and verified", human_size(report.size_bytes)))
}
