//! Canaries and shadows of aliases: the split is exact, a broken one fails nobody, and they end when the alias moves.

use std::thread;
use std::time::{Duration, Instant};

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Answer, Seedhouse, Server};

const PATH: &str = "/api/inference/text/generation";

fn ask(server: &Server, reference: &str) -> Answer {
    let answer = server.post_json(PATH, &json!({"model_id": reference, "prompt": "hello", "max_length": 3}));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

/// Registers three versions of a base and points `champion` at the first. Returns their digests.
fn three_versions(seedhouse: &Seedhouse) -> [Value; 3] {
    let digests = [1, 2, 3].map(|seed| {
        let file = seedhouse.file(&format!("{seed}.gguf"), &tiny_llama_gguf(seed));
        seedhouse.register("wheat", &file)["digest"].clone()
    });
    seedhouse.json(&["alias", "set", "wheat_v1", "champion"]);
    digests
}

fn set(server: &Server, kind: &str, body: &Value) -> Answer {
    server.send("PUT", &format!("/api/models/wheat/aliases/champion/{kind}"), &[], body)
}

fn champion(server: &Server) -> Value {
    let aliases = server.get("/api/models/wheat/aliases").json();
    aliases["aliases"].as_array().unwrap().iter().find(|alias| alias["alias"] == "champion").unwrap().clone()
}

/// Breaks the bytes of a version, as a failing disk would.
fn damage(seedhouse: &Seedhouse, model_id: &str) {
    let stored = seedhouse.json(&["show", model_id])["hash"].clone();
    let hex = stored.as_str().unwrap();
    let blob = seedhouse.root().join("blobs/sha256").join(&hex[..2]).join(hex);
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, &bytes).unwrap();
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never happened: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn canary_answers_its_share_until_the_alias_moves() {
    let seedhouse = Seedhouse::new();
    let digests = three_versions(&seedhouse);
    let server = seedhouse.serve();
    let shown = set(&server, "canary", &json!({"model_id": "wheat_v2", "weight": 0.25}));
    assert_eq!(shown.status, 200, "{}", shown.text);
    let mut counts = [0; 3];
    for _ in 0..40 {
        let metadata = ask(&server, "wheat@champion").json()["metadata"].clone();
        let which = digests.iter().position(|digest| *digest == metadata["digest"]).unwrap();
        assert_eq!(metadata.get("canary").is_some(), which == 1, "{metadata}");
        counts[which] += 1;
    }
    // The draw is the same after every start: so many of the first forty multiples of the golden ratio lie below a quarter.
    assert_eq!(counts, [29, 11, 0]);
    let canary = champion(&server)["canary"].clone();
    assert_eq!(canary, json!({"model_id": "wheat_v2", "weight": 0.25, "requests": 11, "answered": 11, "failed": 0}));

    // A stream is drawn for as well; a reference that is no alias never is.
    assert_eq!(set(&server, "canary", &json!({"model_id": "wheat_v2", "weight": "100%"})).status, 200);
    let body = json!({"model_id": "wheat@champion", "prompt": "hello", "max_length": 3, "stream": true});
    let streamed = server.post_json(PATH, &body);
    assert!(streamed.text.contains(digests[1].as_str().unwrap()), "{}", streamed.text);
    assert_eq!(ask(&server, "wheat_v1").json()["metadata"]["digest"], digests[0]);

    let moved = server.send("PUT", "/api/models/wheat/aliases/champion", &[], &json!({"model_id": "wheat_v3"}));
    assert_eq!(moved.status, 200, "{}", moved.text);
    assert_eq!(champion(&server), json!({"alias": "champion", "model_id": "wheat_v3"}));
    assert_eq!(ask(&server, "wheat@champion").json()["metadata"]["digest"], digests[2]);
    let history = server.get("/api/models/wheat@champion/history").json();
    let actions: Vec<&Value> = history["events"].as_array().unwrap().iter().map(|event| &event["action"]).collect();
    assert_eq!(actions, ["move_alias", "set_canary", "set_canary", "end_canary", "move_alias"]);
    let back = server.send("POST", "/api/models/wheat/aliases/champion/rollback", &[], &Value::Null);
    assert_eq!(back.json()["model_id"], "wheat_v1", "{}", back.text);
    assert_eq!(seedhouse.json(&["audit", "verify"])["findings"], json!([]));
}

#[test]
fn canary_that_breaks_fails_nobody_and_is_counted() {
    let seedhouse = Seedhouse::new();
    let [first, ..] = three_versions(&seedhouse);
    let server = seedhouse.serve();
    ask(&server, "wheat@champion");
    damage(&seedhouse, "wheat_v2");
    set(&server, "canary", &json!({"model_id": "wheat_v2", "weight": 1})).assert_problem(500, &["wheat_v2", "corrupt"]);
    assert!(champion(&server).get("canary").is_none(), "a canary that does not work is not set");

    assert_eq!(set(&server, "canary", &json!({"model_id": "wheat_v2", "weight": 1, "warm": false})).status, 200);
    for _ in 0..3 {
        let metadata = ask(&server, "wheat@champion").json()["metadata"].clone();
        assert_eq!(metadata["digest"], first);
        assert_eq!(metadata["canary_failed"]["model_id"], "wheat_v2", "{metadata}");
        assert!(matches!(metadata["canary_failed"]["error_code"].as_str(), Some("corrupt" | "failed_precondition")));
    }
    let canary = champion(&server)["canary"].clone();
    assert_eq!((&canary["requests"], &canary["failed"]), (&json!(3), &json!(3)), "{canary}");
    // A mistake of the caller is no fault of the canary.
    let wrong = server.post_json(
        PATH,
        &json!({"model_id": "wheat@champion", "prompt": "a", "num_return_sequences": 1000, "do_sample": true}),
    );
    assert_eq!(wrong.status, 400, "{}", wrong.text);
}

#[test]
fn shadow_computes_copies_and_its_failures_are_harmless() {
    let seedhouse = Seedhouse::new();
    let [first, ..] = three_versions(&seedhouse);
    let server = seedhouse.serve();
    let shadow = |server: &Server| champion(server)["shadow"].clone();
    assert_eq!(set(&server, "shadow", &json!({"model_id": "wheat_v2"})).status, 200);
    for _ in 0..5 {
        let metadata = ask(&server, "wheat@champion").json()["metadata"].clone();
        assert_eq!(metadata["digest"], first);
    }
    eventually("all copies are computed", || shadow(&server)["answered"] == 5);
    let counted = shadow(&server);
    let total = ["same", "different"].map(|field| counted[field].as_u64().unwrap()).iter().sum::<u64>();
    assert_eq!((total, &counted["requests"], &counted["failed"]), (5, &json!(5), &json!(0)), "{counted}");

    damage(&seedhouse, "wheat_v3");
    assert_eq!(set(&server, "shadow", &json!({"model_id": "wheat_v3", "share": 0.5, "warm": false})).status, 200);
    for _ in 0..10 {
        assert_eq!(ask(&server, "wheat@champion").json()["metadata"]["digest"], first);
    }
    eventually("every copy failed", || shadow(&server)["failed"] == 5);
    let ended = server.send("DELETE", "/api/models/wheat/aliases/champion/shadow", &[], &Value::Null);
    assert_eq!(ended.status, 200, "{}", ended.text);
    assert_eq!(shadow(&server), Value::Null);
}

#[test]
fn trials_are_set_and_shown_on_the_command_line() {
    let seedhouse = Seedhouse::new();
    three_versions(&seedhouse);
    seedhouse.json(&["alias", "canary", "wheat", "champion", "wheat_v2", "5%", "--reason", "new data"]);
    seedhouse.json(&["alias", "shadow", "wheat", "champion", "wheat/3", "1"]);
    let expected = json!([{
        "alias": "champion", "model_id": "wheat_v1",
        "canary": {"model_id": "wheat_v2", "weight": 0.05}, "shadow": {"model_id": "wheat_v3", "share": 1.0},
    }]);
    assert_eq!(seedhouse.json(&["alias", "list", "wheat"]), expected);
    assert_eq!(seedhouse.json(&["show", "wheat@champion"])["trials"]["champion"]["canary"]["weight"], 0.05);
    let text = seedhouse.run(&["show", "wheat@champion"]).stdout;
    assert!(text.contains("wheat_v2 for 5 % of `champion`"), "{text}");
    seedhouse.run(&["delete", "wheat_v2"]).assert_failed(6, &["canary of alias `wheat@champion`"]);
    seedhouse.run(&["alias", "canary", "wheat", "champion", "wheat_v2", "2"]).assert_failed(2, &["`2`", "5%"]);
    seedhouse.run(&["alias", "canary", "wheat", "champion", "wheat_v1", "1"]).assert_failed(2, &["wheat@champion"]);
    seedhouse.run(&["alias", "shadow", "wheat", "nobody", "wheat_v2", "1"]).assert_failed(3, &["wheat@nobody"]);
    seedhouse.json(&["alias", "canary", "wheat", "champion", "--end"]);
    seedhouse.json(&["alias", "shadow", "wheat", "champion", "--end"]);
    assert_eq!(seedhouse.json(&["alias", "list", "wheat"]), json!([{"alias": "champion", "model_id": "wheat_v1"}]));
    let history = seedhouse.json(&["history", "wheat@champion"]);
    assert!(history.to_string().contains("new data"), "{history}");
    assert_eq!(seedhouse.json(&["audit", "verify"])["findings"], json!([]));
}

#[test]
fn trials_survive_changes_and_backups_and_do_not_travel_with_versions() {
    let seedhouse = Seedhouse::new();
    three_versions(&seedhouse);
    seedhouse.json(&["alias", "canary", "wheat", "champion", "wheat_v2", "10%"]);
    seedhouse.json(&["update", "wheat_v1", "--description", "changed while a canary is tried"]);
    let listed = seedhouse.json(&["alias", "list", "wheat"]);
    assert_eq!(listed[0]["canary"]["model_id"], "wheat_v2", "a change of the version does not end it");

    let backup = seedhouse.json(&["backup"])["path"].clone();
    let other = Seedhouse::new();
    other.json(&["restore", backup.as_str().unwrap()]);
    assert_eq!(other.json(&["alias", "list", "wheat"]), listed);
    assert_eq!(other.json(&["audit", "verify"])["findings"], json!([]));

    // The version itself goes back to what it was; the trial has a history of its own.
    seedhouse.json(&["update", "wheat_v1", "--description", "changed again"]);
    seedhouse.json(&["restore", backup.as_str().unwrap()]);
    assert_eq!(seedhouse.json(&["show", "wheat_v1"])["description"], "changed while a canary is tried");
    assert_eq!(seedhouse.json(&["alias", "list", "wheat"]), listed);
    assert_eq!(seedhouse.json(&["audit", "verify"])["findings"], json!([]));

    let bundle = seedhouse.file("bundle.tar", b"");
    std::fs::remove_file(&bundle).unwrap();
    seedhouse.json(&["export", "wheat/1", "-o", &bundle]);
    let third = Seedhouse::new();
    third.json(&["import", &bundle, "--take-aliases"]);
    assert_eq!(third.json(&["alias", "list", "wheat"]), json!([{"alias": "champion", "model_id": "wheat_v1"}]));
    assert_eq!(third.json(&["show", "wheat_v1"]).get("trials"), None);
}
