//! Rows shared by threads. What is computed of each row alone is cut by the number of threads; sums over rows are made of parts that are
//! cut by the number of rows alone, and added up in order, so they are the same in every run with any number of threads.

use rayon::prelude::*;

/// Parts per thread: enough that a thread that was held up leaves the rest to the others.
const PARTS: usize = 4;

/// Parts of a sum over rows, and so the most threads that make one.
pub(crate) const SUMS: usize = 16;

/// Numbers below which a second thread costs more than it saves.
const SMALL: usize = 8192;

/// Returns how many rows a part has, where `parts` are wanted at most.
fn part_rows(rows: usize, columns: usize, parts: usize) -> usize {
    if rows * columns <= SMALL { rows.max(1) } else { rows.div_ceil(parts).max(1) }
}

/// Calls a function with the same rows of something to read and something to change, both of `columns` columns.
pub(crate) fn zip_rows(
    threads: usize,
    input: &[f32],
    output: &mut [f32],
    columns: usize,
    of: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    let part = part_rows(output.len() / columns, columns, threads * PARTS) * columns;
    if part >= output.len() {
        return of(input, output);
    }
    output.par_chunks_mut(part).zip(input.par_chunks(part)).for_each(|(output, input)| of(input, output));
}

/// Calls a function with parts of rows to change, and the place of their first row.
pub(crate) fn each_part(threads: usize, output: &mut [f32], columns: usize, of: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = part_rows(output.len() / columns.max(1), columns, threads * PARTS);
    let part = rows * columns;
    if part >= output.len() {
        return of(0, output);
    }
    output.par_chunks_mut(part).enumerate().for_each(|(place, output)| of(place * rows, output));
}

/// Calls a function with equally long pieces to change, and the place of each: images, sequences.
pub(crate) fn each_piece(output: &mut [f32], length: usize, of: impl Fn(usize, &mut [f32]) + Sync) {
    output.par_chunks_mut(length).enumerate().for_each(|(place, output)| of(place, output));
}

/// Cuts rows into parts, lets a function add up something of each, and adds the sums up in order. The function gets the range of rows, the
/// rows to change, and zeros to add to.
pub(crate) fn sum_parts(
    output: &mut [f32],
    columns: usize,
    sums: &mut [f32],
    of: impl Fn(std::ops::Range<usize>, &mut [f32], &mut [f32]) + Sync,
) {
    let rows = output.len() / columns;
    let part = part_rows(rows, columns, SUMS);
    if part >= rows {
        return of(0..rows, output, sums);
    }
    let length = sums.len();
    let of_parts: Vec<Vec<f32>> = output
        .par_chunks_mut(part * columns)
        .enumerate()
        .map(|(place, output)| {
            let mut sums = vec![0.0; length];
            let first = place * part;
            of(first..first + output.len() / columns, output, &mut sums);
            sums
        })
        .collect();
    of_parts.iter().for_each(|part| crate::numbers::add_to(sums, part));
}

/// The same for what is only read.
pub(crate) fn sum_ranges(
    (rows, columns): (usize, usize),
    sums: &mut [f32],
    of: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync,
) {
    let part = part_rows(rows, columns, SUMS);
    if part >= rows {
        return of(0..rows, sums);
    }
    let length = sums.len();
    let of_parts: Vec<Vec<f32>> = (0..rows.div_ceil(part))
        .into_par_iter()
        .map(|place| {
            let mut sums = vec![0.0; length];
            of(place * part..((place + 1) * part).min(rows), &mut sums);
            sums
        })
        .collect();
    of_parts.iter().for_each(|part| crate::numbers::add_to(sums, part));
}

/// Adds the columns of rows up, onto what is there.
pub(crate) fn add_columns(rows: &[f32], sums: &mut [f32]) {
    let columns = sums.len();
    sum_ranges((rows.len() / columns, columns), sums, |range, sums| {
        crate::numbers::add_columns(&rows[range.start * columns..range.end * columns], sums);
    });
}
