//! Who may import whom: a new edge between crates is a visible decision, made in this file and in `docs/architecture.md`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// `crate -> crate`, without the prefix `seedhouse-`.
const EDGES: [(&str, &[&str]); 12] = [
    ("core", &[]),
    ("data", &["core"]),
    ("engine", &["core"]),
    ("service", &["core", "engine"]),
    ("api", &["service"]),
    ("store", &["core"]),
    ("kernels", &[]),
    ("native", &["core", "kernels"]),
    ("onnx", &["core"]),
    ("testkit", &["core"]),
    ("trainer", &["core", "kernels"]),
    ("seedhouse", &["api", "core", "data", "engine", "native", "onnx", "service", "store", "trainer"]),
];

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected: BTreeSet<String> =
        EDGES.iter().flat_map(|(from, to)| to.iter().map(move |to| format!("{from} -> {to}"))).collect();
    assert_eq!(normal_edges(&metadata), expected);
}

fn normal_edges(metadata: &Value) -> BTreeSet<String> {
    let short = |value: &Value| {
        let name = value.as_str().unwrap();
        (name == "seedhouse" || name.starts_with("seedhouse-"))
            .then(|| name.trim_start_matches("seedhouse-").to_owned())
    };
    let mut edges = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let from = short(&package["name"]).expect("the workspace has our crates only");
        for dependency in package["dependencies"].as_array().unwrap() {
            // `kind` is null for a normal dependency, "dev" or "build" otherwise.
            if let (true, Some(to)) = (dependency["kind"].is_null(), short(&dependency["name"])) {
                edges.insert(format!("{from} -> {to}"));
            }
        }
    }
    edges
}
