//! The class token of vision transformers.

use super::{Tape, Var};
use crate::numbers::add_to;
use crate::parallel;
use crate::parameters::ParameterId;

impl Tape<'_> {
    /// Returns for each image a row for the token and one for each patch, with their positions.
    pub(crate) fn with_class_token(
        &mut self,
        patches: Var,
        token: ParameterId,
        positions: ParameterId,
        images: usize,
    ) -> Var {
        let columns = self.columns(patches);
        let of_image = self.numbers(patches).len() / images;
        let length = of_image + columns;
        let mut output = self.arena.take(images * length);
        let (rows, token_row) = (self.numbers(patches), &self.parameters.get(token).values);
        let places = &self.parameters.get(positions).values;
        parallel::each_piece(&mut output, length, |image, output| {
            output.copy_from_slice(places);
            let (first, others) = output.split_at_mut(columns);
            add_to(first, token_row);
            add_to(others, &rows[image * of_image..][..of_image]);
        });
        self.push_with(output, columns, move |tape, output| {
            let gradient = tape.take_gradient(output);
            let mut of_positions = tape.parameter_sum(positions);
            gradient.chunks_exact(length).for_each(|of_image| add_to(&mut of_positions, of_image));
            tape.put_parameter_gradient(positions, of_positions);
            let mut of_token = tape.parameter_sum(token);
            gradient.chunks_exact(length).for_each(|of_image| add_to(&mut of_token, &of_image[..columns]));
            tape.put_parameter_gradient(token, of_token);
            let mut of_patches = tape.arena.take(images * of_image);
            let parts = of_patches.chunks_exact_mut(of_image).zip(gradient.chunks_exact(length));
            parts.for_each(|(to, from)| to.copy_from_slice(&from[columns..]));
            tape.arena.give(gradient);
            tape.hand_gradient(patches, of_patches);
        })
    }

    /// Returns the first row of each image.
    pub(crate) fn first_rows(&mut self, input: Var, images: usize) -> Var {
        let columns = self.columns(input);
        let length = self.numbers(input).len() / images;
        let mut output = self.arena.take(images * columns);
        let parts = output.chunks_exact_mut(columns).zip(self.numbers(input).chunks_exact(length));
        parts.for_each(|(to, from)| to.copy_from_slice(&from[..columns]));
        self.push_with(output, columns, move |tape, output| {
            let gradient = tape.take_gradient(output);
            let mut of_input = tape.arena.zeros(images * length);
            let parts = of_input.chunks_exact_mut(length).zip(gradient.chunks_exact(columns));
            parts.for_each(|(to, from)| to[..columns].copy_from_slice(from));
            tape.arena.give(gradient);
            tape.hand_gradient(input, of_input);
        })
    }
}
