//! Named tensors of a file, and what a family expects of them.

use std::collections::BTreeMap;

use seedhouse_core::{Error, QuantizationType, Result};

use crate::huggingface::safetensors;
use crate::quantization::{self, Quantized, Split};
use crate::quote::quote;
use crate::torch::checkpoint::{Checkpoint, DataType, TensorView};

/// What batch normalisation has for each channel.
const NORM_PARTS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// How many batches a normalisation has seen, which counts for nothing here.
const COUNTER: &str = "num_batches_tracked";

/// The tensors of a file, or of the files of a folder.
#[derive(Debug)]
pub(crate) struct Tensors<'a> {
    subject: String,
    /// Quantised ones have the shape of their weights here; their numbers are among `quantized`.
    tensors: BTreeMap<String, TensorView<'a>>,
    quantized: BTreeMap<String, Quantized<'a>>,
    /// The type of quantised files.
    quantization: Option<QuantizationType>,
    /// What whoever wrote the files noted in them.
    notes: BTreeMap<String, String>,
}

impl<'a> Tensors<'a> {
    /// Takes those of a torch checkpoint.
    pub(crate) fn of_checkpoint(checkpoint: Checkpoint<'a>) -> Tensors<'a> {
        let subject = checkpoint.file().to_owned();
        let tensors = checkpoint.into_tensors().into_iter().map(|(name, tensor)| (name.to_owned(), tensor));
        let (quantized, notes) = (BTreeMap::new(), BTreeMap::new());
        Tensors { subject, tensors: tensors.collect(), quantized, quantization: None, notes }
    }

    /// Reads those of safetensors files; errors call all of them `subject`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a broken header and for quantised tensors that are none, [`Error::Unsupported`] for a type that no
    /// checkpoint has.
    pub(crate) fn of_safetensors(subject: &str, files: &[(&str, &'a [u8])]) -> Result<Tensors<'a>> {
        let (mut tensors, mut all_quantized, mut notes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut quantization = None;
        for (number, (path, bytes)) in files.iter().enumerate() {
            let (entries, noted) = safetensors::read_with_texts(path, bytes)?;
            let Split { kind, plain, quantized } = quantization::split(path, bytes, entries, &noted)?;
            if number > 0 && kind != quantization {
                let reason = "it is quantised in another way than the files before it";
                return Err(Error::malformed(format!("file `{path}`"), reason));
            }
            quantization = kind;
            notes.extend(noted);
            for entry in plain {
                let Some(data_type) = DataType::of_name(&entry.dtype) else {
                    let reason = format!("it is {}; F32, F16 and BF16 are computed with", quote(&entry.dtype));
                    return Err(Error::unsupported(format!("tensor {} of `{path}`", quote(&entry.name)), reason));
                };
                let sizes = entry.shape.iter().map(|size| usize::try_from(*size));
                let shape = sizes.collect::<Result<Vec<usize>, _>>().map_err(|_| {
                    Error::malformed(format!("file `{path}`"), format!("tensor {} is too large", quote(&entry.name)))
                })?;
                let view = TensorView::dense(data_type, shape, &bytes[entry.range]);
                if tensors.insert(entry.name.clone(), view).is_some() {
                    return Err(twice(path, &entry.name));
                }
            }
            for entry in quantized {
                let (integers, scales) = (&bytes[entry.integers], &bytes[entry.scales]);
                let view = TensorView::dense(DataType::I8, entry.layout.shape().to_vec(), integers);
                if tensors.insert(entry.name.clone(), view).is_some() {
                    return Err(twice(path, &entry.name));
                }
                all_quantized.insert(entry.name, Quantized { layout: entry.layout, integers, scales });
            }
        }
        Ok(Tensors { subject: subject.to_owned(), tensors, quantized: all_quantized, quantization, notes })
    }

    /// Returns whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns what whoever wrote the files noted under a name.
    pub(crate) fn note(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(String::as_str)
    }

    /// Leaves out a tensor that is no weight, if it is there.
    pub(crate) fn forget(&mut self, name: &str) {
        self.tensors.remove(name);
    }

    /// Returns the type of a quantised file.
    pub(crate) fn quantization(&self) -> Option<QuantizationType> {
        self.quantization
    }

    /// Returns whether batch normalisation stands folded into convolutions.
    pub(crate) fn is_folded(&self) -> bool {
        self.quantization.is_some()
    }

    /// Returns whether there is a convolution with the batch normalisation after it, as it was trained or folded.
    pub(crate) fn has_normalised(&self, convolution: &str, norm: &str) -> bool {
        let other = match self.is_folded() {
            true => format!("{convolution}.bias"),
            false => format!("{norm}.running_mean"),
        };
        self.has(&format!("{convolution}.weight")) && self.has(&other)
    }

    /// Returns the names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns what errors call the file.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the tensors by name.
    pub(crate) fn all(&self) -> &BTreeMap<String, TensorView<'a>> {
        &self.tensors
    }
}

/// The error about a tensor that two files have.
fn twice(path: &str, name: &str) -> Error {
    Error::malformed(format!("file `{path}`"), format!("tensor {} stands here and in another file", quote(name)))
}

/// The names and the shapes of all tensors that a network has.
#[derive(Debug, Default)]
pub(crate) struct Expected(Vec<Item>);

#[derive(Debug)]
enum Item {
    Tensor(ExpectedTensor),
    Normalised(Normalised),
}

/// A tensor that a network has.
#[derive(Debug, Clone)]
pub(crate) struct ExpectedTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) part: Part,
}

/// What a network does with a tensor, which decides how it may be rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is not rounded.
    Exact,
    /// A matrix `[outputs, inputs]`.
    Matrix,
    /// A convolution `[outputs, inputs, height, width]`.
    Filter,
    /// A transposed convolution `[inputs, outputs, height, width]`.
    Transposed,
    /// A convolution of doubled pixels, which is computed as a transposed one.
    Doubling,
    /// Vectors that are looked up.
    Table,
}

/// A convolution without bias and the batch normalisation after it.
#[derive(Debug)]
pub(crate) struct Normalised {
    pub(crate) convolution: String,
    pub(crate) norm: String,
    pub(crate) shape: [usize; 4],
    /// What is added to the variance.
    pub(crate) epsilon: f32,
    /// What the folded weights are.
    pub(crate) part: Part,
}

impl Expected {
    /// Adds a tensor that is not rounded.
    pub(crate) fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.add(name, shape, Part::Exact);
    }

