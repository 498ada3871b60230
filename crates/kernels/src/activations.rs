//! What a product multiplies its weights with: rows of numbers, rounded to the form that the weights want.

use crate::Step;
use crate::disjoint::Disjoint;

mod image_rounding;
mod quantise;

pub(crate) use image_rounding::ImageRounding;

/// The numbers of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActivationForm {
    /// 32-bit floating point; weights are widened.
    F32,
    /// The upper half of 32-bit floating point, rounded to nearest.
    Bf16,
    /// 8-bit integers with a scale per row.
    Int8Rows,
    /// 8-bit integers with a scale for each 32 numbers of a row.
    Int8Groups,
}

impl ActivationForm {
    /// Every form.
    pub const ALL: [ActivationForm; 4] =
        [ActivationForm::F32, ActivationForm::Bf16, ActivationForm::Int8Rows, ActivationForm::Int8Groups];

    /// Returns how many numbers a 32-bit word holds.
    pub(crate) const fn per_word(self) -> usize {
        match self {
            ActivationForm::F32 => 1,
            ActivationForm::Bf16 => 2,
            ActivationForm::Int8Rows | ActivationForm::Int8Groups => 4,
        }
    }
}

/// Rows as products read them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ActivationRows<'a> {
    pub(crate) form: ActivationForm,
    pub(crate) count: usize,
    pub(crate) width: usize,
    /// Words from one row to the next.
    pub(crate) stride: usize,
    pub(crate) words: &'a [u32],
    pub(crate) quantised_rows: &'a [QuantisedRow],
    pub(crate) quantised_groups: &'a [QuantisedGroup],
}

impl<'a> ActivationRows<'a> {
    /// Returns rows of numbers that lie one behind the other. They are not filled up to groups.
    pub(crate) fn of_numbers(numbers: &'a [f32], width: usize) -> ActivationRows<'a> {
        ActivationRows {
            form: ActivationForm::F32,
            count: numbers.len() / width,
            width,
            stride: width,
            words: quantise::as_words(numbers),
            quantised_rows: &[],
            quantised_groups: &[],
        }
    }

    /// Returns how many groups a row has.
    pub(crate) fn groups_per_row(&self) -> usize {
        self.width.div_ceil(GROUP)
    }
}

/// Numbers per group: every row is filled up with zeros to a multiple of it.
const GROUP: usize = 32;

/// Numbers below which handing rows to other threads takes longer than rounding them.
const LEAST_FOR_THREADS: usize = 8192;

/// Rows of numbers, prepared for products. It keeps its memory: filling it again at a size it had allocates nothing.
///
/// A row with a number that is not finite stays recognisable in every form: what is computed from it is not finite either.
#[derive(Debug)]
pub struct Activations {
    form: ActivationForm,
    rows: usize,
    width: usize,
    /// Rows of words, each [`Activations::stride`] after the other.
    words: Vec<u32>,
    /// One per row, in `Int8Rows`.
    quantised_rows: Vec<QuantisedRow>,
    /// One per 32 numbers of each row, in `Int8Groups`.
    quantised_groups: Vec<QuantisedGroup>,
    /// Rows before rounding, one for each part of the work.
    scratch: Vec<f32>,
}

/// What a product needs of a row beside its integers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QuantisedRow {
    pub(crate) scale: f32,
    /// The sum of the integers.
    pub(crate) sum: i32,
}

/// What a product needs of a group of 32 beside its integers.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct QuantisedGroup {
    pub(crate) scale: f32,
    /// The sum of the integers times the scale.
    pub(crate) scaled_sum: f32,
    /// The sum of the integers times -128.
    pub(crate) start: i32,
    /// The same for each half of the group.
    pub(crate) half_starts: [i32; 2],
}

impl Default for Activations {
    fn default() -> Activations {
        Activations::new()
    }
}

