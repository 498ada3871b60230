//! A step that adds a token to each sequence allocates nothing once a step like it was there before.
//!
//! A test program of its own: the allocator counts for all threads.

#![expect(unsafe_code, reason = "an allocator is unsafe; this one counts and passes on")]
#![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use seedhouse_core::Digest;
use seedhouse_core::runtime::{
    LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, SequenceId, StepPart, TextExecutor, Wanted,
};
use seedhouse_native::{NativeOptions, NativeRuntime, PoolOptions};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on as it came; counting touches nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises about the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises about pointer and layout; what it was given came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn decode_step_allocates_nothing() {
    for fixture in ["llama", "gguf-q4_1", "gguf-k-mixed", "gpt2", "qwen3", "original", "mistral-window"] {
        for threads in [1, 2] {
            let mut executor = executor(fixture, threads);
            // A thread makes its buffers when it takes its first part, which on a busy machine may be late. What every step
            // allocates would show in each round.
            let rounds = if threads == 1 { 1 } else { 10 };
            let found: Vec<usize> = (0..rounds).map(|_| allocations_of_30_steps(&mut *executor)).collect();
            assert!(found.contains(&0), "{fixture} with {threads} threads, rounds of 30 steps: {found:?}");
        }
    }
}

fn allocations_of_30_steps(executor: &mut dyn TextExecutor) -> usize {
    let streams = [executor.open().unwrap(), executor.open().unwrap(), executor.open().unwrap()];
    // What is read at once here is more than a later step needs, and the context grows no more than by a few blocks.
    let prompt = [1, 2, 3, 4, 5, 6, 7, 8];
    streams.iter().for_each(|&stream| step(executor, &[(stream, &prompt)]));
    let each: [(SequenceId, &[u32]); 3] = streams.map(|stream| (stream, &[9_u32][..]));
    (0..4).for_each(|_| step(executor, &each));
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    (0..30).for_each(|_| step(executor, &each));
    let allocations = ALLOCATIONS.load(Ordering::SeqCst) - before;
    streams.into_iter().for_each(|stream| executor.close(stream));
    allocations
}

fn step(executor: &mut dyn TextExecutor, tokens: &[(SequenceId, &[u32])]) {
    const NONE: StepPart<'static> = StepPart { sequence: SequenceId(0), tokens: &[], wanted: Wanted::Last };
    let mut parts = [NONE; 3];
    for (part, &(sequence, tokens)) in parts.iter_mut().zip(tokens) {
        *part = StepPart { sequence, tokens, wanted: Wanted::Last };
    }
    executor.step(&parts[..tokens.len()]).unwrap();
}

fn executor(fixture: &str, threads: usize) -> Box<dyn TextExecutor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/decoders").join(fixture);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let local = entry.unwrap().path();
        let name = local.file_name().unwrap().to_str().unwrap();
        LocalFile { path: name.parse().unwrap(), digest: Digest::of(name), local: local.clone() }
    });
    let pool = PoolOptions { threads, ..PoolOptions::default() };
    let runtime = NativeRuntime::with(NativeOptions { pool, ..NativeOptions::default() });
    match runtime.load(&LocalFiles(files.collect()), &LoadOptions::default()).unwrap() {
        LoadedModel::Text(model) => model.executor().unwrap(),
        _ => panic!("{fixture} is a language model"),
    }
}
