//! `seedhouse backup` and `seedhouse restore`: the whole way around, and what is left when they are killed.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Seedhouse, original_files};

fn metadata_json(seedhouse: &Seedhouse) -> Vec<u8> {
    fs::read(seedhouse.root().join("metadata.json")).unwrap()
}

fn head(seedhouse: &Seedhouse) -> Value {
    let audit = seedhouse.json(&["audit", "verify"]);
    assert_eq!(audit["findings"], json!([]));
    audit["head"].clone()
}

fn back_up(seedhouse: &Seedhouse, options: &[&str]) -> String {
    let report = seedhouse.json(&[&["backup"], options].concat());
    report["path"].as_str().unwrap().to_owned()
}

#[test]
fn backup_restored_elsewhere_is_the_same_registry() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("小麦", &seedhouse.file("one.bin", b"one"));
    seedhouse.register("小麦", &seedhouse.file("two.bin", b"two"));
    seedhouse.json(&["alias", "set", "小麦/1", "最佳"]);
    let created = {
        let server = seedhouse.serve();
        let answer = server.client().try_send(
            "POST",
            "/api/models/小麦/versions",
            &[("idempotency-key", "once")],
            &json!({"description": "病虫害"}),
        );
        answer.unwrap().json()
    };
    seedhouse.json(&["delete", "小麦/2"]);
    for options in [[].as_slice(), &["--zstd"], &["-o", &seedhouse.file("x/y", b"").replace("x/y", "x/mine.tar")]] {
        let path = back_up(&seedhouse, options);
        assert_eq!(seedhouse.run(&["backup", "verify", &path]).code, 0);
        let other = Seedhouse::new();
        let planned = other.json(&["restore", &path, "--dry-run"]);
        assert_eq!((&planned["dry_run"], other.root().exists()), (&json!(true), false));
        let report = other.json(&["restore", &path]);
        assert_eq!((&report["taken_over"], &report["head"]), (&json!(true), &head(&seedhouse)));
        assert_eq!(metadata_json(&other), metadata_json(&seedhouse));
        assert_eq!(head(&other), head(&seedhouse));
        assert_eq!(other.json(&["verify"])["intact"], true);
        let server = other.serve();
        let answer = server.client().try_send(
            "POST",
            "/api/models/小麦/versions",
            &[("idempotency-key", "once")],
            &json!({"description": "病虫害"}),
        );
        assert_eq!(answer.unwrap().json()["model_id"], created["model_id"]);
    }
}

#[test]
fn mistakes_are_told_by_name_and_leave_nothing_behind() {
    let seedhouse = Seedhouse::new();
    seedhouse.run(&["backup"]).assert_failed(3, &["registry"]);
    seedhouse.run(&["restore", "missing.tar"]).assert_failed(3, &["missing.tar"]);
    assert!(!seedhouse.root().exists());
    seedhouse.register("m", &seedhouse.file("one.bin", b"one"));
    let path = back_up(&seedhouse, &[]);
    seedhouse.run(&["backup", "-o", &path]).assert_failed(2, &["exists already"]);
    seedhouse.run(&["backup", "--metadata-only", "--zstd"]).assert_failed(2, &["--zstd"]);
    seedhouse.run(&["restore"]).assert_failed(2, &["FILE"]);
    seedhouse.run(&["restore", &path, "--as-of", "2026-03-03T00:00:00Z"]).assert_failed(2, &["--as-of"]);
    seedhouse.run(&["restore", "--as-of", "2001-01-01T00:00:00Z"]).assert_failed(2, &["2001", "history begins"]);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 2000;
    bytes[last] ^= 1;
    let damaged = seedhouse.file("damaged.tar", &bytes);
    let before = head(&seedhouse);
    for command in [&["backup", "verify"][..], &["restore"]] {
        let run = seedhouse.run(&[command, &[&damaged]].concat());
        assert!([2, 11].contains(&run.code) && run.stderr.contains("damaged.tar"), "{}: {}", run.code, run.stderr);
    }
    assert_eq!(head(&seedhouse), before);
}

