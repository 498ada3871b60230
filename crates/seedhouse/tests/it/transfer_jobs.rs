//! Exports, imports, backups and restorations as jobs: what they make, what they refuse, and what is left when a server is
//! killed under them.

use std::fs;
use std::time::{Duration, Instant};

use seedhouse_core::Digest;
use serde_json::{Value, json};

use crate::support::{RawRequest, Seedhouse, Server};

/// Names that lead out of a folder, or look as if they did.
const HOSTILE_NAMES: [&str; 20] = [
    "",
    ".",
    "..",
    "../seedhouse.db",
    "../../etc/passwd",
    "a/../../seedhouse.db",
    "backup/../seedhouse.db",
    "exports/../seedhouse.db",
    "/etc/passwd",
    "/",
    "..\\seedhouse.db",
    "a\\..\\seedhouse.db",
    "C:\\seedhouse.db",
    "C:seedhouse.db",
    "a\0b",
    "a\nb",
    ".hidden",
    "．．／seedhouse.db",
    "‥/seedhouse.db",
    "..∕seedhouse.db",
];

/// A registry with two versions whose files are text, so that an archive of them can be read as text, too.
fn registry() -> Seedhouse {
    let seedhouse = Seedhouse::new();
    seedhouse.register("小麦", &seedhouse.file("one.txt", "病虫害一".as_bytes()));
    seedhouse.register("小麦", &seedhouse.file("two.txt", "病虫害二".as_bytes()));
    seedhouse
}

