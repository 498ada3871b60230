//! Keys and values of the tokens seen so far, in blocks that sequences may share.
//!
//! A block holds 32 tokens for all layers and heads in half precision. For each layer and head it has two parts:
//!
//! ```text
//!   keys    [head width][32 tokens]     one load gives the same number of many keys: no sums across lanes
//!   values  [32 tokens][value width]    value width = head width, rounded up to 16 with zeros
//! ```

use std::fmt;
use std::ops::Range;

use crate::lanes::LANES;

mod append;
mod slab;
#[cfg(test)]
mod tests;

pub use append::append;
use slab::Slab;

/// Tokens in a block.
pub const BLOCK_TOKENS: usize = 32;

/// The sizes of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyValueShape {
    /// Layers of the model.
    pub layers: usize,
    /// Key and value heads of a layer.
    pub heads: usize,
    /// Numbers of a head.
    pub head_width: usize,
}

impl KeyValueShape {
    /// Returns the numbers that a value of one head takes, padding included.
    pub(crate) fn value_width(self) -> usize {
        self.head_width.next_multiple_of(LANES)
    }

    fn keys_len(self) -> usize {
        BLOCK_TOKENS * self.head_width
    }

    fn values_len(self) -> usize {
        BLOCK_TOKENS * self.value_width()
    }

    /// Returns the numbers of a block, or nothing when they cannot be counted.
    fn block_len(self) -> Option<usize> {
        let head = self.head_width.checked_next_multiple_of(LANES)?.checked_mul(2 * BLOCK_TOKENS)?;
        head.checked_mul(self.layers)?.checked_mul(self.heads)?;
        Some((self.keys_len() + self.values_len()) * self.layers * self.heads)
    }
}

/// A part of the rows of a batch: consecutive tokens of one sequence.
#[derive(Debug, Clone)]
pub struct Span<'a> {
    /// The blocks of the sequence, from its first token on.
    pub blocks: &'a [u32],
    /// The position of the first of these rows in the sequence.
    pub first_position: usize,
    /// The rows of the batch.
    pub rows: Range<usize>,
}

impl Span<'_> {
    /// Returns the position after the last row.
    pub(crate) fn end(&self) -> usize {
        self.first_position + self.rows.len()
    }
}

/// There is not enough memory for more blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The bytes that were asked for; the greatest number when they cannot be counted.
    pub bytes: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no memory for {} bytes of keys and values", self.bytes)
    }
}

impl std::error::Error for OutOfMemory {}

/// Blocks of keys and values. Whose they are is not known here.
#[derive(Debug)]
pub struct KeyValueStore {
    shape: KeyValueShape,
    block_len: usize,
    slabs: Vec<Slab>,
    /// The slab of each block and where it begins there.
    places: Vec<(usize, usize)>,
}

impl KeyValueStore {
    /// Makes a store of `blocks` blocks. Memory is taken from the operating system when a block is first written.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the system refuses.
    pub fn new(shape: KeyValueShape, blocks: usize) -> Result<KeyValueStore, OutOfMemory> {
        let block_len = shape.block_len().ok_or(OutOfMemory { bytes: usize::MAX })?;
        let mut store = KeyValueStore { shape, block_len, slabs: Vec::new(), places: Vec::new() };
        store.grow(blocks)?;
        Ok(store)
    }

    /// Adds `blocks` blocks; what is in the others stays where it is.
    ///
    /// # Errors
    /// [`OutOfMemory`] when the system refuses; nothing is changed then.
    pub fn grow(&mut self, blocks: usize) -> Result<(), OutOfMemory> {
        if blocks == 0 || self.block_len == 0 {
            return Ok(());
        }
        let length = blocks.checked_mul(self.block_len).ok_or(OutOfMemory { bytes: usize::MAX })?;
        let bytes = length.saturating_mul(size_of::<u16>());
        let slab = Slab::new(length).ok_or(OutOfMemory { bytes })?;
        self.places.try_reserve(blocks).map_err(|_| OutOfMemory { bytes })?;
        let index = self.slabs.len();
        self.slabs.push(slab);
        self.places.extend((0..blocks).map(|block| (index, block * self.block_len)));
        Ok(())
    }