#[test]
fn adopted_chinese_survives_backup_and_restoration() {
    let seedhouse = Seedhouse::new();
    let fixture = seedhouse.file("m/metadata.json", include_bytes!("../fixtures/original_style_metadata.json"));
    let mut files = vec![fixture];
    if let Some(folder) = original_files() {
        let names = ["models-metadata.json", "backend-models-metadata.json", "backend-models-model_index.json"];
        files.extend(names.map(|name| folder.join(name).to_str().unwrap().to_owned()));
    }
    let arguments: Vec<&str> = ["adopt"].into_iter().chain(files.iter().map(String::as_str)).collect();
    seedhouse.json(&arguments);
    let other = Seedhouse::new();
    other.json(&["restore", &back_up(&seedhouse, &["--zstd"])]);
    assert_eq!(metadata_json(&other), metadata_json(&seedhouse));
    assert!(String::from_utf8(metadata_json(&other)).unwrap().contains("水稻病害识别模型"));
    assert_eq!(head(&other), head(&seedhouse));

    let records = back_up(&seedhouse, &["--metadata-only"]);
    assert_eq!(fs::read(&records).unwrap(), metadata_json(&seedhouse));
    let report = Seedhouse::new().json(&["restore", &records]);
    assert_eq!(report["added"].as_array().unwrap().len(), seedhouse.json(&["list"]).as_array().unwrap().len());
}

#[test]
fn restoration_that_is_killed_leaves_the_old_state_or_the_new_one() {
    const KILLS: u64 = 24;
    let seedhouse = Seedhouse::new();
    for number in 0..12u32 {
        let bytes: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(1_000_000).collect();
        seedhouse.register("m", &seedhouse.file("weights.bin", &bytes));
    }
    let backup = back_up(&seedhouse, &[]);
    let whole = head(&seedhouse);
    let (mut old, mut new) = (0, 0);
    let mut target = Seedhouse::new();
    for round in 0..KILLS {
        let before = if target.root().join("seedhouse.db").exists() { head(&target) } else { Value::Null };
        let mut child = target.command().args(["restore", &backup]).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(7 * round));
        let _ = child.kill();
        child.wait().unwrap();
        if !target.root().join("seedhouse.db").exists() {
            continue;
        }
        let after = head(&target);
        match after == before {
            true => old += 1,
            false => {
                assert_eq!(after, whole, "it is all there or nothing is");
                assert_eq!(target.json(&["verify"])["intact"], true);
                new += 1;
                target = Seedhouse::new();
            }
        }
    }
    assert!(old + new > KILLS / 2, "{old} old, {new} new");
    target.json(&["restore", &backup]);
    assert_eq!(head(&target), whole, "after any number of kills it still works");
    let leftovers: Vec<String> =
        target.stored_files().into_iter().filter(|file| file.starts_with("blobs/staging/")).collect();
    assert_eq!(leftovers, [""; 0]);
}

#[test]
fn restoration_over_later_changes_that_is_killed_leaves_all_of_them_or_none() {
    const KILLS: u64 = 16;
    let seedhouse = Seedhouse::new();
    let ids: Vec<String> = (1..=4).map(|number| format!("m_v{number}")).collect();
    for id in &ids {
        seedhouse.register("m", &seedhouse.file("weights.bin", id.as_bytes()));
    }
    let backup = back_up(&seedhouse, &[]);
    for round in 0..KILLS {
        for id in &ids {
            seedhouse.json(&["update", id, "--description", "later"]);
        }
        let mut child = seedhouse.command().args(["restore", &backup]).stdout(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(5 * round));
        let _ = child.kill();
        child.wait().unwrap();
        head(&seedhouse);
        let list = seedhouse.json(&["list"]);
        let later = list.as_array().unwrap().iter().filter(|entry| entry["description"] == "later").count();
        assert!(later == 0 || later == ids.len(), "{later} of {} are as they were", ids.len());
    }
    seedhouse.json(&["restore", &backup]);
    assert!(seedhouse.json(&["list"]).as_array().unwrap().iter().all(|entry| entry.get("description").is_none()));
}
