//! The server ends when asked, and a client that leaves ends its generation.

use std::io::{Read, Write};
use std::net::TcpStream;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::json;

use crate::support::Seedhouse;

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

#[test]
fn client_that_leaves_a_stream_does_not_stop_the_server() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let mut server = seedhouse.serve();
    let body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 50, "stream": true}).to_string();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
        let head = format!(
            "POST /api/inference/text/generation HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        stream.read_exact(&mut [0; 16]).unwrap();
    }
    assert_eq!(server.get("/health").text, "OK");
    server.terminate();
    assert!(server.wait().success(), "no generation holds the shutdown up");
}
