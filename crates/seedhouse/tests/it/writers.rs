//! Many writers over two server processes on one folder, which are killed meanwhile: no version is lost, none is made
//! twice, and the ordinals have no gap.
//!
//! `SEEDHOUSE_TEST_WRITERS=64x1000` runs the full size (writers x creations each) and `SEEDHOUSE_TEST_KILLS` says how often
//! a server is killed; the defaults are small. Kills are spread over the work, not over time, so that a slow machine
//! gets to write as well: after every so many answers one server is killed, at a moment that differs from kill to kill,
//! and another takes its place while the other one goes on writing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Seedhouse, Server};

/// The size of a run.
#[derive(Clone, Copy)]
struct Size {
    writers: usize,
    each: usize,
    kills: usize,
}

impl Size {
    fn from_environment() -> Size {
        let size = std::env::var("SEEDHOUSE_TEST_WRITERS").unwrap_or_else(|_| "8x40".into());
        let (writers, each) = size.split_once('x').expect("SEEDHOUSE_TEST_WRITERS has the form 64x1000");
        let kills = std::env::var("SEEDHOUSE_TEST_KILLS").unwrap_or_else(|_| "12".into());
        Size { writers: writers.parse().unwrap(), each: each.parse().unwrap(), kills: kills.parse().unwrap() }
    }

    fn total(self) -> usize {
        self.writers * self.each
    }
}

/// What writers share: where the servers are now, and what came of their requests.
struct Shared {
    clients: Mutex<[Client; 2]>,
    answered: AtomicUsize,
    refused: AtomicUsize,
    broken_off: AtomicUsize,
}

/// What the servers went through.
#[derive(Default)]
struct Figures {
    kills: usize,
    slowest_start: Duration,
}

#[test]
fn writers_over_two_killed_processes_leave_no_gap_and_no_double() {
    let size = Size::from_environment();
    let seedhouse = Seedhouse::new();
    let mut servers = [seedhouse.serve(), seedhouse.serve()];
    assert_eq!(servers[0].post_json("/api/models", &json!({"name": "m"})).status, 201);
    let shared = Arc::new(Shared {
        clients: Mutex::new(servers.each_ref().map(Server::client)),
        answered: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        broken_off: AtomicUsize::new(0),
    });
    let begun = Instant::now();
    let threads: Vec<_> = (0..size.writers)
        .map(|writer| {
            let shared = shared.clone();
            thread::spawn(move || {
                (0..size.each).map(|number| create(&shared, writer, &format!("{writer}-{number}"))).collect::<Vec<_>>()
            })
        })
        .collect();
    let done = || threads.iter().all(thread::JoinHandle::is_finished);
    let figures = kill_until(&mut servers, &seedhouse, &shared, size, done);
    let answers: BTreeMap<String, Value> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    print(size, begun.elapsed(), &figures, &shared);

    assert!(figures.kills > size.kills / 2, "the writers were done after {} of {} kills", figures.kills, size.kills);
    assert_eq!(answers.len(), size.total());
    replay(&shared, &answers);
    check_registry(&seedhouse, size, &answers);
}

/// Sends every request once more.
fn replay(shared: &Shared, answers: &BTreeMap<String, Value>) {
    const THREADS: usize = 16;
    let answers: Vec<_> = answers.iter().collect();
    thread::scope(|scope| {
        for (number, part) in answers.chunks(answers.len().div_ceil(THREADS)).enumerate() {
            scope.spawn(move || {
                for (key, answer) in part {
                    let (_, again) = create(shared, number, key);
                    assert_eq!(&again, *answer, "a replay of {key} returns the same version");
                }
            });
        }
    });
}

fn check_registry(seedhouse: &Seedhouse, size: Size, answers: &BTreeMap<String, Value>) {
    let versions = seedhouse.json(&["versions", "m"]);
    let mut ordinals: Vec<u64> =
        versions.as_array().unwrap().iter().map(|entry| entry["ordinal"].as_u64().unwrap()).collect();
    ordinals.sort_unstable();
    assert_eq!(ordinals, (1..=(size.total() + 1) as u64).collect::<Vec<_>>());
    let mut ids: Vec<&str> = answers.values().map(|answer| answer["model_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), size.total(), "no two requests were given one version");
    let audit = seedhouse.run(&["audit", "verify"]);
    assert_eq!(audit.code, 0, "{}", audit.stderr);
}

/// Creates a version, sending the request again until it is answered.
fn create(shared: &Shared, writer: usize, key: &str) -> (String, Value) {
    loop {
        let client = shared.clients.lock().unwrap()[writer % 2].clone();
        match send(shared, &client, key) {
            Some(answer) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
                return (key.to_owned(), answer);
            }
            // The server is down, or busy: 429 and 503 ask to come again.
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn send(shared: &Shared, client: &Client, key: &str) -> Option<Value> {
    let body = json!({"description": format!("made with {key}")});
    let Ok(answer) = client.try_send("POST", "/api/models/m/versions", &[("idempotency-key", key)], &body) else {
        shared.broken_off.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    match answer.status {
        201 => Some(answer.json()),
        429 | 503 => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            None
        }
        _ => panic!("{}: {}", answer.status, answer.text),
    }
}

/// Kills one server after the other and starts a new one in its place, until the writers are done.
fn kill_until(
    servers: &mut [Server; 2],
    seedhouse: &Seedhouse,
    shared: &Shared,
    size: Size,
    done: impl Fn() -> bool,
) -> Figures {
    let mut figures = Figures::default();
    while !done() {
        let due = (figures.kills + 1) * size.total() / (size.kills + 1);
        if figures.kills == size.kills || shared.answered.load(Ordering::Relaxed) < due {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        // Not always in the same phase of a commit.
        thread::sleep(Duration::from_micros(1300 * (figures.kills as u64 % 17)));
        let at = figures.kills % 2;
        servers[at].kill();
        let begun = Instant::now();
        servers[at] = seedhouse.serve();
        figures.slowest_start = figures.slowest_start.max(begun.elapsed());
        figures.kills += 1;
        shared.clients.lock().unwrap()[at] = servers[at].client();
    }
    figures
}

fn print(size: Size, elapsed: Duration, figures: &Figures, shared: &Shared) {
    let Size { writers, each, .. } = size;
    let (seconds, kills) = (elapsed.as_secs_f64(), figures.kills);
    println!(
        "{writers} writers x {each} creations, {kills} kills: {seconds:.1} s, {:.0} creates/s",
        size.total() as f64 / seconds
    );
    let (refused, broken_off) = (shared.refused.load(Ordering::Relaxed), shared.broken_off.load(Ordering::Relaxed));
    println!(
        "slowest start {} ms, refused with 429 or 503: {refused}, broken off: {broken_off}",
        figures.slowest_start.as_millis()
    );
}
