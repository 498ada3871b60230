//! `seedhouse verify`: hash stored files again; any that differ are named with both digests.

use std::process::ExitCode;

use seedhouse_core::Code;
use seedhouse_service::{Finding, Service, VerifiedFile};
use serde_json::{Value, json};

use crate::cli::VerifyArguments;
use crate::exit_code::exit_code;
use crate::failure;
use crate::output::{Output, human_size, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &VerifyArguments, output: Output) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    let mut printed = Ok(());
    service.verify(&arguments.references, &mut |file| {
        if output == Output::Text && printed.is_ok() {
            printed = print_line(&file_line(&file));
        }
        files.push(file);
    })?;
    printed?;
    let broken = files.iter().filter(|file| !file.finding.is_intact()).count();
    match output {
        Output::Json => print_json(&json!({
            "intact": broken == 0,
            "files": files.iter().map(file_json).collect::<Vec<_>>(),
        }))?,
        Output::Text => print_line(&format!("{} files verified, {broken} not intact", files.len()))?,
    }
    for error in files.iter().filter_map(VerifiedFile::error) {
        failure::print(&error.into(), output);
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit_code(Code::Corrupt)) })
}

/// Returns one file for people, as it was found.
pub(super) fn file_line(file: &VerifiedFile) -> String {
    let (word, digest) = match &file.finding {
        Finding::Intact => ("intact ", file.expected.to_string()),
        Finding::Corrupt { actual } => ("CORRUPT", format!("{} expected, {actual} found", file.expected)),
        Finding::Missing => ("MISSING", format!("{} expected", file.expected)),
        Finding::Unreadable(error) => ("UNREAD ", format!("{} expected, {error}", file.expected)),
    };
    format!("{word}  {}  {}  {}  {digest}", file.model_id, file.path, human_size(file.size_bytes))
}

/// Returns one file for machines.
pub(super) fn file_json(file: &VerifiedFile) -> Value {
    let (finding, actual) = match &file.finding {
        Finding::Intact => ("intact", Some(file.expected)),
        Finding::Corrupt { actual } => ("corrupt", Some(*actual)),
        Finding::Missing => ("missing", None),
        Finding::Unreadable(_) => ("unreadable", None),
    };
    json!({
        "model_id": file.model_id,
        "path": file.path,
        "size_bytes": file.size_bytes,
        "expected": file.expected,
        "actual": actual,
        "finding": finding,
    })
}
