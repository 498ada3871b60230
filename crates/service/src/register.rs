//! Registering a version: receive the bytes, read their headers, check the claims, then one change.
//!
//! The order makes a crash harmless. Bytes become part of the artifact store only after everything that can be refused
//! was refused, and the record is written after the bytes: a blob without a record may be left by a crash, a record
//! without a blob cannot.

use std::io::Read;

use seedhouse_core::dataset::{DATASET_TYPE, DatasetDescription};
use seedhouse_core::runtime::{Inspection, LoadOptions, LocalFile, LocalFiles};
use seedhouse_core::{
    Action, Change, Entry, Error, FileEntry, Framework, HoldKind, Kind, Manifest, ManifestPath, ModelId, ModelName,
    ModelType, Reference, Registration, Relation, Result, Selector, StagedArtifact, Status, UploadClaim, Version,
    VisitOrder, check_depth, check_hyper_parameters,
};
use seedhouse_engine::LoadRequest;
use serde_json::{Map, Value, json};

use crate::Service;
use crate::card::card_among;
use crate::learning::DECLARATION;

/// A version as the user describes it. What is left out is read from the files or settled by the registry.
#[derive(Debug, Clone)]
pub struct RegisterRequest {
    /// The model it belongs to.
    pub base: ModelName,
    /// The label; by default the next one.
    pub version: Option<Version>,
    /// The id; by default `<base>_v<version>`.
    pub model_id: Option<ModelId>,
    /// The name for people; by default the base name.
    pub name: Option<String>,
    /// What the model is for; a claim that contradicts the file is refused.
    pub model_type: Option<ModelType>,
    /// What it was made with; a claim that contradicts the file is refused.
    pub framework: Option<Framework>,
    /// The first status; by default `ready` if a runtime can load the files, else `registered`.
    pub status: Option<Status>,
    /// A text for people.
    pub description: Option<String>,
    /// Hyper-parameters; each is checked against the file where the file says something about it.
    pub metadata: Map<String, Value>,
    /// What it was made from.
    pub parent: Option<Parent>,
    /// The hub, repository and commit that the files were fetched from, and held against.
    pub(crate) pretrained_source: Option<String>,
    /// A word chosen by the caller: registering again with the same word returns the version made the first time.
    pub idempotency_key: Option<String>,
    /// Who asks.
    pub actor: String,
}

impl RegisterRequest {
    /// Returns a request that leaves everything to the files.
    pub fn new(base: ModelName, actor: impl Into<String>) -> RegisterRequest {
        RegisterRequest {
            base,
            version: None,
            model_id: None,
            name: None,
            model_type: None,
            framework: None,
            status: None,
            description: None,
            metadata: Map::new(),
            parent: None,
            pretrained_source: None,
            idempotency_key: None,
            actor: actor.into(),
        }
    }
}

/// What a version was made from, as its maker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// A version of the registry.
    pub reference: Reference,
    /// How it was made from that one.
    pub relation: Relation,
}

/// A file that was received, hashed, and is not part of the registry yet. Dropping it removes the bytes.
pub struct Received {
    pub(crate) path: ManifestPath,
    pub(crate) staged: Box<dyn StagedArtifact>,
    /// The upload in parts that it was, which goes when the version stands.
    pub(crate) upload: Option<Box<dyn UploadClaim>>,
}

/// What is known about a version before it is registered.
pub(crate) struct Findings {
    pub(crate) model_type: ModelType,
    pub(crate) framework: Framework,
    pub(crate) metadata: Map<String, Value>,
    /// Paths of record fields that nobody computed.
    pub(crate) claims: Vec<String>,
    pub(crate) inspection: Option<Inspection>,
    /// Why inference cannot be asked of it.
    pub(crate) not_servable_because: Option<String>,
    /// What was counted, for a dataset.
    pub(crate) dataset: Option<DatasetDescription>,
}

impl Service {
    /// Takes in the bytes of one file in a single pass.
    ///
    /// # Errors
    /// [`Error::BrokenUpload`] when the reader fails, [`Error::Io`] when the disk does.
    pub fn receive(&self, path: ManifestPath, bytes: &mut dyn Read) -> Result<Received> {
        let staged = self.artifacts.stage(path.as_str(), bytes)?;
        Ok(Received { path, staged, upload: None })
    }

