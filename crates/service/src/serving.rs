//! Taking versions into service and out of it: load, reload, unload, start, pause.

use seedhouse_core::{Action, Edit, Entry, Reference, Result, Status, Update};
use seedhouse_engine::TextStatistics;

use crate::infer::slot_key;
use crate::{Origin, Service};

impl Service {
    /// Makes sure that a version answers requests: loads it, and marks it `ready` where its status said otherwise.
    ///
    /// # Errors
    /// [`Error::NotFound`](seedhouse_core::Error::NotFound), those of loading, and
    /// [`Error::StatusChange`](seedhouse_core::Error::StatusChange) for a status that cannot become `ready`. After an error
    /// the status is what it was.
    pub fn start(&self, reference: &Reference, origin: Origin) -> Result<Entry> {
        let entry = self.store.version(reference)?;
        if entry.record.status.is_servable() {
            self.slot(&entry, "inference")?;
            return Ok(entry);
        }
        // `ready` says that the version was loaded once, so it is loaded first.
        entry.record.status.check_change(Status::Ready, &entry.record.model_id)?;
        self.load(&entry)?;
        self.set_status(&entry, Status::Ready, origin)
    }

    /// Takes a version out of service: marks it `stopped` and frees its memory. Pausing it again changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`](seedhouse_core::Error::NotFound), and
    /// [`Error::StatusChange`](seedhouse_core::Error::StatusChange) for a status that cannot become `stopped`.
    pub fn pause(&self, reference: &Reference, origin: Origin) -> Result<Entry> {
        let entry = self.store.version(reference)?;
        let paused = match entry.record.status {
            Status::Stopped => entry,
            _ => self.set_status(&entry, Status::Stopped, origin)?,
        };
        self.engine.unload(&slot_key(&paused));
        Ok(paused)
    }

    /// Loads a version anew: its files are verified and mapped again.
    ///
    /// # Errors
    /// Those of loading; the version is not loaded then.
    pub fn reload(&self, reference: &Reference) -> Result<Entry> {
        let entry = self.store.version(reference)?;
        self.engine.unload(&slot_key(&entry));
        self.slot(&entry, "inference")?;
        Ok(entry)
    }

    /// Unloads every version and returns their ids. Requests in progress end on what they have; the next ones load again.
    pub fn unload_all(&self) -> Vec<String> {
        self.engine.unload_all()
    }

    /// Nobody may have changed the version since it was looked at.
    fn set_status(&self, entry: &Entry, status: Status, origin: Origin) -> Result<Entry> {
        let update = Update {
            model_id: entry.record.model_id.clone(),
            expected_revision: Some(entry.revision),
            edits: vec![Edit::Status(status)],
        };
        self.change(Action::Update(update), origin)
    }

    /// Returns what the loaded language models have done so far, by id.
    pub fn text_statistics(&self) -> Vec<(String, TextStatistics)> {
        self.engine.text_statistics()
    }

    /// Returns the ids of the loaded versions, sorted.
    pub fn loaded(&self) -> Vec<String> {
        self.engine.loaded()
    }
}
