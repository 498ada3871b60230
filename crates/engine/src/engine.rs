//! The engine: finds the runtime of a format and keeps loaded versions.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{Inspection, LoadOptions, LocalFiles, PlanStatistics, Runtime, SolveLimits, StoredPlan};
use seedhouse_core::{Digest, Error, Framework, Result};

use crate::slots::{Prepared, Slots};
use crate::statistics::Statistics;
use crate::{
    BatchSettings, BatchStatistics, Hold, Lease, MemoryReport, MemorySettings, Slot, SlotOptions, SolveRequest, Solved,
    TextSettings, TextStatistics, problem,
};

/// Loads versions once and serves them. Shared between threads.
pub struct Engine {
    runtimes: Vec<Arc<dyn Runtime>>,
    slots: Slots,
    text_settings: TextSettings,
    batch_settings: BatchSettings,
    statistics: Statistics,
}

/// What to load.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// The version, as errors and logs name it.
    pub model_id: String,
    /// The digest of its manifest, for reports.
    pub digest: Option<Digest>,
    /// Its files; the caller has verified their digests.
    pub files: LocalFiles,
    /// How to load them.
    pub options: LoadOptions,
}

impl Engine {
    /// Returns an engine without loaded versions. Of several runtimes that know the files the first one that can serve
    /// them is taken: a folder may hold a model in two formats.
    pub fn new(runtimes: Vec<Arc<dyn Runtime>>) -> Engine {
        let slots = slots(&runtimes, MemorySettings::default());
        Engine {
            runtimes,
            slots,
            text_settings: TextSettings::default(),
            batch_settings: BatchSettings::default(),
            statistics: Statistics::default(),
        }
    }

    /// Changes how much the scheduler of a language model does at once.
    #[must_use]
    pub fn with_text_settings(mut self, settings: TextSettings) -> Engine {
        self.text_settings = settings;
        self
    }

    /// Changes how much of what is asked of other models is computed together.
    #[must_use]
    pub fn with_batch_settings(mut self, settings: BatchSettings) -> Engine {
        self.batch_settings = settings;
        self
    }