    /// Refuses a request whose name is taken, before any bytes are sent.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] saying since when.
    pub fn check_free(&self, request: &RegisterRequest) -> Result<()> {
        if request.idempotency_key.is_some() {
            // A name that is taken may be the answer to the same request sent before.
            return Ok(());
        }
        // What the next version would be called must be a possible id, whichever number it gets.
        ModelId::of_version(&request.base, &Version::Integer(1))?;
        if let Some(version) = &request.version {
            let reference = Reference { name: request.base.clone(), selector: Selector::Label(version.clone()) };
            self.refuse_existing(&reference, Kind::Version, |_| true)?;
        }
        let model_id = match (&request.model_id, &request.version) {
            (Some(model_id), _) => Some(model_id.clone()),
            (None, Some(version)) => Some(ModelId::of_version(&request.base, version)?),
            (None, None) => None,
        };
        if let Some(model_id) = model_id {
            let reference = Reference { name: model_id.as_str().parse()?, selector: Selector::Newest };
            self.refuse_existing(&reference, Kind::ModelId, |entry| entry.record.model_id == model_id)?;
        }
        Ok(())
    }

    /// Refuses a name that is taken already.
    pub(crate) fn refuse_existing(
        &self,
        reference: &Reference,
        kind: Kind,
        is_it: impl Fn(&Entry) -> bool,
    ) -> Result<()> {
        match self.store.version(reference) {
            Ok(entry) if is_it(&entry) => {
                Err(Error::AlreadyExists { kind, name: reference.to_string(), since: entry.record.created_at })
            }
            Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Registers a version with the files received, or without files as a record of claims.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`], [`Error::Contradiction`] between a claim and the file, [`Error::Malformed`] files,
    /// [`Error::Invalid`] fields. After an error nothing is registered. Nothing is stored either, unless another
    /// registration took the name in the last moment: then bytes that no version names are left for a collection.
    pub fn register(&self, request: RegisterRequest, files: Vec<Received>) -> Result<Entry> {
        self.check_free(&request)?;
        let manifest = manifest_of(&files)?;
        let (actor, registration) = self.registration(request, manifest, &local_files(&files))?;
        // Until the record stands, its bytes would look like garbage to a collection.
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        let mut uploads = Vec::new();
        for file in files {
            self.artifacts.publish(file.staged)?;
            uploads.extend(file.upload);
        }
        let entry = self.apply_registration(actor, registration)?;
        uploads.into_iter().for_each(forget);
        Ok(entry)
    }

    /// Reads the files and checks everything that was said; returns who asks, and what is to be registered.
    pub(crate) fn registration(
        &self,
        request: RegisterRequest,
        manifest: Option<Manifest>,
        files: &LocalFiles,
    ) -> Result<(String, Registration)> {
        check_words(&request)?;
        let findings = self.examine(&request, files)?;
        let status = first_status(&request, &findings)?;
        let mut fields = record_fields(&request, &findings);
        fields.extend(card_among(files)?.map(|card| card.fields()).unwrap_or_default());
        if let Some(parent) = &request.parent {
            self.name_parent(parent, &mut fields)?;
        }
        let registration = Registration {
            base: request.base,
            version: request.version,
            model_id: request.model_id,
            name: request.name,
            model_type: findings.model_type,
            framework: findings.framework,
            status,
            manifest,
            fields,
            idempotency_key: request.idempotency_key,
        };
        Ok((request.actor, registration))
    }

    /// Makes the record and names its files.
    pub(crate) fn apply_registration(&self, actor: String, registration: Registration) -> Result<Entry> {
        let manifest = registration.manifest.clone();
        let action = Action::Register(Box::new(registration));
        let applied = self.store.apply(Change { at: self.clock.now(), actor, reason: None, action })?;
        if let Some(manifest) = &manifest {
            self.link(&applied.entry, manifest);
        }
        Ok(applied.entry)
    }

    /// Gives every version's files their conventional name again, where a crash or a hand removed it.
    ///
    /// # Errors
    /// Those of the metadata store; a name that cannot be given is logged and does not stop the others.
    pub fn mend_links(&self) -> Result<()> {
        self.store.visit_shown(&[VisitOrder::Registration], &mut |_, entry| {
            if let Some(manifest) = entry.record.manifest()? {
                self.link(&entry, &manifest);
            }
            Ok(())
        })
    }

    /// The version is registered whether or not its conventional name can be given, so a failure is logged, not returned.
    pub(crate) fn link(&self, entry: &Entry, manifest: &Manifest) {
        if let Err(error) = self.artifacts.link(&entry.record, manifest) {
            let model_id = entry.record.model_id.as_str();
            tracing::error!(model.id = model_id, error = &error as &dyn std::error::Error, "cannot name the files");
        }
    }

    /// Reads the files' headers, checks what the request claims against them, and loads once what can be loaded.
    pub(crate) fn examine(&self, request: &RegisterRequest, files: &LocalFiles) -> Result<Findings> {
        if request.model_type.as_ref().is_some_and(|model_type| model_type.as_str() == DATASET_TYPE) {
            return self.examine_dataset(request, files);
        }
        let inspection = match files.0.is_empty() {
            true => None,
            false => self.engine.inspect(files)?,
        };
        match inspection {
            Some(inspection) => {
                let mut findings = inspected(request, inspection, files)?;
                if findings.not_servable_because.is_none() {
                    findings.not_servable_because = self.try_to_serve(request, &findings, files)?;
                }
                Ok(findings)
            }
            None => self.claimed_only(request, files),
        }
    }

    /// Reads and counts the examples of a dataset. What is declared about them is how they are read, so it is no claim.
    fn examine_dataset(&self, request: &RegisterRequest, files: &LocalFiles) -> Result<Findings> {
        if files.0.is_empty() {
            return Err(Error::invalid("files", "none", "a dataset is its files"));
        }
        let description = self.describe_dataset(files, &request.metadata)?;
        let claims = request.metadata.keys().filter(|name| *name != DECLARATION);
        Ok(Findings {
            model_type: ModelType::Other(DATASET_TYPE.to_owned()),
            framework: request.framework.clone().unwrap_or(Framework::Unknown),
            metadata: request.metadata.clone(),
            claims: claims.map(|name| format!("metadata.{name}")).collect(),
            inspection: None,
            not_servable_because: Some("it is a dataset".into()),
            dataset: Some(description),
        })
    }

    /// Loads the version once, because nothing less proves that it can be served. Returns why it cannot, or the error of
    /// a request that describes the files wrongly.
    fn try_to_serve(
        &self,
        request: &RegisterRequest,
        findings: &Findings,
        files: &LocalFiles,
    ) -> Result<Option<String>> {
        let load = LoadRequest {
            model_id: request.model_id.as_ref().map_or_else(|| request.base.to_string(), ToString::to_string),
            digest: None,
            files: files.clone(),
            options: LoadOptions { metadata: findings.metadata.clone() },
        };
        match self.engine.try_out(&load, |_| Ok(())) {
            Ok(()) => Ok(None),
            Err(Error::WrongTask { reason, .. }) => Ok(Some(reason)),
            Err(error @ Error::Unsupported { .. }) => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }

    fn claimed_only(&self, request: &RegisterRequest, files: &LocalFiles) -> Result<Findings> {
        if let (Some(claimed), Some(file)) = (&request.framework, files.0.first())
            && self.engine.recognises(claimed)
        {
            return Err(Error::Contradiction {
                field: "framework".into(),
                claimed: format!("`{claimed}`"),
                found: "nothing of that format".into(),
                file: format!("file `{}`", file.path),
            });
        }
        Ok(claims_of(request, files))
    }
}

/// The version is registered whether or not its upload can be removed; a day later it is swept.
fn forget(upload: Box<dyn UploadClaim>) {
    if let Err(error) = upload.remove() {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot remove an upload that became a version");
    }
}

/// Words of the user that are kept as they are.
pub(crate) fn check_words(request: &RegisterRequest) -> Result<()> {
    let words = [
        ("type", request.model_type.as_ref().map(ModelType::as_str)),
        ("framework", request.framework.as_ref().map(Framework::as_str)),
    ];
    for (field, word) in words {
        if let Some(word) =
            word.filter(|word| word.trim().is_empty() || word.len() > 64 || word.contains(char::is_control))
        {
            return Err(Error::invalid(
                field,
                word.escape_debug(),
                "must have 1 to 64 bytes and no control characters",
            ));
        }
    }
    check_depth("metadata", &Value::Object(request.metadata.clone()))
}

pub(crate) fn manifest_of(files: &[Received]) -> Result<Option<Manifest>> {
    if files.is_empty() {
        return Ok(None);
    }
    let entry = |file: &Received| FileEntry {
        path: file.path.clone(),
        size_bytes: file.staged.size_bytes(),
        digest: file.staged.digest(),
    };
    let manifest = Manifest::new(files.iter().map(entry).collect())?;
    if manifest.size_bytes() == 0 {
        return Err(Error::malformed(format!("file `{}`", files[0].path), "it is empty (0 bytes)"));
    }
    Ok(Some(manifest))
}

pub(crate) fn local_files(files: &[Received]) -> LocalFiles {
    let local = |file: &Received| LocalFile {
        path: file.path.clone(),
        local: file.staged.path().to_owned(),
        digest: file.staged.digest(),
    };
    LocalFiles(files.iter().map(local).collect())
}

fn inspected(request: &RegisterRequest, inspection: Inspection, files: &LocalFiles) -> Result<Findings> {
    let file = files.0.first().map_or_else(String::new, |file| format!("file `{}`", file.path));
    let contradiction = |field: &str, claimed: &str, found: &str| Error::Contradiction {
        field: field.to_owned(),
        claimed: format!("`{claimed}`"),
        found: format!("`{found}`"),
        file: file.clone(),
    };
    if let Some(claimed) = request.framework.as_ref().filter(|claimed| **claimed != inspection.framework) {
        return Err(contradiction("framework", claimed.as_str(), inspection.framework.as_str()));
    }
    let family_is_known = inspection.architecture.is_some();
    let mut claims = Vec::new();
    let model_type = match &request.model_type {
        Some(claimed) if family_is_known && *claimed != inspection.model_type => {
            return Err(contradiction("type", claimed.as_str(), inspection.model_type.as_str()));
        }
        Some(claimed) if !family_is_known => {
            claims.push("type".to_owned());
            claimed.clone()
        }
        _ => inspection.model_type.clone(),
    };
    // What the header says beside hyper-parameters stands in `inspected`; a claim about it may not contradict it either.
    let header = json!({
        "architecture": inspection.architecture,
        "tensor_count": inspection.tensor_count,
        "parameter_count": inspection.parameter_count,
    });
    let header: Map<String, Value> = header.as_object().cloned().unwrap_or_default();
    let (about_header, claimed) = split(&request.metadata, &header);
    check_hyper_parameters(&about_header, &header, &file)?;
    let checked = check_hyper_parameters(&claimed, &inspection.hyper_parameters, &file)?;
    claims.extend(checked.unverified.iter().map(|name| format!("metadata.{name}")));
    Ok(Findings {
        model_type,
        framework: inspection.framework.clone(),
        metadata: checked.metadata,
        claims,
        not_servable_because: inspection.not_servable_because.clone(),
        inspection: Some(inspection),
        dataset: None,
    })
}

/// Splits claims into those about the names in `known` and the others.
fn split(claims: &Map<String, Value>, known: &Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    claims.clone().into_iter().partition(|(name, _)| known.contains_key(name))
}

fn claims_of(request: &RegisterRequest, files: &LocalFiles) -> Findings {
    let mut claims: Vec<String> = request.metadata.keys().map(|name| format!("metadata.{name}")).collect();
    claims.extend(request.model_type.as_ref().map(|_| "type".to_owned()));
    claims.extend(request.framework.as_ref().map(|_| "framework".to_owned()));
    let reason = match files.0.is_empty() {
        true => "the version has no files",
        false => "no runtime recognises the format of its files",
    };
    Findings {
        model_type: request.model_type.clone().unwrap_or_else(|| ModelType::Other("unknown".into())),
        framework: request.framework.clone().unwrap_or(Framework::Unknown),
        metadata: request.metadata.clone(),
        claims,
        inspection: None,
        not_servable_because: Some(reason.into()),
        dataset: None,
    }
}

fn first_status(request: &RegisterRequest, findings: &Findings) -> Result<Status> {
    match (request.status, &findings.not_servable_because) {
        (None, None) => Ok(Status::Ready),
        (None, Some(_)) => Ok(Status::Registered),
        (Some(status @ (Status::Training | Status::Trained | Status::Quantized | Status::Failed)), _) => {
            Err(Error::invalid("status", status, "is set by the job that leads to it, not at registration"))
        }
        (Some(status), Some(reason)) if status.is_servable() => Err(Error::invalid(
            "status",
            status,
            format!("{reason}, so it cannot be served; leave the status out or register it as `registered`"),
        )),
        (Some(status), _) => Ok(status),
    }
}

fn record_fields(request: &RegisterRequest, findings: &Findings) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(description) = &request.description {
        fields.insert("description".into(), description.clone().into());
    }
    if let Some(source) = &request.pretrained_source {
        fields.insert("is_pretrained".into(), true.into());
        fields.insert("pretrained_source".into(), source.clone().into());
    }
    fields.insert("metadata".into(), Value::Object(findings.metadata.clone()));
    if let Some(inspection) = &findings.inspection {
        fields.insert("model_format".into(), inspection.framework.as_str().into());
        let reason = findings.not_servable_because.as_deref();
        fields.insert("inspected".into(), inspection.to_field(reason));
    }
    if let Some(dataset) = &findings.dataset {
        fields.insert("dataset".into(), json!(dataset));
    }
    if !findings.claims.is_empty() {
        fields.insert("claims".into(), findings.claims.clone().into());
    }
    fields
}
