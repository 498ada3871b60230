//! Live, ready, and what a load balancer sees while the server stops.

use std::time::Duration;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;

use crate::support::{RawRequest, Seedhouse, Server};

#[test]
fn server_says_that_it_lives_and_that_it_is_ready_without_a_token() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["token", "create", "somebody", "--role", "reader"]);
    let server = seedhouse.serve();
    for path in ["/health", "/livez", "/readyz"] {
        let answer = RawRequest::get(path).send(&server.url);
        assert_eq!((answer.status, answer.body.as_str()), (200, "OK"), "{path}");
    }
    let version = RawRequest::get("/version").send(&server.url);
    assert_eq!((version.status, version.body.as_str()), (200, env!("CARGO_PKG_VERSION")));
    assert!(version.body.starts_with(|first: char| first.is_ascii_digit()));
}

#[test]
fn server_that_will_stop_is_not_ready_while_it_still_answers() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let mut server = Server::start_with(seedhouse.command(), &["--shutdown-delay", "1h"]);
    assert_eq!(server.get("/readyz").status, 200);
    server.terminate();
    // The signal arrives when it does; from then on every answer says so.
    while server.get("/readyz").status == 200 {
        std::thread::sleep(Duration::from_millis(10));
    }
    server.get("/readyz").assert_problem(503, &["shutting down"]);
    assert_eq!(server.get("/livez").text, "OK");
    assert_eq!(server.get("/api/models/tiny").status, 200, "requests are still answered");
    server.terminate();
    assert!(server.wait_at_most(Duration::from_secs(20)).success(), "a second signal ends at once");
}

#[test]
fn what_cannot_be_loaded_at_the_start_does_not_keep_the_server_from_being_ready() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let server = Server::start_with(seedhouse.command(), &["--preload", "absent,tiny"]);
    while server.get("/readyz").status != 200 {
        server.get("/readyz");
        std::thread::sleep(Duration::from_millis(10));
    }
    let slots = server.get("/api/slots").json();
    assert_eq!(slots["slots"][0]["model_id"], "tiny_v1", "ready says that it is loaded: {slots}");
}
