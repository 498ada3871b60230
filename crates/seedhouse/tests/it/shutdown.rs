//! The server ends when asked, and a client that leaves ends its generation.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use seedhouse_testkit::tiny_gguf::tiny_llama;
use serde_json::json;

use crate::support::{Seedhouse, Server};

#[test]
fn sigterm_ends_the_server_and_leaves_metadata_json_true() {
    let seedhouse = Seedhouse::new();
    let mut server = seedhouse.serve();
    let answer = server.post_json("/api/models", &json!({"name": "计划中的模型"}));
    assert_eq!(answer.status, 201, "{}", answer.text);
    server.terminate();
    assert!(server.wait().success());
    let text = std::fs::read_to_string(seedhouse.root().join("metadata.json")).unwrap();
    assert!(text.contains("计划中的模型_v1"), "{text}");
}

/// A model that goes on for minutes: its context holds as many tokens as a model may have.
fn serve_endless_model(seedhouse: &Seedhouse) -> Server {
    let mut model = tiny_llama(1);
    model.number("llama.context_length", 1 << 20);
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &model.build()));
    seedhouse.serve()
}

fn start_stream(server: &Server) -> TcpStream {
    let body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 1_000_000, "stream": true}).to_string();
    let head = format!(
        "POST /api/inference/text/generation HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = server.connect(format!("{head}{body}").as_bytes());
    stream.read_exact(&mut [0; 16]).unwrap();
    stream
}

#[test]
fn generation_of_a_client_that_left_does_not_hold_the_shutdown_up() {
    let seedhouse = Seedhouse::new();
    let mut server = serve_endless_model(&seedhouse);
    for _ in 0..5 {
        drop(start_stream(&server));
    }
    assert_eq!(server.get("/health").text, "OK");
    server.terminate();
    assert!(server.wait_at_most(Duration::from_secs(10)).success());
}

#[test]
fn second_signal_ends_at_once_what_the_first_one_lets_finish() {
    let seedhouse = Seedhouse::new();
    let mut server = serve_endless_model(&seedhouse);
    let _reads_nothing = start_stream(&server);
    server.terminate();
    let address = server.url.trim_start_matches("http://").to_owned();
    let begun = Instant::now();
    // Once the first signal was heard, nobody new is let in.
    while TcpStream::connect(&address).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the server still accepts connections");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.terminate();
    assert!(server.wait_at_most(Duration::from_secs(5)).success());
}
