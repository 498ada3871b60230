//! Memory for weights: it begins on a cache line, and large pieces lie in huge pages, because reading gigabytes through pages
//! of 4 KiB misses the translation cache all the time.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

use crate::Step;

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
        let bytes = AlignedBytes::unfilled(length);
        // SAFETY: `start` is valid for `length` bytes.
        unsafe { bytes.start.write_bytes(0, length) };
        bytes
    }

    /// Does the same with the threads of a step: the system makes pages when they are first written, which takes longer than writing.
    ///
    /// # Panics
    /// As [`AlignedBytes::zeroed`].
    pub(crate) fn zeroed_with(step: &mut Step<'_>, length: usize) -> AlignedBytes {
        let bytes = AlignedBytes::unfilled(length);
        let start = Start(bytes.start);
        step.run(length.div_ceil(HUGE_PAGE), &|part| {
            let first = part * HUGE_PAGE;
            // SAFETY: `start` is valid for `length` bytes, of which each part writes its own; `run` returns when all are written.
            unsafe { start.at(first).write_bytes(0, HUGE_PAGE.min(length - first)) };
        });
        bytes
    }

    /// Allocates. Nothing may be read before it is written.
    fn unfilled(length: usize) -> AlignedBytes {
        let alignment = if length >= 2 * HUGE_PAGE { HUGE_PAGE } else { CACHE_LINE };
        let layout = Layout::from_size_align(length.max(1), alignment).expect("weights fit into the address space");
        // SAFETY: the layout's size is at least 1.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        if alignment == HUGE_PAGE {
            // Before the first write: pages that exist already stay small.
            ask_for_huge_pages(start, length);
        }
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

/// Where the bytes begin that several threads fill.
struct Start(NonNull<u8>);

// SAFETY: threads only write through it, each to bytes of its own.
unsafe impl Sync for Start {}

impl Start {
    /// # Safety
    /// `offset` lies within the allocation.
    unsafe fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: by the contract of this function.
        unsafe { self.0.add(offset) }
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
