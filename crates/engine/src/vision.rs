//! Image classification on a tensor model: an image becomes the input tensor, the logits become named classes.

mod jpeg_end;
mod labels;
mod picture;
pub(crate) mod pixel_image;
mod preprocess;
pub(crate) mod ranking;

use std::sync::Arc;
use std::time::Instant;

use seedhouse_core::runtime::{Tensor, TensorData, TensorModel, TensorSpec, TensorType};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use self::labels::Labels;
use self::picture::{Picture, decode};
use self::pixel_image::PixelImage;
use self::preprocess::Preprocess;
use self::ranking::{Prediction, best_classes};

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
    /// Time for decoding, pre-processing and the model.
    pub seconds: f64,
}

/// A tensor model that takes one image and gives one logit per class.
pub(crate) struct ImageClassifier {
    model_id: String,
    model: Arc<dyn TensorModel>,
    preprocess: Preprocess,
    labels: Option<Labels>,
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
        model: Arc<dyn TensorModel>,
        metadata: &Map<String, Value>,
    ) -> Result<ImageTask> {
        let Some(ends) = Ends::of_model(model.as_ref()) else {
            let reason = format!(
                "it takes {} and gives {}, but one image [1, 3, height, width] in and one row [1, classes] out are needed",
                shapes(model.inputs()),
                shapes(model.outputs())
            );
            return Ok(ImageTask::Impossible(reason));
        };
        let Some(preprocess) = Preprocess::of_metadata(metadata, ends.size)? else {
            let reason = "the size of its images is unknown: declare `metadata.preprocess` or `metadata.image_size`";
            return Ok(ImageTask::Impossible(reason.into()));
        };
        preprocess.check_against(ends.size, &model.inputs()[0].name)?;
        let labels = Labels::of_metadata(metadata)?;
        if let (Some(labels), Some(classes)) = (&labels, ends.classes) {
            labels.check_count(classes)?;
        }
        let model_id = model_id.to_owned();
        let gives = match metadata.get("output_activation").and_then(Value::as_str) {
            Some("softmax") => Gives::Probabilities,
            _ => Gives::Logits,
        };
        Ok(ImageTask::Ready(Box::new(ImageClassifier { model_id, model, preprocess, labels, gives })))
    }

    pub(crate) fn classify(&self, request: &ClassifyRequest) -> Result<Classification> {
        let started = Instant::now();
        let input = match &request.image {
            ImageInput::Encoded(bytes) => self.preprocess.tensor(&Picture::Whole(decode(bytes)?)),
            ImageInput::Pixels(pixels) => self.preprocess.tensor(pixels.picture()),
        };
        let logits = self.logits(&input)?;
        if let Some(labels) = &self.labels {
            labels.check_count(logits.len())?;
        }
        let count = request.top_k.unwrap_or_else(|| logits.len().min(DEFAULT_TOP_K));
        let mut predictions = best_classes(&self.model_id, &logits, count)?;
        for prediction in &mut predictions {
            prediction.class_name = self.labels.as_ref().map(|labels| labels.name(prediction.class_id).to_owned());
        }
        Ok(Classification { predictions, input_shape: input.shape, seconds: started.elapsed().as_secs_f64() })
    }

    fn logits(&self, input: &Tensor) -> Result<Vec<f32>> {
        let row = self.row(input)?;
        Ok(match self.gives {
            Gives::Logits => row,
            // Logarithms of probabilities are logits of the same probabilities; the smallest number stands for none.
            Gives::Probabilities => row.into_iter().map(|share| share.max(f32::MIN_POSITIVE).ln()).collect(),
        })
    }

    fn row(&self, input: &Tensor) -> Result<Vec<f32>> {
        let outputs = self.model.run(&[(&self.model.inputs()[0].name, input)])?;
        match <[Tensor; 1]>::try_from(outputs) {
            Ok([Tensor { shape, data: TensorData::F32(values) }]) if shape == [1, values.len()] => Ok(values),
            Ok([Tensor { shape, data }]) => Err(Error::Internal(format!(
                "`{}` gave {} values of {} and shape {shape:?} for one image",
                self.model_id,
                data.len(),
                data.tensor_type()
            ))),
            Err(outputs) => {
                Err(Error::Internal(format!("`{}` gave {} tensors instead of one", self.model_id, outputs.len())))
            }
        }
    }
}

/// The fixed dimensions of an image classifier.
struct Ends {
    size: [Option<usize>; 2],
    classes: Option<usize>,
}

impl Ends {
    fn of_model(model: &dyn TensorModel) -> Option<Ends> {
        let ([input], [output]) = (model.inputs(), model.outputs()) else { return None };
        let (&[batch, channels, height, width], &[rows, classes]) = (&input.shape[..], &output.shape[..]) else {
            return None;
        };
        let fits = |dimension: Option<usize>, wanted| dimension.is_none_or(|found| found == wanted);
        let is_f32 = input.tensor_type == TensorType::F32 && output.tensor_type == TensorType::F32;
        let takes_one_image = is_f32 && fits(batch, 1) && fits(channels, 3) && fits(rows, 1);
        takes_one_image.then_some(Ends { size: [height, width], classes })
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

    fn classifier(model: FakeClassifier, metadata: Value) -> Result<ImageTask> {
        ImageClassifier::of_model("a_v1", Arc::new(model), metadata.as_object().unwrap())
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
            let answer = classifier.classify(&ClassifyRequest { image: pixels(colour), top_k: Some(2) }).unwrap();
            assert_eq!((answer.predictions.len(), &answer.input_shape[..]), (2, &[1, 3, 4, 4][..]));
            assert_eq!(answer.predictions[0].class_id, id);
            assert_eq!(answer.predictions[0].class_name.as_deref(), Some(name));
        }
    }

    #[test]
    fn fixed_size_of_the_model_needs_no_declaration() {
        let shape = vec![Some(1), Some(3), Some(5), Some(6)];
        let classifier = ready(FakeClassifier::new(3).with_input_shape(shape), json!({}));
        let answer = classifier.classify(&ClassifyRequest { image: pixels([1.0; 3]), top_k: Some(1) }).unwrap();
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
        let grey = FakeClassifier::new(3).with_input_shape(vec![None, Some(1), None, None]);
        let flat = FakeClassifier::new(3).with_input_shape(vec![None, Some(3)]);
        let cases = [
            (grey, "`image` [?, 1, ?, ?]"),
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
            let answer = classifier.classify(&ClassifyRequest { image: pixels([1.0; 3]), top_k: None }).unwrap();
            assert_eq!(answer.predictions.len(), named, "{classes} classes");
        }
    }

    #[test]
    fn number_of_classes_asked_for_is_checked() {
        let classifier = ready(FakeClassifier::new(3), json!({"image_size": 4}));
        for top_k in [0, 4] {
            let request = ClassifyRequest { image: pixels([1.0; 3]), top_k: Some(top_k) };
            let error = classifier.classify(&request).unwrap_err();
            assert_eq!((error.code(), error.field()), (Code::Invalid, Some("top_k")));
            assert!(error.to_string().contains(&format!("`{top_k}`")) && error.to_string().contains('3'), "{error}");
        }
    }
}
