//! Giving freed memory back to the system.
//!
//! glibc maps large allocations by themselves and unmaps them when they are freed, but each time it frees one it raises the size
//! from which it does so, up to 32 MiB. From then on smaller weights come from its heaps, which keep what is freed.

/// Gives pages that the allocator holds without need back to the system. It walks the heaps, which takes milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn return_freed_memory() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> i32;
    }
    // SAFETY: a function of glibc, which is linked; any thread may call it at any time, and it leaves what is in use alone.
    let _whether_anything_was_freed = unsafe { malloc_trim(0) };
}

/// Other allocators are not asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn return_freed_memory() {}