    /// Adds a tensor that is a part of the network.
    pub(crate) fn add(&mut self, name: impl Into<String>, shape: &[usize], part: Part) {
        self.0.push(Item::Tensor(ExpectedTensor { name: name.into(), shape: shape.to_vec(), part }));
    }

    /// Adds the weight and the bias of a layer: a matrix, a convolution or a norm, by its dimensions.
    pub(crate) fn layer(&mut self, name: &str, shape: &[usize]) {
        let part = match shape.len() {
            2 => Part::Matrix,
            4 => Part::Filter,
            _ => Part::Exact,
        };
        self.add(format!("{name}.weight"), shape, part);
        self.tensor(format!("{name}.bias"), &shape[..1]);
    }

    /// Adds the weight and the bias of a layer that is not rounded.
    pub(crate) fn exact_layer(&mut self, name: &str, shape: &[usize]) {
        self.tensor(format!("{name}.weight"), shape);
        self.tensor(format!("{name}.bias"), &shape[..1]);
    }

    /// Adds a convolution without bias and the batch normalisation after it.
    pub(crate) fn normalised(&mut self, [convolution, norm]: [&str; 2], shape: [usize; 4], epsilon: f32, part: Part) {
        let (convolution, norm) = (convolution.to_owned(), norm.to_owned());
        self.0.push(Item::Normalised(Normalised { convolution, norm, shape, epsilon, part }));
    }

    /// Returns every tensor, with batch normalisation as it was trained or folded.
    pub(crate) fn tensors(&self, is_folded: bool) -> Vec<ExpectedTensor> {
        let mut all = Vec::new();
        for item in &self.0 {
            match item {
                Item::Tensor(tensor) => all.push(tensor.clone()),
                Item::Normalised(normalised) => all.extend(normalised.tensors(is_folded)),
            }
        }
        all
    }

