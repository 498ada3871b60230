//! Uploads in parts over HTTP (tus 1.0.0): resumed after every interruption, refused with reasons, used once.

use std::fs::{self, File};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use seedhouse_core::Digest;
use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Answer, Seedhouse, Server};

const MIB: usize = 1 << 20;

/// `tiny.gguf`, `weights.bin` and `../../evil.bin` in base64.
const TINY: &str = "filename dGlueS5nZ3Vm";
const WEIGHTS: &str = "filename d2VpZ2h0cy5iaW4=,name d2hhdGV2ZXI=";
const EVIL: &str = "filename Li4vLi4vZXZpbC5iaW4=";

/// SHA-256 of `abc` in base64.
const SHA256_OF_ABC: &str = "sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number * 31 % 251) as u8).collect()
}

/// Begins an upload and returns its path.
fn begin(server: &Server, length: usize, metadata: &str) -> String {
    let headers = [("tus-resumable", "1.0.0"), ("upload-length", &length.to_string()), ("upload-metadata", metadata)];
    let answer = server.send_bytes("POST", "/api/uploads", &headers, b"");
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.header("tus-resumable"), "1.0.0");
    assert!(answer.header("upload-expires").ends_with(" GMT"), "{:?}", answer.headers);
    answer.location
}

fn patch(server: &Server, path: &str, offset: usize, part: &[u8]) -> Answer {
    patch_with(server, path, offset, part, &[])
}

fn patch_with(server: &Server, path: &str, offset: usize, part: &[u8], further: &[(&str, &str)]) -> Answer {
    let offset = offset.to_string();
    let headers = [("content-type", "application/offset+octet-stream"), ("upload-offset", &offset)];
    server.send_bytes("PATCH", path, &[&headers, further].concat(), part)
}

/// Uploads all bytes and returns the id.
fn whole(server: &Server, metadata: &str, all: &[u8]) -> String {
    let path = begin(server, all.len(), metadata);
    let answer = patch(server, &path, 0, all);
    assert_eq!(answer.status, 204, "{}", answer.text);
    id(&path).to_owned()
}

fn id(path: &str) -> &str {
    path.strip_prefix("/api/uploads/").unwrap()
}

fn head(server: &Server, path: &str) -> Answer {
    server.send("HEAD", path, &[], &Value::Null)
}

fn offset(server: &Server, path: &str) -> usize {
    let answer = head(server, path);
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    answer.header("upload-offset").parse().unwrap()
}

/// Begins a part of which only the beginning is sent.
fn stalled(server: &Server, path: &str, begins: usize, announced: usize, sent: &[u8], further: &str) -> TcpStream {
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/offset+octet-stream\r\n\
         upload-offset: {begins}\r\ncontent-length: {announced}\r\n{further}\r\n"
    );
    server.connect(&[head.as_bytes(), sent].concat())
}

fn file_of(seedhouse: &Seedhouse, path: &str) -> std::path::PathBuf {
    seedhouse.root().join("blobs/uploads").join(id(path))
}

fn wait_for_bytes(seedhouse: &Seedhouse, path: &str, least: usize) {
    let begun = Instant::now();
    while fs::metadata(file_of(seedhouse, path)).unwrap().len() < least as u64 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the bytes never came");
        thread::sleep(Duration::from_millis(10));
    }
}

fn register(server: &Server, name: &str, uploads: &Value) -> Answer {
    server.post_json("/api/models", &json!({"name": name, "uploads": uploads}))
}

