//! The record of an imported version: history stays as the source says, what can be computed is computed from the bytes, and
//! what nobody here can check is a claim.

use std::collections::HashSet;

use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::{Error, Framework, ModelType, Record, Result, Status};
use serde_json::{Map, Value};

use super::plan::Planned;
use crate::Service;
use crate::register::{Findings, RegisterRequest, check_words};

/// Fields that say what this registry computed or does itself.
const OF_THIS_REGISTRY: [&str; 7] =
    ["model_format", "inspected", "claims", "aliases", "trials", "deleted_at", "metadata"];

/// Fields that describe files, for a version that has none.
const OF_FILES: [&str; 3] = ["digest", "files", "size_bytes"];

impl Service {
    /// Reads the files as a registration does, and makes the record say what they say. Returns what was changed that the
    /// source said otherwise.
    ///
    /// # Errors
    /// [`Error::Contradiction`] between the record and its files, [`Error::Malformed`] files.
    pub(super) fn settle_import(&self, planned: &mut Planned, files: &LocalFiles, actor: &str) -> Result<Vec<String>> {
        let request = as_request(planned, actor);
        check_words(&request)?;
        let manifest = planned.record.manifest()?;
        if manifest.as_ref().is_some_and(|manifest| manifest.size_bytes() == 0) {
            return Err(Error::malformed(format!("the files of `{}`", planned.record.model_id), "all are empty"));
        }
        let findings = self.examine(&request, files)?;
        let claims = claims(&planned.record, &findings);
        let record = &mut planned.record;
        let notes = settle_status(record, &findings);
        record.model_type = findings.model_type.clone();
        record.framework = findings.framework.clone();
        match manifest {
            Some(manifest) => record.set_files(&manifest),
            None => OF_FILES.iter().for_each(|field| drop(record.fields.shift_remove(*field))),
        }
        set_computed(&mut record.fields, findings, claims);
        record.check_storable()?;
        Ok(notes)
    }
}

/// Everything that the record says about its files is a claim until they are read.
fn as_request(planned: &Planned, actor: &str) -> RegisterRequest {
    let record = &planned.record;
    let mut request = RegisterRequest::new(planned.base.clone(), actor);
    request.model_id = Some(record.model_id.clone());
    request.model_type = (record.model_type != ModelType::Other("unknown".into())).then(|| record.model_type.clone());
    request.framework = (record.framework != Framework::Unknown).then(|| record.framework.clone());
    request.metadata = record.metadata();
    request
}

/// Writes computed fields where the source had them, so that an import is exported again as it came.
fn set_computed(fields: &mut Map<String, Value>, findings: Findings, claims: Vec<String>) {
    let mut computed = Map::new();
    computed.insert("metadata".into(), findings.metadata.into());
    if let Some(inspection) = findings.inspection {
        computed.insert("model_format".into(), inspection.framework.as_str().into());
        computed.insert("inspected".into(), inspection.to_field(findings.not_servable_because.as_deref()));
    }
    if !claims.is_empty() {
        computed.insert("claims".into(), claims.into());
    }
    for field in OF_THIS_REGISTRY {
        match computed.shift_remove(field) {
            Some(value) => drop(fields.insert(field.into(), value)),
            None => drop(fields.shift_remove(field)),
        }
    }
}

/// What the bytes did not settle, where the source says that it has them from, what the source itself only claimed, and figures without a receipt; in the order of the
/// source where it said so, too.
fn claims(record: &Record, findings: &Findings) -> Vec<String> {
    let has_files = record.digest().is_some();
    let is_settled = |path: &str| match path {
        "type" | "framework" => true,
        "hash" | "file_path" => has_files,
        path => path.starts_with("metadata."),
    };
    let mut ours = findings.claims.clone();
    if !has_files {
        let about_files = ["hash", "file_path"].into_iter().filter(|field| record.fields.contains_key(*field));
        ours.extend(about_files.map(str::to_owned));
    }
    let of_source = ["is_pretrained", "pretrained_source"].into_iter();
    let is_said = |field: &&str| record.fields.get(*field).is_some_and(|value| !value.is_null() && *value != false);
    ours.extend(of_source.filter(is_said).map(str::to_owned));
    ours.extend(figures_without_receipt(record));
    let (claimed, unsaid): (HashSet<&str>, _) = (record.claims().into_iter().collect(), ours.iter());
    let new = unsaid.filter(|path| !claimed.contains(path.as_str()));
    let kept = record.claims().into_iter().filter(|path| !is_settled(path) || ours.iter().any(|own| own == path));
    kept.map(str::to_owned).chain(new.cloned()).collect()
}

fn figures_without_receipt(record: &Record) -> Vec<String> {
    let receipts = record.fields.get("receipts").and_then(Value::as_array);
    if receipts.is_some_and(|receipts| !receipts.is_empty()) {
        return Vec::new();
    }
    let metrics = record.fields.get("metrics").and_then(Value::as_object);
    let names = metrics.into_iter().flat_map(|metrics| metrics.keys().map(|name| format!("metrics.{name}")));
    let accuracy = record.fields.get("accuracy").filter(|value| !value.is_null());
    names.chain(accuracy.map(|_| "accuracy".to_owned())).collect()
}

/// `ready` means that a version can be served here, and no job of another registry works on it here.
fn settle_status(record: &mut Record, findings: &Findings) -> Vec<String> {
    let (from, to, reason) = match (record.status, &findings.not_servable_because) {
        (Status::Ready, Some(reason)) => (Status::Ready, Status::Registered, reason.clone()),
        (Status::Training, _) => (Status::Training, Status::Stopped, "the job runs in the other registry".to_owned()),
        _ => return Vec::new(),
    };
    record.status = to;
    vec![format!("was `{from}` and is `{to}`: {reason}")]
}
