//! Graphs through the runtime port, whole and hostile.

mod accelerated;
mod hostile;

use std::path::Path;
use std::sync::Arc;

use half::f16;
use seedhouse_core::runtime::{
    Inspection, LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, Tensor, TensorData, TensorModel, TensorType,
};
use seedhouse_core::{Code, Digest, Result};
use seedhouse_testkit::tiny_onnx::{
    BOOL, DOUBLE, Dimension, FLOAT, FLOAT16, INT64, TinyOnnx, integer_attribute, tiny_image_classifier, tiny_linear,
};
use serde_json::json;

use crate::OnnxRuntime;
use crate::structure::LONGEST_CHAIN;

/// Files of a version.
struct Version {
    folder: tempfile::TempDir,
    files: LocalFiles,
}

impl Version {
    fn new(files: &[(&str, &[u8])]) -> Version {
        let folder = tempfile::tempdir().unwrap();
        let file = |(index, (path, bytes)): (usize, &(&str, &[u8]))| {
            // As in the store, the place of the bytes says nothing about the name.
            let local = folder.path().join(format!("blob-{index}"));
            std::fs::write(&local, bytes).unwrap();
            LocalFile { path: path.parse().unwrap(), local, digest: Digest::of(path) }
        };
        let files = LocalFiles(files.iter().enumerate().map(file).collect());
        Version { folder, files }
    }

    fn of(graph: &TinyOnnx) -> Version {
        Version::new(&[("model.onnx", &graph.bytes())])
    }

    fn inspect(&self) -> Result<Option<Inspection>> {
        OnnxRuntime::new().inspect(&self.files)
    }

    fn load(&self) -> Result<Arc<dyn TensorModel>> {
        match OnnxRuntime::new().load(&self.files, &LoadOptions::default())? {
            LoadedModel::Tensor(model) => Ok(model),
            _ => panic!("a graph takes tensors"),
        }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn run_one(graph: &TinyOnnx, name: &str, tensor: &Tensor) -> Result<Tensor> {
    Ok(Version::of(graph).load()?.run(&[(name, tensor)])?.remove(0))
}

#[test]
fn graph_computes_for_any_size_of_a_free_dimension() {
    let model = Version::of(&tiny_linear()).load().unwrap();
    for rows in [1_usize, 3] {
        let x: Vec<f32> = (0..rows * 2).map(|i| i as f32).collect();
        let expected: Vec<f32> = x
            .chunks(2)
            .flat_map(|x| {
                let row = |w: [f32; 2], b: f32| x[0] * w[0] + x[1] * w[1] + b;
                [row([1.0, 4.0], 0.5), row([2.0, 5.0], 0.0), row([3.0, 6.0], -0.5)]
            })
            .collect();
        let y = model.run(&[("x", &Tensor::new(vec![rows, 2], x))]).unwrap();
        assert_eq!(y, [Tensor::new(vec![rows, 3], expected)]);
    }
}

#[test]
fn record_says_what_the_graph_says() {
    let inspection = Version::of(&tiny_linear()).inspect().unwrap().unwrap();
    assert_eq!((inspection.tensor_count, inspection.parameter_count), (2, 9));
    assert_eq!(inspection.tensor_types.get("FLOAT"), Some(&2));
    assert_eq!(inspection.not_servable_because, None);
    assert_eq!(
        serde_json::Value::Object(inspection.hyper_parameters),
        json!({
            "inputs": [{"name": "x", "dtype": "float32", "shape": [null, 2]}],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [null, 3]}],
            "opset_imports": {"ai.onnx": 17},
            "operators": {"Add": 1, "MatMul": 1},
            "ir_version": 8,
            "producer": "seedhouse-testkit",
        })
    );
}

#[test]
fn dimensions_written_as_minus_one_zero_or_question_mark_are_free_and_independent() {
    let graph = TinyOnnx::new(17)
        .node("Relu", &["x"], &["y"], &[])
        .input("x", FLOAT, &[Dimension::Size(0), Dimension::Size(-1), Dimension::Name("?"), Dimension::Name("?")])
        .output("y", FLOAT, &[Dimension::Name("?"); 4]);
    let x = Tensor::new(vec![1, 2, 3, 2], vec![-1.0; 12]);
    assert_eq!(run_one(&graph, "x", &x).unwrap(), Tensor::new(vec![1, 2, 3, 2], vec![0.0; 12]));
}

#[test]
fn values_of_other_types_keep_their_type() {
    let identity = |element| {
        TinyOnnx::new(17).node("Identity", &["x"], &["y"], &[]).input("x", element, &[Dimension::Name("n")]).output(
            "y",
            element,
            &[Dimension::Name("n")],
        )
    };
    let halves: Vec<f16> = [0.5, -1.25, 65504.0].map(f16::from_f32).to_vec();
    let cases = [
        (INT64, TensorData::I64(vec![i64::from(i32::MIN), 7])),
        (6, TensorData::I32(vec![1, -1])),
        (3, TensorData::I8(vec![-128, 127])),
        (2, TensorData::U8(vec![0, 255])),
        (BOOL, TensorData::Bool(vec![true, false])),
        (FLOAT16, TensorData::F16(halves)),
    ];
    for (element, data) in cases {
        let x = Tensor { shape: vec![data.len()], data };
        assert_eq!(run_one(&identity(element), "x", &x).unwrap(), x);
    }
    let wide = Tensor::new(vec![1], TensorData::I64(vec![1 << 31]));
    let error = run_one(&identity(INT64), "x", &wide).unwrap_err().to_string();
    assert!(error.contains("2147483648") && error.contains("2147483647"), "{error}");
}

