//! The models of the demonstration, with the receipts of their figures.

use seedhouse_core::{Entry, Query, Receipt, ReceiptKind, Unwatched};
use seedhouse_service::ImportOptions;
use serde_json::{Value, json};

use super::Demo;
use crate::output::human_size;

/// What `scripts/demo_pack.py make` wrote: a bundle of versions.
const PACK: &[u8] = include_bytes!("../../../../../demo-pack/pack.tar.zst");

/// Takes the models in, and shows what their records say.
pub(super) fn show(demo: &Demo<'_>) -> anyhow::Result<Vec<Value>> {
    demo.step("Models: trained by this program on public data; each figure has a receipt")?;
    let options = ImportOptions { actor: "demo".into(), ..ImportOptions::default() };
    demo.service.import_bundle(&mut &PACK[..], &options, &Unwatched)?;
    let mut entries = demo.service.list(&Query::default())?.entries;
    entries.sort_by(|one, other| one.record.model_id.cmp(&other.record.model_id));
    entries.iter().map(|entry| show_one(demo, entry)).collect()
}

fn show_one(demo: &Demo<'_>, entry: &Entry) -> anyhow::Result<Value> {
    let record = &entry.record;
    let size = human_size(record.size_bytes().unwrap_or_default());
    demo.say(&format!("{}  {}, {size}, {}", record.model_id, record.model_type, record.status))?;
    if !record.description().is_empty() {
        demo.say(&format!("  {}", record.description()))?;
    }
    let receipts = record.receipts();
    for receipt in receipts.iter().filter(|receipt| receipt.kind != ReceiptKind::Training) {
        demo.say(&format!("  {}", figures(receipt)))?;
        demo.say(&format!("    $ {}", receipt.command))?;
    }
    Ok(json!({
        "model_id": record.model_id,
        "type": record.model_type,
        "status": record.status,
        "size_bytes": record.size_bytes(),
        "digest": record.digest(),
        "receipts": receipts,
    }))
}

/// Returns what was measured, on what and where.
fn figures(receipt: &Receipt) -> String {
    let figures = receipt.metrics.iter().filter(|(name, _)| !name.contains('.'));
    let figures: Vec<String> = figures.map(|(name, value)| format!("{name} {}", shortened(*value))).collect();
    let on = receipt
        .dataset
        .as_ref()
        .map_or_else(String::new, |on| format!(", on {} examples of `{}` ({})", on.examples, on.model_id, on.part));
    format!("{}{on}, {}", figures.join(", "), receipt.host.instructions)
}

fn shortened(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
