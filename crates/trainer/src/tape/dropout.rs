//! Numbers left out at random (Srivastava et al. 2014).

use super::{Mode, Tape, Var};
use crate::parallel;
use crate::random::{Purpose, Random};

/// Numbers that are chosen by one row of random bits: sixteen bits each.
const PIECE: usize = 1024;

impl Tape<'_> {
    /// Leaves a share of the numbers of a value out and makes the others greater, in place. Nothing when only values are computed.
    pub(crate) fn dropout(&mut self, value: Var, share: f32) {
        let Mode::Training { seed, step, part } = self.settings.mode else { return };
        if share <= 0.0 {
            return;
        }
        self.random_places += 1;
        // The way back draws the same numbers again: they follow from the place of the operation.
        let place = self.random_places;
        let leave_out = move |numbers: &mut [f32]| {
            let limit = (f64::from(share) * 65536.0) as u64;
            let scale = 1.0 / (1.0 - limit as f32 / 65536.0);
            parallel::each_piece(numbers, PIECE, |piece, numbers| {
                let mut random = Random::new(seed, Purpose::Dropout, [step, part, place, piece as u64]);
                for four in numbers.chunks_mut(4) {
                    let bits = random.bits();
                    for (lane, number) in four.iter_mut().enumerate() {
                        *number = if (bits >> (16 * lane)) & 0xffff < limit { 0.0 } else { *number * scale };
                    }
                }
            });
        };
        leave_out(&mut self.slots[value.0].numbers);
        self.then(move |tape| {
            let mut gradient = tape.take_gradient(value);
            leave_out(&mut gradient);
            tape.put_gradient(value, gradient);
        });
    }
}
