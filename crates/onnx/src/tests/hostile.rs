//! Files that want to do harm: each is refused with a word on what is wrong, at inspection and at load.

use seedhouse_testkit::tiny_onnx::{bytes_field, graph_attribute, integer_field};

use super::*;
use crate::test_library::{library_if_there, runtime_with_library};

fn io(graph: TinyOnnx) -> TinyOnnx {
    graph.input("x", FLOAT, &[Dimension::Size(1)]).output("y", FLOAT, &[Dimension::Size(1)])
}

fn expect_malformed(what: &str, version: &Version, expected: &str) {
    let inspected = version.inspect().err().unwrap_or_else(|| panic!("{what} passed inspection"));
    let loaded = version.load().err().unwrap_or_else(|| panic!("{what} was loaded"));
    let by_library = library_if_there().map(|runtime| {
        let loaded = runtime.load(&version.files, &LoadOptions::default());
        loaded.err().unwrap_or_else(|| panic!("{what} was loaded by ONNX Runtime"))
    });
    for error in [inspected, loaded].into_iter().chain(by_library) {
        assert_eq!(error.code(), Code::Invalid, "{what}: {error}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("model.onnx"), "{what}: {text}\nexpected: {expected}");
    }
}

#[test]
fn graphs_that_do_not_hang_together_are_refused() {
    let cycle = TinyOnnx::new(17).node("Add", &["x", "b"], &["a"], &[]).node("Relu", &["a"], &["b"], &[]);
    let cases = [
        ("a cycle", io(cycle.node("Relu", &["b"], &["y"], &[])), "needs the value `b`"),
        (
            "a node that feeds itself",
            io(TinyOnnx::new(17).node("Add", &["x", "y"], &["y"], &[])),
            "needs the value `y`",
        ),
        ("a value from nowhere", io(TinyOnnx::new(17).node("Relu", &["z"], &["y"], &[])), "needs the value `z`"),
        (
            "an output from nowhere",
            io(TinyOnnx::new(17).node("Relu", &["x"], &["z"], &[])),
            "output `y` is made by nothing",
        ),
        (
            "a value made twice",
            io(TinyOnnx::new(17).node("Relu", &["x"], &["y"], &[]).node("Abs", &["x"], &["y"], &[])),
            "`y` is made twice",
        ),
        (
            "an output named twice",
            io(TinyOnnx::new(17).node("Relu", &["x"], &["y"], &[])).output("y", FLOAT, &[]),
            "`y` is named twice",
        ),
        (
            "a name with control characters",
            io(TinyOnnx::new(17).node("Relu", &["x"], &["\u{1}1"], &[]).node("Relu", &["\u{1}1"], &["y"], &[])),
            "control characters",
        ),
    ];
    for (what, graph, expected) in cases {
        expect_malformed(what, &Version::of(&graph), expected);
    }
}

#[test]
fn sizes_that_nothing_backs_are_refused() {
    let relu = || io(TinyOnnx::new(17).node("Relu", &["x"], &["y"], &[]));
    let half = 1_i64 << 62;
    let shape: Vec<u8> = [1_i64 << 30, 1 << 30].iter().flat_map(|size| size.to_le_bytes()).collect();
    let filled = |operator: &str, inputs: &[&str]| {
        io(TinyOnnx::new(17).tensor("shape", INT64, &[2], &shape).node(operator, inputs, &["y"], &[]))
    };
    let cases = [
        ("a tensor of 4 values in 8 bytes", relu().tensor("w", FLOAT, &[4], &[0; 8]), "has 8 bytes"),
        ("a gigantic tensor", relu().tensor("w", FLOAT, &[half], &[0; 8]), "asks for 4611686018427387904 values"),
        (
            "a shape whose product overflows",
            relu().tensor("w", FLOAT, &[half, half], &[0; 8]),
            "whose product is no number",
        ),
        ("a negative size", relu().tensor("w", FLOAT, &[-2], &[0; 8]), "has the shape [-2]"),
        (
            "an input whose product overflows",
            TinyOnnx::new(17)
                .node("Relu", &["x"], &["y"], &[])
                .input("x", FLOAT, &[Dimension::Size(half), Dimension::Size(half)])
                .output("y", FLOAT, &[]),
            "`x` is declared with the shape",
        ),
        ("a constant that is filled", filled("ConstantOfShape", &["shape"]), "makes a tensor of the shape"),
        ("an expansion", filled("Expand", &["x", "shape"]), "makes a tensor of the shape"),
        ("tiles", filled("Tile", &["x", "shape"]), "makes a tensor of the shape"),
        ("padding", filled("Pad", &["x", "shape"]), "makes a tensor of the shape"),
    ];
    for (what, graph, expected) in cases {
        expect_malformed(what, &Version::of(&graph), expected);
    }
}

#[test]
fn external_tensors_outside_of_the_version_are_refused() {
    let with = |place: &[(&str, &str)]| {
        io(TinyOnnx::new(17).external("w", &[2], place).node("Add", &["x", "w"], &["y"], &[])).bytes()
    };
    let outside = "only files of the same version";
    let version = |place: &[(&str, &str)]| {
        let version =
            Version::new(&[("m/model.onnx", &with(place)), ("m/weights.bin", &[0; 8]), ("other.bin", &[0; 8])]);
        // Neither a file beside the blobs nor a link to one is a file of the version.
        std::fs::write(version.folder().join("beside.bin"), [0; 8]).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", version.folder().join("link.bin")).unwrap();
        version
    };
    for location in [
        "",
        ".",
        "..",
        "../other.bin",
        "/etc/hostname",
        "beside.bin",
        "link.bin",
        "blob-1",
        "x/../weights.bin",
        "weights.bin/",
        "..\\other.bin",
        "model.onnx",
        "m/weights.bin",
    ] {
        expect_malformed(location, &version(&[("location", location)]), outside);
    }
    let cases: [(&[(&str, &str)], &str); 5] = [
        (
            &[("location", "weights.bin"), ("offset", "8"), ("length", "8")],
            "has 8 bytes from 8 on in `weights.bin`, which has 8",
        ),
        (&[("location", "weights.bin"), ("offset", "18446744073709551615"), ("length", "8")], "which has 8"),
        (
            &[("location", "weights.bin"), ("length", "4")],
            "has 4 bytes, but its shape [2] asks for 2 values of 4 bytes",
        ),
        (&[("location", "weights.bin"), ("offset", "-1")], "has the offset `-1`"),
        (&[("location", "weights.bin"), ("length", "much")], "has the length `much`"),
    ];
    for (place, expected) in cases {
        expect_malformed(&format!("{place:?}"), &version(place), expected);
    }
}

#[test]
fn graphs_nested_too_deep_are_refused() {
    let mut body = TinyOnnx::default().node("Relu", &["x"], &["y"], &[]);
    for _ in 0..1_000 {
        let nested = graph_attribute("then_branch", body.graph());
        body = TinyOnnx::default().node("If", &["x"], &["y"], &[nested]);
    }
    let graph = io(TinyOnnx::new(17).node("If", &["x"], &["y"], &[graph_attribute("then_branch", body.graph())]));
    expect_malformed("graphs in graphs", &Version::of(&graph), "more than 16 deep");
    // Types nest as well, and are not followed.
    let mut kind = integer_field(1, 1);
    for _ in 0..1_000 {
        kind = bytes_field(4, &bytes_field(1, &kind));
    }
    let input = [bytes_field(1, b"s"), bytes_field(2, &kind)].concat();
    let graph = io(TinyOnnx::new(17).node("Relu", &["x"], &["y"], &[])).field(11, &input);
    let reason = Version::of(&graph).inspect().unwrap().unwrap().not_servable_because.unwrap();
    assert!(reason.contains("`s` has a sequence"), "{reason}");
}

#[test]
fn file_cut_anywhere_is_refused_or_not_recognised() {
    let whole = tiny_linear().bytes();
    for length in 0..whole.len() {
        let version = Version::new(&[("model.onnx", &whole[..length])]);
        match version.inspect() {
            Err(error) => assert_eq!(error.code(), Code::Invalid, "{length}: {error}"),
            Ok(None) => assert!(length < 30, "{length} bytes are not recognised"),
            // What follows the graph are the operator sets: without them the graph is of no version.
            Ok(Some(inspection)) => assert!(inspection.not_servable_because.is_some(), "{length}"),
        }
    }
}

#[test]
fn file_with_any_byte_changed_ends_in_an_answer() {
    change_every_byte(&OnnxRuntime::new());
}

#[test]
fn file_with_any_byte_changed_ends_in_an_answer_of_onnx_runtime() {
    let Some(runtime) = runtime_with_library() else { return };
    change_every_byte(&runtime);
}

fn change_every_byte(runtime: &OnnxRuntime) {
    let whole = tiny_linear().bytes();
    for (index, change) in (0..whole.len()).flat_map(|index| [1, 0x80, 0xff].map(|change| (index, change))) {
        let mut bytes = whole.clone();
        bytes[index] ^= change;
        let version = Version::new(&[("model.onnx", &bytes)]);
        let inspected = runtime.inspect(&version.files);
        let Ok(Some(Inspection { not_servable_because: None, .. })) = inspected else { continue };
        let Ok(LoadedModel::Tensor(model)) = runtime.load(&version.files, &LoadOptions::default()) else { continue };
        let tensor = Tensor::new(vec![1, 2], vec![1.0; 2]);
        let inputs: Vec<(&str, &Tensor)> = model.inputs().iter().map(|spec| (spec.name.as_str(), &tensor)).collect();
        // An answer or a refusal; that it comes back at all is the claim.
        drop(model.run(&inputs));
    }
}
