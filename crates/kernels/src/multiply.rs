//! Matrix products: activations (rows of inputs) times packed weights (rows of outputs).
//!
//! The product is cut into parts over panels of outputs and, when there are few panels, over rows. A part goes through its rows
//! in chunks, through a few panels at a time, through the inputs in blocks whose activations stay in the second cache, and in
//! pieces of a panel that stay in the first cache; there tiles of up to 12 rows add to their sums.

use std::cell::RefCell;
use std::ops::Range;

use crate::activations::ActivationRows;
use crate::disjoint::Disjoint;
use crate::weight_format::{Layout, PANEL};
use crate::{ActivationForm, Activations, Level, Nonlinearity, PackedMatrix, Step};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
mod finish;
mod groups;
mod int8;
mod kernels;
mod portable;
mod scales;
mod tile;
mod vector;
mod widened;

use finish::{Finish, MOST_PANELS};
use tile::{Tile, TileFunction};
pub(crate) use vector::{Vector, Work};

/// What happens to each number of a product before it is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Is added, one number per output.
    pub bias: Option<&'a [f32]>,
    /// Whether the product is added to what `output` holds (a residual) or replaces it.
    pub add: bool,
}

/// Rows that a part works on at a time: with more of them weights are read less often, and their sums take more of the cache.
pub(crate) const MOST_CHUNK_ROWS: usize = 240;

/// The same where a panel is one piece: sums are begun and ended soon after each other, and stay in the first cache.
const MOST_ROWS_OF_ONE_PIECE: usize = 24;

/// Rows of the greatest tile; chunks are whole tiles.
pub(crate) const TILE_ROWS: usize = 12;

/// Bytes of activations that stay in the second cache.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;

/// Bytes of a panel that stay in the first cache while the rows of a chunk go over them.
const PIECE_BYTES: usize = 16 << 10;

/// Parts per thread: enough to make up for threads that are kept from running.
const PARTS_PER_THREAD: usize = 4;

/// Inputs up to which sums of products of bytes fit into 32 bits.
const MOST_BYTE_INPUTS: usize = i32::MAX as usize / (128 * 127);

/// Writes `input` times `weights`, rows of as many numbers as there are outputs, to `output`.
///
/// Every number is computed in one order of summation, which depends on nothing but the format, the form of the activations, the
/// level and the number of inputs. Levels agree exactly in sums of integers and otherwise within the rounding of f32 sums; AVX-512 takes
/// bf16 numbers below 2^-126 as 0.
///
/// # Panics
/// When lengths do not fit together, when the format does not [accept](crate::WeightFormat::accepts) the form of the activations, or when
/// there are more than 132,000 inputs of `Int8Rows`.
pub fn multiply(
    step: &mut Step<'_>,
    weights: &PackedMatrix,
    input: &Activations,
    output: &mut [f32],
    epilogue: Epilogue<'_>,
) {
    multiply_then(step, weights, input, output, epilogue, None);
}

/// Does the same, and then what `then` says to each number while it is in the cache.
///
/// # Panics
/// As [`multiply`].
pub fn multiply_then(
    step: &mut Step<'_>,
    weights: &PackedMatrix,
    input: &Activations,
    output: &mut [f32],
    epilogue: Epilogue<'_>,
    then: Option<Nonlinearity>,
) {
    multiply_rows(step, weights, input.as_rows(), output, epilogue, then);
}

/// Does the same with rows that lie anywhere.
pub(crate) fn multiply_rows(
    step: &mut Step<'_>,
    weights: &PackedMatrix,
    input: ActivationRows<'_>,
    output: &mut [f32],
    epilogue: Epilogue<'_>,
    then: Option<Nonlinearity>,
) {
    let (rows, outputs, inputs) = (input.count, weights.outputs(), weights.inputs());
    assert_eq!(input.width, inputs, "activations are as wide as the weights have inputs");
    assert_eq!(output.len(), rows * outputs, "the output holds {rows} rows of {outputs}");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == outputs), "one bias per output");
    assert!(weights.format().accepts(input.form), "{:?} with {:?}", weights.format(), input.form);
    assert!(input.form != ActivationForm::Int8Rows || inputs <= MOST_BYTE_INPUTS, "{inputs} inputs of 8 bits");
    if output.is_empty() {
        return;
    }
    let parts = Parts::new(rows, outputs.div_ceil(PANEL), chunk_rows(rows, weights), step.threads());
    let finish = Finish::new(weights, input, Disjoint::new(output), epilogue, then);
    let product = Product::new(step.level(), weights, input, finish);
    step.run(parts.count(), &|part| {
        let (rows, panels) = parts.part(part);
        product.part(rows, panels);
    });
}

