//! The output, written by several threads.

use std::marker::PhantomData;

/// A slice of which threads write different parts.
pub(super) struct Output<'a> {
    start: *mut f32,
    length: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: `part` makes its callers answer for not writing the same numbers from two threads.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    pub(super) fn new(output: &'a mut [f32]) -> Output<'a> {
        Output { start: output.as_mut_ptr(), length: output.len(), borrowed: PhantomData }
    }

    /// Returns a part.
    ///
    /// # Safety
    /// No two parts that exist at the same time have a number in common.
    #[expect(clippy::mut_from_ref, reason = "the contract of the function keeps parts from overlapping")]
    pub(super) unsafe fn part(&self, first: usize, length: usize) -> &mut [f32] {
        assert!(first + length <= self.length, "{length} numbers from {first} on, but there are {}", self.length);
        // SAFETY: within the slice, as was checked; alone by the contract of this function.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), length) }
    }
}
