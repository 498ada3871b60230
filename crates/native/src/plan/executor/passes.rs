//! How the tokens of a step are cut into passes over the layers.

use std::ops::Range;

use seedhouse_core::runtime::{SequenceId, StepPart, Wanted};

/// Rows computed at once; more would make the buffers larger and nothing quicker.
const MOST_ROWS: usize = 512;

/// Tokens of one part that are computed together with those of other parts.
#[derive(Debug)]
pub(super) struct Piece {
    /// The number of the part.
    pub(super) part: usize,
    /// Which of its tokens.
    pub(super) tokens: Range<usize>,
    /// The position of the first one in its sequence.
    pub(super) first_position: usize,
    pub(super) wanted: Wanted,
}

impl Piece {
    /// Returns how many rows of logits it gives.
    pub(super) fn logits(&self) -> usize {
        self.wanted.rows(self.tokens.len())
    }
}

/// Passes of at most [`MOST_ROWS`] rows; kept from step to step, so that cutting allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Passes {
    pieces: Vec<Piece>,
    /// Where each pass ends among the pieces.
    ends: Vec<usize>,
}

impl Passes {
    /// Cuts the parts of a step; `length` says how many tokens a sequence has before it.
    pub(super) fn cut(&mut self, parts: &[StepPart<'_>], length: impl Fn(SequenceId) -> usize) {
        self.pieces.clear();
        self.ends.clear();
        let mut room = MOST_ROWS;
        for (number, part) in parts.iter().enumerate() {
            let (mut first, before) = (0, length(part.sequence));
            while first < part.tokens.len() {
                if room == 0 {
                    self.ends.push(self.pieces.len());
                    room = MOST_ROWS;
                }
                let end = part.tokens.len().min(first + room);
                let wanted = match part.wanted {
                    Wanted::Last if end < part.tokens.len() => Wanted::None,
                    wanted => wanted,
                };
                self.pieces.push(Piece { part: number, tokens: first..end, first_position: before + first, wanted });
                room -= end - first;
                first = end;
            }
        }
        self.ends.push(self.pieces.len());
    }

    /// Returns the pieces of each pass.
    pub(super) fn each(&self) -> impl Iterator<Item = &[Piece]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.pieces[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Part, tokens, first position, rows of logits.
    type Cut = (usize, Range<usize>, usize, usize);

    #[test]
    fn passes_are_full_and_keep_the_order_and_only_the_last_piece_wants_the_last_row() {
        let tokens = vec![0; 1200];
        let part = |number: u64, count: usize, wanted: Wanted| StepPart {
            sequence: SequenceId(number),
            tokens: &tokens[..count],
            wanted,
        };
        let parts = [part(1, 1, Wanted::Last), part(2, 1200, Wanted::Last), part(3, 2, Wanted::All)];
        let mut passes = Passes::default();
        for _ in 0..2 {
            passes.cut(&parts, |sequence| sequence.0 as usize * 10);
            let found: Vec<Vec<Cut>> = passes
                .each()
                .map(|pieces| {
                    let piece =
                        |piece: &Piece| (piece.part, piece.tokens.clone(), piece.first_position, piece.logits());
                    pieces.iter().map(piece).collect()
                })
                .collect();
            let expected = [
                vec![(0, 0..1, 10, 1), (1, 0..511, 20, 0)],
                vec![(1, 511..1023, 531, 0)],
                vec![(1, 1023..1200, 1043, 1), (2, 0..2, 30, 2)],
            ];
            assert_eq!(found, expected);
        }
    }
}
