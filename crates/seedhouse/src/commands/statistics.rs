//! `seedhouse statistics`: figures about the registry.

use std::collections::BTreeMap;

use seedhouse_service::{Overview, Service, StorageFigures};
use serde_json::json;

use crate::output::{Output, human_size, print_json, print_line};

pub(super) fn run(service: &Service, output: Output) -> anyhow::Result<()> {
    let (overview, storage) = (service.overview()?, service.storage_figures()?);
    match output {
        Output::Json => {
            let mut figures = serde_json::to_value(&overview)?;
            figures["storage"] = json!(storage);
            print_json(&figures)
        }
        Output::Text => Ok(print(&overview, &storage)?),
    }
}

fn print(overview: &Overview, storage: &StorageFigures) -> std::io::Result<()> {
    let statistics = &overview.statistics;
    print_line(&format!("{} versions of {} models", statistics.total_models, statistics.total_bases))?;
    print_counts("type", &statistics.by_type)?;
    print_counts("status", &statistics.by_status)?;
    print_counts("framework", &statistics.by_framework)?;
    print_line(&format!("  {:<10} {}", "damaged", overview.corrupt_models))?;
    for (state, count) in &overview.jobs {
        print_line(&format!("  {:<10} {count} {}", "jobs", state.as_str()))?;
    }
    let (plans, plan_bytes) = (overview.plans.stored, human_size(overview.plans.stored_bytes));
    print_line(&format!("  {:<10} {plan_bytes} in {plans} compiled models; deleting the folder is safe", "plans"))?;
    let saved = human_size(storage.saved_by_deduplication_bytes);
    let stored = human_size(storage.stored_bytes);
    print_line(&format!(
        "  {:<10} {stored} in {} files; {saved} saved by storing equal files once",
        "stored", storage.artifacts
    ))
}

fn print_counts(what: &str, counts: &BTreeMap<String, u64>) -> std::io::Result<()> {
    counts.iter().try_for_each(|(name, count)| print_line(&format!("  {what:<10} {count} {name}")))
}
