//! What every receipt has: when, where, by which program.

use std::collections::BTreeMap;

use seedhouse_core::dataset::SplitPart;
use seedhouse_core::{
    ComparedWith, Digest, Entry, Error, Manifest, MeasuredOn, Receipt, ReceiptKind, Result, Timestamp,
};
use serde_json::Value;

use crate::Service;

/// What a receipt is about.
pub(crate) struct ReceiptOf<'r> {
    pub(crate) kind: ReceiptKind,
    pub(crate) digest: Digest,
    pub(crate) dataset: Option<MeasuredOn>,
    pub(crate) against: Option<&'r Entry>,
    pub(crate) metrics: BTreeMap<String, f64>,
    pub(crate) details: Value,
    pub(crate) command: String,
    pub(crate) began: Timestamp,
    pub(crate) seconds: f64,
}

impl Service {
    pub(crate) fn receipt(&self, of: ReceiptOf<'_>) -> Result<Receipt> {
        let compared = |entry: &Entry| {
            let digest = required_digest(entry)?;
            Ok::<_, Error>(ComparedWith { model_id: entry.record.model_id.clone(), digest })
        };
        Ok(Receipt {
            kind: of.kind,
            at: of.began,
            seconds: of.seconds,
            command: of.command,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.learning()?.host.clone(),
            digest: of.digest,
            dataset: of.dataset,
            against: of.against.map(compared).transpose()?,
            metrics: of.metrics,
            details: of.details,
        })
    }
}

/// Returns what the receipt calls the examples.
pub(crate) fn measured_on(dataset: &Entry, part: SplitPart, limit: Option<u64>, examples: u64) -> Result<MeasuredOn> {
    Ok(MeasuredOn {
        model_id: dataset.record.model_id.clone(),
        digest: required_digest(dataset)?,
        part,
        examples,
        limit,
    })
}

pub(crate) fn required_digest(entry: &Entry) -> Result<Digest> {
    let missing = || Error::Internal(format!("`{}` was used and has no digest", entry.record.model_id));
    entry.record.digest().ok_or_else(missing)
}

/// Returns the files of a version.
///
/// # Errors
/// [`Error::WrongTask`] when it has none.
pub(crate) fn required_manifest(entry: &Entry) -> Result<Manifest> {
    let none = || Error::WrongTask {
        model_id: entry.record.model_id.to_string(),
        task: "reading its files",
        reason: "the version has no files".into(),
    };
    entry.record.manifest()?.ok_or_else(none)
}

/// Returns a receipt as the record keeps it.
pub(crate) fn json_of(receipt: &Receipt) -> Result<Value> {
    serde_json::to_value(receipt).map_err(|error| Error::Internal(format!("a receipt cannot be written: {error}")))
}
