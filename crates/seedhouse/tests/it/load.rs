//! Many clients, slow clients and clients that leave: each is bounded, and nobody else waits for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::json;

use crate::support::{Form, Seedhouse, Server};

/// The beginning of a request; the rest never comes unless the test sends it.
fn head(path: &str, content_type: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// An upload that stops within its file.
fn stalled_upload(server: &Server) -> TcpStream {
    let form = Form::new().text("name", "stalled").file("weights.bin", &[7; 10_000]);
    let body = form.body();
    let head = head("/api/models", &form.content_type(), body.len());
    server.connect(&[head.as_bytes(), &body[..5000]].concat())
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Tries until it holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never happened: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn stalled_uploads_do_not_stop_reads_and_the_next_upload_is_refused_at_once() {
    let seedhouse = Seedhouse::new();
    let server = Server::start_with(seedhouse.command(), &["--max-uploads", "2"]);
    let _stalled = [stalled_upload(&server), stalled_upload(&server)];
    eventually("both files are being written", || seedhouse.stored_files().len() == 2);
    let refused = server.post_json("/api/models", &json!({"name": "third"}));
    refused.assert_problem(429, &["2 registrations"]);
    assert_eq!(refused.retry_after, "1");
    assert_eq!(server.get("/api/models").status, 200);
    assert_eq!(server.get("/api/model-manager/statistics").status, 200);
}

#[test]
fn idle_inference_clients_do_not_stop_reads_and_the_next_request_is_refused_at_once() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let server = Server::start_with(seedhouse.command(), &["--max-inference-requests", "2"]);
    let path = "/api/inference/text/generation";
    let ask = json!({"model_id": "tiny", "prompt": "hello", "max_length": 1});
    let mut idle = Vec::new();
    eventually("both places are taken", || {
        idle.push(server.connect(head(path, "application/json", 50).as_bytes()));
        server.post_json(path, &ask).status == 429
    });
    server.post_json(path, &ask).assert_problem(429, &["2 inference requests"]);
    assert_eq!(server.get("/api/models/tiny").status, 200);
    drop(idle);
    eventually("the places are free again", || server.post_json(path, &ask).status == 200);
}

#[test]
fn upload_of_which_nothing_comes_for_too_long_is_ended_and_leaves_nothing() {
    let seedhouse = Seedhouse::new();
    let server = Server::start_with(seedhouse.command(), &["--idle-seconds", "1"]);
    let text = answer(stalled_upload(&server));
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("nothing came for 1 s"), "{text}");
    let text = answer(server.connect(head("/api/models", "application/json", 50).as_bytes()));
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());
    assert_eq!(server.get("/api/models").json(), json!([]));
}

#[test]
fn client_that_breaks_off_an_upload_leaves_nothing() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let stalled = stalled_upload(&server);
    eventually("the file is being written", || !seedhouse.stored_files().is_empty());
    drop(stalled);
    eventually("the half file is gone", || seedhouse.stored_files().is_empty());
    assert_eq!(server.get("/api/models").json(), json!([]));
}

#[test]
fn two_clients_that_register_one_name_at_once_get_one_201_and_one_409() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    for round in 0..10 {
        let name = format!("race-{round}");
        let register = |seed: u64| {
            let (client, form) = (server.client(), Form::new().text("name", &name));
            let form = form.file("tiny.gguf", &tiny_llama_gguf(seed));
            thread::spawn(move || client.try_post_form("/api/models", &form).unwrap())
        };
        let racers = [register(2 * round), register(2 * round + 1)];
        let mut answers = racers.map(|racer| racer.join().unwrap());
        answers.sort_by_key(|answer| answer.status);
        assert_eq!(answers[0].status, 201, "{}", answers[0].text);
        answers[1].assert_problem(409, &[&name]);
        let kept = server.get(&format!("/api/models/{name}")).json();
        assert_eq!(kept["hash"], answers[0].json()["hash"], "the one that was told 201 is the one that is kept");
    }
    assert_eq!(server.get("/api/models").json().as_array().unwrap().len(), 10);
    assert_eq!(seedhouse.json(&["verify"])["intact"], true);
}

