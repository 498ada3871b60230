//! The vectors that tokens begin with. They are looked up, never multiplied, so they lie row by row, and 8 bits would save little
//! time for what they lose.

use half::{bf16, f16};
use seedhouse_core::Result;

use crate::layers::{Compile, Weights};
use crate::plan::WeightPrecision;
use crate::torch::checkpoint::DataType;

/// A row for each token.
#[derive(Debug)]
pub(super) struct TokenTable {
    width: usize,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl TokenTable {
    /// Reads the table in the type in which it is stored, or as bf16 where weights are asked for with 16 bits or fewer.
    pub(super) fn read(weights: &Weights<'_>, compile: &Compile, name: &str, width: usize) -> Result<TokenTable> {
        let values = weights.values(name)?;
        let numbers = match (compile.options.weights, weights.data_type(name)?) {
            (WeightPrecision::AsStored, DataType::F16) => Numbers::F16(values.into_iter().map(f16::from_f32).collect()),
            (WeightPrecision::AsStored, DataType::Bf16)
            | (
                WeightPrecision::Bf16 | WeightPrecision::Int8 | WeightPrecision::Int8Groups | WeightPrecision::Int4,
                _,
            ) => Numbers::Bf16(values.into_iter().map(bf16::from_f32).collect()),
            (WeightPrecision::AsStored | WeightPrecision::F32, _) => Numbers::F32(values),
        };
        Ok(TokenTable { width, numbers })
    }

    /// Writes the vector of a token that the table has.
    pub(super) fn write(&self, token: usize, row: &mut [f32]) {
        let range = token * self.width..(token + 1) * self.width;
        match &self.numbers {
            Numbers::F32(numbers) => row.copy_from_slice(&numbers[range]),
            Numbers::F16(numbers) => {
                row.iter_mut().zip(&numbers[range]).for_each(|(to, from)| *to = from.to_f32());
            }
            Numbers::Bf16(numbers) => {
                row.iter_mut().zip(&numbers[range]).for_each(|(to, from)| *to = from.to_f32());
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.numbers {
            Numbers::F32(numbers) => size_of_val(&numbers[..]),
            Numbers::F16(numbers) => size_of_val(&numbers[..]),
            Numbers::Bf16(numbers) => size_of_val(&numbers[..]),
        }
    }
}
