//! Pulling: one state of a hub's repository becomes a version.
//!
//! ```text
//! revision ──> commit and its files ──> selection ──> download (resumed, verified) ──> register
//! ```
//!
//! The record names the commit, so that it says what was pulled whatever becomes of a branch.

mod download;
mod selection;

use std::collections::BTreeMap;
use std::sync::Arc;

use seedhouse_core::{
    Digest, Entry, Error, Framework, Hub, HubFile, HubSource, Job, JobKind, ModelId, ModelName, ModelType, Progress,
    ProgressUnit, Result, Status, Version,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{JobRequest, RegisterRequest, Service};
use download::Download;

/// A repository that is to be fetched and registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullJob {
    /// The repository, and which state of it; by default the hub's default branch.
    pub source: HubSource,
    /// The model that the version will belong to.
    pub base: ModelName,
    /// The label; by default the next one.
    #[serde(default)]
    pub version: Option<Version>,
    /// The name for people; by default the base name.
    #[serde(default)]
    pub name: Option<String>,
    /// What the model is for; a claim that contradicts the files is refused.
    #[serde(default)]
    pub model_type: Option<ModelType>,
    /// What it was made with; a claim that contradicts the files is refused.
    #[serde(default)]
    pub framework: Option<Framework>,
    /// Hyper-parameters; each is checked against the files where they say something about it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Patterns of the files that are fetched, `*` for any characters and `?` for one; without any, what one format needs.
    #[serde(default)]
    pub include: Vec<String>,
    /// Who asks.
    pub actor: String,
}

/// What was pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullReport {
    /// The version.
    pub model_id: ModelId,
    /// The hub, the repository and the commit.
    pub source: String,
    /// Names its bytes.
    pub digest: Option<Digest>,
    /// Where it stands.
    pub status: Status,
    /// What the files are.
    pub framework: Framework,
    /// How many files it has.
    pub files: usize,
    /// Their sizes together.
    pub size_bytes: u64,
    /// How many bytes came from the hub; the others were here.
    pub downloaded_bytes: u64,
    /// Whether the version was there before.
    pub already_present: bool,
    /// Why inference cannot be asked of it.
    pub not_servable_because: Option<String>,
}

impl JobRequest for PullJob {
    const KIND: JobKind = JobKind::Pull;
}

impl PullJob {
    /// Returns a request that leaves everything to the repository.
    pub fn new(source: HubSource, base: ModelName, actor: impl Into<String>) -> PullJob {
        PullJob {
            source,
            base,
            version: None,
            name: None,
            model_type: None,
            framework: None,
            metadata: Map::new(),
            include: Vec::new(),
            actor: actor.into(),
        }
    }

    fn registration(&self, pinned: Option<String>) -> RegisterRequest {
        RegisterRequest {
            version: self.version.clone(),
            name: self.name.clone(),
            model_type: self.model_type.clone(),
            framework: self.framework.clone(),
            metadata: self.metadata.clone(),
            pretrained_source: pinned,
            ..RegisterRequest::new(self.base.clone(), self.actor.clone())
        }
    }
}

impl Service {
    /// Gives the service a hub from which it pulls.
    #[must_use]
    pub fn with_hub(mut self, hub: Arc<dyn Hub>) -> Service {
        self.hub = Some(hub);
        self
    }

    /// Asks for a pull as a job.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for a label that is taken; [`Error::Invalid`] for a pattern of nothing. Whether the repository exists is found
    /// out by the job.
    pub fn submit_pull(&self, request: &PullJob) -> Result<Job> {
        self.hub()?;
        selection::check_patterns(&request.include)?;
        // A label that is taken may be the answer to the same pull.
        if request.version.is_none() {
            self.check_free(&request.registration(None))?;
        }
        self.submit(request, &request.actor)
    }

    /// Fetches a repository and registers it. What is here already is not fetched; after an interruption it goes on where it was.
    ///
    /// # Errors
    /// Those of [`Hub`]; [`Error::CorruptTransfer`] for bytes that are not what the hub names; [`Error::Invalid`] when it is not clear which
    /// files are wanted; those of [`register`](Service::register).
    pub(crate) fn pull(&self, request: &PullJob, progress: &dyn Progress) -> Result<PullReport> {
        progress.stage("asking the hub", None, ProgressUnit::Items);
        let snapshot = self.hub()?.snapshot(&request.source)?;
        let files = selection::select(&snapshot, &request.include)?;
        if let Some(there) = self.pulled_before(request, &snapshot.pinned, &files)? {
            return report(&there, &snapshot.pinned, 0, true);
        }
        let registration = request.registration(Some(snapshot.pinned.clone()));
        self.check_free(&registration)?;
        let download = Download::new(self, &snapshot, progress)?;
        let (received, downloaded) = download.all(&files)?;
        progress.stage("reading the files", None, ProgressUnit::Items);
        let entry = self.register(registration, received)?;
        download.forget();
        report(&entry, &snapshot.pinned, downloaded, false)
    }

    fn hub(&self) -> Result<&dyn Hub> {
        let none = || Error::unsupported("pulling", "the service was put together without a hub");
        self.hub.as_deref().ok_or_else(none)
    }

    /// Returns the version that the same files of the same commit became. The commit names their bytes.
    fn pulled_before(&self, request: &PullJob, pinned: &str, files: &[HubFile]) -> Result<Option<Entry>> {
        let versions = match self.store.versions(&request.base) {
            Err(Error::NotFound { .. }) => return Ok(None),
            versions => versions?,
        };
        let wanted: BTreeMap<&str, u64> = files.iter().map(|file| (file.path.as_str(), file.size_bytes)).collect();
        for entry in versions {
            if entry.record.fields.get("pretrained_source").and_then(Value::as_str) != Some(pinned) {
                continue;
            }
            let Some(manifest) = entry.record.manifest()? else { continue };
            let has: BTreeMap<&str, u64> =
                manifest.files().iter().map(|file| (file.path.as_str(), file.size_bytes)).collect();
            let label_fits = request.version.as_ref().is_none_or(|version| *version == entry.record.version);
            if has == wanted && label_fits {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

fn report(entry: &Entry, pinned: &str, downloaded_bytes: u64, already_present: bool) -> Result<PullReport> {
    let manifest = entry.record.manifest()?;
    let reason = entry.record.fields.get("inspected").and_then(|inspected| inspected.get("not_servable_because"));
    Ok(PullReport {
        model_id: entry.record.model_id.clone(),
        source: pinned.to_owned(),
        digest: manifest.as_ref().map(seedhouse_core::Manifest::digest),
        status: entry.record.status,
        framework: entry.record.framework.clone(),
        files: manifest.as_ref().map_or(0, |manifest| manifest.files().len()),
        size_bytes: manifest.as_ref().map_or(0, seedhouse_core::Manifest::size_bytes),
        downloaded_bytes,
        already_present,
        not_servable_because: reason.and_then(Value::as_str).map(str::to_owned),
    })
}
