//! Rows of a table, by their numbers.

use std::sync::Arc;

use super::{Tape, Var};
use crate::numbers::add_to;
use crate::parallel;
use crate::parameters::ParameterId;

impl Tape<'_> {
    /// Returns the row of each id, plus the row of its place where there are positions: rows follow each other in sequences of `length`.
    pub(crate) fn embed(
        &mut self,
        ids: Arc<[u32]>,
        table: ParameterId,
        positions: Option<ParameterId>,
        length: usize,
    ) -> Var {
        let rows = self.parameters.get(table);
        let columns = rows.columns;
        let mut output = self.arena.take(ids.len() * columns);
        let places = positions.map(|positions| &self.parameters.get(positions).values);
        parallel::each_part(self.settings.threads, &mut output, columns, |first, output| {
            for (place, (row, id)) in output.chunks_exact_mut(columns).zip(&ids[first..]).enumerate() {
                row.copy_from_slice(&rows.values[*id as usize * columns..][..columns]);
                if let Some(places) = places {
                    add_to(row, &places[(first + place) % length * columns..][..columns]);
                }
            }
        });
        self.push_with(output, columns, move |tape, output| {
            let gradient = tape.take_gradient(output);
            let mut of_table = tape.parameter_sum(table);
            for (row, id) in gradient.chunks_exact(columns).zip(&ids[..]) {
                add_to(&mut of_table[*id as usize * columns..][..columns], row);
            }
            tape.put_parameter_gradient(table, of_table);
            if let Some(positions) = positions {
                let mut of_positions = tape.parameter_sum(positions);
                let sequences = gradient.chunks(length * columns);
                sequences.for_each(|sequence| add_to(&mut of_positions[..sequence.len()], sequence));
                tape.put_parameter_gradient(positions, of_positions);
            }
            tape.arena.give(gradient);
        })
    }
}
