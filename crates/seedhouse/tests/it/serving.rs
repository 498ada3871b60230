//! More models than fit in memory, and aliases that move while they are served: no request fails.
//!
//! `bench/many-models` runs the first for minutes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Seedhouse, Server};

const PATH: &str = "/api/inference/text/generation";
/// What a server needs beside its models: its code, threads, requests in progress, models while they are being read, and what
/// the allocator cannot give back because something small lies beside it. All forty models would take more.
const MARGIN_BYTES: u64 = 192 << 20;

fn ask(client: &Client, reference: &str) -> Answer {
    let body = json!({"model_id": reference, "prompt": "hello", "max_length": 3});
    client.try_send("POST", PATH, &[("content-type", "application/json")], &body).unwrap()
}

fn slots(server: &Server) -> Value {
    server.get("/api/slots").json()
}

fn slot<'s>(slots: &'s Value, model_id: &str) -> Option<&'s Value> {
    slots["slots"].as_array().unwrap().iter().find(|slot| slot["model_id"] == model_id)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never happened: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn resident_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`; small ones are much more likely.
    fn skewed(&mut self, count: u64) -> u64 {
        (self.next() % count).min(self.next() % count).min(self.next() % count)
    }
}

#[test]
fn forty_models_share_the_memory_of_ten_and_no_request_fails() {
    const MODELS: u64 = 40;
    const CLIENTS: u64 = 16;
    let seconds = std::env::var("SEEDHOUSE_TEST_MANY_MODELS_SECONDS").map_or(5, |text| text.parse().unwrap());
    let seedhouse = Seedhouse::new();
    let first = seedhouse.serve();
    for model in 0..MODELS {
        let form = crate::support::Form::new().text("name", &format!("m{model}"));
        let registered = first.post_form("/api/models", &form.file("tiny.gguf", &tiny_llama_gguf(model)));
        assert_eq!(registered.status, 201, "{}", registered.text);
    }
    ask(&first.client(), "m0");
    let each = slot(&slots(&first), "m0_v1").unwrap()["bytes"].as_u64().unwrap();
    drop(first);

    let budget = 10 * each;
    let server = Server::start_with(seedhouse.command(), &["--memory-budget", &budget.to_string()]);
    let (answered, most_resident, most_used) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(seconds);
    thread::scope(|scope| {
        for client_number in 0..CLIENTS {
            let (client, answered) = (server.client(), &answered);
            scope.spawn(move || {
                let mut random = Random(client_number);
                while Instant::now() < until {
                    let model = format!("m{}", random.skewed(MODELS));
                    let answer = ask(&client, &model);
                    assert_eq!(answer.status, 200, "{model}: {}", answer.text);
                    assert_eq!(answer.json()["metadata"]["model_id"], format!("{model}_v1"));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while Instant::now() < until {
            most_resident.fetch_max(resident_bytes(&server), Ordering::Relaxed);
            most_used.fetch_max(slots(&server)["used_bytes"].as_u64().unwrap(), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(50));
        }
    });
    let after = slots(&server);
    println!(
        "{} answers, {} loads, {} evictions; at most {} bytes used of {budget}, {} resident",
        answered.load(Ordering::Relaxed),
        after["loads"],
        after["evictions"],
        most_used.load(Ordering::Relaxed),
        most_resident.load(Ordering::Relaxed)
    );
    assert!(after["evictions"].as_u64().unwrap() > 0, "{after}");
    assert_eq!(after["failed_loads"], 0, "{after}");
    assert!(after["used_bytes"].as_u64().unwrap() <= budget, "{after}");
    assert!(most_resident.into_inner() <= budget + MARGIN_BYTES);
}

/// Registers two versions of a base and points `champion` at the first. Returns their digests.
fn two_versions(seedhouse: &Seedhouse) -> [Value; 2] {
    let digests = [1, 2].map(|seed| {
        let file = seedhouse.file(&format!("{seed}.gguf"), &tiny_llama_gguf(seed));
        seedhouse.register("wheat", &file)["digest"].clone()
    });
    seedhouse.json(&["alias", "set", "wheat_v1", "champion"]);
    digests
}

fn move_champion(server: &Server, model_id: &str) -> Answer {
    server.send("PUT", "/api/models/wheat/aliases/champion", &[], &json!({"model_id": model_id}))
}

#[test]
fn alias_moves_two_hundred_times_under_load_and_no_request_fails() {
    let seedhouse = Seedhouse::new();
    let digests = two_versions(&seedhouse);
    let server = seedhouse.serve();
    let (is_over, seen) = (AtomicBool::new(false), Mutex::new([0_u64; 2]));
    thread::scope(|scope| {
        for _ in 0..4 {
            let client = server.client();
            let (is_over, seen, digests) = (&is_over, &seen, &digests);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let answer = ask(&client, "wheat@champion");
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    let digest = answer.json()["metadata"]["digest"].clone();
                    let which = digests.iter().position(|known| *known == digest).expect("one of the two");
                    seen.lock().unwrap()[which] += 1;
                }
            });
        }
        let flips = (0..200).find_map(|flip| {
            let moved = match flip % 4 {
                3 => server.send("POST", "/api/models/wheat/aliases/champion/rollback", &[], &Value::Null),
                _ => move_champion(&server, if flip % 2 == 0 { "wheat_v2" } else { "wheat_v1" }),
            };
            (moved.status != 200).then(|| format!("move {flip}: {}", moved.text))
        });
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(flips, None);
    });
    let seen = seen.into_inner().unwrap();
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    eventually("the old version is drained", || slots(&server)["slots"].as_array().unwrap().len() <= 2);
}

#[test]
fn candidate_that_does_not_work_never_takes_over() {
    let seedhouse = Seedhouse::new();
    let [first, _] = two_versions(&seedhouse);
    // As a failing disk would.
    let stored = seedhouse.json(&["show", "wheat_v2"])["hash"].clone();
    let hex = stored.as_str().unwrap();
    let blob = seedhouse.root().join("blobs/sha256").join(&hex[..2]).join(hex);
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, &bytes).unwrap();

    let server = seedhouse.serve();
    assert_eq!(server.post_json("/api/models", &json!({"name": "wheat", "version": "3"})).status, 201);
    let champion = |server: &Server| {
        let answer = ask(&server.client(), "wheat@champion");
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["metadata"]["digest"].clone()
    };
    assert_eq!(champion(&server), first);
    move_champion(&server, "wheat_v2").assert_problem(500, &["wheat_v2", "corrupt", hex]);
    move_champion(&server, "wheat_v3").assert_problem(409, &["wheat_v3", "cannot be served"]);
    assert_eq!(champion(&server), first);
    assert_eq!(server.get("/api/models/wheat@champion").json()["model_id"], "wheat_v1");
    assert_eq!(slots(&server)["loads"], 1, "the one that serves was never touched");

    let body = json!({"model_id": "wheat_v3", "warm": false});
    assert_eq!(server.send("PUT", "/api/models/wheat/aliases/champion", &[], &body).status, 200);
    assert_eq!(ask(&server.client(), "wheat@champion").status, 409, "who asks for it gets it");
}

#[test]
fn candidate_that_does_not_fit_beside_the_one_that_serves_is_refused() {
    let seedhouse = Seedhouse::new();
    let [first, second] = two_versions(&seedhouse);
    let server = seedhouse.serve();
    ask(&server.client(), "wheat@champion");
    let bytes = slot(&slots(&server), "wheat_v1").unwrap()["bytes"].as_u64().unwrap();
    drop(server);

    let budget = (bytes + 1000).to_string();
    let server = Server::start_with(seedhouse.command(), &["--memory-budget", &budget]);
    assert_eq!(ask(&server.client(), "wheat@champion").json()["metadata"]["digest"], first);
    move_champion(&server, "wheat_v2").assert_problem(409, &["wheat_v2", &budget]);
    assert_eq!(ask(&server.client(), "wheat@champion").json()["metadata"]["digest"], first);
    // Another process moves it: the record counts.
    seedhouse.json(&["alias", "set", "wheat_v2", "champion"]);
    assert_eq!(ask(&server.client(), "wheat@champion").json()["metadata"]["digest"], second);
}

#[test]
fn version_larger_than_the_whole_budget_is_refused_with_both_numbers() {
    let seedhouse = Seedhouse::new();
    let bytes = tiny_llama_gguf(1);
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &bytes));
    let server = Server::start_with(seedhouse.command(), &["--memory-budget", "10KiB"]);
    ask(&server.client(), "tiny").assert_problem(409, &["tiny_v1", "10240 bytes", &bytes.len().to_string()]);
    seedhouse.run(&["serve", "--memory-budget", "much"]).assert_failed(2, &["`much`", "2GiB"]);
}

#[test]
fn pinned_and_preloaded_versions_are_there_and_idle_ones_go() {
    let seedhouse = Seedhouse::new();
    two_versions(&seedhouse);
    seedhouse.register("barley", &seedhouse.file("barley.gguf", &tiny_llama_gguf(3)));
    let arguments = ["--preload", "wheat@champion,barley", "--pin", "wheat@champion", "--unload-after", "1s"];
    let server = Server::start_with(seedhouse.command(), &arguments);
    eventually("the pinned one is loaded", || {
        slot(&slots(&server), "wheat_v1").is_some_and(|slot| slot["pinned"] == true)
    });
    ask(&server.client(), "barley");
    eventually("the idle one is gone", || slot(&slots(&server), "barley_v1").is_none());
    assert!(slot(&slots(&server), "wheat_v1").is_some());
    assert_eq!(ask(&server.client(), "barley").status, 200);
}

#[test]
fn versions_are_loaded_and_unloaded_by_hand_and_statistics_tell() {
    let seedhouse = Seedhouse::new();
    let [digest, _] = two_versions(&seedhouse);
    let server = seedhouse.serve();
    let loaded = server.send("POST", "/api/models/wheat@champion/load", &[], &Value::Null);
    assert_eq!((loaded.status, &loaded.json()["digest"]), (200, &digest));
    ask(&server.client(), "wheat_v1");
    let statistics = server.get("/api/model-manager/statistics").json();
    let shown = slot(&statistics["memory"], "wheat_v1").unwrap();
    assert_eq!((&shown["state"], &shown["in_use"], &shown["digest"]), (&json!("ready"), &json!(0), &digest));
    assert!(shown["bytes"].as_u64().unwrap() > 10_000 && shown["load_seconds"].as_f64().unwrap() > 0.0, "{shown}");
    assert!(shown["loaded_at"].as_str().unwrap() <= shown["last_used_at"].as_str().unwrap(), "{shown}");

    let unload = || server.send("POST", "/api/models/wheat_v1/unload", &[], &Value::Null).json();
    assert_eq!(unload(), json!({"model_id": "wheat_v1", "was_loaded": true, "in_use": 0}));
    assert_eq!(unload()["was_loaded"], false);
    assert_eq!(slots(&server)["slots"], json!([]));
    server.send("POST", "/api/models/nothing/load", &[], &Value::Null).assert_problem(404, &["nothing"]);
}
