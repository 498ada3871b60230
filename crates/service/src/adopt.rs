//! Adopting other registries' metadata files: plan, look for the files they speak of, then one change per version.
//!
//! A dry run goes the same way up to the point where something would be written, so that its report is that of the run.
//! Each version is a change of its own: what an interrupted run has taken is taken, and the next run takes the rest.

use std::io::Read;

use seedhouse_core::adopt::{
    Conflict, KeptAside, NamedFile, NotChosen, Plan, Registered, Source, Taken, UnverifiedClaim, digests_of, plan,
};
use seedhouse_core::runtime::{Inspection, LoadOptions};
use seedhouse_core::{
    Action, Adoption, Digest, Entry, Error, HoldKind, Manifest, ManifestPath, ModelId, ModelName, RegistryFile, Result,
    SetAside, Status, Version,
};
use seedhouse_engine::LoadRequest;
use serde::Serialize;
use serde_json::Value;

use crate::Service;
use crate::change::Origin;
use crate::register::{Received, local_files, manifest_of};

/// Which files to adopt.
#[derive(Debug, Clone)]
pub struct AdoptRequest {
    /// Names and texts, in the order in which they were given.
    pub files: Vec<(String, String)>,
    /// Whether to write.
    pub mode: AdoptMode,
    /// Who asks.
    pub actor: String,
}

impl AdoptRequest {
    fn origin(&self) -> Origin {
        Origin { actor: self.actor.clone(), reason: None }
    }
}

/// Whether an adoption writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdoptMode {
    /// It says what it would do.
    DryRun,
    /// It does it.
    Apply,
}

/// Opens the model's file that a record of a metadata file speaks of; the first argument names the metadata file.
pub type FileFinder<'a> = dyn Fn(&str, &ManifestPath) -> Result<Option<Box<dyn Read>>> + 'a;

/// What an adoption did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct AdoptReport {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Versions taken, oldest first.
    pub taken: Vec<TakenVersion>,
    /// Statements that contradict each other.
    pub conflicts: Vec<Conflict>,
    /// Claims that could not be verified.
    pub unverified: Vec<UnverifiedClaim>,
    /// What was not chosen, and is kept in the history.
    pub set_aside: Vec<SetAsideStatement>,
    /// Versions about which the files say nothing new.
    pub already_there: Vec<ModelId>,
}

/// A version that was taken.
#[derive(Debug, Clone, Serialize)]
pub struct TakenVersion {
    /// Its id.
    pub model_id: ModelId,
    /// The model it belongs to.
    pub base: ModelName,
    /// Its label.
    pub version: Version,
    /// Its status, as the file says.
    pub status: Status,
    /// Where its record comes from.
    pub source: Source,
    /// The digest of its files; without it, the version cannot be served whatever its status says.
    pub digest: Option<Digest>,
}

/// What was not chosen.
#[derive(Debug, Clone, Serialize)]
pub struct SetAsideStatement {
    /// The version in whose history it is kept.
    pub model_id: ModelId,
    /// What it is, and why it was not chosen.
    #[serde(flatten)]
    pub not_chosen: NotChosen,
}

impl Service {
    /// Takes what metadata files say into the registry, with the files they speak of where `find` has them.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming file and entry when a metadata file cannot be read; nothing is changed then.
    /// Contradictions and unverified claims are findings, not errors.
    pub fn adopt(&self, request: &AdoptRequest, find: &FileFinder<'_>) -> Result<AdoptReport> {
        let parse = |(name, text): &(String, String)| {
            let content = RegistryFile::parse(&format!("file `{name}`"), text)?;
            Ok(NamedFile { name: name.clone(), content })
        };
        let files = request.files.iter().map(parse).collect::<Result<Vec<_>>>()?;
        let Plan { taken, set_aside, already_there } = plan(&files, &self.registered(&files)?)?;
        let mut report = AdoptReport {
            dry_run: request.mode == AdoptMode::DryRun,
            taken: Vec::new(),
            conflicts: Vec::new(),
            unverified: Vec::new(),
            set_aside: Vec::new(),
            already_there,
        };
        for version in taken {
            self.take(version, request, find, &mut report)?;
        }
        for aside in set_aside {
            self.keep_aside(aside, request, &mut report)?;
        }
        Ok(report)
    }

    /// Returns all versions, deleted ones too, with what is known about those that the files name.
    fn registered(&self, files: &[NamedFile]) -> Result<Vec<Registered>> {
        let named: std::collections::HashSet<&ModelId> = files
            .iter()
            .flat_map(|file| {
                let listed = file.content.versions.iter().flat_map(|(_, entries)| entries);
                let records = file.content.models.iter().map(|record| &record.model_id);
                records.chain(listed.map(|entry| &entry.model_id))
            })
            .collect();
        let with_history = |entry: Entry| {
            let events = match named.contains(&entry.record.model_id) {
                true => self.store.history(entry.record.model_id.as_str())?,
                false => Vec::new(),
            };
            let seen = digests_of(events.iter().map(|event| &event.happening.after));
            Ok(Registered { entry, seen })
        };
        let entries = self.store.shown()?.into_iter().chain(self.store.deleted()?);
        entries.map(with_history).collect()
    }

