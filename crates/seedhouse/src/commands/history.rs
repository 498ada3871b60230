//! `seedhouse history`: what happened to a version or an alias.

use seedhouse_core::{Event, Happening};
use seedhouse_service::Service;
use serde_json::Value;

use crate::cli::HistoryArguments;
use crate::output::{Output, print_json, print_table};

pub(super) fn run(service: &Service, arguments: &HistoryArguments, output: Output) -> anyhow::Result<()> {
    let events = service.history(&arguments.reference)?;
    match output {
        Output::Json => print_json(&events),
        Output::Text => {
            let rows: Vec<Vec<String>> = events.iter().map(row).collect();
            Ok(print_table(&["EVENT", "AT", "ACTOR", "ACTION", "CHANGE", "REASON"], &rows)?)
        }
    }
}

fn row(event: &Event) -> Vec<String> {
    let happening = &event.happening;
    vec![
        event.sequence.to_string(),
        happening.at.to_string(),
        happening.actor.clone(),
        happening.action.clone(),
        difference(happening),
        happening.reason.clone().unwrap_or_default(),
    ]
}

/// Names what changed: the fields of a record, or from where to where an alias moved.
fn difference(happening: &Happening) -> String {
    match (&happening.before, &happening.after) {
        (Value::Object(before), Value::Object(after)) => {
            let changed = after.iter().filter(|(key, value)| *key != "updated_at" && before.get(*key) != Some(value));
            let removed = before.keys().filter(|key| !after.contains_key(*key));
            let changed = changed.map(|(key, value)| format!("{key} = {}", brief(value)));
            changed.chain(removed.map(|key| format!("{key} removed"))).collect::<Vec<_>>().join(", ")
        }
        (_, Value::Object(_)) => String::new(),
        (before, after) => format!("{} -> {}", brief(before), brief(after)),
    }
}

fn brief(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
