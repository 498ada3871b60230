//! `seedhouse classify`: the most likely classes of an image.

use std::path::Path;

use seedhouse_core::{Error, Kind, Reference, Result};
use seedhouse_service::{Answer, Classification, ClassifyRequest, ImageInput, Prediction, Service};
use serde_json::{Value, json};

use crate::cli::ClassifyArguments;
use crate::output::{Output, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &ClassifyArguments, output: Output) -> anyhow::Result<()> {
    let answer = classify(service, &arguments.reference, &arguments.image, arguments.top_k)?;
    match output {
        Output::Json => print_json(&json!({
            "model_id": answer.model_id,
            "version": answer.version,
            "digest": answer.digest,
            "predictions": answer.value.predictions.iter().map(prediction_json).collect::<Vec<_>>(),
            "input_shape": answer.value.input_shape,
            "load_seconds": answer.load_seconds,
            "seconds": answer.value.seconds,
        })),
        Output::Text => {
            for prediction in &answer.value.predictions {
                print_line(&prediction_line(prediction))?;
            }
            eprintln!("{} {}: {:.3} s", answer.model_id, answer.digest, answer.value.seconds);
            Ok(())
        }
    }
}

/// Classifies the image in a file.
pub(super) fn classify(
    service: &Service,
    reference: &Reference,
    image: &Path,
    top_k: Option<usize>,
) -> Result<Answer<Classification>> {
    let bytes = std::fs::read(image).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(Kind::File, image.display()),
        _ => Error::io("read", image)(error),
    })?;
    service.classify(reference, &ClassifyRequest { image: ImageInput::Encoded(bytes), top_k })
}

/// Returns one class for people.
pub(super) fn prediction_line(prediction: &Prediction) -> String {
    let name = prediction.class_name.as_deref().unwrap_or("(no label)");
    format!("{:.4}  {:>4}  {name}", prediction.confidence, prediction.class_id)
}

/// Returns one class for machines.
pub(super) fn prediction_json(prediction: &Prediction) -> Value {
    json!({
        "class_id": prediction.class_id,
        "class_name": prediction.class_name,
        "confidence": prediction.confidence,
        "logit": prediction.logit,
    })
}
