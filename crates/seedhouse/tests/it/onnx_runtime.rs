//! ONNX Runtime beside the built-in runtime: installing it, what it serves, and libraries that are broken.

use std::path::PathBuf;

use seedhouse_testkit::tiny_onnx::{Dimension, FLOAT, TinyOnnx, tiny_image_classifier, tiny_linear};
use serde_json::{Value, json};

use crate::support::{OnnxWheel, Seedhouse};

/// Installs ONNX Runtime from the wheel and returns where it is.
fn install(seedhouse: &Seedhouse, wheel: &OnnxWheel) -> PathBuf {
    let installed = seedhouse.json(&["runtime", "install", "onnxruntime", "--from", wheel.path()]);
    installed["path"].as_str().unwrap().into()
}

/// A graph of an operator that the built-in runtime lacks.
fn hardmax() -> Vec<u8> {
    let graph = TinyOnnx::new(17)
        .node("Hardmax", &["x"], &["y"], &[])
        .input("x", FLOAT, &[Dimension::Name("n"), Dimension::Size(3)])
        .output("y", FLOAT, &[Dimension::Name("n"), Dimension::Size(3)]);
    graph.bytes()
}

#[test]
fn library_is_installed_from_a_wheel_and_listed() {
    let Some(wheel) = OnnxWheel::find() else { return };
    let seedhouse = Seedhouse::new();
    assert_eq!(seedhouse.json(&["runtime", "list"])["runtimes"], json!([]));
    let path = install(&seedhouse, &wheel);
    assert_eq!(path.parent().unwrap(), seedhouse.root().join("runtimes"));
    // A second time is no mistake.
    install(&seedhouse, &wheel);
    let listed = seedhouse.json(&["runtime", "list"]);
    let [library] = &listed["runtimes"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&library["name"], &library["version"]), (&json!("onnxruntime"), &json!("1.32.0")));
    assert_eq!(library["problem"], Value::Null);
    let names: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names, [path], "nothing half written is left");
}

#[test]
fn other_file_than_the_pinned_wheel_is_not_installed() {
    let seedhouse = Seedhouse::new();
    let other = seedhouse.file("onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_x86_64.whl", b"PK\x05\x06");
    let run = seedhouse.run(&["runtime", "install", "onnxruntime", "--from", &other]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains(&other) && run.stderr.matches("sha256:").count() == 2, "{}", run.stderr);
    let run = seedhouse.run(&["runtime", "install", "onnxruntime", "--from", "nowhere.whl"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(!seedhouse.root().join("runtimes").exists());
}

#[test]
fn without_python_the_way_out_is_named() {
    let seedhouse = Seedhouse::new();
    let run = seedhouse.command().args(["runtime", "install", "onnxruntime"]).env("PATH", "").output().unwrap();
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(15), "{stderr}");
    assert!(stderr.contains("python3") && stderr.contains("--from FILE.whl"), "{stderr}");
}

#[test]
fn operator_that_is_not_built_in_is_served_with_the_library_and_refused_without() {
    let Some(wheel) = OnnxWheel::find() else { return };
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("hardmax.onnx", &hardmax());
    let before = seedhouse.json(&["register", "hardmax", &file]);
    assert_eq!(before["status"], "registered");
    let reason = before["inspected"]["not_servable_because"].as_str().unwrap();
    assert!(reason.contains("`Hardmax`") && reason.contains("seedhouse runtime install onnxruntime"), "{reason}");
    let ready = ["update", "hardmax_v1", "--status", "ready"];
    let refused = seedhouse.run(&ready);
    assert!(refused.code == 2 && refused.stderr.contains("`Hardmax`"), "{}", refused.stderr);

    let library = install(&seedhouse, &wheel);
    let after = seedhouse.json(&["register", "hardmax", &file]);
    assert_eq!(after["status"], "ready");
    assert_eq!((&after["inspected"], &after["metadata"]), (&before["inspected"], &before["metadata"]));
    assert_eq!(seedhouse.json(&ready)["status"], "ready");
    let predict = ["predict", "hardmax_v1", "--input", "x=[[1, 3, 2]]"];
    let answer = seedhouse.json(&predict);
    assert_eq!(
        (&answer["outputs"]["y"], &answer["runtime"]),
        (&json!([[0.0, 1.0, 0.0]]), &json!("onnxruntime 1.32.0"))
    );

    std::fs::remove_file(library).unwrap();
    let run = seedhouse.run(&predict);
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("`Hardmax`") && run.stderr.contains("runtime install onnxruntime"), "{}", run.stderr);
    assert_eq!(seedhouse.json(&["show", "hardmax_v1"])["inspected"], before["inspected"]);
}

