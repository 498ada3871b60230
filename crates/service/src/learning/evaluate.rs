//! Measuring a version on a dataset, alone or beside another; and making a measurement again from its receipt.

use std::collections::BTreeMap;
use std::time::Instant;

use seedhouse_core::dataset::SplitPart;
use seedhouse_core::{Edit, Entry, Error, Job, JobKind, ModelId, Progress, Receipt, ReceiptKind, Reference, Result};
use seedhouse_engine::SlotOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::compare::{Compared, compare, latency};
use super::measure::{Examples, Measured, measure};
use super::receipts::{ReceiptOf, json_of, measured_on, required_digest};
use crate::jobs::JobRequest;
use crate::{Origin, Service};

/// A measurement that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateJob {
    /// The version that is measured.
    pub model: Reference,
    /// The dataset.
    pub dataset: Reference,
    /// The part of it.
    #[serde(default = "held_out")]
    pub part: SplitPart,
    /// At most so many examples, the first of the part; all of them without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// A version that is measured on the same examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Reference>,
    /// Who asks.
    #[serde(default)]
    pub actor: String,
}

pub(crate) fn held_out() -> SplitPart {
    SplitPart::Test
}

impl JobRequest for EvaluateJob {
    const KIND: JobKind = JobKind::Evaluate;
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The version.
    pub model_id: ModelId,
    /// What stands in its record now.
    pub receipt: Receipt,
    /// For each figure how much more the version has than the one it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<BTreeMap<String, f64>>,
}

/// A measurement that was made again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Remeasured {
    /// The version.
    pub model_id: ModelId,
    /// The number of the receipt, from 1.
    pub receipt: usize,
    /// Whether every figure is what the receipt says, within the tolerance.
    pub agrees: bool,
    /// The greatest difference that still agrees.
    pub tolerance: f64,
    /// Each figure of the receipt that does not depend on the time.
    pub figures: BTreeMap<String, Difference>,
}

/// A figure, then and now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// What the receipt says.
    pub receipt: f64,
    /// What came out now.
    pub now: f64,
}

impl Service {
    /// Asks for a measurement as a job.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Invalid`] for what does not name a model, or a dataset.
    pub fn submit_evaluation(&self, request: &EvaluateJob) -> Result<Job> {
        self.store.version(&request.model)?.record.check_servable("measuring")?;
        self.dataset(&request.dataset)?;
        if let Some(against) = &request.against {
            self.store.version(against)?.record.check_servable("measuring")?;
        }
        self.submit(request, &request.actor)
    }

    /// Measures a version and writes a receipt into its record; the figures as well, when the whole held-out part was measured.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when the dataset holds nothing that the version answers; those of loading;
    /// [`Error::Cancelled`].
    pub fn evaluate(&self, request: &EvaluateJob, progress: &dyn Progress) -> Result<Evaluation> {
        let entry = self.store.version(&request.model)?;
        let against = request.against.as_ref().map(|against| self.store.version(against)).transpose()?;
        let dataset_entry = self.dataset(&request.dataset)?;
        let (receipt, difference) = self.evaluated(&entry, against.as_ref(), &dataset_entry, request, progress)?;
        let edit = Edit::MeasuredMetrics { metrics: of_the_record(&receipt), receipt: json_of(&receipt)? };
        let model_id = entry.record.model_id.clone();
        let origin = Origin { actor: request.actor.clone(), reason: Some(receipt.command.clone()) };
        // By its id: a reference may have come to mean another version meanwhile.
        self.update(&model_id.as_str().parse()?, None, vec![edit], origin)?;
        Ok(Evaluation { model_id, receipt, difference })
    }

    fn evaluated(
        &self,
        entry: &Entry,
        against: Option<&Entry>,
        dataset_entry: &Entry,
        request: &EvaluateJob,
        progress: &dyn Progress,
    ) -> Result<(Receipt, Option<BTreeMap<String, f64>>)> {
        let (began, started) = (self.clock.now(), Instant::now());
        let dataset = self.read_dataset(dataset_entry)?;
        let examples = Examples { dataset: &dataset, part: request.part, limit: request.limit };
        let slot = self.slot(entry, "measuring", SlotOptions::default())?;
        let mut difference = None;
        let (measured, mut metrics) = match against {
            None => {
                let measured = measure(&slot, examples, progress)?;
                let metrics = measured.quality.clone();
                (measured, metrics)
            }
            Some(against) => {
                let other = self.slot(against, "measuring", SlotOptions::default())?;
                let Compared { first, second, both } = compare(&other, &slot, examples, progress)?;
                difference = Some(more(&second, &first));
                let metrics = second.quality.iter().chain(&both).map(|(name, value)| (name.clone(), *value)).collect();
                (second, metrics)
            }
        };
        let (median, slow) = latency(&slot, examples, progress)?;
        metrics.insert("examples_per_second".into(), measured.throughput());
        metrics.extend([("latency_ms_p50".to_owned(), median), ("latency_ms_p95".to_owned(), slow)]);
        let receipt = self.receipt(ReceiptOf {
            kind: ReceiptKind::Evaluation,
            digest: required_digest(entry)?,
            dataset: Some(measured_on(dataset_entry, request.part, request.limit, measured.examples)?),
            against,
            metrics,
            details: measured.details,
            command: command(entry, dataset_entry, against, examples),
            began,
            seconds: started.elapsed().as_secs_f64(),
        })?;
        Ok((receipt, difference))
    }