#[test]
fn form_is_limited_in_parts_text_and_heads() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let parts = (0..10_001).fold(Form::new(), |form, number| form.text(&number.to_string(), ""));
    server.post_form("/api/models", &parts).assert_problem(413, &["number of parts", "10000"]);

    let megabyte = "x".repeat(1 << 20);
    let fields = (0..17).fold(Form::new(), |form, number| form.text(&format!("field-{number}"), &megabyte));
    server.post_form("/api/models", &fields).assert_problem(413, &["text of the form", &(16 << 20).to_string()]);
    server
        .post_form("/api/inference/image/classification", &fields)
        .assert_problem(413, &["text of the form", &(16 << 20).to_string()]);

    let names = (0..17).fold(Form::new(), |form, number| form.text(&format!("{number}{megabyte}"), ""));
    server.post_form("/api/models", &names).assert_problem(413, &["text of the form"]);
    assert_eq!(server.get("/health").text, "OK");
}

#[test]
fn head_of_a_part_that_never_ends_is_refused_within_megabytes() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let head = "--b\r\ncontent-disposition: form-data; name=\"";
    let body = [head.as_bytes(), &vec![b'x'; 12 << 20]].concat();
    for _ in 0..3 {
        let refused = server.post_chunked("/api/models", "multipart/form-data; boundary=b", &body);
        refused.assert_problem(413, &["head of a part", &(2 << 20).to_string()]);
    }
}

#[test]
fn client_that_is_still_sending_sees_why_it_was_refused() {
    let seedhouse = Seedhouse::new();
    let server = Server::start_with(seedhouse.command(), &["--max-json-bytes", "1000"]);
    let body = vec![b' '; 8 << 20];
    let mut stream = server.connect(head("/api/models", "application/json", body.len()).as_bytes());
    stream.write_all(&body).unwrap();
    let text = answer(stream);
    assert!(text.starts_with("HTTP/1.1 413 ") && text.contains(&body.len().to_string()), "{text}");
}

#[test]
fn file_without_a_file_name_and_things_given_twice_are_refused() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    for name in ["file", "image"] {
        let form = Form::new().text("name", "x").text(name, "bytes of a model");
        server.post_form("/api/models", &form).assert_problem_about(400, name, &["filename"]);
    }
    let twice = Form::new().text("name", "x").text("name", "y");
    server.post_form("/api/models", &twice).assert_problem_about(400, "name", &["once"]);
    let images = Form::new().text("model_id", "x").file("a.png", b"a").file("b.png", b"b");
    let path = "/api/inference/image/classification";
    server.post_form(path, &images).assert_problem_about(400, "file", &["once"]);
    let other_names =
        Form::new().text("model_id", "x").named_file("image", "a.png", b"a").named_file("x", "b.png", b"b");
    server.post_form(path, &other_names).assert_problem_about(400, "x", &["once"]);
    assert_eq!(server.get("/api/models").json(), json!([]));
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());
}

#[test]
fn large_nested_image_is_decoded_while_others_are_answered() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let row = format!("[{}]", vec!["[1,2,3]"; 1000].join(","));
    let body = format!(r#"{{"model_id": "nothing", "image_data": [{}]}}"#, vec![row; 2000].join(","));
    assert!(body.len() > 15 << 20);
    let answer = server.post("/api/inference/image/classification", &body);
    answer.assert_problem(404, &["nothing"]);
    let overlong = json!({"model_id": "x", "image_data": [vec![[0, 0, 0]; 30_001]]});
    let answer = server.post_json("/api/inference/image/classification", &overlong);
    answer.assert_problem(413, &["30001", "30000"]);
}
