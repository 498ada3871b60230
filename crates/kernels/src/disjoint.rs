//! A slice that several threads write to, each its own pieces.

use std::marker::PhantomData;
use std::ops::Range;

pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: whoever makes pieces vouches that they do not overlap; `T: Send` lets another thread use each.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Disjoint<'a, T> {
        Disjoint { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// Returns a piece.
    ///
    /// # Panics
    /// When the range does not lie within the slice.
    ///
    /// # Safety
    /// No other piece that is in use overlaps this one.
    #[expect(clippy::mut_from_ref, reason = "pieces do not overlap, by the contract")]
    pub(crate) unsafe fn piece(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} of {}", self.length);
        // SAFETY: within the slice, which is borrowed for `'a`; nobody else uses this range.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
