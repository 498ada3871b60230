//! `seedhouse jobs`: long work that was asked for, how far it is, and how to end it.

use seedhouse_core::{Job, JobId, JobProgress, JobQuery, ProgressUnit};
use seedhouse_service::Service;
use serde_json::json;

use super::here;
use crate::cli::{JobsCommand, JobsListArguments};
use crate::output::{Output, human_size, print_json, print_line, print_table};

pub(super) fn run(service: &Service, command: &JobsCommand, output: Output) -> anyhow::Result<()> {
    match command {
        JobsCommand::List(arguments) => list(service, arguments, output),
        JobsCommand::Show { job } => show(&service.job(*job)?, output),
        JobsCommand::Cancel { job } => cancel(service, *job, output),
        JobsCommand::Run { job } => show(&here::work_on(service, *job)?, output),
    }
}

fn list(service: &Service, arguments: &JobsListArguments, output: Output) -> anyhow::Result<()> {
    let JobsListArguments { state, kind, limit, cursor } = *arguments;
    let (jobs, next) = service.list_jobs(&JobQuery { state, kind, before: cursor, limit })?;
    if output == Output::Json {
        return print_json(&json!({ "jobs": jobs, "next_cursor": next }));
    }
    let header = ["JOB", "KIND", "STATE", "PROGRESS", "CREATED", "FINISHED", "ACTOR"];
    print_table(&header, &jobs.iter().map(row).collect::<Vec<_>>())?;
    if let Some(next) = next {
        eprintln!("more: --cursor {next}");
    }
    Ok(())
}

fn row(job: &Job) -> Vec<String> {
    vec![
        job.id.to_string(),
        job.kind.to_string(),
        job.state.to_string(),
        job.progress.as_ref().map_or_else(|| "-".to_owned(), progress_text),
        job.created_at.to_string(),
        job.finished_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
        job.actor.clone(),
    ]
}

fn progress_text(progress: &JobProgress) -> String {
    let amount = |amount: u64| match progress.unit {
        ProgressUnit::Bytes => human_size(amount),
        ProgressUnit::Items => amount.to_string(),
    };
    match progress.total {
        Some(total) => format!("{}: {} of {}", progress.stage, amount(progress.done), amount(total)),
        None => format!("{}: {}", progress.stage, amount(progress.done)),
    }
}

fn show(job: &Job, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return print_json(job);
    }
    let field = |name: &str, value: &str| print_line(&format!("  {name:<10} {value}"));
    print_line(&format!("job {}  {}  {}", job.id, job.kind, job.state))?;
    field("request", &job.request.to_string())?;
    field("actor", &job.actor)?;
    field("created", &job.created_at.to_string())?;
    for (name, at) in [("started", job.started_at), ("finished", job.finished_at)] {
        at.map_or(Ok(()), |at| field(name, &at.to_string()))?;
    }
    field("attempt", &job.attempt.to_string())?;
    job.progress.as_ref().map_or(Ok(()), |progress| field("progress", &progress_text(progress)))?;
    job.figures.as_ref().map_or(Ok(()), |figures| field("figures", &figures.to_string()))?;
    job.result.as_ref().map_or(Ok(()), |result| field("result", &result.to_string()))?;
    if let Some(error) = &job.error {
        field("error", &format!("{}: {}", error.code, error.message))?;
        error.hint.as_ref().map_or(Ok(()), |hint| field("hint", hint))?;
    }
    for line in &job.log {
        field("log", &format!("{}  {}", line.at, line.text))?;
    }
    Ok(())
}

fn cancel(service: &Service, id: JobId, output: Output) -> anyhow::Result<()> {
    let job = service.cancel_job(id)?;
    match output {
        Output::Json => print_json(&job),
        Output::Text if job.state.is_final() => Ok(print_line(&format!("job {id} is cancelled"))?),
        Output::Text => Ok(print_line(&format!("job {id} ends where its work next looks"))?),
    }
}