    /// Copies all layers of a block, for a sequence that goes on where another does too.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        let source = self.start(from);
        let target = self.start(to);
        // SAFETY: both are blocks of `block_len` numbers, this store is borrowed alone, and `copy` allows them to be one.
        unsafe { std::ptr::copy(source.cast_const(), target, self.block_len) };
    }

    /// Returns how many blocks there are.
    pub fn blocks(&self) -> usize {
        self.places.len()
    }

    /// Returns the bytes of all blocks.
    pub fn bytes(&self) -> usize {
        self.places.len() * self.block_len * size_of::<u16>()
    }

    /// Returns the bytes of one block of this shape; the greatest number when they cannot be counted.
    pub fn block_bytes(shape: KeyValueShape) -> usize {
        shape.block_len().map_or(usize::MAX, |length| length.saturating_mul(size_of::<u16>()))
    }

    /// Returns the sizes.
    pub fn shape(&self) -> KeyValueShape {
        self.shape
    }

    /// Returns the keys of a block.
    #[inline]
    pub(crate) fn keys(&self, layer: usize, head: usize, block: u32) -> &[u16] {
        let start = self.keys_place(layer, head, block).cast_const();
        // SAFETY: so many numbers follow the place, and nobody writes while the store is borrowed.
        unsafe { std::slice::from_raw_parts(start, self.shape.keys_len()) }
    }

    /// Returns the values of a block.
    #[inline]
    pub(crate) fn values(&self, layer: usize, head: usize, block: u32) -> &[u16] {
        let start = self.values_place(layer, head, block, 0).cast_const();
        // SAFETY: so many numbers follow the place, and nobody writes while the store is borrowed.
        unsafe { std::slice::from_raw_parts(start, self.shape.values_len()) }
    }

    /// Returns where the keys of a head begin in a block; those of all tokens follow.
    #[inline]
    fn keys_place(&self, layer: usize, head: usize, block: u32) -> *mut u16 {
        let start = self.head_start(layer, head);
        // SAFETY: the head exists, so its keys are within the block.
        unsafe { self.start(block).add(start) }
    }

    /// Returns where the value of a token begins in a block; the value width follows.
    #[inline]
    fn values_place(&self, layer: usize, head: usize, block: u32, slot: usize) -> *mut u16 {
        assert!(slot < BLOCK_TOKENS, "a block has {BLOCK_TOKENS} tokens");
        let start = self.head_start(layer, head) + self.shape.keys_len() + slot * self.shape.value_width();
        // SAFETY: the head exists, and its values follow its keys.
        unsafe { self.start(block).add(start) }
    }

    /// Returns where a head begins in a block.
    #[inline]
    fn head_start(&self, layer: usize, head: usize) -> usize {
        assert!(layer < self.shape.layers && head < self.shape.heads, "no head {head} of layer {layer}");
        (layer * self.shape.heads + head) * (self.shape.keys_len() + self.shape.values_len())
    }

    /// Returns the beginning of a block.
    #[inline]
    fn start(&self, block: u32) -> *mut u16 {
        let (slab, offset) = self.places[block as usize];
        // SAFETY: `grow` made the place of a block that lies within the slab.
        unsafe { self.slabs[slab].start().add(offset) }
    }

    /// Panics unless the layer and the blocks of the spans exist and no two spans have a row in common.
    #[track_caller]
    fn check(&self, layer: usize, spans: &[Span<'_>]) {
        assert!(layer < self.shape.layers, "layer {layer} of {}", self.shape.layers);
        let mut rows = 0;
        for span in spans {
            assert!(span.rows.start >= rows, "the row {} belongs to two sequences", span.rows.start);
            rows = span.rows.end.max(rows);
            let blocks = span.end().div_ceil(BLOCK_TOKENS);
            let found = span.blocks.len();
            assert!(found >= blocks, "{} tokens need {blocks} blocks, but the sequence has {found}", span.end());
            for block in &span.blocks[..blocks] {
                assert!((*block as usize) < self.places.len(), "block {block} of {}", self.places.len());
            }
        }
    }

    /// Panics unless the store can be read for this operation; returns the number of rows.
    #[track_caller]
    pub(crate) fn check_spans(&self, layer: usize, spans: &[Span<'_>]) -> usize {
        self.check(layer, spans);
        spans.last().map_or(0, |span| span.rows.end)
    }
}
