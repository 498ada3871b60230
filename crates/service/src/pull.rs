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
    Digest, Entry, Error, FileEntry, Framework, Hub, HubDigest, HubFile, HubSource, Job, JobKind, ModelId, ModelName,
    ModelType, Progress, ProgressUnit, Record, Result, Status, Version,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{JobRequest, RegisterRequest, Service};
use download::{Download, git_blob};

/// The most files of a pull: each is an open upload until all are there.
const MOST_FILES: usize = 200;

/// A repository that is to be fetched and registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullJob {
    /// The repository, and which state of it; by default its branch `main`.
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

    /// Returns whether a record is what the request says of the version.
    fn fits(&self, record: &Record) -> bool {
        let metadata = record.metadata();
        self.version.as_ref().is_none_or(|version| *version == record.version)
            && self.model_type.as_ref().is_none_or(|claimed| *claimed == record.model_type)
            && self.framework.as_ref().is_none_or(|claimed| *claimed == record.framework)
            && self.metadata.iter().all(|(name, value)| metadata.get(name) == Some(value))
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
    /// [`Error::Invalid`] for a pattern of nothing and for a name that gives no id. Whether the repository exists, and whether a label is
    /// taken by something else, is found out by the job.
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
        let snapshot = self.hub()?.snapshot(&request.source, progress)?;
        let files = selection::select(&snapshot, &request.include)?;
        if files.len() > MOST_FILES {
            return Err(Error::TooLarge {
                what: format!("what is pulled of {}", snapshot.pinned),
                size: format!("{} files", files.len()),
                limit: format!("{MOST_FILES} files; `include` chooses fewer"),
            });
        }
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

    /// Returns the version that the same files became: it names the same commit, has the bytes that the hub names, and is what the request
    /// says of it.
    fn pulled_before(&self, request: &PullJob, pinned: &str, files: &[HubFile]) -> Result<Option<Entry>> {
        let versions = match self.store.versions(&request.base) {
            Err(Error::NotFound { .. }) => return Ok(None),
            versions => versions?,
        };
        for entry in versions {
            let source = entry.record.fields.get("pretrained_source").and_then(Value::as_str);
            if source == Some(pinned) && request.fits(&entry.record) && self.has_bytes(&entry.record, files)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// A record may come from elsewhere, so what it says of its source proves nothing.
    fn has_bytes(&self, record: &Record, files: &[HubFile]) -> Result<bool> {
        let Some(manifest) = record.manifest()? else { return Ok(false) };
        let has: BTreeMap<&str, &FileEntry> = manifest.files().iter().map(|file| (file.path.as_str(), file)).collect();
        if has.len() != files.len() {
            return Ok(false);
        }
        for file in files {
            let Some(stored) = has.get(file.path.as_str()) else { return Ok(false) };
            let is_same = match &file.digest {
                HubDigest::Sha256(digest) => stored.digest == *digest,
                HubDigest::GitBlob(sum) => {
                    git_blob(&self.artifacts.local_path(&stored.digest)?, stored.size_bytes)? == *sum
                }
            };
            if !is_same {
                return Ok(false);
            }
        }
        Ok(true)
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