    /// Changes how much memory loaded versions may take. What was loaded before is forgotten.
    #[must_use]
    pub fn with_memory_settings(mut self, settings: MemorySettings) -> Engine {
        self.slots = slots(&self.runtimes, settings);
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
    /// blocks requests for what is loaded. `key` must change when files, options or id do: a slot keeps those of its first load.
    ///
    /// Before loading, the size of the files stands for what the version will take, later what it took before. Where the budget
    /// has no room, the caller waits for its turn.
    ///
    /// # Errors
    /// Those of `prepare` and of the runtime; [`Error::WrongTask`] when no runtime can serve the files; errors in what the
    /// metadata declares on pre-processing and labels; [`Error::DoesNotFit`] when the budget never has room,
    /// [`Error::Exhausted`] when too many wait, [`Error::DeadlineExceeded`].
    pub fn slot(&self, key: &Digest, options: SlotOptions, prepare: &dyn Fn() -> Result<LoadRequest>) -> Result<Lease> {
        self.slots.lease(key, options, &|| {
            let started = Instant::now();
            let request = prepare()?;
            let (model_id, estimate) = (request.model_id.clone(), file_bytes(&request.files));
            let load = move || {
                let counters = self.statistics.find(&request.model_id);
                let slot = self.load_since(started, &request)?.counted_by(counters);
                let (model, seconds, bytes) = (slot.model_id(), slot.load_seconds(), slot.memory_bytes());
                tracing::info!(model.id = model, runtime = slot.runtime(), seconds, bytes, "loaded a version");
                Ok(slot)
            };
            Ok(Prepared { model_id, estimate, load })
        })
    }

    /// Loads a version, gives the slot to `check` and drops it: the proof that it can be loaded.
    ///
    /// # Errors
    /// Those of [`slot`](Engine::slot) and of `check`.
    pub fn try_out<T>(&self, request: &LoadRequest, check: impl FnOnce(&Slot) -> Result<T>) -> Result<T> {
        let started = Instant::now();
        self.slots.with_room(&request.model_id, file_bytes(&request.files), || {
            self.load_since(started, request).and_then(|slot| check(&slot))
        })
    }

    /// Solves a problem that is no version, by the first runtime that reads its document.
    ///
    /// # Errors
    /// [`Error::Malformed`] about the document, [`Error::Unsupported`] when no runtime solves problems, and those of
    /// [`Slot::solve`].
    pub fn solve_document(&self, document: &[u8], request: &SolveRequest, limits: &SolveLimits<'_>) -> Result<Solved> {
        for runtime in &self.runtimes {
            if let Some(declared) = runtime.problem(document)? {
                return problem::solve(declared.as_ref(), request, limits);
            }
        }
        Err(Error::unsupported("solving a problem", "no runtime of this program does"))
    }

    /// Has the runtimes fetch what they keep of earlier loads of these files, while the caller verifies them. It is there until the
    /// returned value is dropped.
    pub fn fetch_plan(&self, files: &LocalFiles) -> Box<dyn Send> {
        Box::new(self.runtimes.iter().map(|runtime| runtime.fetch_plan(files)).collect::<Vec<_>>())
    }

    /// Returns what came of the plans of all runtimes.
    ///
    /// # Errors
    /// Those of [`Runtime::plan_statistics`].
    pub fn plan_statistics(&self) -> Result<PlanStatistics> {
        let mut sum = PlanStatistics::default();
        for runtime in &self.runtimes {
            sum.add(&runtime.plan_statistics()?);
        }
        Ok(sum)
    }

    /// Asks `garbage` about each plan on the disk and returns what it says about those that nobody needs. With `is_removed` these
    /// are removed.
    ///
    /// # Errors
    /// Those of [`Runtime::stored_plans`] and [`Runtime::remove_plan`].
    pub fn sift_plans<R>(&self, is_removed: bool, mut garbage: impl FnMut(StoredPlan) -> Option<R>) -> Result<Vec<R>> {
        let mut found = Vec::new();
        for runtime in &self.runtimes {
            for plan in runtime.stored_plans()? {
                let name = plan.name.clone();
                if let Some(reason) = garbage(plan) {
                    found.push(reason);
                    if is_removed {
                        runtime.remove_plan(&name)?;
                    }
                }
            }
        }
        Ok(found)
    }

    /// Returns whether a runtime would recognise files of this format by their content.
    pub fn recognises(&self, format: &Framework) -> bool {
        self.runtimes.iter().any(|runtime| runtime.formats().contains(format))
    }

    /// Returns how many versions are loaded.
    pub fn loaded_count(&self) -> usize {
        self.slots.of_open(|_| ()).len()
    }

    /// Returns whether a version is loaded.
    pub fn is_loaded(&self, key: &Digest) -> bool {
        self.slots.is_loaded(key)
    }

    /// Returns the ids of the loaded versions, sorted.
    pub fn loaded(&self) -> Vec<String> {
        let mut ids = self.slots.of_open(|slot| slot.model_id().to_owned());
        ids.sort_unstable();
        ids
    }

    /// Returns what the loaded language models have done so far, by id.
    pub fn text_statistics(&self) -> Vec<(String, TextStatistics)> {
        let of_slot = |slot: &Slot| Some((slot.model_id().to_owned(), slot.text_statistics()?));
        let mut statistics: Vec<_> = self.slots.of_open(of_slot).into_iter().flatten().collect();
        statistics.sort_by(|(a, _), (b, _)| a.cmp(b));
        statistics
    }

    /// Returns what the queues of the other loaded models have done so far, by id.
    pub fn batch_statistics(&self) -> Vec<(String, BatchStatistics)> {
        let of_slot = |slot: &Slot| Some((slot.model_id().to_owned(), slot.batch_statistics()?));
        let mut statistics: Vec<_> = self.slots.of_open(of_slot).into_iter().flatten().collect();
        statistics.sort_by(|(a, _), (b, _)| a.cmp(b));
        statistics
    }

    /// Returns what versions were asked. Slots of those that have counters count there, too.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Returns what is loaded and what it takes.
    pub fn memory(&self) -> MemoryReport {
        self.slots.report()
    }

    /// Forgets a loaded version, so that the next call loads it again. Its memory is freed when the last request that uses it
    /// ends. Returns how many do now; nothing when it was not loaded.
    pub fn unload(&self, key: &Digest) -> Option<usize> {
        self.slots.unload(key)
    }

    /// Does the same with every loaded version, and returns their ids, sorted.
    pub fn unload_all(&self) -> Vec<String> {
        self.slots.unload_where(|_, _| true)
    }

    /// Unloads the versions that nobody has used for so long, but none of `kept`, and returns their ids, sorted.
    pub fn unload_idle(&self, longer_than: Duration, kept: &HashSet<Digest>) -> Vec<String> {
        self.slots
            .unload_where(|loaded, idle| idle.is_some_and(|idle| idle >= longer_than) && !kept.contains(loaded.key()))
    }

    /// Replaces the set of versions that are never unloaded to make room for others.
    pub fn pin(&self, keys: HashSet<Digest>) {
        self.slots.pin(keys);
    }

    /// Keeps a version from being unloaded to make room while the guard lives. It need not be loaded.
    pub fn hold(&self, key: &Digest) -> Hold {
        self.slots.hold(key)
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
        let slot = Slot::new(request, model, self.text_settings, self.batch_settings, started)?;
        Ok(slot.loaded_by(runtime.name()))
    }
}

fn slots(runtimes: &[Arc<dyn Runtime>], settings: MemorySettings) -> Slots {
    let runtimes = runtimes.to_vec();
    Slots::new(settings, move || runtimes.iter().for_each(|runtime| runtime.return_freed_memory()))
}

/// What a version will take, before it is known: formats keep weights about as they are used.
fn file_bytes(files: &LocalFiles) -> u64 {
    // A file that is not there is an error of loading, not of guessing.
    files.0.iter().filter_map(|file| file.local.metadata().ok()).map(|metadata| metadata.len()).sum()
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
        LoadRequest { model_id: name.into(), digest: None, files: fake_files(name), options: LoadOptions::default() }
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
                    engine.slot(&Digest::of("a"), SlotOptions::default(), &prepare).unwrap();
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
        let load = || engine.slot(&Digest::of("a"), SlotOptions::default(), &|| Ok(request("model.fake-text")));
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
            let slow = scope.spawn(|| {
                engine.slot(&Digest::of("slow"), SlotOptions::default(), &|| Ok(request("slow.fake-text"))).map(drop)
            });
            has_entered.recv().unwrap();
            engine.slot(&Digest::of("quick"), SlotOptions::default(), &|| Ok(request("quick.fake-text"))).unwrap();
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
        let error = engine.slot(&Digest::of("a"), SlotOptions::default(), &|| Ok(request("notes.txt"))).err().unwrap();
        assert_eq!(error.code(), Code::FailedPrecondition);
        assert!(error.to_string().contains("`notes.txt`"), "{error}");
    }
}
