//! Tensors as they pass the port: typed values in row-major order, and what a model says about those it takes and gives.

use std::fmt;

use half::f16;

use crate::{Error, Result};

/// The type of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point (IEEE 754 binary16).
    F16,
    /// 64-bit integers.
    I64,
    /// 32-bit integers.
    I32,
    /// 8-bit integers.
    I8,
    /// 8-bit integers from 0.
    U8,
    /// True or false.
    Bool,
}

impl TensorType {
    /// Returns the name that numpy gives it, e.g. `float32`.
    pub fn as_str(self) -> &'static str {
        match self {
            TensorType::F32 => "float32",
            TensorType::F16 => "float16",
            TensorType::I64 => "int64",
            TensorType::I32 => "int32",
            TensorType::I8 => "int8",
            TensorType::U8 => "uint8",
            TensorType::Bool => "bool",
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Values of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 16-bit floating point.
    F16(Vec<f16>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 8-bit integers.
    I8(Vec<i8>),
    /// 8-bit integers from 0.
    U8(Vec<u8>),
    /// True or false.
    Bool(Vec<bool>),
}

impl TensorData {
    /// Returns the type of the values.
    pub fn tensor_type(&self) -> TensorType {
        match self {
            TensorData::F32(_) => TensorType::F32,
            TensorData::F16(_) => TensorType::F16,
            TensorData::I64(_) => TensorType::I64,
            TensorData::I32(_) => TensorType::I32,
            TensorData::I8(_) => TensorType::I8,
            TensorData::U8(_) => TensorType::U8,
            TensorData::Bool(_) => TensorType::Bool,
        }
    }

    /// Returns how many values there are.
    pub fn len(&self) -> usize {
        match self {
            TensorData::F32(values) => values.len(),
            TensorData::F16(values) => values.len(),
            TensorData::I64(values) => values.len(),
            TensorData::I32(values) => values.len(),
            TensorData::I8(values) => values.len(),
            TensorData::U8(values) => values.len(),
            TensorData::Bool(values) => values.len(),
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<f32>> for TensorData {
    fn from(values: Vec<f32>) -> TensorData {
        TensorData::F32(values)
    }
}

/// Dense values in row-major order; `data.len()` is the product of `shape`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Values, last dimension fastest.
    pub data: TensorData,
}

impl Tensor {
    /// Puts a tensor together; most families compute with f32 alone and give a `Vec<f32>`.
    pub fn new(shape: Vec<usize>, data: impl Into<TensorData>) -> Tensor {
        Tensor { shape, data: data.into() }
    }

    /// Returns the values if they are f32.
    pub fn f32s(&self) -> Option<&[f32]> {
        match &self.data {
            TensorData::F32(values) => Some(values),
            _ => None,
        }
    }
}

/// The name, type and shape of a tensor; `None` is a free dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub tensor_type: TensorType,
    /// Its dimensions, outermost first.
    pub shape: Vec<Option<usize>>,
}

impl TensorSpec {
    /// Describes an f32 tensor.
    pub fn f32(name: &str, shape: Vec<Option<usize>>) -> TensorSpec {
        TensorSpec { name: name.to_owned(), tensor_type: TensorType::F32, shape }
    }

    /// Returns the shape for messages, with `?` for a free dimension.
    pub fn shape_text(&self) -> String {
        let dimension = |size: &Option<usize>| size.map_or("?".into(), |size| size.to_string());
        let dimensions: Vec<String> = self.shape.iter().map(dimension).collect();
        format!("[{}]", dimensions.join(", "))
    }

    /// Checks that a tensor is one of these.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the tensor, with both types, both shapes or both numbers of values.
    pub fn check(&self, tensor: &Tensor) -> Result<()> {
        let found = tensor.data.tensor_type();
        if found != self.tensor_type {
            return Err(Error::invalid(&self.name, found, format!("must be a tensor of {}", self.tensor_type)));
        }
        let fits = |(found, wanted): (&usize, &Option<usize>)| wanted.is_none_or(|wanted| *found == wanted);
        if tensor.shape.len() != self.shape.len() || !tensor.shape.iter().zip(&self.shape).all(fits) {
            let rule = format!("the shape must be {}", self.shape_text());
            return Err(Error::invalid(&self.name, format!("{:?}", tensor.shape), rule));
        }
        let product = tensor.shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        if product != Some(tensor.data.len()) {
            let rule = format!("the shape {:?} does not have as many", tensor.shape);
            return Err(Error::invalid(&self.name, format!("{} values", tensor.data.len()), rule));
        }
        Ok(())
    }
}

/// Checks that exactly the wanted tensors are there, each as its description says, and returns them in its order.
///
/// # Errors
/// [`Error::Invalid`] naming what is missing, given twice or unknown, and those of [`TensorSpec::check`].
pub fn check_inputs<'t>(specs: &[TensorSpec], inputs: &[(&str, &'t Tensor)]) -> Result<Vec<&'t Tensor>> {
    let names = || {
        let names: Vec<String> = specs.iter().map(|spec| format!("`{}`", spec.name)).collect();
        format!("the model takes {}", if names.is_empty() { "nothing".into() } else { names.join(", ") })
    };
    for (index, (name, _)) in inputs.iter().enumerate() {
        if inputs[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(Error::invalid(*name, "given twice", "a tensor is given once"));
        }
        if !specs.iter().any(|spec| spec.name == *name) {
            return Err(Error::invalid(*name, "given", names()));
        }
    }
    let find = |spec: &TensorSpec| {
        let found = inputs.iter().find(|(name, _)| *name == spec.name);
        let (_, tensor) = found.ok_or_else(|| Error::invalid(&spec.name, "missing", names()))?;
        spec.check(tensor)?;
        Ok(*tensor)
    };
    specs.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> [TensorSpec; 2] {
        let ids = TensorSpec { name: "ids".into(), tensor_type: TensorType::I64, shape: vec![None, Some(2)] };
        [TensorSpec::f32("image", vec![Some(1), None]), ids]
    }

    #[test]
    fn inputs_come_in_the_order_of_the_model() {
        let image = Tensor::new(vec![1, 3], vec![0.5; 3]);
        let ids = Tensor::new(vec![2, 2], TensorData::I64(vec![1, 2, 3, 4]));
        let found = check_inputs(&specs(), &[("ids", &ids), ("image", &image)]).unwrap();
        assert_eq!(found, [&image, &ids]);
    }

    #[test]
    fn tensors_that_do_not_fit_are_refused_with_both_values() {
        let image = Tensor::new(vec![1, 3], vec![0.5; 3]);
        let ids = |shape: Vec<usize>, count| Tensor::new(shape, TensorData::I64(vec![7; count]));
        type Case<'c> = (Vec<(&'c str, Tensor)>, &'c [&'c str]);
        let cases: [Case<'_>; 7] = [
            (vec![("image", image.clone())], &["`ids`", "missing", "`image`"]),
            (vec![("image", image.clone()), ("id", ids(vec![1, 2], 2))], &["`id`", "`ids`"]),
            (vec![("image", image.clone()), ("image", image.clone())], &["`image`", "twice"]),
            (vec![("image", image.clone()), ("ids", image.clone())], &["`ids`", "float32", "int64"]),
            (vec![("image", image.clone()), ("ids", ids(vec![1, 3], 3))], &["[1, 3]", "[?, 2]"]),
            (vec![("image", image.clone()), ("ids", ids(vec![2], 2))], &["`[2]`", "[?, 2]"]),
            (vec![("image", image), ("ids", ids(vec![usize::MAX, 2], 2))], &["`2 values`", "18446744073709551615"]),
        ];
        for (inputs, expected) in cases {
            let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
            let error = check_inputs(&specs(), &inputs).unwrap_err().to_string();
            assert!(expected.iter().all(|part| error.contains(part)), "{error} should contain {expected:?}");
        }
    }
}
