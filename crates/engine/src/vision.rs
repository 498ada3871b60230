//! Image classification on a tensor model: images become the input tensor, the logits become named classes. What a model knows of an
//! image before it names classes can be asked for as well.

mod jpeg_end;
pub(crate) mod labels;
mod picture;
pub(crate) mod pixel_image;
mod preprocess;
pub(crate) mod ranking;

use std::sync::Arc;
use std::time::{Duration, Instant};

use seedhouse_core::runtime::{Tensor, TensorData, TensorModel, TensorSpec, TensorType};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use self::labels::Labels;
use self::picture::{Picture, decode};
use self::pixel_image::PixelImage;
use self::preprocess::{Colours, Preprocess};
use self::ranking::{Prediction, best_classes};
use crate::Patience;
use crate::batching::Answered;
use crate::tensors::served::ServedTensors;

/// An image, and how many classes to name.
#[derive(Debug, Clone)]
pub struct ClassifyRequest {
    /// The image.
    pub image: ImageInput,
    /// How many of the most likely classes to return, at least 1; by default 5, or all where there are fewer.
    pub top_k: Option<usize>,
}

/// As many classes as the original answers.
const DEFAULT_TOP_K: usize = 5;

/// The most images of one request.
const MOST_IMAGES: usize = 64;

/// The most pixels of their inputs: together as many as the largest input of one image has.
const MOST_INPUT_PIXELS: usize = 4096 * 4096;

/// An image as a caller sends it.
#[derive(Debug, Clone)]
pub enum ImageInput {
    /// The bytes of a PNG or JPEG file. An alpha channel is dropped; the orientation noted in a photograph is not applied.
    Encoded(Vec<u8>),
    /// Pixel values.
    Pixels(PixelImage),
}

/// The most likely classes, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// As many as were asked for.
    pub predictions: Vec<Prediction>,
    /// Shape of the tensor that the model was given.
    pub input_shape: Vec<usize>,
    /// The part of the time in the queue of the model.
    pub queue_seconds: f64,
    /// Time for decoding, pre-processing, waiting and the model.
    pub seconds: f64,
}

/// What a model knows of images before it names classes.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFeatures {
    /// One for each image, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// Shape of the tensor that the model was given for each image.
    pub input_shape: Vec<usize>,
    /// The part of the time in the queue of the model.
    pub queue_seconds: f64,
    /// Time for decoding, pre-processing, waiting and the model.
    pub seconds: f64,
}

/// A tensor model that takes images and gives one logit per class.
pub(crate) struct ImageClassifier {
    model_id: String,
    served: Arc<ServedTensors>,
    preprocess: Preprocess,
    labels: Option<Labels>,
    ends: Ends,
    gives: Gives,
}

/// What the rows of the output are. A graph may end in a softmax, which its record says (`output_activation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    Logits,
    Probabilities,
}

/// What a tensor model can do with images.
pub(crate) enum ImageTask {
    Ready(Box<ImageClassifier>),
    /// Nothing, for this reason.
    Impossible(String),
}

impl ImageClassifier {
    /// Reads what the metadata declares on pre-processing and labels, and compares it with the model.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a declaration breaks a rule, [`Error::Contradiction`] when the model disagrees with it.
    pub(crate) fn of_model(
        model_id: &str,
        served: Arc<ServedTensors>,
        metadata: &Map<String, Value>,
    ) -> Result<ImageTask> {
        let model = served.model();
        let Some(ends) = Ends::of_model(model) else {
            let reason = format!(
                "it takes {} and gives {}, but one image [1, 3 or 1, height, width] in and one row [1, classes] out are needed",
                shapes(model.inputs()),
                shapes(model.outputs())
            );
            return Ok(ImageTask::Impossible(reason));
        };
        let declared = model.declared();
        let Some(preprocess) = declared_preprocess(metadata, &declared, ends.colours, ends.size)? else {
            let reason = "the size of its images is unknown: declare `metadata.preprocess` or `metadata.image_size`";
            return Ok(ImageTask::Impossible(reason.into()));
        };
        preprocess.check_against(ends.size, &model.inputs()[0].name)?;
        // A record may name classes in another language than the files do.
        let labels = match Labels::of_metadata(metadata)? {
            Some(labels) => Some(labels),
            None => Labels::of_metadata(&declared)?,
        };
        if let (Some(labels), Some(classes)) = (&labels, ends.classes) {
            labels.check_count(classes)?;
        }
        let model_id = model_id.to_owned();
        let gives = match metadata.get("output_activation").and_then(Value::as_str) {
            Some("softmax") => Gives::Probabilities,
            _ => Gives::Logits,
        };
        Ok(ImageTask::Ready(Box::new(ImageClassifier { model_id, served, preprocess, labels, ends, gives })))
    }

