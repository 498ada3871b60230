//! Changing what is registered: status, texts, tags, figures, aliases, deletion.

use seedhouse_core::{
    Action, Alias, AliasMove, AliasRemoval, Change, Deletion, DeletionGuard, Edit, Entry, Error, ExpectedHolder,
    HoldKind, ModelId, ModelName, Reference, Result, Status, Update,
};

use seedhouse_engine::SlotOptions;

use crate::Service;
use crate::infer::slot_key;

/// Who changes something, and why.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Who.
    pub actor: String,
    /// Why, if they said so; kept in the history.
    pub reason: Option<String>,
}

impl Service {
    /// Changes a version, if it is still at `expected_revision` where one is given.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`] when somebody was faster, [`Error::StatusChange`], [`Error::Invalid`]. All
    /// edits are made or none.
    pub fn update(
        &self,
        reference: &Reference,
        expected_revision: Option<u64>,
        edits: Vec<Edit>,
        origin: Origin,
    ) -> Result<Entry> {
        let entry = self.store.version(reference)?;
        edits.iter().try_for_each(|edit| self.check_servable_status(&entry, edit))?;
        let model_id = entry.record.model_id;
        self.change(Action::Update(Update { model_id, expected_revision, edits }), origin)
    }

    /// Points an alias of a model at the version that a reference names, without a look at what is served:
    /// [`move_alias_of`](Service::move_alias_of) has one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Changed`] when the alias does not point where the caller expected.
    pub fn move_alias(
        &self,
        reference: &Reference,
        alias: Alias,
        expected: ExpectedHolder,
        origin: Origin,
    ) -> Result<Entry> {
        let model_id = self.store.version(reference)?.record.model_id;
        self.change(Action::MoveAlias(AliasMove { alias, model_id, expected }), origin)
    }

    /// Removes an alias of a model.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove_alias(&self, base: ModelName, alias: Alias, origin: Origin) -> Result<Entry> {
        self.change(Action::RemoveAlias(AliasRemoval { base, alias }), origin)
    }

    /// Hides a version; its bytes and its names are kept, and it can be undeleted.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::StillNeeded`] when aliases or versions made from it stand in the way.
    pub fn delete(&self, reference: &Reference, guard: DeletionGuard, origin: Origin) -> Result<Entry> {
        let entry = self.store.version(reference)?;
        let model_id = entry.record.model_id.clone();
        let deleted = self.change(Action::Delete(Deletion { model_id, guard }), origin)?;
        self.engine.unload(&slot_key(&entry));
        self.engine.statistics().retain(|model_id| *model_id != entry.record.model_id);
        Ok(deleted)
    }

    /// Shows a deleted version again, as it was.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] when it is not deleted, [`Error::MissingBytes`] when a collection removed its
    /// bytes after the retention.
    pub fn undelete(&self, model_id: ModelId, origin: Origin) -> Result<Entry> {
        // A collection between the look and the change would take the bytes of a version that is back.
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        self.require_bytes(&self.store.version_even_deleted(&model_id)?)?;
        let entry = self.change(Action::Undelete(model_id), origin)?;
        // A collection takes the names of a deleted version away also where another version keeps the bytes.
        if let Some(manifest) = entry.record.manifest()? {
            self.link(&entry, &manifest);
        }
        Ok(entry)
    }

    /// Returns the versions that are deleted, oldest registration first.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub fn deleted(&self) -> Result<Vec<Entry>> {
        self.store.deleted()
    }

    /// `ready` means that the version can be served. A word of the user cannot make it so, but a library that was missing at
    /// registration may be installed by now: then loading it is the proof.
    fn check_servable_status(&self, entry: &Entry, edit: &Edit) -> Result<()> {
        let recorded = check_recorded_status(entry, edit);
        let (Err(_), Edit::Status(status @ Status::Ready), Some(_)) = (&recorded, edit, entry.record.digest()) else {
            return recorded;
        };
        match self.load_slot(entry, SlotOptions::default()) {
            Ok(_) => Ok(()),
            Err(Error::WrongTask { reason, .. } | Error::Unsupported { reason, .. }) => {
                Err(Error::invalid("status", status, format!("{reason}, so it cannot be served")))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn change(&self, action: Action, origin: Origin) -> Result<Entry> {
        let change = Change { at: self.clock.now(), actor: origin.actor, reason: origin.reason, action };
        Ok(self.store.apply(change)?.entry)
    }
}

/// Checks a status against what was found out about the files when they were registered.
fn check_recorded_status(entry: &Entry, edit: &Edit) -> Result<()> {
    let Edit::Status(status) = edit else { return Ok(()) };
    let inspected = entry.record.fields.get("inspected").and_then(|inspected| inspected.as_object());
    let reason = match inspected {
        _ if !status.is_servable() => None,
        None if entry.record.digest().is_none() => Some("the version has no files"),
        None => Some("no runtime recognises the format of its files"),
        Some(inspected) => inspected.get("not_servable_because").and_then(|reason| reason.as_str()),
    };
    match (status, reason) {
        (Status::Trained | Status::Quantized, _) => {
            Err(Error::invalid("status", status, "is set by the job that leads to it"))
        }
        (_, Some(reason)) => Err(Error::invalid("status", status, format!("{reason}, so it cannot be served"))),
        (_, None) => Ok(()),
    }
}
