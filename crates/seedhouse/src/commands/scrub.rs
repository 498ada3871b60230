//! `seedhouse scrub`: every stored artifact hashed again, what is damaged marked, and repaired where there is a copy.

use std::process::ExitCode;

use seedhouse_core::Code;
use seedhouse_service::{DamagedArtifact, ScrubReport, ScrubRequest, Service};

use crate::cli::ScrubArguments;
use crate::exit_code::exit_code;
use crate::output::{Output, human_size, print_json, print_line};
use crate::progress_bar::StageBar;

pub(super) fn run(service: &Service, arguments: &ScrubArguments, output: Output) -> anyhow::Result<ExitCode> {
    let request = ScrubRequest {
        bytes_per_second: arguments.rate,
        repair_from: arguments.repair_from.clone(),
        actor: "cli".into(),
    };
    let bar = StageBar::new();
    let report = service.scrub(request, &bar);
    drop(bar);
    let report = report?;
    match output {
        Output::Json => print_json(&report)?,
        Output::Text => print_report(&report)?,
    }
    Ok(if report.unrepaired() == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit_code(Code::Corrupt)) })
}

fn print_report(report: &ScrubReport) -> std::io::Result<()> {
    report.findings.iter().try_for_each(|finding| print_line(&line(finding)))?;
    for model_id in &report.restored {
        print_line(&format!("whole again: {model_id}"))?;
    }
    print_line(&format!(
        "{} artifacts with {} read, {} damaged, {} repaired",
        report.artifacts,
        human_size(report.size_bytes),
        report.damaged,
        report.repaired
    ))
}

fn line(artifact: &DamagedArtifact) -> String {
    let DamagedArtifact { digest, finding, actual, versions, repaired, not_repaired_because } = artifact;
    let actual = actual.map_or_else(String::new, |actual| format!(" (its bytes are {actual})"));
    let needed_by = match versions.as_slice() {
        [] => "no version that is shown".to_owned(),
        versions => versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let outcome = match (repaired, not_repaired_because) {
        (true, _) => "repaired".to_owned(),
        (false, Some(reason)) => format!("NOT REPAIRED: {reason}"),
        (false, None) => "NOT REPAIRED".to_owned(),
    };
    let finding = finding.as_str().to_uppercase();
    format!("{finding}  {digest}{actual}  needed by {needed_by}  {outcome}")
}
