//! A tensor as its file has it, before a role claims it. What it says about its place was checked against the file.

use std::fmt;
use std::sync::Arc;

use seedhouse_core::{Error, Result};

use super::naming::Layout;
use super::role::RoleShape;
use super::source::{QuantizedRows, Steps, TensorSource};
use super::storage::Storage;
use crate::gguf::TensorInfo;
use crate::mapped_file::MappedFile;
use crate::quantization::QuantizedEntry;
use crate::quote::quote;

/// Dimensions, outermost first, and how their format writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredShape {
    pub(super) sizes: Vec<usize>,
    pub(super) order: ShapeOrder,
}

/// Which dimension a format writes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShapeOrder {
    Outermost,
    /// GGUF: `[columns, rows]`.
    Innermost,
}

impl fmt::Display for StoredShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sizes = self.sizes.clone();
        if self.order == ShapeOrder::Innermost {
            sizes.reverse();
        }
        write!(formatter, "{sizes:?}")
    }
}

/// One tensor of a file.
#[derive(Debug, Clone)]
pub(super) struct StoredTensor {
    pub(super) name: Arc<str>,
    /// What errors call the file.
    pub(super) subject: Arc<str>,
    pub(super) file: Arc<MappedFile>,
    /// The type as the file names it.
    pub(super) type_name: String,
    pub(super) shape: StoredShape,
    /// Distance between neighbours along each dimension, in numbers.
    pub(super) strides: Vec<usize>,
    /// Where its first byte stands in the file.
    pub(super) start: usize,
    /// Where the integers and the scales of a quantised tensor stand.
    pub(super) quantized: Option<Arc<QuantizedEntry>>,
}

/// What a role asks for.
pub(super) struct Wanted {
    pub(super) shape: RoleShape,
    pub(super) layout: Layout,
    /// Where the role begins in the outputs of the tensor, and how many those are, where roles share one.
    pub(super) place_in_fused: (usize, usize),
    /// Whether the numbers are looked up and added, never multiplied.
    pub(super) is_exact: bool,
    /// Who says so, for errors.
    pub(super) asked_by: &'static str,
}

impl Wanted {
    /// Returns the dimensions that the tensor must have, outermost first.
    pub(super) fn sizes(&self) -> Vec<usize> {
        let total = |outputs| if self.layout.is_fused { self.place_in_fused.1 } else { outputs };
        match self.shape {
            RoleShape::Vector(length) => vec![total(length)],
            RoleShape::Matrix { outputs, inputs } if self.layout.is_transposed => vec![inputs, total(outputs)],
            RoleShape::Matrix { outputs, inputs } => vec![total(outputs), inputs],
        }
    }
}

impl StoredTensor {
    /// Returns a tensor whose numbers follow each other row by row.
    pub(super) fn dense(
        (name, subject, file): (&str, &Arc<str>, &Arc<MappedFile>),
        type_name: &str,
        shape: StoredShape,
        start: usize,
    ) -> StoredTensor {
        let mut strides = vec![1_usize; shape.sizes.len()];
        for dimension in (1..strides.len()).rev() {
            // An empty tensor may have dimensions whose product overflows; no role asks for one.
            strides[dimension - 1] = strides[dimension].saturating_mul(shape.sizes[dimension]);
        }
        StoredTensor {
            name: name.into(),
            subject: Arc::clone(subject),
            file: Arc::clone(file),
            type_name: type_name.to_owned(),
            shape,
            strides,
            start,
            quantized: None,
        }
    }

    /// Returns a quantised tensor, which has the shape that it had before.
    pub(super) fn quantized(
        subject: &Arc<str>,
        file: &Arc<MappedFile>,
        entry: QuantizedEntry,
        order: ShapeOrder,
    ) -> StoredTensor {
        let shape = StoredShape { sizes: entry.layout.shape().to_vec(), order };
        let name = (entry.name.as_str(), subject, file);
        let dense = StoredTensor::dense(name, entry.layout.kind().as_str(), shape, entry.integers.start);
        StoredTensor { quantized: Some(Arc::new(entry)), ..dense }
    }

