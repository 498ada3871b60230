//! Pulling from a hub: what becomes of a repository, of connections that break off, and of bytes that are not what the hub names.

use std::time::{Duration, Instant};

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Asked, FakeHub, Fault, REPOSITORY, Run, Seedhouse, Server};

const SOURCE: &str = "hf:seeds/tiny-llama";
const MODEL: &str = "tiny.gguf";
/// Larger than what is written at once.
const BIG: &str = "big.txt";

/// A hub with one model, its card, and what is not wanted.
fn hub() -> FakeHub {
    let hub = FakeHub::start();
    hub.large(MODEL, &tiny_llama_gguf(1));
    hub.small("README.md", "---\nlicense: mit\n---\n# 小麦\n".as_bytes());
    hub.small(".gitattributes", b"*.gguf filter=lfs");
    hub.small("空 麦/notes.txt", b"notes");
    hub.small("empty.txt", b"");
    hub
}

fn pull(seedhouse: &Seedhouse, hub: &FakeHub, arguments: &[&str]) -> Run {
    seedhouse.run(&[&["--hub", &hub.url, "pull"], arguments].concat())
}

fn pulled(seedhouse: &Seedhouse, hub: &FakeHub, arguments: &[&str]) -> Value {
    seedhouse.json(&[&["--hub", &hub.url, "pull"], arguments].concat())
}

/// Returns the requests for bytes of a file.
fn fetches(hub: &FakeHub, name: &str) -> Vec<Asked> {
    let is_fetch = |asked: &Asked| asked.path.contains("/resolve/") && asked.path.ends_with(name);
    hub.asked().into_iter().filter(is_fetch).collect()
}

/// Checks that the big file was not fetched from its beginning, nor from beyond what had come.
fn assert_continued(hub: &FakeHub) {
    let range = fetches(hub, BIG)[0].range.clone().unwrap_or_default();
    let offset: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect(&range);
    assert!((1 << 20..=3 << 20).contains(&offset), "{range}");
}

