//! The engine: finds the runtime of a format and keeps loaded versions.

use std::sync::Arc;
use std::time::Instant;

use seedhouse_core::runtime::{Inspection, LoadOptions, LocalFiles, Runtime};
use seedhouse_core::{Digest, Error, Framework, Result};

use crate::single_flight::SingleFlight;
use crate::{Slot, TextSettings, TextStatistics};

/// Loads versions once and serves them. Shared between threads.
pub struct Engine {
    runtimes: Vec<Arc<dyn Runtime>>,
    slots: SingleFlight<Digest, Slot>,
    text_settings: TextSettings,
}

/// What to load.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// The version, as errors and logs name it.
    pub model_id: String,
    /// Its files; the caller has verified their digests.
    pub files: LocalFiles,
    /// How to load them.
    pub options: LoadOptions,
}

impl Engine {
    /// Returns an engine without loaded versions. Of several runtimes that know the files the first one that can serve
    /// them is taken: a folder may hold a model in two formats.
    pub fn new(runtimes: Vec<Arc<dyn Runtime>>) -> Engine {
        Engine { runtimes, slots: SingleFlight::new(), text_settings: TextSettings::default() }
    }

    /// Changes how much the scheduler of a language model does at once.
    #[must_use]
    pub fn with_text_settings(mut self, settings: TextSettings) -> Engine {
        self.text_settings = settings;
        self
    }

    /// Describes files from their headers, by the first runtime that can serve them, or else knows the format; `None` when none does.
    ///
    /// # Errors
    /// What [`Runtime::inspect`] gives for broken files of a known format.
    pub fn inspect(&self, files: &LocalFiles) -> Result<Option<Inspection>> {
        Ok(self.runtime_of(files)?.map(|(_, inspection)| inspection))
    }

    /// Returns the slot of a version, loading it if needed.
    ///
    /// Many callers of a cold key wait for one loader, and `prepare` (verify digests, gather paths) runs only in that
    /// one. A failure is told to everybody who waited for that attempt; the next call tries again. Loading one key never
    /// blocks another. `key` must change when files, options or id do: a slot keeps those of its first load.
    ///
    /// # Errors
    /// Those of `prepare` and of the runtime; [`Error::WrongTask`] when no runtime can serve the files; errors in what the
    /// metadata declares on pre-processing and labels.
    pub fn slot(&self, key: &Digest, prepare: &dyn Fn() -> Result<LoadRequest>) -> Result<Arc<Slot>> {
        self.slots.get_or_make(key, || {
            let started = Instant::now();
            let slot = self.load_since(started, &prepare()?)?;
            let (model, seconds) = (slot.model_id(), slot.load_seconds());
            tracing::info!(model.id = model, seconds, "loaded a version");
            Ok(slot)
        })
    }

    /// Loads a version without keeping it: the proof that it can be loaded.
    ///
    /// # Errors
    /// Those of [`slot`](Engine::slot).
    pub fn load(&self, request: &LoadRequest) -> Result<Slot> {
        self.load_since(Instant::now(), request)
    }

    /// Returns whether a runtime would recognise files of this format by their content.
    pub fn recognises(&self, format: &Framework) -> bool {
        self.runtimes.iter().any(|runtime| runtime.formats().contains(format))
    }

    /// Returns how many versions are loaded.
    pub fn loaded_count(&self) -> usize {
        self.slots.made().len()
    }

    /// Returns the ids of the loaded versions, sorted.
    pub fn loaded(&self) -> Vec<String> {
        sorted_ids(&self.slots.made())
    }

    /// Returns what the loaded language models have done so far, by id.
    pub fn text_statistics(&self) -> Vec<(String, TextStatistics)> {
        let slots = self.slots.made();
        let mut statistics: Vec<_> =
            slots.iter().filter_map(|slot| Some((slot.model_id().to_owned(), slot.text_statistics()?))).collect();
        statistics.sort_by(|(a, _), (b, _)| a.cmp(b));
        statistics
    }

    /// Forgets a loaded version, so that the next call loads it again. Its memory is freed when the last request that uses it
    /// ends. Returns whether it was loaded.
    pub fn unload(&self, key: &Digest) -> bool {
        self.slots.forget(key).is_some()
    }

    /// Does the same with every loaded version, and returns their ids, sorted.
    pub fn unload_all(&self) -> Vec<String> {
        sorted_ids(&self.slots.forget_all())
    }

    fn runtime_of(&self, files: &LocalFiles) -> Result<Option<(&dyn Runtime, Inspection)>> {
        let mut first = None;
        for runtime in &self.runtimes {
            match runtime.inspect(files)? {
                Some(inspection) if inspection.not_servable_because.is_none() => {
                    return Ok(Some((runtime.as_ref(), inspection)));
                }
                Some(inspection) => {
                    first.get_or_insert((runtime.as_ref(), inspection));
                }
                None => {}
            }
        }
        Ok(first)
    }

