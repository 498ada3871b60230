//! Receipts: measurements with everything that is needed to make them again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dataset::SplitPart;
use crate::{Digest, Error, ModelId, Record, Result, Timestamp};

/// A measurement of a version. Stands in the record's `receipts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// What was done.
    pub kind: ReceiptKind,
    /// When it was done.
    pub at: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// The command that does it again.
    pub command: String,
    /// The version of this program.
    pub program: String,
    /// Where it was done.
    pub host: Host,
    /// The digest of the manifest of the version that was measured.
    pub digest: Digest,
    /// On which examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<MeasuredOn>,
    /// The version that it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<ComparedWith>,
    /// What came out, by name.
    pub metrics: BTreeMap<String, f64>,
    /// Figures of classes and targets, settings, spreads.
    pub details: Value,
}

/// What was done to get a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// A version was trained.
    Training,
    /// A version answered examples whose right answer is known.
    Evaluation,
    /// A version was made from another with fewer bits, and compared with it.
    Quantization,
    /// A version was made from another in another format, and compared with it.
    Export,
}

/// A machine, as far as it matters to a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// What the processor calls itself.
    pub processor: String,
    /// Threads that compute.
    pub threads: u32,
    /// The instructions that are used, e.g. `avx512`.
    pub instructions: String,
    /// The operating system and the architecture, e.g. `linux x86_64`.
    pub system: String,
}

/// The examples of a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredOn {
    /// The dataset's version.
    pub model_id: ModelId,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The part of it.
    pub part: SplitPart,
    /// How many examples of the part.
    pub examples: u64,
    /// How many were asked for at most; `None` for the whole part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// The other version of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedWith {
    /// Its id.
    pub model_id: ModelId,
    /// The digest of its manifest.
    pub digest: Digest,
}

impl Record {
    /// Returns the receipts, oldest first. Those that somebody reported from elsewhere are no measurements of ours and left out, and so
    /// is what a later version of this program wrote in another form.
    pub fn receipts(&self) -> Vec<Receipt> {
        let receipts = self.fields.get("receipts").and_then(Value::as_array);
        receipts.into_iter().flatten().filter_map(|receipt| serde_json::from_value(receipt.clone()).ok()).collect()
    }

    /// Returns a receipt by its number in the record, from 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none of that number, saying how many there are, and when it is no measurement of this program.
    pub fn receipt(&self, number: usize) -> Result<Receipt> {
        let all = self.fields.get("receipts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let found = number.checked_sub(1).and_then(|place| all.get(place)).ok_or_else(|| {
            Error::invalid("receipt", number, format!("`{}` has {} receipts, counted from 1", self.model_id, all.len()))
        })?;
        serde_json::from_value(found.clone()).map_err(|_| {
            Error::invalid(
                "receipt",
                number,
                format!("is no measurement of this program in the record of `{}`", self.model_id),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn number_of_a_receipt_counts_those_that_were_reported_from_elsewhere() {
        let receipt = json!({
            "kind": "evaluation", "at": "2026-01-01T00:00:00Z", "seconds": 1.0, "command": "seedhouse evaluate a_v1 --data d_v1",
            "program": "0.1.0", "host": {"processor": "x", "threads": 2, "instructions": "avx2", "system": "linux x86_64"},
            "digest": Digest::of("x"), "metrics": {"accuracy": 0.9}, "details": {},
        });
        let record: Record = serde_json::from_value(json!({
            "model_id": "a_v1", "name": "a", "type": "vision", "framework": "safetensors", "version": "1", "status": "ready",
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
            "receipts": [{"reported": true, "metrics": {"accuracy": 1.0}}, receipt],
        }))
        .unwrap();
        assert_eq!(record.receipts().len(), 1);
        assert_eq!(record.receipt(2).unwrap().metrics["accuracy"], 0.9);
        for (number, expected) in [(0, "2 receipts"), (3, "2 receipts"), (1, "no measurement of this program")] {
            let error = record.receipt(number).unwrap_err().to_string();
            assert!(error.contains(expected), "{number}: {error}");
        }
    }
}