    /// Returns a tensor whose place the reader of GGUF checked.
    pub(super) fn of_gguf(subject: &Arc<str>, file: &Arc<MappedFile>, tensor: &TensorInfo<'_>) -> StoredTensor {
        let in_memory = |size: &u64| usize::try_from(*size).expect("the tensor lies in a mapped file");
        let sizes = tensor.shape.0.iter().rev().map(in_memory).collect();
        let shape = StoredShape { sizes, order: ShapeOrder::Innermost };
        StoredTensor::dense((tensor.name, subject, file), tensor.tensor_type.name, shape, tensor.range().start)
    }

    /// Returns the numbers that a role asks for.
    ///
    /// # Errors
    /// [`Error::Malformed`] for another shape, [`Error::Unsupported`] for a type that cannot be read.
    pub(super) fn source(&self, wanted: &Wanted) -> Result<TensorSource> {
        let sizes = StoredShape { sizes: wanted.sizes(), order: self.shape.order };
        if self.shape != sizes {
            let name = quote(&self.name);
            let reason =
                format!("tensor {name} has the shape {}, but {} asks for {sizes}", self.shape, wanted.asked_by);
            return Err(Error::malformed(&*self.subject, reason));
        }
        if let Some(entry) = &self.quantized {
            return self.quantized_source(entry, wanted);
        }
        let storage = self.storage(wanted)?;
        let first = if wanted.layout.is_fused { wanted.place_in_fused.0 } else { 0 };
        let (outputs, inputs, steps, first_number) = match wanted.shape {
            RoleShape::Vector(length) => {
                let steps = Steps { output: length, input: self.strides[0] };
                (1, length, steps, first * self.strides[0])
            }
            RoleShape::Matrix { outputs, inputs } => {
                let (output, input) = if wanted.layout.is_transposed { (1, 0) } else { (0, 1) };
                let steps = Steps { output: self.strides[output], input: self.strides[input] };
                (outputs, inputs, steps, first * steps.output)
            }
        };
        // Rows of quantised types are whole blocks.
        let first_byte = first_number / storage.block_numbers() * storage.block_bytes();
        Ok(TensorSource {
            name: Arc::clone(&self.name),
            subject: Arc::clone(&self.subject),
            file: Arc::clone(&self.file),
            storage,
            outputs,
            inputs,
            start: self.start + first_byte,
            steps,
            is_transposed: wanted.layout.is_transposed,
            quantized: None,
        })
    }

    fn quantized_source(&self, entry: &Arc<QuantizedEntry>, wanted: &Wanted) -> Result<TensorSource> {
        let RoleShape::Matrix { outputs, inputs } = wanted.shape else { return Err(self.must_be_plain()) };
        if wanted.is_exact || (entry.layout.axis() == 1) != wanted.layout.is_transposed {
            return Err(self.must_be_plain());
        }
        let first = if wanted.layout.is_fused { wanted.place_in_fused.0 } else { 0 };
        Ok(TensorSource {
            name: Arc::clone(&self.name),
            subject: Arc::clone(&self.subject),
            file: Arc::clone(&self.file),
            storage: QuantizedRows::storage(&entry.layout),
            outputs,
            inputs,
            start: self.start,
            steps: Steps { output: self.strides[0], input: 1 },
            is_transposed: wanted.layout.is_transposed,
            quantized: Some(QuantizedRows { entry: Arc::clone(entry), first }),
        })
    }

    fn must_be_plain(&self) -> Error {
        let reason = format!("tensor {} is quantised to `{}`, which it cannot be", quote(&self.name), self.type_name);
        Error::malformed(&*self.subject, reason)
    }

    /// Vectors are plain numbers everywhere, and only those can be read along columns.
    fn storage(&self, wanted: &Wanted) -> Result<Storage> {
        let plain = [Storage::F32, Storage::F16, Storage::BF16];
        let is_plain_only = wanted.layout.is_transposed || matches!(wanted.shape, RoleShape::Vector(_));
        let known = if is_plain_only { &plain[..] } else { &Storage::ALL[..] };
        let found = known.iter().copied().find(|storage| storage.name() == self.type_name);
        found.ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|storage| storage.name()).collect();
            Error::unsupported(
                format!("type {} of tensor {}", self.type_name, quote(&self.name)),
                format!("this runtime computes with {}", names.join(", ")),
            )
        })
    }
}
