//! `seedhouse classify`: the most likely classes of images, or vectors of their features.

use std::path::{Path, PathBuf};

use seedhouse_core::{Error, Kind, Reference, Result};
use seedhouse_service::{
    Answer, Classification, ClassifyRequest, ImageFeatures, ImageInput, Patience, Prediction, Service,
};
use serde_json::{Map, Value, json};

use crate::cli::ClassifyArguments;
use crate::output::{Output, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &ClassifyArguments, output: Output) -> anyhow::Result<()> {
    let images = arguments.images.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let patience = Patience::default();
    match arguments.features {
        true => print_features(&service.image_features(&arguments.reference, &images, &patience)?, output),
        false => {
            let answer = service.classify_all(&arguments.reference, &images, arguments.top_k, &patience)?;
            print_classes(&answer, &arguments.images, output)
        }
    }
}

fn print_classes(answer: &Answer<Vec<Classification>>, paths: &[PathBuf], output: Output) -> anyhow::Result<()> {
    let seconds = answer.value.first().map_or(0.0, |first| first.seconds);
    if output == Output::Text {
        for (path, classification) in paths.iter().zip(&answer.value) {
            if paths.len() > 1 {
                print_line(&path.display().to_string())?;
            }
            for prediction in &classification.predictions {
                print_line(&prediction_line(prediction))?;
            }
        }
        eprintln!("{} {}: {seconds:.3} s", answer.model_id, answer.digest);
        return Ok(());
    }
    let mut json = version_json(answer);
    let predictions = |one: &Classification| one.predictions.iter().map(prediction_json).collect::<Value>();
    let shape = answer.value.first().map(|first| first.input_shape.clone());
    match &answer.value[..] {
        [one] => json.insert("predictions".into(), predictions(one)),
        several => json.insert("images".into(), several.iter().map(predictions).collect()),
    };
    json.insert("input_shape".into(), json!(shape));
    json.insert("runtime".into(), json!(answer.runtime));
    json.insert("load_seconds".into(), json!(answer.load_seconds));
    json.insert("seconds".into(), json!(seconds));
    print_json(&Value::Object(json))
}

fn print_features(answer: &Answer<ImageFeatures>, output: Output) -> anyhow::Result<()> {
    let ImageFeatures { vectors, input_shape, seconds, .. } = &answer.value;
    if output == Output::Text {
        for vector in vectors {
            print_line(&json!(vector).to_string())?;
        }
        eprintln!("{} {}: {seconds:.3} s", answer.model_id, answer.digest);
        return Ok(());
    }
    let mut json = version_json(answer);
    json.insert("features".into(), json!(vectors));
    json.insert("input_shape".into(), json!(input_shape));
    json.insert("runtime".into(), json!(answer.runtime));
    json.insert("load_seconds".into(), json!(answer.load_seconds));
    json.insert("seconds".into(), json!(seconds));
    print_json(&Value::Object(json))
}

/// Returns what answered.
fn version_json<T>(answer: &Answer<T>) -> Map<String, Value> {
    Map::from_iter([
        ("model_id".to_owned(), json!(answer.model_id)),
        ("version".to_owned(), json!(answer.version)),
        ("digest".to_owned(), json!(answer.digest)),
    ])
}

fn read(image: &Path) -> Result<ImageInput> {
    let bytes = std::fs::read(image).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(Kind::File, image.display()),
        _ => Error::io("read", image)(error),
    })?;
    Ok(ImageInput::Encoded(bytes))
}

/// Classifies the image in a file.
pub(super) fn classify(
    service: &Service,
    reference: &Reference,
    image: &Path,
    top_k: Option<usize>,
) -> Result<Answer<Classification>> {
    service.classify(reference, &ClassifyRequest { image: read(image)?, top_k }, &Patience::default())
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
        "class_name": prediction.class_name.as_deref(),
        "confidence": prediction.confidence,
        "logit": prediction.logit,
    })
}
