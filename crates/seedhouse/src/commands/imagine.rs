//! `seedhouse imagine`: images drawn from noise, written as one PNG file.

use std::ops::ControlFlow;

use seedhouse_core::{Error, Progress as _, ProgressUnit};
use seedhouse_service::{ClassChoice, DrawnImage, ImagineRequest, Sampler, Service};
use serde_json::json;

use crate::cli::{ImagineArguments, SamplerArgument};
use crate::output::{Output, print_json, print_line};
use crate::progress_bar::StageBar;

pub(super) fn run(service: &Service, arguments: &ImagineArguments, output: Output) -> anyhow::Result<()> {
    let defaults = ImagineRequest::default();
    let request = ImagineRequest {
        class: arguments.class.clone().map(ClassChoice::Name),
        samples: arguments.samples,
        steps: arguments.steps,
        seed: arguments.seed,
        sampler: match arguments.sampler {
            SamplerArgument::Ddim => Sampler::Ddim,
            SamplerArgument::Ddpm => Sampler::Ddpm,
        },
        eta: arguments.eta,
        guidance_scale: arguments.guidance.unwrap_or(defaults.guidance_scale),
        ..defaults
    };
    let bar = StageBar::new();
    let answer = service.imagine(&arguments.reference, &request, &mut |progress| {
        if progress.step == 1 {
            bar.stage("drawing", Some(progress.steps as u64), ProgressUnit::Items);
        }
        bar.advance(1);
        ControlFlow::Continue(())
    })?;
    drop(bar);
    let drawing = &answer.value;
    let picture = DrawnImage::grid(&drawing.images);
    std::fs::write(&arguments.output, picture.png()?).map_err(Error::io("write", &arguments.output))?;
    let [height, width] = picture.sides();
    match output {
        Output::Json => print_json(&json!({
            "model_id": answer.model_id,
            "version": answer.version,
            "digest": answer.digest,
            "path": arguments.output,
            "height": height,
            "width": width,
            "num_samples": drawing.images.len(),
            "class": drawing.class,
            "steps": drawing.steps,
            "seed": request.seed,
            "guidance_applied": drawing.is_guided,
            "load_seconds": answer.load_seconds,
            "seconds": drawing.seconds,
        })),
        Output::Text => {
            print_line(&arguments.output.display().to_string())?;
            if arguments.guidance.is_some() && !drawing.is_guided {
                eprintln!("--guidance had no effect: it needs --class, and is not 0 or 1");
            }
            eprintln!("{} {}: {} steps in {:.3} s", answer.model_id, answer.digest, drawing.steps, drawing.seconds);
            Ok(())
        }
    }
}
