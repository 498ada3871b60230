//! What a file says about itself.

use seedhouse_core::tabular::{Encoding, FeatureKind, Outcome, Table};
use seedhouse_core::{Error, Result};
use seedhouse_kernels::{Level, Nonlinearity, rows};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::layers::{Expected, Weights};

/// The version of the format that is read.
const FORMAT_VERSION: u64 = 1;

/// More than networks for tables have.
const MOST_LAYERS: usize = 64;

/// Far longer than a declaration of as many features as are allowed, and short enough to be parsed whole.
const MOST_BYTES: usize = 16 << 20;

/// The declaration of a file.
#[derive(Debug)]
pub(super) struct Declaration {
    pub(super) table: Table,
    /// What becomes of the numbers of each layer.
    pub(super) activations: Vec<Activation>,
    /// `features`, and `classes` or `targets`, as they are written.
    written: Map<String, Value>,
}

/// What becomes of the numbers of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Activation {
    None,
    Relu,
    Relu6,
    Silu,
    Gelu,
    GeluTanh,
    Tanh,
    Sigmoid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format_version: u64,
    task: Task,
    #[serde(default)]
    features: Value,
    #[serde(default)]
    classes: Value,
    #[serde(default)]
    targets: Value,
    layers: Vec<WrittenLayer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Task {
    Classification,
    Regression,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLayer {
    activation: Activation,
}

/// Looked at before anything else, so that a later format is called that and not a broken one.
#[derive(Deserialize)]
struct Version {
    format_version: u64,
}

impl Activation {
    /// Replaces each number of a row.
    pub(super) fn apply(self, level: Level, numbers: &mut [f32]) {
        let whole = |function: fn(Level, &[f32], &mut [f32]), numbers: &mut [f32]| {
            let before = numbers.to_vec();
            function(level, &before, numbers);
        };
        match self {
            Activation::None => {}
            Activation::Relu => Nonlinearity::Relu.apply(level, numbers),
            Activation::Relu6 => Nonlinearity::Relu6.apply(level, numbers),
            Activation::Silu => Nonlinearity::Silu.apply(level, numbers),
            Activation::Gelu => Nonlinearity::GeluErf.apply(level, numbers),
            Activation::GeluTanh => Nonlinearity::GeluTanh.apply(level, numbers),
            Activation::Tanh => whole(rows::tanh, numbers),
            Activation::Sigmoid => whole(rows::sigmoid, numbers),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Activation::None => "none",
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
        }
    }
}

impl Declaration {
    /// Reads the text in the file called `path`.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the field that breaks a rule, [`Error::Unsupported`] for a later version of the format.
    pub(super) fn read(path: &str, text: &str) -> Result<Declaration> {
        let malformed = |reason: String| Error::malformed(format!("`{}` of file `{path}`", super::KEY), reason);
        if text.len() > MOST_BYTES {
            return Err(malformed(format!("it has {} bytes, and {MOST_BYTES} is the limit", text.len())));
        }
        let version: Version = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        if version.format_version != FORMAT_VERSION {
            return Err(Error::unsupported(
                format!("`format_version` {} of file `{path}`", version.format_version),
                format!("version {FORMAT_VERSION} is read"),
            ));
        }
        let written: Written = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        debug_assert_eq!(written.format_version, FORMAT_VERSION);
        let parts = [("features", written.features), ("classes", written.classes), ("targets", written.targets)];
        let declared: Map<String, Value> =
            parts.into_iter().filter(|(_, part)| !part.is_null()).map(|(name, part)| (name.to_owned(), part)).collect();
        let table = Table::read("", &declared).map_err(|error| malformed(error.to_string()))?;
        match (&written.task, &table.outcome) {
            (Task::Classification, Outcome::Classes(_)) | (Task::Regression, Outcome::Targets(_)) => {}
            (Task::Classification, Outcome::Targets(_)) => {
                return Err(malformed("`task` is `classification`, but there are `targets`".into()));
            }
            (Task::Regression, Outcome::Classes(_)) => {
                return Err(malformed("`task` is `regression`, but there are `classes`".into()));
            }
        }
        let activations: Vec<Activation> = written.layers.iter().map(|layer| layer.activation).collect();
        if activations.is_empty() || activations.len() > MOST_LAYERS {
            return Err(malformed(format!(
                "it has {} `layers`, but there must be 1 to {MOST_LAYERS}",
                activations.len()
            )));
        }
        if let Some(last) = activations.last().filter(|last| **last != Activation::None) {
            let name = last.name();
            return Err(malformed(format!("the activation of the last layer is `{name}`, but it must be `none`")));
        }
        Ok(Declaration { table, activations, written: declared })
    }

    /// Returns the inputs of the first layer, then the outputs of each, as the tensors say.
    ///
    /// # Errors
    /// [`Error::Malformed`] when a weight is missing or no matrix.
    pub(super) fn layers(&self, weights: &Weights<'_>) -> Result<Vec<usize>> {
        let mut widths = vec![self.table.input_width()];
        for layer in 0..self.activations.len() {
            let [outputs, _] = weights.sizes::<2>(&format!("layers.{layer}.weight"))?;
            widths.push(outputs);
        }
        // What the last one gives is declared.
        widths.truncate(self.activations.len());
        widths.push(self.table.output_width());
        Ok(widths)
    }

    /// Returns the tensors of a network with layers of these widths.
    pub(super) fn expected(&self, widths: &[usize]) -> Expected {
        let mut expected = Expected::default();
        for (layer, pair) in widths.windows(2).enumerate() {
            expected.layer(&format!("layers.{layer}"), &[pair[1], pair[0]]);
        }
        for (place, categories, width) in self.embeddings() {
            expected.tensor(embedding_name(place), &[categories, width]);
        }
        expected
    }

    /// Returns the place of each feature with an embedding, the number of its categories, and the width.
    pub(super) fn embeddings(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.table.features.iter().enumerate().filter_map(|(place, feature)| match &feature.kind {
            FeatureKind::Categorical { categories, encoding: Encoding::Embedding(width) } => {
                Some((place, categories.len(), *width))
            }
            FeatureKind::Numeric { .. } | FeatureKind::Boolean | FeatureKind::Categorical { .. } => None,
        })
    }

    /// Returns what the engine must know.
    pub(super) fn declared(&self) -> Map<String, Value> {
        self.written.clone()
    }

    /// Returns what the file says, in the record's names.
    pub(super) fn hyper_parameters(&self, widths: &[usize]) -> Map<String, Value> {
        let mut found = self.written.clone();
        let outcome = match self.table.outcome {
            Outcome::Classes(_) => "num_classes",
            Outcome::Targets(_) => "num_targets",
        };
        found.insert("num_features".into(), self.table.features.len().into());
        found.insert(outcome.into(), self.table.output_width().into());
        let layers = self.activations.iter().zip(&widths[1..]);
        let layer =
            |(activation, outputs): (&Activation, &usize)| json!({"outputs": outputs, "activation": activation.name()});
        found.insert("layers".into(), layers.map(layer).collect());
        found
    }
}

/// Returns the name of the tensor with the embeddings of the feature at a place.
pub(super) fn embedding_name(place: usize) -> String {
    format!("embeddings.{place}.weight")
}