#[test]
fn answers_and_slots_name_the_runtime_that_the_record_wants() {
    let Some(wheel) = OnnxWheel::find() else { return };
    let seedhouse = Seedhouse::new();
    install(&seedhouse, &wheel);
    let file = seedhouse.file("linear.onnx", &tiny_linear().bytes());
    for (name, metadata) in
        [("measured", "{}"), ("built-in", r#"{"runtime": "rten"}"#), ("library", r#"{"runtime": "onnxruntime"}"#)]
    {
        seedhouse.json(&["register", name, &file, "--metadata", metadata]);
    }
    let run = seedhouse.run(&["register", "unknown", &file, "--metadata", r#"{"runtime": "tract"}"#]);
    assert!(run.code == 2 && run.stderr.contains("tract") && run.stderr.contains("`rten`"), "{}", run.stderr);

    let server = seedhouse.serve();
    let images = seedhouse.file("colours.onnx", &tiny_image_classifier().bytes());
    seedhouse.json(&["register", "colours", &images, "--type", "vision", "--metadata", r#"{"image_size": 8}"#]);
    let cases = [("measured", "onnxruntime 1.32.0"), ("built-in", "rten"), ("library", "onnxruntime 1.32.0")];
    for (name, expected) in cases {
        let body = json!({"model_id": name, "input_data": {"x": [[1, 2], [0, 0]]}});
        let answer = server.post_json("/api/inference", &body).json();
        assert_eq!(answer["result"], json!({"y": [[9.5, 12.0, 14.5], [0.5, 0.0, -0.5]]}), "{name}");
        let slots = server.get("/api/slots").json();
        let slots = slots["slots"].as_array().unwrap();
        let slot = slots.iter().find(|slot| slot["model_id"] == format!("{name}_v1")).unwrap();
        assert_eq!(slot["runtime"], expected, "{name}");
    }
    let body = json!({"model_id": "colours", "image_data": vec![vec![[255, 0, 0]; 4]; 4], "top_k": 1});
    let answer = server.post_json("/api/inference/image/classification", &body).json();
    assert_eq!(answer["metadata"]["runtime"], "onnxruntime 1.32.0", "{answer}");
}

#[test]
fn hostile_graphs_are_refused_before_the_library_sees_them() {
    let Some(wheel) = OnnxWheel::find() else { return };
    let seedhouse = Seedhouse::new();
    install(&seedhouse, &wheel);
    let io = |graph: TinyOnnx| {
        graph.input("x", FLOAT, &[Dimension::Size(1)]).output("y", FLOAT, &[Dimension::Size(1)]).bytes()
    };
    let half = 1_i64 << 62;
    let external = |location| {
        TinyOnnx::new(17).external("w", &[2], &[("location", location)]).node("Add", &["x", "w"], &["y"], &[])
    };
    let cases = [
        ("absolute", io(external("/etc/hostname")), "only files of the same version"),
        ("outside", io(external("../weights.bin")), "only files of the same version"),
        ("cycle", io(TinyOnnx::new(17).node("Add", &["x", "y"], &["y"], &[])), "needs the value `y`"),
        (
            "overflow",
            io(TinyOnnx::new(17).tensor("w", FLOAT, &[half, half], &[]).node("Add", &["x", "w"], &["y"], &[])),
            "whose product is no number",
        ),
    ];
    for (name, bytes, expected) in cases {
        let file = seedhouse.file(&format!("{name}.onnx"), &bytes);
        let run = seedhouse.run(&["register", name, &file]);
        assert!(run.code == 2 && run.stderr.contains(expected), "{name}: {} {}", run.code, run.stderr);
    }
    let context = TinyOnnx::new(17).import("com.microsoft", 1);
    let context = io(context.node_of_domain("com.microsoft", "EPContext", &["x"], &["y"], &[]));
    let record = seedhouse.json(&["register", "context", &seedhouse.file("context.onnx", &context)]);
    assert_eq!(record["status"], "registered");
    let reason = record["inspected"]["not_servable_because"].as_str().unwrap();
    assert!(reason.contains("`EPContext`") && !reason.contains("install"), "{reason}");
}

#[test]
fn broken_library_ends_the_start_with_its_path() {
    let Some(wheel) = OnnxWheel::find() else { return };
    let seedhouse = Seedhouse::new();
    let library = std::fs::read(install(&seedhouse, &wheel)).unwrap();
    let old = replaced(&library, b"VERS_1.32.0", b"VERS_1.16.0");
    let cases = [
        ("text.so", b"not a library".as_slice(), "no shared library"),
        ("head.so", &library[..1000], "1000 bytes"),
        ("half.so", &library[..library.len() / 2], "it ends after"),
        ("old.so", &old[..], "version 1.16.0"),
    ];
    for (name, bytes, expected) in cases {
        let file = seedhouse.file(name, bytes);
        let run = seedhouse.run(&["serve", "--listen", "127.0.0.1:0", "--onnx-runtime", &file]);
        assert!(matches!(run.code, 2 | 10), "{name}: {}", run.stderr);
        assert!(run.stderr.contains(&file) && run.stderr.contains(expected), "{name}: {}", run.stderr);
        if name == "old.so" {
            assert!(run.stderr.contains("at least 1.17"), "{}", run.stderr);
        }
    }
    let run = seedhouse.run(&["serve", "--listen", "127.0.0.1:0", "--onnx-runtime", "nowhere.so"]);
    assert!(run.code == 3 && run.stderr.contains("`nowhere.so`"), "{}", run.stderr);
}

#[test]
fn damaged_library_in_the_folder_is_named_and_can_be_left_out() {
    let Some(wheel) = OnnxWheel::find() else { return };
    let seedhouse = Seedhouse::new();
    let path = install(&seedhouse, &wheel);
    let mut library = std::fs::read(&path).unwrap();
    let middle = library.len() / 2;
    library[middle] ^= 1;
    std::fs::write(&path, library).unwrap();
    let run = seedhouse.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let path = path.to_str().unwrap();
    assert!(run.stderr.contains(path) && run.stderr.matches("sha256:").count() == 2, "{}", run.stderr);
    let listed = seedhouse.json(&["runtime", "list"]);
    assert!(listed["runtimes"][0]["problem"].as_str().unwrap().contains("sha256:"), "{listed}");

    let file = seedhouse.file("linear.onnx", &tiny_linear().bytes());
    let run = seedhouse.run(&["register", "linear", &file]);
    assert!(run.code == 2 && run.stderr.contains(path), "{}", run.stderr);
    seedhouse.json(&["register", "linear", &file, "--onnx-runtime", "off"]);
    let answer = seedhouse.json(&["predict", "linear", "--input", "x=[[1, 2]]", "--onnx-runtime", "off"]);
    assert_eq!(answer["runtime"], "rten");
}

#[test]
fn memory_of_an_unloaded_graph_is_given_back() {
    const SIDE: i64 = 4096;
    const MEGABYTES: f64 = (SIDE * SIDE * 4) as f64 / 1e6;
    let Some(wheel) = OnnxWheel::find() else { return };
    let seedhouse = Seedhouse::new();
    install(&seedhouse, &wheel);
    let weights: Vec<u8> = (0..SIDE * SIDE).flat_map(|i| ((i % 13) as f32).to_le_bytes()).collect();
    let graph = TinyOnnx::new(17)
        .tensor("w", FLOAT, &[SIDE, SIDE], &weights)
        .node("MatMul", &["x", "w"], &["y"], &[])
        .input("x", FLOAT, &[Dimension::Name("n"), Dimension::Size(SIDE)])
        .output("y", FLOAT, &[Dimension::Name("n"), Dimension::Size(SIDE)]);
    let file = seedhouse.file("wide.onnx", &graph.bytes());
    seedhouse.json(&["register", "wide", &file]);
    let server = seedhouse.serve();
    let before = server.resident_megabytes();
    let body = json!({"model_id": "wide", "input_data": {"x": [vec![0.5; SIDE as usize]]}});
    assert_eq!(server.post_json("/api/inference", &body).status, 200);
    let loaded = server.resident_megabytes();
    let slots = server.get("/api/slots").json();
    let slot = &slots["slots"][0];
    assert_eq!(slot["runtime"], "onnxruntime 1.32.0");
    let reported = slot["bytes"].as_f64().unwrap() / 1e6;
    // A second copy in another layout may stay.
    assert!((MEGABYTES..2.5 * MEGABYTES).contains(&reported), "{reported} of {MEGABYTES} MB");
    server.post("/api/models/wide_v1/unload", "");
    let after = server.resident_megabytes();
    println!("{before} MB before, {loaded} MB loaded, {reported} MB reported, {after} MB after");
    assert!(after < loaded - 0.8 * MEGABYTES, "{before} MB, then {loaded} MB, then {after} MB");
}

fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let place = bytes.windows(old.len()).position(|window| window == old).unwrap();
    [&bytes[..place], new, &bytes[place + old.len()..]].concat()
}
