//! Rows of queries and keys in the order in which the pairs that turn together are half a head apart, and back.
//!
//! llama.cpp writes the rows of its family `llama` so that pairs are neighbours; the transformers library wants halves. Products of
//! queries and keys are the same as long as both are in one order.

use super::rotary::{Rotary, RotaryStyle};

/// Returns rows of so many numbers by halves, whatever the order that they are in.
pub(crate) fn halves_of(rotary: &Rotary, head_width: usize, rows: Vec<f32>, width: usize) -> Vec<f32> {
    match rotary.style {
        RotaryStyle::Halves => rows,
        RotaryStyle::Interleaved => {
            let source = |row: usize| neighbour_of_half(row, head_width, rotary.dimensions);
            (0..rows.len() / width.max(1)).flat_map(|row| rows[source(row) * width..][..width].to_vec()).collect()
        }
    }
}

/// Returns where a row that stands by halves is found among neighbours.
pub(crate) fn neighbour_of_half(row: usize, head_width: usize, dimensions: usize) -> usize {
    let (head, place) = (row / head_width * head_width, row % head_width);
    let half = dimensions / 2;
    match place {
        place if place < half => head + 2 * place,
        place if place < dimensions => head + 2 * (place - half) + 1,
        place => head + place,
    }
}

/// Returns where a row that stands among neighbours is found by halves.
pub(crate) fn half_of_neighbour(row: usize, head_width: usize, dimensions: usize) -> usize {
    let (head, place) = (row / head_width * head_width, row % head_width);
    match place {
        place if place >= dimensions => head + place,
        place => head + place / 2 + place % 2 * (dimensions / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_undo_each_other() {
        for (head_width, dimensions) in [(8, 8), (8, 6), (2, 2), (6, 4)] {
            for row in 0..3 * head_width {
                let neighbour = neighbour_of_half(row, head_width, dimensions);
                assert_eq!(half_of_neighbour(neighbour, head_width, dimensions), row);
            }
        }
        let order: Vec<usize> = (0..8).map(|row| neighbour_of_half(row, 8, 6)).collect();
        assert_eq!(order, [0, 2, 4, 1, 3, 5, 6, 7]);
    }
}
