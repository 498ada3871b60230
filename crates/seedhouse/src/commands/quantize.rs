//! `seedhouse quantize`: a version with fewer bits.

use seedhouse_service::{QuantisationReport, QuantiseJob, Service};

use super::here;
use crate::cli::QuantizeArguments;
use crate::output::{Output, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &QuantizeArguments, output: Output) -> anyhow::Result<()> {
    let request = QuantiseJob {
        model: arguments.model.clone(),
        quantization_type: arguments.quantization_type,
        dataset: arguments.data.clone(),
        part: arguments.split,
        limit: arguments.limit,
        max_drop: arguments.max_drop,
        actor: "cli".into(),
    };
    let job = service.submit_quantisation(&request)?;
    let report: QuantisationReport = here::result_of(service, job.id)?;
    match output {
        Output::Json => print_json(&report),
        Output::Text => Ok(print_report(&report)?),
    }
}

fn print_report(report: &QuantisationReport) -> std::io::Result<()> {
    print_line(&format!("made {}", report.model_id))?;
    print_line(&format!("  digest   {}", report.digest))?;
    print_line(&format!("  tensors  {} quantised, {} kept", report.quantized_tensors, report.kept_tensors))?;
    for (name, value) in &report.metrics {
        print_line(&format!("  {name:<20} {value:.4}"))?;
    }
    if !report.metrics.contains_key("accuracy_drop") {
        print_line("  note     what is lost was not measured; `--data DATASET` does")?;
    }
    Ok(())
}