#[test]
fn cast_to_bool_is_true_for_everything_but_zero() {
    let graph = TinyOnnx::new(17)
        .node("Cast", &["x"], &["y"], &[integer_attribute("to", BOOL)])
        .input("x", FLOAT, &[Dimension::Name("n")])
        .output("y", BOOL, &[Dimension::Name("n")]);
    let y = run_one(&graph, "x", &Tensor::new(vec![4], vec![0.5, 0.0, -3.0, 1e-30])).unwrap();
    assert_eq!(y.data, TensorData::Bool(vec![true, false, true, true]));
}

#[test]
fn softmax_of_old_graphs_is_over_all_dimensions_from_the_axis_on() {
    let graph = |opset| {
        TinyOnnx::new(opset)
            .node("Softmax", &["x"], &["y"], &[integer_attribute("axis", 1)])
            .input("x", FLOAT, &[Dimension::Size(1), Dimension::Size(2), Dimension::Size(2)])
            .output("y", FLOAT, &[Dimension::Size(1), Dimension::Size(2), Dimension::Size(2)])
    };
    let x = Tensor::new(vec![1, 2, 2], vec![0.0; 4]);
    assert_eq!(run_one(&graph(11), "x", &x).unwrap(), Tensor::new(vec![1, 2, 2], vec![0.25; 4]));
    assert_eq!(run_one(&graph(13), "x", &x).unwrap(), Tensor::new(vec![1, 2, 2], vec![0.5; 4]));
}

