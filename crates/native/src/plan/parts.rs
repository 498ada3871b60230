//! The packed weights of a plan: one part after the other, in the order in which compiling asks for them. They are what loads of one
//! version share, and what a plan on the disk holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seedhouse_kernels::{PackedMatrix, WeightFormat};

use crate::decoder::{NonFinite, TensorSource};

/// All weights of a model but the embeddings, of which single rows are read from the model's file.
#[derive(Debug)]
pub(crate) struct PackedParts {
    pub(super) parts: Vec<Part>,
    /// Tensors with weights that are not finite, where those are allowed.
    pub(super) non_finite: Vec<NonFinite>,
    is_fresh: AtomicBool,
}

/// A matrix or a vector.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// The names of its tensors, which stand one under the other.
    pub(super) name: String,
    pub(super) content: Content,
}

/// What a part holds.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Matrix(Arc<PackedMatrix>),
    Vector(Arc<[f32]>),
}

/// Why parts are not those of a model, for a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch(pub(super) String);

/// Where the weights of a plan come from.
pub(super) trait PartSource {
    /// Returns tensors of the same inputs, packed one under the other.
    fn matrix(&mut self, format: WeightFormat, sources: &[&TensorSource]) -> Result<Arc<PackedMatrix>, Mismatch>;

    /// Returns a vector, or a small matrix, as it is.
    fn vector(&mut self, source: &TensorSource) -> Result<Arc<[f32]>, Mismatch>;
}

impl PackedParts {
    pub(super) fn new(parts: Vec<Part>, non_finite: Vec<NonFinite>) -> PackedParts {
        PackedParts { parts, non_finite, is_fresh: AtomicBool::new(true) }
    }

    /// Returns whether no load has used them yet, and that one has from now on.
    pub(super) fn take_freshness(&self) -> bool {
        self.is_fresh.swap(false, Ordering::Relaxed)
    }

    /// Returns the bytes of its packed matrices.
    pub(super) fn matrix_bytes(&self) -> usize {
        self.parts
            .iter()
            .map(|part| if let Content::Matrix(matrix) = &part.content { matrix.bytes().len() } else { 0 })
            .sum()
    }

    /// Hands the parts out again.
    pub(super) fn ready(&self) -> ReadyParts<'_> {
        ReadyParts { left: self.parts.iter() }
    }
}

impl Part {
    pub(super) fn name_of(sources: &[&TensorSource]) -> String {
        sources.iter().map(|source| source.name()).collect::<Vec<_>>().join("+")
    }
}

/// Hands out parts that were packed before, if they are those that are asked for.
pub(super) struct ReadyParts<'p> {
    left: std::slice::Iter<'p, Part>,
}

impl<'p> ReadyParts<'p> {
    /// Insists that every part was asked for.
    pub(super) fn finish(mut self) -> Result<(), Mismatch> {
        match self.left.next() {
            None => Ok(()),
            Some(part) => Err(Mismatch(format!("the model has no place for its part `{}`", part.name.escape_debug()))),
        }
    }

    fn next(&mut self, name: &str) -> Result<&'p Content, Mismatch> {
        match self.left.next() {
            Some(part) if part.name == name => Ok(&part.content),
            Some(part) => Err(Mismatch(format!("it has `{}` in the place of `{name}`", part.name.escape_debug()))),
            None => Err(Mismatch(format!("it has no part `{name}`"))),
        }
    }
}

impl PartSource for ReadyParts<'_> {
    fn matrix(&mut self, format: WeightFormat, sources: &[&TensorSource]) -> Result<Arc<PackedMatrix>, Mismatch> {
        let name = Part::name_of(sources);
        let wanted = (format, sources.iter().map(|source| source.outputs()).sum::<usize>(), sources[0].inputs());
        match self.next(&name)? {
            Content::Matrix(matrix) if (matrix.format(), matrix.outputs(), matrix.inputs()) == wanted => {
                Ok(Arc::clone(matrix))
            }
            _ => Err(Mismatch(format!(
                "its part `{name}` is not the {} x {} in {:?} of the model",
                wanted.1, wanted.2, wanted.0
            ))),
        }
    }

    fn vector(&mut self, source: &TensorSource) -> Result<Arc<[f32]>, Mismatch> {
        let (name, wanted) = (source.name(), source.outputs() * source.inputs());
        match self.next(name)? {
            Content::Vector(values) if values.len() == wanted => Ok(Arc::clone(values)),
            _ => Err(Mismatch(format!("its part `{name}` is not the vector of {wanted} of the model"))),
        }
    }
}