    fn take(
        &self,
        mut taken: Taken,
        request: &AdoptRequest,
        find: &FileFinder<'_>,
        report: &mut AdoptReport,
    ) -> Result<()> {
        let received = self.find_bytes(&mut taken, find)?;
        taken.record.check_storable()?;
        let model_id = taken.record.model_id.clone();
        report.note(&model_id, &taken.not_chosen, &taken.conflicts);
        report.unverified.extend(taken.unverified.iter().cloned());
        report.taken.push(TakenVersion {
            model_id,
            base: taken.base.clone(),
            version: taken.record.version.clone(),
            status: taken.record.status,
            digest: taken.record.digest(),
            source: taken.source,
        });
        if request.mode == AdoptMode::DryRun {
            return Ok(());
        }
        // Until the record stands, its bytes would look like garbage to a collection.
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        if let Some(received) = received {
            self.artifacts.publish(received.staged)?;
        }
        let not_chosen = taken.not_chosen.iter().map(NotChosen::to_history).collect();
        let adoption = Adoption { base: taken.base, record: taken.record, not_chosen };
        let entry = self.change(Action::Adopt(Box::new(adoption)), request.origin())?;
        if let Some(manifest) = entry.record.manifest()? {
            self.link(&entry, &manifest);
        }
        Ok(())
    }

    fn keep_aside(&self, aside: KeptAside, request: &AdoptRequest, report: &mut AdoptReport) -> Result<()> {
        report.note(&aside.model_id, &aside.not_chosen, &aside.conflicts);
        if request.mode == AdoptMode::Apply {
            let values: Vec<Value> = aside.not_chosen.iter().map(NotChosen::to_history).collect();
            self.change(Action::SetAside(SetAside { model_id: aside.model_id, values }), request.origin())?;
        }
        Ok(())
    }

    /// Looks for the file that a record speaks of and describes the version from it. A file that is not what the record
    /// needs is no reason to lose the record: it is not taken, and the report says why.
    fn find_bytes(&self, taken: &mut Taken, find: &FileFinder<'_>) -> Result<Option<Received>> {
        let Some(path) = taken.file_name() else { return Ok(None) };
        let Some(mut bytes) = find(&taken.source.file, &path)? else { return Ok(None) };
        let received = match self.receive(path, &mut *bytes) {
            Ok(received) => [received],
            Err(error @ Error::BrokenUpload { .. }) => return Ok(refused(taken, &error)),
            Err(error) => return Err(error),
        };
        let described = manifest_of(&received).and_then(|manifest| {
            let inspection = self.engine.inspect(&local_files(&received))?;
            Ok((manifest, inspection))
        });
        match described {
            Ok((Some(manifest), inspection)) => {
                if inspection.is_none() && self.engine.recognises(&taken.record.framework) {
                    let reason = format!("it is nothing of the format `{}`", taken.record.framework);
                    taken.refuse_file(&reason);
                    return Ok(None);
                }
                self.describe(taken, &manifest, inspection.as_ref(), &received);
                let [received] = received;
                Ok(Some(received))
            }
            Ok((None, _)) => Ok(None),
            Err(error @ (Error::Malformed { .. } | Error::Unsupported { .. } | Error::TooLarge { .. })) => {
                Ok(refused(taken, &error))
            }
            Err(error) => Err(error),
        }
    }

    fn describe(&self, taken: &mut Taken, manifest: &Manifest, inspection: Option<&Inspection>, received: &[Received]) {
        taken.take_files(manifest, inspection);
        let reason = match inspection {
            Some(Inspection { not_servable_because: Some(reason), .. }) => Some(reason.clone()),
            Some(_) => self.why_not_loadable(taken, received),
            None => Some("no runtime recognises the format of its files".to_owned()),
        };
        taken.note_readiness(inspection, reason.as_deref());
    }

    /// Loads the version once, because nothing less proves that it can be served.
    fn why_not_loadable(&self, taken: &Taken, received: &[Received]) -> Option<String> {
        let load = LoadRequest {
            model_id: taken.record.model_id.to_string(),
            digest: None,
            files: local_files(received),
            options: LoadOptions { metadata: taken.record.metadata() },
        };
        match self.engine.try_out(&load, |_| Ok(())) {
            Ok(()) => None,
            Err(Error::WrongTask { reason, .. }) => Some(reason),
            Err(error) => Some(error.to_string()),
        }
    }
}

fn refused(taken: &mut Taken, error: &Error) -> Option<Received> {
    taken.refuse_file(&error.to_string());
    None
}

impl AdoptReport {
    fn note(&mut self, model_id: &ModelId, not_chosen: &[NotChosen], conflicts: &[Conflict]) {
        self.conflicts.extend(conflicts.iter().cloned());
        self.set_aside.extend(
            not_chosen
                .iter()
                .map(|not_chosen| SetAsideStatement { model_id: model_id.clone(), not_chosen: not_chosen.clone() }),
        );
    }
}
