//! `seedhouse ps`: what a running server has loaded.

use serde_json::Value;

use crate::cli::PsArguments;
use crate::output::{Output, human_size, print_json, print_line, print_table};
use crate::remote::Remote;

pub(super) fn run(arguments: &PsArguments, output: Output) -> anyhow::Result<()> {
    let report = Remote::new(&arguments.server)?.get("/api/slots")?;
    if output == Output::Json {
        return print_json(&report);
    }
    let slots = report["slots"].as_array().map(Vec::as_slice).unwrap_or_default();
    let header = ["MODEL", "STATE", "MEMORY", "IN USE", "REQUESTS", "LOADED", "LAST USED"];
    print_table(&header, &slots.iter().map(row).collect::<Vec<_>>())?;
    let used = human_size(report["used_bytes"].as_u64().unwrap_or(0));
    let budget = report["budget_bytes"].as_u64().map_or_else(|| "no limit".to_owned(), human_size);
    Ok(print_line(&format!("{used} of {budget}"))?)
}

fn row(slot: &Value) -> Vec<String> {
    let text = |field: &str| slot[field].as_str().unwrap_or("-").to_owned();
    let number = |field: &str| slot[field].as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let pinned = if slot["pinned"] == true { " (pinned)" } else { "" };
    vec![
        text("model_id"),
        format!("{}{pinned}", text("state")),
        slot["bytes"].as_u64().map_or_else(|| "-".to_owned(), human_size),
        number("in_use"),
        number("requests"),
        text("loaded_at"),
        text("last_used_at"),
    ]
}
