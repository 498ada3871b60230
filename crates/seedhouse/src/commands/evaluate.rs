//! `seedhouse evaluate`: a version is measured, or a receipt is checked.

use seedhouse_core::{Error, Result};
use seedhouse_service::{EvaluateJob, Evaluation, Remeasured, Service};

use super::here;
use crate::cli::EvaluateArguments;
use crate::output::{Output, print_json, print_line};
use crate::progress_bar::StageBar;

pub(super) fn run(service: &Service, arguments: &EvaluateArguments, output: Output) -> anyhow::Result<()> {
    match (arguments.receipt, &arguments.data) {
        (Some(number), _) => remeasure(service, arguments, number, output),
        (None, Some(data)) => {
            let request = EvaluateJob {
                model: arguments.model.clone(),
                dataset: data.clone(),
                part: arguments.split,
                limit: arguments.limit,
                against: arguments.against.clone(),
                actor: "cli".into(),
            };
            let job = service.submit_evaluation(&request)?;
            let evaluation: Evaluation = here::result_of(service, job.id)?;
            match output {
                Output::Json => print_json(&evaluation),
                Output::Text => Ok(print_evaluation(&evaluation)?),
            }
        }
        (None, None) => Err(Error::invalid("data", "", "is required").into()),
    }
}

fn print_evaluation(evaluation: &Evaluation) -> Result<(), std::io::Error> {
    let receipt = &evaluation.receipt;
    print_line(&format!("measured {} ({})", evaluation.model_id, receipt.command))?;
    for (name, value) in &receipt.metrics {
        let difference = evaluation.difference.as_ref().and_then(|difference| difference.get(name));
        let difference = difference.map(|more| format!("  ({more:+.4})")).unwrap_or_default();
        print_line(&format!("  {name:<20} {value:.4}{difference}"))?;
    }
    Ok(())
}

fn remeasure(service: &Service, arguments: &EvaluateArguments, number: usize, output: Output) -> anyhow::Result<()> {
    let again: Remeasured = service.remeasure(&arguments.model, number, arguments.tolerance, &StageBar::new())?;
    match output {
        Output::Json => print_json(&again)?,
        Output::Text => {
            let verdict = if again.agrees { "agrees" } else { "DISAGREES" };
            print_line(&format!("receipt {number} of {} {verdict}", again.model_id))?;
            for (name, figure) in &again.figures {
                print_line(&format!("  {name:<20} {:.6} then, {:.6} now", figure.receipt, figure.now))?;
            }
        }
    }
    Ok(again.check()?)
}