/// Writes the products of some rows, one after the other, on the thread that calls. A number is the one that [`multiply`] computes.
///
/// # Panics
/// As [`multiply`].
pub(crate) fn multiply_here(
    level: Level,
    weights: &PackedMatrix,
    input: &Activations,
    rows: Range<usize>,
    output: &mut [f32],
) {
    let outputs = weights.outputs();
    assert_eq!(input.width(), weights.inputs(), "activations are as wide as the weights have inputs");
    assert!(rows.end <= input.rows() && output.len() == rows.len() * outputs, "{rows:?} of {}", input.rows());
    assert!(weights.format().accepts(input.form()), "{:?} with {:?}", weights.format(), input.form());
    let finish =
        Finish::new(weights, input.as_rows(), Disjoint::new(output), Epilogue::default(), None).starting_at(rows.start);
    Product::new(level, weights, input.as_rows(), finish).part(rows, 0..outputs.div_ceil(PANEL));
}

/// Runs `work` with the instructions of a level, which is available: levels come from a pool that has checked.
pub(crate) fn enter<W: Work>(level: Level, work: W) {
    debug_assert!(level.is_available());
    // SAFETY: the processor has the instructions; works used with this function hold references, not pointers.
    unsafe {
        match level {
            Level::Portable => portable::Portable::enter(work),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2::Avx2::enter(work),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => avx512::Avx512::enter(work),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => portable::Portable::enter(work),
        }
    }
}

/// Returns how many rows are worked on at a time: whole tiles, and about the same for every chunk.
fn chunk_rows(rows: usize, weights: &PackedMatrix) -> usize {
    let layout = weights.format().layout();
    let most = match layout.groups(weights.inputs()) <= groups_per_piece(&layout) {
        true => MOST_ROWS_OF_ONE_PIECE,
        false => MOST_CHUNK_ROWS,
    };
    rows.div_ceil(rows.div_ceil(most)).next_multiple_of(TILE_ROWS)
}

/// Returns how many groups of a panel stay in the first cache: whole blocks.
fn groups_per_piece(layout: &Layout) -> usize {
    (PIECE_BYTES / (layout.groups_per_block * layout.group_bytes)).max(1) * layout.groups_per_block
}

/// How a product is cut.
struct Parts {
    rows: usize,
    panels: usize,
    row_parts: usize,
    panel_parts: usize,
    chunk: usize,
}

impl Parts {
    fn new(rows: usize, panels: usize, chunk: usize, threads: usize) -> Parts {
        let wanted = if threads == 1 { 1 } else { threads * PARTS_PER_THREAD };
        let panel_parts = panels.min(wanted);
        let row_parts = rows.div_ceil(chunk).min(wanted.div_ceil(panel_parts));
        Parts { rows, panels, row_parts, panel_parts, chunk }
    }

    fn count(&self) -> usize {
        self.row_parts * self.panel_parts
    }

    /// Returns the rows and the panels of a part.
    fn part(&self, part: usize) -> (Range<usize>, Range<usize>) {
        let (row, panel) = (part / self.panel_parts, part % self.panel_parts);
        let chunks = self.rows.div_ceil(self.chunk);
        let rows = share(chunks, self.row_parts, row);
        let rows = rows.start * self.chunk..self.rows.min(rows.end * self.chunk);
        (rows, share(self.panels, self.panel_parts, panel))
    }
}

/// Returns one of `parts` shares of `0..total`, which differ by at most one.
fn share(total: usize, parts: usize, part: usize) -> Range<usize> {
    total * part / parts..total * (part + 1) / parts
}

thread_local! {
    /// The sums of the rows and panels that this thread works on.
    static SUMS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// A product that threads work on.
struct Product<'a> {
    input: ActivationRows<'a>,
    bytes: &'a [u8],
    panel_bytes: usize,
    layout: Layout,
    groups: usize,
    groups_per_piece: usize,
    add: TileFunction,
    finish: Finish<'a>,
    chunk: usize,
    level: Level,
}

