//! One vector out of those of the tokens of a sequence, the same way wherever the tokens' vectors come from.

/// How the vectors of tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// It is that of the first token.
    Cls,
    /// It is the mean of those of all tokens, the special ones among them.
    Mean,
    /// Each of its numbers is the greatest one of those of all tokens.
    Max,
}

/// What a vector is divided by at least when it is brought to the length 1, as in PyTorch's `normalize`.
const LEAST_LENGTH: f64 = 1e-12;

impl Pooling {
    /// Every way.
    pub const ALL: [Pooling; 3] = [Pooling::Cls, Pooling::Mean, Pooling::Max];

    /// Returns the name that sentence-transformers gives it.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Cls => "cls",
            Pooling::Mean => "mean",
            Pooling::Max => "max",
        }
    }

    /// Returns the way of a name.
    pub fn of_name(name: &str) -> Option<Pooling> {
        Pooling::ALL.into_iter().find(|pooling| pooling.name() == name)
    }

    /// Writes the vector of a sequence, whose tokens are rows as long as `vector`; there is at least one.
    ///
    /// # Panics
    /// When there is none.
    pub fn apply(self, rows: &[f32], vector: &mut [f32]) {
        let (first, others) = rows.split_at(vector.len());
        vector.copy_from_slice(first);
        let others = others.chunks_exact(vector.len());
        match self {
            Pooling::Cls => {}
            Pooling::Mean => {
                let count = (1 + others.len()) as f32;
                for row in others {
                    vector.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
                }
                vector.iter_mut().for_each(|sum| *sum /= count);
            }
            Pooling::Max => {
                for row in others {
                    // What is not a number stays so, which `f32::max` would hide.
                    let greater = |(most, number): (&mut f32, &f32)| {
                        if *number > *most || number.is_nan() {
                            *most = *number;
                        }
                    };
                    vector.iter_mut().zip(row).for_each(greater);
                }
            }
        }
    }
}

/// Brings a vector to the length 1; one that has next to none stays as short.
pub fn normalise_vector(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|number| f64::from(*number) * f64::from(*number)).sum();
    let factor = (1.0 / squares.sqrt().max(LEAST_LENGTH)) as f32;
    vector.iter_mut().for_each(|number| *number *= factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_pooling_says_what_its_name_says() {
        let rows = [1.0, -2.0, 4.0, -6.0, -2.0, -1.0];
        let cases = [(Pooling::Cls, [1.0, -2.0]), (Pooling::Mean, [1.0, -3.0]), (Pooling::Max, [4.0, -1.0])];
        for (pooling, expected) in cases {
            let mut vector = [9.0; 2];
            pooling.apply(&rows, &mut vector);
            assert_eq!(vector, expected, "{}", pooling.name());
            assert_eq!(Pooling::of_name(pooling.name()), Some(pooling));
            pooling.apply(&rows[..2], &mut vector);
            assert_eq!(vector, rows[..2], "{} of one token", pooling.name());
        }
        assert_eq!(Pooling::of_name("lasttoken"), None);
    }

    #[test]
    fn what_is_not_a_number_is_not_lost() {
        for pooling in [Pooling::Mean, Pooling::Max] {
            let mut vector = [0.0; 2];
            pooling.apply(&[1.0, 1.0, f32::NAN, 2.0, 3.0, 3.0], &mut vector);
            assert!(vector[0].is_nan() && vector[1].is_finite(), "{} {vector:?}", pooling.name());
        }
    }

    #[test]
    fn normalised_vector_has_the_length_1_unless_it_has_none() {
        let mut vector = [3.0, -4.0];
        normalise_vector(&mut vector);
        assert_eq!(vector, [0.6, -0.8]);
        let mut nothing = [0.0; 3];
        normalise_vector(&mut nothing);
        assert_eq!(nothing, [0.0; 3]);
    }
}