fn paths(seedhouse: &Seedhouse, model: &str) -> Vec<String> {
    let record = seedhouse.json(&["show", model]);
    let files = record["files"].as_array().unwrap();
    files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn repository_becomes_a_version_that_names_its_commit() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    let report = pulled(&seedhouse, &hub, &[SOURCE]);
    assert_eq!((&report["model_id"], &report["status"]), (&json!("tiny-llama_v1"), &json!("ready")));
    assert_eq!((&report["source"], &report["already_present"]), (&json!(hub.pinned()), &json!(false)));
    assert_eq!(report["downloaded_bytes"], report["size_bytes"]);
    assert_eq!(paths(&seedhouse, "tiny-llama"), ["README.md", "empty.txt", MODEL, "空 麦/notes.txt"]);
    let record = seedhouse.json(&["show", "tiny-llama"]);
    assert_eq!((&record["is_pretrained"], &record["pretrained_source"]), (&json!(true), &json!(hub.pinned())));
    assert_eq!(record["claims"], Value::Null, "everything was read from the files, or fetched by the program");
    assert_eq!(record["card_data"]["license"], "mit");
    assert_eq!(seedhouse.run(&["generate", "tiny-llama", "hello", "--max-tokens", "2"]).code, 0);
    let found = seedhouse.json(&["list", "--filter", &format!("pretrained_source = '{}'", hub.pinned())]);
    assert_eq!(found.as_array().unwrap().len(), 1);
    let left = seedhouse.stored_files().into_iter().filter(|path| path.contains("uploads/") || path.contains("work/"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn same_commit_is_the_same_version_and_another_one_fetches_what_changed() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    pulled(&seedhouse, &hub, &[SOURCE]);
    hub.asked();
    let again = pulled(&seedhouse, &hub, &["hf:seeds/tiny-llama@main"]);
    assert_eq!((&again["model_id"], &again["already_present"]), (&json!("tiny-llama_v1"), &json!(true)));
    assert!(hub.asked().iter().all(|asked| !asked.path.contains("/resolve/")), "nothing is fetched twice");
    hub.small("README.md", b"# changed");
    hub.commit();
    let next = pulled(&seedhouse, &hub, &[SOURCE]);
    assert_eq!((&next["model_id"], &next["source"]), (&json!("tiny-llama_v2"), &json!(hub.pinned())));
    assert!(fetches(&hub, MODEL).is_empty(), "the weights are here");
    assert!(next["downloaded_bytes"].as_u64().unwrap() < 100);
    let other = pulled(&seedhouse, &hub, &[SOURCE, "--name", "小麦", "--include", "*.gguf", "--version", "1.0.3"]);
    assert_eq!(other["model_id"], "小麦_v1.0.3");
    assert_eq!(paths(&seedhouse, "小麦"), [MODEL]);
}

#[test]
fn record_that_only_says_where_it_is_from_was_taken_for_a_pull() {
    let (seedhouse, elsewhere, hub) = (Seedhouse::new(), Seedhouse::new(), hub());
    pulled(&elsewhere, &hub, &[SOURCE]);
    let bundle = elsewhere.file_path("bundle.tar");
    elsewhere.run(&["export", "tiny-llama", "--output", bundle.to_str().unwrap()]);
    seedhouse.json(&["import", bundle.to_str().unwrap()]);
    let claims = seedhouse.json(&["show", "tiny-llama"])["claims"].clone();
    assert!(claims.as_array().unwrap().contains(&json!("pretrained_source")), "{claims}");
    // The record names this commit, and its bytes have the same lengths; they are not what the hub names.
    hub.large(MODEL, &tiny_llama_gguf(2));
    let report = pulled(&seedhouse, &hub, &[SOURCE]);
    assert_eq!((&report["already_present"], &report["model_id"]), (&json!(false), &json!("tiny-llama_v2")));
}

#[test]
fn empty_file_with_the_digest_of_another_was_taken() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    let tree = format!("/api/models/{REPOSITORY}/tree/");
    hub.next_pages("");
    hub.answer(&tree, json!([{"type": "file", "path": "w.bin", "oid": "1".repeat(40), "size": 0}]));
    pull(&seedhouse, &hub, &[SOURCE]).assert_failed(11, &["w.bin", "the hub names"]);
    hub.answer(&tree, json!([{"type": "file", "path": "w.bin", "oid": "1".repeat(40)}]));
    pull(&seedhouse, &hub, &[SOURCE]).assert_failed(2, &["size"]);
}

#[test]
fn pages_of_nothing_went_on_for_ever() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    hub.answer(&format!("/api/models/{REPOSITORY}/tree/"), json!([]));
    hub.next_pages("{path}&again");
    pull(&seedhouse, &hub, &[SOURCE]).assert_failed(9, &["1000 pages"]);
    hub.next_pages("http://127.0.0.1:1/api");
    pull(&seedhouse, &hub, &[SOURCE]).assert_failed(2, &["next page", "127.0.0.1:1"]);
}

#[test]
fn secret_of_a_file_that_is_not_there_is_named() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    let run = seedhouse.run(&["--hub", &hub.url, "--hub-token-file", "/nowhere/token", "pull", SOURCE]);
    run.assert_failed(2, &["hub-token-file", "/nowhere/token"]);
    let run = seedhouse.run(&["--hub", "https://me:secret@hub.example", "pull", SOURCE]);
    run.assert_failed(2, &["`hub`"]);
    assert!(!run.stderr.contains("secret@"), "{}", run.stderr);
}

#[test]
fn download_that_broke_off_goes_on_where_it_was() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    let length = tiny_llama_gguf(1).len();
    let piece = length / 3 + 1;
    hub.fault(MODEL, Fault::CutAfter(piece));
    let report = pulled(&seedhouse, &hub, &[SOURCE]);
    assert_eq!(report["status"], "ready");
    let ranges: Vec<_> = fetches(&hub, MODEL).into_iter().map(|asked| asked.range).collect();
    let expected = [None, Some(format!("bytes={piece}-")), Some(format!("bytes={}-", 2 * piece))];
    assert_eq!(ranges, expected);
    hub.commit();
    hub.fault(MODEL, Fault::CutAfter(0));
    hub.large(MODEL, &tiny_llama_gguf(2));
    pull(&seedhouse, &hub, &[SOURCE]).assert_failed(15, &[MODEL, &length.to_string()]);
    assert_eq!(seedhouse.json(&["versions", "tiny-llama"]).as_array().unwrap().len(), 1);
}

