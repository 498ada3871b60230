//! SIGKILL during registrations: after a restart exactly what was answered with 201 is there, whole.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::Digest;
use serde_json::Value;

use crate::support::{Client, Form, Seedhouse};

const KILLS: u64 = 50;

/// A small generator of delays (xorshift64*), so that a failure can be repeated.
struct Delays(u64);

impl Delays {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % below
    }
}

/// What a client knows when its server dies.
#[derive(Default)]
struct Outcome {
    /// Registrations answered with 201: id and digest of the file.
    answered: Vec<(String, String)>,
    /// The one that was sent and not answered; it may have been committed in the moment before the answer left.
    in_flight: Option<String>,
}

#[test]
fn fifty_kills_leave_exactly_the_answered_registrations() {
    let seedhouse = Seedhouse::new();
    let mut delays = Delays(0x5EED_4005E);
    let mut answered: Vec<(String, String)> = Vec::new();
    let mut unanswered = BTreeSet::new();
    for round in 0..KILLS {
        let outcome = one_round(&seedhouse, round, &mut delays);
        answered.extend(outcome.answered);
        unanswered.extend(outcome.in_flight);
    }
    assert!(answered.len() > 25, "the kills left no time to register: {}", answered.len());

    let server = seedhouse.serve();
    let listed = server.get("/api/models").json();
    let listed: BTreeSet<(String, String)> = listed.as_array().unwrap().iter().map(id_and_hash).collect();
    for registration in &answered {
        assert!(listed.contains(registration), "lost although answered with 201: {registration:?}");
    }
    let answered_ids: BTreeSet<&String> = answered.iter().map(|(id, _)| id).collect();
    for (id, _) in listed.iter().filter(|(id, _)| !answered_ids.contains(id)) {
        assert!(unanswered.contains(id), "registered although nobody asked for it: {id}");
    }
    drop(server);
    let verified = seedhouse.json(&["verify"]);
    assert_eq!(verified["intact"], true, "every registration that is there is whole");
    assert_eq!(verified["files"].as_array().unwrap().len(), listed.len());
    let leftovers: Vec<String> =
        seedhouse.stored_files().into_iter().filter(|file| file.starts_with("blobs/staging/")).collect();
    assert!(leftovers.is_empty(), "half-written uploads were swept: {leftovers:?}");
}

fn id_and_hash(model: &Value) -> (String, String) {
    (model["model_id"].as_str().unwrap().to_owned(), model["hash"].as_str().unwrap().to_owned())
}

/// Registers one file after another until the server is killed at a random moment: some answers after the start, and then
/// some microseconds later, so that a slow machine still gets to register something.
fn one_round(seedhouse: &Seedhouse, round: u64, delays: &mut Delays) -> Outcome {
    let mut server = seedhouse.serve();
    let client = server.client();
    let (progress, answers) = mpsc::channel();
    let answers_before_kill = delays.next(4);
    let kill_after = Duration::from_micros(delays.next(20_000));
    let size = 1 + delays.next(300_000) as usize;
    let client = thread::spawn(move || register_until_it_breaks(&client, round, size, &progress));
    // One word when the client starts, and one for each answer.
    for _ in 0..=answers_before_kill {
        answers.recv().unwrap();
    }
    let begun = Instant::now();
    // Spinning keeps the moment of the kill within microseconds of what was drawn.
    while begun.elapsed() < kill_after {
        std::hint::spin_loop();
    }
    server.kill();
    client.join().unwrap()
}

fn register_until_it_breaks(client: &Client, round: u64, size: usize, progress: &mpsc::Sender<()>) -> Outcome {
    let mut outcome = Outcome::default();
    progress.send(()).unwrap();
    for number in 0.. {
        let name = format!("model-{round}-{number}");
        let bytes: Vec<u8> = format!("{name} ").bytes().cycle().take(size + number).collect();
        let form = Form::new().text("name", &name).file("weights.bin", &bytes);
        match client.try_post_form("/api/models", &form) {
            Ok(answer) => {
                assert_eq!(answer.status, 201, "{}", answer.text);
                let registration = id_and_hash(&answer.json());
                assert_eq!(registration, (format!("{name}_v1"), Digest::of(&bytes).hex()));
                outcome.answered.push(registration);
                // Nobody listens any more once the kill is on its way.
                let _ = progress.send(());
            }
            Err(_) => {
                outcome.in_flight = Some(format!("{name}_v1"));
                break;
            }
        }
    }
    outcome
}