#[test]
fn server_says_what_of_the_protocol_it_speaks() {
    let seedhouse = Seedhouse::new();
    let server = Server::start_with(seedhouse.command(), &["--max-upload-bytes", "100"]);
    let answer = server.send_bytes("OPTIONS", "/api/uploads", &[("tus-resumable", "0.2.2")], b"");
    assert_eq!(answer.status, 204, "{}", answer.text);
    for (name, value) in [
        ("tus-resumable", "1.0.0"),
        ("tus-version", "1.0.0"),
        ("tus-extension", "creation,termination,checksum,expiration"),
        ("tus-max-size", "100"),
        ("tus-checksum-algorithm", "sha256,sha1"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let old = [("tus-resumable", "0.2.2"), ("upload-length", "5")];
    let refused = server.send_bytes("POST", "/api/uploads", &old, b"");
    refused.assert_problem_about(412, "Tus-Resumable", &["0.2.2", "1.0.0"]);
    assert_eq!((refused.header("tus-version"), refused.header("tus-resumable")), ("1.0.0", "1.0.0"));
    let long = server.send_bytes("POST", "/api/uploads", &[("upload-length", "101")], b"");
    long.assert_problem(413, &["101 bytes", "100 bytes"]);
    server.send_bytes("POST", "/api/uploads", &[], b"").assert_problem_about(400, "Upload-Length", &[]);
}

#[test]
fn parts_become_a_version_that_is_served_and_the_upload_is_gone() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let model = tiny_llama_gguf(1);
    let path = begin(&server, model.len(), TINY);
    let state = head(&server, &path);
    assert_eq!(state.header("upload-length"), model.len().to_string());
    assert_eq!(state.header("upload-metadata"), TINY);
    let refused = register(&server, "Tiny", &json!([{"id": id(&path)}]));
    refused.assert_problem(409, &["0 bytes of", &model.len().to_string()]);
    let mut sent = 0;
    for part in model.chunks(model.len() / 3 + 1) {
        assert_eq!(offset(&server, &path), sent);
        let answer = patch(&server, &path, sent, part);
        sent += part.len();
        assert_eq!((answer.status, answer.header("upload-offset")), (204, sent.to_string().as_str()));
        assert!(!answer.header("upload-expires").is_empty());
    }
    let answer = register(&server, "Tiny", &json!([{"id": id(&path)}]));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let version = answer.json();
    assert_eq!((&version["status"], &version["hash"]), (&json!("ready"), &json!(Digest::of(&model).hex())));
    assert_eq!(server.get("/api/models/tiny/files").json()["files"][0]["path"], "tiny.gguf");
    let ask = json!({"model_id": "tiny", "prompt": "hello", "max_length": 3});
    assert_eq!(server.post_json("/api/inference/text/generation", &ask).status, 200);
    assert_eq!(head(&server, &path).status, 404);
    patch(&server, &path, sent, b"").assert_problem(404, &[id(&path)]);
    register(&server, "Again", &json!([{"id": id(&path)}])).assert_problem(404, &[id(&path)]);
    let left: Vec<String> = seedhouse.stored_files().into_iter().filter(|file| !file.contains("sha256")).collect();
    assert_eq!(left, ["tiny_v1.gguf"], "no upload and nothing staged is left");
}

#[test]
fn several_uploads_become_the_files_of_a_next_version() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    assert_eq!(server.post_json("/api/models", &json!({"name": "m"})).status, 201);
    let ids = [whole(&server, WEIGHTS, &bytes(1000)), whole(&server, "", b"{}")];
    let uploads = json!([{"id": ids[0], "path": "deep/weights.bin"}, {"id": ids[1], "path": "notes.json"}]);
    let answer = server.post_json("/api/models/m/versions", &json!({"uploads": uploads}));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let files = server.get("/api/models/m_v2/files").json();
    assert_eq!(files["files"][0]["path"], "deep/weights.bin");
    assert_eq!(files["files"][1]["digest"], Digest::of("{}").to_string());
}

