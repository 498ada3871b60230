//! `seedhouse gc`: bytes that no version needs any more, each with the reason.

use std::time::Duration;

use seedhouse_service::{Collection, Service};

use crate::cli::GcArguments;
use crate::output::{Output, human_size, print_json, print_line};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn run(service: &Service, arguments: &GcArguments, output: Output) -> anyhow::Result<()> {
    let collection = if arguments.dry_run { Collection::DryRun } else { Collection::Run };
    let garbage = service.collect_garbage(DAY * arguments.retention_days, collection)?;
    if output == Output::Json {
        return print_json(&garbage);
    }
    for removed in &garbage.removed {
        print_line(&format!("{}  {}  {}", removed.digest, human_size(removed.size_bytes), removed.reason))?;
    }
    for plan in &garbage.removed_plans {
        print_line(&format!("plan {}  {}  {}", plan.name, human_size(plan.size_bytes), plan.reason))?;
    }
    let word = if arguments.dry_run { "would be removed" } else { "removed" };
    print_line(&format!(
        "{} {word}, {} kept, {} of that for deleted versions",
        human_size(garbage.removed_bytes),
        human_size(garbage.kept_bytes),
        human_size(garbage.kept_for_deleted_bytes)
    ))?;
    if !garbage.removed_plans.is_empty() {
        print_line(&format!("{} of plans {word}", human_size(garbage.removed_plan_bytes)))?;
    }
    Ok(())
}
