//! `seedhouse embed`: a vector for each text.

use std::path::Path;

use seedhouse_core::{Error, Kind, Result};
use seedhouse_service::{EmbedRequest, Patience, Service};
use serde_json::{Value, json};

use crate::cli::EmbedArguments;
use crate::output::{Output, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &EmbedArguments, output: Output) -> anyhow::Result<()> {
    let mut texts = arguments.texts.clone();
    if let Some(file) = &arguments.file {
        texts.extend(lines(file)?);
    }
    let request = EmbedRequest { texts, prompt: arguments.prompt.clone() };
    let answer = service.embed(&arguments.reference, &request, &Patience::default())?;
    if output == Output::Text {
        for embedding in &answer.value.embeddings {
            print_line(&json!(embedding.vector).to_string())?;
        }
        let cut = answer.value.embeddings.iter().filter(|embedding| embedding.truncated).count();
        if cut > 0 {
            eprintln!("{cut} texts are longer than the model takes, and were cut");
        }
        eprintln!("{} {}: {:.3} s", answer.model_id, answer.digest, answer.value.seconds);
        return Ok(());
    }
    let embeddings = answer.value.embeddings.iter().map(
        |embedding| json!({"vector": embedding.vector, "tokens": embedding.tokens, "truncated": embedding.truncated}),
    );
    print_json(&json!({
        "model_id": answer.model_id,
        "version": answer.version,
        "digest": answer.digest,
        "dimensions": answer.value.dimensions,
        "embeddings": embeddings.collect::<Vec<Value>>(),
        "load_seconds": answer.load_seconds,
        "seconds": answer.value.seconds,
    }))
}

/// Reads a text per line.
fn lines(file: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(Kind::File, file.display()),
        std::io::ErrorKind::InvalidData => Error::malformed(format!("file `{}`", file.display()), "it is not UTF-8"),
        _ => Error::io("read", file)(error),
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}
