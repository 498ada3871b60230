//! Changing versions from the command line, and what the history says of it.

use rusqlite::Connection;
use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::Seedhouse;

/// Two versions of `小麦`.
fn with_two_versions() -> Seedhouse {
    let seedhouse = Seedhouse::new();
    for seed in [1, 2] {
        let path = seedhouse.file("tiny.gguf", &tiny_llama_gguf(seed));
        seedhouse.register("小麦", &path);
    }
    seedhouse
}

fn now() -> String {
    seedhouse_core::Timestamp::now().to_string()
}

#[test]
fn update_marks_what_is_only_claimed() {
    let seedhouse = with_two_versions();
    let arguments = ["update", "小麦_v1", "--tag", "作物=小麦=好", "--metric", "accuracy=0.92", "--description", "新"];
    let record = seedhouse.json(&arguments);
    assert_eq!(record["tags"], json!({"作物": "小麦=好"}));
    assert_eq!((&record["accuracy"], &record["metrics"]), (&json!(0.92), &json!({"accuracy": 0.92})));
    assert_eq!(record["claims"], json!(["metrics.accuracy", "accuracy"]));
    let shown = seedhouse.run(&["show", "小麦_v1"]).stdout;
    assert!(shown.lines().any(|line| line.contains("0.92") && line.contains("(claimed)")), "{shown}");
    assert_eq!(seedhouse.json(&["update", "小麦_v1", "--remove-tag", "作物"])["tags"], json!({}));
}

#[test]
fn update_of_a_revision_that_is_gone_is_refused() {
    let seedhouse = with_two_versions();
    let revision = seedhouse.json(&["show", "小麦_v1"])["revision"].to_string();
    let expected = ["--expected-revision", &revision];
    seedhouse.json(&[["update", "小麦_v1", "--name", "a"].as_slice(), &expected].concat());
    let again = seedhouse.run(&[["update", "小麦_v1", "--name", "b"].as_slice(), &expected].concat());
    again.assert_failed(5, &["小麦_v1", &format!("revision {revision}"), "hint: "]);
}

#[test]
fn wrong_updates_are_refused() {
    let seedhouse = with_two_versions();
    seedhouse.run(&["update", "小麦_v1"]).assert_failed(2, &["needs something to change"]);
    seedhouse.run(&["update", "小麦_v1", "--status", "trained"]).assert_failed(2, &["trained"]);
    seedhouse
        .run(&["update", "小麦_v1", "--status", "imported"])
        .assert_failed(6, &["`ready`", "`imported`", "hint: "]);
    seedhouse.run(&["update", "小麦_v1", "--metric", "loss=NaN"]).assert_failed(2, &["metrics.loss", "finite"]);
    seedhouse.run(&["update", "小麦_v1", "--tag", "no value"]).assert_failed(2, &["no value", "key=value"]);
    let notes = seedhouse.file("notes.bin", b"bytes");
    seedhouse.register("notes", &notes);
    seedhouse
        .run(&["update", "notes", "--status", "ready"])
        .assert_failed(2, &["no runtime knows the format of `notes.bin`"]);
}

#[test]
fn stopped_version_is_not_served_and_the_next_newest_answers() {
    let seedhouse = with_two_versions();
    seedhouse.json(&["update", "小麦", "--status", "stopped"]);
    seedhouse.run(&["generate", "小麦_v2", "hi"]).assert_failed(6, &["小麦_v2", "stopped"]);
    assert_eq!(seedhouse.json(&["generate", "小麦", "hi", "--max-tokens", "1"])["model_id"], "小麦_v1");
}

