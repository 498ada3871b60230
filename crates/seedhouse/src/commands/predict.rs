//! `seedhouse predict`: named tensors in, named tensors out; or rows of features in, classes or targets out.

mod npy;
mod rows;

use std::path::Path;

use seedhouse_core::{Error, Kind, Result};
use seedhouse_service::{NestedTensor, Numbers, Patience, PredictRequest, Service};
use serde_json::{Map, Value, json};

use crate::cli::{PredictArguments, TensorArgument};
use crate::output::{Output, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &PredictArguments, output: Output) -> anyhow::Result<()> {
    match (&arguments.row, &arguments.rows) {
        (Some(row), _) => rows::run_one(service, arguments, row, output),
        (None, Some(path)) => rows::run_all(service, arguments, path, output),
        (None, None) => run_tensors(service, arguments, output),
    }
}

fn run_tensors(service: &Service, arguments: &PredictArguments, output: Output) -> anyhow::Result<()> {
    let inputs: Result<Vec<(String, Numbers)>> = arguments.input.iter().map(read).collect();
    let request = PredictRequest { inputs: inputs? };
    let answer = service.predict(&arguments.reference, &request, &Patience::default())?;
    let tensor = |(name, tensor): &(String, _)| (name.clone(), json!(NestedTensor(tensor)));
    let outputs = Value::Object(answer.value.outputs.iter().map(tensor).collect::<Map<String, Value>>());
    match output {
        Output::Json => print_json(&json!({
            "model_id": answer.model_id,
            "version": answer.version,
            "digest": answer.digest,
            "outputs": outputs,
            "runtime": answer.runtime,
            "load_seconds": answer.load_seconds,
            "seconds": answer.value.seconds,
        })),
        Output::Text => {
            print_line(&outputs.to_string())?;
            eprintln!("{} {}: {:.3} s", answer.model_id, answer.digest, answer.value.seconds);
            Ok(())
        }
    }
}

fn read(argument: &TensorArgument) -> Result<(String, Numbers)> {
    let TensorArgument { name, value } = argument;
    let numbers = match is_json(value) {
        true => of_json(&format!("input `{name}`"), value.as_bytes())?,
        false => of_file(Path::new(value))?,
    };
    Ok((name.clone(), numbers))
}

/// A file may have a name like a number; a list that is not closed is still meant as JSON.
fn is_json(value: &str) -> bool {
    let begins_like_json =
        |value: &str| value.starts_with(['[', '-', '"']) || value.starts_with(|first: char| first.is_ascii_digit());
    !Path::new(value).is_file() && (begins_like_json(value.trim_start()) || matches!(value, "true" | "false"))
}

fn of_json(what: &str, json: &[u8]) -> Result<Numbers> {
    serde_json::from_slice(json).map_err(|error| Error::malformed(what, error.to_string()))
}

/// The content decides: an array of numpy, or JSON.
fn of_file(path: &Path) -> Result<Numbers> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(Kind::File, path.display()),
        _ => Error::io("read", path)(error),
    })?;
    let what = format!("file `{}`", path.display());
    match npy::is_array(&bytes) {
        true => npy::read(&what, &bytes),
        false => of_json(&what, &bytes),
    }
}
