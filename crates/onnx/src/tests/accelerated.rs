//! Graphs with ONNX Runtime beside the built-in runtime.

use serde_json::Map;

use super::*;
use crate::test_library::runtime_with_library;
use crate::{LibraryChoice, OnnxSettings};

fn wanting(runtime: &str) -> LoadOptions {
    LoadOptions { metadata: Map::from_iter([("runtime".to_owned(), runtime.into())]) }
}

/// A graph of an operator that the built-in runtime lacks.
fn hardmax() -> TinyOnnx {
    TinyOnnx::new(17)
        .node("Hardmax", &["x"], &["y"], &[])
        .input("x", FLOAT, &[Dimension::Name("n"), Dimension::Size(3)])
        .output("y", FLOAT, &[Dimension::Name("n"), Dimension::Size(3)])
}

fn tensor_model(runtime: &OnnxRuntime, version: &Version, options: &LoadOptions) -> Result<Arc<dyn TensorModel>> {
    match runtime.load(&version.files, options)? {
        LoadedModel::Tensor(model) => Ok(model),
        _ => panic!("a graph takes tensors"),
    }
}

#[test]
fn record_is_the_same_with_and_without_the_library() {
    let Some(with) = runtime_with_library() else { return };
    let version = Version::of(&hardmax());
    let [with, without] = [with, OnnxRuntime::new()].map(|runtime| runtime.inspect(&version.files).unwrap().unwrap());
    assert_eq!(with.not_servable_because, None);
    let reason = without.not_servable_because.as_deref().unwrap();
    for part in ["without ONNX Runtime", "seedhouse runtime install onnxruntime", "`Hardmax`"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(with.to_field(None), without.to_field(Some(reason)));
    assert_eq!(with.hyper_parameters, without.hyper_parameters);
}

#[test]
fn operator_that_is_not_built_in_is_computed_by_the_library_alone() {
    let Some(runtime) = runtime_with_library() else { return };
    let version = Version::of(&hardmax());
    let model = tensor_model(&runtime, &version, &LoadOptions::default()).unwrap();
    assert!(model.computed_by().unwrap().starts_with("onnxruntime 1."), "{:?}", model.computed_by());
    let x = Tensor::new(vec![2, 3], vec![1.0, 3.0, 2.0, 0.5, -1.0, 0.0]);
    assert_eq!(model.run(&[("x", &x)]).unwrap(), [Tensor::new(vec![2, 3], vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0])]);
    for error in [
        tensor_model(&runtime, &version, &wanting("rten")).err().unwrap(),
        tensor_model(&OnnxRuntime::new(), &version, &LoadOptions::default()).err().unwrap(),
    ] {
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.to_string().contains("`Hardmax`"), "{error}");
    }
}

#[test]
fn runtime_of_the_record_is_taken_and_both_agree() {
    let Some(runtime) = runtime_with_library() else { return };
    let version = Version::of(&tiny_image_classifier());
    let built_in = tensor_model(&runtime, &version, &wanting("rten")).unwrap();
    let library = tensor_model(&runtime, &version, &wanting("onnxruntime")).unwrap();
    assert_eq!(built_in.computed_by(), Some("rten"));
    assert!(library.computed_by().unwrap().starts_with("onnxruntime "));
    assert_eq!((built_in.inputs(), built_in.outputs()), (library.inputs(), library.outputs()));
    let spec = &library.inputs()[0];
    let shape: Vec<usize> = spec.shape.iter().map(|size| size.unwrap_or(2)).collect();
    let values: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * 0.7).sin()).collect();
    let x = Tensor::new(shape, values);
    let [a, b] = [&built_in, &library].map(|model| model.run(&[(spec.name.as_str(), &x)]).unwrap().remove(0));
    assert_eq!(a.shape, b.shape);
    for (a, b) in a.f32s().unwrap().iter().zip(b.f32s().unwrap()) {
        assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{a} and {b}");
    }
    let error = tensor_model(&runtime, &version, &wanting("tract")).err().unwrap().to_string();
    assert!(
        error.contains("metadata.runtime") && error.contains("tract") && error.contains("`onnxruntime`"),
        "{error}"
    );
    let error = tensor_model(&OnnxRuntime::new(), &version, &wanting("onnxruntime")).err().unwrap().to_string();
    assert!(error.contains("seedhouse runtime install onnxruntime"), "{error}");
}

