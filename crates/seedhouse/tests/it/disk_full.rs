//! A disk that is full: who asked hears it, nothing half done stays, what stands can be read, and when there is space again
//! the same server goes on. The disk is a small file system in memory, which only root may mount; CI runs as root.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Form, Seedhouse, Server};

const DISK_BYTES: usize = 24 << 20;

/// A small disk; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts a disk where the registry will be, or says why the test is skipped.
    fn under(seedhouse: &Seedhouse) -> Option<Disk> {
        let path = seedhouse.root();
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={DISK_BYTES}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        match mount {
            Ok(output) if output.status.success() => Some(Disk(path)),
            Ok(output) => skipped(&String::from_utf8_lossy(&output.stderr)),
            Err(error) => skipped(&error.to_string()),
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Fills the disk but for so many bytes.
    fn fill_but(&self, bytes: usize) {
        // Zeros are written to a file of this system like other bytes; it does not keep holes that were written.
        let _ = fs::remove_file(self.filler());
        let used = used_bytes(&self.0);
        fs::write(self.filler(), vec![0; DISK_BYTES - used - bytes]).unwrap();
    }

    fn clear(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because a server may still be about to end.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn skipped(reason: &str) -> Option<Disk> {
    println!("SKIPPED: a small disk cannot be mounted: {}", reason.trim());
    None
}

fn used_bytes(folder: &Path) -> usize {
    let output = Command::new("df").args(["--block-size=1", "--output=used"]).arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().last().unwrap().trim().parse().unwrap()
}

fn register(server: &Server, name: &str) -> u16 {
    let answer = server.post_json("/api/models", &json!({"name": name, "description": "长".repeat(20_000)}));
    if answer.status == 507 {
        answer.assert_problem(507, &["disk is full"]);
    } else {
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    answer.status
}

fn listed(server: &Server) -> BTreeSet<String> {
    let models = server.get("/api/models?limit=1000").json();
    models.as_array().unwrap().iter().map(|model| model["model_id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until `metadata.json` names exactly these versions.
fn wait_for_metadata_json(path: &Path, expected: &BTreeSet<String>) {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let file: Value = serde_json::from_str(&text).unwrap_or_default();
        let named: BTreeSet<String> =
            file["models"].as_object().map(|models| models.keys().cloned().collect()).unwrap_or_default();
        if named == *expected {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "metadata.json has {} of {}", named.len(), expected.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn upload_beyond_the_disk_is_refused_and_leaves_no_bytes() {
    let seedhouse = Seedhouse::new();
    let Some(_disk) = Disk::under(&seedhouse) else { return };
    let server = seedhouse.serve();
    let upload = |name: &str, bytes: usize| {
        server.post_form("/api/models", &Form::new().text("name", name).file("w.bin", &vec![7; bytes]))
    };
    assert_eq!(upload("before", 1 << 20).status, 201);
    let before = seedhouse.stored_files();
    upload("large", DISK_BYTES).assert_problem(507, &["disk is full"]);
    assert_eq!(seedhouse.stored_files(), before, "nothing of the upload stays");
    assert_eq!(upload("after", 1 << 20).status, 201, "its space can be used at once");
    assert_eq!(listed(&server), ["after_v1", "before_v1"].map(String::from).into());
    assert_eq!(seedhouse.json(&["verify"])["intact"], true);
}

#[test]
fn opening_a_registry_on_a_full_disk_names_the_disk_and_changes_nothing() {
    let seedhouse = Seedhouse::new();
    let Some(disk) = Disk::under(&seedhouse) else { return };
    seedhouse.register("m", &seedhouse.file("w.bin", b"weights"));
    disk.fill_but(0);
    for arguments in [&["list"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let run = seedhouse.run(arguments);
        run.assert_failed(12, &["seedhouse.db", "no space on the disk", "hint: free space"]);
    }
    disk.clear();
    assert_eq!(seedhouse.json(&["list"]).as_array().unwrap().len(), 1);
    assert_eq!(seedhouse.run(&["audit", "verify"]).code, 0);
}

#[test]
fn full_disk_loses_no_registration_and_the_server_goes_on_when_there_is_space() {
    let seedhouse = Seedhouse::new();
    let Some(disk) = Disk::under(&seedhouse) else { return };
    let server = seedhouse.serve();
    let mut answered = BTreeSet::new();
    let mut number = 0;
    for round in 0..3 {
        disk.fill_but(2 << 20);
        let mut refused = 0;
        while refused < 8 {
            number += 1;
            match register(&server, &format!("m{number}")) {
                201 => assert!(answered.insert(format!("m{number}_v1"))),
                _ => refused += 1,
            }
            assert!(number < 1000, "the disk does not get full");
        }
        assert_eq!(listed(&server), answered, "reads go on, in round {round}");
        assert_eq!(server.get("/api/models/m1_v1").status, 200);
        disk.clear();
        number += 1;
        assert_eq!(register(&server, &format!("m{number}")), 201, "writes go on, in round {round}");
        answered.insert(format!("m{number}_v1"));
    }
    assert_eq!(listed(&server), answered);
    wait_for_metadata_json(&seedhouse.root().join("metadata.json"), &answered);
    drop(server);
    assert_eq!(listed(&seedhouse.serve()), answered, "a new server finds the same");
    assert_eq!(seedhouse.run(&["audit", "verify"]).code, 0);
}

#[test]
fn checkpoint_beyond_the_disk_ends_the_training_and_the_one_before_is_gone_on_from() {
    let seedhouse = Seedhouse::new();
    let Some(disk) = Disk::under(&seedhouse) else { return };
    let rows: String = (0..200).map(|row| format!("{row},{}\n", 3 * row)).collect();
    let file = seedhouse.file("rows.csv", format!("x,y\n{rows}").as_bytes());
    seedhouse.json(&["dataset", "rows", &file, "--target", "y"]);
    // A checkpoint has its weights of 2.4 MB three times and the best of them once more: there is room for one, and not for two.
    disk.fill_but(14 << 20);
    let settings = r#"{"steps": 60, "checkpoint_every": 20, "evaluate_every": 10, "threads": 1}"#;
    let metadata = r#"{"hidden_sizes": [768, 768]}"#;
    let train =
        ["train", "big", "--type", "regression", "--data", "rows", "--metadata", metadata, "--settings", settings];
    seedhouse.run(&train).assert_failed(12, &["the disk is full", "hint: free space"]);
    assert_eq!(seedhouse.json(&["show", "big_v1"])["status"], "failed");
    let job = seedhouse.run(&["jobs", "show", "1", "--json"]).stdout;
    assert!(!job.contains(seedhouse.root().to_str().unwrap()), "a job told where the registry stands: {job}");
    disk.clear();
    // How many threads compute changes nothing of the result, so the checkpoint serves them, too.
    let settings = settings.replace(r#""threads": 1"#, r#""threads": 2"#);
    let report = seedhouse.json(&["train", "big_v1", "--data", "rows", "--settings", &settings]);
    assert_eq!(report["model_id"], "big_v1");
    let record = seedhouse.json(&["show", "big_v1"]);
    assert_eq!(record["status"], "trained");
    assert_eq!(record["receipts"][0]["details"]["resumed_at"], 20, "{record}");
    assert_eq!(seedhouse.json(&["verify"])["intact"], true);
}
