//! A version with fewer bits: written, loaded, measured beside the one it was made from, and registered only if it is good enough.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Instant;

use seedhouse_core::dataset::SplitPart;
use seedhouse_core::runtime::{LoadOptions, LocalFiles};
use seedhouse_core::training::ProducedFile;
use seedhouse_core::{
    Action, Change, Digest, Edit, Entry, Error, HoldKind, Job, JobKind, Kind, Manifest, ModelId, Progress,
    QuantizationType, QuantizeTask, Receipt, ReceiptKind, Reference, Registration, Relation, Result, Selector, Status,
    Update,
};
use seedhouse_engine::{LoadRequest, SlotOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::compare::{Compared, Speedup, compare, time_both};
use super::evaluate::{DROP, held_out, of_the_record, with_details};
use super::measure::Examples;
use super::receipts::{ReceiptOf, json_of, measured_on, required_manifest};
use crate::jobs::JobRequest;
use crate::register::{local_files, manifest_of};
use crate::{Received, Service};

/// A quantisation that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantiseJob {
    /// The version that it is made from.
    pub model: Reference,
    /// How weights are kept.
    pub quantization_type: QuantizationType,
    /// What it is measured on. Without a dataset nothing is known of what is lost, and the record says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Reference>,
    /// The part of the dataset.
    #[serde(default = "held_out")]
    pub part: SplitPart,
    /// At most so many examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The greatest loss that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_drop: Option<f64>,
    /// Who asks.
    #[serde(default)]
    pub actor: String,
}

impl JobRequest for QuantiseJob {
    const KIND: JobKind = JobKind::Quantize;
}

/// What came out of quantising.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuantisationReport {
    /// The new version.
    pub model_id: ModelId,
    /// The digest of its manifest.
    pub digest: Digest,
    /// As in its record: `enabled, type, original_model_id, compression_ratio, accuracy_drop, inference_speedup`.
    pub quantization: Value,
    /// Tensors that are kept at the new precision.
    pub quantized_tensors: u64,
    /// Tensors that are kept as they were.
    pub kept_tensors: u64,
    /// What was measured, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// Figures that are about the version, whatever it was measured on.
const OF_THE_VERSION: [&str; 2] = ["compression_ratio", "inference_speedup"];

/// What was measured of a version before it is registered.
struct Findings {
    compared: Option<Compared>,
    speedup: Option<Speedup>,
}

impl Service {
    /// Asks for a quantisation as a job.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::AlreadyExists`] when the version was quantised like this before; [`Error::Invalid`] for a limit without a
    /// dataset on which it could be measured.
    pub fn submit_quantisation(&self, request: &QuantiseJob) -> Result<Job> {
        self.check_quantisation(request)?;
        self.submit(request, &request.actor)
    }

    fn check_quantisation(&self, request: &QuantiseJob) -> Result<(Entry, ModelId, Option<Entry>)> {
        let entry = self.store.version(&request.model)?;
        entry.record.check_servable("quantising")?;
        if let Some(quantisation) = entry.record.fields.get("quantization").filter(|value| value.is_object()) {
            let kind = quantisation.get("type").and_then(Value::as_str).unwrap_or("fewer bits");
            let what = format!("quantising `{}`", entry.record.model_id);
            let parent = entry.record.fields.get("parent").and_then(Value::as_str);
            let from = parent.map_or_else(String::new, |parent| format!("; name `{parent}`, from which it was made"));
            return Err(Error::unsupported(what, format!("it is quantised already, to {kind}{from}")));
        }
        if let Some(limit) = request.max_drop {
            if !limit.is_finite() {
                return Err(Error::invalid("max_drop", limit, "must be a finite number"));
            }
            if request.dataset.is_none() {
                return Err(Error::invalid("max_drop", limit, "needs a dataset on which the loss is measured"));
            }
        }
        let dataset = request.dataset.as_ref().map(|dataset| self.dataset(dataset)).transpose()?;
        let model_id = quantised_id(&entry, request.quantization_type)?;
        let reference = Reference { name: model_id.as_str().parse()?, selector: Selector::Newest };
        self.refuse_existing(&reference, Kind::ModelId, |entry| entry.record.model_id == model_id)?;
        Ok((entry, model_id, dataset))
    }

