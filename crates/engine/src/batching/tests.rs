//! Many callers of one model. The model is held by a gate, so that it is known who waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::Code;

use super::*;

/// Numbers of one kind; only the same kind is joined.
#[derive(Debug, Clone)]
struct Numbers {
    kind: char,
    values: Vec<f32>,
}

impl Joinable for Numbers {
    fn rows(&self) -> usize {
        self.values.len()
    }

    fn fits(&self, other: &Numbers) -> bool {
        self.kind == other.kind
    }
}

fn numbers(kind: char, values: &[f32]) -> Numbers {
    Numbers { kind, values: values.to_vec() }
}

type Queue = Batcher<Numbers, Vec<f32>>;

impl Queue {
    /// Returns the output alone.
    fn output(&self, item: Numbers, patience: &Patience, run: Run<'_, Numbers, Vec<f32>>) -> Result<Vec<f32>> {
        self.compute(item, patience, run).map(|answered| answered.output)
    }
}

fn queue(settings: BatchSettings) -> Queue {
    Batcher::new("a_v1", settings)
}

/// A model that notes its batches and lets each begin only when the test says so.
struct Held {
    began: mpsc::Sender<Vec<Numbers>>,
    may_go: Mutex<mpsc::Receiver<()>>,
}

/// The test's side of it.
struct Gate {
    has_begun: mpsc::Receiver<Vec<Numbers>>,
    go: mpsc::Sender<()>,
}

impl Gate {
    fn of_model() -> (Held, Gate) {
        let (began, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        (Held { began, may_go: Mutex::new(may_go) }, Gate { has_begun, go })
    }

    /// Waits for the next batch to begin and returns the values of its items.
    fn next_batch(&self) -> Vec<Vec<f32>> {
        self.has_begun.recv().unwrap().into_iter().map(|item| item.values).collect()
    }

    fn let_one_go(&self) {
        self.go.send(()).unwrap();
    }
}

impl Held {
    /// Divides every number by three; fails on negative ones, and stops over infinity.
    fn run(&self, items: &[Numbers]) -> Result<Vec<Vec<f32>>> {
        self.began.send(items.to_vec()).unwrap();
        self.may_go.lock().unwrap().recv().unwrap();
        divide(items)
    }
}

fn divide(items: &[Numbers]) -> Result<Vec<Vec<f32>>> {
    let all = || items.iter().flat_map(|item| &item.values);
    assert!(all().all(|value| value.is_finite()), "no number");
    match all().find(|value| **value < 0.0) {
        Some(negative) => Err(Error::invalid("x", negative, "must not be negative")),
        None => Ok(items.iter().map(|item| item.values.iter().map(|value| value / 3.0).collect()).collect()),
    }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never happened: {what}");
        thread::yield_now();
    }
}

fn waiting(queue: &Queue, count: u64) {
    eventually("they wait", || queue.statistics().waiting == count);
}

#[test]
fn time_in_the_queue_is_not_told_as_time_of_the_model() {
    let queue = queue(BatchSettings::default());
    let (model, gate) = Gate::of_model();
    let run = |items: &[Numbers]| model.run(items);
    thread::scope(|scope| {
        let ask = || scope.spawn(|| queue.compute(numbers('a', &[3.0]), &Patience::default(), &run).unwrap());
        let first = ask();
        gate.next_batch();
        let others = [(); 2].map(|()| ask());
        waiting(&queue, 2);
        let both_wait = Instant::now();
        eventually("time passes", || both_wait.elapsed() >= Duration::from_millis(20));
        gate.let_one_go();
        gate.next_batch();
        gate.let_one_go();
        let first = first.join().unwrap().queued;
        let others = others.map(|asker| asker.join().unwrap().queued);
        assert!(others.iter().all(|queued| *queued >= Duration::from_millis(20)), "{others:?}");
        let of_batch: Duration = others.into_iter().sum();
        let counted = (first.as_micros() + of_batch.as_micros()) as u64;
        assert_eq!(queue.statistics().queue_micros, counted, "what is told is what is counted");
    });
}