#[test]
fn what_is_not_computed_is_named_at_inspection_and_at_load() {
    let io = |graph: TinyOnnx| graph.input("x", FLOAT, &[Dimension::Size(1)]).output("y", FLOAT, &[Dimension::Size(1)]);
    let relu = |graph: TinyOnnx| graph.node("Relu", &["x"], &["y"], &[]);
    let wide: Vec<u8> = 3_000_000_000_i64.to_le_bytes().to_vec();
    let cases = [
        (io(TinyOnnx::new(17).node("StringNormalizer", &["x"], &["y"], &[])), "`StringNormalizer`"),
        (io(relu(TinyOnnx::new(6))), "version 6"),
        (io(relu(TinyOnnx::new(99))), "version 99"),
        (
            io(TinyOnnx::new(17).import("ai.onnx.ml", 3).node_of_domain("ai.onnx.ml", "Scaler", &["x"], &["y"], &[])),
            "`Scaler` of the domain `ai.onnx.ml`",
        ),
        (
            io(TinyOnnx::new(17).import("com.microsoft", 1).node_of_domain(
                "com.microsoft",
                "QAttention",
                &["x"],
                &["y"],
                &[],
            )),
            "`QAttention` of `com.microsoft`",
        ),
        (io(relu(TinyOnnx::new(17)).tensor("w", DOUBLE, &[1], &[0; 8])), "tensor `w` has DOUBLE values"),
        (io(relu(TinyOnnx::new(17)).tensor("w", 22, &[2], &[0])), "tensor `w` has INT4 values"),
        (io(relu(TinyOnnx::new(17)).tensor("w", INT64, &[1], &wide)), "3000000000"),
        (io(TinyOnnx::new(17).node("Cast", &["x"], &["y"], &[integer_attribute("to", DOUBLE)])), "makes DOUBLE values"),
        (relu(TinyOnnx::new(17)).input("x", DOUBLE, &[]).output("y", DOUBLE, &[]), "input `x` has DOUBLE values"),
    ];
    for (graph, expected) in cases {
        let version = Version::of(&graph);
        let reason = version.inspect().unwrap().unwrap().not_servable_because.unwrap_or_default();
        assert!(reason.contains(expected), "{reason}\nexpected: {expected}");
        let error = version.load().err().unwrap();
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn attribute_that_the_library_does_not_know_is_named_at_load() {
    let graph = TinyOnnx::new(17)
        .node("Relu", &["x"], &["y"], &[integer_attribute("wetness", 3)])
        .input("x", FLOAT, &[Dimension::Size(1)])
        .output("y", FLOAT, &[Dimension::Size(1)]);
    let error = Version::of(&graph).load().err().unwrap();
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.to_string().contains("wetness"), "{error}");
}

#[test]
fn wrong_inputs_are_refused_with_both_values() {
    let model = Version::of(&tiny_linear()).load().unwrap();
    let x = Tensor::new(vec![1, 2], vec![0.0; 2]);
    let cases: [(&str, Tensor, &[&str]); 3] = [
        ("z", x.clone(), &["`z`", "`x`"]),
        ("x", Tensor::new(vec![1, 3], vec![0.0; 3]), &["[1, 3]", "[?, 2]"]),
        ("x", Tensor::new(vec![1, 2], TensorData::I64(vec![0, 0])), &["int64", "float32"]),
    ];
    for (name, tensor, expected) in cases {
        let error = model.run(&[(name, &tensor)]).unwrap_err();
        assert_eq!(error.code(), Code::Invalid);
        assert!(expected.iter().all(|part| error.to_string().contains(part)), "{error}");
    }
}

#[test]
fn shapes_that_the_graph_cannot_compute_with_are_named() {
    let graph = TinyOnnx::new(17)
        .node("Add", &["a", "b"], &["y"], &[])
        .input("a", FLOAT, &[Dimension::Name("n")])
        .input("b", FLOAT, &[Dimension::Name("n")])
        .output("y", FLOAT, &[Dimension::Name("n")]);
    let model = Version::of(&graph).load().unwrap();
    let [a, b] = [2, 3].map(|size| Tensor::new(vec![size], vec![1.0; size]));
    let error = model.run(&[("a", &a), ("b", &b)]).unwrap_err();
    assert_eq!(error.code(), Code::Invalid);
    assert!(error.to_string().contains("`a` [2], `b` [3]"), "{error}");
    assert_eq!(model.run(&[("a", &a), ("b", &a)]).unwrap()[0], Tensor::new(vec![2], vec![2.0; 2]));
}

#[test]
fn requests_at_the_same_time_do_not_disturb_each_other() {
    let model = Version::of(&tiny_image_classifier()).load().unwrap();
    std::thread::scope(|scope| {
        for value in 0..4_u8 {
            let model = &model;
            scope.spawn(move || {
                let value = f32::from(value);
                for side in 1..20 {
                    let image = Tensor::new(vec![1, 3, side, side], vec![value; 3 * side * side]);
                    assert_eq!(model.run(&[("image", &image)]).unwrap()[0], Tensor::new(vec![1, 3], vec![value; 3]));
                }
            });
        }
    });
}

#[test]
fn external_tensors_are_read_from_files_of_the_version() {
    let graph = |place: &[(&str, &str)]| {
        TinyOnnx::new(17)
            .external("w", &[2], place)
            .node("Add", &["x", "w"], &["y"], &[])
            .input("x", FLOAT, &[Dimension::Size(2)])
            .output("y", FLOAT, &[Dimension::Size(2)])
    };
    let weights: Vec<u8> = [9.0_f32, 1.5, 2.5].iter().flat_map(|value| value.to_le_bytes()).collect();
    for location in ["weights.bin", "./weights.bin"] {
        let graph = graph(&[("location", location), ("offset", "4"), ("length", "8")]).bytes();
        let version = Version::new(&[("onnx/model.onnx", &graph), ("onnx/weights.bin", &weights)]);
        assert_eq!(version.inspect().unwrap().unwrap().not_servable_because, None);
        let model = version.load().unwrap();
        let y = model.run(&[("x", &Tensor::new(vec![2], vec![1.0, 1.0]))]).unwrap();
        assert_eq!(y, [Tensor::new(vec![2], vec![2.5, 3.5])]);
    }
}

#[test]
fn longest_chain_of_operators_runs_on_a_small_stack() {
    let chain = |length: u32| {
        let name = |index: u32| format!("v{index}");
        let first = TinyOnnx::new(17).input("v0", FLOAT, &[Dimension::Name("n")]);
        let graph =
            (0..length).fold(first, |graph, index| graph.node("Sigmoid", &[&name(index)], &[&name(index + 1)], &[]));
        graph.output(&name(length), FLOAT, &[Dimension::Name("n")])
    };
    let longest = chain(LONGEST_CHAIN);
    let run = move || run_one(&longest, "v0", &Tensor::new(vec![1], vec![0.0])).map(drop);
    // A thread of the server has 2 MiB.
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap().unwrap();
    let error = Version::of(&chain(LONGEST_CHAIN + 1)).inspect().unwrap_err().to_string();
    assert!(error.contains("4000"), "{error}");
}

#[test]
fn version_with_two_graphs_says_so() {
    let graph = tiny_linear().bytes();
    let version = Version::new(&[("a.onnx", &graph), ("b.onnx", &graph)]);
    let reason = version.inspect().unwrap().unwrap().not_servable_because.unwrap();
    assert!(reason.contains("`a.onnx` and `b.onnx`"), "{reason}");
    assert_eq!(version.load().err().unwrap().code(), Code::Unsupported);
}

#[test]
fn files_of_other_formats_are_left_to_others() {
    let version = Version::new(&[("model.onnx", b"GGUF"), ("labels.json", b"[]")]);
    assert_eq!(version.inspect().unwrap(), None);
}

#[test]
fn types_of_inputs_are_told() {
    let model = Version::of(&tiny_image_classifier()).load().unwrap();
    let [image] = model.inputs() else { panic!("one input") };
    assert_eq!((image.tensor_type, image.shape_text().as_str()), (TensorType::F32, "[?, 3, ?, ?]"));
}
