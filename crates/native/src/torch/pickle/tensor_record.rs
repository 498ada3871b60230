//! Tensors as a pickle describes them, checked against their storage.

use super::value::Storage;

/// Torch has no tensors beyond 64 dimensions, and weights stay far below.
pub(super) const MOST_DIMENSIONS: usize = 16;

/// A tensor whose elements all lie inside its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorRecord {
    /// The position of its storage among the pickle's storages.
    pub(crate) storage: usize,
    /// Where the first element stands, in elements; at most the storage's length.
    pub(crate) offset: usize,
    /// Dimensions, outermost first.
    pub(crate) shape: Vec<usize>,
    /// Distance between neighbours along each dimension, in elements.
    pub(crate) strides: Vec<usize>,
}

impl TensorRecord {
    /// Checks that the tensor lies inside `storage` and names none of its elements more often than there are elements.
    pub(super) fn check(&self, storage: &Storage<'_>) -> Result<(), String> {
        let held = storage.element_count;
        if self.shape.len() != self.strides.len() {
            return Err(format!("a tensor has {} dimensions, but {} strides", self.shape.len(), self.strides.len()));
        }
        let end = self.end().ok_or_else(|| {
            format!("a tensor of shape {:?} and strides {:?} does not fit into memory", self.shape, self.strides)
        })?;
        if end > held {
            return Err(format!(
                "a tensor of shape {:?} and strides {:?} at offset {} ends at element {end}, but storage {} has {held}",
                self.shape,
                self.strides,
                self.offset,
                super::super::quote(storage.key)
            ));
        }
        let elements: usize = self.shape.iter().product();
        if elements > held {
            return Err(format!(
                "a tensor of shape {:?} repeats elements: it has {elements}, but storage {} has {held}",
                self.shape,
                super::super::quote(storage.key)
            ));
        }
        Ok(())
    }

    /// Returns the position after the last element, or `None` when it or the number of elements overflows.
    fn end(&self) -> Option<usize> {
        // The product is taken without zeros, so that no order of multiplication overflows later.
        self.shape.iter().filter(|size| **size > 0).try_fold(1_usize, |product, size| product.checked_mul(*size))?;
        if self.shape.contains(&0) {
            return Some(self.offset);
        }
        let last =
            self.shape.iter().zip(&self.strides).try_fold(self.offset, |position, (size, stride)| {
                position.checked_add((size - 1).checked_mul(*stride)?)
            })?;
        last.checked_add(1)
    }
}
