//! `seedhouse pull`: a repository of a hub becomes a version.

use seedhouse_core::{Error, ModelName, Result};
use seedhouse_service::{PullJob, PullReport, Service};

use super::here;
use crate::cli::PullArguments;
use crate::output::{Output, human_size, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &PullArguments, output: Output) -> anyhow::Result<()> {
    let base = arguments.name.clone().map_or_else(|| base_of(arguments), Ok)?;
    let mut request = PullJob::new(arguments.source.clone(), base, "cli");
    request.version = arguments.version.clone();
    request.include = arguments.include.clone();
    let job = service.submit_pull(&request)?;
    let report: PullReport = here::result_of(service, job.id)?;
    match output {
        Output::Json => print_json(&report),
        Output::Text => Ok(print(&report)?),
    }
}

fn base_of(arguments: &PullArguments) -> Result<ModelName> {
    let name = arguments.source.name();
    name.parse().map_err(|error| match error {
        Error::Invalid { rule, .. } => Error::invalid("name", name, format!("{rule}; `--name` gives another one")),
        other => other,
    })
}

fn print(report: &PullReport) -> std::io::Result<()> {
    let how = if report.already_present { "already there" } else { "pulled" };
    print_line(&format!("{how} {} ({})", report.model_id, report.framework))?;
    print_line(&format!("  source   {}", report.source))?;
    print_line(&format!("  status   {}", report.status))?;
    if let Some(digest) = report.digest {
        print_line(&format!("  digest   {digest}"))?;
    }
    let (size, fetched) = (human_size(report.size_bytes), human_size(report.downloaded_bytes));
    print_line(&format!("  files    {}, {size}, of which {fetched} were fetched", report.files))?;
    if let Some(reason) = &report.not_servable_because {
        print_line(&format!("  note     kept and verified, but not servable: {reason}"))?;
    }
    Ok(())
}
