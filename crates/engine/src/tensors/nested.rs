//! A tensor as nested lists.

use seedhouse_core::runtime::{Tensor, TensorData};
use serde::ser::{Serialize, SerializeSeq, Serializer};

/// Writes a tensor as nested lists; what JSON has no word for is written as `"NaN"`, `"Infinity"` or `"-Infinity"`.
#[derive(Debug, Clone, Copy)]
pub struct NestedTensor<'t>(pub &'t Tensor);

impl Serialize for NestedTensor<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Tensor { shape, data } = self.0;
        Part { shape, data, start: 0 }.serialize(serializer)
    }
}

/// The values from `start` on that fill a shape.
struct Part<'t> {
    shape: &'t [usize],
    data: &'t TensorData,
    start: usize,
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((&length, shape)) = self.shape.split_first() else {
            return serialize_value(self.data, self.start, serializer);
        };
        let step: usize = shape.iter().product();
        let mut list = serializer.serialize_seq(Some(length))?;
        for index in 0..length {
            list.serialize_element(&Part { shape, data: self.data, start: self.start + index * step })?;
        }
        list.end()
    }
}

fn serialize_value<S: Serializer>(data: &TensorData, index: usize, serializer: S) -> Result<S::Ok, S::Error> {
    match data {
        TensorData::F32(values) => serialize_float(values[index], serializer),
        TensorData::F16(values) => serialize_float(values[index].to_f32(), serializer),
        TensorData::I64(values) => serializer.serialize_i64(values[index]),
        TensorData::I32(values) => serializer.serialize_i32(values[index]),
        TensorData::I8(values) => serializer.serialize_i8(values[index]),
        TensorData::U8(values) => serializer.serialize_u8(values[index]),
        TensorData::Bool(values) => serializer.serialize_bool(values[index]),
    }
}

fn serialize_float<S: Serializer>(value: f32, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        value if value.is_finite() => serializer.serialize_f32(value),
        f32::INFINITY => serializer.serialize_str("Infinity"),
        f32::NEG_INFINITY => serializer.serialize_str("-Infinity"),
        _ => serializer.serialize_str("NaN"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::Numbers;

    #[test]
    fn tensors_are_nested_lists() {
        let floats = vec![1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let cases = [
            (Tensor::new(vec![], vec![1.5_f32]), "1.5"),
            (Tensor::new(vec![0, 3], Vec::<f32>::new()), "[]"),
            (Tensor::new(vec![2, 1], TensorData::Bool(vec![true, false])), "[[true],[false]]"),
            (Tensor::new(vec![2, 2], floats), r#"[[1.0,"NaN"],["Infinity","-Infinity"]]"#),
        ];
        for (tensor, expected) in cases {
            let json = serde_json::to_string(&NestedTensor(&tensor)).unwrap();
            assert_eq!(json, expected);
            serde_json::from_str::<Numbers>(&json).unwrap();
        }
    }
}
