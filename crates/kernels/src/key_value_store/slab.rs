//! Memory for many blocks.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// The size of a huge page. Slabs that are as great begin with one, so that long contexts need few entries of the
/// processor's address cache.
const HUGE_PAGE: usize = 2 << 20;
/// The size of a cache line: what the greatest registers are loaded from.
const LINE: usize = 64;

/// Zeroed half-precision numbers. They are reached through pointers, because threads write to different parts at once.
#[derive(Debug)]
pub(super) struct Slab {
    allocation: NonNull<u8>,
    layout: Layout,
    start: NonNull<u16>,
}

// SAFETY: a slab is memory that it owns alone; those who hand out parts of it answer for who writes where.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    /// Returns nothing when there is no memory, or `length` is 0.
    pub(super) fn new(length: usize) -> Option<Slab> {
        let bytes = length.checked_mul(size_of::<u16>()).filter(|bytes| *bytes > 0)?;
        let alignment = if bytes < HUGE_PAGE { LINE } else { HUGE_PAGE };
        // Aligned here: asked to align, the allocator would write the zeros itself instead of taking fresh pages when they
        // are needed.
        let layout = Layout::from_size_align(bytes.checked_add(alignment)?, align_of::<u16>()).ok()?;
        // SAFETY: the size is not 0.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        // SAFETY: less than `alignment` bytes are skipped, and so many were added to the size.
        let start = unsafe { allocation.add(allocation.align_offset(alignment)) };
        if alignment == HUGE_PAGE {
            prefer_huge_pages(start, bytes);
        }
        Some(Slab { allocation, layout, start: start.cast() })
    }

    /// Returns the first number.
    #[inline]
    pub(super) fn start(&self) -> *mut u16 {
        self.start.as_ptr()
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout, and the owner of the slab is gone.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
    }
}

#[cfg(target_os = "linux")]
fn prefer_huge_pages(start: NonNull<u8>, bytes: usize) {
    use rustix::mm::{Advice, madvise};
    // SAFETY: the range is a part of an allocation of ours, and this advice changes nothing that is in it. Systems without
    // huge pages refuse it, and small pages do as well.
    let _ = unsafe { madvise(start.as_ptr().cast(), bytes, Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_start: NonNull<u8>, _bytes: usize) {}
