//! A tile: some rows of activations times one panel over a range of inputs, the sums kept in registers.
//!
//! Each sum runs over the inputs in order, in one accumulator. How many rows a tile has, and where a range of inputs is cut,
//! therefore changes no bit of a sum.

use std::marker::PhantomData;
use std::ops::Range;

use super::vector::{Vector, Work};
use crate::activations::QuantisedGroup;
use crate::weight_format::PANEL;

/// Where the numbers of a tile are.
#[derive(Debug, Clone)]
pub(super) struct Tile {
    /// The whole panel.
    pub(super) panel: *const u8,
    /// The groups of inputs to sum over.
    pub(super) groups: Range<usize>,
    /// The words of the first row.
    pub(super) activations: *const u32,
    /// Words from one row to the next.
    pub(super) stride: usize,
    /// The groups of the first row, for activations that have them.
    pub(super) quantised: *const QuantisedGroup,
    /// Groups from one row to the next.
    pub(super) quantised_stride: usize,
    /// 32 sums per row, f32 or i32 by kernel; continued, not begun anew.
    pub(super) sums: *mut u32,
}

impl Tile {
    /// Returns a word of a row.
    ///
    /// # Safety
    /// The row has it.
    #[inline(always)]
    pub(super) unsafe fn word(&self, row: usize, index: usize) -> i32 {
        // SAFETY: by the contract of this function.
        i32::from_le(unsafe { self.activations.add(row * self.stride + index).cast::<i32>().read() })
    }

    /// Returns a number of a row of f32.
    ///
    /// # Safety
    /// The row has it.
    #[inline(always)]
    pub(super) unsafe fn float(&self, row: usize, index: usize) -> f32 {
        // SAFETY: by the contract of this function.
        unsafe { self.activations.add(row * self.stride + index).cast::<f32>().read() }
    }

    /// Returns what belongs to a group of a row.
    ///
    /// # Safety
    /// The row has it.
    #[inline(always)]
    pub(super) unsafe fn quantised(&self, row: usize, group: usize) -> *const QuantisedGroup {
        // SAFETY: by the contract of this function.
        unsafe { self.quantised.add(row * self.quantised_stride + group) }
    }

    /// Returns the tile without its first rows.
    ///
    /// # Safety
    /// It has that many.
    pub(super) unsafe fn below(&self, rows: usize) -> Tile {
        // SAFETY: by the contract of this function; what is not there is a null pointer with stride 0.
        unsafe {
            Tile {
                activations: self.activations.add(rows * self.stride),
                quantised: self.quantised.add(rows * self.quantised_stride),
                sums: self.sums.add(rows * PANEL),
                ..self.clone()
            }
        }
    }
}

/// A kind of product.
pub(super) trait Kernel {
    /// Returns how many rows' sums fit into the registers.
    fn most_rows<V: Vector>() -> usize;

    /// Adds to the sums of two vectors of outputs, `lane` the first of them.
    ///
    /// # Safety
    /// The processor has the instructions of `V`. The tile has `ROWS` rows of activations and sums, in the form of this kernel,
    /// and the panel has its groups; `lane` and the outputs of two vectors are within the panel.
    unsafe fn add<V: Vector, const ROWS: usize>(tile: &Tile, lane: usize);
}

/// Adds to the sums of all outputs of as many rows as the kernel likes, and returns how many those were.
pub(super) type TileFunction = unsafe fn(&Tile, usize) -> usize;

/// The [`TileFunction`] of a kernel.
///
/// # Safety
/// As for [`Kernel::add`], with `rows` rows, at least one.
pub(super) unsafe fn add<K: Kernel, V: Vector>(tile: &Tile, rows: usize) -> usize {
    // SAFETY: by the contract of this function; no more rows are used than there are.
    unsafe {
        match rows.min(K::most_rows::<V>()) {
            12.. => add_rows::<K, V, 12>(tile),
            8..12 => add_rows::<K, V, 8>(tile),
            6..8 => add_rows::<K, V, 6>(tile),
            5 => add_rows::<K, V, 5>(tile),
            4 => add_rows::<K, V, 4>(tile),
            3 => add_rows::<K, V, 3>(tile),
            2 => add_rows::<K, V, 2>(tile),
            0..2 => add_rows::<K, V, 1>(tile),
        }
    }
}

#[inline(always)]
unsafe fn add_rows<K: Kernel, V: Vector, const ROWS: usize>(tile: &Tile) -> usize {
    // SAFETY: by the contract of the caller.
    unsafe { V::enter(AddRows::<K, ROWS> { tile, kernel: PhantomData }) };
    ROWS
}

struct AddRows<'a, K, const ROWS: usize> {
    tile: &'a Tile,
    kernel: PhantomData<K>,
}

impl<K: Kernel, const ROWS: usize> Work for AddRows<'_, K, ROWS> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for lane in (0..PANEL).step_by(2 * V::LANES) {
            // SAFETY: by the contract of `add`; two vectors per turn end with the panel.
            unsafe { K::add::<V, ROWS>(self.tile, lane) };
        }
    }
}

/// Returns the sums of a tile in registers.
///
/// # Safety
/// As for [`Kernel::add`].
#[inline(always)]
pub(super) unsafe fn load_floats<V: Vector, const ROWS: usize>(tile: &Tile, lane: usize) -> [[V::Float; 2]; ROWS] {
    // SAFETY: by the contract of this function. No closures: whatever is not inlined lacks the instructions.
    unsafe {
        let mut sums = [[V::splat(0.0); 2]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            let from = tile.sums.add(row * PANEL + lane).cast::<f32>();
            *sums = [V::load(from), V::load(from.add(V::LANES))];
        }
        sums
    }
}

/// Writes the sums of a tile back.
///
/// # Safety
/// As for [`Kernel::add`].
#[inline(always)]
pub(super) unsafe fn store_floats<V: Vector, const ROWS: usize>(
    tile: &Tile,
    lane: usize,
    sums: &[[V::Float; 2]; ROWS],
) {
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: by the contract of this function.
        unsafe {
            let to = tile.sums.add(row * PANEL + lane).cast::<f32>();
            V::store(to, sums[0]);
            V::store(to.add(V::LANES), sums[1]);
        }
    }
}