impl Activations {
    /// Returns the bytes that they have grown to.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.words[..])
            + size_of_val(&self.quantised_rows[..])
            + size_of_val(&self.quantised_groups[..])
            + size_of_val(&self.scratch[..])
    }

    /// Returns activations without rows.
    pub fn new() -> Activations {
        Activations {
            form: ActivationForm::F32,
            rows: 0,
            width: 0,
            words: Vec::new(),
            quantised_rows: Vec::new(),
            quantised_groups: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Replaces the rows. `write` gives the numbers of a row (it must write all of them: what stood there is anything) and is
    /// called once per row, on any thread; the row is rounded while it is in the cache.
    pub fn fill(
        &mut self,
        step: &mut Step<'_>,
        form: ActivationForm,
        rows: usize,
        width: usize,
        write: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        (self.form, self.rows, self.width) = (form, rows, width);
        let padded = width.next_multiple_of(GROUP);
        let rows_per_part =
            if rows * width < LEAST_FOR_THREADS { rows } else { rows.div_ceil(step.threads() * 2) }.max(1);
        let parts = rows.div_ceil(rows_per_part);
        self.reserve(parts * padded, padded / GROUP);
        let (stride, level, groups) = (self.stride(), step.level(), padded / GROUP);
        let words = Disjoint::new(&mut self.words);
        let scratch = Disjoint::new(&mut self.scratch);
        let quantised_rows = Disjoint::new(&mut self.quantised_rows);
        let quantised_groups = Disjoint::new(&mut self.quantised_groups);
        step.run(parts, &|part| {
            for row in part * rows_per_part..rows.min((part + 1) * rows_per_part) {
                // SAFETY: the pieces belong to this row, and each row is in one part.
                let words = unsafe { words.piece(row * stride..(row + 1) * stride) };
                if form == ActivationForm::F32 {
                    let floats = quantise::as_floats(words);
                    write(row, &mut floats[..width]);
                    floats[width..].fill(0.0);
                    continue;
                }
                // SAFETY: the piece belongs to this part.
                let floats = unsafe { scratch.piece(part * padded..(part + 1) * padded) };
                write(row, &mut floats[..width]);
                floats[width..].fill(0.0);
                match form {
                    ActivationForm::F32 | ActivationForm::Bf16 => quantise::bf16(level, floats, words),
                    ActivationForm::Int8Rows => {
                        // SAFETY: as above.
                        let row = unsafe { quantised_rows.piece(row..row + 1) };
                        quantise::row(level, floats, words, &mut row[0]);
                    }
                    ActivationForm::Int8Groups => {
                        // SAFETY: as above.
                        let row = unsafe { quantised_groups.piece(row * groups..(row + 1) * groups) };
                        quantise::groups(level, floats, words, row);
                    }
                }
            }
        });
    }

    /// Replaces the rows by numbers that are rounded already, to bf16 or to 8-bit integers. `write` gives the bytes of a row's
    /// numbers and, for integers, their scale; the sum is taken here.
    pub(crate) fn fill_rounded(
        &mut self,
        step: &mut Step<'_>,
        form: ActivationForm,
        rows: usize,
        width: usize,
        write: &(dyn Fn(usize, &mut [u8]) -> QuantisedRow + Sync),
    ) {
        (self.form, self.rows, self.width) = (form, rows, width);
        let bytes = width * 4 / form.per_word();
        self.reserve(0, 0);
        let (stride, level) = (self.stride(), step.level());
        let words = Disjoint::new(&mut self.words);
        let quantised_rows = Disjoint::new(&mut self.quantised_rows);
        let rows_per_part = rows.div_ceil(step.threads() * 2).max(1);
        step.run(rows.div_ceil(rows_per_part), &|part| {
            for row in part * rows_per_part..rows.min((part + 1) * rows_per_part) {
                // SAFETY: the pieces belong to this row, and each row is in one part.
                let words = unsafe { words.piece(row * stride..(row + 1) * stride) };
                let numbers = quantise::as_bytes_mut(words);
                numbers[bytes..].fill(0);
                let written = write(row, &mut numbers[..bytes]);
                if form == ActivationForm::Int8Rows {
                    let sum = quantise::sum_of_bytes(level, &numbers[..bytes]);
                    // SAFETY: as above.
                    let row = unsafe { quantised_rows.piece(row..row + 1) };
                    row[0] = QuantisedRow { sum, ..written };
                }
            }
        });
    }

    /// Replaces the rows by whatever the caller writes to them: f32, each row so many numbers after the one before (the first value).
    /// What lies between the width and the next row must be zeros.
    pub(crate) fn floats_mut(&mut self, rows: usize, width: usize) -> (usize, &mut [f32]) {
        (self.form, self.rows, self.width) = (ActivationForm::F32, rows, width);
        self.reserve(0, 0);
        let stride = self.stride();
        (stride, quantise::as_floats(&mut self.words[..rows * stride]))
    }

    /// Returns the bytes that they have grown to.
    pub(crate) fn grown_bytes(&self) -> usize {
        size_of_val(&self.words[..])
            + size_of_val(&self.quantised_rows[..])
            + size_of_val(&self.quantised_groups[..])
            + size_of_val(&self.scratch[..])
    }

    /// Returns how many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns how many numbers a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the form of the numbers.
    pub fn form(&self) -> ActivationForm {
        self.form
    }

    /// Returns the words from one row to the next: an odd number of cache lines, so that the rows of a block of a product do not
    /// all fall into the same set of the cache.
    pub(crate) fn stride(&self) -> usize {
        let words = self.width.next_multiple_of(GROUP) / self.form.per_word();
        words.div_ceil(16) / 2 * 32 + 16
    }

    /// Returns the rows as products read them.
    pub(crate) fn as_rows(&self) -> ActivationRows<'_> {
        ActivationRows {
            form: self.form,
            count: self.rows,
            width: self.width,
            stride: self.stride(),
            words: self.words(),
            quantised_rows: &self.quantised_rows,
            quantised_groups: &self.quantised_groups,
        }
    }

    fn words(&self) -> &[u32] {
        &self.words[..self.rows * self.stride()]
    }

    /// Returns a row as products see it.
    #[cfg(test)]
    pub(crate) fn read_row(&self, row: usize) -> Vec<f32> {
        let words = &self.words()[row * self.stride()..(row + 1) * self.stride()];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let byte = |index: usize| f32::from(bytes[index].cast_signed());
        let number = |index: usize| match self.form {
            ActivationForm::F32 => f32::from_bits(words[index]),
            ActivationForm::Bf16 => half::bf16::from_le_bytes([bytes[index * 2], bytes[index * 2 + 1]]).to_f32(),
            ActivationForm::Int8Rows => byte(index) * self.quantised_rows[row].scale,
            ActivationForm::Int8Groups => {
                byte(index) * self.quantised_groups[row * self.width.div_ceil(GROUP) + index / GROUP].scale
            }
        };
        (0..self.width).map(number).collect()
    }

    fn reserve(&mut self, scratch: usize, groups: usize) {
        let stride = self.stride();
        grow(&mut self.words, self.rows * stride);
        match self.form {
            ActivationForm::F32 => return,
            ActivationForm::Bf16 => {}
            ActivationForm::Int8Rows => grow(&mut self.quantised_rows, self.rows),
            ActivationForm::Int8Groups => grow(&mut self.quantised_groups, self.rows * groups),
        }
        grow(&mut self.scratch, scratch);
    }
}

fn grow<T: Clone + Default>(items: &mut Vec<T>, length: usize) {
    if items.len() < length {
        items.resize(length, T::default());
    }
}

#[cfg(test)]
mod tests;