    /// Makes a version with fewer bits. Nothing is registered when it loses more than is accepted.
    ///
    /// # Errors
    /// As [`submit_quantisation`](Service::submit_quantisation); [`Error::Unsupported`] for what cannot be quantised;
    /// [`Error::BeyondLimit`] with the loss; [`Error::Cancelled`].
    pub fn quantise(&self, request: &QuantiseJob, progress: &dyn Progress) -> Result<QuantisationReport> {
        let (entry, model_id, dataset) = self.check_quantisation(request)?;
        let (began, started) = (self.clock.now(), Instant::now());
        let manifest = required_manifest(&entry)?;
        let files = self.intact_files(&entry)?;
        let metadata = entry.record.metadata();
        let (made, received) = {
            let folder = self.scratch_folder()?;
            let task = QuantizeTask {
                files: &files,
                metadata: &metadata,
                precision: request.quantization_type,
                folder: folder.path(),
            };
            let made = self.learning()?.quantizer.quantize(&task, progress)?;
            let received = self.receive_all(&made.files)?;
            (made, received)
        };
        let local = local_files(&received);
        let found = self.examine_quantised(&entry, &model_id, &local, dataset.as_ref(), request, progress)?;
        if let (Some(limit), Some((_, drop))) = (request.max_drop, found.compared.as_ref().and_then(Compared::drop))
            && drop > limit
        {
            let what = format!("what `{}` loses as {}", entry.record.model_id, request.quantization_type);
            return Err(Error::BeyondLimit { what, measured: drop, limit });
        }
        let none = || Error::Internal("a quantiser wrote no files".into());
        let new_manifest = manifest_of(&received)?.ok_or_else(none)?;
        let ratio = new_manifest.size_bytes() as f64 / manifest.size_bytes() as f64;
        let (metrics, details) = figures(&found, ratio);
        let measured_on = match (&dataset, &found.compared) {
            (Some(dataset), Some(compared)) => {
                Some(measured_on(dataset, request.part, request.limit, compared.second.examples)?)
            }
            _ => None,
        };
        let receipt = self.receipt(ReceiptOf {
            kind: ReceiptKind::Quantization,
            digest: new_manifest.digest(),
            dataset: measured_on,
            against: Some(&entry),
            metrics: metrics.clone(),
            details,
            command: command(&entry, request, dataset.as_ref()),
            began,
            seconds: started.elapsed().as_secs_f64(),
        })?;
        let quantization = summary(&entry, request.quantization_type, ratio, &found);
        let registration = self.quantised_registration(&entry, &model_id, &new_manifest, &local, &quantization)?;
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        for file in received {
            self.artifacts.publish(file.staged)?;
        }
        self.register_measured(request.actor.clone(), registration, &model_id, &receipt)?;
        Ok(QuantisationReport {
            model_id,
            digest: new_manifest.digest(),
            quantization,
            quantized_tensors: made.quantized_tensors,
            kept_tensors: made.kept_tensors,
            metrics,
        })
    }

    /// Registers a version together with what was measured of it: both or nothing.
    fn register_measured(
        &self,
        actor: String,
        registration: Registration,
        model_id: &ModelId,
        receipt: &Receipt,
    ) -> Result<()> {
        let manifest = registration.manifest.clone();
        // How small and how fast it is was measured whatever the examples were; how good it is, only on all that are held out.
        let mut metrics = of_the_record(receipt);
        let own = receipt.metrics.iter().filter(|(name, _)| OF_THE_VERSION.contains(&name.as_str()));
        metrics.extend(own.map(|(name, value)| (name.clone(), *value)));
        let edits = vec![Edit::MeasuredMetrics { metrics, receipt: json_of(receipt)? }];
        let update = Update { model_id: model_id.clone(), expected_revision: None, edits };
        let change = |action: Action| Change { at: self.clock.now(), actor: actor.clone(), reason: None, action };
        let changes = vec![change(Action::Register(Box::new(registration))), change(Action::Update(update))];
        let applied = self.store.apply_all(changes, None)?;
        if let (Some(applied), Some(manifest)) = (applied.last(), &manifest) {
            self.link(&applied.entry, manifest);
        }
        Ok(())
    }

