//! Callers of one tensor model, through its slot and by itself.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{LoadOptions, Runtime};
use seedhouse_core::{Code, Digest};
use seedhouse_testkit::fake_runtime::{FakeClassifier, FakeRuntime, fake_files};
use serde_json::json;

use super::*;
use crate::{
    ClassifyRequest, Engine, ImageInput, Lease, LoadRequest, Numbers, PixelImage, PredictRequest, Slot, SlotOptions,
};

fn served(model: impl TensorModel + 'static, metadata: &Value) -> Result<ServedTensors> {
    ServedTensors::new("a_v1", Arc::new(model), metadata.as_object().unwrap(), BatchSettings::default())
}

/// A model that says nothing about its rows.
struct Reticent(FakeClassifier);

impl TensorModel for Reticent {
    fn inputs(&self) -> &[TensorSpec] {
        self.0.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.0.outputs()
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        self.0.run(inputs)
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

/// A graph of one fixed and perhaps one free dimension that loads and fails with an error each time.
struct Failing {
    inputs: Vec<TensorSpec>,
    error: fn() -> Error,
}

impl TensorModel for Failing {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &[]
    }

    fn run(&self, _inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        Err((self.error)())
    }

    fn memory_bytes(&self) -> u64 {
        0
    }
}

#[test]
fn graph_that_fails_at_every_run_was_warmed_up_without_an_error() {
    let warm_up = |shape: Vec<Option<usize>>, tensor_type, error| {
        let inputs = vec![TensorSpec { name: "x".into(), tensor_type, shape }];
        served(Failing { inputs, error }, &json!({})).unwrap().warm_up().map_err(|error| error.code())
    };
    let shapes: fn() -> Error = || Error::invalid("inputs", "x [1]", "a test");
    let broken: fn() -> Error = || Error::Internal("a test".into());
    assert_eq!(warm_up(vec![Some(2)], TensorType::F32, shapes), Err(Code::Invalid));
    assert_eq!(warm_up(vec![Some(2)], TensorType::Bool, broken), Err(Code::Internal));
    assert_eq!(warm_up(vec![None, Some(2)], TensorType::I64, broken), Err(Code::Internal));
    assert_eq!(warm_up(vec![None, Some(2)], TensorType::F16, shapes), Ok(()), "1 may be a wrong guess");
    assert_eq!(warm_up(vec![Some(1 << 25)], TensorType::U8, broken), Ok(()), "too many numbers");
    assert_eq!(warm_up(vec![Some(usize::MAX); 2], TensorType::I8, broken), Ok(()));
}

fn image(value: f32) -> Tensor {
    Tensor::new(vec![1, 3, 1, 2], vec![value, 0.1, value * 0.7, 0.3, 0.9, value])
}

#[test]
fn joined_inputs_give_the_outputs_of_each_alone() {
    let served = served(FakeClassifier::new(3).with_features(), &json!({})).unwrap();
    let items = [0.3, 0.6, 0.9].map(|value| Inputs(vec![image(value)]));
    let together = served.compute(&items).unwrap();
    for (item, outputs) in items.iter().zip(&together) {
        assert_eq!(served.compute(std::slice::from_ref(item)).unwrap()[0], *outputs);
        assert_eq!(outputs.iter().map(|output| output.shape[0]).collect::<Vec<_>>(), [1, 1]);
    }
}

#[test]
fn only_what_is_known_to_change_nothing_is_joined() {
    let free = || Reticent(FakeClassifier::new(3));
    let fixed = Reticent(FakeClassifier::new(3).with_input_shape(vec![Some(1), Some(3), None, None]));
    let error = served(fixed, &json!({"dynamic_batching": true})).err().unwrap().to_string();
    assert!(["metadata.dynamic_batching", "true", "[1, 3, ?, ?]"].iter().all(|part| error.contains(part)), "{error}");
    let error = served(free(), &json!({"dynamic_batching": "yes"})).err().unwrap();
    assert_eq!((error.code(), error.field()), (Code::Invalid, Some("metadata.dynamic_batching")));
    let cases = [
        (served(FakeClassifier::new(3), &json!({})), true),
        (served(free(), &json!({})), false),
        (served(free(), &json!({"dynamic_batching": false})), false),
        (served(free(), &json!({"dynamic_batching": null})), false),
        (served(free(), &json!({"dynamic_batching": true})), true),
    ];
    for (index, (served, joins)) in cases.into_iter().enumerate() {
        assert_eq!(served.unwrap().batcher.joins(), joins, "case {index}");
    }
}

#[test]
fn inputs_are_checked_before_they_queue_and_may_come_in_any_order() {
    let served = served(FakeClassifier::new(3), &json!({})).unwrap();
    for wrong in [Tensor::new(vec![1, 4, 1, 1], vec![0.0; 4]), Tensor::new(vec![1, 3, 1, 1], vec![0.0; 2])] {
        let error = served.run(vec![("image", wrong)], &Patience::default()).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some("image")));
    }
    assert_eq!(served.statistics().batches, 0);
    served.run(vec![("image", image(0.5))], &Patience::default()).unwrap();
    assert_eq!(served.statistics().batches, 1);
}