    /// Returns the names of the classes by class id, where they are known.
    pub(crate) fn class_names(&self) -> Option<&[String]> {
        self.labels.as_ref().map(Labels::all)
    }

    pub(crate) fn classify(&self, request: &ClassifyRequest, patience: &Patience) -> Result<Classification> {
        let mut answers = self.classify_all(std::slice::from_ref(&request.image), request.top_k, patience)?;
        answers.pop().ok_or_else(|| Error::Internal(format!("`{}` gave no answer for one image", self.model_id)))
    }

    /// Classifies images as one batch. The time of each answer is that of the batch.
    pub(crate) fn classify_all(
        &self,
        images: &[ImageInput],
        top_k: Option<usize>,
        patience: &Patience,
    ) -> Result<Vec<Classification>> {
        let started = Instant::now();
        let Batch { input_shape, logits, queued, .. } = self.compute(images, patience)?;
        let classes = logits.len() / images.len();
        if let Some(labels) = &self.labels {
            labels.check_count(classes)?;
        }
        let count = top_k.unwrap_or_else(|| classes.min(DEFAULT_TOP_K));
        let of_image = |logits: &[f32]| {
            let mut predictions = best_classes(&self.model_id, logits, count)?;
            for prediction in &mut predictions {
                prediction.class_name = self.labels.as_ref().map(|labels| labels.name(prediction.class_id).into());
            }
            let seconds = started.elapsed().as_secs_f64();
            let queue_seconds = queued.as_secs_f64();
            Ok(Classification { predictions, input_shape: input_shape.clone(), queue_seconds, seconds })
        };
        logits.chunks_exact(classes.max(1)).map(of_image).collect()
    }

    /// Returns what the model knows of images before it names classes, computed as one batch.
    pub(crate) fn features(&self, images: &[ImageInput], patience: &Patience) -> Result<ImageFeatures> {
        let started = Instant::now();
        let Batch { input_shape, features, queued, .. } = self.compute(images, patience)?;
        let Some(features) = features else {
            let reason = "it gives logits and no features".to_owned();
            return Err(Error::WrongTask { model_id: self.model_id.clone(), task: "image features", reason });
        };
        if let Some(place) = features.iter().position(|number| !number.is_finite()) {
            return Err(Error::Internal(format!("`{}` gave the feature {}", self.model_id, features[place])));
        }
        let width = features.len() / images.len();
        let vectors = features.chunks_exact(width.max(1)).map(<[f32]>::to_vec).collect();
        let (queue_seconds, seconds) = (queued.as_secs_f64(), started.elapsed().as_secs_f64());
        Ok(ImageFeatures { vectors, input_shape, queue_seconds, seconds })
    }

    /// Runs the model on images: together where it takes several, else one by one. Decoding and pre-processing are done before they
    /// queue, in the thread of the caller.
    fn compute(&self, images: &[ImageInput], patience: &Patience) -> Result<Batch> {
        let most = (MOST_INPUT_PIXELS / self.preprocess.pixels()).clamp(1, MOST_IMAGES);
        if images.is_empty() || images.len() > most {
            return Err(Error::invalid("images", images.len(), format!("must be 1 to {most} images for this model")));
        }
        let mut inputs = Vec::with_capacity(images.len());
        for image in images {
            inputs.push(match image {
                ImageInput::Encoded(bytes) => self.preprocess.tensor(&Picture::Whole(decode(bytes)?))?,
                ImageInput::Pixels(pixels) => self.preprocess.tensor(pixels.picture())?,
            });
        }
        let input_shape = inputs[0].shape.clone();
        if self.ends.takes_batches {
            inputs = vec![joined(inputs)];
        }
        let (mut logits, mut features, mut queued) = (Vec::new(), Vec::new(), Duration::ZERO);
        for input in inputs {
            let outputs = self.run(input, patience)?;
            queued += outputs.queued;
            for (index, rows) in outputs.output.into_iter().enumerate() {
                if index == 0 { &mut logits } else { &mut features }.extend(rows);
            }
        }
        if self.gives == Gives::Probabilities {
            // Logarithms of probabilities are logits of the same probabilities; the smallest number stands for none.
            logits.iter_mut().for_each(|share| *share = share.max(f32::MIN_POSITIVE).ln());
        }
        Ok(Batch { input_shape, logits, features: self.ends.has_features.then_some(features), queued })
    }