    /// Returns the version that was made from another with fewer bits.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn quantised_version(&self, reference: &Reference, kind: QuantizationType) -> Result<Reference> {
        let entry = self.store.version(reference)?;
        let reference: Reference = quantised_id(&entry, kind)?.as_str().parse()?;
        self.store.version(&reference).map(|_| reference)
    }

    /// Takes produced files into the artifact store, not visible yet.
    pub(crate) fn receive_all(&self, files: &[ProducedFile]) -> Result<Vec<Received>> {
        let receive = |file: &ProducedFile| {
            let mut bytes = File::open(&file.local).map_err(Error::io("read", &file.local))?;
            self.receive(file.path.clone(), &mut bytes)
        };
        files.iter().map(receive).collect()
    }

    fn examine_quantised(
        &self,
        entry: &Entry,
        model_id: &ModelId,
        files: &LocalFiles,
        dataset: Option<&Entry>,
        request: &QuantiseJob,
        progress: &dyn Progress,
    ) -> Result<Findings> {
        let load = LoadRequest {
            model_id: model_id.to_string(),
            digest: None,
            files: files.clone(),
            options: LoadOptions { metadata: entry.record.metadata() },
        };
        let Some(dataset) = dataset else {
            return self.engine.try_out(&load, |slot| {
                slot.warm_up()?;
                Ok(Findings { compared: None, speedup: None })
            });
        };
        let dataset = self.read_dataset(dataset)?;
        let examples = Examples { dataset: &dataset, part: request.part, limit: request.limit };
        let original = self.slot(entry, "quantising", SlotOptions::default())?;
        self.engine.try_out(&load, |slot| {
            let compared = compare(&original, slot, examples, progress)?;
            let speedup = time_both(&original, slot, examples, progress)?;
            Ok(Findings { compared: Some(compared), speedup: Some(speedup) })
        })
    }

    fn quantised_registration(
        &self,
        entry: &Entry,
        model_id: &ModelId,
        manifest: &Manifest,
        files: &LocalFiles,
        quantization: &Value,
    ) -> Result<Registration> {
        let inspection = self.engine.inspect(files)?;
        let inspection = inspection.ok_or_else(|| Error::Internal("a quantised model is of no known format".into()))?;
        let mut fields = Map::new();
        fields.insert("metadata".into(), Value::Object(entry.record.metadata()));
        fields.insert("model_format".into(), inspection.framework.as_str().into());
        fields.insert("inspected".into(), inspection.to_field(None));
        fields.insert("parent".into(), entry.record.model_id.to_string().into());
        fields.insert("relation".into(), Relation::Quantized.as_str().into());
        fields.insert("quantization".into(), quantization.clone());
        Ok(Registration {
            base: entry.base.clone(),
            version: None,
            model_id: Some(model_id.clone()),
            name: Some(entry.record.name.clone()),
            model_type: entry.record.model_type.clone(),
            framework: inspection.framework,
            status: Status::Quantized,
            manifest: Some(manifest.clone()),
            fields,
            idempotency_key: None,
        })
    }
}

/// Returns the id of a quantised version: `<base>_v<version>_quantized_<type>`.
fn quantised_id(entry: &Entry, kind: QuantizationType) -> Result<ModelId> {
    ModelId::of_version(&entry.base, &entry.record.version)
        .and_then(|versioned| format!("{versioned}_quantized_{kind}").parse())
}

fn figures(found: &Findings, ratio: f64) -> (BTreeMap<String, f64>, Value) {
    let mut metrics = BTreeMap::from([("compression_ratio".to_owned(), ratio)]);
    let mut details = json!({});
    if let Some(compared) = &found.compared {
        metrics.extend(compared.second.quality.clone());
        metrics.extend(compared.both.clone());
        if let Some((of, drop)) = compared.drop() {
            metrics.insert(DROP.into(), drop);
            details = with_details(details, &[("accuracy_drop_of", of.into())]);
        }
        let both = json!({ "original": compared.first.quality, "quantized": compared.second.quality });
        details = with_details(details, &[("quality", both), ("figures", compared.second.details.clone())]);
    }
    if let Some(speedup) = &found.speedup {
        metrics.insert("inference_speedup".into(), speedup.median);
        let spread = json!({ "least": speedup.least, "most": speedup.most, "of": speedup.details });
        details = with_details(details, &[("inference_speedup", spread)]);
    }
    (metrics, details)
}

/// Returns the record's field `quantization`, in the original's names. What was not measured is null.
fn summary(entry: &Entry, kind: QuantizationType, ratio: f64, found: &Findings) -> Value {
    json!({
        "enabled": true,
        "type": kind,
        "original_model_id": entry.record.model_id,
        "compression_ratio": ratio,
        "accuracy_drop": found.compared.as_ref().and_then(Compared::drop).map(|(_, drop)| drop),
        "inference_speedup": found.speedup.as_ref().map(|speedup| speedup.median),
    })
}

fn command(entry: &Entry, request: &QuantiseJob, dataset: Option<&Entry>) -> String {
    let mut command = format!("seedhouse quantize {} --type {}", entry.record.model_id, request.quantization_type);
    if let Some(dataset) = dataset {
        command.push_str(&format!(" --data {} --split {}", dataset.record.model_id, request.part));
    }
    if let Some(limit) = request.limit {
        command.push_str(&format!(" --limit {limit}"));
    }
    if let Some(limit) = request.max_drop {
        command.push_str(&format!(" --max-drop {limit}"));
    }
    command
}