#[test]
fn those_who_wait_are_computed_together_with_the_bits_of_one_by_one() {
    let queue = queue(BatchSettings::default());
    let (model, gate) = Gate::of_model();
    let run = |items: &[Numbers]| model.run(items);
    thread::scope(|scope| {
        let ask = |value: f32| {
            let (queue, run) = (&queue, &run);
            scope.spawn(move || queue.output(numbers('a', &[value, value * 0.1]), &Patience::default(), run).unwrap())
        };
        let first = ask(0.1);
        assert_eq!(gate.next_batch().len(), 1, "a lone caller waits for nobody");
        let mut others = Vec::new();
        for number in 1..=8 {
            others.push(ask(number as f32));
            waiting(&queue, number);
        }
        gate.let_one_go();
        let batch: Vec<f32> = gate.next_batch().iter().map(|values| values[0]).collect();
        assert_eq!(batch, (1..=8).map(|number| number as f32).collect::<Vec<_>>(), "in the order in which they came");
        gate.let_one_go();
        let answers = [first].into_iter().chain(others).map(|asker| asker.join().unwrap());
        for (answer, value) in answers.zip([0.1, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) {
            assert_eq!(vec![answer], divide(&[numbers('a', &[value, value * 0.1])]).unwrap());
        }
    });
    let statistics = queue.statistics();
    assert_eq!((statistics.batches, statistics.items, statistics.rows), (2, 9, 18));
    assert_eq!(statistics.sizes, [0, 1, 0, 0, 1, 0, 0, 0], "one batch of 2 rows and one of 16");
    assert_eq!((statistics.waiting, statistics.failed), (0, 0));
    assert!(statistics.queue_micros > 0 && statistics.compute_micros > 0, "{statistics:?}");
}

#[test]
fn only_what_fits_is_joined_and_nobody_is_overtaken_twice() {
    let queue = queue(BatchSettings { size: 4, ..BatchSettings::default() });
    let (model, gate) = Gate::of_model();
    let run = |items: &[Numbers]| model.run(items);
    thread::scope(|scope| {
        let mut asked = 0;
        let mut ask = |item: Numbers| {
            let (queue, run) = (&queue, &run);
            let asker = scope.spawn(move || queue.output(item, &Patience::default(), run).unwrap());
            if asked > 0 {
                waiting(queue, asked);
            }
            asked += 1;
            asker
        };
        let _first = ask(numbers('a', &[0.0]));
        assert_eq!(gate.next_batch(), [[0.0]]);
        let _askers = [
            ask(numbers('a', &[1.0])),
            ask(numbers('b', &[2.0])),
            ask(numbers('a', &[3.0, 3.5])),
            // The batch of `a` has no room for two more rows, and what comes after them does not overtake them.
            ask(numbers('a', &[4.0, 4.5])),
            ask(numbers('a', &[5.0])),
            // More rows than a batch has.
            ask(numbers('b', &[6.0; 5])),
        ];
        let expected =
            [vec![vec![1.0], vec![3.0, 3.5]], vec![vec![2.0]], vec![vec![4.0, 4.5], vec![5.0]], vec![vec![6.0; 5]]];
        for batch in expected {
            gate.let_one_go();
            assert_eq!(gate.next_batch(), batch);
        }
        gate.let_one_go();
    });
}

#[test]
fn model_that_joins_nothing_computes_one_by_one_behind_the_same_queue() {
    let queue = queue(BatchSettings::default().one_by_one());
    let (model, gate) = Gate::of_model();
    let run = |items: &[Numbers]| model.run(items);
    thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| queue.output(numbers('a', &[1.0]), &Patience::default(), &run).unwrap()))
            .collect();
        waiting(&queue, 3);
        for _ in 0..4 {
            assert_eq!(gate.next_batch().len(), 1);
            assert!(gate.has_begun.try_recv().is_err(), "one at a time");
            gate.let_one_go();
        }
        askers.into_iter().for_each(|asker| drop(asker.join().unwrap()));
    });
    assert_eq!(queue.statistics().batches, 4);
}

