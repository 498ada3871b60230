//! Rotary positions (Su et al. 2021): pairs of numbers of queries and keys turn with their place.

use std::sync::Arc;

use super::{Attention, Tape, Var};
use crate::numbers::vectorised;
use crate::parallel;

/// How much each pair of a head has turned at each place: the two halves of a head are pairs.
#[derive(Debug)]
pub(crate) struct Rotation {
    cosines: Vec<f32>,
    sines: Vec<f32>,
    half: usize,
}

impl Rotation {
    /// Computes the turns of heads of `head_width` numbers at the places below `length`.
    pub(crate) fn new(length: usize, head_width: usize, base: f64) -> Rotation {
        let half = head_width / 2;
        let angle = |place: usize| {
            let (place, pair) = (place / half, place % half);
            place as f64 * base.powf(-2.0 * pair as f64 / head_width as f64)
        };
        let angles = (0..length * half).map(angle);
        Rotation {
            cosines: angles.clone().map(|angle| angle.cos() as f32).collect(),
            sines: angles.map(|angle| angle.sin() as f32).collect(),
            half,
        }
    }

    /// Turns the queries and keys of rows that begin at the start of a sequence; backwards for gradients.
    fn turn(&self, rows: &mut [f32], columns: usize, heads: usize, direction: f32) {
        let half = self.half;
        for (place, row) in rows.chunks_exact_mut(columns).enumerate() {
            let turned = &mut row[..heads * 2 * half];
            turn_row(turned, &self.cosines[place * half..][..half], &self.sines[place * half..][..half], direction);
        }
    }
}

vectorised! {
    fn turn_row<'a>(row: &'a mut [f32], cosines: &'a [f32], sines: &'a [f32], direction: f32) -> () {
        let half = cosines.len();
        let sines = &sines[..half];
        for head in row.chunks_exact_mut(2 * half) {
            let (left, right) = head.split_at_mut(half);
            for place in 0..half {
                let (a, b) = (left[place], right[place]);
                let (cosine, sine) = (cosines[place], sines[place] * direction);
                left[place] = a * cosine - b * sine;
                right[place] = b * cosine + a * sine;
            }
        }
    }
}

impl Tape<'_> {
    /// Turns the queries and keys of rows with queries, keys and values side by side, in place.
    pub(crate) fn rotate(&mut self, value: Var, rotation: &Arc<Rotation>, attention: Attention) {
        let columns = self.columns(value);
        let heads = attention.heads + attention.key_value_heads;
        let piece = attention.length * columns;
        parallel::each_piece(&mut self.slots[value.0].numbers, piece, |_, rows| {
            rotation.turn(rows, columns, heads, 1.0);
        });
        let rotation = Arc::clone(rotation);
        self.then(move |tape| {
            let mut gradient = tape.take_gradient(value);
            parallel::each_piece(&mut gradient, piece, |_, rows| rotation.turn(rows, columns, heads, -1.0));
            tape.put_gradient(value, gradient);
        });
    }
}