#[test]
fn alias_moves_rolls_back_and_is_known_as_of_a_date() {
    let seedhouse = with_two_versions();
    let beginning = now();
    seedhouse.json(&["alias", "set", "小麦_v1", "champion", "--expected", "none"]);
    let first = now();
    seedhouse.json(&["alias", "set", "小麦_v2", "champion", "--expected", "小麦_v1", "--reason", "better"]);
    assert_eq!(seedhouse.json(&["show", "小麦@champion"])["model_id"], "小麦_v2");
    seedhouse
        .run(&["alias", "set", "小麦_v1", "champion", "--expected", "none"])
        .assert_failed(5, &["小麦@champion", "小麦_v2"]);
    assert_eq!(seedhouse.json(&["show", "小麦@champion", "--as-of", &first])["model_id"], "小麦_v1");
    seedhouse.run(&["show", "小麦@champion", "--as-of", &beginning]).assert_failed(3, &["小麦@champion as of"]);
    assert_eq!(seedhouse.json(&["alias", "rollback", "小麦", "champion"])["model_id"], "小麦_v1");
    let history = seedhouse.json(&["history", "小麦@champion"]);
    let moves: Vec<(&Value, &Value)> =
        history.as_array().unwrap().iter().map(|event| (&event["before"], &event["after"])).collect();
    let (one, two) = (json!("小麦_v1"), json!("小麦_v2"));
    assert_eq!(moves, [(&Value::Null, &one), (&one, &two), (&two, &one)]);
    assert_eq!(history[1]["reason"], "better");
    seedhouse.json(&["alias", "remove", "小麦", "champion"]);
    seedhouse.run(&["show", "小麦@champion"]).assert_failed(3, &["小麦@champion"]);
    seedhouse.run(&["alias", "set", "小麦_v1", "v3"]).assert_failed(2, &["v3"]);
}

#[test]
fn earlier_records_are_known_as_of_their_time() {
    let seedhouse = with_two_versions();
    let then = now();
    seedhouse.json(&["update", "小麦_v1", "--description", "later"]);
    assert!(seedhouse.json(&["show", "小麦_v1", "--as-of", &then]).get("description").is_none());
    assert_eq!(seedhouse.json(&["show", "小麦_v1", "--as-of", &now()])["description"], "later");
    seedhouse.run(&["show", "小麦_v1", "--as-of", "2020-01-01T00:00:00Z"]).assert_failed(3, &["小麦_v1 as of 2020"]);
    seedhouse.run(&["show", "小麦_v1", "--as-of", "yesterday"]).assert_failed(2, &["yesterday"]);
}

#[test]
fn deleted_version_comes_back_byte_for_byte() {
    let seedhouse = with_two_versions();
    seedhouse.json(&["alias", "set", "小麦_v1", "best"]);
    seedhouse.run(&["delete", "小麦_v1"]).assert_failed(6, &["小麦@best", "hint: "]);
    let before = seedhouse.json(&["show", "小麦_v1"]);
    seedhouse.json(&["delete", "小麦_v1", "--force", "--reason", "mistake"]);
    seedhouse.run(&["show", "小麦_v1"]).assert_failed(3, &["小麦_v1"]);
    assert_eq!(seedhouse.json(&["list"]).as_array().unwrap().len(), 1);
    assert_eq!(seedhouse.json(&["list", "--deleted"])[0]["model_id"], "小麦_v1");
    let path = seedhouse.file("again.gguf", &tiny_llama_gguf(3));
    seedhouse.run(&["register", "小麦", &path, "--version", "1"]).assert_failed(4, &["小麦:1"]);

    let after = seedhouse.json(&["undelete", "小麦_v1"]);
    assert_eq!(after["digest"], before["digest"]);
    assert_eq!(seedhouse.json(&["verify", "小麦_v1"])["intact"], true);
    assert_eq!(std::fs::read(seedhouse.root().join("小麦_v1.gguf")).unwrap(), tiny_llama_gguf(1));
    let metadata = std::fs::read_to_string(seedhouse.root().join("metadata.json")).unwrap();
    assert!(metadata.contains("小麦_v1"));
}

/// A small history with every kind of event.
fn with_history() -> Seedhouse {
    let seedhouse = with_two_versions();
    seedhouse.json(&["update", "小麦_v1", "--tag", "a=b"]);
    seedhouse.json(&["alias", "set", "小麦_v1", "best"]);
    seedhouse.json(&["alias", "set", "小麦_v2", "best"]);
    seedhouse.json(&["alias", "set", "小麦_v2", "other"]);
    seedhouse.json(&["alias", "remove", "小麦", "other"]);
    seedhouse.json(&["delete", "小麦_v1"]);
    seedhouse.json(&["undelete", "小麦_v1"]);
    seedhouse
}

