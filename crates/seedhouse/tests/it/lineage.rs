//! Lineage: what was made from what.

use serde_json::{Value, json};

use crate::support::Seedhouse;

fn ids(relatives: &Value) -> Vec<&str> {
    relatives.as_array().unwrap().iter().map(|relative| relative["model_id"].as_str().unwrap()).collect()
}

#[test]
fn whole_lineage_is_found_from_any_of_its_versions() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    server.post_json("/api/models", &json!({"name": "base"}));
    for (name, parent, relation) in
        [("tuned", "base", "finetuned"), ("small", "tuned_v1", "quantized"), ("other", "base", "exported")]
    {
        let body = json!({"name": name, "parent": parent, "relation": relation});
        let model = server.post_json("/api/models", &body);
        assert_eq!(model.status, 201, "{}", model.text);
        assert_eq!(model.json()["claims"], json!(["parent", "relation"]), "nobody has computed it");
    }
    let middle = server.get("/api/models/tuned/lineage").json();
    assert_eq!((ids(&middle["ancestors"]), ids(&middle["descendants"])), (vec!["base_v1"], vec!["small_v1"]));
    assert_eq!(middle["version"]["relation"], "finetuned");
    let top = seedhouse.json(&["lineage", "base"]);
    assert_eq!(ids(&top["descendants"]), ["tuned_v1", "other_v1", "small_v1"]);
    let text = seedhouse.run(&["lineage", "small"]).stdout;
    assert!(text.contains("base_v1") && text.contains("finetuned"), "{text}");
}

#[test]
fn parent_that_is_not_there_or_says_no_relation_is_refused() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    server.post_json("/api/models", &json!({"name": "m"}));
    for (body, status, part) in [
        (json!({"name": "c", "parent": "nobody", "relation": "finetuned"}), 404, "nobody"),
        (json!({"name": "c", "parent": "m"}), 400, "relation"),
        (json!({"name": "c", "relation": "finetuned"}), 400, "parent"),
        (json!({"name": "c", "parent": "m", "relation": "stolen"}), 400, "quantized, finetuned"),
    ] {
        server.post_json("/api/models", &body).assert_problem(status, &[part]);
    }
    assert_eq!(server.get("/api/models/c").status, 404);
}

#[test]
fn records_that_name_each_other_in_a_circle_end_the_search() {
    let seedhouse = Seedhouse::new();
    let record = |id: &str, parent: &str| {
        json!({"model_id": id, "name": id, "type": "vision", "framework": "pytorch", "version": "1", "status": "ready",
               "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z", "parent": parent})
    };
    let file = json!({"models": {"a_v1": record("a_v1", "b_v1"), "b_v1": record("b_v1", "a_v1")}, "versions": {}});
    let path = seedhouse.file("circle.json", file.to_string().as_bytes());
    assert_eq!(seedhouse.run(&["adopt", &path]).code, 0);
    let lineage = seedhouse.json(&["lineage", "a_v1"]);
    assert_eq!((ids(&lineage["ancestors"]), ids(&lineage["descendants"])), (vec!["b_v1"], vec![]));
}