    /// Returns the outputs for a tensor of images: a row for each of them.
    fn run(&self, input: Tensor, patience: &Patience) -> Result<Answered<Vec<Vec<f32>>>> {
        let count = input.shape[0];
        let Answered { output: outputs, queued } =
            self.served.run(vec![(self.served.model().inputs()[0].name.as_str(), input)], patience)?;
        let rows = |output: Tensor| match output {
            Tensor { shape, data: TensorData::F32(values) } if shape == [count, values.len() / count] => Ok(values),
            Tensor { shape, data } => Err(Error::Internal(format!(
                "`{}` gave {} values of {} and shape {shape:?} for {count} images",
                self.model_id,
                data.len(),
                data.tensor_type()
            ))),
        };
        let output = outputs.into_iter().map(rows).collect::<Result<_>>()?;
        Ok(Answered { output, queued })
    }
}

/// What came of images.
struct Batch {
    /// Of each.
    input_shape: Vec<usize>,
    logits: Vec<f32>,
    features: Option<Vec<f32>>,
    /// How long they waited for the model, together.
    queued: Duration,
}

/// Puts images of one shape into one tensor.
fn joined(images: Vec<Tensor>) -> Tensor {
    let mut shape = images[0].shape.clone();
    shape[0] = images.len();
    let numbers: Vec<f32> = images.iter().flat_map(|image| image.f32s().unwrap_or_default()).copied().collect();
    Tensor::new(shape, numbers)
}

/// Returns the pre-processing that the model's files say, else that of the record; both may say it, if they mean the same.
fn declared_preprocess(
    metadata: &Map<String, Value>,
    declared: &Map<String, Value>,
    colours: Colours,
    size: [Option<usize>; 2],
) -> Result<Option<Preprocess>> {
    if !declared.contains_key("preprocess") {
        return Preprocess::of_metadata(metadata, colours, size);
    }
    let of_files = Preprocess::of_metadata(declared, colours, size)?;
    if metadata.get("preprocess").is_some_and(|claimed| !claimed.is_null())
        && let (Some(claimed), Some(found)) = (Preprocess::of_metadata(metadata, colours, size)?, &of_files)
        && !claimed.is_same_as(found)
    {
        return Err(Error::Contradiction {
            field: "metadata.preprocess".into(),
            claimed: metadata["preprocess"].to_string(),
            found: declared["preprocess"].to_string(),
            file: "the files of the version".into(),
        });
    }
    Ok(of_files)
}

/// The dimensions of an image classifier.
struct Ends {
    colours: Colours,
    size: [Option<usize>; 2],
    classes: Option<usize>,
    /// Whether several images fit into its input.
    takes_batches: bool,
    /// Whether a vector of features comes after the logits.
    has_features: bool,
}

impl Ends {
    fn of_model(model: &dyn TensorModel) -> Option<Ends> {
        let ([input], [logits, others @ ..]) = (model.inputs(), model.outputs()) else { return None };
        let (&[batch, channels, height, width], &[rows, classes]) = (&input.shape[..], &logits.shape[..]) else {
            return None;
        };
        let fits = |dimension: Option<usize>, wanted| dimension.is_none_or(|found| found == wanted);
        let has_features = match others {
            [] => false,
            [features] => features.shape.len() == 2 && fits(features.shape[0], 1),
            _ => return None,
        };
        let is_f32 = |spec: &TensorSpec| spec.tensor_type == TensorType::F32;
        let all_f32 = is_f32(input) && model.outputs().iter().all(is_f32);
        let colours = if channels == Some(1) { Colours::Grey } else { Colours::Rgb };
        let takes_one_image = all_f32 && fits(batch, 1) && fits(channels, colours.channels()) && fits(rows, 1);
        let takes_batches = batch.is_none() && rows.is_none();
        takes_one_image.then_some(Ends { colours, size: [height, width], classes, takes_batches, has_features })
    }
}