    /// Returns the tensors of everything that has no batch normalisation.
    pub(crate) fn plain(&self) -> impl Iterator<Item = &ExpectedTensor> {
        self.0.iter().filter_map(|item| match item {
            Item::Tensor(tensor) => Some(tensor),
            Item::Normalised(_) => None,
        })
    }

    /// Returns the convolutions with batch normalisation.
    pub(crate) fn all_normalised(&self) -> impl Iterator<Item = &Normalised> {
        self.0.iter().filter_map(|item| match item {
            Item::Tensor(_) => None,
            Item::Normalised(normalised) => Some(normalised),
        })
    }
}

impl Normalised {
    fn tensors(&self, is_folded: bool) -> Vec<ExpectedTensor> {
        let Normalised { convolution, norm, shape, part, .. } = self;
        let vector = |name: String| ExpectedTensor { name, shape: vec![shape[0]], part: Part::Exact };
        let part = if is_folded { *part } else { Part::Exact };
        let mut all = vec![ExpectedTensor { name: format!("{convolution}.weight"), shape: shape.to_vec(), part }];
        match is_folded {
            true => all.push(vector(format!("{convolution}.bias"))),
            false => all.extend(NORM_PARTS.map(|part| vector(format!("{norm}.{part}")))),
        }
        all
    }
}

impl Part {
    /// Returns whether products are computed with integers of this layout.
    fn takes(self, layout: &quantization::Layout) -> bool {
        match self {
            Part::Matrix => layout.axis() == 0,
            Part::Filter => layout.axis() == 0 && !layout.has_groups(),
            Part::Transposed => layout.axis() == 1 && !layout.has_groups(),
            Part::Exact | Part::Doubling | Part::Table => false,
        }
    }
}

/// Tensors as those of a family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'t> {
    pub(crate) tensors: &'t Tensors<'t>,
    /// The family's name in messages.
    pub(crate) family: &'static str,
}

