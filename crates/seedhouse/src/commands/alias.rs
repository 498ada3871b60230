//! `seedhouse alias`: names that point at versions and move, and what is tried under them.

use seedhouse_core::{ExpectedHolder, ModelName, Result, TrialKind};
use seedhouse_service::{AliasReport, Service, TrialPlace, Warming};
use serde_json::{Map, Value, json};

use crate::cli::{AliasCommand, TrialArguments};
use crate::commands::{origin, print_changed};
use crate::output::{Output, print_json, print_line};

pub(super) fn run(service: &Service, command: &AliasCommand, output: Output) -> anyhow::Result<()> {
    let (entry, what) = match command {
        AliasCommand::Set { reference, alias, expected, reason } => {
            let expected = expected_holder(expected.as_deref())?;
            let entry = service.move_alias(reference, alias.clone(), expected, origin(reason.as_ref()))?;
            (entry, format!("`{alias}` points at"))
        }
        AliasCommand::Rollback { base, alias, reason } => {
            let entry = service.roll_back_alias(base, alias.clone(), Warming::default(), origin(reason.as_ref()))?;
            (entry, format!("`{alias}` points again at"))
        }
        AliasCommand::List { base } => return list(service, base, output),
        AliasCommand::Canary(arguments) => return try_out(service, TrialKind::Canary, arguments, output),
        AliasCommand::Shadow(arguments) => return try_out(service, TrialKind::Shadow, arguments, output),
        AliasCommand::Remove { base, alias, reason } => {
            let entry = service.remove_alias(base.clone(), alias.clone(), origin(reason.as_ref()))?;
            (entry, format!("`{alias}` no longer points at"))
        }
    };
    print_changed(&entry, &what, output)
}

/// A server that serves the alias notices with the next request by it.
fn try_out(service: &Service, kind: TrialKind, arguments: &TrialArguments, output: Output) -> anyhow::Result<()> {
    let TrialArguments { base, alias, reference, share, reason, .. } = arguments;
    let at = TrialPlace { base: base.clone(), alias: alias.clone(), kind };
    let origin = origin(reason.as_ref());
    let (entry, what) = match (reference, share) {
        (Some(reference), Some(share)) => {
            let entry = service.set_trial(at, reference, *share, Warming::default(), origin)?;
            (entry, format!("`{reference}` is {kind} for {share} of the requests by `{base}@{alias}`, which points at"))
        }
        // `--end` stands where neither does.
        _ => (service.end_trial(at, origin)?, format!("no {kind} any more for `{base}@{alias}`, which points at")),
    };
    print_changed(&entry, &what, output)
}

fn list(service: &Service, base: &ModelName, output: Output) -> anyhow::Result<()> {
    let reports = service.aliases(base)?;
    if output == Output::Json {
        let alias = |report: &AliasReport| {
            let trials = report.trials.iter().map(|(kind, trial, _)| (kind.to_string(), trial.to_json(*kind)));
            let mut fields = Map::new();
            fields.insert("alias".into(), report.alias.as_str().into());
            fields.insert("model_id".into(), json!(report.model_id));
            fields.extend(trials);
            Value::Object(fields)
        };
        return print_json(&reports.iter().map(alias).collect::<Value>());
    }
    for AliasReport { alias, model_id, trials } in reports {
        let trials = trials.iter().map(|(kind, trial, _)| format!("  {kind} {} for {}", trial.model_id, trial.share));
        print_line(&format!("{:<20} {model_id}{}", alias.as_str(), trials.collect::<String>()))?;
    }
    Ok(())
}

fn expected_holder(expected: Option<&str>) -> Result<ExpectedHolder> {
    Ok(match expected {
        None => ExpectedHolder::Any,
        Some("none") => ExpectedHolder::Exactly(None),
        Some(model_id) => ExpectedHolder::Exactly(Some(model_id.parse()?)),
    })
}
