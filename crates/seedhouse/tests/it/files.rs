//! The files of a version over HTTP: ranges, entity tags, names that lead nowhere else.

use serde_json::{Value, json};

use crate::support::{Form, Seedhouse, Server};

const BYTES: &[u8] = b"0123456789abcdef";

fn serve() -> (Seedhouse, Server) {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let form = Form::new().text("name", "m").file("weights/part-1.bin", BYTES).file("标签.txt", "小麦\n".as_bytes());
    assert_eq!(server.post_form("/api/models", &form).status, 201);
    (seedhouse, server)
}

#[test]
fn file_is_sent_whole_or_in_part_and_named_by_its_digest() {
    let (_seedhouse, server) = serve();
    let list = server.get("/api/models/m/files").json();
    let file =
        list["files"].as_array().unwrap().iter().find(|file| file["path"] == "weights/part-1.bin").unwrap().clone();
    assert_eq!(file["size_bytes"], 16);
    let get =
        |headers: &[(&str, &str)]| server.send("GET", "/api/models/m/files/weights/part-1.bin", headers, &Value::Null);
    let whole = get(&[]);
    assert_eq!((whole.status, whole.text.as_bytes()), (200, BYTES));
    let tag = whole.header("etag").to_owned();
    assert!(file["digest"].as_str().unwrap().contains(tag.trim_matches('"')), "{file} {tag}");
    assert!(whole.header("repr-digest").starts_with("sha-256=:"));
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert_eq!(whole.header("last-modified"), "", "the time of a blob says nothing about a version");
    for (range, status, text, content_range) in [
        ("bytes=0-3", 206, "0123", "bytes 0-3/16"),
        ("bytes=10-", 206, "abcdef", "bytes 10-15/16"),
        ("bytes=-2", 206, "ef", "bytes 14-15/16"),
        ("bytes=14-99", 206, "ef", "bytes 14-15/16"),
        ("bytes=0-1,4-5", 200, "0123456789abcdef", ""),
    ] {
        let part = get(&[("range", range)]);
        assert_eq!(
            (part.status, part.text.as_str(), part.header("content-range")),
            (status, text, content_range),
            "{range}"
        );
    }
    let beyond = get(&[("range", "bytes=16-")]);
    beyond.assert_problem(416, &["16 bytes"]);
    assert_eq!(beyond.header("content-range"), "bytes */16");
    assert_eq!(get(&[("if-none-match", &tag)]).status, 304);
    assert_eq!(get(&[("range", "bytes=0-3"), ("if-range", &tag)]).status, 206);
    assert_eq!(get(&[("range", "bytes=0-3"), ("if-range", "\"other\"")]).text.as_bytes(), BYTES);
    let head = server.send("HEAD", "/api/models/m/files/weights/part-1.bin", &[], &Value::Null);
    assert_eq!((head.status, head.header("content-length"), head.text.as_str()), (200, "16", ""));
}

#[test]
fn chinese_file_name_survives() {
    let (_seedhouse, server) = serve();
    let file = server.fetch("/api/models/m/files/标签.txt");
    assert_eq!((file.status, file.text.as_str()), (200, "小麦\n"));
    assert!(file.header("content-disposition").contains("%E6%A0%87%E7%AD%BE.txt"));
}

#[test]
fn path_of_a_file_leads_nowhere_else() {
    let (_seedhouse, server) = serve();
    for path in [
        "../../seedhouse.db",
        "..%2f..%2fseedhouse.db",
        "%2e%2e/%2e%2e/seedhouse.db",
        "..%252f..%252fseedhouse.db",
        "..%5c..%5cseedhouse.db",
        "%2Fetc%2Fpasswd",
        "C:%5cwindows",
        "weights%00",
        "weights",
        "ｗeights/part-1.bin",
        "．．/．．/seedhouse.db",
    ] {
        let answer = server.fetch(&format!("/api/models/m/files/{path}"));
        assert!([400, 404].contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
    }
}

#[test]
fn version_says_its_revision_as_its_entity_tag() {
    let (_seedhouse, server) = serve();
    let first = server.get("/api/models/m");
    let tag = first.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", first.json()["revision"]));
    let again = |tag: &str| server.send("GET", "/api/models/m", &[("if-none-match", tag)], &Value::Null).status;
    assert_eq!((again(&tag), again(&format!("W/{tag}")), again("*"), again("\"0\"")), (304, 304, 304, 200));
    let changed = server.send("PUT", "/api/models/m", &[("if-match", &tag)], &json!({"description": "new"}));
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_eq!(again(&tag), 200);
    assert_eq!(again(changed.header("etag")), 304);
}

#[test]
fn record_without_files_has_an_empty_list() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    server.post_json("/api/models", &json!({"name": "words"}));
    assert_eq!(
        server.get("/api/models/words/files").json(),
        json!({"model_id": "words_v1", "digest": null, "files": []})
    );
    server.get("/api/models/words/files/a.bin").assert_problem(404, &["a.bin", "words_v1"]);
}
