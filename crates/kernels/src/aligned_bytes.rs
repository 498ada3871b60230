//! Memory for weights: it begins on a cache line, and large pieces lie in huge pages, because reading gigabytes through pages
//! of 4 KiB misses the translation cache all the time.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

const CACHE_LINE: usize = 64;
const HUGE_PAGE: usize = 2 << 20;

pub(crate) struct AlignedBytes {
    start: NonNull<u8>,
    layout: Layout,
    length: usize,
}

// SAFETY: it owns its bytes as a `Vec<u8>` does.
unsafe impl Send for AlignedBytes {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// Returns bytes that are 0.
    ///
    /// # Panics
    /// When no address space holds that many.
    pub(crate) fn zeroed(length: usize) -> AlignedBytes {
        let alignment = if length >= 2 * HUGE_PAGE { HUGE_PAGE } else { CACHE_LINE };
        let layout = Layout::from_size_align(length.max(1), alignment).expect("weights fit into the address space");
        // SAFETY: the layout's size is at least 1.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        if alignment == HUGE_PAGE {
            // Before the first write: pages that exist already stay small.
            ask_for_huge_pages(start, length);
        }
        // SAFETY: `start` is valid for `length` bytes.
        unsafe { start.write_bytes(0, length) };
        AlignedBytes { start, layout, length }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `length` bytes from `start` are initialised and belong to `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and nobody else has a reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes", self.length)
    }
}

#[cfg(target_os = "linux")]
fn ask_for_huge_pages(start: NonNull<u8>, length: usize) {
    use rustix::mm::{Advice, madvise};
    // SAFETY: the range was just allocated; the advice changes the size of its pages and nothing else.
    // A kernel without huge pages refuses, and small pages do as well.
    let _ = unsafe { madvise(start.as_ptr().cast(), length, Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_start: NonNull<u8>, _length: usize) {}
