//! Plans of language models on the disk, as a user meets them.

use std::fs;
use std::path::PathBuf;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::Value;

use crate::support::Seedhouse;

fn plans(seedhouse: &Seedhouse) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(seedhouse.root().join("plans")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn registered() -> Seedhouse {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    seedhouse
}

fn token_ids(seedhouse: &Seedhouse) -> Value {
    seedhouse.json(&["generate", "tiny", "hello", "--max-tokens", "4"])["token_ids"].clone()
}

#[test]
fn registration_leaves_a_plan_and_the_next_process_uses_it() {
    let seedhouse = registered();
    let plan = plans(&seedhouse).pop().expect("the proof that it can be loaded compiled it");
    let statistics = seedhouse.json(&["statistics"]);
    let size = fs::metadata(&plan).unwrap().len();
    assert_eq!((&statistics["plans"]["stored"], &statistics["plans"]["stored_bytes"]), (&1.into(), &size.into()));
    let written = fs::metadata(&plan).unwrap().modified().unwrap();
    let expected = token_ids(&seedhouse);
    assert_eq!(fs::metadata(&plan).unwrap().modified().unwrap(), written, "a plan that was used is not written again");

    fs::remove_dir_all(seedhouse.root().join("plans")).unwrap();
    assert_eq!(token_ids(&seedhouse), expected, "the folder is a cache");
    assert_eq!(plans(&seedhouse).len(), 1);
}

#[test]
fn damaged_plan_is_named_in_a_warning_and_made_anew() {
    let seedhouse = registered();
    let expected = token_ids(&seedhouse);
    let plan = plans(&seedhouse).pop().unwrap();
    let intact = fs::read(&plan).unwrap();
    let mut damaged = intact.clone();
    let last = damaged.len() - 100;
    damaged[last] ^= 1;
    fs::remove_file(&plan).unwrap();
    fs::write(&plan, &damaged).unwrap();
    let run = seedhouse.run(&["generate", "tiny", "hello", "--max-tokens", "4"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("cannot use a plan") && run.stderr.contains("checksum"), "{}", run.stderr);
    assert_eq!((fs::read(&plan).unwrap(), token_ids(&seedhouse)), (intact, expected));
}

#[test]
fn folder_that_takes_no_plans_is_a_warning() {
    let seedhouse = registered();
    let expected = token_ids(&seedhouse);
    fs::remove_dir_all(seedhouse.root().join("plans")).unwrap();
    // No user may make a folder here, not even root.
    fs::write(seedhouse.root().join("plans"), "in the way").unwrap();
    let run = seedhouse.run(&["generate", "tiny", "hello", "--max-tokens", "4"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("cannot keep a plan"), "{}", run.stderr);
    assert_eq!(token_ids(&seedhouse), expected);
}

#[test]
fn gc_removes_the_plans_of_versions_that_are_gone() {
    let seedhouse = registered();
    seedhouse.register("kept", &seedhouse.file("other.gguf", &tiny_llama_gguf(2)));
    assert_eq!(plans(&seedhouse).len(), 2);
    assert_eq!(seedhouse.run(&["delete", "tiny_v1"]).code, 0);
    assert_eq!(seedhouse.json(&["gc"])["removed_plans"], Value::Array(Vec::new()), "retention is 30 days by default");
    let dry = seedhouse.json(&["gc", "--retention-days", "0", "--dry-run"]);
    assert_eq!(plans(&seedhouse).len(), 2);
    let run = seedhouse.json(&["gc", "--retention-days", "0"]);
    assert_eq!((&run["removed_plans"], run["removed_plans"].as_array().unwrap().len()), (&dry["removed_plans"], 1));
    assert!(run["removed_plans"][0]["reason"].as_str().unwrap().contains("sha256:"), "{run}");
    assert_eq!(plans(&seedhouse).len(), 1);
    seedhouse.run(&["generate", "kept", "hello", "--max-tokens", "2"]);
}
