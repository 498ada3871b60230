//! A checkpoint as named views into the bytes of its file.

use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};
use seedhouse_core::{Error, Result};

use super::{archive, legacy, pickle};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataType {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl DataType {
    /// Returns the name that inspections count under.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DataType::F64 => "F64",
            DataType::F32 => "F32",
            DataType::F16 => "F16",
            DataType::Bf16 => "BF16",
            DataType::I64 => "I64",
            DataType::I32 => "I32",
            DataType::I16 => "I16",
            DataType::I8 => "I8",
            DataType::U8 => "U8",
            DataType::Bool => "BOOL",
        }
    }

    /// Returns whether f32 holds each value of the type; what [`TensorView::to_f32`] converts.
    pub(crate) fn is_computed_with(self) -> bool {
        matches!(self, DataType::F32 | DataType::F16 | DataType::Bf16)
    }

    /// Returns the type of a name that [`as_str`](DataType::as_str) gives, which is also that of safetensors.
    pub(crate) fn of_name(name: &str) -> Option<DataType> {
        const ALL: [DataType; 10] = [
            DataType::F64,
            DataType::F32,
            DataType::F16,
            DataType::Bf16,
            DataType::I64,
            DataType::I32,
            DataType::I16,
            DataType::I8,
            DataType::U8,
            DataType::Bool,
        ];
        ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// Returns how many bytes an element takes.
    pub(crate) fn size_bytes(self) -> usize {
        match self {
            DataType::F64 | DataType::I64 => 8,
            DataType::F32 | DataType::I32 => 4,
            DataType::F16 | DataType::Bf16 | DataType::I16 => 2,
            DataType::I8 | DataType::U8 | DataType::Bool => 1,
        }
    }
}

/// The tensors of a state dict.
#[derive(Debug)]
pub(crate) struct Checkpoint<'a> {
    file: String,
    tensors: BTreeMap<&'a str, TensorView<'a>>,
}

impl<'a> Checkpoint<'a> {
    /// Reads either layout. Errors name `file`.
    ///
    /// # Errors
    /// [`Error::Malformed`] and [`Error::Unsupported`] as [`super::inspect`] says.
    pub(crate) fn read(file: &str, bytes: &'a [u8]) -> Result<Checkpoint<'a>> {
        let tensors = if legacy::has_magic(bytes) {
            legacy::read(file, bytes)?
        } else if pickle::looks_like_one(bytes) {
            return Err(refuse_bare_pickle(file, bytes));
        } else {
            archive::read(file, bytes)?
        };
        Ok(Checkpoint { file: file.to_owned(), tensors })
    }

    /// Returns the name of the file, for errors.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Returns the tensors by name.
    pub(crate) fn tensors(&self) -> &BTreeMap<&'a str, TensorView<'a>> {
        &self.tensors
    }

    /// Returns the tensors by name, without the checkpoint.
    pub(crate) fn into_tensors(self) -> BTreeMap<&'a str, TensorView<'a>> {
        self.tensors
    }
}

/// Says what is wrong with a pickle that torch did not write: what it would have run, if it is that bad.
fn refuse_bare_pickle(file: &str, bytes: &[u8]) -> Error {
    pickle::parse(file, bytes, 0).err().unwrap_or_else(|| {
        Error::malformed(file, "it is a pickle without the magic number of torch checkpoints; nothing was executed")
    })
}

/// A tensor within its storage. Every element lies inside; [`super::state_dict`] has checked it.
#[derive(Debug)]
pub(crate) struct TensorView<'a> {
    /// The type of the elements.
    pub(crate) data_type: DataType,
    /// Dimensions, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Distance between neighbours along each dimension, in elements.
    pub(super) strides: Vec<usize>,
    /// The storage from the first element on.
    pub(super) bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Returns a tensor whose elements are `bytes`, in row-major order; there are as many as the shape says.
    pub(crate) fn dense(data_type: DataType, shape: Vec<usize>, bytes: &'a [u8]) -> TensorView<'a> {
        let mut strides = vec![1_usize; shape.len()];
        for dimension in (1..strides.len()).rev() {
            // An empty tensor may have dimensions whose product overflows; nothing is read of it.
            strides[dimension - 1] = strides[dimension].saturating_mul(shape[dimension]);
        }
        TensorView { data_type, shape, strides, bytes }
    }
}

impl TensorView<'_> {
    /// Returns the number of elements.
    pub(crate) fn element_count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns the distance between neighbours along each dimension, in elements.
    pub(crate) fn strides(&self) -> &[usize] {
        &self.strides
    }