#[test]
fn types_are_kept_exactly() {
    let Some(runtime) = runtime_with_library() else { return };
    let cases = [
        (FLOAT16, TensorData::F16(vec![f16::from_f32(0.5), f16::from_f32(-2.0)])),
        (INT64, TensorData::I64(vec![i64::MIN, i64::MAX])),
        (BOOL, TensorData::Bool(vec![true, false])),
        (FLOAT, TensorData::F32(vec![0.1, f32::INFINITY])),
        (6, TensorData::I32(vec![i32::MIN, 7])),
        (2, TensorData::U8(vec![0, 255])),
        (3, TensorData::I8(vec![-128, 127])),
    ];
    for (element, data) in cases {
        let graph = TinyOnnx::new(17)
            .node("Identity", &["x"], &["y"], &[])
            .input("x", element, &[Dimension::Name("n")])
            .output("y", element, &[Dimension::Name("n")]);
        let model = tensor_model(&runtime, &Version::of(&graph), &wanting("onnxruntime")).unwrap();
        let x = Tensor::new(vec![2], data);
        assert_eq!(model.run(&[("x", &x)]).unwrap(), [x]);
    }
}

#[test]
fn doubles_in_the_middle_are_computed_by_the_library() {
    let Some(runtime) = runtime_with_library() else { return };
    let graph = TinyOnnx::new(17)
        .tensor("third", DOUBLE, &[1], &(1.0_f64 / 3.0).to_le_bytes())
        .node("Cast", &["x"], &["wide"], &[integer_attribute("to", DOUBLE)])
        .node("Mul", &["wide", "third"], &["product"], &[])
        .node("Cast", &["product"], &["y"], &[integer_attribute("to", FLOAT)])
        .input("x", FLOAT, &[Dimension::Size(1)])
        .output("y", FLOAT, &[Dimension::Size(1)]);
    let version = Version::of(&graph);
    assert!(version.inspect().unwrap().unwrap().not_servable_because.is_some());
    let model = tensor_model(&runtime, &version, &LoadOptions::default()).unwrap();
    let y = model.run(&[("x", &Tensor::new(vec![1], vec![3.0]))]).unwrap();
    assert_eq!(y, [Tensor::new(vec![1], vec![1.0])]);
}

#[test]
fn many_callers_of_one_graph_get_their_own_answers() {
    let Some(runtime) = runtime_with_library() else { return };
    let model = tensor_model(&runtime, &Version::of(&hardmax()), &LoadOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let model = &model;
            scope.spawn(move || {
                for _ in 0..50 {
                    let mut x = vec![0.0; 3];
                    x[caller % 3] = 1.0;
                    let x = Tensor::new(vec![1, 3], x);
                    assert_eq!(model.run(&[("x", &x)]).unwrap(), std::slice::from_ref(&x));
                }
            });
        }
    });
}

#[test]
fn inputs_that_do_not_fit_are_the_request_s_mistake() {
    let Some(runtime) = runtime_with_library() else { return };
    let graph = TinyOnnx::new(17)
        .node("Add", &["a", "b"], &["y"], &[])
        .input("a", FLOAT, &[Dimension::Name("n")])
        .input("b", FLOAT, &[Dimension::Name("m")])
        .output("y", FLOAT, &[Dimension::Name("k")]);
    let model = tensor_model(&runtime, &Version::of(&graph), &LoadOptions::default()).unwrap();
    let (a, b) = (Tensor::new(vec![2], vec![1.0; 2]), Tensor::new(vec![3], vec![1.0; 3]));
    let error = model.run(&[("a", &a), ("b", &b)]).unwrap_err();
    assert_eq!(error.code(), Code::Invalid);
    assert!(error.to_string().contains("`b` [3]"), "{error}");
    // And the next one is answered.
    assert_eq!(model.run(&[("a", &a), ("b", &a)]).unwrap(), [Tensor::new(vec![2], vec![2.0; 2])]);
}

#[test]
fn operators_that_bring_code_or_files_are_refused_with_the_library_too() {
    let Some(runtime) = runtime_with_library() else { return };
    for (domain, operator) in [("com.microsoft", "EPContext"), ("com.microsoft.nchwc", "Conv"), ("my.own", "Relu")] {
        let graph = TinyOnnx::new(17)
            .import(domain, 1)
            .node_of_domain(domain, operator, &["x"], &["y"], &[])
            .input("x", FLOAT, &[Dimension::Size(1)])
            .output("y", FLOAT, &[Dimension::Size(1)]);
        let version = Version::of(&graph);
        let inspection = runtime.inspect(&version.files).unwrap().unwrap();
        let reason = inspection.not_servable_because.unwrap();
        assert!(reason.contains(&format!("`{operator}` of the domain `{domain}`")), "{reason}");
        assert!(runtime.load(&version.files, &wanting("onnxruntime")).is_err());
    }
}

#[test]
fn second_library_in_one_process_is_refused() {
    let Some(runtime) = runtime_with_library() else { return };
    runtime.open_library().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("libonnxruntime.so.1.99.0");
    std::fs::write(&other, "").unwrap();
    let settings = OnnxSettings { library: LibraryChoice::File(other.clone()), threads: None };
    let error = OnnxRuntime::with(&settings).unwrap().open_library().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.to_string().contains(other.to_str().unwrap()), "{error}");
}
