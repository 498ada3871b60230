//! Tensors of several callers as one, and its parts again.

use half::f16;
use seedhouse_core::runtime::{Tensor, TensorData};

use crate::batching::Joinable;

/// The inputs of one caller, in the order of the model, which has checked them.
#[derive(Debug, Clone)]
pub(crate) struct Inputs(pub(crate) Vec<Tensor>);

impl Joinable for Inputs {
    fn rows(&self) -> usize {
        self.0.first().and_then(|tensor| tensor.shape.first().copied()).unwrap_or(1)
    }

    /// Whether all dimensions but the first are the same, and the first one is the same for all inputs of a caller.
    fn fits(&self, other: &Inputs) -> bool {
        let inner = |tensor: &Tensor| tensor.shape.get(1..).map(<[usize]>::to_vec);
        let same = |(own, other): (&Tensor, &Tensor)| inner(own).is_some() && inner(own) == inner(other);
        self.has_rows() && other.has_rows() && self.0.iter().zip(&other.0).all(same)
    }
}

impl Inputs {
    fn has_rows(&self) -> bool {
        let rows = self.rows();
        !self.0.is_empty() && self.0.iter().all(|tensor| tensor.shape.first() == Some(&rows))
    }

    /// Puts the inputs of several callers that fit together one below the other.
    pub(crate) fn joined(items: &[Inputs]) -> Vec<Tensor> {
        let input = |index: usize| joined(&items.iter().map(|item| &item.0[index]).collect::<Vec<_>>());
        (0..items[0].0.len()).map(input).collect()
    }
}

/// Puts tensors of one type that differ in their first dimension alone one below the other.
fn joined(parts: &[&Tensor]) -> Tensor {
    let mut shape = parts[0].shape.clone();
    shape[0] = parts.iter().map(|part| part.shape[0]).sum();
    let data = match &parts[0].data {
        TensorData::F32(_) => TensorData::F32(values(parts, f32s)),
        TensorData::F16(_) => TensorData::F16(values(parts, f16s)),
        TensorData::I64(_) => TensorData::I64(values(parts, i64s)),
        TensorData::I32(_) => TensorData::I32(values(parts, i32s)),
        TensorData::I8(_) => TensorData::I8(values(parts, i8s)),
        TensorData::U8(_) => TensorData::U8(values(parts, u8s)),
        TensorData::Bool(_) => TensorData::Bool(values(parts, bools)),
    };
    Tensor { shape, data }
}

fn values<T: Copy>(parts: &[&Tensor], values: impl Fn(&TensorData) -> &[T]) -> Vec<T> {
    parts.iter().flat_map(|part| values(&part.data)).copied().collect()
}

macro_rules! values_of {
    ($($name:ident $variant:ident $type:ty),*) => {
        $(fn $name(data: &TensorData) -> &[$type] {
            match data {
                TensorData::$variant(values) => values,
                _ => &[],
            }
        })*
    };
}

values_of!(f32s F32 f32, f16s F16 f16, i64s I64 i64, i32s I32 i32, i8s I8 i8, u8s U8 u8, bools Bool bool);

/// Cuts a tensor into parts of so many rows; `None` where it has another number of rows.
pub(crate) fn parted(whole: &Tensor, rows: &[usize]) -> Option<Vec<Tensor>> {
    let (&all, inner) = whole.shape.split_first()?;
    if all != rows.iter().sum::<usize>() {
        return None;
    }
    let length: usize = inner.iter().product();
    let mut start = 0;
    let part = |&rows: &usize| {
        let range = start * length..(start + rows) * length;
        start += rows;
        let data = match &whole.data {
            TensorData::F32(values) => TensorData::F32(values[range].to_vec()),
            TensorData::F16(values) => TensorData::F16(values[range].to_vec()),
            TensorData::I64(values) => TensorData::I64(values[range].to_vec()),
            TensorData::I32(values) => TensorData::I32(values[range].to_vec()),
            TensorData::I8(values) => TensorData::I8(values[range].to_vec()),
            TensorData::U8(values) => TensorData::U8(values[range].to_vec()),
            TensorData::Bool(values) => TensorData::Bool(values[range].to_vec()),
        };
        Tensor { shape: [&[rows], inner].concat(), data }
    };
    Some(rows.iter().map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_type(rows: usize) -> Inputs {
        let values = 0..rows * 2;
        let data = [
            TensorData::F32(values.clone().map(|value| value as f32).collect()),
            TensorData::F16(values.clone().map(|value| f16::from_f32(value as f32)).collect()),
            TensorData::I64(values.clone().map(|value| value as i64).collect()),
            TensorData::I32(values.clone().map(|value| value as i32).collect()),
            TensorData::I8(values.clone().map(|value| value as i8).collect()),
            TensorData::U8(values.clone().map(|value| value as u8).collect()),
            TensorData::Bool(values.map(|value| value % 3 == 0).collect()),
        ];
        Inputs(data.into_iter().map(|data| Tensor { shape: vec![rows, 2], data }).collect())
    }

    #[test]
    fn tensors_of_every_type_come_apart_as_they_were() {
        let items = [every_type(1), every_type(0), every_type(3)];
        let whole = Inputs::joined(&items);
        for (index, whole) in whole.iter().enumerate() {
            assert_eq!((&whole.shape[..], whole.data.len()), (&[4, 2][..], 8));
            let parts = parted(whole, &[1, 0, 3]).unwrap();
            for (part, item) in parts.iter().zip(&items) {
                assert_eq!(part, &item.0[index]);
            }
            assert_eq!(parted(whole, &[1, 2]), None);
        }
    }

    #[test]
    fn only_equal_inner_dimensions_are_joined() {
        let inputs = |shapes: &[&[usize]]| {
            let tensor = |shape: &&[usize]| Tensor::new(shape.to_vec(), vec![0.0; shape.iter().product()]);
            Inputs(shapes.iter().map(tensor).collect())
        };
        type Shapes<'s> = &'s [&'s [usize]];
        let cases: [(Shapes<'_>, Shapes<'_>, bool); 6] = [
            (&[&[1, 2]], &[&[5, 2]], true),
            (&[&[1, 2]], &[&[1, 3]], false),
            (&[&[1, 2]], &[&[1, 2, 1]], false),
            (&[&[2, 2], &[2]], &[&[1, 2], &[1]], true),
            // One of two inputs has other rows: nobody knows which belong together.
            (&[&[2, 2], &[2]], &[&[2, 2], &[1]], false),
            (&[&[]], &[&[]], false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(inputs(one).fits(&inputs(other)), expected, "{one:?} and {other:?}");
        }
    }
}
