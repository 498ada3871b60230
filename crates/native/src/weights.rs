//! Matrices that stay in the file: rows are decoded when they are needed, and a model never exists in f32 as a whole.

use std::ops::Range;
use std::sync::Arc;

use seedhouse_core::{Error, Result};

use crate::gguf::TensorInfo;
use crate::mapped_file::MappedFile;

mod encoding;
mod products;
mod rows;

pub(crate) use encoding::Encoding;
pub(crate) use products::{matrix_times_vector, matrix_times_vectors};

/// A matrix in a mapped file; a one-dimensional tensor is a matrix of one row.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    file: Arc<MappedFile>,
    range: Range<usize>,
    encoding: Encoding,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// Returns the view of a tensor whose place in `file` the GGUF reader checked.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming the tensor and its type when we cannot compute with it.
    pub(crate) fn new(file: &Arc<MappedFile>, tensor: &TensorInfo<'_>) -> Result<Matrix> {
        let encoding = Encoding::of(tensor.tensor_type).ok_or_else(|| {
            let known = Encoding::ALL.map(Encoding::name).join(", ");
            Error::unsupported(
                format!("type {} of tensor `{}`", tensor.tensor_type.name, tensor.name),
                format!("this runtime computes with {known}"),
            )
        })?;
        let columns = tensor.shape.0[0];
        let in_memory = |count: u64| usize::try_from(count).expect("the tensor lies in a mapped file");
        Ok(Matrix {
            file: Arc::clone(file),
            range: tensor.range(),
            encoding,
            rows: in_memory(tensor.element_count / columns),
            columns: in_memory(columns),
        })
    }

    /// Returns the number of rows, which is the length of a product.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns, which is the length of a vector to multiply with.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Decodes one row.
    pub(crate) fn read_row(&self, row: usize, output: &mut [f32]) {
        rows::decode(self, row..row + 1, output);
    }

    /// Decodes everything; only for what is as small as a norm's weights.
    pub(crate) fn to_vec(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.columns];
        rows::decode(self, 0..self.rows, &mut values);
        values
    }

    fn row_bytes(&self, rows: Range<usize>) -> &[u8] {
        let bytes = &self.file[self.range.clone()];
        let stride = bytes.len() / self.rows;
        &bytes[rows.start * stride..rows.end * stride]
    }
}