impl Weights<'_> {
    /// Returns the sizes of a tensor of so many dimensions, none of which is 0.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is missing or has another shape.
    pub(crate) fn sizes<const DIMENSIONS: usize>(&self, name: &str) -> Result<[usize; DIMENSIONS]> {
        let shape = &self.view(name)?.shape;
        let sizes = <[usize; DIMENSIONS]>::try_from(&shape[..])
            .map_err(|_| self.wrong_shape(name, shape, &format!("{DIMENSIONS} dimensions")))?;
        match sizes.contains(&0) {
            true => Err(self.wrong_shape(name, shape, "no dimension of 0")),
            false => Ok(sizes),
        }
    }

    /// Holds the tensors against what the network has: names, shapes, types.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is missing, superfluous or of another shape, [`Error::Unsupported`] for a type that is not
    /// computed with.
    pub(crate) fn check(&self, expected: &Expected) -> Result<()> {
        let expected = expected.tensors(self.tensors.is_folded());
        let mut known = BTreeMap::new();
        for ExpectedTensor { name, shape, part } in &expected {
            let found = &self.view(name)?.shape;
            if found.len() != shape.len() {
                return Err(self.wrong_shape(name, found, &format!("{} dimensions", shape.len())));
            }
            if found != shape {
                return Err(self.wrong_shape(name, found, &format!("{shape:?}")));
            }
            known.insert(name.as_str(), *part);
        }
        let is_known = |name: &str| match name.strip_suffix(COUNTER) {
            Some(norm) => known.contains_key(format!("{norm}running_mean").as_str()),
            None => known.contains_key(name),
        };
        let superfluous: Vec<&str> = self.tensors.names().filter(|name| !is_known(name)).collect();
        if let Some(first) = superfluous.first() {
            let (count, first) = (superfluous.len(), quote(first));
            let reason = format!("{count} tensors are not part of {}, the first being {first}", self.family);
            return Err(Error::malformed(&self.tensors.subject, reason));
        }
        known.into_iter().try_for_each(|(name, part)| match (self.quantized(name), self.view(name)?.data_type) {
            (Some(quantized), _) if !part.takes(&quantized.layout) => {
                let (kind, family) = (quantized.layout.kind(), self.family);
                let reason = format!("tensor `{name}` is quantised to `{kind}`, which {family} cannot have there");
                Err(Error::malformed(&self.tensors.subject, reason))
            }
            (Some(_), _) => Ok(()),
            (None, computed) if computed.is_computed_with() => Ok(()),
            (None, other) => Err(self.wrong_type(name, other)),
        })
    }

    /// Returns a quantised tensor.
    pub(crate) fn quantized(&self, name: &str) -> Option<&Quantized<'_>> {
        self.tensors.quantized.get(name)
    }

    /// Returns a tensor as it is stored.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is missing.
    pub(crate) fn stored(&self, name: &str) -> Result<&TensorView<'_>> {
        self.view(name)
    }

    /// Returns the values of a tensor, all of them finite.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is missing or one of them is not, [`Error::Unsupported`] for its type.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.view(name)?;
        if let Some(quantized) = self.quantized(name) {
            return Ok(quantized.to_f32());
        }
        let values = tensor.to_f32().ok_or_else(|| self.wrong_type(name, tensor.data_type))?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(place) => {
                let reason = format!("value {place} of tensor `{name}` is {}, not finite", values[place]);
                Err(Error::malformed(&self.tensors.subject, reason))
            }
        }
    }

    /// Returns the type in which a tensor is stored.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is missing.
    pub(crate) fn data_type(&self, name: &str) -> Result<DataType> {
        self.view(name).map(|view| view.data_type)
    }

    /// Returns the weights and the bias that do what the convolution and the batch normalisation after it do. They may be folded already.
    ///
    /// # Errors
    /// As [`values`](Weights::values), and [`Error::Malformed`] for what f32 does not hold.
    pub(crate) fn folded(&self, convolution: &str, norm: &str, epsilon: f32) -> Result<(Vec<f32>, Vec<f32>)> {
        let name = format!("{convolution}.weight");
        if self.tensors.is_folded() {
            return Ok((self.values(&name)?, self.values(&format!("{convolution}.bias"))?));
        }
        let mut weights = self.values(&name)?;
        let [gain, shift, mean, variance] = NORM_PARTS.map(|part| self.values(&format!("{norm}.{part}")));
        let (gain, mut bias, mean, variance) = (gain?, shift?, mean?, variance?);
        let malformed = |reason: String| Err(Error::malformed(&self.tensors.subject, reason));
        if let Some(negative) = variance.iter().find(|value| **value < 0.0) {
            return malformed(format!("tensor `{norm}.running_var` has the negative variance {negative}"));
        }
        let per_channel = weights.len() / gain.len();
        for (channel, weights) in weights.chunks_mut(per_channel).enumerate() {
            let scale = gain[channel] / (variance[channel] + epsilon).sqrt();
            weights.iter_mut().for_each(|weight| *weight *= scale);
            bias[channel] -= mean[channel] * scale;
        }
        if weights.iter().chain(&bias).any(|value| !value.is_finite()) {
            return malformed(format!("tensor `{name}` normalised by `{norm}` is beyond what f32 holds"));
        }
        Ok((weights, bias))
    }

    fn view(&self, name: &str) -> Result<&TensorView<'_>> {
        self.tensors.tensors.get(name).ok_or_else(|| {
            let reason = format!("tensor `{name}` of {} is missing", self.family);
            Error::malformed(&self.tensors.subject, reason)
        })
    }

    /// Returns the error about a shape.
    pub(crate) fn wrong_shape(&self, name: &str, found: &[usize], expected: &str) -> Error {
        let reason = format!("tensor `{name}` has the shape {found:?}, but {} has {expected} there", self.family);
        Error::malformed(&self.tensors.subject, reason)
    }

    fn wrong_type(&self, name: &str, found: DataType) -> Error {
        Error::unsupported(
            format!("tensor `{name}` of {}", self.tensors.subject),
            format!("it is {}; F32, F16 and BF16 are computed with", found.as_str()),
        )
    }
}