#[test]
fn upload_goes_on_where_a_killed_server_left_it() {
    let seedhouse = Seedhouse::new();
    let mut server = seedhouse.serve();
    let all = bytes(8 * MIB);
    let path = begin(&server, all.len(), WEIGHTS);
    assert_eq!(patch(&server, &path, 0, &all[..MIB]).status, 204);
    let _connection = stalled(&server, &path, MIB, all.len() - MIB, &all[MIB..4 * MIB], "");
    wait_for_bytes(&seedhouse, &path, 3 * MIB);
    server.kill();
    let there = fs::metadata(file_of(&seedhouse, &path)).unwrap().len() as usize;
    let server = seedhouse.serve();
    assert_eq!(offset(&server, &path), there, "what the disk has");
    assert!((3 * MIB..=4 * MIB).contains(&there), "{there}");
    assert_eq!(patch(&server, &path, there, &all[there..]).status, 204);
    let version = register(&server, "resumed", &json!([{"id": id(&path)}])).json();
    assert_eq!(version["hash"], Digest::of(&all).hex());
}

#[test]
fn part_with_a_checksum_counts_whole_or_not_at_all() {
    let seedhouse = Seedhouse::new();
    let mut server = seedhouse.serve();
    let all = bytes(4 * MIB);
    let path = begin(&server, 3 + all.len(), WEIGHTS);
    let checksum = [("upload-checksum", SHA256_OF_ABC)];
    let refused = patch_with(&server, &path, 0, b"abx", &checksum);
    refused.assert_problem(460, &["ba7816bf", &Digest::of("abx").hex()]);
    assert_eq!(refused.header("tus-resumable"), "1.0.0");
    assert_eq!(offset(&server, &path), 0, "the part was discarded");
    let unknown = patch_with(&server, &path, 0, b"abc", &[("upload-checksum", "crc32 AAAA")]);
    unknown.assert_problem_about(400, "Upload-Checksum", &["sha256 or sha1"]);
    assert_eq!(patch_with(&server, &path, 0, b"abc", &checksum).status, 204);
    let announced = format!("upload-checksum: {SHA256_OF_ABC}\r\n");
    let _connection = stalled(&server, &path, 3, all.len(), &all[..3 * MIB], &announced);
    wait_for_bytes(&seedhouse, &path, 2 * MIB);
    assert_eq!(offset(&server, &path), 3, "nothing of it is verified yet");
    server.kill();
    let server = seedhouse.serve();
    assert_eq!(offset(&server, &path), 3);
    assert_eq!(patch(&server, &path, 3, &all).status, 204);
    let version = register(&server, "checked", &json!([{"id": id(&path)}])).json();
    assert_eq!(version["hash"], Digest::of([b"abc", all.as_slice()].concat()).hex());
}

#[test]
fn wrong_parts_are_refused_and_change_nothing() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let path = begin(&server, 10, WEIGHTS);
    assert_eq!(patch(&server, &path, 0, b"abc").status, 204);
    for wrong in [0, 4] {
        patch(&server, &path, wrong, b"x").assert_problem(409, &[&format!("byte {wrong}"), "byte 3"]);
    }
    patch(&server, &path, 3, b"12345678").assert_problem(413, &["11 bytes", "10 bytes"]);
    let plain = server.send_bytes("PATCH", &path, &[("content-type", "text/plain"), ("upload-offset", "3")], b"x");
    plain.assert_problem_about(415, "Content-Type", &["text/plain", "application/offset+octet-stream"]);
    let typed = [("content-type", "application/offset+octet-stream")];
    server.send_bytes("PATCH", &path, &typed, b"x").assert_problem_about(400, "Upload-Offset", &[]);
    assert_eq!(offset(&server, &path), 3);
}

