//! Named tensors of a file, and what a family expects of them.

use std::collections::{BTreeMap, BTreeSet};

use seedhouse_core::{Error, Result};

use crate::huggingface::safetensors;
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
    tensors: BTreeMap<String, TensorView<'a>>,
    /// What whoever wrote the files noted in them.
    notes: BTreeMap<String, String>,
}

impl<'a> Tensors<'a> {
    /// Takes those of a torch checkpoint.
    pub(crate) fn of_checkpoint(checkpoint: Checkpoint<'a>) -> Tensors<'a> {
        let subject = checkpoint.file().to_owned();
        let tensors = checkpoint.into_tensors().into_iter().map(|(name, tensor)| (name.to_owned(), tensor));
        Tensors { subject, tensors: tensors.collect(), notes: BTreeMap::new() }
    }

    /// Reads those of safetensors files; errors call all of them `subject`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a broken header, [`Error::Unsupported`] for a type that no checkpoint has.
    pub(crate) fn of_safetensors(subject: &str, files: &[(&str, &'a [u8])]) -> Result<Tensors<'a>> {
        let (mut tensors, mut notes) = (BTreeMap::new(), BTreeMap::new());
        for (path, bytes) in files {
            let (entries, noted) = safetensors::read_with_texts(path, bytes)?;
            notes.extend(noted);
            for entry in entries {
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
                    let reason = format!("tensor {} stands here and in another file", quote(&entry.name));
                    return Err(Error::malformed(format!("file `{path}`"), reason));
                }
            }
        }
        Ok(Tensors { subject: subject.to_owned(), tensors, notes })
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

/// The names and the shapes of all tensors that a network has.
#[derive(Debug, Default)]
pub(crate) struct Expected(Vec<(String, Vec<usize>)>);

impl Expected {
    /// Adds a tensor.
    pub(crate) fn tensor(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    /// Adds the weight and the bias of a layer.
    pub(crate) fn layer(&mut self, name: &str, shape: &[usize]) {
        self.tensor(format!("{name}.weight"), shape);
        self.tensor(format!("{name}.bias"), &shape[..1]);
    }

    /// Adds a convolution without bias and the batch normalisation after it.
    pub(crate) fn normalised(&mut self, convolution: &str, norm: &str, shape: [usize; 4]) {
        self.tensor(format!("{convolution}.weight"), &shape);
        for part in NORM_PARTS {
            self.tensor(format!("{norm}.{part}"), &shape[..1]);
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
        let mut known = BTreeSet::new();
        for (name, shape) in &expected.0 {
            let found = &self.view(name)?.shape;
            if found.len() != shape.len() {
                return Err(self.wrong_shape(name, found, &format!("{} dimensions", shape.len())));
            }
            if found != shape {
                return Err(self.wrong_shape(name, found, &format!("{shape:?}")));
            }
            known.insert(name.as_str());
        }
        let is_known = |name: &str| match name.strip_suffix(COUNTER) {
            Some(norm) => known.contains(format!("{norm}running_mean").as_str()),
            None => known.contains(name),
        };
        let superfluous: Vec<&str> = self.tensors.names().filter(|name| !is_known(name)).collect();
        if let Some(first) = superfluous.first() {
            let (count, first) = (superfluous.len(), quote(first));
            let reason = format!("{count} tensors are not part of {}, the first being {first}", self.family);
            return Err(Error::malformed(&self.tensors.subject, reason));
        }
        known.into_iter().try_for_each(|name| match self.view(name)?.data_type {
            computed if computed.is_computed_with() => Ok(()),
            other => Err(self.wrong_type(name, other)),
        })
    }

    /// Returns the values of a tensor, all of them finite.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is missing or one of them is not, [`Error::Unsupported`] for its type.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.view(name)?;
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

    /// Returns the weights and the bias that do what the convolution and the batch normalisation after it do.
    ///
    /// # Errors
    /// As [`values`](Weights::values), and [`Error::Malformed`] for what f32 does not hold.
    pub(crate) fn folded(&self, convolution: &str, norm: &str, epsilon: f32) -> Result<(Vec<f32>, Vec<f32>)> {
        let name = format!("{convolution}.weight");
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