/// A slot of an image classifier whose batches begin when the test says so.
struct Held {
    slot: Lease,
    has_begun: mpsc::Receiver<usize>,
    go: mpsc::Sender<()>,
}

fn held_classifier() -> Held {
    let (began, has_begun) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let may_go = Mutex::new(may_go);
    let runtime = FakeRuntime::alphabet().on_run(move |images| {
        began.send(images.shape[0]).unwrap();
        may_go.lock().unwrap().recv().unwrap();
    });
    let engine = Engine::new(vec![Arc::new(runtime) as Arc<dyn Runtime>]);
    let metadata = json!({"image_size": 4}).as_object().unwrap().clone();
    let files = fake_files("a.fake-image");
    let request = LoadRequest { model_id: "a_v1".into(), digest: None, files, options: LoadOptions { metadata } };
    let slot = engine.slot(&Digest::of("a"), SlotOptions::default(), &|| Ok(request.clone())).unwrap();
    Held { slot, has_begun, go }
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never happened: {what}");
        thread::yield_now();
    }
}

fn pixels(colour: [f32; 3]) -> ImageInput {
    ImageInput::Pixels(PixelImage::new(&vec![vec![colour.to_vec(); 3]; 2]).unwrap())
}

#[test]
fn images_and_tensors_of_several_callers_are_one_batch() {
    let Held { slot, has_begun, go } = held_classifier();
    let slot: &Slot = &slot;
    let classify = |image: ImageInput| slot.classify(&ClassifyRequest { image, top_k: Some(1) }, &Patience::default());
    thread::scope(|scope| {
        let first = scope.spawn(|| classify(pixels([255.0, 0.0, 0.0])));
        assert_eq!(has_begun.recv().unwrap(), 1);
        // What is wrong by itself is refused at once, although the model is held.
        let broken = classify(ImageInput::Encoded(b"no image".to_vec()));
        assert!(matches!(broken, Err(Error::Malformed { .. })), "{broken:?}");
        let others = [[0.0, 255.0, 0.0], [0.0, 0.0, 255.0]].map(|colour| scope.spawn(move || classify(pixels(colour))));
        let several = scope
            .spawn(|| slot.classify_all(&[pixels([9.0; 3]), pixels([0.0, 0.0, 255.0])], None, &Patience::default()));
        let numbers: Numbers = serde_json::from_value(json!([vec![vec![vec![0.5; 4]; 4]; 3]])).unwrap();
        let tensors = scope.spawn(move || {
            slot.predict(&PredictRequest { inputs: vec![("image".into(), numbers)] }, &Patience::default())
        });
        eventually("four wait", || slot.batch_statistics().unwrap().waiting == 4);
        go.send(()).unwrap();
        assert_eq!(has_begun.recv().unwrap(), 5, "two alone, two of one request, and a tensor");
        go.send(()).unwrap();
        let class = |answer: Result<crate::Classification>| answer.unwrap().predictions[0].class_id;
        assert_eq!(class(first.join().unwrap()), 0);
        assert_eq!(others.map(|other| class(other.join().unwrap())), [1, 2]);
        assert_eq!(several.join().unwrap().unwrap()[1].predictions[0].class_id, 2);
        assert_eq!(tensors.join().unwrap().unwrap().outputs[0].1.shape, [1, 3]);
    });
}