#[test]
fn second_writer_is_refused_and_what_the_first_one_sent_before_it_left_stays() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let all = bytes(4 * MIB);
    let path = begin(&server, all.len(), WEIGHTS);
    let first = stalled(&server, &path, 0, all.len(), &all[..3 * MIB], "");
    wait_for_bytes(&seedhouse, &path, 2 * MIB);
    patch(&server, &path, 0, &all).assert_problem(409, &[id(&path), "in use"]);
    server.send("DELETE", &path, &[], &Value::Null).assert_problem(409, &["in use"]);
    drop(first);
    let begun = Instant::now();
    let there = loop {
        let there = offset(&server, &path);
        match patch(&server, &path, there, &all[there..]).status {
            204 => break there,
            409 => assert!(begun.elapsed() < Duration::from_secs(20), "the first one never let go"),
            other => panic!("{other}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert!(there >= 2 * MIB, "{there}");
    let version = register(&server, "m", &json!([{"id": id(&path)}])).json();
    assert_eq!(version["hash"], Digest::of(&all).hex());
}

#[test]
fn silent_sender_loses_its_place_and_not_its_bytes() {
    let seedhouse = Seedhouse::new();
    let server = Server::start_with(seedhouse.command(), &["--idle-seconds", "1"]);
    let path = begin(&server, 10, WEIGHTS);
    let mut silent = stalled(&server, &path, 0, 10, b"abcd", "connection: close\r\n");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut silent, &mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert_eq!(offset(&server, &path), 4);
    assert_eq!(patch(&server, &path, 4, b"efghij").status, 204);
}

#[test]
fn expired_upload_is_unknown_and_its_bytes_are_removed() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let expired = begin(&server, 10, WEIGHTS);
    let fresh = begin(&server, 10, WEIGHTS);
    let file = file_of(&seedhouse, &expired);
    let day_before = SystemTime::now() - Duration::from_secs(24 * 60 * 60 + 1);
    File::options().write(true).open(&file).unwrap().set_modified(day_before).unwrap();
    assert_eq!(head(&server, &expired).status, 404);
    patch(&server, &expired, 0, b"x").assert_problem(404, &[id(&expired)]);
    drop(server);
    let server = seedhouse.serve();
    assert!(!file.exists());
    assert_eq!(offset(&server, &fresh), 0);
}

#[test]
fn removed_and_unknown_uploads_are_not_found() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let path = begin(&server, 10, WEIGHTS);
    assert_eq!(server.send("DELETE", &path, &[], &Value::Null).status, 204);
    for path in [path.as_str(), "/api/uploads/00000000000000000000000000000000"] {
        assert_eq!(head(&server, path).status, 404);
        patch(&server, path, 0, b"x").assert_problem(404, &["upload", id(path)]);
        server.send("DELETE", path, &[], &Value::Null).assert_problem(404, &[id(path)]);
    }
    assert!(seedhouse.stored_files().is_empty(), "{:?}", seedhouse.stored_files());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    for wrong in ["..%2F..%2Fseedhouse.db", "..", "x", "00000000000000000000000000000000.json", "%00"] {
        let path = format!("/api/uploads/{wrong}");
        let answer = server.send("DELETE", &path, &[], &Value::Null);
        assert!([400, 404, 405].contains(&answer.status), "{wrong}: {}", answer.status);
    }
    let headers = [("upload-length", "5"), ("upload-metadata", EVIL)];
    let refused = server.send_bytes("POST", "/api/uploads", &headers, b"");
    refused.assert_problem_about(400, "filename", &["../../evil.bin"]);
    let good = whole(&server, "", b"bytes");
    for (upload, field, part) in [
        (json!({"id": "../../seedhouse.db", "path": "x"}), "uploads.id", "../../seedhouse.db"),
        (json!({"id": good, "path": "../x"}), "uploads.path", "../x"),
        (json!({"id": good, "path": "/etc/x"}), "uploads.path", "/etc/x"),
        (json!({"id": good}), "uploads", "`path`"),
    ] {
        register(&server, "m", &json!([upload])).assert_problem_about(400, field, &[part]);
    }
    let twice = json!([{"id": good, "path": "a"}, {"id": good, "path": "b"}]);
    register(&server, "m", &twice).assert_problem_about(400, "uploads", &["once"]);
    assert_eq!(register(&server, "m", &json!([{"id": good, "path": "a"}])).status, 201);
}