#[test]
fn server_without_parts_is_read_from_the_beginning() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    hub.large(BIG, &vec![b'x'; 4 << 20]);
    hub.fault(BIG, Fault::StallAfter(3 << 20));
    let mut first = seedhouse.command().args(["--hub", &hub.url, "pull", SOURCE]).spawn().unwrap();
    hub.wait_for_stall();
    first.kill().unwrap();
    first.wait().unwrap();
    hub.fault(BIG, Fault::NoParts);
    hub.asked();
    assert_eq!(pulled(&seedhouse, &hub, &[SOURCE])["status"], "ready");
    assert_continued(&hub);
}

#[test]
fn killed_server_goes_on_with_the_pull_when_it_is_back() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    let start = || Server::start_with(seedhouse.command(), &["--hub", &hub.url, "--job-lease", "1s"]);
    hub.large(BIG, &vec![b'x'; 4 << 20]);
    hub.fault(BIG, Fault::StallAfter(3 << 20));
    let mut server = start();
    let client = server.client();
    let asking = std::thread::spawn(move || {
        let body = json!({"model_name_or_path": SOURCE, "name": "Tiny"});
        client.try_send("POST", "/api/models/pretrained", &[], &body).is_ok()
    });
    hub.wait_for_stall();
    server.kill();
    assert!(!asking.join().unwrap());
    hub.mend(BIG);
    hub.asked();
    let server = start();
    let begun = Instant::now();
    let job = loop {
        let job = server.get("/api/jobs/1").json();
        if !["queued", "running"].contains(&job["state"].as_str().unwrap()) {
            break job;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{job}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(
        (&job["kind"], &job["state"], &job["attempt"]),
        (&json!("pull"), &json!("succeeded"), &json!(2)),
        "{job}"
    );
    assert_eq!(job["result"]["model_id"], "tiny_v1");
    assert_continued(&hub);
}

#[test]
fn bytes_that_are_not_what_the_hub_names_are_refused_and_fetched_anew() {
    for (file, good) in [(MODEL, tiny_llama_gguf(1)), ("README.md", "---\nlicense: mit\n---\n# 小麦\n".into())] {
        let (seedhouse, hub) = (Seedhouse::new(), hub());
        let mut bad = good.clone();
        bad[10] ^= 1;
        hub.fault(file, Fault::Instead(bad));
        pull(&seedhouse, &hub, &[SOURCE]).assert_failed(11, &[file, "the hub names", "the bytes are", &hub.pinned()]);
        assert_eq!(seedhouse.json(&["list"]), json!([]));
        hub.fault(file, Fault::Instead([good.as_slice(), b"more"].concat()));
        pull(&seedhouse, &hub, &[SOURCE]).assert_failed(11, &[file, "sends more"]);
        hub.mend(file);
        assert_eq!(pulled(&seedhouse, &hub, &[SOURCE])["status"], "ready", "{file}");
    }
}

#[test]
fn no_of_a_hub_is_told_with_what_can_be_done() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    pull(&seedhouse, &hub, &["hf:seeds/other"]).assert_failed(3, &["hf:seeds/other", "404", &hub.url]);
    pull(&seedhouse, &hub, &["hf:seeds/tiny-llama@v9"]).assert_failed(3, &["hf:seeds/tiny-llama@v9"]);
    hub.fault(MODEL, Fault::Status(403, "Access to model is restricted"));
    pull(&seedhouse, &hub, &[SOURCE]).assert_failed(7, &["Access to model is restricted", "HF_TOKEN"]);
    hub.mend(MODEL);
    for (source, part) in [("seeds/tiny-llama", "hf:"), ("hf:../x", "owner/name"), ("hf:a/b@../c", "revision")] {
        pull(&seedhouse, &hub, &[source]).assert_failed(2, &[part]);
    }
    pull(&seedhouse, &hub, &[SOURCE, "--include", "*.bin"]).assert_failed(2, &["`*.bin`", MODEL]);
    for command in [&["import", SOURCE][..], &["register", "m", SOURCE]] {
        seedhouse.run(command).assert_failed(3, &["hint: `seedhouse pull hf:seeds/tiny-llama`"]);
    }
    seedhouse.run(&["--hub", "ftp://x", "pull", SOURCE]).assert_failed(2, &["`hub`", "ftp://x"]);
    seedhouse.run(&["--hub", "http://127.0.0.1:1", "pull", SOURCE]).assert_failed(15, &["http://127.0.0.1:1"]);
    // What answers there is no TLS, and it is TLS that says so.
    let over_tls = hub.url.replace("http:", "https:");
    seedhouse.run(&["--hub", &over_tls, "pull", SOURCE]).assert_failed(15, &[&over_tls, "InvalidContentType"]);
    assert_eq!(seedhouse.json(&["list"]), json!([]));
}

