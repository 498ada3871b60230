//! Loading within a budget, with fake models whose sizes their names say: `3-a.fake-text` takes 3 bytes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{LoadOptions, LocalFiles, Runtime};
use seedhouse_core::{Code, Digest, Error, Result};
use seedhouse_testkit::fake_runtime::{FakeRuntime, fake_files};

use crate::{Engine, Lease, LoadRequest, MemorySettings, SlotOptions, SlotState};

/// The size that a name says.
fn size(files: &LocalFiles) -> u64 {
    files.0[0].path.as_str().split('-').next().unwrap().parse().unwrap()
}

fn engine_of(runtime: FakeRuntime, budget: u64) -> (Engine, Arc<FakeRuntime>) {
    let runtime = Arc::new(runtime.with_memory(size));
    // The tables of the fake tokenizer count too.
    let table = table_bytes();
    let settings = MemorySettings { budget: Some(budget * table), ..MemorySettings::default() };
    let engine = Engine::new(vec![Arc::clone(&runtime) as Arc<dyn Runtime>]).with_memory_settings(settings);
    (engine, runtime)
}

/// What every fake model takes beside what its name says. Budgets in these tests are multiples of it, and names begin with 0.
fn table_bytes() -> u64 {
    let engine = Engine::new(vec![Arc::new(FakeRuntime::alphabet().with_memory(size)) as Arc<dyn Runtime>]);
    engine.try_out(&request("0-a"), |slot| Ok(slot.memory_bytes())).unwrap()
}

fn request(name: &str) -> LoadRequest {
    let files = fake_files(&format!("{name}.fake-text"));
    LoadRequest { model_id: name.into(), digest: None, files, options: LoadOptions::default() }
}

fn key(name: &str) -> Digest {
    Digest::of(name)
}

fn ask_with(engine: &Engine, name: &str, options: SlotOptions) -> Result<Lease> {
    engine.slot(&key(name), options, &|| Ok(request(name)))
}

fn ask(engine: &Engine, name: &str) -> Result<Lease> {
    ask_with(engine, name, SlotOptions::default())
}

/// Loads once, so that the engine knows what it takes.
fn measure(engine: &Engine, names: &[&str]) {
    for name in names {
        ask(engine, name).unwrap();
        engine.unload(&key(name));
    }
}

