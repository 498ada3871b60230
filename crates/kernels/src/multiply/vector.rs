//! The vectors of an instruction set, so that each kernel is written once.
//!
//! A kernel is a [`Work`]: generic code that is inlined into a function compiled for the instruction set. Everything in this
//! trait must be inlined there too, hence `inline(always)` throughout.

/// Two neighbouring vectors: what a kernel takes of a panel at a time.
pub(crate) type Pair<T> = [T; 2];

/// A piece of work that is compiled once for each instruction set.
pub(crate) trait Work {
    /// Does it.
    ///
    /// # Safety
    /// The processor has the instructions of `V`, and what the implementing type says about its pointers holds.
    unsafe fn run<V: Vector>(self);
}

/// Vectors of 32-bit lanes, one lane per output.
///
/// # Safety of all functions
/// The processor has the instructions. Pointers are valid for what is read or written: 4 bytes for each lane by `load`, `store`,
/// `load_words` and `store_words`, 2 by `load_f16` and `load_i16`, 1 by `load_i8`. They need not be aligned.
pub(crate) trait Vector: Copy {
    /// Lanes of f32.
    type Float: Copy;
    /// Lanes of i32, or of four bytes, or of two halves.
    type Word: Copy;

    /// How many lanes.
    const LANES: usize;
    /// Rows whose f32 sums for a pair of vectors fit into the registers.
    const ROWS: usize;
    /// Rows for sums of bytes.
    const BYTE_ROWS: usize;
    /// Rows for sums of bytes beside sums of f32.
    const GROUP_ROWS: usize;
    /// What [`Vector::dot_biased_bytes`] counts too much: so many times the sum of the activations.
    const BIAS: i32;

    /// Runs `work` with the instructions.
    unsafe fn enter<W: Work>(work: W);

    unsafe fn load(from: *const f32) -> Self::Float;
    unsafe fn store(to: *mut f32, value: Self::Float);
    unsafe fn splat(value: f32) -> Self::Float;
    unsafe fn add(left: Self::Float, right: Self::Float) -> Self::Float;
    unsafe fn multiply(left: Self::Float, right: Self::Float) -> Self::Float;
    /// Returns the greater number, and `right` when either is not a number.
    unsafe fn max(left: Self::Float, right: Self::Float) -> Self::Float;
    /// Returns the smaller number, and `right` when either is not a number.
    unsafe fn min(left: Self::Float, right: Self::Float) -> Self::Float;
    /// Returns `left * right + sum`, rounded once where the processor can.
    unsafe fn multiply_add(left: Self::Float, right: Self::Float, sum: Self::Float) -> Self::Float;

    unsafe fn load_words(from: *const u8) -> Self::Word;
    unsafe fn store_words(to: *mut i32, value: Self::Word);
    unsafe fn splat_word(value: i32) -> Self::Word;
    /// Returns the differences, without what does not fit into 32 bits.
    unsafe fn subtract_words(left: Self::Word, right: Self::Word) -> Self::Word;
    unsafe fn floats(words: Self::Word) -> Self::Float;

    unsafe fn load_f16(from: *const u8) -> Self::Float;
    unsafe fn load_i16(from: *const u8) -> Self::Float;
    unsafe fn load_i8(from: *const u8) -> Self::Float;
    /// Returns the lower bf16 of each word.
    unsafe fn low_bf16(words: Self::Word) -> Self::Float;
    /// Returns the upper bf16 of each word.
    unsafe fn high_bf16(words: Self::Word) -> Self::Float;
    /// Returns a byte of each word as a number from -128 to 127.
    unsafe fn signed_byte(words: Self::Word, index: usize) -> Self::Float;
    /// Takes the 128 from each byte that [`Vector::dot_biased_bytes`] wants added.
    unsafe fn unbiased(words: Self::Word) -> Self::Word;
    /// Returns the lower four bits of each byte, as bytes.
    unsafe fn low_nibbles(words: Self::Word) -> Self::Word;
    /// Returns the upper four bits of each byte, as bytes.
    unsafe fn high_nibbles(words: Self::Word) -> Self::Word;
    /// Returns each word divided by 16.
    unsafe fn sixteenth(words: Self::Word) -> Self::Word;

    /// Adds the products of two bf16 per lane.
    unsafe fn dot_bf16(sum: Self::Float, weights: Self::Word, activations: Self::Word) -> Self::Float;
    /// Adds the products of four bytes per lane. Weights are stored with 128 added; see [`Vector::BIAS`].
    unsafe fn dot_biased_bytes(sum: Self::Word, weights: Self::Word, activations: Self::Word) -> Self::Word;
    /// Adds the products of four bytes per lane; weights are from 0 to 15, activations from -127 to 127.
    unsafe fn dot_nibbles(sum: Self::Word, weights: Self::Word, activations: Self::Word) -> Self::Word;
}
