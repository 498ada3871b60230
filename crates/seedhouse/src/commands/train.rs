//! `seedhouse train`: a dataset becomes a model.

use seedhouse_core::training::TrainSettings;
use seedhouse_core::{Error, Result};
use seedhouse_service::{Service, TrainRequest, TrainingReport};
use serde_json::Value;

use super::here;
use super::register::read_object;
use crate::cli::TrainArguments;
use crate::output::{Output, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &TrainArguments, output: Output) -> anyhow::Result<()> {
    let (job, entry) = service.submit_training(&request(arguments)?)?;
    if arguments.detach {
        return match output {
            Output::Json => print_json(&job),
            Output::Text => Ok(print_line(&format!("job {} will train {}", job.id, entry.record.model_id))?),
        };
    }
    eprintln!(
        "job {} trains {}; `seedhouse jobs run {}` goes on if this ends early",
        job.id, entry.record.model_id, job.id
    );
    let report: TrainingReport = here::result_of(service, job.id)?;
    match output {
        Output::Json => print_json(&report),
        Output::Text => Ok(print_report(&report)?),
    }
}

fn request(arguments: &TrainArguments) -> Result<TrainRequest> {
    let metadata = arguments.metadata.as_deref().map(|text| read_object("--metadata", text)).transpose()?;
    Ok(TrainRequest {
        model: arguments.model.clone(),
        model_type: arguments.model_type.as_deref().map(Into::into),
        metadata: metadata.unwrap_or_default(),
        dataset: arguments.data.clone(),
        start: arguments.start.clone(),
        settings: settings(arguments)?,
        actor: "cli".into(),
    })
}

fn settings(arguments: &TrainArguments) -> Result<TrainSettings> {
    let mut settings = match &arguments.settings {
        None => TrainSettings::default(),
        Some(text) => {
            let object = Value::Object(read_object("--settings", text)?);
            let wrong = |error: serde_json::Error| Error::malformed("`--settings`", error.to_string());
            serde_json::from_value(object).map_err(wrong)?
        }
    };
    settings.epochs = arguments.epochs.or(settings.epochs);
    settings.steps = arguments.steps.or(settings.steps);
    settings.batch_size = arguments.batch_size.unwrap_or(settings.batch_size);
    settings.learning_rate = arguments.learning_rate.unwrap_or(settings.learning_rate);
    settings.seed = arguments.seed.unwrap_or(settings.seed);
    Ok(settings)
}

fn print_report(report: &TrainingReport) -> std::io::Result<()> {
    let training = &report.training;
    print_line(&format!("trained {} in {} steps", report.model_id, training.step))?;
    print_line(&format!("  digest   {}", report.digest))?;
    print_line(&format!("  loss     {:.4}", training.loss))?;
    if let Some(loss) = training.validation_loss {
        print_line(&format!("  watched  {loss:.4} (validation loss; weights of step {} are kept)", report.best_step))?;
    }
    for (name, value) in &report.metrics {
        print_line(&format!("  measured {name} {value:.4} (test part)"))?;
    }
    Ok(())
}