fn loaded(engine: &Engine) -> Vec<String> {
    engine.loaded()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn least_recently_used_is_unloaded_and_never_one_in_use() {
    let (engine, _) = engine_of(FakeRuntime::alphabet(), 3);
    measure(&engine, &["0-a", "0-b", "0-c", "0-d", "0-e"]);
    let held = ask(&engine, "0-a").unwrap();
    ask(&engine, "0-b").unwrap();
    ask(&engine, "0-c").unwrap();
    ask(&engine, "0-b").unwrap();
    ask(&engine, "0-d").unwrap();
    assert_eq!(loaded(&engine), ["0-a", "0-b", "0-d"], "c was used before b; a is in use");
    ask(&engine, "0-e").unwrap();
    assert_eq!(loaded(&engine), ["0-a", "0-d", "0-e"]);
    let memory = engine.memory();
    assert_eq!((memory.evictions, memory.used_bytes), (2, memory.budget_bytes.unwrap()));
    drop(held);
}

#[test]
fn version_larger_than_the_budget_is_refused_with_both_numbers() {
    let (engine, runtime) = engine_of(FakeRuntime::alphabet(), 2);
    let large = format!("{}-large", 5 * table_bytes());
    // What it takes is known only after it was loaded once.
    ask(&engine, &large).unwrap();
    assert!(engine.unload(&key(&large)).is_some());
    let error = ask(&engine, &large).err().unwrap();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let Error::DoesNotFit { needed, budget, kept, .. } = error else { panic!("{error}") };
    assert_eq!((needed, budget, kept), (6 * table_bytes(), 2 * table_bytes(), 0));
    assert!(error.to_string().contains(&needed.to_string()) && error.to_string().contains(&budget.to_string()));
    assert_eq!(runtime.load_count(), 1, "it is not even tried");
}

#[test]
fn pinned_versions_stay_and_what_does_not_fit_beside_them_is_refused() {
    let (engine, _) = engine_of(FakeRuntime::alphabet(), 2);
    measure(&engine, &["0-a", "0-b", "0-c"]);
    engine.pin(HashSet::from([key("0-a")]));
    for name in ["0-a", "0-b", "0-c", "0-b"] {
        ask(&engine, name).unwrap();
    }
    assert_eq!(loaded(&engine), ["0-a", "0-b"]);
    engine.pin(HashSet::from([key("0-a"), key("0-b")]));
    let Error::DoesNotFit { kept, .. } = ask(&engine, "0-c").err().unwrap() else { panic!("pins take everything") };
    assert_eq!(kept, 2 * table_bytes());
}

#[test]
fn opposite_models_that_do_not_fit_together_both_get_their_turns() {
    let (engine, _) = engine_of(FakeRuntime::alphabet(), 1);
    measure(&engine, &["0-a", "0-b"]);
    let until = Instant::now() + Duration::from_secs(2);
    // Two callers each, so that neither model is ever idle by itself.
    let answered = |name: &'static str| {
        let mut count = 0;
        while Instant::now() < until {
            let lease = ask(&engine, name).unwrap();
            thread::sleep(Duration::from_millis(3));
            drop(lease);
            count += 1;
        }
        count
    };
    let counts: Vec<usize> = thread::scope(|scope| {
        let names = ["0-a", "0-a", "0-b", "0-b"];
        let threads: Vec<_> = names.map(|name| scope.spawn(move || answered(name))).into_iter().collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
    let loads = engine.memory().loads;
    assert!(loads < 60, "each is left alone for a while after it was loaded, but there were {loads} loads");
}

#[test]
fn load_that_waits_for_room_does_not_block_what_is_loaded_or_fits() {
    let (engine, _) = engine_of(FakeRuntime::alphabet(), 3);
    let large = format!("{}-large", table_bytes());
    measure(&engine, &["0-a", "0-b", &large, "0-c"]);
    let (a, b) = (ask(&engine, "0-a").unwrap(), ask(&engine, "0-b").unwrap());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&engine, &large).map(drop));
        eventually("it waits", || engine.memory().slots.iter().any(|slot| slot.state == SlotState::Waiting));
        drop(ask(&engine, "0-b").map(drop));
        drop((a, b));
        waiting.join().unwrap().unwrap();
    });
    ask(&engine, "0-c").unwrap();
}

#[test]
fn asker_without_time_gives_up_and_another_one_loads() {
    let (engine, _) = engine_of(FakeRuntime::alphabet(), 1);
    measure(&engine, &["0-a", "0-b"]);
    engine.pin(HashSet::new());
    let held = ask(&engine, "0-a").unwrap();
    thread::scope(|scope| {
        let soon = SlotOptions { deadline: Some(Instant::now() + Duration::from_millis(50)), ..SlotOptions::default() };
        let engine = &engine;
        let hurried = scope.spawn(move || ask_with(engine, "0-b", soon).map(drop));
        eventually("it waits", || engine.memory().slots.iter().any(|slot| slot.state == SlotState::Waiting));
        let patient = scope.spawn(|| ask(engine, "0-b").map(drop));
        let error = hurried.join().unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Deadline, "{error}");
        drop(held);
        patient.join().unwrap().unwrap();
    });
}

#[test]
fn held_version_is_not_unloaded_for_what_shall_stand_beside_it() {
    let (engine, _) = engine_of(FakeRuntime::alphabet(), 1);
    measure(&engine, &["0-a", "0-b"]);
    ask(&engine, "0-a").unwrap();
    let hold = engine.hold(&key("0-a"));
    let beside = SlotOptions { beside_held: true, ..SlotOptions::default() };
    assert!(matches!(ask_with(&engine, "0-b", beside), Err(Error::DoesNotFit { .. })));
    assert_eq!(loaded(&engine), ["0-a"]);
    drop(hold);
    ask_with(&engine, "0-b", beside).unwrap();
    assert_eq!(loaded(&engine), ["0-b"]);
}