    /// Returns where the first element stands in the bytes that the checkpoint was read from; of a tensor without elements,
    /// anywhere.
    pub(crate) fn start_in(&self, file: &[u8]) -> usize {
        self.bytes.as_ptr().addr().saturating_sub(file.as_ptr().addr())
    }

    /// Returns some of the rows along the first dimension.
    ///
    /// # Panics
    /// When there are no such rows.
    pub(crate) fn rows(&self, rows: Range<usize>) -> TensorView<'_> {
        assert!(rows.end <= self.shape[0], "the tensor has the rows");
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        let start = rows.start * self.strides[0] * self.data_type.size_bytes();
        let bytes = if rows.is_empty() { &[] } else { &self.bytes[start..] };
        TensorView { data_type: self.data_type, shape, strides: self.strides.clone(), bytes }
    }

    /// Returns the same elements with the first two dimensions exchanged.
    ///
    /// # Panics
    /// When there are fewer.
    pub(crate) fn transposed(&self) -> TensorView<'_> {
        let (mut shape, mut strides) = (self.shape.clone(), self.strides.clone());
        shape.swap(0, 1);
        strides.swap(0, 1);
        TensorView { data_type: self.data_type, shape, strides, bytes: self.bytes }
    }

    /// Copies the bytes of the elements in row-major order.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self.data_type.size_bytes() {
            8 => self.gather::<8, _>(|bytes| bytes).into_flattened(),
            4 => self.gather::<4, _>(|bytes| bytes).into_flattened(),
            2 => self.gather::<2, _>(|bytes| bytes).into_flattened(),
            _ => self.gather::<1, _>(|bytes| bytes).into_flattened(),
        }
    }

    /// Copies the elements in row-major order, or returns `None` when f32 cannot hold each value of their type.
    pub(crate) fn to_f32(&self) -> Option<Vec<f32>> {
        match self.data_type {
            DataType::F32 => Some(self.gather(f32::from_le_bytes)),
            DataType::F16 => Some(self.gather(|bytes| f16::from_le_bytes(bytes).to_f32())),
            DataType::Bf16 => Some(self.gather(|bytes| bf16::from_le_bytes(bytes).to_f32())),
            DataType::F64
            | DataType::I64
            | DataType::I32
            | DataType::I16
            | DataType::I8
            | DataType::U8
            | DataType::Bool => None,
        }
    }

    /// Returns how many bytes the elements take.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.element_count() * self.data_type.size_bytes()
    }

    fn gather<const SIZE: usize, T>(&self, decode: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
        let (elements, _) = self.bytes.as_chunks::<SIZE>();
        let mut dimensions: Vec<(usize, usize)> =
            self.shape.iter().copied().zip(self.strides.iter().copied()).filter(|(size, _)| *size != 1).collect();
        let (inner_size, inner_stride) = dimensions.pop().unwrap_or((1, 1));
        let mut values = Vec::with_capacity(self.element_count());
        if self.element_count() == 0 {
            return values;
        }
        let mut index = vec![0; dimensions.len()];
        let mut start = 0;
        loop {
            values.extend((0..inner_size).map(|step| decode(elements[start + step * inner_stride])));
            if !advance(&mut index, &mut start, &dimensions) {
                return values;
            }
        }
    }
}

/// Moves to the next position in row-major order; returns false after the last one.
fn advance(index: &mut [usize], start: &mut usize, dimensions: &[(usize, usize)]) -> bool {
    for (position, (size, stride)) in index.iter_mut().zip(dimensions).rev() {
        *position += 1;
        *start += stride;
        if *position < *size {
            return true;
        }
        *start -= *position * stride;
        *position = 0;
    }
    false
}
