//! `seedhouse load` and `seedhouse unload`: a running server takes a version into memory, or lets it go.

use crate::cli::LoadArguments;
use crate::output::{Output, print_json, print_line};
use crate::remote::{Remote, encoded};

pub(super) fn load(arguments: &LoadArguments, output: Output) -> anyhow::Result<()> {
    let path = format!("/api/models/{}/load", encoded(&arguments.reference));
    let loaded = Remote::new(&arguments.server)?.post(&path)?;
    match output {
        Output::Json => print_json(&loaded),
        Output::Text => Ok(print_line(&format!("loaded {}", loaded["model_id"].as_str().unwrap_or_default()))?),
    }
}

pub(super) fn unload(arguments: &LoadArguments, output: Output) -> anyhow::Result<()> {
    let path = format!("/api/models/{}/unload", encoded(&arguments.reference));
    let unloaded = Remote::new(&arguments.server)?.post(&path)?;
    if output == Output::Json {
        return print_json(&unloaded);
    }
    let model_id = unloaded["model_id"].as_str().unwrap_or_default();
    let line = match (unloaded["was_loaded"] == true, unloaded["in_use"].as_u64().unwrap_or(0)) {
        (false, _) => format!("{model_id} was not loaded"),
        (true, 0) => format!("unloaded {model_id}"),
        (true, 1) => format!("unloading {model_id} after the request that uses it"),
        (true, in_use) => format!("unloading {model_id} after the {in_use} requests that use it"),
    };
    Ok(print_line(&line)?)
}
