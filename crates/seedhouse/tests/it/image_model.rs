//! EfficientNet-Lite0 against values that ONNX Runtime computed (`reference/`).

use std::path::PathBuf;

use seedhouse_core::Digest;
use seedhouse_core::runtime::{LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, Tensor};
use seedhouse_native::NativeRuntime;
use serde_json::json;

use crate::support::{Form, RealModels, Seedhouse, reference};

const PREPROCESS: &str = r#"{"image_size": 224, "preprocess": {"crop": "center_square", "filter": "bicubic", "size": [224, 224],
    "mean": [127, 127, 127], "std": [128, 128, 128]}}"#;

#[test]
fn synthetic_logits_are_those_of_the_reference() {
    let Some(models) = RealModels::find() else { return };
    let file = LocalFile {
        path: "model.pth".parse().unwrap(),
        local: PathBuf::from(models.image_model()),
        digest: Digest::of("the service verifies digests; this test does not"),
    };
    let loaded = NativeRuntime::new().load(&LocalFiles(vec![file]), &LoadOptions::default()).unwrap();
    let LoadedModel::Tensor(model) = loaded else { panic!("an image classifier computes tensors") };
    let data: Vec<f32> = (0..3 * 224 * 224).map(|i| (0.001 * f64::from(i)).sin() as f32).collect();
    let input = Tensor::new(vec![1, 3, 224, 224], data);
    let logits = &model.run(&[("image", &input)]).unwrap()[0];
    assert_eq!(logits.shape, [1, 1000]);

    let expected = &reference("efficientnet-lite0.json")["synthetic"];
    let expected_logits = expected["logits"].as_array().unwrap();
    let values = logits.f32s().unwrap();
    let worst = values
        .iter()
        .zip(expected_logits)
        .map(|(actual, expected)| (f64::from(*actual) - expected.as_f64().unwrap()).abs())
        .fold(0.0, f64::max);
    println!("largest difference of a logit: {worst}");
    assert!(worst < 2e-3, "the reference's own tolerance, mostly its rounding to four digits: {worst}");
    let best = (0..1000).max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap();
    assert_eq!(best as u64, expected["argmax"].as_u64().unwrap());
}

#[test]
fn photographs_have_the_reference_top_class() {
    let Some(models) = RealModels::find() else { return };
    let seedhouse = Seedhouse::new();
    let (model, labels) = (models.image_model(), models.labels());
    let record = seedhouse.json(&["register", "efficientnet", &model, "--metadata", PREPROCESS, "--labels", &labels]);
    assert_eq!(record["metadata"]["num_classes"], 1000);
    assert_eq!(record["claims"], json!(["metadata.image_size", "metadata.preprocess", "metadata.labels"]));
    let server = seedhouse.serve();
    for case in reference("efficientnet-lite0.json")["images"].as_array().unwrap() {
        let name = case["image"].as_str().unwrap().rsplit('/').next().unwrap();
        let expected = &case["top5"][0];
        let photograph = models.path(name);
        let best = seedhouse.json(&["classify", "efficientnet", &photograph])["predictions"][0].clone();
        assert_eq!(best["class_id"], expected["index"], "{name}");
        assert_eq!(best["class_name"], expected["label"], "{name}");
        let difference = best["confidence"].as_f64().unwrap() - expected["prob"].as_f64().unwrap();
        println!("{name}: probability differs by {difference:+.4}");
        // The reference allows 0.03 for another bicubic resizer.
        assert!(difference.abs() < 0.03, "{name}: {difference}");
        let form = Form::new().text("model_id", "efficientnet").file(name, &std::fs::read(&photograph).unwrap());
        let answer = server.post_form("/api/inference/image/classification", &form).json();
        assert_eq!(answer["predictions"][0]["class_id"], expected["index"], "{name} over HTTP");
    }
}