#[test]
fn hostile_hub_is_refused() {
    let tree = format!("/api/models/{REPOSITORY}/tree/");
    let revision = format!("/api/models/{REPOSITORY}/revision/");
    let file = |path: &str, oid: &str| json!([{"type": "file", "path": path, "oid": oid, "size": 1}]);
    let (oid, commit) = ("0".repeat(40), "0".repeat(40));
    for (asked, answer, part) in [
        (&tree, file("../outside", &oid), "`..`"),
        (&tree, file("/etc/passwd", &oid), "relative"),
        (&tree, file("a", "zz"), "SHA-1"),
        (
            &tree,
            json!([{"type": "file", "path": "a", "oid": oid, "size": 1, "lfs": {"oid": "x", "size": 1}}]),
            "sha256",
        ),
        (&tree, json!({"error": "busy"}), "malformed"),
        (&revision, json!({"id": REPOSITORY, "sha": "../../x"}), "no commit"),
        (&revision, json!({"id": "../x", "sha": commit}), "owner/name"),
        (&revision, json!([]), "malformed"),
    ] {
        let (seedhouse, hub) = (Seedhouse::new(), hub());
        hub.answer(asked, answer);
        pull(&seedhouse, &hub, &[SOURCE]).assert_failed(2, &[part]);
    }
}

#[test]
fn token_is_sent_to_the_hub_and_to_nobody_else() {
    let (seedhouse, hub, elsewhere) = (Seedhouse::new(), hub(), FakeHub::start());
    elsewhere.large("moved", &tiny_llama_gguf(1));
    hub.fault(
        MODEL,
        Fault::Moved(format!("{}/{REPOSITORY}/resolve/x/moved", elsewhere.url.replace("127.0.0.1", "localhost"))),
    );
    let run =
        seedhouse.command().env("HF_TOKEN", "hf_secret").args(["--hub", &hub.url, "pull", SOURCE]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(hub.asked().iter().all(|asked| asked.authorization.as_deref() == Some("Bearer hf_secret")));
    let asked = elsewhere.asked();
    assert_eq!((asked.len(), &asked[0].authorization), (1, &None));
    let jobs = seedhouse.run(&["jobs", "show", "1", "--json"]).stdout;
    assert!(!jobs.contains("hf_secret"), "{jobs}");
}

#[test]
fn repository_is_pulled_over_http_in_the_originals_shape() {
    let (seedhouse, hub) = (Seedhouse::new(), hub());
    let server = Server::start_with(seedhouse.command(), &["--hub", &hub.url]);
    let ask = |body: Value| server.post_json("/api/models/pretrained", &body);
    let answer = ask(json!({"model_name_or_path": SOURCE, "name": "小麦 Llama"}));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let expected = json!({"success": true, "model_id": "小麦-llama_v1", "message": "`小麦-llama_v1` is registered", "model_format": "gguf"});
    assert_eq!(answer.json(), expected);
    hub.large("second.gguf", &tiny_llama_gguf(2));
    hub.commit();
    ask(json!({"model_name_or_path": SOURCE})).assert_problem(400, &["2 GGUF files", "second.gguf"]);
    let second = json!({"model_name_or_path": SOURCE, "name": "小麦 Llama", "include": ["second*"]});
    assert_eq!(ask(second.clone()).json()["model_id"], "小麦-llama_v2");
    let mut claimed = second;
    claimed["model_type"] = json!("vision");
    assert!(ask(claimed).text.contains("claimed as `vision`"));
    ask(json!({"model_name_or_path": "hf:a b"})).assert_problem_about(400, "model_name_or_path", &["owner/name"]);
    ask(json!({"model_name_or_path": "x", "include": ["*"]})).assert_problem_about(400, "include", &["hf:"]);
    ask(json!({"model_name_or_path": "hf:seeds/other"})).assert_problem(404, &["hf:seeds/other"]);
}