fn execute(seedhouse: &Seedhouse, sql: &str) {
    let connection = Connection::open(seedhouse.root().join("seedhouse.db")).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

#[test]
fn any_event_edited_deleted_or_swapped_is_found_by_the_audit() {
    let audit = |seedhouse: &Seedhouse| seedhouse.run(&["audit", "verify"]);
    let untouched = with_history();
    let clean = audit(&untouched);
    assert_eq!(clean.code, 0, "{}", clean.stdout);
    let events = untouched.json(&["audit", "verify"])["events"].as_u64().unwrap();
    assert_eq!(events, 9);
    for number in 1..=events {
        let mut broken = vec![
            format!("UPDATE event SET actor = 'somebody else' WHERE sequence = {number}"),
            format!("UPDATE event SET at = '2020-01-01T00:00:00Z' WHERE sequence = {number}"),
            format!("UPDATE event SET after = '{{}}' WHERE sequence = {number}"),
            format!("UPDATE event SET reason = 'another' WHERE sequence = {number}"),
            format!("DELETE FROM event WHERE sequence = {number}"),
        ];
        if number < events {
            let next = number + 1;
            // Two statements would leave a gap in between; one swaps the contents of two neighbours.
            broken.push(format!(
                "UPDATE event SET (actor, action, subject, after) = (SELECT actor, action, subject, after FROM event AS other
                 WHERE other.sequence = CASE event.sequence WHEN {number} THEN {next} ELSE {number} END)
                 WHERE sequence IN ({number}, {next})"
            ));
        }
        for sql in broken {
            let seedhouse = untouched.copy();
            execute(&seedhouse, &sql);
            let found = audit(&seedhouse);
            assert_eq!(found.code, 11, "{sql}\n{}", found.stdout);
            assert!(found.stdout.contains("WRONG "), "{sql}\n{}", found.stdout);
        }
    }
}

#[test]
fn record_edited_behind_the_history_is_found_by_the_audit() {
    let seedhouse = with_history();
    execute(
        &seedhouse,
        "UPDATE version SET record = replace(record, '\"ready\"', '\"stopped\"') WHERE model_id = '小麦_v2'",
    );
    let found = seedhouse.run(&["audit", "verify"]);
    assert_eq!(found.code, 11);
    assert!(
        found.stdout.contains("小麦_v2") && found.stdout.contains("differs from its last event"),
        "{}",
        found.stdout
    );
}

#[test]
fn garbage_collection_removes_what_its_dry_run_named_and_nothing_needed() {
    let seedhouse = with_two_versions();
    // The same bytes under another name: deleting one version must not take them from the other.
    let shared = seedhouse.file("shared.gguf", &tiny_llama_gguf(2));
    seedhouse.register("玉米", &shared);
    seedhouse.json(&["delete", "小麦_v1"]);
    seedhouse.json(&["delete", "小麦_v2"]);
    let kept = seedhouse.json(&["gc"]);
    assert_eq!((&kept["removed"], &kept["removed_bytes"]), (&json!([]), &json!(0)), "retention is 30 days by default");

    let dry = seedhouse.json(&["gc", "--retention-days", "0", "--dry-run"]);
    assert_eq!(dry["removed"].as_array().unwrap().len(), 1);
    assert!(dry["removed"][0]["reason"].as_str().unwrap().contains("小麦_v1"), "{dry}");
    assert_eq!(dry["removed_bytes"], tiny_llama_gguf(1).len());
    assert!(seedhouse.root().join("小麦_v1.gguf").exists(), "a dry run removes nothing");

    let run = seedhouse.json(&["gc", "--retention-days", "0"]);
    assert_eq!(run, dry);
    assert!(!seedhouse.root().join("小麦_v1.gguf").exists(), "a name would keep the bytes on the disk");
    assert_eq!(seedhouse.json(&["verify"])["intact"], true);
    assert_eq!(seedhouse.json(&["undelete", "小麦_v2"])["model_id"], "小麦_v2", "its bytes are those of 玉米_v1");
    seedhouse.run(&["undelete", "小麦_v1"]).assert_failed(11, &["小麦_v1", "tiny.gguf", "missing"]);
    assert_eq!(seedhouse.json(&["gc", "--retention-days", "0"])["removed"], json!([]));
}