fn shapes(specs: &[TensorSpec]) -> String {
    let shape = |spec: &TensorSpec| match spec.tensor_type {
        TensorType::F32 => format!("`{}` {}", spec.name, spec.shape_text()),
        other => format!("`{}` {other} {}", spec.name, spec.shape_text()),
    };
    match specs {
        [] => "nothing".into(),
        specs => specs.iter().map(shape).collect::<Vec<_>>().join(" and "),
    }
}

#[cfg(test)]
mod tests {
    use seedhouse_core::Code;
    use seedhouse_testkit::fake_runtime::FakeClassifier;
    use serde_json::json;

    use super::*;
    use crate::BatchSettings;

    fn classifier(model: FakeClassifier, metadata: Value) -> Result<ImageTask> {
        let metadata = metadata.as_object().unwrap();
        let served = ServedTensors::new("a_v1", Arc::new(model), metadata, BatchSettings::default())?;
        ImageClassifier::of_model("a_v1", Arc::new(served), metadata)
    }

    fn ready(model: FakeClassifier, metadata: Value) -> ImageClassifier {
        match classifier(model, metadata).unwrap() {
            ImageTask::Ready(classifier) => *classifier,
            ImageTask::Impossible(reason) => panic!("{reason}"),
        }
    }

    fn pixels(colour: [f32; 3]) -> ImageInput {
        ImageInput::Pixels(PixelImage::new(&vec![vec![colour.to_vec(); 3]; 2]).unwrap())
    }

    #[test]
    fn colour_decides_the_class_and_labels_name_it() {
        let labels = json!({"0": "红", "2": "blue", "1": "green"});
        let classifier = ready(FakeClassifier::new(3), json!({"image_size": 4, "labels": labels}));
        for (colour, id, name) in [([200.0, 0.0, 0.0], 0, "红"), ([0.0, 0.0, 255.0], 2, "blue")] {
            let answer = classifier
                .classify(&ClassifyRequest { image: pixels(colour), top_k: Some(2) }, &Patience::default())
                .unwrap();
            assert_eq!((answer.predictions.len(), &answer.input_shape[..]), (2, &[1, 3, 4, 4][..]));
            assert_eq!(answer.predictions[0].class_id, id);
            assert_eq!(answer.predictions[0].class_name.as_deref(), Some(name));
        }
    }

    #[test]
    fn images_of_one_request_are_answered_as_if_each_were_alone() {
        let images = [pixels([200.0, 0.0, 0.0]), pixels([0.0, 9.0, 250.0]), pixels([0.0, 250.0, 9.0])];
        let fixed = vec![Some(1), Some(3), Some(4), Some(4)];
        for shape in [vec![None, Some(3), None, None], fixed] {
            let classifier =
                ready(FakeClassifier::new(3).with_input_shape(shape).with_features(), json!({"image_size": 4}));
            let together = classifier.classify_all(&images, None, &Patience::default()).unwrap();
            let vectors = classifier.features(&images, &Patience::default()).unwrap().vectors;
            assert_eq!((together.len(), vectors.len()), (3, 3));
            for (index, image) in images.iter().enumerate() {
                let alone = classifier
                    .classify(&ClassifyRequest { image: image.clone(), top_k: None }, &Patience::default())
                    .unwrap();
                assert_eq!(together[index].predictions, alone.predictions);
                assert_eq!(together[index].input_shape, [1, 3, 4, 4]);
                assert_eq!(
                    vectors[index],
                    classifier.features(std::slice::from_ref(image), &Patience::default()).unwrap().vectors[0]
                );
            }
        }
        let classifier = ready(FakeClassifier::new(3), json!({"image_size": 4}));
        let refused = classifier.features(&images, &Patience::default()).unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        for count in [0, MOST_IMAGES + 1] {
            let error =
                classifier.classify_all(&vec![images[0].clone(); count], None, &Patience::default()).unwrap_err();
            assert_eq!((error.code(), error.field()), (Code::Invalid, Some("images")));
        }
    }