#[test]
fn bad_item_and_panic_are_told_to_those_they_belong_to() {
    let queue = queue(BatchSettings::default());
    let (model, gate) = Gate::of_model();
    let run = |items: &[Numbers]| model.run(items);
    thread::scope(|scope| {
        let ask = |value: f32| {
            let (queue, run) = (&queue, &run);
            scope.spawn(move || queue.output(numbers('a', &[value]), &Patience::default(), run))
        };
        let first = ask(9.0);
        gate.next_batch();
        let askers = [1.0, -2.0, f32::INFINITY, 6.0].map(|value| {
            let before = queue.statistics().waiting;
            let asker = ask(value);
            waiting(&queue, before + 1);
            asker
        });
        gate.let_one_go();
        assert_eq!(gate.next_batch().len(), 4);
        gate.let_one_go();
        for _ in 0..4 {
            assert_eq!(gate.next_batch().len(), 1, "the batch failed, so each is computed alone");
            gate.let_one_go();
        }
        assert_eq!(first.join().unwrap().unwrap(), [3.0]);
        let [good, negative, infinite, also_good] = askers.map(|asker| asker.join().unwrap());
        assert_eq!((good.unwrap(), also_good.unwrap()), (vec![1.0 / 3.0], vec![2.0]));
        assert!(negative.unwrap_err().to_string().contains("-2"));
        let panic = infinite.unwrap_err();
        assert_eq!(panic.code(), Code::Internal);
        assert!(panic.to_string().contains("`a_v1`") && panic.to_string().contains("no number"), "{panic}");
    });
    let statistics = queue.statistics();
    assert_eq!((statistics.failed, statistics.repeated, statistics.items), (2, 1, 5));
    assert_eq!(queue.output(numbers('a', &[3.0]), &Patience::default(), &divide).unwrap(), [1.0], "it goes on");
}

#[test]
fn model_that_forgets_an_output_is_an_error_of_each() {
    let queue = queue(BatchSettings::default());
    let nothing = |_: &[Numbers]| Ok(Vec::new());
    let error = queue.output(numbers('a', &[1.0]), &Patience::default(), &nothing).unwrap_err();
    assert!(error.to_string().contains("0 outputs for 1 items"), "{error}");
}

#[test]
fn those_whose_time_is_up_or_who_are_gone_are_not_computed() {
    let queue = queue(BatchSettings::default());
    let (model, gate) = Gate::of_model();
    let run = |items: &[Numbers]| model.run(items);
    thread::scope(|scope| {
        let ask = |value: f32, patience: Patience| {
            let before = queue.statistics().waiting;
            let (queue, run) = (&queue, &run);
            let asker = scope.spawn(move || queue.output(numbers('a', &[value]), &patience, run));
            if value > 0.0 {
                waiting(queue, before + 1);
            }
            asker
        };
        let first = ask(0.0, Patience::default());
        gate.next_batch();
        let cancel = Cancel::default();
        let gone = ask(1.0, Patience::new(None, cancel.clone()));
        let also_gone = ask(2.0, Patience::new(Some(Duration::from_secs(600)), cancel.clone()));
        let patient = ask(3.0, Patience::new(Some(Duration::from_secs(600)), Cancel::default()));
        let hasty = {
            let (queue, run) = (&queue, &run);
            let patience = Patience::new(Some(Duration::from_millis(30)), Cancel::default());
            scope.spawn(move || queue.output(numbers('a', &[4.0]), &patience, run))
        };
        // It leaves while the model is still held.
        let error = hasty.join().unwrap().unwrap_err();
        assert_eq!((error.code(), error.to_string().contains("0.03 s")), (Code::Deadline, true), "{error}");
        cancel.set();
        gate.let_one_go();
        assert_eq!(gate.next_batch(), [[3.0]], "nobody else is left");
        gate.let_one_go();
        for asker in [gone, also_gone] {
            assert_eq!(asker.join().unwrap().unwrap_err().code(), Code::Cancelled);
        }
        assert_eq!(first.join().unwrap().unwrap(), [0.0]);
        assert_eq!(patient.join().unwrap().unwrap(), [1.0]);
    });
    let statistics = queue.statistics();
    assert_eq!((statistics.expired, statistics.cancelled, statistics.items, statistics.failed), (1, 2, 2, 0));

    let late = Patience::new(Some(Duration::ZERO), Cancel::default());
    assert_eq!(queue.output(numbers('a', &[1.0]), &late, &divide).unwrap_err().code(), Code::Deadline);
}

