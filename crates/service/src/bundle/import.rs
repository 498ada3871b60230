//! Importing: read and verify everything, compute again what can be computed, then add all versions or none.

use std::io::Read;

use seedhouse_core::{
    Action, Adoption, Alias, AliasMove, Change, Digest, ExpectedHolder, Kind, ModelId, ModelName, Progress,
    ProgressUnit, Reference, Result, Selector, Status, Version,
};
use serde::{Deserialize, Serialize};

use super::incoming::Incoming;
use super::plan::{Plan, Planned};
use super::{DOCUMENT, Document, FORMAT, FORMAT_VERSION, MOST_DOCUMENT_BYTES, WHAT};
use crate::Service;
use crate::archive::{ArchiveReader, check_format};
use crate::change::Origin;

/// How to import a bundle.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImportOptions {
    /// The base name that its versions get, with the ids that follow from it; for a bundle of one model.
    #[serde(default)]
    pub rename_to: Option<ModelName>,
    /// Whether a version whose id is taken by other bytes becomes the next one of its model.
    #[serde(default)]
    pub next_version: bool,
    /// Whether aliases are pointed at the versions that they pointed at in the source.
    #[serde(default)]
    pub take_aliases: bool,
    /// The most bytes that its files may have, decompressed; `None` for no limit.
    #[serde(default)]
    pub most_bytes: Option<u64>,
    /// Who asks.
    pub actor: String,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Versions that were added, in the order of the bundle.
    pub imported: Vec<ImportedVersion>,
    /// Versions that were there with the same bytes, and stay as they are.
    pub already_present: Vec<ModelId>,
    /// Aliases that now point at versions of the bundle, as `base@alias`.
    pub aliases_taken: Vec<String>,
    /// Aliases that the source had and that were not taken.
    pub aliases_left: Vec<String>,
    /// How many bytes were read and verified.
    pub size_bytes: u64,
}

/// A version that was added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportedVersion {
    /// Its id.
    pub model_id: ModelId,
    /// The model it belongs to.
    pub base: ModelName,
    /// Its label.
    pub version: Version,
    /// Its status.
    pub status: Status,
    /// The digest of its files; `None` for a record without files.
    pub digest: Option<Digest>,
    /// Its id in the bundle, where that is another one.
    pub renamed_from: Option<ModelId>,
    /// What the source said otherwise.
    pub notes: Vec<String>,
}

impl Service {
    /// Takes in the versions of a bundle: all of them or none.
    ///
    /// # Errors
    /// Those of [`ArchiveReader`] for a bundle that is broken or hostile, [`Error::OtherBytes`] and [`Error::AlreadyExists`] for
    /// names that are taken, [`Error::Contradiction`] between a record and its files. After an error no version was added.
    ///
    /// [`Error::OtherBytes`]: seedhouse_core::Error::OtherBytes
    /// [`Error::AlreadyExists`]: seedhouse_core::Error::AlreadyExists
    /// [`Error::Contradiction`]: seedhouse_core::Error::Contradiction
    pub fn import_bundle(
        &self,
        from: &mut dyn Read,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<ImportReport> {
        let mut archive = ArchiveReader::open(WHAT, from)?;
        let text = archive.document(DOCUMENT, MOST_DOCUMENT_BYTES)?;
        let document: Document = check_format(WHAT, &text, FORMAT, FORMAT_VERSION)?;
        let size_bytes = document.check(options.most_bytes.unwrap_or(u64::MAX))?;
        // Before the bytes come, because names that are taken need no waiting.
        let mut plan = self.plan_import(document.versions, options)?;
        progress.stage("reading the bundle", Some(size_bytes), ProgressUnit::Bytes);
        let mut incoming = Incoming::new(&*self.artifacts);
        document.blobs.iter().try_for_each(|blob| incoming.receive(&mut archive, blob, progress))?;
        archive.finish()?;
        let imported = self.settle_all(&mut plan, &incoming, options, progress)?;
        // A caller who gave up until here finds nothing changed.
        progress.check()?;
        self.add(plan.new, incoming, options)?;
        let (aliases_taken, aliases_left) = self.point_aliases(plan.aliases, options)?;
        let already_present = plan.already_present;
        Ok(ImportReport { imported, already_present, aliases_taken, aliases_left, size_bytes })
    }

    fn settle_all(
        &self,
        plan: &mut Plan,
        incoming: &Incoming<'_>,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<ImportedVersion>> {
        progress.stage("checking the versions", Some(plan.new.len() as u64), ProgressUnit::Items);
        let mut imported = Vec::new();
        for planned in &mut plan.new {
            progress.check()?;
            let files = planned.record.manifest()?.map_or_else(Vec::new, Vec::from);
            let notes = self.settle_import(planned, &incoming.local_files(&files)?, &options.actor)?;
            imported.push(ImportedVersion::of(planned, notes));
            progress.advance(1);
        }
        Ok(imported)
    }

    /// Makes the bytes durable and then adds the records in one change.
    fn add(&self, new: Vec<Planned>, mut incoming: Incoming<'_>, options: &ImportOptions) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let ids: Vec<ModelId> = new.iter().map(|planned| planned.record.model_id.clone()).collect();
        let adoption =
            |planned: Planned| Adoption { base: planned.base, record: planned.record, not_chosen: Vec::new() };
        let adoptions: Vec<Adoption> = new.into_iter().map(adoption).collect();
        self.refuse_taken(&adoptions)?;
        let action = Action::Import(adoptions);
        incoming.publish()?;
        self.store.apply(Change { at: self.clock.now(), actor: options.actor.clone(), reason: None, action })?;
        for id in ids {
            let entry = self.store.version_even_deleted(&id)?;
            if let Some(manifest) = entry.record.manifest()? {
                self.link(&entry, &manifest);
            }
        }
        Ok(())
    }

    /// The store refuses names that are taken, too, but by then their bytes would be there.
    fn refuse_taken(&self, adoptions: &[Adoption]) -> Result<()> {
        Adoption::check_distinct(adoptions)?;
        adoptions.iter().try_for_each(|Adoption { base, record, .. }| {
            let reference = Reference { name: base.clone(), selector: Selector::Label(record.version.clone()) };
            self.refuse_existing(&reference, Kind::Version, |_| true)
        })
    }

    /// Points the source's aliases, if that is wanted, and returns those that were taken and those that were not.
    fn point_aliases(
        &self,
        aliases: Vec<(ModelName, Alias, ModelId)>,
        options: &ImportOptions,
    ) -> Result<(Vec<String>, Vec<String>)> {
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for (base, alias, model_id) in aliases {
            let name = format!("{base}@{alias}");
            if !options.take_aliases {
                left.push(name);
                continue;
            }
            let origin = Origin { actor: options.actor.clone(), reason: Some("taken from a bundle".into()) };
            let alias_move = AliasMove { alias, model_id, expected: ExpectedHolder::Any };
            self.change(Action::MoveAlias(alias_move), origin)?;
            taken.push(name);
        }
        Ok((taken, left))
    }
}

impl ImportedVersion {
    fn of(planned: &Planned, notes: Vec<String>) -> ImportedVersion {
        let record = &planned.record;
        ImportedVersion {
            model_id: record.model_id.clone(),
            base: planned.base.clone(),
            version: record.version.clone(),
            status: record.status,
            digest: record.digest(),
            renamed_from: planned.renamed_from.clone(),
            notes,
        }
    }
}
