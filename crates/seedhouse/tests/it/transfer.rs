//! Versions on their way: bundles between two registries over files, pipes and HTTP, and folders.

use std::io::{Read, Write};
use std::process::Stdio;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use seedhouse_testkit::tiny_torch::tiny_efficientnet_checkpoint;
use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

/// A registry with a text model in two versions and an image model.
fn source() -> Seedhouse {
    let source = Seedhouse::new();
    for (name, file, bytes) in [
        ("小麦", "one.gguf", tiny_llama_gguf(1)),
        ("小麦", "two.gguf", tiny_llama_gguf(2)),
        ("leaves", "leaves.pth", tiny_efficientnet_checkpoint(3, 4)),
    ] {
        let path = source.file(file, &bytes);
        source.json(&["register", name, &path]);
    }
    source.json(&["alias", "set", "小麦/1", "champion"]);
    source
}

fn path_in(registry: &Seedhouse, name: &str) -> String {
    registry.root().parent().unwrap().join(name).to_str().unwrap().to_owned()
}

#[test]
fn bundle_carries_models_that_answer_alike_elsewhere() {
    let (source, target) = (source(), Seedhouse::new());
    for (name, flags) in [("plain.tar", &[][..]), ("small.tar.zst", &["--zstd"])] {
        let file = path_in(&source, name);
        let arguments = [&["export", "小麦/1", "小麦/2", "leaves", "-o", &file], flags].concat();
        assert_eq!(source.json(&arguments)["versions"], json!(["leaves_v1", "小麦_v1", "小麦_v2"]));
        let report = target.json(&["import", &file]);
        let counts = ["imported", "already_present"].map(|list| report[list].as_array().unwrap().len());
        assert_eq!(counts, if flags.is_empty() { [3, 0] } else { [0, 3] });
        assert_eq!(report["aliases_left"], json!(["小麦@champion"]));
    }
    let ask = |registry: &Seedhouse| {
        registry.json(&["generate", "小麦/1", "wheat", "--max-tokens", "8"])["token_ids"].clone()
    };
    assert_eq!(ask(&source), ask(&target));
    for id in ["小麦_v1", "小麦_v2", "leaves_v1"] {
        let [mut there, mut here] = [&source, &target].map(|registry| registry.json(&["show", id]));
        for value in [&mut there, &mut here] {
            let record = value.as_object_mut().unwrap();
            // The alias was not taken, and the two registries count their changes each for itself.
            record.retain(|field, _| !["aliases", "revision", "updated_at"].contains(&field.as_str()));
        }
        assert_eq!(there, here);
    }
    assert_eq!(target.run(&["verify"]).code, 0);
    assert_eq!(target.run(&["audit", "verify"]).code, 0);
    let again = target.json(&["import", &path_in(&source, "plain.tar"), "--take-aliases"]);
    assert_eq!(again["aliases_taken"], json!(["小麦@champion"]));
}

#[test]
fn bundle_goes_through_a_pipe() {
    let (source, target) = (source(), Seedhouse::new());
    let mut export = source.command().args(["export", "小麦"]).stdout(Stdio::piped()).spawn().unwrap();
    let pipe = export.stdout.take().unwrap();
    let import = target.command().args(["import", "-", "--json"]).stdin(pipe).output().unwrap();
    assert!(export.wait().unwrap().success());
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    let report: Value = serde_json::from_slice(&import.stdout).unwrap();
    assert_eq!(report["imported"][0]["model_id"], "小麦_v2");
}

#[test]
fn broken_bundles_end_with_the_code_of_their_error_and_change_nothing() {
    let source = source();
    let file = path_in(&source, "bundle.tar");
    source.json(&["export", "leaves", "-o", &file]);
    let bytes = std::fs::read(&file).unwrap();
    let mut damaged = bytes.clone();
    let last = bytes.len() - 5000;
    damaged[last] ^= 1;
    let cases = [
        ("cut", bytes[..bytes.len() / 2].to_vec(), 2, "before it is complete"),
        ("damaged", damaged, 11, "its bytes hash to sha256:"),
        ("something else", tiny_llama_gguf(1), 2, "not a tar archive"),
        ("empty", Vec::new(), 2, "ends after 0 bytes"),
    ];
    for (name, bytes, code, expected) in cases {
        let target = Seedhouse::new();
        let path = target.file("broken.tar", &bytes);
        let run = target.run(&["import", &path]);
        assert_eq!(run.code, code, "{name}: {}", run.stderr);
        assert!(run.stderr.contains(expected), "{name}: {}", run.stderr);
        assert_eq!(target.json(&["list"]), json!([]), "{name}");
        assert_eq!(target.json(&["gc", "--dry-run"])["removed"], json!([]), "{name}");
    }
}

#[test]
fn broken_export_leaves_the_file_that_was_there() {
    let source = source();
    let file = source.file("bundle.tar", b"an earlier export");
    let record = source.json(&["show", "leaves"]);
    let hex = record["hash"].as_str().unwrap();
    let blob = source.root().join("blobs/sha256").join(&hex[..2]).join(hex);
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, bytes).unwrap();
    let run = source.run(&["export", "leaves", "-o", &file]);
    assert_eq!(run.code, 11, "{}", run.stderr);
    assert!(run.stderr.contains(hex), "{}", run.stderr);
    assert_eq!(std::fs::read(&file).unwrap(), b"an earlier export");
    let left = std::fs::read_dir(source.root().parent().unwrap()).unwrap();
    let left: Vec<String> = left.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with(".seedhouse-export-")), "{left:?}");
}

