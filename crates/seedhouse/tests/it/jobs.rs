//! Jobs over HTTP and the command line: asked for, watched, cancelled, and taken up again after the server was killed.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

/// A registry with some megabytes, which a slow scrub takes seconds to read.
fn registry_with_megabytes(count: usize) -> Seedhouse {
    let seedhouse = Seedhouse::new();
    let bytes: Vec<u8> = (0..count << 20).map(|number| (number % 251) as u8).collect();
    seedhouse.register("large", &seedhouse.file("large.bin", &bytes));
    seedhouse
}

fn submit_scrub(server: &Server, body: &Value) -> u64 {
    let answer = server.post_json("/api/scrub", body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()["id"].as_u64().unwrap()
}

/// Waits until the job is in one of these states.
fn wait(server: &Server, id: u64, states: &[&str]) -> Value {
    let begun = Instant::now();
    loop {
        let job = server.get(&format!("/api/jobs/{id}")).json();
        if states.iter().any(|state| job["state"] == *state) {
            return job;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the job is still not one of {states:?}: {job}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a slow scrub has read its first block.
fn wait_until_it_reads(server: &Server, id: u64) {
    let begun = Instant::now();
    while server.get(&format!("/api/jobs/{id}")).json()["progress"]["done"].as_u64().unwrap_or(0) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the job reads nothing");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn scrub_is_a_job_that_can_be_looked_at_and_watched() {
    let seedhouse = registry_with_megabytes(3);
    let server = seedhouse.serve();
    let answer = server.post_json("/api/scrub", &json!({"bytes_per_second": 2_000_000}));
    assert_eq!((answer.status, answer.location.as_str()), (202, "/api/jobs/1"), "{}", answer.text);
    let job = answer.json();
    assert_eq!((&job["kind"], &job["state"], &job["actor"]), (&json!("scrub"), &json!("queued"), &json!("local")));
    let request = b"GET /api/jobs/1/events HTTP/1.0\r\nhost: localhost\r\n\r\n";
    let mut events = Vec::new();
    for line in BufReader::new(server.connect(request)).lines() {
        match line.unwrap().split_once(": ") {
            Some(("event", name)) => events.push((name.to_owned(), Value::Null)),
            Some(("data", data)) => events.last_mut().unwrap().1 = serde_json::from_str(data).unwrap(),
            _ => {}
        }
    }
    let (last, before) = events.split_last().unwrap();
    assert!(before.iter().all(|(name, _)| name == "progress") && !before.is_empty(), "{events:?}");
    assert!(before.iter().any(|(_, told)| told["progress"]["total"] == 3 << 20), "{events:?}");
    assert_eq!((last.0.as_str(), &last.1["state"]), ("done", &json!("succeeded")));
    assert_eq!(last.1["result"]["size_bytes"], 3 << 20);
    assert_eq!(server.get("/api/model-manager/statistics").json()["jobs"], json!({"succeeded": 1}));
}

#[test]
fn scrub_without_a_body_or_with_a_wrong_one_is_decoded_as_it_is_meant() {
    let seedhouse = registry_with_megabytes(1);
    let server = seedhouse.serve();
    let answer = server.post("/api/scrub", "");
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.json()["request"]["bytes_per_second"], 50_000_000);
    for (body, status, field) in [
        (json!({"bytes_per_second": "fast"}), 400, "bytes_per_second"),
        (json!({"repair_from": "models"}), 400, "repair_from"),
    ] {
        server.post_json("/api/scrub", &body).assert_problem_about(status, field, &[]);
    }
    server.post_json("/api/scrub", &json!({"repair_from": "/nonexistent"})).assert_problem(404, &["/nonexistent"]);
    server.post("/api/scrub", "[]").assert_problem(400, &["object"]);
}

#[test]
fn killed_server_leaves_its_scrub_to_the_next_one() {
    let seedhouse = registry_with_megabytes(3);
    let lease = ["--job-lease", "2s"];
    let mut server = Server::start_with(seedhouse.command(), &lease);
    let id = submit_scrub(&server, &json!({"bytes_per_second": 1_000_000}));
    wait_until_it_reads(&server, id);
    server.kill();
    let shown = seedhouse.json(&["jobs", "show", &id.to_string()]);
    assert_eq!((&shown["state"], &shown["attempt"]), (&json!("running"), &json!(1)));

    let server = Server::start_with(seedhouse.command(), &lease);
    let job = wait(&server, id, &["succeeded", "failed", "cancelled"]);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(2)), "{job}");
    assert_eq!(job["result"]["artifacts"], 1);
    let log = job["log"].to_string();
    assert!(log.contains("the worker of attempt 1 was lost"), "{log}");
}

#[test]
fn stopped_server_gives_its_scrub_back_at_once_and_ends_the_streams_about_it() {
    let seedhouse = registry_with_megabytes(2);
    let mut server = seedhouse.serve();
    let id = submit_scrub(&server, &json!({"bytes_per_second": 1000}));
    wait(&server, id, &["running"]);
    let path = format!("GET /api/jobs/{id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let _watching = server.connect(path.as_bytes());
    std::thread::sleep(Duration::from_millis(100));
    server.terminate();
    assert!(server.wait_at_most(Duration::from_secs(10)).success());
    let job = seedhouse.json(&["jobs", "show", &id.to_string()]);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("queued"), &json!(0)), "{job}");
}