    fn load_since(&self, started: Instant, request: &LoadRequest) -> Result<Slot> {
        let cannot_serve =
            |reason: String| Error::WrongTask { model_id: request.model_id.clone(), task: "inference", reason };
        let Some((runtime, inspection)) = self.runtime_of(&request.files)? else {
            return Err(cannot_serve(format!("no runtime knows the format of {}", names_of(&request.files))));
        };
        if let Some(reason) = inspection.not_servable_because {
            return Err(cannot_serve(reason));
        }
        let model = runtime.load(&request.files, &request.options)?;
        Slot::new(&request.model_id, model, &request.options.metadata, self.text_settings, started)
    }
}

fn sorted_ids(slots: &[Arc<Slot>]) -> Vec<String> {
    let mut ids: Vec<String> = slots.iter().map(|slot| slot.model_id().to_owned()).collect();
    ids.sort_unstable();
    ids
}

fn names_of(files: &LocalFiles) -> String {
    const MOST: usize = 5;
    let names: Vec<String> = files.0.iter().take(MOST).map(|file| format!("`{}`", file.path)).collect();
    match files.0.len().saturating_sub(MOST) {
        0 => names.join(", "),
        more => format!("{} and {more} more files", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};
    use std::thread;

    use seedhouse_core::Code;
    use seedhouse_testkit::fake_runtime::{FakeRuntime, fake_files};

    use super::*;

    fn request(name: &str) -> LoadRequest {
        LoadRequest { model_id: "a_v1".into(), files: fake_files(name), options: LoadOptions::default() }
    }

    fn engine(runtime: &Arc<FakeRuntime>) -> Engine {
        Engine::new(vec![Arc::clone(runtime) as Arc<dyn Runtime>])
    }

    #[test]
    fn ten_callers_of_a_cold_version_load_and_prepare_it_once() {
        let runtime = Arc::new(FakeRuntime::alphabet());
        let engine = engine(&runtime);
        let (prepared, start) = (AtomicUsize::new(0), Barrier::new(10));
        let prepare = || {
            prepared.fetch_add(1, Ordering::SeqCst);
            Ok(request("model.fake-text"))
        };
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    start.wait();
                    engine.slot(&Digest::of("a"), &prepare).unwrap();
                });
            }
        });
        assert_eq!((prepared.into_inner(), runtime.load_count(), engine.loaded_count()), (1, 1, 1));
    }

    #[test]
    fn failed_load_is_reported_and_the_next_call_tries_again() {
        let runtime = Arc::new(FakeRuntime::alphabet());
        runtime.fail_next_loads(1);
        let engine = engine(&runtime);
        let load = || engine.slot(&Digest::of("a"), &|| Ok(request("model.fake-text")));
        assert_eq!(load().err().unwrap().code(), Code::Unavailable);
        assert_eq!(engine.loaded_count(), 0);
        load().unwrap();
        assert_eq!(runtime.load_count(), 2);
    }

    #[test]
    fn blocked_load_does_not_block_another_key() {
        let (entered, has_entered) = mpsc::channel();
        let (release, may_leave) = mpsc::channel();
        let may_leave = std::sync::Mutex::new(may_leave);
        let runtime = Arc::new(FakeRuntime::alphabet().on_load(move |files| {
            if files.0[0].path.as_str() == "slow.fake-text" {
                entered.send(()).unwrap();
                may_leave.lock().unwrap().recv().unwrap();
            }
        }));
        let engine = engine(&runtime);
        thread::scope(|scope| {
            let slow = scope.spawn(|| engine.slot(&Digest::of("slow"), &|| Ok(request("slow.fake-text"))).map(drop));
            has_entered.recv().unwrap();
            engine.slot(&Digest::of("quick"), &|| Ok(request("quick.fake-text"))).unwrap();
            assert_eq!(engine.loaded_count(), 1);
            release.send(()).unwrap();
            slow.join().unwrap().unwrap();
        });
        assert_eq!(engine.loaded_count(), 2);
    }

    #[test]
    fn files_that_no_runtime_knows_are_named() {
        let engine = engine(&Arc::new(FakeRuntime::alphabet()));
        assert_eq!(engine.inspect(&fake_files("notes.txt")).unwrap(), None);
        let error = engine.slot(&Digest::of("a"), &|| Ok(request("notes.txt"))).err().unwrap();
        assert_eq!(error.code(), Code::FailedPrecondition);
        assert!(error.to_string().contains("`notes.txt`"), "{error}");
    }
}
