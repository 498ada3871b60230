//! The element types of ONNX, and which of them are computed with.

use seedhouse_core::runtime::TensorType;

/// An element type, by its number in the format; an unknown number stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ElementType(pub(crate) i64);

/// The names in the order of their numbers, from 1.
const NAMES: [&str; 23] = [
    "FLOAT",
    "UINT8",
    "INT8",
    "UINT16",
    "INT16",
    "INT32",
    "INT64",
    "STRING",
    "BOOL",
    "FLOAT16",
    "DOUBLE",
    "UINT32",
    "UINT64",
    "COMPLEX64",
    "COMPLEX128",
    "BFLOAT16",
    "FLOAT8E4M3FN",
    "FLOAT8E4M3FNUZ",
    "FLOAT8E5M2",
    "FLOAT8E5M2FNUZ",
    "UINT4",
    "INT4",
    "FLOAT4E2M1",
];

impl ElementType {
    pub(crate) const FLOAT: ElementType = ElementType(1);
    pub(crate) const BOOL: ElementType = ElementType(9);
    pub(crate) const DOUBLE: ElementType = ElementType(11);

    /// Returns the name of the format.
    pub(crate) fn name(self) -> String {
        let index = usize::try_from(self.0).ok().and_then(|number| number.checked_sub(1));
        match index.and_then(|index| NAMES.get(index)) {
            Some(name) => (*name).to_owned(),
            None => format!("element type {}", self.0),
        }
    }

    /// Returns our type, if tensors of it are taken and given. f64 is not one: the built-in runtime would make it f32 without a word.
    pub(crate) fn tensor_type(self) -> Option<TensorType> {
        Some(match self.0 {
            1 => TensorType::F32,
            2 => TensorType::U8,
            3 => TensorType::I8,
            6 => TensorType::I32,
            7 => TensorType::I64,
            9 => TensorType::Bool,
            10 => TensorType::F16,
            _ => return None,
        })
    }

    /// Returns how many bytes a value has; `None` for texts, complex numbers, those that share a byte, and unknown types.
    pub(crate) fn size_bytes(self) -> Option<usize> {
        Some(match self.0 {
            2 | 3 | 9 | 17..=20 => 1,
            4 | 5 | 10 | 16 => 2,
            1 | 6 | 12 => 4,
            7 | 11 | 13 => 8,
            _ => return None,
        })
    }
}