/// Asks for a job and waits for its end.
fn done(server: &Server, path: &str, mut body: Value) -> Value {
    body["wait"] = json!(true);
    let answer = server.post_json(path, &body);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn succeeded(server: &Server, path: &str, body: Value) -> Value {
    let job = done(server, path, body);
    assert_eq!((&job["state"], &job["error"]), (&json!("succeeded"), &Value::Null), "{job}");
    job["result"].clone()
}

/// Waits until the job has ended.
fn wait(server: &Server, id: u64) -> Value {
    let begun = Instant::now();
    loop {
        let job = server.get(&format!("/api/jobs/{id}")).json();
        if !["queued", "running"].contains(&job["state"].as_str().unwrap()) {
            return job;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{job}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn head(seedhouse: &Seedhouse) -> Value {
    let audit = seedhouse.json(&["audit", "verify"]);
    assert_eq!(audit["findings"], json!([]));
    audit["head"].clone()
}

fn file_name(path: &Value) -> String {
    path.as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

fn put(seedhouse: &Seedhouse, folder: &str, name: &str, bytes: &[u8]) {
    let folder = seedhouse.root().join(folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn names_in(seedhouse: &Seedhouse, folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(seedhouse.root().join(folder)) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn backup_made_by_a_job_is_listed_and_restored_by_a_job_elsewhere() {
    let seedhouse = registry();
    let server = seedhouse.serve();
    assert_eq!(server.get("/api/backups").json(), json!({"files": []}));
    for (number, body, ending) in [
        (1, json!({}), "_job1.tar"),
        (2, json!({"compression": "zstd"}), "_job2.tar.zst"),
        (3, json!({"content": "metadata_only"}), "_job3.json"),
    ] {
        let report = succeeded(&server, "/api/backups", body);
        let path = report["path"].as_str().unwrap();
        assert!(path.starts_with("backup/") && path.ends_with(ending), "{path}");
        assert_eq!(report["versions"], 2);
        let listed = server.get("/api/backups").json()["files"].clone();
        assert_eq!(listed.as_array().unwrap().len(), number);
        let file = listed.as_array().unwrap().iter().find(|file| file["name"] == file_name(&report["path"])).unwrap();
        assert_eq!(file["size_bytes"], report["size_bytes"]);
        assert!(file["made_at"].as_str().unwrap().ends_with('Z'), "{file}");
        let bytes = fs::read(seedhouse.root().join(path)).unwrap();
        assert_eq!(Digest::of(&bytes).to_string(), report["digest"].as_str().unwrap());
        if number == 3 {
            continue;
        }

        let other = Seedhouse::new();
        let there = other.serve();
        put(&other, "backup", "copy.tar", &bytes);
        let planned = succeeded(&there, "/api/restores", json!({"backup": "copy.tar", "dry_run": true}));
        assert_eq!((&planned["dry_run"], planned["added"].as_array().unwrap().len()), (&json!(true), 2));
        assert_eq!(there.get("/api/models").json(), json!([]));
        let restored = succeeded(&there, "/api/restores", json!({"backup": "backup/copy.tar"}));
        assert_eq!((&restored["taken_over"], &restored["head"]), (&json!(true), &head(&seedhouse)));
        let again = succeeded(&there, "/api/restores", json!({"backup": "copy.tar"}));
        assert_eq!((&again["unchanged"], &again["head"]), (&json!(2), &head(&seedhouse)), "twice is once");
        assert_eq!(other.json(&["verify"])["intact"], true);
    }
    let before = seedhouse.json(&["audit", "verify"])["head"].clone();
    let at = server.fetch("/api/models/小麦_v1").json()["created_at"].clone();
    let back = succeeded(&server, "/api/restores", json!({"as_of": at, "reason": "试验"}));
    assert_eq!(back["deleted"], json!(["小麦_v2"]));
    assert_ne!(head(&seedhouse), before);
    let answer = server.post("/api/backups", "");
    assert_eq!((answer.status, answer.location.starts_with("/api/jobs/")), (202, true), "{}", answer.text);
}

#[test]
fn mistakes_are_told_at_once_by_their_field() {
    let seedhouse = registry();
    let server = seedhouse.serve();
    put(&seedhouse, "backup", "b.tar", b"x");
    for (path, body, status, field) in [
        ("/api/backups", json!({"content": "half"}), 400, "content"),
        ("/api/backups", json!({"compression": "rar"}), 400, "compression"),
        ("/api/backups", json!({"content": "metadata_only", "compression": "zstd"}), 400, "compression"),
        ("/api/restores", json!({}), 400, "backup"),
        ("/api/restores", json!({"backup": "b.tar", "as_of": "2026-01-01T00:00:00Z"}), 400, "backup"),
        ("/api/restores", json!({"as_of": "yesterday"}), 400, "as_of"),
        ("/api/restores", json!({"as_of": "2999-01-01T00:00:00Z"}), 400, "as_of"),
        ("/api/exports", json!({}), 400, "references"),
        ("/api/exports", json!({"references": ["a\\b"]}), 400, "references"),
        ("/api/exports", json!({"references": ["小麦/1", "小麦/2"], "format": "oci"}), 400, "references"),
        ("/api/exports", json!({"references": ["小麦"], "format": "zip"}), 400, "format"),
        ("/api/imports", json!({}), 400, "file"),
        ("/api/imports", json!({"file": "missing.tar", "rename_to": "a/b"}), 400, "rename_to"),
    ] {
        server.post_json(path, &body).assert_problem_about(status, field, &[]);
    }
    for (path, body, name) in [
        ("/api/restores", json!({"backup": "missing.tar"}), "missing.tar"),
        ("/api/exports", json!({"references": ["nobody"]}), "nobody"),
        ("/api/imports", json!({"file": "missing.tar"}), "missing.tar"),
    ] {
        server.post_json(path, &body).assert_problem(404, &[name]);
    }
    assert_eq!(server.get("/api/jobs").json()["jobs"], json!([]), "none of them became a job");
}

#[test]
fn names_that_lead_out_of_the_folders_are_refused_and_reach_nothing() {
    let seedhouse = registry();
    let server = seedhouse.serve();
    put(&seedhouse, "exports", "a.tar", b"mine");
    for folder in ["backup", "imports"] {
        put(&seedhouse, folder, "a.tar", b"mine");
    }
    let before = (seedhouse.stored_files(), head(&seedhouse));
    for name in HOSTILE_NAMES {
        for (path, body) in [
            ("/api/restores", json!({"backup": name})),
            ("/api/imports", json!({"file": name})),
            ("/api/model-manager/restore", json!({"backup_path": name})),
            ("/api/model-manager/backup", json!({"backup_path": name})),
            ("/api/models/pretrained", json!({"model_name_or_path": name, "name": "stolen"})),
        ] {
            let answer = server.post_json(path, &body);
            assert_eq!(answer.status, 400, "{path} {name:?}: {}", answer.text);
        }
        for encoded in [percent(name), percent(&percent(name)), name.to_owned()] {
            if encoded.bytes().any(|byte| byte.is_ascii_control()) {
                continue;
            }
            let answer = RawRequest::get(&format!("/api/exports/{encoded}")).send(&server.url);
            // Without a name, and outside, are other routes.
            let is_list = answer.status == 200 && answer.body.starts_with("{\"files\"");
            assert!([400, 404].contains(&answer.status) || is_list, "{encoded}: {}", answer.body);
            let query = RawRequest::new("POST", &format!("/api/model-manager/restore?backup_path={encoded}"));
            let answer = query.send(&server.url);
            assert!([400, 404].contains(&answer.status), "{encoded}: {}", answer.body);
        }
    }
    let root = seedhouse.root();
    for (link, target) in [("exports/link", "seedhouse.db"), ("backup/link", "seedhouse.db"), ("imports/link", "blobs")]
    {
        std::os::unix::fs::symlink(root.join(target), root.join(link)).unwrap();
    }
    server.get("/api/exports/link").assert_problem_about(400, "file", &["plain file"]);
    server.post_json("/api/restores", &json!({"backup": "link"})).assert_problem_about(400, "backup", &["plain file"]);
    server.post_json("/api/models/pretrained", &json!({"model_name_or_path": "link"})).assert_problem_about(
        400,
        "model_name_or_path",
        &["a file or a folder"],
    );
    for link in ["exports/link", "backup/link", "imports/link"] {
        fs::remove_file(root.join(link)).unwrap();
    }
    assert_eq!((seedhouse.stored_files(), head(&seedhouse)), before);
    assert_eq!(server.get("/api/exports/a.tar").text, "mine");
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn damaged_backup_fails_its_job_by_code_and_changes_nothing() {
    let seedhouse = registry();
    let server = seedhouse.serve();
    let report = succeeded(&server, "/api/backups", json!({}));
    let bytes = fs::read(seedhouse.root().join(report["path"].as_str().unwrap())).unwrap();
    let mut flipped = bytes.clone();
    let place = bytes.windows(9).rposition(|window| window == "病虫害".as_bytes()).unwrap();
    flipped[place] ^= 1;
    let before = head(&seedhouse);
    for (name, bytes, code) in [
        ("flipped.tar", flipped, "corrupt"),
        ("cut.tar", bytes[..bytes.len() / 2].to_vec(), "invalid"),
        ("empty.tar", Vec::new(), "invalid"),
        ("words.tar", b"no archive at all".to_vec(), "invalid"),
        ("half.json", b"{\"models\": {".to_vec(), "invalid"),
    ] {
        put(&seedhouse, "backup", name, &bytes);
        let job = done(&server, "/api/restores", json!({"backup": name}));
        assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!(code)), "{job}");
        let message = job["error"]["message"].as_str().unwrap();
        assert!(message.contains(name), "{message}");
        let root = seedhouse.root().display().to_string();
        assert!(!job.to_string().contains(&root), "everybody who may read sees this: {job}");
        let at_once = server.post_json("/api/model-manager/restore", &json!({"backup_path": name}));
        at_once.assert_problem(if code == "corrupt" { 500 } else { 400 }, &[name]);
        assert!(!at_once.text.contains(&root), "{}", at_once.text);
        assert_eq!(head(&seedhouse), before, "{name}");
    }
    assert_eq!(seedhouse.json(&["verify"])["intact"], true);
}

#[test]
fn exported_bundle_is_sent_in_parts_and_imported_elsewhere() {
    let seedhouse = registry();
    let server = seedhouse.serve();
    let report = succeeded(&server, "/api/exports", json!({"search": "小麦"}));
    assert_eq!(report["versions"], json!(["小麦_v1", "小麦_v2"]));
    let name = file_name(&report["path"]);
    assert_eq!(server.get("/api/exports").json()["files"][0]["name"], name);
    let address = format!("/api/exports/{name}");
    let get = |headers: &[(&str, &str)]| server.send("GET", &address, headers, &Value::Null);
    let whole = get(&[]);
    assert_eq!(Digest::of(&whole.text).to_string(), report["file_digest"].as_str().unwrap());
    assert_eq!(whole.text.len() as u64, report["file_bytes"].as_u64().unwrap());
    let part = get(&[("range", "bytes=0-10")]);
    assert_eq!((part.status, part.text.as_str()), (206, "bundle.json"));
    assert_eq!(get(&[("if-none-match", whole.header("etag"))]).status, 304);
    get(&[("range", "bytes=99999999-")]).assert_problem(416, &["bytes"]);
    assert_eq!(whole.header("content-type"), "application/octet-stream");

    for (body, ending) in [
        (json!({"references": ["小麦"], "format": "oci"}), ".oci.tar"),
        (json!({"references": ["小麦"], "compression": "zstd"}), ".tar.zst"),
    ] {
        let report = succeeded(&server, "/api/exports", body);
        assert!(report["path"].as_str().unwrap().ends_with(ending), "{report}");
    }

    let other = Seedhouse::new();
    let there = other.serve();
    put(&other, "imports", "models.tar", whole.text.as_bytes());
    let imported = succeeded(&there, "/api/imports", json!({"file": "models.tar"}));
    assert_eq!(imported["imported"].as_array().unwrap().len(), 2);
    let again = succeeded(&there, "/api/imports", json!({"file": "imports/models.tar"}));
    assert_eq!(again["already_present"], json!(["小麦_v1", "小麦_v2"]));
    let renamed = succeeded(&there, "/api/imports", json!({"file": "models.tar", "rename_to": "wheat"}));
    assert_eq!(renamed["imported"][0]["model_id"], "wheat_v1");
    let actors = there.get("/api/models/wheat_v1/history").json()["events"][0]["actor"].clone();
    assert_eq!(actors, "local");
    put(&other, "imports", "cut.tar", &whole.text.as_bytes()[..3000]);
    let job = done(&there, "/api/imports", json!({"file": "cut.tar", "rename_to": "cut"}));
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("invalid")), "{job}");
    assert_eq!(there.get("/api/models").json().as_array().unwrap().len(), 4);
}

#[test]
fn damaged_bytes_fail_an_export_and_leave_no_file() {
    let seedhouse = registry();
    let server = seedhouse.serve();
    let hex = Digest::of("病虫害一").hex();
    let blob = seedhouse.root().join("blobs/sha256").join(&hex[..2]).join(&hex);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "病虫害三").unwrap();
    for (path, body) in [("/api/exports", json!({"references": ["小麦/1"]})), ("/api/backups", json!({}))] {
        let job = done(&server, path, body);
        assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("corrupt")), "{job}");
    }
    assert_eq!((names_in(&seedhouse, "exports"), names_in(&seedhouse, "backup")), (Vec::new(), Vec::new()));
}

#[test]
fn killed_server_leaves_its_backup_to_the_next_one() {
    let seedhouse = Seedhouse::new();
    for number in 0..4u32 {
        let bytes: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(24 << 20).collect();
        seedhouse.register("large", &seedhouse.file("large.bin", &bytes));
    }
    let lease = ["--job-lease", "2s"];
    let mut server = Server::start_with(seedhouse.command(), &lease);
    let id = server.post_json("/api/backups", &json!({})).json()["id"].as_u64().unwrap();
    let begun = Instant::now();
    while !names_in(&seedhouse, "backup").iter().any(|name| name.contains(".partial-")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the backup does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    server.kill();
    let left = names_in(&seedhouse, "backup");
    assert!(left.len() == 1 && left[0].contains(".partial-"), "{left:?}");
    assert_eq!(seedhouse.json(&["jobs", "show", &id.to_string()])["state"], "running");

    let server = Server::start_with(seedhouse.command(), &lease);
    assert_eq!(server.get("/api/backups").json()["files"], json!([]), "half a backup is none");
    server.post_json("/api/restores", &json!({"backup": left[0]})).assert_problem(404, &[".partial-"]);
    let job = wait(&server, id);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(2)), "{job}");
    assert_eq!(names_in(&seedhouse, "backup"), [file_name(&job["result"]["path"])], "one backup, and no half");
    let path = seedhouse.root().join(job["result"]["path"].as_str().unwrap());
    assert_eq!(seedhouse.run(&["backup", "verify", path.to_str().unwrap()]).code, 0);
}

#[test]
fn import_whose_server_is_killed_is_there_once() {
    let source = registry();
    let bundle = source.file("bundle.tar", b"");
    source.json(&["export", "小麦/1", "小麦/2", "-o", &bundle]);
    let bytes = fs::read(&bundle).unwrap();
    let lease = ["--job-lease", "1s"];
    for delay in [0, 15, 40, 80] {
        let target = Seedhouse::new();
        target.register("小麦", &target.file("own.txt", "自己的".as_bytes()));
        put(&target, "imports", "bundle.tar", &bytes);
        let mut server = Server::start_with(target.command(), &lease);
        let answer = server.post_json("/api/imports", &json!({"file": "bundle.tar", "next_version": true}));
        let id = answer.json()["id"].as_u64().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        server.kill();
        let server = Server::start_with(target.command(), &lease);
        let job = wait(&server, id);
        assert_eq!(job["state"], "succeeded", "{job}");
        let ids = target.json(&["list"]).as_array().unwrap().len();
        assert_eq!(ids, 3, "its own and the two of the bundle, after {delay} ms: {job}");
        head(&target);
    }
}
