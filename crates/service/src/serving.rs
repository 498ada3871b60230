//! Taking versions into service and out of it: load, reload, unload, start, pause; and what is loaded.

use seedhouse_core::{Action, Edit, Entry, Reference, Result, Status, Update};
use seedhouse_engine::{BatchStatistics, MemoryReport, SlotOptions, TextStatistics};

use crate::infer::slot_key;
use crate::{Origin, Service};

/// A version that was told to go.
#[derive(Debug, Clone)]
pub struct Unloaded {
    /// The version.
    pub entry: Entry,
    /// Whether it was loaded.
    pub was_loaded: bool,
    /// How many requests still use it; its memory is freed after them.
    pub in_use: usize,
}

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
            self.slot(&entry, "inference", SlotOptions::default())?;
            return Ok(entry);
        }
        // `ready` says that the version was loaded once, so it is loaded first.
        entry.record.status.check_change(Status::Ready, &entry.record.model_id)?;
        self.load_slot(&entry, SlotOptions::default())?;
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
        self.load(reference)
    }

    /// Loads a version, if it is not loaded yet, so that the next request finds it warm. Its status stays.
    ///
    /// # Errors
    /// Those of loading.
    pub fn load(&self, reference: &Reference) -> Result<Entry> {
        let entry = self.store.version(reference)?;
        self.slot(&entry, "inference", SlotOptions::default())?;
        Ok(entry)
    }

    /// Unloads a version: nobody new is let in, and its memory is freed when the last request that uses it ends. The next
    /// request loads it again.
    ///
    /// # Errors
    /// [`Error::NotFound`](seedhouse_core::Error::NotFound).
    pub fn unload(&self, reference: &Reference) -> Result<Unloaded> {
        let entry = self.store.version(reference)?;
        let in_use = self.engine.unload(&slot_key(&entry));
        Ok(Unloaded { entry, was_loaded: in_use.is_some(), in_use: in_use.unwrap_or(0) })
    }

    /// Unloads a version and begins its short statistics anew, as the original's clearing of its cache did.
    ///
    /// # Errors
    /// [`Error::NotFound`](seedhouse_core::Error::NotFound).
    pub fn clear_cache_of(&self, reference: &Reference) -> Result<Unloaded> {
        self.reset_statistics(reference)?;
        self.unload(reference)
    }

    /// Does the same with every version, and returns the ids of those that were loaded.
    pub fn clear_cache(&self) -> Vec<String> {
        self.reset_all_statistics();
        self.unload_all()
    }

    /// Returns what is loaded, what it takes, and who uses it.
    pub fn memory(&self) -> MemoryReport {
        self.engine.memory()
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

    /// Returns what the queues of the other loaded models have done so far, by id.
    pub fn batch_statistics(&self) -> Vec<(String, BatchStatistics)> {
        self.engine.batch_statistics()
    }

    /// Returns the ids of the loaded versions, sorted.
    pub fn loaded(&self) -> Vec<String> {
        self.engine.loaded()
    }
}