    #[test]
    fn what_files_say_about_pictures_comes_first_and_a_record_may_rename_classes() {
        let declared = json!({"preprocess": {"size": 5, "mean": [0, 0, 0]}, "labels": ["a", "b", "c"]});
        let model = || FakeClassifier::new(3).with_declared(declared.as_object().unwrap().clone());
        let of = |metadata| {
            let request = ClassifyRequest { image: pixels([255.0, 0.0, 0.0]), top_k: Some(1) };
            ready(model(), metadata).classify(&request, &Patience::default()).unwrap()
        };
        let answer = of(json!({"image_size": 4}));
        assert_eq!((&answer.input_shape[2..], answer.predictions[0].class_name.as_deref()), (&[5, 5][..], Some("a")));
        let answer = of(json!({"labels": ["红", "绿", "蓝"], "preprocess": {"size": [5, 5], "mean": [0, 0, 0]}}));
        assert_eq!(answer.predictions[0].class_name.as_deref(), Some("红"));
        let error = classifier(model(), json!({"preprocess": {"size": 6}})).err().unwrap().to_string();
        assert!(error.contains(r#"{"size":6}"#) && error.contains(r#""mean":[0,0,0]"#), "{error}");
    }

    #[test]
    fn fixed_size_of_the_model_needs_no_declaration() {
        let shape = vec![Some(1), Some(3), Some(5), Some(6)];
        let classifier = ready(FakeClassifier::new(3).with_input_shape(shape), json!({}));
        let answer = classifier
            .classify(&ClassifyRequest { image: pixels([1.0; 3]), top_k: Some(1) }, &Patience::default())
            .unwrap();
        assert_eq!(answer.input_shape, [1, 3, 5, 6]);
        assert_eq!(answer.predictions[0].class_name, None);
    }

    #[test]
    fn declarations_that_contradict_the_model_are_refused_with_both_values() {
        let fixed = || FakeClassifier::new(3).with_input_shape(vec![None, Some(3), Some(5), Some(6)]);
        let cases = [
            (FakeClassifier::new(3), json!({"image_size": 4, "labels": ["a", "b"]}), ["2 labels", "3 classes"]),
            (fixed(), json!({"preprocess": {"size": [5, 7]}}), ["[5, 7]", "[5, 6]"]),
            (fixed(), json!({"image_size": 224}), ["[224, 224]", "[5, 6]"]),
        ];
        for (model, metadata, values) in cases {
            let error = classifier(model, metadata).err().unwrap().to_string();
            assert!(values.iter().all(|value| error.contains(value)), "{error} should contain {values:?}");
        }
    }

    #[test]
    fn models_that_classify_no_images_say_why() {
        let infrared = FakeClassifier::new(3).with_input_shape(vec![None, Some(4), None, None]);
        let flat = FakeClassifier::new(3).with_input_shape(vec![None, Some(3)]);
        let cases = [
            (infrared, "`image` [?, 4, ?, ?]"),
            (flat, "`image` [?, 3]"),
            (FakeClassifier::new(3), "declare `metadata.preprocess` or `metadata.image_size`"),
        ];
        for (model, expected) in cases {
            match classifier(model, json!({})).unwrap() {
                ImageTask::Impossible(reason) => assert!(reason.contains(expected), "{reason}"),
                ImageTask::Ready(_) => panic!("{expected} cannot be ready"),
            }
        }
    }

    #[test]
    fn model_with_fewer_than_five_classes_names_all_of_them_by_default() {
        for (classes, named) in [(3, 3), (5, 5), (7, 5)] {
            let classifier = ready(FakeClassifier::new(classes), json!({"image_size": 4}));
            let answer = classifier
                .classify(&ClassifyRequest { image: pixels([1.0; 3]), top_k: None }, &Patience::default())
                .unwrap();
            assert_eq!(answer.predictions.len(), named, "{classes} classes");
        }
    }

    #[test]
    fn number_of_classes_asked_for_is_checked() {
        let classifier = ready(FakeClassifier::new(3), json!({"image_size": 4}));
        for top_k in [0, 4] {
            let request = ClassifyRequest { image: pixels([1.0; 3]), top_k: Some(top_k) };
            let error = classifier.classify(&request, &Patience::default()).unwrap_err();
            assert_eq!((error.code(), error.field()), (Code::Invalid, Some("top_k")));
            assert!(error.to_string().contains(&format!("`{top_k}`")) && error.to_string().contains('3'), "{error}");
        }
    }
}
