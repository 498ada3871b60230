//! The scheduler through its front door: many callers, a fake model.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{LoadOptions, LoadedModel, Runtime as _, SequenceId};
use seedhouse_core::{Code, Result};
use seedhouse_testkit::fake_runtime::{END_OF_TEXT, FakeRuntime, VOCAB_SIZE, fake_files, one_hot};

use super::settings::TextSettings;
use crate::TextPipeline;
use crate::text::beam::Beams;
use crate::text::generation::{Continuation, FinishReason, GenerateRequest, Generation, Prompt, ServedText};
use crate::text::sampling::{Sampling, SamplingParameters};

fn served(runtime: &FakeRuntime, settings: TextSettings) -> ServedText {
    let model = runtime.load(&fake_files("a.fake-text"), &LoadOptions::default()).unwrap();
    let LoadedModel::Text(model) = model else { panic!("`.fake-text` is a text model") };
    ServedText::new(TextPipeline::new("a_v1", model).unwrap(), settings)
}

fn request(prompt: &str, max_new_tokens: usize) -> GenerateRequest {
    GenerateRequest::new(Prompt::Text(prompt.into()), max_new_tokens)
}

fn sampled(prompt: &str, max_new_tokens: usize, seed: u64) -> GenerateRequest {
    let parameters = SamplingParameters { temperature: 1.0, seed, ..SamplingParameters::default() };
    GenerateRequest { sampling: Sampling::new(&parameters).unwrap(), ..request(prompt, max_new_tokens) }
}

fn run(served: &ServedText, request: &GenerateRequest) -> Result<Generation> {
    served.generate(request, &mut |_| ControlFlow::Continue(()))
}

fn answer(served: &ServedText, request: &GenerateRequest) -> Continuation {
    run(served, request).unwrap().first().clone()
}

