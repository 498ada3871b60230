//! The closed loop: datasets, training, measuring, quantising, converting. Whatever comes out is measured here, by the engine that serves, and
//! written into the record with a receipt.
//!
//! ```text
//! datasets ──> training ──┐
//!          └─> measure <──┴── evaluate, quantise        receipts: what was measured, on what, where, by which command
//! ```

mod compare;
mod convert;
mod datasets;
mod evaluate;
mod measure;
mod quantise;
mod receipts;
mod training;

use std::sync::Arc;

use seedhouse_core::dataset::DatasetReader;
use seedhouse_core::training::Trainer;
use seedhouse_core::{Error, Exporter, Host, Quantizer, Result};

use crate::Service;

pub use convert::Conversion;
pub(crate) use datasets::DECLARATION;
pub use evaluate::{Difference, EvaluateJob, Evaluation, Remeasured};
pub use quantise::{QuantisationReport, QuantiseJob};
pub use training::{TrainJob, TrainRequest, TrainingReport};

/// What the closed loop stands on; the binary chooses the adapters.
#[derive(Clone)]
pub struct Learning {
    /// Reads datasets.
    pub datasets: Arc<dyn DatasetReader>,
    /// Trains.
    pub trainer: Arc<dyn Trainer>,
    /// Quantises.
    pub quantizer: Arc<dyn Quantizer>,
    /// Writes other formats.
    pub exporter: Arc<dyn Exporter>,
    /// The machine, for receipts.
    pub host: Host,
}

impl Service {
    /// Gives the service what the closed loop stands on.
    #[must_use]
    pub fn with_learning(mut self, learning: Learning) -> Service {
        self.learning = Some(learning);
        self
    }

    pub(crate) fn learning(&self) -> Result<&Learning> {
        let reason = "the service was put together without what that needs";
        self.learning
            .as_ref()
            .ok_or_else(|| Error::unsupported("training, measuring, quantising and converting", reason))
    }
}