    /// Makes the measurement of a receipt again, and says whether it agrees. Nothing is written.
    ///
    /// Figures that depend on the time, such as a speed, are left out. On the same instructions and number of threads the others are
    /// the same to the last bit; elsewhere rounding differs, and a few examples may be answered differently.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a receipt that is not there, or was not measured on a dataset; [`Error::Changed`] when the dataset or the
    /// version it was compared with have other bytes than then; those of [`evaluate`](Service::evaluate).
    pub fn remeasure(
        &self,
        reference: &Reference,
        number: usize,
        tolerance: f64,
        progress: &dyn Progress,
    ) -> Result<Remeasured> {
        let entry = self.store.version(reference)?;
        let receipt = entry.record.receipt(number)?;
        let Some(on) = receipt.dataset.as_ref().filter(|_| receipt.kind != ReceiptKind::Training) else {
            let rule = format!("is no measurement on a dataset; its command is `{}`", receipt.command);
            return Err(Error::invalid("receipt", number, rule));
        };
        let dataset_entry = self.dataset(&on.model_id.as_str().parse()?)?;
        require_digest(&dataset_entry, on.digest)?;
        let against = receipt.against.as_ref().map(|against| {
            let other = self.store.version(&against.model_id.as_str().parse()?)?;
            require_digest(&other, against.digest)?;
            Ok::<_, Error>(other)
        });
        let against = against.transpose()?;
        let dataset = self.read_dataset(&dataset_entry)?;
        let examples = Examples { dataset: &dataset, part: on.part, limit: on.limit };
        let slot = self.slot(&entry, "measuring", SlotOptions::default())?;
        let now = match &against {
            None => measure(&slot, examples, progress)?.quality,
            Some(against) => {
                let other = self.slot(against, "measuring", SlotOptions::default())?;
                let compared = compare(&other, &slot, examples, progress)?;
                let drop = compared.drop().map(|(_, drop)| (DROP.to_owned(), drop));
                compared.second.quality.into_iter().chain(compared.both).chain(drop).collect()
            }
        };
        let figures: BTreeMap<String, Difference> = receipt
            .metrics
            .iter()
            .filter_map(|(name, then)| Some((name.clone(), Difference { receipt: *then, now: *now.get(name)? })))
            .collect();
        if figures.is_empty() {
            return Err(Error::invalid("receipt", number, "has no figure that is the same at every measurement"));
        }
        let agrees = figures.values().all(|figure| figure.distance() <= tolerance);
        Ok(Remeasured { model_id: entry.record.model_id, receipt: number, agrees, tolerance, figures })
    }
}

/// The figure of a receipt that says how much was lost.
pub(crate) const DROP: &str = "accuracy_drop";

impl Difference {
    /// Returns how far both are apart: of a figure above 1, such as a perplexity, as a share of it.
    fn distance(self) -> f64 {
        (self.receipt - self.now).abs() / self.receipt.abs().max(1.0)
    }
}

impl Remeasured {
    /// Checks that every figure agrees.
    ///
    /// # Errors
    /// [`Error::BeyondLimit`] naming the figure that is furthest off.
    pub fn check(&self) -> Result<()> {
        let furthest = self.figures.iter().max_by(|(_, one), (_, other)| one.distance().total_cmp(&other.distance()));
        match furthest {
            Some((name, figure)) if !self.agrees => Err(Error::BeyondLimit {
                what: format!("the distance of `{name}` of `{}` from receipt {}", self.model_id, self.receipt),
                measured: figure.distance(),
                limit: self.tolerance,
            }),
            _ => Ok(()),
        }
    }
}

/// Returns the figures that a measurement writes into the record's `metrics`: those of the whole held-out part. What was measured on what
/// a model learned from, or on some examples, stands in its receipt alone.
pub(crate) fn of_the_record(receipt: &Receipt) -> Vec<(String, f64)> {
    let is_held_out = receipt.dataset.as_ref().is_some_and(|on| on.part == SplitPart::Test && on.limit.is_none());
    let figures = receipt.metrics.iter().filter(|_| is_held_out);
    figures.map(|(name, value)| (name.clone(), *value)).collect()
}

fn require_digest(entry: &Entry, expected: seedhouse_core::Digest) -> Result<()> {
    match required_digest(entry)? {
        actual if actual == expected => Ok(()),
        actual => Err(Error::Changed {
            what: format!("version `{}`", entry.record.model_id),
            expected: expected.to_string(),
            actual: actual.to_string(),
        }),
    }
}

fn more(version: &Measured, than: &Measured) -> BTreeMap<String, f64> {
    let figures = version.quality.iter();
    figures.filter_map(|(name, value)| Some((name.clone(), value - than.quality.get(name)?))).collect()
}

/// Returns the command that measures the same again.
fn command(entry: &Entry, dataset: &Entry, against: Option<&Entry>, examples: Examples<'_>) -> String {
    let (model, dataset) = (&entry.record.model_id, &dataset.record.model_id);
    let mut command = format!("seedhouse evaluate {model} --data {dataset} --split {}", examples.part);
    if let Some(limit) = examples.limit {
        command.push_str(&format!(" --limit {limit}"));
    }
    if let Some(against) = against {
        command.push_str(&format!(" --against {}", against.record.model_id));
    }
    command
}

/// Returns details of a receipt with some more.
pub(crate) fn with_details(details: Value, more: &[(&str, Value)]) -> Value {
    let mut details = match details {
        Value::Object(details) => details,
        Value::Null => serde_json::Map::new(),
        other => serde_json::Map::from_iter([("figures".to_owned(), other)]),
    };
    details.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    json!(details)
}
