//! What the header of a GGUF file says about one tensor.

use std::fmt;
use std::ops::Range;

use seedhouse_core::{Error, Result};

use super::cursor::Cursor;
use super::tensor_type::TensorType;
use crate::quote::quote;

/// ggml computes with at most four dimensions.
const MOST_DIMENSIONS: u32 = 4;

/// A tensor whose bytes lie within the file.
#[derive(Debug, Clone)]
pub(crate) struct TensorInfo<'a> {
    pub(crate) name: &'a str,
    pub(crate) tensor_type: TensorType,
    pub(crate) shape: Shape,
    /// Product of the dimensions.
    pub(crate) element_count: u64,
    /// Where it starts, counted from the start of the data section until [`place`](TensorInfo::place), then from the
    /// start of the file.
    offset: u64,
    size_bytes: u64,
}

/// Dimensions as the file writes them: the fastest-moving first, so `[columns, rows]` for a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape(pub(crate) Vec<u64>);

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl<'a> TensorInfo<'a> {
    /// An empty name, one dimension, a type and an offset.
    pub(crate) const SMALLEST_BYTES: u64 = 32;

    /// Reads one entry of the header.
    pub(crate) fn read(cursor: &mut Cursor<'a>, index: u64) -> Result<TensorInfo<'a>> {
        let name = cursor.text(&format!("the name of tensor {index}"))?;
        let what = format!("tensor {}", quote(name));
        let shape = read_shape(cursor, &what)?;
        let type_id = cursor.u32(&what)?;
        let offset = cursor.u64(&what)?;
        let tensor_type = TensorType::of_id(type_id)
            .ok_or_else(|| Error::unsupported(format!("type {type_id} of {what}"), "ggml has no such tensor type"))?;
        let overflow = || cursor.malformed(format!("{what} has the shape {shape}, which overflows 64 bits"));
        let element_count = shape.0.iter().try_fold(1u64, |product, &length| product.checked_mul(length));
        let element_count = element_count.ok_or_else(overflow)?;
        if !shape.0[0].is_multiple_of(tensor_type.block_size) {
            return Err(cursor.malformed(format!(
                "{what} has rows of {} numbers, but {} stores blocks of {}",
                shape.0[0], tensor_type.name, tensor_type.block_size
            )));
        }
        let size_bytes = tensor_type.bytes_of(element_count).ok_or_else(overflow)?;
        Ok(TensorInfo { name, tensor_type, shape, element_count, offset, size_bytes })
    }

    /// Turns the offset within the data section into one within the file, and checks that the tensor lies in the file.
    pub(crate) fn place(&mut self, path: &str, data_start: u64, alignment: u64, file_length: u64) -> Result<()> {
        let what = format!("tensor {}", quote(self.name));
        if !self.offset.is_multiple_of(alignment) {
            return Err(Error::malformed(
                path,
                format!("{what} has offset {}, which is not a multiple of the alignment {alignment}", self.offset),
            ));
        }
        let start = data_start.checked_add(self.offset);
        let end = start.and_then(|start| start.checked_add(self.size_bytes));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_length => self.offset = start,
            _ => {
                return Err(Error::malformed(
                    path,
                    format!(
                        "{what} has {} bytes at offset {} of the data section, which starts at {data_start}, but the \
                         file has {file_length} bytes",
                        self.size_bytes, self.offset
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Returns where its bytes lie in the file.
    pub(crate) fn range(&self) -> Range<usize> {
        let position = |offset: u64| usize::try_from(offset).expect("placed within a file in memory");
        position(self.offset)..position(self.offset + self.size_bytes)
    }
}

fn read_shape(cursor: &mut Cursor<'_>, what: &str) -> Result<Shape> {
    let dimensions = cursor.u32(what)?;
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(
            cursor.malformed(format!("{what} has {dimensions} dimensions, but 1 to {MOST_DIMENSIONS} are possible"))
        );
    }
    let lengths = (0..dimensions).map(|_| cursor.u64(what)).collect::<Result<Vec<u64>>>()?;
    let shape = Shape(lengths);
    if shape.0.contains(&0) {
        return Err(cursor.malformed(format!("{what} has the shape {shape}, but no dimension may be 0")));
    }
    Ok(shape)
}