#[test]
fn ten_thousand_at_once_are_refused_but_for_those_who_find_room() {
    const ALL: usize = 10_000;
    let queue = queue(BatchSettings { queued: 7, ..BatchSettings::default() });
    let (model, gate) = Gate::of_model();
    let run = |items: &[Numbers]| model.run(items);
    let refused = AtomicUsize::new(0);
    thread::scope(|scope| {
        let ask = || {
            let (queue, run) = (&queue, &run);
            scope.spawn(move || queue.output(numbers('a', &[3.0]), &Patience::default(), run).unwrap())
        };
        let first = ask();
        gate.next_batch();
        let inside: Vec<_> = (0..7).map(|_| ask()).collect();
        waiting(&queue, 7);
        let crowds: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..ALL / 4 {
                        let error = queue.output(numbers('a', &[3.0]), &Patience::default(), &run).unwrap_err();
                        assert_eq!(error.code(), Code::Exhausted);
                        assert!(error.to_string().contains("7 waiting requests for `a_v1`"), "{error}");
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        crowds.into_iter().for_each(|crowd| crowd.join().unwrap());
        let state = queue.lock();
        assert_eq!(state.queue.len(), 7, "what is refused leaves nothing behind");
        assert!(state.queue.capacity() <= 16);
        drop(state);
        gate.let_one_go();
        gate.let_one_go();
        for asker in [first].into_iter().chain(inside) {
            assert_eq!(asker.join().unwrap(), [1.0]);
        }
    });
    assert_eq!(refused.into_inner(), ALL);
    assert_eq!(queue.statistics().refused, ALL as u64);
}

#[test]
fn those_who_are_gone_make_room_in_a_full_queue() {
    let queue = queue(BatchSettings { queued: 1, ..BatchSettings::default() });
    let (model, gate) = Gate::of_model();
    let run = |items: &[Numbers]| model.run(items);
    thread::scope(|scope| {
        let first = scope.spawn(|| queue.output(numbers('a', &[0.0]), &Patience::default(), &run));
        gate.next_batch();
        let cancel = Cancel::default();
        let patience = Patience::new(None, cancel.clone());
        let gone = scope.spawn(|| queue.output(numbers('a', &[1.0]), &{ patience }, &run));
        waiting(&queue, 1);
        cancel.set();
        let next = scope.spawn(|| queue.output(numbers('a', &[3.0]), &Patience::default(), &run));
        assert_eq!(gone.join().unwrap().unwrap_err().code(), Code::Cancelled);
        waiting(&queue, 1);
        gate.let_one_go();
        assert_eq!(gate.next_batch(), [[3.0]]);
        gate.let_one_go();
        assert_eq!(next.join().unwrap().unwrap(), [1.0]);
        first.join().unwrap().unwrap();
    });
}

#[test]
fn with_a_delay_the_first_one_waits_for_others_until_the_batch_is_full() {
    // Nothing but a full batch ends so long a delay.
    let queue = queue(BatchSettings { size: 3, delay: Duration::from_secs(600), ..BatchSettings::default() });
    let run = |items: &[Numbers]| {
        assert_eq!(items.len(), 3);
        divide(items)
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| queue.output(numbers('a', &[3.0]), &Patience::default(), &run).unwrap());
        }
    });
    assert_eq!(queue.statistics().batches, 1);

    let hurried = Patience::new(Some(Duration::from_secs(1)), Cancel::default());
    assert_eq!(queue.output(numbers('a', &[3.0]), &hurried, &divide).unwrap(), [1.0], "its time ends the delay");
}
