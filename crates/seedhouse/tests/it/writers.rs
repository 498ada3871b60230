//! Many writers over two server processes on one folder, which are killed meanwhile: no version is lost, none is made
//! twice, and the ordinals have no gap.
//!
//! `SEEDHOUSE_TEST_WRITERS=64x1000` runs the full size (writers x creations each); the default is a small one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Seedhouse, Server};

fn size() -> (usize, usize) {
    let size = std::env::var("SEEDHOUSE_TEST_WRITERS").unwrap_or_else(|_| "8x40".into());
    let (writers, each) = size.split_once('x').expect("SEEDHOUSE_TEST_WRITERS has the form 64x1000");
    (writers.parse().unwrap(), each.parse().unwrap())
}

#[test]
fn writers_over_two_killed_processes_leave_no_gap_and_no_double() {
    let (writers, each) = size();
    let seedhouse = Seedhouse::new();
    let servers = [seedhouse.serve(), seedhouse.serve()];
    assert_eq!(servers[0].post_json("/api/models", &json!({"name": "m"})).status, 201);
    let clients = Arc::new(Mutex::new(servers.each_ref().map(Server::client)));
    let threads: Vec<_> = (0..writers)
        .map(|writer| {
            let clients = clients.clone();
            thread::spawn(move || {
                (0..each).map(|number| create(&clients, writer, &format!("{writer}-{number}"))).collect::<Vec<_>>()
            })
        })
        .collect();
    let servers = kill_until(servers, &seedhouse, &clients, || threads.iter().all(thread::JoinHandle::is_finished));
    let answers: BTreeMap<String, Value> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();

    assert_eq!(answers.len(), writers * each);
    for (key, answer) in &answers {
        assert_eq!(&send(&servers[0].client(), key).unwrap(), answer, "a replay of {key} returns the same version");
    }
    let versions = seedhouse.json(&["versions", "m"]);
    let mut ordinals: Vec<u64> =
        versions.as_array().unwrap().iter().map(|entry| entry["ordinal"].as_u64().unwrap()).collect();
    ordinals.sort_unstable();
    assert_eq!(ordinals, (1..=(writers * each + 1) as u64).collect::<Vec<_>>());
    let mut ids: Vec<&str> = answers.values().map(|answer| answer["model_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), writers * each, "no two requests were given one version");
    assert_eq!(seedhouse.run(&["audit", "verify"]).code, 0);
}

/// Creates a version, sending the request again until it is answered.
fn create(clients: &Mutex<[Client; 2]>, writer: usize, key: &str) -> (String, Value) {
    loop {
        let client = clients.lock().unwrap()[writer % 2].clone();
        match send(&client, key) {
            Some(answer) => return (key.to_owned(), answer),
            // The server is down, or busy: 429 and 503 ask to come again.
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn send(client: &Client, key: &str) -> Option<Value> {
    let body = json!({"description": format!("made with {key}")});
    let answer = client.try_send("POST", "/api/models/m/versions", &[("idempotency-key", key)], &body).ok()?;
    match answer.status {
        201 => Some(answer.json()),
        429 | 503 => None,
        _ => panic!("{}: {}", answer.status, answer.text),
    }
}

/// Kills one server after the other and starts a new one in its place, until the writers are done.
fn kill_until(
    servers: [Server; 2],
    seedhouse: &Seedhouse,
    clients: &Mutex<[Client; 2]>,
    done: impl Fn() -> bool,
) -> [Server; 2] {
    let mut servers = servers;
    for round in 0.. {
        thread::sleep(Duration::from_millis(20 + 13 * (round % 7)));
        if done() {
            break;
        }
        let at = (round % 2) as usize;
        servers[at].kill();
        servers[at] = seedhouse.serve();
        clients.lock().unwrap()[at] = servers[at].client();
    }
    servers
}
