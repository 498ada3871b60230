//! `seedhouse update`: status, texts, tags and claimed figures of a version.

use seedhouse_core::{Edit, Error, Result};
use seedhouse_service::Service;
use serde_json::Value;

use crate::cli::UpdateArguments;
use crate::commands::{origin, print_changed};
use crate::output::Output;

pub(super) fn run(service: &Service, arguments: &UpdateArguments, output: Output) -> anyhow::Result<()> {
    let origin = origin(arguments.reason.as_ref());
    let entry = service.update(&arguments.reference, arguments.expected_revision, edits(arguments)?, origin)?;
    print_changed(&entry, "updated", output)
}

fn edits(arguments: &UpdateArguments) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    edits.extend(arguments.status.map(Edit::Status));
    edits.extend(arguments.name.clone().map(Edit::Name));
    edits.extend(arguments.description.clone().map(Edit::Description));
    for tag in &arguments.tags {
        let (key, value) = split("tag", tag)?;
        edits.push(Edit::Tag { key: key.to_owned(), value: Some(value.to_owned()) });
    }
    edits.extend(arguments.removed_tags.iter().map(|key| Edit::Tag { key: key.clone(), value: None }));
    let metrics = arguments.metrics.iter().map(|metric| read_metric(metric)).collect::<Result<Vec<_>>>()?;
    match &arguments.source {
        Some(source) => edits.push(Edit::ReportedMetrics { metrics, source: read_source(source)? }),
        None => edits.extend(metrics.into_iter().map(|(name, value)| Edit::ClaimedMetric { name, value })),
    }
    if edits.is_empty() {
        return Err(Error::invalid(
            "update",
            "",
            "needs something to change; `seedhouse update --help` lists what can be",
        ));
    }
    Ok(edits)
}

fn read_metric(metric: &str) -> Result<(String, f64)> {
    let (name, value) = split("metric", metric)?;
    let value = value.parse().map_err(|_| Error::invalid(format!("metrics.{name}"), value, "must be a number"))?;
    Ok((name.to_owned(), value))
}

fn read_source(text: &str) -> Result<Value> {
    match serde_json::from_str(text) {
        Ok(source @ Value::Object(_)) => Ok(source),
        _ => Err(Error::invalid("source", text, "must be a JSON object, e.g. {\"run\": \"nightly-7\"}")),
    }
}

fn split<'a>(field: &str, text: &'a str) -> Result<(&'a str, &'a str)> {
    text.split_once('=').ok_or_else(|| Error::invalid(field, text, "must have the form `key=value`"))
}
