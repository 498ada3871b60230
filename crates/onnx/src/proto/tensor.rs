//! `TensorProto`: a constant, with its values in the file, beside it, or in one of several fields by type.

use std::borrow::Cow;

use half::f16;
use seedhouse_core::runtime::TensorType;

use crate::element_type::ElementType;
use crate::proto::Reader;
use crate::wire::{Broken, Fields};

/// A constant.
#[derive(Debug)]
pub(crate) struct TensorProto<'a> {
    pub(crate) name: &'a str,
    pub(crate) element: ElementType,
    pub(crate) shape: Vec<usize>,
    /// The product of the shape.
    pub(crate) count: usize,
    pub(crate) payload: Payload<'a>,
}

/// Where its values are.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    /// Little-endian values, as many as the shape says.
    Bytes(Cow<'a, [u8]>),
    /// In another file.
    External(External<'a>),
    /// Of a type that no runtime computes with, so that they were not read.
    Unread,
}

/// A place in another file.
#[derive(Debug, Default)]
pub(crate) struct External<'a> {
    pub(crate) location: &'a str,
    pub(crate) offset: Option<&'a str>,
    pub(crate) length: Option<&'a str>,
}

/// The values in the fields by type.
#[derive(Default)]
struct Typed {
    floats: Vec<f32>,
    integers: Vec<i64>,
    /// The bytes of f64.
    doubles: Vec<u8>,
}

impl Reader {
    pub(crate) fn tensor<'a>(&mut self, bytes: &'a [u8]) -> Result<TensorProto<'a>, Broken> {
        let (mut name, mut element, mut dimensions) = ("", ElementType(0), Vec::new());
        let (mut raw, mut typed, mut external, mut is_external) = (None, Typed::default(), None, false);
        for field in Fields::new(bytes, "a tensor") {
            let (number, value) = field?;
            match number {
                1 => value.integers("the shape of a tensor", &mut dimensions)?,
                2 => element = ElementType(value.integer("the type of a tensor")?),
                4 => value.floats("the values of a tensor", &mut typed.floats)?,
                5 | 7 | 11 => value.integers("the values of a tensor", &mut typed.integers)?,
                8 => name = value.text("the name of a tensor")?,
                9 => raw = Some(value.bytes("the values of a tensor")?),
                10 => value.eights("the values of a tensor", &mut typed.doubles)?,
                13 => read_external(value.bytes("the place of a tensor")?, external.get_or_insert_default())?,
                14 => is_external = value.integer("the place of a tensor")? == 1,
                _ => {}
            }
        }
        let about = |Broken(reason)| Broken(format!("tensor `{name}` {reason}"));
        let (shape, count) = shape_of(&dimensions).map_err(about)?;
        let payload = match (element.size_bytes(), is_external) {
            (None, _) => Payload::Unread,
            (Some(_), true) => Payload::External(external.unwrap_or_default()),
            (Some(size), false) => {
                let bytes = raw.map_or_else(|| typed.into_bytes(element).map(Cow::Owned), |raw| Ok(Cow::Borrowed(raw)));
                let bytes = bytes.map_err(about)?;
                check_length(&shape, count, size, bytes.len() as u64).map_err(about)?;
                Payload::Bytes(bytes)
            }
        };
        Ok(TensorProto { name, element, shape, count, payload })
    }
}

impl TensorProto<'_> {
    /// Returns the values of a small tensor of int64 that lies in the file.
    pub(crate) fn small_integers(&self) -> Option<Vec<i64>> {
        const MOST: usize = 64;
        match &self.payload {
            Payload::Bytes(bytes) if self.element.tensor_type() == Some(TensorType::I64) && self.count <= MOST => {
                Some(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
            }
            _ => None,
        }
    }
}

/// Says that a tensor has another number of bytes than its shape asks for.
pub(crate) fn check_length(shape: &[usize], count: usize, size: usize, bytes: u64) -> Result<(), Broken> {
    // Neither factor exceeds 64 bits, and the product of a count and 8 fits into 128.
    if count as u128 * size as u128 == u128::from(bytes) {
        return Ok(());
    }
    Err(Broken::new(format!("has {bytes} bytes, but its shape {shape:?} asks for {count} values of {size} bytes")))
}

fn shape_of(dimensions: &[i64]) -> Result<(Vec<usize>, usize), Broken> {
    let shape: Result<Vec<usize>, _> = dimensions.iter().map(|size| usize::try_from(*size)).collect();
    let shape = shape.map_err(|_| Broken::new(format!("has the shape {dimensions:?}")))?;
    let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let count = count.ok_or_else(|| Broken::new(format!("has the shape {shape:?}, whose product is no number")))?;
    Ok((shape, count))
}

fn read_external<'a>(bytes: &'a [u8], external: &mut External<'a>) -> Result<(), Broken> {
    let (mut key, mut value) = ("", "");
    for field in Fields::new(bytes, "the place of a tensor") {
        match field? {
            (1, field) => key = field.text("the place of a tensor")?,
            (2, field) => value = field.text("the place of a tensor")?,
            _ => {}
        }
    }
    match key {
        "location" => external.location = value,
        "offset" => external.offset = Some(value),
        "length" => external.length = Some(value),
        _ => {}
    }
    Ok(())
}

impl Typed {
    /// Returns the values as they would stand in `raw_data`.
    fn into_bytes(self, element: ElementType) -> Result<Vec<u8>, Broken> {
        let Some(tensor_type) = element.tensor_type() else { return self.into_other_bytes(element) };
        let out_of_range = |value: &i64| Broken::new(format!("has the value {value}, which is no {}", element.name()));
        let integers = self.integers.iter();
        let mut bytes = Vec::new();
        match tensor_type {
            TensorType::F32 => bytes.extend(self.floats.iter().flat_map(|value| value.to_le_bytes())),
            TensorType::I64 => bytes.extend(integers.flat_map(|value| value.to_le_bytes())),
            TensorType::I32 => {
                for value in integers {
                    bytes.extend(i32::try_from(*value).map_err(|_| out_of_range(value))?.to_le_bytes());
                }
            }
            // The format keeps the bits of f16 in whole numbers.
            TensorType::F16 => {
                for value in integers {
                    let bits = u16::try_from(*value).map_err(|_| out_of_range(value))?;
                    bytes.extend(f16::from_bits(bits).to_le_bytes());
                }
            }
            TensorType::I8 => {
                for value in integers {
                    bytes.extend(i8::try_from(*value).map_err(|_| out_of_range(value))?.to_le_bytes());
                }
            }
            TensorType::U8 => {
                for value in integers {
                    bytes.push(u8::try_from(*value).map_err(|_| out_of_range(value))?);
                }
            }
            TensorType::Bool => bytes.extend(integers.map(|value| u8::from(*value != 0))),
        }
        Ok(bytes)
    }

    /// The same for types that only ONNX Runtime computes with. Whole numbers hold their value or their bits.
    fn into_other_bytes(self, element: ElementType) -> Result<Vec<u8>, Broken> {
        if element == ElementType::DOUBLE {
            return Ok(self.doubles);
        }
        let Some(size) = element.size_bytes() else { return Ok(Vec::new()) };
        let bits = 8 * size as u32;
        let mut bytes = Vec::new();
        for value in &self.integers {
            let fits = bits == 64 || (-(1 << (bits - 1))..1 << bits).contains(value);
            if !fits {
                return Err(Broken::new(format!("has the value {value}, which is no {}", element.name())));
            }
            bytes.extend(&value.to_le_bytes()[..size]);
        }
        Ok(bytes)
    }
}