#[test]
fn jobs_are_listed_and_cancelled_over_http_and_the_command_line() {
    let seedhouse = registry_with_megabytes(2);
    let server = Server::start_with(seedhouse.command(), &["--job-lease", "2s"]);
    let running = submit_scrub(&server, &json!({"bytes_per_second": 1000}));
    wait(&server, running, &["running"]);
    let queued = submit_scrub(&server, &json!({}));
    let cancel = |id: u64| server.send("POST", &format!("/api/jobs/{id}/cancel"), &[], &Value::Null);
    assert_eq!(cancel(queued).json()["state"], "cancelled");
    cancel(queued).assert_problem(409, &[&format!("job `{queued}` is `cancelled`")]);
    assert_eq!(server.get("/api/jobs?limit=1").json()["next_cursor"], queued.to_string());
    let page = server.get(&format!("/api/jobs?limit=1&cursor={queued}")).json();
    assert_eq!((&page["jobs"][0]["id"], &page["next_cursor"]), (&json!(running), &Value::Null));
    let listed = seedhouse.json(&["jobs", "list", "--state", "running", "--kind", "scrub"]);
    assert_eq!(listed["jobs"][0]["id"], running);
    assert!(seedhouse.run(&["jobs"]).stdout.contains("cancelled"));
    let told = seedhouse.run(&["jobs", "cancel", &running.to_string()]);
    assert!(told.code == 0 && told.stdout.contains("ends where"), "{told:?}");
    let job = wait(&server, running, &["succeeded", "failed", "cancelled"]);
    assert_eq!((&job["state"], &job["result"]), (&json!("cancelled"), &Value::Null));
    let statistics = server.get("/api/model-manager/statistics").json();
    assert_eq!(statistics["jobs"], json!({"cancelled": 2}));

    for (path, field) in [
        ("/api/jobs?state=done", "state"),
        ("/api/jobs?kind=conquer", "kind"),
        ("/api/jobs?limit=0", "limit"),
        ("/api/jobs?limit=1001", "limit"),
        ("/api/jobs?cursor=x", "cursor"),
        ("/api/jobs/x", "job"),
    ] {
        server.get(path).assert_problem_about(400, field, &[]);
    }
    for path in ["/api/jobs/77", "/api/jobs/77/events"] {
        server.get(path).assert_problem(404, &["job `77`"]);
    }
    seedhouse.run(&["jobs", "show", "77"]).assert_failed(3, &["job `77`"]);
    seedhouse.run(&["jobs", "cancel", &queued.to_string()]).assert_failed(6, &["`cancelled`"]);
}

#[test]
fn scrub_that_comes_round_begins_by_itself_and_none_does_without_workers() {
    let seedhouse = registry_with_megabytes(1);
    {
        let arguments = ["--scrub-every", "7d", "--job-workers", "0"];
        let server = Server::start_with(seedhouse.command(), &arguments);
        let begun = Instant::now();
        while server.get("/api/jobs").json()["jobs"].as_array().unwrap().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(30), "no scrub was asked for");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(server.get("/api/jobs/1").json()["state"], "queued");
    }
    let server = Server::start_with(seedhouse.command(), &["--scrub-every", "7d"]);
    assert_eq!(wait(&server, 1, &["succeeded", "failed"])["actor"], "seedhouse");
    assert_eq!(server.get("/api/jobs").json()["jobs"].as_array().unwrap().len(), 1, "the next one is due in a week");
}

#[test]
fn reader_sees_jobs_and_only_an_administrator_starts_or_cancels_them() {
    let seedhouse = registry_with_megabytes(1);
    let secret = |name: &str, role: &str| {
        let token = seedhouse.json(&["token", "create", name, "--role", role]);
        format!("Bearer {}", token["secret"].as_str().unwrap())
    };
    let (reader, writer, admin) = (secret("r", "reader"), secret("w", "writer"), secret("a", "admin"));
    let server = seedhouse.serve();
    let send = |method: &str, path: &str, token: &str| {
        server.send(method, path, &[("authorization", token)], &Value::Null).status
    };
    for token in [&reader, &writer] {
        assert_eq!(send("POST", "/api/scrub", token), 403);
        assert_eq!(send("POST", "/api/jobs/1/cancel", token), 403);
    }
    assert_eq!(send("POST", "/api/scrub", &admin), 202);
    for path in ["/api/jobs", "/api/jobs/1", "/api/jobs/1/events"] {
        assert_eq!(send("GET", path, &reader), 200, "{path}");
        assert_eq!(server.get(path).status, 401, "{path}");
    }
}
