//! `seedhouse dataset`: files become a dataset.

use seedhouse_core::dataset::{DATASET_TYPE, DatasetDeclaration};
use seedhouse_core::{Entry, Error, Result};
use seedhouse_service::{RegisterRequest, Service};
use serde_json::{Value, json};

use super::register::{read_object, take_in};
use crate::cli::DatasetArguments;
use crate::output::{Output, entry_json, human_size, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &DatasetArguments, output: Output) -> anyhow::Result<()> {
    let entry = take_in(service, request(arguments)?, &arguments.paths)?;
    match output {
        Output::Json => print_json(&entry_json(&entry)),
        Output::Text => Ok(print_registered(&entry)?),
    }
}

fn request(arguments: &DatasetArguments) -> Result<RegisterRequest> {
    let mut request = RegisterRequest::new(arguments.name.clone(), "cli");
    request.model_type = Some(DATASET_TYPE.into());
    request.description = arguments.description.clone();
    request.metadata.insert("dataset".into(), json!(declaration(arguments)?));
    Ok(request)
}

fn declaration(arguments: &DatasetArguments) -> Result<DatasetDeclaration> {
    let mut declaration = match &arguments.declaration {
        None => DatasetDeclaration::default(),
        Some(text) => {
            let object = Value::Object(read_object("--declaration", text)?);
            let wrong = |error: serde_json::Error| Error::malformed("`--declaration`", error.to_string());
            serde_json::from_value(object).map_err(wrong)?
        }
    };
    let lists = [
        (&mut declaration.targets, &arguments.targets),
        (&mut declaration.features, &arguments.features),
        (&mut declaration.categorical, &arguments.categorical),
        (&mut declaration.missing, &arguments.missing),
        (&mut declaration.split.group_by, &arguments.group_by),
    ];
    for (declared, given) in lists {
        if !given.is_empty() {
            declared.clone_from(given);
        }
    }
    let split = &mut declaration.split;
    split.validation = arguments.validation.unwrap_or(split.validation);
    split.test = arguments.test.unwrap_or(split.test);
    split.seed = arguments.split_seed.unwrap_or(split.seed);
    split.stratify |= arguments.stratify;
    Ok(declaration)
}

fn print_registered(entry: &Entry) -> std::io::Result<()> {
    let record = &entry.record;
    let counted = record.fields.get("dataset").cloned().unwrap_or_default();
    let text = |field: &str| counted[field].as_str().unwrap_or_default().to_owned();
    print_line(&format!("registered {} ({} {})", record.model_id, counted["examples"], text("kind")))?;
    if let Some(parts) = counted["parts"].as_object() {
        let parts: Vec<String> = parts.iter().map(|(part, count)| format!("{count} {part}")).collect();
        print_line(&format!("  split    {}", parts.join(", ")))?;
    }
    if let Some(digest) = record.digest() {
        print_line(&format!("  digest   {digest}"))?;
        print_line(&format!("  size     {}", human_size(record.size_bytes().unwrap_or_default())))?;
    }
    for warning in counted["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        print_line(&format!("  note     {warning}"))?;
    }
    Ok(())
}