#[test]
fn bytes_that_no_version_names_are_garbage() {
    let seedhouse = with_two_versions();
    let orphan = seedhouse_core::Digest::of("orphan");
    let folder = seedhouse.root().join("blobs/sha256").join(&orphan.hex()[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(orphan.hex()), "orphan").unwrap();
    let garbage = seedhouse.json(&["gc"]);
    assert_eq!(garbage["removed"][0]["digest"], orphan.to_string());
    assert_eq!(garbage["removed"][0]["reason"], "no version names it");
    assert!(!folder.join(orphan.hex()).exists());
    assert_eq!(seedhouse.json(&["verify"])["intact"], true);
}

#[test]
fn changes_over_http_are_those_of_the_command_line() {
    let seedhouse = with_two_versions();
    let server = seedhouse.serve();
    let revision = server.fetch("/api/models/小麦_v1").json()["revision"].as_u64().unwrap();
    let body = json!({"description": "新", "tags": {"作物": "小麦"}, "reason": "because"});
    let updated = server.send("PUT", "/api/models/小麦_v1", &[("if-match", &format!("\"{revision}\""))], &body);
    assert_eq!(updated.status, 200, "{}", updated.text);
    assert_eq!(updated.json()["tags"], json!({"作物": "小麦"}));
    let stale = server.send("PUT", "/api/models/小麦_v1", &[("if-match", &format!("\"{revision}\""))], &body);
    stale.assert_problem(409, &["小麦_v1", &format!("revision {revision}")]);
    server.send("PUT", "/api/models/小麦_v1", &[("if-match", "x")], &body).assert_problem(400, &["If-Match"]);
    server
        .send("PUT", "/api/models/小麦_v1", &[], &json!({"hyperparameters": {}}))
        .assert_problem(501, &["hyperparameters"]);

    assert_eq!(server.send("PUT", "/api/models/小麦_v1/metrics", &[], &json!({"accuracy": 0.9})).status, 200);
    assert_eq!(server.fetch("/api/models/小麦_v1").json()["claims"], json!(["metrics.accuracy", "accuracy"]));

    let alias = "/api/models/小麦/aliases/champion";
    let point = |model_id: &str, expected: Value| {
        server.send("PUT", alias, &[], &json!({"model_id": model_id, "expected": expected}))
    };
    assert_eq!(point("小麦_v1", Value::Null).status, 200);
    point("小麦_v2", Value::Null).assert_problem(409, &["小麦@champion", "小麦_v1"]);
    assert_eq!(point("小麦_v2", json!("小麦_v1")).status, 200);
    server.send("DELETE", "/api/models/小麦_v2", &[], &json!(null)).assert_problem(409, &["小麦@champion"]);
    assert_eq!(server.send("POST", &format!("{alias}/rollback"), &[], &json!(null)).json()["model_id"], "小麦_v1");
    assert_eq!(server.send("DELETE", "/api/models/小麦_v2", &[], &json!(null)).status, 200);
    assert_eq!(server.fetch("/api/models/小麦_v2").status, 404);
    assert_eq!(server.send("POST", "/api/models/小麦_v2/undelete", &[], &json!(null)).status, 200);
    assert_eq!(server.send("DELETE", alias, &[], &json!(null)).status, 200);
    assert_eq!(server.fetch("/api/models/小麦@champion").status, 404);

    let history = server.fetch("/api/models/小麦_v1/history").json();
    let told: Vec<(&Value, &Value)> =
        history["events"].as_array().unwrap().iter().map(|event| (&event["action"], &event["reason"])).collect();
    assert_eq!(told[1], (&json!("update"), &json!("because")));
}