/// A model whose next token depends on everything before it.
fn hashing() -> FakeRuntime {
    FakeRuntime::new(|tokens| {
        let mut state = 7u32;
        for token in tokens {
            state = (state ^ token).wrapping_mul(0x0100_0193).rotate_left(7);
        }
        (0..VOCAB_SIZE as u32)
            .map(|id| if id >= END_OF_TEXT { -50.0 } else { (state.wrapping_mul(id * 2 + 1) >> 28) as f32 / 3.0 })
            .collect()
    })
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never happened: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn answers_do_not_depend_on_what_else_is_served() {
    let (text, other) = ("the same beginning of all, and then ", "quite another");
    let requests: Vec<GenerateRequest> = (0..24u64)
        .map(|index| {
            sampled(&format!("{}{index}", if index % 3 == 0 { other } else { text }), 20 + index as usize, index)
        })
        .collect();
    let alone: Vec<Continuation> =
        requests.iter().map(|request| answer(&served(&hashing(), TextSettings::default()), request)).collect();
    for settings in [
        TextSettings::default(),
        TextSettings { running: 2, prompt_tokens: 3, ..TextSettings::default() },
        TextSettings { prompt_tokens: 1, unread: 1, ..TextSettings::default() },
    ] {
        // A cache that holds but a few of them at once.
        for cache in [1 << 20, 200, 90] {
            let served = served(&hashing().with_cache(cache), settings);
            let (start, results) = (Barrier::new(requests.len()), Mutex::new(vec![None; requests.len()]));
            thread::scope(|scope| {
                for (index, request) in requests.iter().enumerate() {
                    let (start, results, served) = (&start, &results, &served);
                    scope.spawn(move || {
                        start.wait();
                        results.lock().unwrap()[index] = Some(answer(served, request));
                    });
                }
            });
            for (index, (result, alone)) in results.into_inner().unwrap().into_iter().zip(&alone).enumerate() {
                assert_eq!(result.as_ref(), Some(alone), "request {index} with a cache of {cache} and {settings:?}");
            }
        }
    }
}

#[test]
fn full_cache_makes_requests_wait_and_fails_none() {
    let served = served(&hashing().with_cache(100), TextSettings::default());
    let expected: Vec<Continuation> = (0..8).map(|seed| answer(&served, &sampled("hello", 80, seed))).collect();
    let results = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|seed| {
                scope.spawn({
                    let served = &served;
                    move || answer(served, &sampled("hello", 80, seed))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(results, expected);
}

#[test]
fn prompt_beyond_the_cache_is_refused_and_the_cache_is_the_longest_answer() {
    let served = served(&FakeRuntime::new(|_| one_hot(97)).with_cache(50), TextSettings::default());
    let error = run(&served, &request(&"x".repeat(60), 5)).unwrap_err();
    assert!(error.to_string().contains("60 tokens, but the context of `a_v1` holds 50"), "{error}");
    let longest = answer(&served, &request("x", 200));
    assert_eq!((longest.text.len(), longest.finish), (49, FinishReason::Length));
}

#[test]
fn common_beginning_of_prompts_is_computed_once() {
    let steps = Arc::new(Mutex::new(Vec::<usize>::new()));
    let seen = Arc::clone(&steps);
    let runtime =
        hashing().on_step(move |parts| seen.lock().unwrap().extend(parts.iter().map(|part| part.tokens.len())));
    let served = served(&runtime, TextSettings::default());
    let system = "a long system message that all requests begin with: ".repeat(3);
    let first = run(&served, &request(&format!("{system}one"), 4)).unwrap();
    assert_eq!(first.cached_tokens, 0);
    let second = run(&served, &request(&format!("{system}two"), 4)).unwrap();
    assert!(second.cached_tokens >= system.len(), "{}", second.cached_tokens);
    let again = run(&served, &request(&format!("{system}one"), 4)).unwrap();
    assert_eq!(again.cached_tokens, system.len() + 2, "all but the token whose logits are wanted");
    assert_eq!(again.answers, first.answers);
    let statistics = served.statistics();
    assert_eq!((statistics.prefix_hits, statistics.finished, statistics.first_tokens), (2, 3, 3));
    assert!(statistics.shared_tokens >= 2 * system.len() as u64);
    assert!(steps.lock().unwrap().iter().sum::<usize>() < system.len() + 30);
}

#[test]
fn several_answers_share_their_prompt_from_the_first_step_on() {
    let served = served(&hashing(), TextSettings { prompt_tokens: 16, ..TextSettings::default() });
    let prompt = "x".repeat(150);
    let generation = run(&served, &GenerateRequest { answers: 6, ..sampled(&prompt, 5, 1) }).unwrap();
    assert_eq!(generation.answers.len(), 6);
    let statistics = served.statistics();
    assert!(statistics.prompt_tokens < 150 + 6 * 3, "{statistics:?}");
}

#[test]
fn long_prompt_does_not_stop_the_others() {
    let longest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&longest);
    let runtime = FakeRuntime::new(|_| one_hot(97)).with_info(|info| info.context_length = 20_000);
    let runtime = runtime.on_step(move |parts| {
        seen.fetch_max(parts.iter().map(|part| part.tokens.len()).sum(), Ordering::SeqCst);
        thread::sleep(Duration::from_millis(1));
    });
    let served = served(&runtime, TextSettings { prompt_tokens: 100, ..TextSettings::default() });
    let is_read = AtomicBool::new(false);
    thread::scope(|scope| {
        let (started, first) = mpsc::channel();
        let (served, is_read) = (&served, &is_read);
        let short = scope.spawn(move || {
            let mut while_reading = 0;
            let mut request = request("short", 5000);
            request.client = "other".into();
            served
                .generate(&request, &mut |piece| {
                    let _ = started.send(());
                    while_reading += usize::from(!piece.text.is_empty() && !is_read.load(Ordering::SeqCst));
                    if is_read.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .unwrap();
            while_reading
        });
        first.recv().unwrap();
        run(served, &request(&"long ".repeat(2000), 1)).unwrap();
        is_read.store(true, Ordering::SeqCst);
        // 10,000 tokens are 100 pieces, and each step has a token for the short one.
        assert!(short.join().unwrap() >= 90);
    });
    assert!(longest.load(Ordering::SeqCst) <= 101);
}

#[test]
fn full_queue_refuses_at_once_and_the_others_are_answered() {
    let gate = Arc::new(Barrier::new(2));
    let (at_gate, is_first) = (Arc::clone(&gate), AtomicBool::new(true));
    let runtime = FakeRuntime::alphabet().on_step(move |_| {
        if is_first.swap(false, Ordering::SeqCst) {
            at_gate.wait();
        }
    });
    let served = served(&runtime, TextSettings { running: 1, queued: 3, ..TextSettings::default() });
    thread::scope(|scope| {
        let busy = scope.spawn(|| answer(&served, &request("a", 3)));
        eventually("the first one runs", || served.statistics().running == 1);
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| answer(&served, &request("b", 3)))).collect();
        eventually("three wait", || served.statistics().queued == 3);
        for _ in 0..1000 {
            let error = run(&served, &request("c", 3)).unwrap_err();
            assert_eq!(error.code(), Code::Exhausted);
            assert_eq!(error.to_string(), "3 waiting generations are in progress, which is the limit");
        }
        gate.wait();
        assert_eq!(busy.join().unwrap().text, "bcd");
        assert!(waiting.into_iter().all(|thread| thread.join().unwrap().text == "cde"));
    });
    assert_eq!((served.statistics().queued, served.statistics().finished), (0, 4));
}

#[test]
fn clients_take_turns_however_many_requests_one_has() {
    let gate = Arc::new(Barrier::new(2));
    let (at_gate, is_first) = (Arc::clone(&gate), AtomicBool::new(true));
    // The prompts in the order in which the model gets them; answers pass through the threads of their readers.
    let prompts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&prompts);
    let runtime = FakeRuntime::alphabet().on_step(move |parts| {
        let prompt_ends = parts.iter().filter_map(|part| part.tokens.last().copied());
        seen.lock().unwrap().extend(prompt_ends.filter(|token| [u32::from(b'm'), u32::from(b'f')].contains(token)));
        if is_first.swap(false, Ordering::SeqCst) {
            at_gate.wait();
        }
    });
    let served = served(&runtime, TextSettings { running: 1, ..TextSettings::default() });
    thread::scope(|scope| {
        let ask = |client: &'static str, prompt: &'static str| {
            let served = &served;
            scope.spawn(move || run(served, &GenerateRequest { client: client.into(), ..request(prompt, 3) }).unwrap());
        };
        ask("many", "m");
        eventually("the first one runs", || served.statistics().running == 1);
        (0..10).for_each(|_| ask("many", "m"));
        eventually("ten wait", || served.statistics().queued == 10);
        ask("few", "f");
        eventually("eleven wait", || served.statistics().queued == 11);
        gate.wait();
    });
    let prompts = prompts.lock().unwrap();
    let place = prompts.iter().position(|token| *token == u32::from(b'f')).unwrap();
    assert!(place <= 2, "the only request of a client came as number {place} of {prompts:?}");
}

#[test]
fn reader_who_takes_nothing_waits_alone() {
    let served = served(
        &FakeRuntime::new(|_| one_hot(97)).with_info(|info| info.context_length = 10_000),
        TextSettings { running: 1, unread: 4, ..TextSettings::default() },
    );
    thread::scope(|scope| {
        let (reading, blocked) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let served = &served;
        let slow = scope.spawn(move || {
            let mut is_first = true;
            served.generate(&request("slow", 2000), &mut |piece| {
                if is_first && !piece.text.is_empty() {
                    is_first = false;
                    reading.send(()).unwrap();
                    released.recv().unwrap();
                }
                ControlFlow::Continue(())
            })
        });
        blocked.recv().unwrap();
        for _ in 0..5 {
            assert_eq!(answer(served, &request("quick", 50)).text.len(), 50);
        }
        let chosen = served.statistics().new_tokens - 250;
        assert!(chosen <= 8, "{chosen} tokens were chosen for a reader who took one");
        release.send(()).unwrap();
        assert_eq!(slow.join().unwrap().unwrap().first().text.len(), 2000);
    });
}

#[test]
fn callers_who_leave_make_room() {
    let served = served(
        &FakeRuntime::new(|_| one_hot(97)).with_info(|info| info.context_length = 1_000_000),
        TextSettings { running: 2, ..TextSettings::default() },
    );
    for _ in 0..20 {
        let generation = served.generate(&request("x", 900_000), &mut |_| ControlFlow::Break(())).unwrap();
        assert_eq!(generation.first().finish, FinishReason::Cancelled);
    }
    assert_eq!(answer(&served, &request("y", 10)).text.len(), 10);
    eventually("nothing runs", || served.statistics().running == 0);
    assert_eq!(served.statistics().finished, 21);
}

#[test]
fn idle_scheduler_does_no_steps_and_ends_with_its_model() {
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&steps);
    let runtime = FakeRuntime::alphabet().on_step(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let served = served(&runtime, TextSettings::default());
    answer(&served, &request("x", 2));
    let after = steps.load(Ordering::SeqCst);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(steps.load(Ordering::SeqCst), after);
    drop(served);
    assert_eq!(Arc::strong_count(&steps), 2, "the runtime keeps its hook; no executor does");
}

#[test]
fn panic_in_a_step_fails_its_requests_and_nothing_else() {
    let panics = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&panics);
    let runtime = hashing().on_step(move |_| assert!(!armed.swap(false, Ordering::SeqCst), "on purpose"));
    let served = served(&runtime, TextSettings::default());
    let expected = answer(&served, &sampled("hello there", 30, 3));
    panics.store(true, Ordering::SeqCst);
    let error = run(&served, &request("hello there", 30)).unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("`a_v1`")), (Code::Internal, true), "{error}");
    assert_eq!(answer(&served, &sampled("hello there", 30, 3)), expected);
    assert_eq!(runtime.executor_count(), 2);
}