#[test]
fn unloaded_version_answers_who_has_it_and_is_freed_after_them() {
    let (engine, runtime) = engine_of(FakeRuntime::alphabet(), 5);
    let lease = ask(&engine, "0-a").unwrap();
    assert_eq!(engine.unload(&key("0-a")), Some(1));
    assert_eq!(engine.memory().slots[0].state, SlotState::Draining);
    lease.warm_up().unwrap();
    drop(ask(&engine, "0-a").unwrap());
    assert_eq!((runtime.load_count(), engine.memory().slots.len()), (2, 2), "nobody new is let into the old one");
    drop(lease);
    assert_eq!(engine.memory().slots.len(), 1);
    assert_eq!(engine.unload(&key("0-b")), None);
}

#[test]
fn idle_versions_are_unloaded_after_a_time_but_not_those_in_use_or_kept() {
    let (engine, _) = engine_of(FakeRuntime::alphabet(), 5);
    for name in ["0-a", "0-b", "0-c"] {
        ask(&engine, name).unwrap();
    }
    let lease = ask(&engine, "0-b").unwrap();
    assert_eq!(engine.unload_idle(Duration::from_secs(60), &HashSet::new()), Vec::<String>::new());
    assert_eq!(engine.unload_idle(Duration::ZERO, &HashSet::from([key("0-c")])), ["0-a"]);
    assert_eq!(loaded(&engine), ["0-b", "0-c"]);
    drop(lease);
}

#[test]
fn cache_that_grows_in_use_makes_others_go() {
    let grown = Arc::new(AtomicUsize::new(0));
    let runtime = Arc::new(FakeRuntime::alphabet().with_memory({
        let grown = Arc::clone(&grown);
        move |files| match files.0[0].path.as_str().starts_with("0-a") {
            true => grown.load(Ordering::SeqCst) as u64,
            false => 0,
        }
    }));
    let settings = MemorySettings { budget: Some(2 * table_bytes()), ..MemorySettings::default() };
    let engine = Engine::new(vec![runtime as Arc<dyn Runtime>]).with_memory_settings(settings);
    ask(&engine, "0-b").unwrap();
    let lease = ask(&engine, "0-a").unwrap();
    grown.store(10, Ordering::SeqCst);
    assert_eq!(loaded(&engine), ["0-a", "0-b"]);
    drop(lease);
    assert_eq!(loaded(&engine), ["0-a"], "what was used last stays");
}

#[test]
fn panic_of_the_loader_is_told_and_leaves_the_key_usable() {
    let first = AtomicUsize::new(0);
    let (engine, _) = engine_of(
        FakeRuntime::alphabet().on_load(move |_| assert!(first.fetch_add(1, Ordering::SeqCst) > 0, "a test")),
        2,
    );
    let load = || ask(&engine, "0-a").map(drop);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(load)).is_err());
    load().unwrap();
}

#[test]
fn more_than_may_wait_are_refused() {
    let (release, may_leave) = mpsc::channel::<()>();
    let may_leave = std::sync::Mutex::new(may_leave);
    let runtime = FakeRuntime::alphabet().on_load(move |_| may_leave.lock().unwrap().recv().unwrap());
    let settings = MemorySettings { waiting: 2, ..MemorySettings::default() };
    let engine = Engine::new(vec![Arc::new(runtime) as Arc<dyn Runtime>]).with_memory_settings(settings);
    thread::scope(|scope| {
        let asker = || ask(&engine, "0-a").map(drop);
        let first = scope.spawn(asker);
        eventually("it loads", || engine.memory().slots.len() == 1);
        let second = scope.spawn(asker);
        eventually("it waits", || engine.memory().waiting_requests == 1);
        assert_eq!(asker().unwrap_err().code(), Code::Exhausted);
        release.send(()).unwrap();
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    });
}