#[test]
fn refused_registration_leaves_the_upload_for_the_next_one() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let upload = whole(&server, TINY, &tiny_llama_gguf(1));
    let mut body = json!({"name": "tiny", "uploads": [{"id": upload}], "hyperparameters": {"vocab_size": 7}});
    server.post_json("/api/models", &body).assert_problem(400, &["vocab_size", "7"]);
    assert_eq!(server.post_json("/api/models", &json!({"name": "taken"})).status, 201);
    register(&server, "taken", &json!([{"id": upload}])).assert_problem(409, &["taken:1"]);
    body["hyperparameters"] = Value::Null;
    let answer = server.post_json("/api/models", &body);
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(seedhouse.json(&["verify"])["intact"], true);
}

#[test]
fn of_registrations_at_once_one_gets_the_upload() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let upload = whole(&server, WEIGHTS, &bytes(4 * MIB));
    let body = |number| json!({"name": format!("m{number}"), "uploads": [{"id": upload}]});
    let send = |body: Value| server.post_json("/api/models", &body).status;
    let statuses: Vec<u16> = thread::scope(|scope| {
        let send = &send;
        let senders: Vec<_> = (0..6).map(&body).map(|body| scope.spawn(move || send(body))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 404, 409].contains(status)), "{statuses:?}");
    assert_eq!(server.get("/api/models").json().as_array().unwrap().len(), 1);
}

#[test]
fn same_request_with_a_key_returns_the_version_although_the_upload_is_gone() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let upload = whole(&server, TINY, &tiny_llama_gguf(1));
    let send = |key: &str, body: &Value| server.send("POST", "/api/models", &[("idempotency-key", key)], body);
    let body = json!({"name": "tiny", "uploads": [{"id": upload}]});
    let first = send("once", &body);
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!(head(&server, &format!("/api/uploads/{upload}")).status, 404);
    for _ in 0..2 {
        let again = send("once", &body);
        assert_eq!((again.status, again.json()), (201, first.json()));
    }
    send("another", &body).assert_problem(404, &[&upload]);
    for other in [
        json!({"name": "tiny", "uploads": [{"id": upload}], "description": "another"}),
        json!({"name": "tiny", "uploads": [{"id": upload, "path": "other.gguf"}]}),
    ] {
        send("once", &other).assert_problem_about(400, "idempotency_key", &["once", "tiny_v1"]);
    }
    assert_eq!(server.get("/api/models").json().as_array().unwrap().len(), 1);
}

#[test]
fn open_uploads_are_bounded() {
    let seedhouse = Seedhouse::new();
    let server = Server::start_with(seedhouse.command(), &["--max-open-uploads", "2"]);
    let first = begin(&server, 10, WEIGHTS);
    begin(&server, 10, WEIGHTS);
    let refused = server.send_bytes("POST", "/api/uploads", &[("upload-length", "1")], b"");
    refused.assert_problem(429, &["2 uploads"]);
    assert_eq!(refused.retry_after, "1");
    // A client that can only send POST.
    let removed = server.send_bytes("POST", &first, &[("x-http-method-override", "DELETE")], b"");
    assert_eq!(removed.status, 204, "{}", removed.text);
    begin(&server, 10, WEIGHTS);
}

#[test]
fn reader_may_not_upload() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["token", "create", "boss", "--role", "admin"]);
    let reader = seedhouse.json(&["token", "create", "viewer", "--role", "reader"]);
    let bearer = format!("Bearer {}", reader["secret"].as_str().unwrap());
    let server = seedhouse.serve();
    let headers = [("authorization", bearer.as_str()), ("upload-length", "5")];
    let refused = server.send_bytes("POST", "/api/uploads", &headers, b"");
    refused.assert_problem(403, &["viewer"]);
    assert_eq!(refused.header("tus-resumable"), "1.0.0");
}