#[test]
fn layout_is_a_tar_that_others_can_open() {
    let source = source();
    let file = path_in(&source, "oci.tar");
    source.json(&["export", "leaves", "--format", "oci", "-o", &file]);
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"oci-layout\0"));
    let run = source.run(&["export", "leaves", "小麦", "--format", "oci", "-o", &file]);
    assert_eq!((run.code, std::fs::read(&file).unwrap() == bytes), (2, true), "{}", run.stderr);
}

#[test]
fn bundle_travels_over_http_without_a_file() {
    let (source, target) = (source(), Seedhouse::new());
    let (from, to) = (Server::start(source.command()), Server::start(target.command()));
    for (query, compressed) in [("", false), ("?compression=zstd", true)] {
        let mut connection = from
            .connect(format!("GET /api/models/leaves_v1/bundle{query} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes());
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&answer[..head]));
        let bundle = &answer[head..];
        assert_eq!(bundle.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), compressed);
        let answer = to.post_chunked("/api/bundles", "application/x-tar", bundle);
        assert_eq!(answer.status, if compressed { 200 } else { 201 }, "{}", answer.text);
        let list = if compressed { "already_present" } else { "imported" };
        assert_eq!(answer.json()[list].as_array().unwrap().len(), 1, "{}", answer.text);
        let cut = to.post_chunked("/api/bundles", "application/x-tar", &bundle[..bundle.len() - 700]);
        cut.assert_problem(400, &["the bundle is malformed"]);
    }
    let [there, here] = [&from, &to].map(|server| server.get("/api/models/leaves_v1").json());
    assert_eq!((&here["digest"], &here["status"]), (&there["digest"], &there["status"]));
    from.get("/api/models/nobody/bundle").assert_problem(404, &["nobody"]);
    from.get("/api/models/leaves_v1/bundle?compression=zip").assert_problem_about(400, "compression", &["`zip`"]);
    to.post_chunked("/api/bundles?rename_to=a/b", "application/x-tar", b"").assert_problem_about(
        400,
        "rename_to",
        &["a/b"],
    );
}

#[test]
fn damage_on_the_way_is_the_senders_matter() {
    let source = source();
    let file = path_in(&source, "bundle.tar");
    source.json(&["export", "leaves", "-o", &file]);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 5000;
    bytes[last] ^= 1;
    let target = Seedhouse::new();
    let server = Server::start_with(target.command(), &["--max-upload-bytes", "1000000"]);
    let answer = server.post_chunked("/api/bundles", "application/x-tar", &bytes);
    answer.assert_problem(400, &["its bytes hash to sha256:"]);
    assert_eq!(answer.json()["type"], "urn:seedhouse:error:corrupt");
    let answer = server.post_chunked("/api/bundles", "application/x-tar", &vec![b' '; 1_000_001]);
    assert_eq!(answer.status, 400, "it is no archive, which shows before it is too long: {}", answer.text);
    assert_eq!(server.get("/api/models").json(), json!([]));
}

#[test]
fn client_that_leaves_does_not_keep_the_export() {
    let source = Seedhouse::new();
    let path = source.file("big.bin", &vec![7; 32 << 20]);
    source.json(&["register", "big", &path]);
    let server = Server::start_with(source.command(), &["--max-uploads", "1", "--idle-seconds", "1"]);
    let request = b"GET /api/models/big/bundle HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let mut connection = server.connect(request);
    let mut first = [0; 1000];
    connection.read_exact(&mut first).unwrap();
    drop(connection);
    let begun = std::time::Instant::now();
    loop {
        let mut answer = Vec::new();
        server.connect(request).take(12).read_to_end(&mut answer).unwrap();
        if answer == b"HTTP/1.1 200" {
            break;
        }
        assert_eq!(&answer, b"HTTP/1.1 429", "the only place is taken until the first export ends");
        assert!(begun.elapsed() < std::time::Duration::from_secs(30));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn folder_is_imported_under_a_name() {
    let target = Seedhouse::new();
    target.file("model/weights.gguf", &tiny_llama_gguf(1));
    target.file("model/README.md", "小麦".as_bytes());
    target.file("model/.git/HEAD", b"ref");
    let folder = path_in(&target, "model");
    let entry = target.json(&["import", &folder, "--name", "小麦"]);
    let paths: Vec<&str> =
        entry["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["README.md", "weights.gguf"]);
    assert_eq!(entry["status"], "ready");
    for (arguments, expected) in [
        (&["import", &folder][..], "`name` is `missing`"),
        (&["import", &folder, "--name", "a", "--next-version"], "`next_version` is `given`"),
        (&["import", "nowhere.tar"], "file `nowhere.tar` not found"),
    ] {
        let run = target.run(arguments);
        assert!(run.code != 0 && run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    }
    let mut import =
        target.command().args(["import", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(b"not a bundle").unwrap();
    assert_eq!(import.wait_with_output().unwrap().status.code(), Some(2));
}