#[test]
fn request_that_waits_while_a_step_panics_is_answered() {
    // The second request is paused, since nobody reads it, while the step of the third panics.
    let (panics, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
    let armed = Arc::clone(&panics);
    let runtime = hashing().on_step(move |parts| {
        let is_meant = parts.iter().any(|part| part.tokens.contains(&u32::from(b'!')));
        assert!(!(is_meant && armed.swap(false, Ordering::SeqCst)), "on purpose");
    });
    let served = served(&runtime, TextSettings { unread: 2, ..TextSettings::default() });
    let expected = answer(&served, &sampled("patient", 50, 9));
    thread::scope(|scope| {
        let held = gate.lock().unwrap();
        let patient = scope.spawn(|| {
            let generation = served.generate(&sampled("patient", 50, 9), &mut |_| {
                drop(gate.lock().unwrap());
                ControlFlow::Continue(())
            });
            generation.unwrap().first().clone()
        });
        eventually("two pieces are unread", || served.statistics().new_tokens >= 52);
        panics.store(true, Ordering::SeqCst);
        assert_eq!(run(&served, &request("!", 5)).unwrap_err().code(), Code::Internal);
        drop(held);
        assert_eq!(patient.join().unwrap(), expected);
    });
}

#[test]
fn broken_logits_fail_one_request_and_name_the_model() {
    let runtime = FakeRuntime::new(|tokens| match tokens.first() {
        Some(33) => vec![f32::NAN; VOCAB_SIZE],
        _ => {
            thread::sleep(Duration::from_millis(1));
            one_hot(97)
        }
    });
    let served = served(&runtime, TextSettings::default());
    thread::scope(|scope| {
        let good = scope.spawn(|| answer(&served, &request("good", 60)));
        eventually("it runs", || served.statistics().new_tokens > 3);
        let error = run(&served, &request("!", 5)).unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(error.to_string().contains("`a_v1` gave the logit NaN"), "{error}");
        assert_eq!(good.join().unwrap().text.len(), 60);
    });
    assert_eq!(runtime.executor_count(), 1);
}

#[test]
fn beams_beside_others_and_in_a_small_cache_find_the_same() {
    let sampling =
        Sampling::new(&SamplingParameters { beams: Some(Beams::of_width(4)), ..SamplingParameters::default() });
    let search = GenerateRequest { sampling: sampling.unwrap(), answers: 3, ..request("beams begin here", 12) };
    let expected = run(&served(&hashing(), TextSettings::default()), &search).unwrap().answers;
    // Four beams of at most 28 tokens and little else.
    let served = served(&hashing().with_cache(150), TextSettings { running: 6, ..TextSettings::default() });
    thread::scope(|scope| {
        let others: Vec<_> = (0..6)
            .map(|seed| {
                scope.spawn({
                    let served = &served;
                    move || answer(served, &sampled("beams begin", 60, seed))
                })
            })
            .collect();
        let searches: Vec<_> = (0..3).map(|_| scope.spawn(|| run(&served, &search).unwrap().answers)).collect();
        assert!(searches.into_iter().all(|thread| thread.join().unwrap() == expected));
        assert!(others.into_iter().all(|thread| thread.join().unwrap().token_ids.len() == 60));
    });
}

#[test]
fn ids_of_sequences_are_not_confused_after_closing() {
    let opened = Arc::new(Mutex::new(Vec::<SequenceId>::new()));
    let seen = Arc::clone(&opened);
    let runtime = hashing().on_step(move |parts| {
        let mut ids: Vec<SequenceId> = parts.iter().map(|part| part.sequence).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), parts.len(), "each sequence stands in one part");
        seen.lock().unwrap().extend(ids);
    });
    let served = served(&runtime, TextSettings { running: 3, ..TextSettings::default() });
    thread::scope(|scope| {
        for seed in 0..12 {
            let served = &served;
            scope.spawn(move || answer(served, &GenerateRequest { answers: 2, ..sampled("many", 10, seed) }));
        }
    });
    assert_eq!(served.statistics().finished, 12);
    assert!(!opened.lock().unwrap().is_empty());
}