impl<'a> Product<'a> {
    fn new(level: Level, weights: &'a PackedMatrix, input: ActivationRows<'a>, finish: Finish<'a>) -> Product<'a> {
        let (bytes, layout, inputs) = (weights.bytes(), weights.format().layout(), weights.inputs());
        // Shared bytes are somebody else's and could have changed since they were taken.
        assert_eq!(bytes.len(), PackedMatrix::packed_len(weights.format(), weights.outputs(), inputs));
        // Tiles read whole groups.
        assert!(layout.groups(inputs) * layout.group_inputs <= input.stride * input.form.per_word());
        assert!(input.words.len() >= input.count * input.stride);
        Product {
            input,
            bytes,
            panel_bytes: weights.panel_bytes(),
            layout,
            groups: layout.groups(inputs),
            groups_per_piece: groups_per_piece(&layout),
            add: kernels::tile_function(level, weights.format(), input.form),
            finish,
            chunk: chunk_rows(input.count, weights),
            level,
        }
    }

    fn part(&self, rows: Range<usize>, panels: Range<usize>) {
        // A part runs no other product, so the sums are free.
        SUMS.with_borrow_mut(|sums| {
            for first in rows.clone().step_by(self.chunk) {
                let rows = first..rows.end.min(first + self.chunk);
                for first in panels.clone().step_by(MOST_PANELS) {
                    self.panels(first..panels.end.min(first + MOST_PANELS), rows.clone(), sums);
                }
            }
        });
    }

    fn panels(&self, panels: Range<usize>, rows: Range<usize>, sums: &mut Vec<u32>) {
        sums.clear();
        sums.resize(panels.len() * rows.len() * PANEL, 0);
        let block = self.groups_per_block(rows.len());
        for first in (0..self.groups).step_by(block) {
            let groups = first..self.groups.min(first + block);
            for (panel, sums) in panels.clone().zip(sums.chunks_exact_mut(rows.len() * PANEL)) {
                self.sum(panel, groups.clone(), rows.clone(), sums);
            }
        }
        // SAFETY: each row and panel is in one part, and the level is that of a pool.
        unsafe { self.finish.write(self.level, panels, rows, sums) };
    }

    /// Returns how many groups of so many rows stay in the second cache: whole pieces.
    fn groups_per_block(&self, rows: usize) -> usize {
        let group_bytes = self.layout.group_inputs * 4 / self.input.form.per_word();
        let fitting = BLOCK_BYTES / (rows * group_bytes).max(1);
        (fitting / self.groups_per_piece).max(1) * self.groups_per_piece
    }

    /// Adds to the sums of some rows and a panel.
    fn sum(&self, panel: usize, groups: Range<usize>, rows: Range<usize>, sums: &mut [u32]) {
        debug_assert!(self.layout.group_inputs > 0);
        // One row needs the panel once, and in one go.
        let piece = if rows.len() == 1 { groups.len().max(1) } else { self.groups_per_piece };
        let ActivationRows { form, stride, words, quantised_groups, .. } = self.input;
        let panel = &self.bytes[panel * self.panel_bytes..][..self.panel_bytes];
        let activations = &words[rows.start * stride..rows.end * stride];
        let quantised_stride = if form == ActivationForm::Int8Groups { self.input.groups_per_row() } else { 0 };
        let quantised = &quantised_groups[rows.start * quantised_stride..rows.end * quantised_stride];
        for first in groups.clone().step_by(piece) {
            let end = groups.end.min(first + piece);
            // Behind the last piece comes the next panel.
            let next = match end == groups.end {
                true => panel.as_ptr().wrapping_add(self.panel_bytes + self.layout.group(groups.start)),
                false => panel.as_ptr().wrapping_add(self.layout.group(end)),
            };
            let coming = Coming { next, lines: (end - first) * self.layout.group_bytes / LINE, rows: rows.len() };
            let mut tile = Tile {
                panel: panel.as_ptr(),
                groups: first..end,
                activations: activations.as_ptr(),
                stride,
                quantised: quantised.as_ptr(),
                quantised_stride,
                sums: sums.as_mut_ptr(),
            };
            let mut left = rows.len();
            while left > 0 {
                // SAFETY: the slices above hold what the kernel reads and writes, and outlive the call: a panel with its groups (`new`
                // compared the length of all panels), `left` rows of activations filled up to whole groups (`new` compared the stride),
                // their quantised groups if the form has them, and 32 sums for each (`part` cut them so). No rows are left out or taken
                // twice, since a kernel returns how many it did, at most `left`. The level is that of a pool, which is made only where it
                // is available.
                let done = unsafe {
                    let done = (self.add)(&tile, left);
                    tile = tile.below(done);
                    done
                };
                coming.fetch(rows.len() - left, done);
                left -= done;
            }
        }
    }
}

/// Bytes that come from memory together.
const LINE: usize = 64;

/// Rows from which on weights are asked for before they are needed: the tiles before take long enough for them to come.
const LEAST_FOR_FETCHING: usize = 24;

/// The piece that is needed after this one. Its lines are asked for bit by bit, while tiles work on this one.
struct Coming {
    next: *const u8,
    lines: usize,
    /// Of the chunk.
    rows: usize,
}

impl Coming {
    /// Asks for the share of some rows that are done.
    #[inline(always)]
    fn fetch(&self, before: usize, done: usize) {
        if self.rows < LEAST_FOR_FETCHING {
            return;
        }
        for line in self.lines * before / self.rows..self.lines * (before + done) / self.rows {
            prefetch(self.next.wrapping_add(line * LINE));
        }
    }
}

/// Asks for the bytes at an address, which need not exist.
#[inline(always)]
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that reads nothing, with an instruction that every processor of this architecture has.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests;
